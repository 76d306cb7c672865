// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// Sizes that GenerateOptions have where they say 0.
//
//	source  ostree src/libostree/ostree-repo-static-delta-compilation.c, ostree_repo_static_delta_generate
const (
	DefaultMinFallbackBytes = 4_000_000
	DefaultMaxBsdiffBytes   = 128_000_000
	DefaultMaxPartBytes     = 32_000_000
)

// GenerateOptions say what a delta is made like.
type GenerateOptions struct {
	MinFallbackBytes int64 // larger files that are like no other are left to be fetched by themselves; 0 = 4 MB, -1 = none are
	MaxBsdiffBytes   int64 // old and new file together, up to which a binary difference is made; 0 = 128 MB
	MaxPartBytes     int64 // of a part before it is compressed; 0 = 32 MB
	DisableBsdiff    bool
	Inline           bool      // the parts into the superblock
	Order            ByteOrder // 0 = little endian
	// Filename is the superblock's file, instead of the repository; the parts come beside it.
	Filename string
	Signers  []trust.Signer // ed25519
	// Metadata comes first in the superblock.
	Metadata gvariant.Dict
	Progress func(done, total int) // objects
}

// Stats tell what a delta is made of.
type Stats struct {
	Parts                 int
	SizeBytes, UsizeBytes uint64 // of the parts, and of what they make
	Metadata, Whole       int    // objects
	Chunks, Bsdiff        int    // files made of pieces of others, and of differences
	Fallbacks             int
}

// Generate makes the delta of that name. The same commits and options give the same bytes, with the same xz. A delta of that
// name is replaced: readers see all of the old one or all of the new one.
//
//	errors  repo.ErrNotFound if a commit is not there whole
func Generate(ctx context.Context, r *repo.Repo, n ostree.DeltaName, o GenerateOptions) (Stats, error) {
	g := &generator{ctx: ctx, r: r, o: o, sb: &Superblock{Name: n, Order: o.Order, Metadata: o.Metadata}}
	if err := g.run(); err != nil {
		return g.stats, fmt.Errorf("generate delta %s: %w", n, err)
	}
	return g.stats, nil
}

type generator struct {
	ctx   context.Context
	r     *repo.Repo
	o     GenerateOptions
	sb    *Superblock
	b     *builder
	stats Stats
	done  int
	total int
}

func or(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

func (g *generator) run() error {
	g.o.MinFallbackBytes = or(g.o.MinFallbackBytes, DefaultMinFallbackBytes)
	g.o.MaxBsdiffBytes = or(g.o.MaxBsdiffBytes, DefaultMaxBsdiffBytes)
	g.o.MaxPartBytes = or(g.o.MaxPartBytes, DefaultMaxPartBytes)
	if g.sb.Order == 0 {
		g.sb.Order = LittleEndian
	}
	from, to, err := g.commits()
	if err != nil {
		return err
	}
	place, err := g.place()
	if err != nil {
		return err
	}
	defer place.abort()
	cs, err := newContents(g.ctx, g.r, from, to)
	if err != nil {
		return err
	}
	g.b = newBuilder(g.r, place.dir, g.o.MaxPartBytes)
	defer g.b.abort()
	if err := g.fill(cs); err != nil {
		return err
	}
	parts, err := g.b.finish()
	if err != nil {
		return err
	}
	for _, p := range parts {
		g.sb.Parts = append(g.sb.Parts, *p)
		g.stats.SizeBytes += p.SizeBytes
		g.stats.UsizeBytes += p.UsizeBytes
	}
	g.stats.Parts, g.stats.Fallbacks = len(parts), len(g.sb.Fallbacks)
	if err := g.writeSuperblock(place.dir); err != nil {
		return err
	}
	return place.publish()
}

// commits reads both ends.
func (g *generator) commits() (from *ostree.Commit, to ostree.Commit, err error) {
	n := g.sb.Name
	for _, c := range []ostree.Checksum{n.From, n.To} {
		if !c.IsZero() && g.r.IsPartial(c) {
			return nil, to, fmt.Errorf("commit %s is there in part only: %w", c, repo.ErrNotFound)
		}
	}
	if !n.From.IsZero() {
		c, err := g.r.Commit(n.From)
		if err != nil {
			return nil, to, err
		}
		from = &c
	}
	if g.sb.Commit, err = g.r.Metadata(ostree.TypeCommit, n.To); err != nil {
		return nil, to, err
	}
	if to, err = ostree.ParseCommit(g.sb.Commit); err != nil {
		return nil, to, err
	}
	g.sb.Timestamp = to.Timestamp
	g.sb.Detached, err = g.r.Detached(n.To)
	return from, to, err
}

// place is where a delta is written until it is whole.
type place struct {
	dir     string
	publish func() error
	abort   func()
}

func (g *generator) place() (place, error) {
	if g.o.Filename == "" {
		d, err := g.r.BeginDelta(g.ctx)
		if err != nil {
			return place{}, err
		}
		return place{d.Path(), func() error { return d.Publish(g.sb.Name) }, func() { d.Abort() }}, nil
	}
	parent := filepath.Dir(g.o.Filename)
	dir, err := os.MkdirTemp(parent, ".grove-tmp-")
	if err != nil {
		return place{}, err
	}
	return place{dir, func() error { return g.moveTo(dir, parent) }, func() { os.RemoveAll(dir) }}, nil
}

// moveTo puts what was written beside one another into the folder parent, the superblock last.
func (g *generator) moveTo(dir, parent string) error {
	if err := durable.SyncFS(dir); err != nil {
		return err
	}
	if !g.o.Inline {
		for i := range g.sb.Parts {
			name := strconv.Itoa(i)
			if err := durable.RenameNoSync(filepath.Join(dir, name), filepath.Join(parent, name)); err != nil {
				return err
			}
		}
	}
	if err := durable.RenameNoSync(filepath.Join(dir, superblockName), g.o.Filename); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

// way is how a file is put into the delta.
type way int

const (
	asWhole way = iota
	asChunks
	asBsdiff
	asFallback
)

// smallBsdiff is up to what size of old and new file together a binary difference is made without looking for whole chunks: it
// is smaller, and takes seconds only for larger ones.
const smallBsdiff = 8 << 20

// fill puts all objects into parts: metadata, files that are like others, others, each group in order of their paths.
func (g *generator) fill(cs contents) error {
	g.total = len(cs.metas) + len(cs.files)
	for _, o := range cs.metas {
		if err := g.addMeta(o); err != nil {
			return fmt.Errorf("object %s: %w", o, err)
		}
	}
	// kinds of files side by side: what is alike is found by the compressor
	slices.SortStableFunc(cs.files, func(a, b *newFile) int {
		x, y := a.paths[0], b.paths[0]
		if n := strings.Compare(path.Ext(x), path.Ext(y)); n != 0 {
			return n
		}
		return strings.Compare(x, y)
	})
	var whole []*newFile
	diffs := newDiffs(g, cs.files)
	defer diffs.stop()
	for i, f := range cs.files {
		if f.from.IsZero() {
			whole = append(whole, f)
			continue
		}
		d, err := diffs.get(i)
		if err == nil && d.way == asWhole {
			whole = append(whole, f)
			continue
		}
		if err == nil {
			err = g.addDiff(f, d)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", f.c, err)
		}
	}
	for _, f := range whole {
		if err := g.addWhole(f); err != nil {
			return fmt.Errorf("file %s: %w", f.c, err)
		}
	}
	return nil
}

func (g *generator) progress() error {
	g.done++
	if g.o.Progress != nil {
		g.o.Progress(g.done, g.total)
	}
	return g.ctx.Err()
}

func (g *generator) addMeta(o Object) error {
	data, err := g.r.Metadata(o.Type, o.Checksum)
	if err != nil {
		return err
	}
	p, err := g.b.part(int64(len(data)))
	if err != nil {
		return err
	}
	p.begin(o, int64(len(data)))
	at, err := p.addBytes(data)
	p.op(opSplice, uint64(len(data)), at)
	g.stats.Metadata++
	if err == nil {
		err = g.progress()
	}
	return err
}

// addWhole puts a file in as it is, or leaves it out.
func (g *generator) addWhole(f *newFile) error {
	if limit := g.o.MinFallbackBytes; limit > 0 && f.size > limit {
		return g.addFallback(f)
	}
	p, err := g.b.part(f.size)
	if err != nil {
		return err
	}
	p.begin(Object{ostree.TypeFile, f.c}, f.size)
	mode, xattrs := p.header(f.header)
	var at uint64
	size := f.size
	if f.header.IsSymlink() {
		at, err = p.addBytes([]byte(f.header.Symlink))
		size = int64(len(f.header.Symlink))
	} else {
		at, err = g.addContent(p, f)
	}
	p.op(opSplice, mode, xattrs, uint64(size), at)
	g.stats.Whole++
	if err == nil {
		err = g.progress()
	}
	return err
}

// addContent puts the verified content of a file in.
func (g *generator) addContent(p *partBuilder, f *newFile) (at uint64, err error) {
	_, _, in, err := g.r.OpenVerified(f.c)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	at, size, err := p.add(in)
	if err == nil && size != f.size {
		err = corruptf("%d bytes, wanted %d", size, f.size)
	}
	return at, err
}

func (g *generator) addFallback(f *newFile) error {
	size, err := g.storedSize(f)
	if err != nil {
		return err
	}
	g.sb.Fallbacks = append(g.sb.Fallbacks, Fallback{Object{ostree.TypeFile, f.c}, size, uint64(f.size)})
	return g.progress()
}

// storedSize is what a file takes in the repository: in an archive that is what comes over the line.
func (g *generator) storedSize(f *newFile) (uint64, error) {
	fi, err := os.Lstat(g.r.ObjectPath(ostree.TypeFile, f.c))
	if err != nil { // in a parent
		return uint64(f.size), nil
	}
	return uint64(fi.Size()), nil
}

// addDiff puts in what makes a file of another.
func (g *generator) addDiff(f *newFile, d *diff) error {
	defer d.close()
	size := d.size()
	p, err := g.b.part(size)
	if err != nil {
		return err
	}
	p.begin(Object{ostree.TypeFile, f.c}, f.size)
	mode, xattrs := p.header(f.header)
	source, err := p.addBytes(f.from[:])
	if err != nil {
		return err
	}
	if d.way == asBsdiff {
		g.stats.Bsdiff++
		at, size, err := p.add(d.reader())
		if err != nil {
			return err
		}
		p.op(opSetSource, source)
		p.op(opOpen, mode, xattrs, uint64(f.size))
		p.op(opPatch, at, uint64(size))
		p.op(opClose)
		p.op(opUnsetSource)
		return g.progress()
	}
	g.stats.Chunks++
	p.op(opOpen, mode, xattrs, uint64(f.size))
	if err := g.addChunks(p, d, source); err != nil {
		return err
	}
	p.op(opClose)
	return g.progress()
}

// addChunks writes a file as pieces of the source and pieces of its own.
func (g *generator) addChunks(p *partBuilder, d *diff, source uint64) error {
	done, reading := 0, false
	own := func(end int) error {
		if end == done {
			return nil
		}
		if reading {
			p.op(opUnsetSource)
			reading = false
		}
		at, err := p.addBytes(d.new.data[done:end])
		p.op(opWrite, uint64(end-done), at)
		done = end
		return err
	}
	for _, m := range d.matches {
		if err := own(m.to); err != nil {
			return err
		}
		if !reading {
			p.op(opSetSource, source)
			reading = true
		}
		p.op(opWrite, uint64(m.length), uint64(m.from))
		done = m.to + m.length
	}
	if err := own(len(d.new.data)); err != nil {
		return err
	}
	if reading {
		p.op(opUnsetSource)
	}
	return nil
}

// writeSuperblock writes it beside the parts, signed where there are signers.
func (g *generator) writeSuperblock(dir string) error {
	path := filepath.Join(dir, superblockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	inline := ""
	if g.o.Inline {
		inline = dir
	}
	if err := g.sb.write(f, inline); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	if len(g.o.Signers) > 0 {
		if f, err = signFile(g.ctx, f, path, g.o.Signers); err != nil {
			return fmt.Errorf("sign superblock: %w", err)
		}
		defer f.Close()
	}
	if g.o.Inline {
		for i := range g.sb.Parts {
			if err := os.Remove(filepath.Join(dir, strconv.Itoa(i))); err != nil {
				return err
			}
		}
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return f.Close()
}
