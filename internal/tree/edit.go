// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"grove/internal/ostree"
)

// Editor makes a new tree from another by steps. The tree that it began with never changes. An Editor is for one
// goroutine. Each step returns its error, which names the path; Err has all of them.
type Editor struct {
	// ParentMeta is given to directories that a path needs and nobody described; zero is ostree.DefaultDirMeta.
	ParentMeta ostree.DirMeta

	root *edit
	errs []error
}

// edit is a directory under change: what it held, and the changes to that by name.
type edit struct {
	base    *dir
	meta    *meta
	changes map[string]change
}

// change is one of: a file, a directory, or (both unset) nothing.
type change struct {
	isFile bool
	file   ostree.Checksum
	dir    *edit
}

func editOf(n node) *edit { return &edit{base: n.dir, meta: n.meta} }

func (e *edit) set(name string, c change) {
	if e.changes == nil {
		e.changes = map[string]change{}
	}
	e.changes[name] = c
}

// get returns what name stands for now: a file, a directory that may be edited, or nothing.
func (e *edit) get(name string) (change, error) {
	if c, ok := e.changes[name]; ok {
		return c, nil
	}
	if err := e.base.open(); err != nil {
		return change{}, err
	}
	if sum, ok := e.base.file(name); ok {
		return change{isFile: true, file: sum}, nil
	}
	n, ok := e.base.sub(name)
	if !ok {
		return change{}, nil
	}
	c := change{dir: editOf(n)}
	e.set(name, c)
	return c, nil
}

// Edit returns an Editor that begins with t.
func (t *Tree) Edit() *Editor { return &Editor{root: editOf(t.root)} }

// Err returns the errors of all steps so far, joined; nil if there were none.
func (e *Editor) Err() error { return errors.Join(e.errs...) }

func (e *Editor) fail(path string, err error) error {
	if err != nil {
		err = pathError(path, err)
		e.errs = append(e.errs, err)
	}
	return err
}

// PutFile makes path the file or symlink with that file object, in place of any file that is there.
//
//	errors  if path or a part of it is a directory or file that is in the way
func (e *Editor) PutFile(path string, sum ostree.Checksum) error {
	return e.fail(path, e.put(path, func(d *edit, name string) error {
		old, err := d.get(name)
		if err == nil && old.dir != nil {
			err = fmt.Errorf("put file: a directory is there")
		}
		if err == nil {
			d.set(name, change{isFile: true, file: sum})
		}
		return err
	}))
}

// PutDir makes path a directory with that metadata; if it is one, what it holds stays. Path "" is the root.
//
//	errors  if path or a part of it is a file
func (e *Editor) PutDir(path string, m ostree.DirMeta) error {
	if err := m.Check(); err != nil {
		return e.fail(path, fmt.Errorf("put directory: %w", err))
	}
	if path == "" {
		e.root.meta = newMeta(m)
		return nil
	}
	return e.fail(path, e.put(path, func(d *edit, name string) error {
		old, err := d.get(name)
		switch {
		case err != nil:
			return err
		case old.isFile:
			return fmt.Errorf("put directory: a file is there")
		case old.dir != nil:
			old.dir.meta = newMeta(m)
		default:
			d.set(name, change{dir: editOf(node{newMeta(m), newDir(nil, nil)})})
		}
		return nil
	}))
}

// Graft makes path the whole tree t, in place of any directory that is there. Nothing of t is opened.
//
//	errors  if path or a part of it is a file
func (e *Editor) Graft(path string, t *Tree) error {
	if path == "" {
		e.root = editOf(t.root)
		return nil
	}
	return e.fail(path, e.put(path, func(d *edit, name string) error {
		old, err := d.get(name)
		if err == nil && old.isFile {
			err = fmt.Errorf("graft: a file is there")
		}
		if err == nil {
			d.set(name, change{dir: editOf(t.root)})
		}
		return err
	}))
}

// Remove takes away the file, or the directory with all it holds, at path.
//
//	errors  fs.ErrNotExist; the root can not be removed
func (e *Editor) Remove(path string) error {
	names, err := split(path)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("remove: the root can not be removed")
	}
	if err != nil {
		return e.fail(path, err)
	}
	d := e.root
	for _, name := range names[:len(names)-1] {
		c, err := d.get(name)
		if err != nil {
			return e.fail(path, err)
		}
		if c.dir == nil {
			return e.fail(path, fmt.Errorf("remove: %w", fs.ErrNotExist))
		}
		d = c.dir
	}
	last := names[len(names)-1]
	c, err := d.get(last)
	if err == nil && c == (change{}) {
		err = fmt.Errorf("remove: %w", fs.ErrNotExist)
	}
	if err == nil {
		d.set(last, change{})
	}
	return e.fail(path, err)
}

// put finds or makes the parent directory of path and calls f with it.
func (e *Editor) put(path string, f func(d *edit, name string) error) error {
	names, err := split(path)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("the root is a directory")
	}
	d := e.root
	for i, name := range names[:len(names)-1] {
		c, err := d.get(name)
		if err != nil {
			return err
		}
		if c.isFile {
			return fmt.Errorf("%q is a file", join(names[:i+1]))
		}
		if c.dir == nil {
			c = change{dir: editOf(node{newMeta(e.parentMeta()), newDir(nil, nil)})}
			d.set(name, c)
		}
		d = c.dir
	}
	return f(d, names[len(names)-1])
}

func (e *Editor) parentMeta() ostree.DirMeta {
	if e.ParentMeta.Equal(ostree.DirMeta{}) {
		return ostree.DefaultDirMeta()
	}
	return e.ParentMeta
}

// Tree returns the tree as it is now. The Editor may go on; the tree does not change with it. Steps that failed have
// changed nothing.
func (e *Editor) Tree() *Tree { return &Tree{e.root.freeze()} }

// freeze returns the directory as a value; the very one it began with if nothing differs.
func (e *edit) freeze() node {
	if len(e.changes) == 0 { // base may not be open then
		return node{e.meta, e.base}
	}
	out := newSplice(e.base, len(e.changes), len(e.changes))
	changed := false
	for _, name := range slices.Sorted(maps.Keys(e.changes)) {
		old, had := out.take(name)
		switch c := e.changes[name]; {
		case c.isFile:
			changed = changed || !had || old.isDir || old.file != c.file
			out.put(item{name: name, file: c.file})
		case c.dir != nil:
			n := c.dir.freeze()
			changed = changed || !had || !old.isDir || !sameNode(n, old.sub)
			out.put(item{name: name, isDir: true, sub: n})
		default:
			changed = changed || had
		}
	}
	if !changed {
		return node{e.meta, e.base}
	}
	return node{e.meta, out.dir()}
}

func sameNode(a, b node) bool { return same(a.dir, b.dir) && a.meta.sum == b.meta.sum }
