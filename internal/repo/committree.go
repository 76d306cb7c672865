// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// Stat is what a Filter sees of a file, and may change: UID, GID, and the permission bits of Mode.
type Stat struct {
	UID, GID, Mode uint32
	SizeBytes      int64
	Dev, Ino       uint64
}

// CommitTreeOptions change what CommitTree makes of a directory. Paths are slash separated, relative to it; "" is the
// directory itself. Functions are called by one goroutine at a time, in no particular order.
type CommitTreeOptions struct {
	UID, GID             *uint32 // owner of everything; nil: as it is
	NoXattrs             bool
	CanonicalPermissions bool // owner root, modes without more than 0755; of a directory also NoXattrs, as ostree has it
	// SkipXattr leaves out xattrs by name.
	SkipXattr func(name string) bool
	// Xattrs, if set, returns the xattrs that a file or directory is to have instead of those that it has.
	Xattrs func(path string, st Stat, xs []ostree.Xattr) ([]ostree.Xattr, error)
	// Filter may change a file's metadata, or leave the file out by returning false.
	Filter func(path string, st *Stat) bool
	// Known names the file object that an inode is a hard link to, so that it is not read: see Tx.KnownInodes.
	Known func(dev, ino uint64) (ostree.Checksum, bool)
	// KnownCanonical takes a known file as it is, whatever the other options say of it.
	KnownCanonical bool
	// Consume deletes each file as soon as it is staged. Directories stay.
	Consume bool
}

// CommitTree stages a directory with all it holds as a tree. Files are hashed and written by several goroutines.
//
//	errors  if there is anything but directories, regular files and symlinks
func (r *Repo) CommitTree(ctx context.Context, tx *Tx, dir string, o CommitTreeOptions) (tree.Root, error) {
	top, err := os.Open(dir)
	if err != nil {
		return tree.Root{}, fmt.Errorf("commit tree: %w", err)
	}
	if r.mode == BareUserOnly {
		o.CanonicalPermissions = true
	}
	o.NoXattrs = o.NoXattrs || o.CanonicalPermissions || r.set.disableXattrs
	c := &committer{tx: tx, o: o, batches: make(chan batch, 16)}
	c.byInode = o.Known != nil && !o.Consume && (o.KnownCanonical || !o.changes()) && listsInodes(int(top.Fd()), dir)
	var g *errgroup.Group
	g, c.ctx = errgroup.WithContext(ctx)
	for range r.workers {
		g.Go(c.work)
	}
	var root tree.Root
	g.Go(func() error {
		defer close(c.batches)
		c.walkers, c.walking = errgroup.WithContext(c.ctx)
		c.walkers.SetLimit(1)
		if c.byInode { // there is nothing to do but walk
			c.walkers.SetLimit(r.workers)
		}
		c.walkers.Go(func() (err error) {
			n := &node{dir: top, done: func(c ostree.Checksum) { root.Tree = c }}
			if root.Meta, err = c.dirMeta(n); err == nil {
				err = c.walk(n)
			}
			return err
		})
		return c.walkers.Wait()
	})
	if err := g.Wait(); err != nil {
		return tree.Root{}, fmt.Errorf("commit tree %s: %w", dir, err)
	}
	return root, nil
}

type committer struct {
	tx      *Tx
	ctx     context.Context
	o       CommitTreeOptions
	batches chan batch
	byInode bool // files are known by what a directory's listing says
	walkers *errgroup.Group
	walking context.Context // ends when a walker fails
	dents   sync.Pool       // *[direntBytes]byte, where walkers list directories
	mu      sync.Mutex      // held while a function of the caller's runs
}

// node is one directory on its way to a dirtree.
type node struct {
	path  string
	dir   *os.File
	dev   uint64
	depth int
	up    *node
	done  func(ostree.Checksum) // told the dirtree's name
	tree  ostree.DirTree
	users atomic.Int32 // who still needs dir: the walker, and batches of files
	left  atomic.Int32 // what the dirtree waits for: the walker, batches, directories
}

// fileBatch is how many files one goroutine takes at a time.
const fileBatch = 32

// batch is some files of one directory, tree.Files[from:to] of it.
type batch struct {
	n        *node
	from, to int
}

// walk lists a directory, hands out its files, and goes into its directories.
func (c *committer) walk(n *node) error {
	if n.depth > maxDepth {
		return fmt.Errorf("directories nest deeper than %d", maxDepth)
	}
	n.users.Store(1)
	n.left.Store(1)
	if err := c.list(n); err != nil {
		return err
	}
	slices.SortFunc(n.tree.Files, func(a, b ostree.TreeFile) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(n.tree.Dirs, func(a, b ostree.TreeDir) int { return strings.Compare(a.Name, b.Name) })
	for from := 0; from < len(n.tree.Files); from += fileBatch {
		if !slices.ContainsFunc(n.tree.Files[from:min(from+fileBatch, len(n.tree.Files))], unknown) {
			continue
		}
		n.users.Add(1)
		n.left.Add(1)
		select {
		case c.batches <- batch{n, from, min(from+fileBatch, len(n.tree.Files))}:
		case <-c.walking.Done():
			return context.Cause(c.walking)
		}
	}
	for i := range n.tree.Dirs {
		n.users.Add(1)
		n.left.Add(1)
		into := func() error {
			err := c.descend(n, i)
			c.release(n)
			if err == nil {
				err = c.settle(n)
			}
			return err
		}
		if c.walkers.TryGo(into) {
			continue
		}
		if err := into(); err != nil {
			return err
		}
	}
	c.release(n)
	return c.settle(n)
}

// unknown reports whether a file is still to be read.
func unknown(f ostree.TreeFile) bool { return f.Checksum.IsZero() }

// list reads what a directory holds. Files that are known by their inode, where nothing more is to be asked about them, have
// their checksums then.
func (c *committer) list(n *node) error {
	fd := int(n.dir.Fd())
	buf, ok := c.dents.Get().(*[direntBytes]byte)
	if !ok {
		buf = new([direntBytes]byte)
	}
	defer c.dents.Put(buf)
	var bad error
	err := eachDirent(fd, buf[:], func(e dirent) {
		name := string(e.name)
		if err := ostree.CheckName(name); err != nil && bad == nil {
			bad = fmt.Errorf("%s: %w", n.path, err)
		}
		if e.kind == unix.DT_UNKNOWN {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil && bad == nil {
				bad = &os.PathError{Op: "stat", Path: join(n.path, name), Err: err}
			}
			e.kind = byte(st.Mode & unix.S_IFMT >> 12)
		}
		if e.kind == unix.DT_DIR {
			n.tree.Dirs = append(n.tree.Dirs, ostree.TreeDir{Name: name})
			return
		}
		f := ostree.TreeFile{Name: name}
		if c.byInode {
			var ok bool
			if f.Checksum, ok = c.o.Known(n.dev, e.ino); ok {
				c.tx.stats.hits.Add(1)
			}
		}
		n.tree.Files = append(n.tree.Files, f)
	})
	if err == nil {
		err = bad
	}
	return err
}

// descend goes into directory i of n.
func (c *committer) descend(n *node, i int) error {
	d := &n.tree.Dirs[i]
	path := join(n.path, d.Name)
	fd, err := unix.Openat(int(n.dir.Fd()), d.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	sub := &node{path: path, up: n, depth: n.depth + 1, done: func(c ostree.Checksum) { d.Tree = c }}
	sub.dir = os.NewFile(uintptr(fd), procPath(int(n.dir.Fd()), d.Name))
	if d.Meta, err = c.dirMeta(sub); err != nil || d.Meta.IsZero() {
		sub.dir.Close()
		return err
	}
	n.left.Add(1)
	return c.walk(sub)
}

// dirMeta stages a directory's own metadata; zero if the directory is left out.
func (c *committer) dirMeta(n *node) (ostree.Checksum, error) {
	var st unix.Stat_t
	fd := int(n.dir.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return ostree.Checksum{}, err
	}
	n.dev = st.Dev
	s, keep := c.stat(n.path, &st)
	if !keep {
		return ostree.Checksum{}, nil
	}
	xs, err := c.xattrs(n.path, s, func() ([]ostree.Xattr, error) { return fdXattrs(fd) })
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("%s: %w", n.path, err)
	}
	return c.tx.PutDirMeta(ostree.DirMeta{UID: s.UID, GID: s.GID, Mode: s.Mode, Xattrs: xs})
}

// release lets go of a directory's descriptor.
func (c *committer) release(n *node) {
	if n.users.Add(-1) == 0 {
		n.dir.Close()
	}
}

// settle notes that one part of a directory is there; when all are, it is staged, and so on upwards.
func (c *committer) settle(n *node) error {
	for n != nil && n.left.Add(-1) == 0 {
		n.tree.Files = slices.DeleteFunc(n.tree.Files, func(f ostree.TreeFile) bool { return f.Checksum.IsZero() })
		n.tree.Dirs = slices.DeleteFunc(n.tree.Dirs, func(d ostree.TreeDir) bool { return d.Meta.IsZero() })
		sum, err := c.tx.PutDirTree(n.tree)
		if err != nil {
			return fmt.Errorf("%s: %w", n.path, err)
		}
		n.done(sum)
		n = n.up
	}
	return nil
}

func (c *committer) work() error {
	buf := c.tx.codecs.buffer()
	defer c.tx.codecs.release(buf)
	for b := range c.batches {
		for i := b.from; i < b.to; i++ {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			f := &b.n.tree.Files[i]
			if !unknown(*f) {
				continue
			}
			var err error
			if f.Checksum, err = c.file(b.n, f.Name, *buf); err != nil {
				return fmt.Errorf("%s: %w", join(b.n.path, f.Name), err)
			}
		}
		c.release(b.n)
		if err := c.settle(b.n); err != nil {
			return err
		}
	}
	return nil
}

// file stages one file; zero if it is left out.
func (c *committer) file(n *node, name string, buf []byte) (sum ostree.Checksum, err error) {
	dir := int(n.dir.Fd())
	if c.o.Consume {
		defer func() {
			if err == nil {
				err = unix.Unlinkat(dir, name, 0)
			}
		}()
	}
	var st unix.Stat_t
	if c.o.Known != nil {
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return sum, err
		}
		if sum, ok := c.o.Known(st.Dev, st.Ino); ok {
			return c.known(join(n.path, name), &st, sum)
		}
	}
	fd, err := openAt(dir, name)
	if err == unix.ELOOP {
		return c.symlink(n, name)
	}
	if err != nil {
		return sum, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return sum, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return sum, fmt.Errorf("mode %#o is neither regular file, directory nor symlink", st.Mode)
	}
	path := join(n.path, name)
	s, keep := c.stat(path, &st)
	if !keep {
		return sum, nil
	}
	h := ostree.FileHeader{UID: s.UID, GID: s.GID, Mode: s.Mode}
	if h.Xattrs, err = c.xattrs(path, s, func() ([]ostree.Xattr, error) { return fdXattrs(fd) }); err != nil {
		return sum, err
	}
	return c.content(h, fd, st.Size, buf)
}

// known stages what the options make of a file that is a hard link to an object.
func (c *committer) known(path string, st *unix.Stat_t, sum ostree.Checksum) (ostree.Checksum, error) {
	c.tx.stats.hits.Add(1)
	if c.o.KnownCanonical || !c.o.changes() {
		return sum, nil
	}
	r := &refCommit{c: c, seen: map[ostree.Checksum]ostree.Checksum{}}
	return r.file(path, sum)
}

// content stages an open file's content.
func (c *committer) content(h ostree.FileHeader, fd int, size int64, buf []byte) (ostree.Checksum, error) {
	if size > smallFile {
		if sum, ok, err := c.tx.putClone(h, fd); ok || err != nil {
			return sum, err
		}
	}
	n, err := readSome(fd, buf[:smallFile+1])
	if err != nil {
		return ostree.Checksum{}, err
	}
	if n <= smallFile {
		return c.tx.putSmall(h, buf[:n], nil)
	}
	// a file that grows meanwhile is taken as far as it goes
	return c.tx.putLarge(h, -1, buf[:n], struct{ io.Reader }{&fdReader{fd}}, nil)
}

func (c *committer) symlink(n *node, name string) (ostree.Checksum, error) {
	dir := int(n.dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ostree.Checksum{}, err
	}
	path := join(n.path, name)
	s, keep := c.stat(path, &st)
	if !keep {
		return ostree.Checksum{}, nil
	}
	h := ostree.FileHeader{UID: s.UID, GID: s.GID, Mode: ostree.SymlinkMode}
	var err error
	if h.Symlink, err = readlinkAt(dir, name); err != nil {
		return ostree.Checksum{}, err
	}
	if h.Xattrs, err = c.xattrs(path, s, func() ([]ostree.Xattr, error) { return linkXattrs(dir, name) }); err != nil {
		return ostree.Checksum{}, err
	}
	if err := h.Check(); err != nil {
		return ostree.Checksum{}, err
	}
	return c.tx.putSmall(h, nil, nil)
}

// stat applies the options to what the file system says; false if the file is to be left out.
func (c *committer) stat(path string, st *unix.Stat_t) (Stat, bool) {
	s := Stat{UID: st.Uid, GID: st.Gid, Mode: st.Mode, SizeBytes: st.Size, Dev: st.Dev, Ino: st.Ino}
	if c.o.UID != nil {
		s.UID = *c.o.UID
	}
	if c.o.GID != nil {
		s.GID = *c.o.GID
	}
	if c.o.Filter != nil {
		c.mu.Lock()
		keep := c.o.Filter(path, &s)
		c.mu.Unlock()
		s.Mode = s.Mode&ostree.ModePerm | st.Mode&ostree.ModeType
		if !keep && path != "" {
			return s, false
		}
	}
	if c.o.CanonicalPermissions {
		s.UID, s.GID = 0, 0
		if s.Mode&ostree.ModeType != ostree.ModeSymlink {
			s.Mode &= ostree.ModeType | 0o755
		}
	}
	return s, true
}

func (c *committer) xattrs(path string, s Stat, read func() ([]ostree.Xattr, error)) ([]ostree.Xattr, error) {
	var xs []ostree.Xattr
	if !c.o.NoXattrs {
		var err error
		if xs, err = read(); err != nil {
			return nil, err
		}
		xs = dropEmpty(xs)
	}
	if c.o.SkipXattr != nil && len(xs) > 0 {
		c.mu.Lock()
		xs = slices.DeleteFunc(xs, func(x ostree.Xattr) bool { return c.o.SkipXattr(x.Name) })
		c.mu.Unlock()
	}
	if c.o.Xattrs == nil {
		return xs, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	xs, err := c.o.Xattrs(path, s, xs)
	return ostree.SortXattrs(xs), err
}
