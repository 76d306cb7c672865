// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// File is what an image says of a file object.
type File struct {
	Header    ostree.FileHeader
	SizeBytes int64
	// Content, if not nil, goes into the image itself instead of a redirect to the object: at most 2048 bytes.
	Content []byte
	// Digest, if not nil, is the object's, for the kernel to hold the object against.
	Digest *Verity
}

// Options say how an image is made.
type Options struct {
	// Stat tells what a file object is. It is called from several goroutines at once.
	Stat func(ostree.Checksum) (File, error)
	// StatAll, if not nil, is asked instead of Stat, once for all of an image: it calls put for each of the sums, from
	// several goroutines at once.
	StatAll func(ctx context.Context, sums []ostree.Checksum, put func(i int, f File)) error
	// Canonical makes the image that mkcomposefs and libostree would make: with whiteouts for the folders of objects in
	// the root. Such an image can not have others stacked on it: redirects of those end at the whiteouts.
	Canonical bool
}

// Info is what was written.
type Info struct {
	SizeBytes int64
	Inodes    int
	Digest    Verity // of the image itself
}

// Write writes the image of a tree.
//
//	errors  those of src, of Options.Stat and of w; a name, target or attribute that an image has no room for
func Write(ctx context.Context, w io.Writer, src tree.Source, root tree.Root, o Options) (Info, error) {
	b := newBuilder(ctx, src, o)
	top, err := b.tree(root)
	if err != nil {
		return Info{}, fmt.Errorf("make image: %w", err)
	}
	return finish(w, top, o.Canonical)
}

// WriteLayer writes an image that, stacked above the one of base, shows the tree top: what top has more or other, and
// whiteouts for what it lacks. Directories that are equal on both sides are not opened.
//
//	errors  as Write
func WriteLayer(ctx context.Context, w io.Writer, src tree.Source, base, top tree.Root, o Options) (Info, error) {
	if o.Canonical {
		return Info{}, errors.New("make layer: a canonical image is never a layer")
	}
	b := newBuilder(ctx, src, o)
	n, err := b.layer(base, top)
	if err != nil {
		return Info{}, fmt.Errorf("make layer: %w", err)
	}
	return finish(w, n, false)
}

func finish(w io.Writer, root *node, canonical bool) (Info, error) {
	m, err := newImage(root, canonical)
	if err != nil {
		return Info{}, fmt.Errorf("make image: %w", err)
	}
	v := newVerity()
	n, err := m.emit(io.MultiWriter(w, v))
	if err != nil {
		return Info{}, fmt.Errorf("write image: %w", err)
	}
	return Info{SizeBytes: n, Inodes: len(m.nodes), Digest: v.Sum()}, nil
}

// builder makes nodes of a tree.
type builder struct {
	ctx     context.Context
	src     tree.Source
	o       Options
	slots   chan struct{} // one for each further goroutine
	entries atomic.Int64

	mu    sync.Mutex
	nodes []*node // of files that StatAll will be asked for, by their sums
}

func newBuilder(ctx context.Context, src tree.Source, o Options) *builder {
	return &builder{ctx: ctx, src: src, o: o, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0))-1)}
}

// count bounds what a few objects that name each other again and again can make.
func (b *builder) count(n int) error {
	if b.entries.Add(int64(n)) > tree.MaxEntries {
		return fmt.Errorf("more than %d entries", tree.MaxEntries)
	}
	return b.ctx.Err()
}

func (b *builder) tree(root tree.Root) (*node, error) {
	n, err := b.dirNode("", root.Meta, nil)
	if err != nil {
		return nil, err
	}
	if err := b.fill(n, root.Tree, 0); err != nil {
		return nil, err
	}
	return n, b.statAll()
}

// later notes files for statAll.
func (b *builder) later(nodes ...*node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, nodes...)
}

// statAll completes the files that were noted.
func (b *builder) statAll() error {
	if len(b.nodes) == 0 {
		return nil
	}
	sums := make([]ostree.Checksum, len(b.nodes))
	for i, n := range b.nodes {
		sums[i] = n.sum
	}
	return b.o.StatAll(b.ctx, sums, func(i int, f File) { b.nodes[i].dress(f) })
}

func (b *builder) dirNode(name string, meta ostree.Checksum, parent *node) (*node, error) {
	m, err := b.src.DirMeta(meta)
	if err != nil {
		return nil, err
	}
	n := &node{rare: none, name: name, mode: typeDir | m.Mode&^typeMask, uid: m.UID, gid: m.GID, parent: parent}
	n.addXattrs(m.Xattrs)
	return n, nil
}

func (b *builder) fileNode(name string, c ostree.Checksum, parent *node) (*node, error) {
	n := &node{rare: none, name: name, sum: c, nlink: 1, parent: parent}
	if b.o.StatAll != nil {
		b.later(n)
		return n, nil
	}
	f, err := b.o.Stat(c)
	if err != nil {
		return nil, err
	}
	n.dress(f)
	return n, nil
}

// dress gives a file what is known of its object, which is sum.
func (n *node) dress(f File) {
	n.mode, n.uid, n.gid = f.Header.Mode, f.Header.UID, f.Header.GID
	if f.Header.Symlink != "" {
		n.grow().target = f.Header.Symlink
	}
	n.addXattrs(f.Header.Xattrs)
	if !n.isRegular() || f.SizeBytes == 0 {
		return
	}
	n.sizeBytes = uint64(f.SizeBytes)
	switch {
	case f.Content != nil:
		n.grow().content = f.Content
	case f.Digest == nil && len(n.xattrs) == 0:
		n.plain = true
	default:
		n.grow().object = "/" + ostree.ObjectPath(n.sum, ostree.TypeFile, false)
		if f.Digest != nil {
			n.digest = f.Digest[:]
		}
	}
}

// fill gives a directory what it holds, its subdirectories in other goroutines where there are free ones.
func (b *builder) fill(n *node, sum ostree.Checksum, depth int) error {
	if depth > tree.MaxDepth {
		return fmt.Errorf("directories nest deeper than %d", tree.MaxDepth)
	}
	t, err := b.src.DirTree(sum)
	if err != nil {
		return err
	}
	if err := b.count(len(t.Files) + len(t.Dirs)); err != nil {
		return err
	}
	n.children = make([]*node, 0, len(t.Files)+len(t.Dirs)+1)
	if err := b.files(n, t.Files); err != nil {
		return err
	}
	w := b.wait()
	for _, d := range t.Dirs {
		c, err := b.dirNode(d.Name, d.Meta, n)
		if err != nil {
			w.fail(fmt.Errorf("%s: %w", d.Name, err))
			break
		}
		n.children = append(n.children, c)
		w.do(func() error { return b.fill(c, d.Tree, depth+1) })
	}
	if err := w.done(); err != nil {
		return err
	}
	sortNodes(n.children)
	return nil
}

// files gives a directory its files.
func (b *builder) files(n *node, files []ostree.TreeFile) error {
	if b.o.StatAll != nil {
		nodes := make([]node, len(files))
		for i, f := range files {
			nodes[i] = node{rare: none, name: f.Name, sum: f.Checksum, nlink: 1, parent: n}
			n.children = append(n.children, &nodes[i])
		}
		b.later(n.children...)
		return nil
	}
	for _, f := range files {
		c, err := b.fileNode(f.Name, f.Checksum, n)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		n.children = append(n.children, c)
	}
	return nil
}

// group runs work in free goroutines, or at once where none is.
type group struct {
	b   *builder
	wg  sync.WaitGroup
	mu  sync.Mutex
	err error
}

func (b *builder) wait() *group { return &group{b: b} }

func (g *group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

func (g *group) do(f func() error) {
	run := func() {
		if err := f(); err != nil {
			g.fail(err)
		}
	}
	select {
	case g.b.slots <- struct{}{}:
		g.wg.Go(func() {
			defer func() { <-g.b.slots }()
			run()
		})
	default:
		run()
	}
}

func (g *group) done() error {
	g.wg.Wait()
	return g.err
}

// layer makes the nodes of what top has beyond base.
func (b *builder) layer(base, top tree.Root) (*node, error) {
	n, err := b.dirNode("", top.Meta, nil)
	if err != nil {
		return nil, err
	}
	if err := b.change(n, base.Tree, top.Tree, 0); err != nil {
		return nil, err
	}
	return n, b.statAll()
}

// whiteout hides a name of the layers below.
func whiteout(name string, parent *node) *node {
	return &node{rare: none, name: name, mode: typeChar, nlink: 1, parent: parent, hides: true}
}

// change gives n, a directory on both sides, what differs.
func (b *builder) change(n *node, base, top ostree.Checksum, depth int) error {
	if base == top {
		return nil
	}
	if depth > tree.MaxDepth {
		return fmt.Errorf("directories nest deeper than %d", tree.MaxDepth)
	}
	old, err := b.src.DirTree(base)
	if err != nil {
		return err
	}
	t, err := b.src.DirTree(top)
	if err != nil {
		return err
	}
	if err := b.count(len(t.Files) + len(t.Dirs)); err != nil {
		return err
	}
	oldFiles := make(map[string]ostree.Checksum, len(old.Files))
	gone := make(map[string]bool, len(old.Files)+len(old.Dirs))
	for _, f := range old.Files {
		oldFiles[f.Name], gone[f.Name] = f.Checksum, true
	}
	oldDirs := make(map[string]ostree.TreeDir, len(old.Dirs))
	for _, d := range old.Dirs {
		oldDirs[d.Name], gone[d.Name] = d, true
	}
	for _, f := range t.Files {
		delete(gone, f.Name)
		if was, ok := oldFiles[f.Name]; ok && was == f.Checksum {
			continue
		}
		c, err := b.fileNode(f.Name, f.Checksum, n)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		n.children = append(n.children, c)
	}
	for _, d := range t.Dirs {
		delete(gone, d.Name)
		was, both := oldDirs[d.Name]
		if both && was == d {
			continue
		}
		c, err := b.dirNode(d.Name, d.Meta, n)
		if err == nil && both {
			err = b.change(c, was.Tree, d.Tree, depth+1)
		} else if err == nil {
			err = b.fill(c, d.Tree, depth+1)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		n.children = append(n.children, c)
	}
	for name := range gone {
		n.children = append(n.children, whiteout(name, n))
	}
	sortNodes(n.children)
	return nil
}
