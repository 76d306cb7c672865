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
}

func (w *reach) from() tree.Source {
	if w.source != nil {
		return w.source
	}
	return w.r
}

func (w *reach) commit(c ostree.Checksum, v ostree.Commit) error {
	of := object{ostree.TypeCommit, c}
	w.seen[object{ostree.TypeDirMeta, v.Meta}] = true
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
	if w.seen[o] {
		return nil
	}
	w.seen[o] = true
	if depth > maxDepth {
		return w.missing(o, of, fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt))
	}
	t, err := w.from().DirTree(c)
	if err != nil {
		return w.missing(o, of, err)
	}
	for _, f := range t.Files {
		fo := object{ostree.TypeFile, f.Checksum}
		if w.seen[fo] {
			continue
		}
		w.seen[fo] = true
		if w.has != nil && !w.has(fo) {
			if err := w.missing(fo, o, fmt.Errorf("object %s: %w", fo, ErrNotFound)); err != nil {
				return err
			}
		}
	}
	for _, d := range t.Dirs {
		if mo := (object{ostree.TypeDirMeta, d.Meta}); !w.seen[mo] {
			w.seen[mo] = true
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
// commit lacks that is marked as partial is left out.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) Reach(ctx context.Context, commits []ostree.Checksum, f func(t ostree.ObjectType, c ostree.Checksum)) error {
	w := &reach{r: r, seen: map[object]bool{}}
	for _, c := range commits {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.missing = func(_, _ object, err error) error {
			if r.IsPartial(c) {
				return nil
			}
			return err
		}
		o := object{ostree.TypeCommit, c}
		if w.seen[o] {
			continue
		}
		w.seen[o] = true
		v, err := r.Commit(c)
		if err == nil {
			err = w.commit(c, v)
		}
		if err != nil {
			return fmt.Errorf("commit %s: %w", c, err)
		}
	}
	for o := range w.seen {
		f(o.t, o.c)
	}
	return nil
}
