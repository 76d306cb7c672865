// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// ImportObject stages an object of another repository: by a hard link where both have the same mode and lie on one
// file system, else by copying or converting, and then its checksum is verified.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (tx *Tx) ImportObject(src *Repo, t ostree.ObjectType, c ostree.Checksum) error {
	return tx.importObject(src, object{t, c}, ImportOptions{})
}

// ImportOptions say how ImportObjectWith treats the other repository.
type ImportOptions struct {
	Verify bool // make no hard links, and hold everything against its name
	// Check, if not nil, is asked about the header of each file before it is stored.
	Check func(h ostree.FileHeader) error
}

// ImportObjectWith is ImportObject with options.
func (tx *Tx) ImportObjectWith(src *Repo, t ostree.ObjectType, c ostree.Checksum, o ImportOptions) error {
	return tx.importObject(src, object{t, c}, o)
}

func (tx *Tx) importObject(src *Repo, o object, opt ImportOptions) error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	from, err := src.locate(o)
	if err != nil {
		return err
	}
	if opt.Check != nil && o.t == ostree.TypeFile {
		h, _, err := from.FileHeader(o.c)
		if err == nil {
			err = opt.Check(h)
		}
		if err != nil {
			return fmt.Errorf("object %s: %w", o, err)
		}
	}
	if !opt.Verify && (o.t.IsMeta() || from.mode == tx.r.mode) {
		if done, err := tx.link(from, o); done || err != nil {
			return err
		}
	}
	if o.t != ostree.TypeFile {
		data, err := from.Metadata(o.t, o.c)
		if err != nil {
			return err
		}
		return tx.putMetadata(o, data)
	}
	if tx.has(o) {
		return nil
	}
	if from.mode == Archive {
		fd, _, err := from.openRegular(o)
		if err != nil {
			return err
		}
		in := &fdReader{fd}
		return errors.Join(tx.PutPacked(o.c, in, nil), in.Close())
	}
	h, size, content, err := from.OpenFile(o.c)
	if err != nil {
		return err
	}
	return errors.Join(tx.PutFileAs(o.c, h, size, content), content.Close())
}

// has reports whether o needs not be written: it is staged or in the repository itself.
func (tx *Tx) has(o object) bool {
	tx.mu.Lock()
	s := tx.objects[o]
	tx.mu.Unlock()
	return s == staged || s == present || s == 0 && tx.r.hasLocal(o)
}

// link stages o as a hard link; false if that is not possible here.
func (tx *Tx) link(from *Repo, o object) (bool, error) {
	mine, err := tx.claim(o)
	if !mine || err != nil {
		return true, err
	}
	// a link to anything but a regular file (or a symlink object) would be taken over with its damage
	var st unix.Stat_t
	name := from.objectPath(o)
	err = unix.Fstatat(from.objdir(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK && o.t == ostree.TypeFile && from.mode != BareUser && from.mode != Archive
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG && !isLink {
		err = fmt.Errorf("mode %#o is no regular file's: %w", st.Mode, ostree.ErrCorrupt)
	}
	if err == nil {
		err = unix.Linkat(from.objdir(), name, tx.stage.fd, stagedName(o), 0)
		if err == unix.EXDEV || err == unix.EPERM || err == unix.EMLINK || err == unix.EACCES {
			tx.mark(o, 0)
			return false, nil
		}
	}
	if err = tx.settle(o, err); err != nil || o.t != ostree.TypeFile || tx.r.mode != BareSplitXattrs {
		return true, err
	}
	xs, err := from.splitXattrs(o.c)
	if err == nil {
		err = tx.putSplitXattrs(o.c, xs)
	}
	return true, err
}

// PullOptions say what PullLocal brings.
type PullOptions struct {
	RemoteName string // refs are written as "RemoteName:ref"; "" for refs of the repository's own
	CommitOnly bool   // commits without what they hold, marked as partial
	Depth      int    // how many parents of each commit; -1 for all that are there
	Untrusted  bool   // verify every object, and make no hard links
}

// PullLocal brings refs (all of src's own if refs is empty; a checksum brings that commit without a ref) with all they
// need from another repository on this machine.
//
//	errors  ErrNotFound, ostree.ErrCorrupt; this repository is then as before but for objects
func (r *Repo) PullLocal(ctx context.Context, src *Repo, refs []string, o PullOptions) error {
	tx, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	p := &puller{tx: tx, src: src, o: o, seen: map[object]bool{}}
	p.g, p.ctx = errgroup.WithContext(ctx)
	p.g.SetLimit(r.workers + 1) // the one that walks, and those that write
	p.g.Go(func() error { return p.refs(refs) })
	if err := p.g.Wait(); err != nil {
		return fmt.Errorf("pull from %s: %w", src.path, err)
	}
	return tx.Commit()
}

// puller brings objects from one repository to another.
type puller struct {
	tx   *Tx
	src  *Repo
	o    PullOptions
	g    *errgroup.Group
	ctx  context.Context
	seen map[object]bool
}

// refs brings each ref in turn.
func (p *puller) refs(refs []string) error {
	if len(refs) == 0 {
		all, err := p.src.Refs("")
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !strings.Contains(name, ":") {
				refs = append(refs, name)
			}
		}
	}
	for _, name := range refs {
		c, err := p.src.Resolve(name)
		if err != nil {
			return err
		}
		if err := p.history(c); err != nil {
			return err
		}
		if _, err := ostree.ParseChecksum(name); err == nil {
			continue
		}
		_, ref, err := ostree.ParseRefspec(name)
		if err != nil {
			return err
		}
		if p.o.RemoteName != "" {
			ref = p.o.RemoteName + ":" + ref
		}
		if err := p.tx.SetRef(ref, c); err != nil {
			return err
		}
	}
	return nil
}

// history brings a commit and as many parents as asked for. A parent that src does not have ends it.
func (p *puller) history(c ostree.Checksum) error {
	for depth := p.o.Depth; ; depth-- {
		v, err := p.commit(c)
		if err != nil {
			return err
		}
		if v.Parent.IsZero() || depth == 0 || !p.src.Has(ostree.TypeCommit, v.Parent) {
			return nil
		}
		c = v.Parent
	}
}

func (p *puller) commit(c ostree.Checksum) (ostree.Commit, error) {
	v, err := p.src.Commit(c)
	if err != nil {
		return v, err
	}
	d, err := p.src.Detached(c)
	if err != nil {
		return v, err
	}
	if len(d) > 0 {
		p.tx.SetDetached(c, d)
	}
	whole := p.tx.r.hasLocal(object{ostree.TypeCommit, c}) && !p.tx.r.IsPartial(c)
	if !whole && p.o.CommitOnly {
		p.tx.SetPartial(c, true)
	} else if !whole {
		if p.src.IsPartial(c) {
			return v, fmt.Errorf("commit %s is only partly there", c)
		}
		p.tx.SetPartial(c, false)
		if err := p.object(object{ostree.TypeDirMeta, v.Meta}); err != nil {
			return v, err
		}
		if err := p.tree(v.Tree, 0); err != nil {
			return v, err
		}
	}
	return v, p.tx.importObject(p.src, object{ostree.TypeCommit, c}, ImportOptions{Verify: p.o.Untrusted})
}

// first reports whether o was not met before.
func (p *puller) first(o object) bool {
	if p.seen[o] {
		return false
	}
	p.seen[o] = true
	return true
}

func (p *puller) object(o object) error {
	if !p.first(o) {
		return nil
	}
	return p.tx.importObject(p.src, o, ImportOptions{Verify: p.o.Untrusted})
}

// fileBatch is how many files one goroutine brings at a time.
const fileBatch = 32

// tree brings a directory's content. Files are brought by other goroutines.
func (p *puller) tree(c ostree.Checksum, depth int) error {
	o := object{ostree.TypeDirTree, c}
	if !p.first(o) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt)
	}
	t, err := p.src.DirTree(c)
	if err != nil {
		return err
	}
	var batch []object
	for i, f := range t.Files {
		if fo := (object{ostree.TypeFile, f.Checksum}); p.first(fo) {
			batch = append(batch, fo)
		}
		if len(batch) == fileBatch || i == len(t.Files)-1 {
			p.files(batch)
			batch = nil
		}
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	for _, d := range t.Dirs {
		if err := p.object(object{ostree.TypeDirMeta, d.Meta}); err != nil {
			return err
		}
		if err := p.tree(d.Tree, depth+1); err != nil {
			return err
		}
	}
	return p.tx.importObject(p.src, o, ImportOptions{Verify: p.o.Untrusted})
}

func (p *puller) files(batch []object) {
	if len(batch) == 0 {
		return
	}
	p.g.Go(func() error {
		for _, o := range batch {
			if err := p.ctx.Err(); err != nil {
				return err
			}
			if err := p.tx.importObject(p.src, o, ImportOptions{Verify: p.o.Untrusted}); err != nil {
				return err
			}
		}
		return nil
	})
}
