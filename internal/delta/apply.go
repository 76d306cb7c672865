// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// Missing is how many of a part's objects r lacks.
func (p Part) Missing(r *repo.Repo) int {
	n := 0
	for i := range p.Objects.Len() {
		if o := p.Objects.At(i); !r.Has(o.Type, o.Checksum) {
			n++
		}
	}
	return n
}

// ApplyPart unpacks part i, which in holds, and puts into tx the objects that are not there yet, each held against its
// checksum. For an inline part in is nil. Objects of the commit that the delta begins at must be there.
//
//	errors  ostree.ErrCorrupt; repo.ErrNotFound if a source is missing
func (sb *Superblock) ApplyPart(ctx context.Context, tx *repo.Tx, i int, in io.Reader) error {
	part := sb.Parts[i]
	want := &part.Checksum
	if part.inline != nil {
		in, want = part.inline.section(), nil // the superblock's own checksum covers it
	}
	p, err := openPayload(tx.Repo(), in, part, want)
	if err != nil {
		return fmt.Errorf("part %d: %w", i, err)
	}
	defer p.free()
	if err := p.apply(ctx, tx, part); err != nil {
		return fmt.Errorf("part %d: %w", i, err)
	}
	return nil
}

// maxWorkers is how many objects of a part are made at a time: each may hold a buffer of a megabyte.
const maxWorkers = 4

// maxMadeSizeBytes bounds what one part makes.
const maxMadeSizeBytes = 1 << 44

// apply makes the objects of a part.
func (p *payload) apply(ctx context.Context, tx *repo.Tx, part Part) error {
	list, _, err := p.scan(part.Objects)
	if err != nil {
		return err
	}
	// what is made cannot be much more than was said; links count as nothing there, but have a target
	if part.UsizeBytes > maxMadeSizeBytes {
		return corruptf("it is said to make %d bytes, at most %d allowed", part.UsizeBytes, int64(maxMadeSizeBytes))
	}
	left := part.UsizeBytes + uint64(len(list))*ostree.MaxSymlinkLen
	for _, m := range list {
		if m.size > left {
			return corruptf("it makes more than the %d bytes that the superblock says", part.UsizeBytes)
		}
		left -= m.size
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxWorkers)
	const batch = 16 // most objects are small
	for len(list) > 0 {
		some := list[:min(batch, len(list))]
		list = list[len(some):]
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			w := worker{p: p, tx: tx}
			defer w.close()
			for _, m := range some {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := w.make(m); err != nil {
					return fmt.Errorf("object %s: %w", m.object, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// worker makes objects one after another, and keeps the last source open.
type worker struct {
	p      *payload
	tx     *repo.Tx
	source source
}

// source is the content of a file object that is read from.
type source struct {
	c    ostree.Checksum
	f    *os.File
	size int64
}

func (w *worker) close() {
	if w.source.f != nil {
		w.source.f.Close()
	}
}

// make puts one object into the transaction.
func (w *worker) make(m made) error {
	if w.tx.Has(m.object.Type, m.object.Checksum) {
		return nil
	}
	if m.object.Type != ostree.TypeFile {
		return w.meta(m.object, w.p.data[m.offset:m.offset+m.size])
	}
	if m.header.IsSymlink() {
		if !m.splice {
			return corruptf("a symlink is written piece by piece")
		}
		if m.size > ostree.MaxSymlinkLen {
			return corruptf("symlink target has %d bytes, at most %d allowed", m.size, ostree.MaxSymlinkLen)
		}
		m.header.Symlink = string(w.p.data[m.offset : m.offset+m.size])
		return w.put(m, 0, nil)
	}
	if m.splice {
		return w.put(m, int64(m.size), bytes.NewReader(w.p.data[m.offset:m.offset+m.size]))
	}
	r := &pieces{w: w, pos: m.from, source: m.source, size: int64(m.size)}
	return w.put(m, int64(m.size), r)
}

// put stores a file. A header that no file can have is the delta's fault.
func (w *worker) put(m made, size int64, content io.Reader) error {
	if err := m.header.Check(); err != nil {
		return corruptf("%w", err)
	}
	return w.tx.PutFileAs(m.object.Checksum, m.header, size, content)
}

func (w *worker) meta(o Object, data []byte) error {
	if got := ostree.SumBytes(data); got != o.Checksum {
		return corruptf("it has checksum %s", got)
	}
	data = bytes.Clone(data) // what is mapped goes away
	var err error
	if o.Type == ostree.TypeDirTree {
		_, err = ostree.ParseDirTree(data)
	} else {
		_, err = ostree.ParseDirMeta(data)
	}
	if err == nil {
		_, err = w.tx.PutMetadata(o.Type, data)
	}
	return err
}

// pieces is the content of a file that is written by several operations; it does them as it is read.
type pieces struct {
	w      *worker
	pos    int
	source *ostree.Checksum
	size   int64 // of the whole file
	now    io.Reader
	done   bool
}

func (r *pieces) Read(buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	for {
		if r.now != nil {
			n, err := r.now.Read(buf)
			if err == io.EOF {
				r.now, err = nil, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if r.done {
			return 0, io.EOF
		}
		if err := r.step(); err != nil {
			return 0, err
		}
	}
}

// step does one operation; scan has seen to it that it can be done.
func (r *pieces) step() error {
	p := r.w.p
	o, end, err := next(p.ops, r.pos, false)
	if err != nil {
		return err
	}
	r.pos = end
	switch o.letter {
	case opSetSource:
		c := ostree.Checksum(p.data[o.n[0] : o.n[0]+32])
		r.source = &c
	case opUnsetSource:
		r.source = nil
	case opClose:
		r.done = true
	case opWrite:
		if r.source == nil {
			r.now = bytes.NewReader(p.data[o.n[1] : o.n[1]+o.n[0]])
			return nil
		}
		s, err := r.w.open(*r.source)
		if err != nil {
			return err
		}
		if size := uint64(s.size); o.n[1] > size || o.n[0] > size-o.n[1] {
			return corruptf("bytes %d and %d more of source %s, which has %d", o.n[1], o.n[0], s.c, s.size)
		}
		r.now = io.NewSectionReader(s.f, int64(o.n[1]), int64(o.n[0]))
	case opPatch:
		s, err := r.w.open(*r.source)
		if err != nil {
			return err
		}
		r.now = newPatcher(p.data[o.n[0]:o.n[0]+o.n[1]], s.f, s.size, r.size)
	}
	return nil
}

// open opens a source, unless it is the last one again.
func (w *worker) open(c ostree.Checksum) (source, error) {
	if w.source.f != nil && w.source.c == c {
		return w.source, nil
	}
	h, f, size, err := w.tx.Repo().OpenContentAt(c)
	if err != nil {
		return source{}, fmt.Errorf("source: %w", err)
	}
	if h.IsSymlink() {
		f.Close()
		return source{}, corruptf("source %s is a symlink", c)
	}
	w.close()
	w.source = source{c, f, size}
	return w.source, nil
}

// complete fails unless everything that the commit needs is in tx or in its repository. What prev, if not nil, has at the
// same place is known to be there.
func complete(ctx context.Context, tx *repo.Tx, c ostree.Commit, prev *ostree.Commit) error {
	k := &completeness{tx: tx, seen: map[ostree.Checksum]bool{}}
	var old ostree.Checksum
	if prev != nil {
		old = prev.Tree
	}
	if !tx.Has(ostree.TypeDirMeta, c.Meta) {
		return fmt.Errorf("object %s.dirmeta is not in it: %w", c.Meta, repo.ErrNotFound)
	}
	return k.dir(ctx, c.Tree, old, 0)
}

type completeness struct {
	tx   *repo.Tx
	seen map[ostree.Checksum]bool
}

// maxDirDepth bounds the depth of a tree: deeper paths are longer than PATH_MAX.
const maxDirDepth = 2048

func (k *completeness) dir(ctx context.Context, c, old ostree.Checksum, depth int) error {
	if c == old || k.seen[c] {
		return nil
	}
	k.seen[c] = true
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDirDepth {
		return corruptf("directories nest deeper than %d", maxDirDepth)
	}
	tree, err := k.tx.DirTree(c)
	if err != nil {
		return err
	}
	var before ostree.DirTree
	if !old.IsZero() {
		if before, err = k.tx.DirTree(old); err != nil {
			return err
		}
	}
	files, dirs := entries(before)
	for _, f := range tree.Files {
		if files[f.Name] != f.Checksum && !k.tx.Has(ostree.TypeFile, f.Checksum) {
			return fmt.Errorf("object %s.file is not in it: %w", f.Checksum, repo.ErrNotFound)
		}
	}
	for _, d := range tree.Dirs {
		if dirs[d.Name].Meta != d.Meta && !k.tx.Has(ostree.TypeDirMeta, d.Meta) {
			return fmt.Errorf("object %s.dirmeta is not in it: %w", d.Meta, repo.ErrNotFound)
		}
		if err := k.dir(ctx, d.Tree, dirs[d.Name].Tree, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// entries gives what a directory holds by name.
func entries(t ostree.DirTree) (map[string]ostree.Checksum, map[string]ostree.TreeDir) {
	files, dirs := make(map[string]ostree.Checksum, len(t.Files)), make(map[string]ostree.TreeDir, len(t.Dirs))
	for _, f := range t.Files {
		files[f.Name] = f.Checksum
	}
	for _, d := range t.Dirs {
		dirs[d.Name] = d
	}
	return files, dirs
}
