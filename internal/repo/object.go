// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// object names one object.
type object struct {
	t ostree.ObjectType
	c ostree.Checksum
}

func (o object) String() string { return o.c.String() + "." + o.t.String() }

// objectPath is where o lies below objects/ in this repository.
func (r *Repo) objectPath(o object) string {
	if r.flat {
		return stagedName(o)
	}
	return ostree.ObjectPath(o.c, o.t, r.mode == Archive)
}

// ObjectPath returns the file that holds an object, whether it is there or not.
func (r *Repo) ObjectPath(t ostree.ObjectType, c ostree.Checksum) string {
	return r.path + "/objects/" + r.objectPath(object{t, c})
}

// Has reports whether the object is in the repository or a parent of it.
func (r *Repo) Has(t ostree.ObjectType, c ostree.Checksum) bool {
	o := object{t, c}
	return r.hasLocal(o) || r.parent != nil && r.parent.Has(t, c)
}

func (r *Repo) hasLocal(o object) bool {
	return r.holds(o) && (r.mode != BareSplitXattrs || o.t != ostree.TypeFile || r.holds(object{ostree.TypeFileXattrsLink, o.c}))
}

// holds reports whether there is a file under the object's name, whole or not.
func (r *Repo) holds(o object) bool {
	var st unix.Stat_t
	return unix.Fstatat(r.objdir(), r.objectPath(o), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// notThere is ErrLost, but for commits: these are what one asks for.
func notThere(o object) error {
	if o.t == ostree.TypeCommit {
		return fmt.Errorf("object %s: %w", o, ErrNotFound)
	}
	return fmt.Errorf("object %s: %w", o, ErrLost)
}

// locate returns the repository, this or a parent, that has o.
func (r *Repo) locate(o object) (*Repo, error) {
	for p := r; p != nil; p = p.parent {
		if p.holds(o) {
			return p, nil
		}
	}
	return nil, notThere(o)
}

// openAt opens a file for reading without following a link and without waiting for a fifo's other end.
func openAt(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openRegular opens the file that holds o, which must be a regular file.
func (r *Repo) openRegular(o object) (fd int, st unix.Stat_t, err error) {
	fd, st, err = r.openOwn(o)
	if r.parent != nil && errors.Is(err, ErrNotFound) {
		return r.parent.openRegular(o)
	}
	return fd, st, err
}

// openOwn is openRegular without the parent.
func (r *Repo) openOwn(o object) (fd int, st unix.Stat_t, err error) {
	fd, err = openAt(r.objdir(), r.objectPath(o))
	switch {
	case err == unix.ENOENT:
		return -1, st, notThere(o)
	case err == unix.ELOOP:
		return -1, st, fmt.Errorf("object %s: is a symlink: %w", o, ostree.ErrCorrupt)
	case err != nil:
		return -1, st, fmt.Errorf("open object %s: %w", o, err)
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("mode %#o is no regular file's: %w", st.Mode, ostree.ErrCorrupt)
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, fmt.Errorf("object %s: %w", o, err)
	}
	return fd, st, nil
}

// readSome reads up to len(buf) bytes, fewer only at the end of the file.
func readSome(fd int, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		k, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

// raw reads a metadata object's bytes, unverified.
func (r *Repo) raw(o object) ([]byte, error) {
	fd, st, err := r.openRegular(o)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if st.Size > ostree.MaxMetadataSizeBytes {
		return nil, fmt.Errorf("object %s: %d bytes, at most %d allowed: %w", o, st.Size,
			ostree.MaxMetadataSizeBytes, ostree.ErrCorrupt)
	}
	buf := make([]byte, st.Size+1) // one more, to see a file that grows
	n, err := readSome(fd, buf)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", o, err)
	}
	if int64(n) != st.Size {
		return nil, fmt.Errorf("object %s: changed while it was read: %w", o, ostree.ErrCorrupt)
	}
	return buf[:n:n], nil
}

// Metadata returns the bytes of a dirtree, dirmeta, commit or another object whose name is the checksum of its bytes.
//
//	errors  ErrNotFound; ostree.ErrCorrupt if the bytes are not what the name says, or too many
func (r *Repo) Metadata(t ostree.ObjectType, c ostree.Checksum) ([]byte, error) {
	o := object{t, c}
	data, err := r.raw(o)
	if err != nil {
		return nil, err
	}
	if got := ostree.SumBytes(data); got != c {
		return nil, fmt.Errorf("object %s: content has checksum %s: %w", o, got, ostree.ErrCorrupt)
	}
	return data, nil
}

// cacheEntries bounds each half of the cache: a tree of 150,000 files has about 15,000 directories.
const cacheEntries = 32 << 10

// metaCache keeps parsed dirtrees and dirmetas. They never change, so it is never wrong, only full: then it starts
// again empty.
type metaCache struct {
	mu    sync.Mutex
	trees map[ostree.Checksum]ostree.DirTree
	metas map[ostree.Checksum]ostree.DirMeta
}

// DirTree returns what a directory holds. The caller must not change it. Part of tree.Source.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	r.cache.mu.Lock()
	d, ok := r.cache.trees[c]
	r.cache.mu.Unlock()
	if ok {
		return d, nil
	}
	data, err := r.Metadata(ostree.TypeDirTree, c)
	if err != nil {
		return ostree.DirTree{}, err
	}
	if d, err = ostree.ParseDirTree(data); err != nil {
		return ostree.DirTree{}, fmt.Errorf("object %s.dirtree: %w", c, err)
	}
	r.cache.mu.Lock()
	if r.cache.trees == nil || len(r.cache.trees) >= cacheEntries {
		r.cache.trees = map[ostree.Checksum]ostree.DirTree{}
	}
	r.cache.trees[c] = d
	r.cache.mu.Unlock()
	return d, nil
}

// DirMeta returns a directory's own metadata. The caller must not change it. Part of tree.Source.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) {
	r.cache.mu.Lock()
	m, ok := r.cache.metas[c]
	r.cache.mu.Unlock()
	if ok {
		return m, nil
	}
	data, err := r.Metadata(ostree.TypeDirMeta, c)
	if err != nil {
		return ostree.DirMeta{}, err
	}
	if m, err = ostree.ParseDirMeta(data); err != nil {
		return ostree.DirMeta{}, fmt.Errorf("object %s.dirmeta: %w", c, err)
	}
	r.cache.mu.Lock()
	if r.cache.metas == nil || len(r.cache.metas) >= cacheEntries {
		r.cache.metas = map[ostree.Checksum]ostree.DirMeta{}
	}
	r.cache.metas[c] = m
	r.cache.mu.Unlock()
	return m, nil
}

// uncached is the same repository with an empty cache, for who wants to know what lies on disk now.
func (r *Repo) uncached() *Repo {
	u := &Repo{path: r.path, mode: r.mode, config: r.config, objects: r.objects, flat: r.flat, workers: r.workers, set: r.set}
	if r.parent != nil {
		u.parent = r.parent.uncached()
	}
	return u
}

// forget drops an object from the cache, before it is deleted.
func (r *Repo) forget(o object) {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	delete(r.cache.trees, o.c)
	delete(r.cache.metas, o.c)
}

// Commit returns a commit.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) Commit(c ostree.Checksum) (ostree.Commit, error) {
	data, err := r.Metadata(ostree.TypeCommit, c)
	if err != nil {
		return ostree.Commit{}, err
	}
	v, err := ostree.ParseCommit(data)
	if err != nil {
		return ostree.Commit{}, fmt.Errorf("commit %s: %w", c, err)
	}
	return v, nil
}

// Tree returns a commit and its tree, whose directories load as they are asked for.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) Tree(c ostree.Checksum) (*tree.Tree, ostree.Commit, error) {
	v, err := r.Commit(c)
	if err != nil {
		return nil, ostree.Commit{}, err
	}
	return tree.Load(r, tree.Root{Tree: v.Tree, Meta: v.Meta}), v, nil
}

// Detached returns what was written about a commit beside it, signatures above all; an empty Dict if there is nothing.
//
//	errors  ostree.ErrCorrupt
func (r *Repo) Detached(c ostree.Checksum) (gvariant.Dict, error) {
	data, err := r.raw(object{ostree.TypeCommitMeta, c})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := ostree.ParseDetached(data)
	if err != nil {
		return nil, fmt.Errorf("object %s.commitmeta: %w", c, err)
	}
	return d, nil
}

// fdReader reads from a descriptor that it closes.
type fdReader struct{ fd int }

func (f *fdReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (f *fdReader) Close() error {
	if f.fd < 0 {
		return nil
	}
	err := unix.Close(f.fd)
	f.fd = -1
	return err
}
