// SPDX-License-Identifier: Apache-2.0

// Package tree holds whole file trees as values: looked into, edited, merged, compared and printed without a disk.
//
// It sees names, checksums and directory metadata only. It never opens a file's content, knows nothing of
// repositories (a [Source] reads objects, a [Sink] takes them), and does not follow symlinks.
//
// Invariants: a Tree never changes, and may be used by many goroutines; trees share what they have in common;
// a directory is read when something looks into it and not before; what was not changed keeps its checksum and
// is not encoded again. Paths are slash separated without leading slash, and "" is the root.
package tree

import (
	"fmt"
	"io/fs"
	"strings"

	"grove/internal/ostree"
)

// MaxDepth bounds how deep directories nest: a Linux path of 4096 bytes has room for no more.
const MaxDepth = 2048

// MaxEntries bounds how many entries one call visits. A few small objects can describe a tree of any size, by naming
// the same directory again and again; the largest real ones have a few million entries.
const MaxEntries = 32 << 20

// Source reads directory objects by checksum. What it returns must not be changed afterwards.
type Source interface {
	DirTree(ostree.Checksum) (ostree.DirTree, error)
	DirMeta(ostree.Checksum) (ostree.DirMeta, error)
}

// Sink takes directory objects and returns their checksums.
type Sink interface {
	PutDirTree(ostree.DirTree) (ostree.Checksum, error)
	PutDirMeta(ostree.DirMeta) (ostree.Checksum, error)
}

// Root names a whole tree: its root directory's content and metadata, as a commit does.
type Root struct{ Tree, Meta ostree.Checksum }

// Tree is an immutable file tree.
type Tree struct{ root node }

// Entry is what a path stands for.
type Entry struct {
	Name string          // last element of the path; "" for the root
	Dir  bool            // else a file or symlink
	File ostree.Checksum // of a file or symlink: its file object
	Meta ostree.DirMeta  // of a directory
}

// Load returns the tree of that name. Nothing is read yet: a missing object is an error of the call that needs it.
func Load(src Source, root Root) *Tree {
	ld := &loader{src: src}
	return &Tree{node{ld.meta(root.Meta), ld.dir(root.Tree)}}
}

// Empty returns a tree that is one empty directory.
func Empty(meta ostree.DirMeta) *Tree { return &Tree{node{newMeta(meta), newDir(nil, nil)}} }

// Meta returns the metadata of the root directory.
func (t *Tree) Meta() (ostree.DirMeta, error) {
	m, err := t.root.meta.get()
	if err != nil {
		return ostree.DirMeta{}, pathError("", err)
	}
	return m, nil
}

// Lookup returns what lies at path; false if nothing does, also if something on the way is no directory.
func (t *Tree) Lookup(path string) (Entry, bool, error) {
	names, err := split(path)
	if err != nil {
		return Entry{}, false, err
	}
	n := t.root
	for i, name := range names {
		if err := n.dir.open(); err != nil {
			return Entry{}, false, pathError(join(names[:i]), err)
		}
		sub, ok := n.dir.sub(name)
		if !ok {
			if sum, ok := n.dir.file(name); ok && i == len(names)-1 {
				return Entry{Name: name, File: sum}, true, nil
			}
			return Entry{}, false, nil
		}
		n = sub
	}
	meta, err := n.meta.get()
	if err != nil {
		return Entry{}, false, pathError(path, err)
	}
	name := ""
	if len(names) > 0 {
		name = names[len(names)-1]
	}
	return Entry{Name: name, Dir: true, Meta: meta}, true, nil
}

// at returns the directory at path.
//
//	errors  fs.ErrNotExist, also if path is a file
func (t *Tree) at(path string) (node, error) {
	names, err := split(path)
	if err != nil {
		return node{}, err
	}
	n := t.root
	for i, name := range names {
		if err := n.dir.open(); err != nil {
			return node{}, pathError(join(names[:i]), err)
		}
		sub, ok := n.dir.sub(name)
		if !ok {
			return node{}, fmt.Errorf("directory %q: %w", path, fs.ErrNotExist)
		}
		n = sub
	}
	return n, nil
}

// ReadDir returns what the directory at path holds, sorted by name.
//
//	errors  fs.ErrNotExist if there is no directory at path
func (t *Tree) ReadDir(path string) ([]Entry, error) {
	n, err := t.at(path)
	if err != nil {
		return nil, err
	}
	if err := n.dir.open(); err != nil {
		return nil, pathError(path, err)
	}
	out := make([]Entry, 0, len(n.dir.files)+len(n.dir.dirs))
	for c := (cursor{d: n.dir}); c.more(); {
		e, err := c.next().entry()
		if err != nil {
			return nil, pathError(under(path, e.Name), err)
		}
		out = append(out, e)
	}
	return out, nil
}

// Sub returns the directory at path as a tree of its own.
//
//	errors  fs.ErrNotExist if there is no directory at path
func (t *Tree) Sub(path string) (*Tree, error) {
	n, err := t.at(path)
	if err != nil {
		return nil, err
	}
	return &Tree{n}, nil
}

// Walk calls f for the root (path "") and everything below: sorted by name within a directory, a directory before what
// it holds. f may return fs.SkipDir to leave out a directory's content (or, from a file, the rest of its directory),
// and fs.SkipAll to end.
func (t *Tree) Walk(f func(path string, e Entry) error) error {
	w := walker{f: f, left: MaxEntries}
	err := w.visit("", item{sub: t.root, isDir: true}, 0)
	if err == fs.SkipAll || err == fs.SkipDir {
		return nil
	}
	return err
}

type walker struct {
	f    func(string, Entry) error
	left int
}

func (w *walker) visit(path string, it item, depth int) error {
	if err := bound(&w.left, depth); err != nil {
		return pathError(path, err)
	}
	e, err := it.entry()
	if err != nil {
		return pathError(path, err)
	}
	if err := w.f(path, e); err != nil || !it.isDir {
		if err == fs.SkipDir && it.isDir {
			return nil
		}
		return err
	}
	if err := it.sub.dir.open(); err != nil {
		return pathError(path, err)
	}
	for c := (cursor{d: it.sub.dir}); c.more(); {
		next := c.next()
		if err := w.visit(under(path, next.name), next, depth+1); err == fs.SkipDir {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// bound counts one visited entry.
func bound(left *int, depth int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("tree has more than %d entries", MaxEntries)
	}
	if depth > MaxDepth {
		return fmt.Errorf("tree is nested deeper than %d", MaxDepth)
	}
	return nil
}

// Write puts into dst what was made or changed since the parts of t were loaded, and returns the tree's name. What is
// unchanged is taken to be in dst already. To go on from here cheaply, Load the result.
func (t *Tree) Write(dst Sink) (Root, error) {
	w := writer{dst: dst, dirs: map[*dir]ostree.Checksum{}, metas: map[ostree.Checksum]bool{}}
	sum, err := w.dir("", t.root.dir)
	if err != nil {
		return Root{}, err
	}
	meta, err := w.meta("", t.root.meta)
	return Root{sum, meta}, err
}

type writer struct {
	dst   Sink
	dirs  map[*dir]ostree.Checksum
	metas map[ostree.Checksum]bool
}

func (w *writer) dir(path string, d *dir) (ostree.Checksum, error) {
	if d.ld != nil {
		return d.sum, nil
	}
	if sum, ok := w.dirs[d]; ok {
		return sum, nil
	}
	dt := ostree.DirTree{Files: d.files, Dirs: make([]ostree.TreeDir, len(d.dirs))}
	for i, c := range d.dirs {
		at := under(path, c.name)
		sum, err := w.dir(at, c.dir)
		if err != nil {
			return sum, err
		}
		meta, err := w.meta(at, c.meta)
		if err != nil {
			return sum, err
		}
		dt.Dirs[i] = ostree.TreeDir{Name: c.name, Tree: sum, Meta: meta}
	}
	sum, err := w.dst.PutDirTree(dt)
	if err != nil {
		return sum, pathError(path, err)
	}
	w.dirs[d] = sum
	d.remember(sum)
	return sum, nil
}

func (w *writer) meta(path string, m *meta) (ostree.Checksum, error) {
	if m.ld != nil || w.metas[m.sum] {
		return m.sum, nil
	}
	if _, err := w.dst.PutDirMeta(m.val); err != nil {
		return m.sum, pathError(path, err)
	}
	w.metas[m.sum] = true
	return m.sum, nil
}

// Hash returns the name that Write would give t, and writes nothing.
func Hash(t *Tree) (Root, error) { return Root{t.root.dir.checksum(), t.root.meta.sum}, nil }

// split takes a path apart and checks each name.
func split(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	names := strings.Split(path, "/")
	for _, n := range names {
		if err := ostree.CheckName(n); err != nil {
			return nil, fmt.Errorf("path %.200q: %w", path, err)
		}
	}
	if len(names) > MaxDepth {
		return nil, fmt.Errorf("path %.40q… is nested deeper than %d", path, MaxDepth)
	}
	return names, nil
}

func join(names []string) string { return strings.Join(names, "/") }

// under joins a directory and a name.
func under(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// pathError says where in the tree err happened.
func pathError(path string, err error) error {
	if path == "" {
		path = "."
	}
	return fmt.Errorf("%s: %w", path, err)
}
