// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"grove/internal/ostree"
)

// node is a directory: its metadata, and what it holds.
type node struct {
	meta *meta
	dir  *dir
}

// loader reads on behalf of all parts of one loaded tree.
type loader struct {
	src   Source
	mu    sync.Mutex
	metas map[ostree.Checksum]*meta
}

// meta returns the shared metadata of that name, without reading it. A distribution has a handful.
func (ld *loader) meta(sum ostree.Checksum) *meta {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	m, ok := ld.metas[sum]
	if !ok {
		m = &meta{sum: sum, ld: ld}
		if ld.metas == nil {
			ld.metas = map[ostree.Checksum]*meta{}
		}
		ld.metas[sum] = m
	}
	return m
}

func (ld *loader) dir(sum ostree.Checksum) *dir { return &dir{sum: sum, summed: true, ld: ld} }

// meta is a directory's metadata. It either was made here (ld is nil, val is set), or is read when asked for.
type meta struct {
	sum ostree.Checksum
	ld  *loader

	mu    sync.Mutex // guards what follows until ready, if ld is set
	ready bool
	val   ostree.DirMeta
}

func newMeta(m ostree.DirMeta) *meta { return &meta{sum: m.Checksum(), ready: true, val: m} }

func (m *meta) get() (ostree.DirMeta, error) {
	if m.ld == nil {
		return m.val, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready {
		return m.val, nil
	}
	val, err := m.ld.src.DirMeta(m.sum)
	if err != nil {
		return ostree.DirMeta{}, fmt.Errorf("read dirmeta %s: %w", m.sum, err)
	}
	m.val, m.ready = val, true
	return val, nil
}

// dir is what a directory holds. It either was made here (ld is nil, all is set), or is read by open.
// files and dirs are sorted, share no name, and never change.
type dir struct {
	ld *loader

	mu     sync.Mutex // guards what follows: until ready if ld is set, sum always if it is not
	ready  bool
	files  []ostree.TreeFile
	dirs   []child
	sum    ostree.Checksum
	summed bool
}

type child struct {
	name string
	node
}

func newDir(files []ostree.TreeFile, dirs []child) *dir {
	return &dir{ready: true, files: files, dirs: dirs}
}

// open makes files and dirs available.
func (d *dir) open() error {
	if d.ld == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready {
		return nil
	}
	dt, err := d.ld.src.DirTree(d.sum)
	if err == nil {
		err = dt.Check()
	}
	if err != nil {
		return fmt.Errorf("read dirtree %s: %w", d.sum, err)
	}
	below := make([]dir, len(dt.Dirs)) // one allocation: they live and die together
	dirs := make([]child, len(dt.Dirs))
	for i, e := range dt.Dirs {
		below[i].ld, below[i].sum, below[i].summed = d.ld, e.Tree, true
		dirs[i] = child{e.Name, node{d.ld.meta(e.Meta), &below[i]}}
	}
	d.files, d.dirs, d.ready = dt.Files, dirs, true
	return nil
}

// known returns the checksum if it is there without computing it.
func (d *dir) known() (ostree.Checksum, bool) {
	if d.ld != nil {
		return d.sum, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sum, d.summed
}

func (d *dir) remember(sum ostree.Checksum) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum, d.summed = sum, true
}

// checksum computes the name of d, once. It reads nothing: what was made here is here, the rest has a name.
func (d *dir) checksum() ostree.Checksum {
	if sum, ok := d.known(); ok {
		return sum
	}
	dt := ostree.DirTree{Files: d.files, Dirs: make([]ostree.TreeDir, len(d.dirs))}
	for i, c := range d.dirs {
		dt.Dirs[i] = ostree.TreeDir{Name: c.name, Tree: c.dir.checksum(), Meta: c.meta.sum}
	}
	sum := dt.Checksum()
	d.remember(sum)
	return sum
}

// same reports whether both are known to hold the same, without opening or computing anything.
func same(a, b *dir) bool {
	if a == b {
		return true
	}
	x, ok1 := a.known()
	y, ok2 := b.known()
	return ok1 && ok2 && x == y
}

// file and sub look a name up in an open directory.
func (d *dir) file(name string) (ostree.Checksum, bool) {
	i, ok := slices.BinarySearchFunc(d.files, name, compareFile)
	if !ok {
		return ostree.Checksum{}, false
	}
	return d.files[i].Checksum, true
}

func (d *dir) sub(name string) (node, bool) {
	i, ok := slices.BinarySearchFunc(d.dirs, name, compareChild)
	if !ok {
		return node{}, false
	}
	return d.dirs[i].node, true
}

// item is one entry of an open directory.
type item struct {
	name  string
	isDir bool
	file  ostree.Checksum
	sub   node
}

// entry reads a directory's metadata, nothing else. The name is set even if that fails.
func (it item) entry() (Entry, error) {
	e := Entry{Name: it.name, Dir: it.isDir, File: it.file}
	if !it.isDir {
		return e, nil
	}
	var err error
	e.Meta, err = it.sub.meta.get()
	return e, err
}

// cursor goes through an open directory in order of names, files and directories together.
type cursor struct {
	d      *dir
	fi, di int
}

func (c *cursor) more() bool { return c.fi < len(c.d.files) || c.di < len(c.d.dirs) }

// peek returns the next item and leaves it where it is. There must be one.
func (c *cursor) peek() item {
	if c.di < len(c.d.dirs) && (c.fi == len(c.d.files) || c.d.dirs[c.di].name < c.d.files[c.fi].Name) {
		s := c.d.dirs[c.di]
		return item{name: s.name, isDir: true, sub: s.node}
	}
	f := c.d.files[c.fi]
	return item{name: f.Name, file: f.Checksum}
}

func (c *cursor) next() item {
	it := c.peek()
	if it.isDir {
		c.di++
	} else {
		c.fi++
	}
	return it
}

// pairs goes through two open directories together. has tells on which side the name is.
type pairs struct{ a, b cursor }

func (p *pairs) more() bool { return p.a.more() || p.b.more() }

func (p *pairs) next() (a, b item, hasA, hasB bool) {
	hasA, hasB = p.a.more(), p.b.more()
	if hasA && hasB {
		x, y := p.a.peek().name, p.b.peek().name
		hasA, hasB = x <= y, y <= x
	}
	if hasA {
		a = p.a.next()
	}
	if hasB {
		b = p.b.next()
	}
	return a, b, hasA, hasB
}

// splice makes a new directory out of an old one and a few entries that come in order of names. What lies between them
// is copied in one piece, so that a large directory costs little more than its bytes.
type splice struct {
	fromFiles, files []ostree.TreeFile
	fromDirs, dirs   []child
}

// newSplice begins with the open directory base, and room for more files and directories.
func newSplice(base *dir, moreFiles, moreDirs int) *splice {
	return &splice{
		fromFiles: base.files, files: make([]ostree.TreeFile, 0, len(base.files)+moreFiles),
		fromDirs: base.dirs, dirs: make([]child, 0, len(base.dirs)+moreDirs),
	}
}

// take copies what base has before name, and takes out what it has under that name.
func (s *splice) take(name string) (old item, ok bool) {
	i, isFile := slices.BinarySearchFunc(s.fromFiles, name, compareFile)
	s.files, s.fromFiles = append(s.files, s.fromFiles[:i]...), s.fromFiles[i:]
	j, isDir := slices.BinarySearchFunc(s.fromDirs, name, compareChild)
	s.dirs, s.fromDirs = append(s.dirs, s.fromDirs[:j]...), s.fromDirs[j:]
	switch {
	case isFile:
		old = item{name: name, file: s.fromFiles[0].Checksum}
		s.fromFiles = s.fromFiles[1:]
	case isDir:
		old = item{name: name, isDir: true, sub: s.fromDirs[0].node}
		s.fromDirs = s.fromDirs[1:]
	}
	return old, isFile || isDir
}

// put adds an entry under the name of the last take.
func (s *splice) put(it item) {
	if it.isDir {
		s.dirs = append(s.dirs, child{it.name, it.sub})
	} else {
		s.files = append(s.files, ostree.TreeFile{Name: it.name, Checksum: it.file})
	}
}

// dir copies the rest of base and ends the work.
func (s *splice) dir() *dir {
	return newDir(append(s.files, s.fromFiles...), append(s.dirs, s.fromDirs...))
}

func compareFile(f ostree.TreeFile, name string) int { return strings.Compare(f.Name, name) }
func compareChild(c child, name string) int          { return strings.Compare(c.name, name) }
