// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// maxDepth bounds how deep directories nest: a path of PATH_MAX bytes has no room for more.
const maxDepth = 2048

// eachObject calls f for every object that lies in the repository itself, and other for files that are no objects.
// Within a folder the order is the file system's.
func (r *Repo) eachObject(f func(o object) error, other func(name string) error) error {
	for b := range 256 {
		dir := string([]byte{hexDigits[b>>4], hexDigits[b&15]})
		names, err := readNames(r.path + "/objects/" + dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			c, t, archive, err := ostree.ParseObjectPath(dir + "/" + name)
			if err != nil || t == ostree.TypeFile && archive != (r.mode == Archive) {
				if err := other(dir + "/" + name); err != nil {
					return err
				}
				continue
			}
			if err := f(object{t, c}); err != nil {
				return err
			}
		}
	}
	return nil
}

func readNames(path string) ([]string, error) {
	d, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// reach marks what a commit needs: every object below its root once.
type reach struct {
	r *Repo
	// source, if set, is where directories are read instead, such as a transaction.
	source tree.Source
	seen   map[object]bool
	// has reports whether a file object is there; nil does without the question.
	has func(o object) bool
	// missing is told each object that can not be read, and what names it; its error ends the walk.
	missing func(o, of object, err error) error
	// found, if set, is told each object as it is marked.
	found func(t ostree.ObjectType, c ostree.Checksum)
}

// mark marks an object and reports whether it was not yet.
func (w *reach) mark(o object) bool {
	if w.seen[o] {
		return false
	}
	w.seen[o] = true
	if w.found != nil {
		w.found(o.t, o.c)
	}
	return true
}

func (w *reach) from() tree.Source {
	if w.source != nil {
		return w.source
	}
	return w.r
}

func (w *reach) commit(c ostree.Checksum, v ostree.Commit) error {
	of := object{ostree.TypeCommit, c}
	w.mark(object{ostree.TypeDirMeta, v.Meta})
	if err := w.metaOf(v.Meta, of); err != nil {
		return err
	}
	return w.tree(v.Tree, of, 0)
}

func (w *reach) metaOf(c ostree.Checksum, of object) error {
	if _, err := w.from().DirMeta(c); err != nil {
		return w.missing(object{ostree.TypeDirMeta, c}, of, err)
	}
	return nil
}

func (w *reach) tree(c ostree.Checksum, of object, depth int) error {
	o := object{ostree.TypeDirTree, c}
	if !w.mark(o) {
		return nil
	}
	if depth > maxDepth {
		return w.missing(o, of, fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt))
	}
	t, err := w.from().DirTree(c)
	if err != nil {
		return w.missing(o, of, err)
	}
	for _, f := range t.Files {
		fo := object{ostree.TypeFile, f.Checksum}
		if w.mark(fo) && w.has != nil && !w.has(fo) {
			if err := w.missing(fo, o, fmt.Errorf("object %s: %w", fo, ErrNotFound)); err != nil {
				return err
			}
		}
	}
	for _, d := range t.Dirs {
		if mo := (object{ostree.TypeDirMeta, d.Meta}); w.mark(mo) {
			if err := w.metaOf(d.Meta, o); err != nil {
				return err
			}
		}
		if err := w.tree(d.Tree, o, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Reach tells f every object that the commits and what they hold consist of, each once, but not their parents. What a
// commit lacks that is marked as partial is left out. After an error f may have been told some of them.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) Reach(ctx context.Context, commits []ostree.Checksum, f func(t ostree.ObjectType, c ostree.Checksum)) error {
	return r.NewReached().Add(ctx, commits, f)
}

// Reached are the objects that some commits need.
type Reached struct{ w reach }

// NewReached is the set of no commit.
func (r *Repo) NewReached() *Reached { return &Reached{reach{r: r, seen: map[object]bool{}}} }

// Add adds what more commits need, and tells f, which may be nil, of each object that is new. What is reached already
// is not looked at again. Else it is as Repo.Reach.
func (s *Reached) Add(ctx context.Context, commits []ostree.Checksum, f func(t ostree.ObjectType, c ostree.Checksum)) error {
	w := &s.w
	w.found = f
	for _, c := range commits {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.missing = func(_, _ object, err error) error {
			if w.r.IsPartial(c) {
				return nil
			}
			return err
		}
		if !w.mark(object{ostree.TypeCommit, c}) {
			continue
		}
		v, err := w.r.Commit(c)
		if err == nil {
			err = w.commit(c, v)
		}
		if err != nil {
			return fmt.Errorf("commit %s: %w", c, err)
		}
	}
	return nil
}

// Several is what Owners tells of an object that more than one holder needs.
const Several = -1

// Owners tells f of each object that the holders' commits need which of the holders it is that needs it, by its index,
// or Several. Trees that holders have in common are walked twice at most, however many those are.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) Owners(ctx context.Context, holders [][]ostree.Checksum, f func(t ostree.ObjectType, c ostree.Checksum, holder int)) error {
	o := owners{r: r, of: map[object]int{}}
	for i, commits := range holders {
		for _, c := range commits {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !o.mark(object{ostree.TypeCommit, c}, i) {
				continue
			}
			v, err := r.Commit(c)
			if err == nil {
				o.mark(object{ostree.TypeDirMeta, v.Meta}, i)
				o.partial = r.IsPartial(c)
				err = o.tree(v.Tree, i, 0)
			}
			if err != nil {
				return fmt.Errorf("commit %s: %w", c, err)
			}
		}
	}
	for b, i := range o.of {
		f(b.t, b.c, i)
	}
	return nil
}

type owners struct {
	r       *Repo
	of      map[object]int
	partial bool
}

// mark notes that a holder needs an object, and reports whether that is news for what lies below.
func (o *owners) mark(b object, holder int) bool {
	is, known := o.of[b]
	switch {
	case !known:
		o.of[b] = holder
	case is == holder || is == Several:
		return false
	default:
		o.of[b] = Several
	}
	return true
}

func (o *owners) tree(c ostree.Checksum, holder, depth int) error {
	if !o.mark(object{ostree.TypeDirTree, c}, holder) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt)
	}
	t, err := o.r.DirTree(c)
	if errors.Is(err, ErrNotFound) && o.partial {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range t.Files {
		o.mark(object{ostree.TypeFile, f.Checksum}, holder)
	}
	for _, d := range t.Dirs {
		o.mark(object{ostree.TypeDirMeta, d.Meta}, holder)
		if err := o.tree(d.Tree, holder, depth+1); err != nil {
			return err
		}
	}
	return nil
}
