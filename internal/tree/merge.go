// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"

	"grove/internal/ostree"
)

// Decision says what becomes of a path that both sides of a merge have and do not agree on.
type Decision uint8

// The decisions. Refuse is the default: the path is a *Conflict.
const (
	Refuse Decision = iota
	KeepBase
	TakeLayer
)

// MergeOptions say what Merge does where both sides have a path. The zero value refuses every disagreement.
type MergeOptions struct {
	// Replace lets the layer's file or symlink take the place of the base's. It does not turn a directory into a file
	// or a file into a directory: that would drop or hide a whole subtree.
	Replace bool
	// KeepBaseDirs keeps the base's metadata of every directory that both have; DirMeta is then not called.
	KeepBaseDirs bool
	// DirMeta chooses between different metadata of a directory that both have. Nil: metadata other than the plain
	// default (0755, root's, no xattrs) wins over the plain default; otherwise the base's wins.
	DirMeta func(path string, base, layer ostree.DirMeta) ostree.DirMeta
	// OnConflict decides on what would be a conflict. Its errors are collected with the conflicts.
	OnConflict func(path string, base, layer Entry) (Decision, error)
}

// Conflict is a path on which the two sides of a merge do not agree: different files, or a file (which may be a
// symlink) against a directory.
type Conflict struct {
	Path        string
	Base, Layer Entry
}

// Error says what is on either side.
func (c *Conflict) Error() string {
	return fmt.Sprintf("%s: %s against %s", c.Path, kindOf(c.Base), kindOf(c.Layer))
}

func kindOf(e Entry) string {
	if e.Dir {
		return "directory"
	}
	return "file " + e.File.String()[:12]
}

// Merge returns the union of both trees. Only directories that both have, with different content, are opened; all
// others are shared as they are. Where layer adds nothing, the base's directories are kept, with their checksums.
//
//	errors  all conflicts joined (errors.As finds the first *Conflict; Conflicts lists them), or the first
//	        error of a Source
func Merge(base, layer *Tree, o MergeOptions) (*Tree, error) {
	m := merger{o: o, left: MaxEntries}
	root, err := m.node("", base.root, layer.root, 0)
	if err != nil {
		return nil, err
	}
	if len(m.conflicts) > 0 {
		return nil, errors.Join(m.conflicts...)
	}
	return &Tree{root}, nil
}

// Conflicts returns every *Conflict in an error of Merge.
func Conflicts(err error) []*Conflict {
	if c, ok := err.(*Conflict); ok {
		return []*Conflict{c}
	}
	var out []*Conflict
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, in := range e.Unwrap() {
			out = append(out, Conflicts(in)...)
		}
	case interface{ Unwrap() error }:
		return Conflicts(e.Unwrap())
	}
	return out
}

type merger struct {
	o         MergeOptions
	left      int
	conflicts []error
}

// node merges two directories.
func (m *merger) node(path string, base, layer node, depth int) (node, error) {
	meta, err := m.meta(path, base.meta, layer.meta)
	if err != nil {
		return node{}, pathError(path, err)
	}
	if same(base.dir, layer.dir) {
		return node{meta, base.dir}, nil
	}
	if err := errors.Join(base.dir.open(), layer.dir.open()); err != nil {
		return node{}, pathError(path, err)
	}
	if len(layer.dir.files)+len(layer.dir.dirs) == 0 {
		return node{meta, base.dir}, nil
	}
	if len(base.dir.files)+len(base.dir.dirs) == 0 {
		return node{meta, layer.dir}, nil
	}
	out := newSplice(base.dir, len(layer.dir.files), len(layer.dir.dirs))
	changed := false
	for c := (cursor{d: layer.dir}); c.more(); {
		if err := bound(&m.left, depth); err != nil {
			return node{}, pathError(path, err)
		}
		got, fromBase := c.next(), false
		if b, ok := out.take(got.name); ok {
			if got, fromBase, err = m.both(under(path, b.name), b, got, depth+1); err != nil {
				return node{}, err
			}
		}
		changed = changed || !fromBase
		out.put(got)
	}
	if !changed {
		return node{meta, base.dir}, nil
	}
	return node{meta, out.dir()}, nil
}

// both merges what the two sides have under one name. fromBase is true if the result is what base had.
func (m *merger) both(path string, b, l item, depth int) (got item, fromBase bool, err error) {
	switch {
	case b.isDir && l.isDir:
		n, err := m.node(path, b.sub, l.sub, depth)
		return item{name: b.name, isDir: true, sub: n}, sameNode(n, b.sub), err
	case !b.isDir && !l.isDir && b.file == l.file:
		return b, true, nil
	case !b.isDir && !l.isDir && m.o.Replace:
		return l, false, nil
	}
	be, err1 := b.entry()
	le, err2 := l.entry()
	if err := errors.Join(err1, err2); err != nil {
		return item{}, false, pathError(path, err)
	}
	d := Refuse
	if m.o.OnConflict != nil {
		if d, err = m.o.OnConflict(path, be, le); err != nil {
			m.conflicts = append(m.conflicts, pathError(path, err))
			return b, true, nil
		}
	}
	switch d {
	case KeepBase:
		return b, true, nil
	case TakeLayer:
		return l, false, nil
	}
	m.conflicts = append(m.conflicts, &Conflict{path, be, le})
	return b, true, nil
}

// meta chooses between the metadata of a directory that both sides have.
func (m *merger) meta(path string, base, layer *meta) (*meta, error) {
	if m.o.KeepBaseDirs || base.sum == layer.sum {
		return base, nil
	}
	bm, err := base.get()
	if err != nil {
		return nil, err
	}
	if m.o.DirMeta == nil {
		if bm.IsDefault() {
			return layer, nil
		}
		return base, nil
	}
	lm, err := layer.get()
	if err != nil {
		return nil, err
	}
	got := m.o.DirMeta(path, bm, lm)
	switch {
	case got.Equal(bm):
		return base, nil
	case got.Equal(lm):
		return layer, nil
	}
	return newMeta(got), got.Check()
}
