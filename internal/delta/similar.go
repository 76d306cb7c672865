// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"context"
	"path"
	"slices"
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// contents is what a commit consists of, but for what another one has too.
type contents struct {
	metas []Object // dirtrees and dirmetas, sorted by checksum
	files []*newFile
}

// newFile is a file object that the delta has to make.
type newFile struct {
	c      ostree.Checksum
	paths  []string // in order
	header ostree.FileHeader
	size   int64
	from   ostree.Checksum // what it is like; zero: nothing
}

// walker finds the objects of a commit.
type walker struct {
	ctx   context.Context
	r     *repo.Repo
	seen  map[Object]bool
	known map[Object]bool // objects that do not count
	file  func(path string, c ostree.Checksum) error
	metas []Object
}

func (w *walker) note(o Object) bool {
	if w.seen[o] {
		return false
	}
	w.seen[o] = true
	if o.Type != ostree.TypeFile && !w.known[o] {
		w.metas = append(w.metas, o)
	}
	return true
}

// commit walks over a whole tree, over each directory once.
func (w *walker) commit(c ostree.Commit) error {
	w.note(Object{ostree.TypeDirMeta, c.Meta})
	return w.dir("", c.Tree, 0)
}

func (w *walker) dir(at string, c ostree.Checksum, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDirDepth {
		return corruptf("directories nest deeper than %d", maxDirDepth)
	}
	if o := (Object{ostree.TypeDirTree, c}); !w.note(o) || w.known[o] {
		return nil // what is below is seen, or known, as well
	}
	t, err := w.r.DirTree(c)
	if err != nil {
		return err
	}
	for _, f := range t.Files {
		o := Object{ostree.TypeFile, f.Checksum}
		w.note(o)
		if !w.known[o] {
			if err := w.file(path.Join(at, f.Name), f.Checksum); err != nil {
				return err
			}
		}
	}
	for _, d := range t.Dirs {
		w.note(Object{ostree.TypeDirMeta, d.Meta})
		if err := w.dir(path.Join(at, d.Name), d.Tree, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// newContents lists what to has and from, which may be nil, has not.
func newContents(ctx context.Context, r *repo.Repo, from *ostree.Commit, to ostree.Commit) (contents, error) {
	var out contents
	old := &walker{ctx: ctx, r: r, seen: map[Object]bool{}, file: func(string, ostree.Checksum) error { return nil }}
	if from != nil {
		if err := old.commit(*from); err != nil {
			return out, err
		}
	}
	files := map[ostree.Checksum]*newFile{}
	w := &walker{ctx: ctx, r: r, seen: map[Object]bool{}, known: old.seen}
	w.file = func(at string, c ostree.Checksum) error {
		f := files[c]
		if f == nil {
			f = &newFile{c: c}
			var err error
			if f.header, f.size, err = r.FileHeader(c); err != nil {
				return err
			}
			files[c] = f
			out.files = append(out.files, f)
		}
		f.paths = append(f.paths, at)
		return nil
	}
	if err := w.commit(to); err != nil {
		return out, err
	}
	out.metas = w.metas
	slices.SortFunc(out.metas, func(a, b Object) int {
		if n := a.Checksum.Compare(b.Checksum); n != 0 {
			return n
		}
		return int(a.Type) - int(b.Type)
	})
	if from != nil && len(out.files) > 0 {
		return out, out.findSimilar(ctx, r, *from)
	}
	return out, nil
}

// packed are extensions of files that are compressed as a whole: a change at their beginning changes all of them. gz is not
// among them, for it may have been made to be otherwise.
var packed = []string{".xz", ".bz2", ".zst", ".lzma"}

// wantsSource reports whether something that the file is like can help.
func (f *newFile) wantsSource() bool {
	if f.header.IsSymlink() || f.size == 0 {
		return false
	}
	return !slices.ContainsFunc(f.paths, func(p string) bool { return slices.Contains(packed, path.Ext(p)) })
}

// stem is a name up to its first dot: libfoo for libfoo.so.1.2.
func stem(name string) string {
	s, _, _ := strings.Cut(name, ".")
	return s
}

// oldFile is a file of the earlier commit.
type oldFile struct {
	path string
	c    ostree.Checksum
	size int64
	bad  bool // cannot be a source
	read bool
}

// similarPercent is by how much the size of what is like a file may differ from its own.
//
//	source  ostree src/libostree/ostree-repo-static-delta-compilation.c, CONTENT_SIZE_SIMILARITY_THRESHOLD_PERCENT
const similarPercent = 30

// samePathFactor is by how much it may differ at the same path.
const samePathFactor = 4

// findSimilar gives each new file the one of from that it is most like: at the same path, or else of the same name, or at least
// the same name up to its first dot, with the nearest size.
func (cs *contents) findSimilar(ctx context.Context, r *repo.Repo, from ostree.Commit) error {
	wanted := map[string]bool{}
	for _, f := range cs.files {
		if f.wantsSource() {
			for _, p := range f.paths {
				wanted[stem(path.Base(p))] = true
			}
		}
	}
	byStem, byPath := map[string][]*oldFile{}, map[string]*oldFile{}
	w := &walker{ctx: ctx, r: r, seen: map[Object]bool{}, file: func(at string, c ostree.Checksum) error {
		if s := stem(path.Base(at)); wanted[s] {
			o := &oldFile{path: at, c: c}
			byStem[s], byPath[at] = append(byStem[s], o), o
		}
		return nil
	}}
	if err := w.commit(from); err != nil {
		return err
	}
	for _, f := range cs.files {
		if !f.wantsSource() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.choose(r, byStem, byPath); err != nil {
			return err
		}
	}
	return nil
}

// choose takes the old file that f is most like.
func (f *newFile) choose(r *repo.Repo, byStem map[string][]*oldFile, byPath map[string]*oldFile) error {
	best := -1.0
	try := func(at string, o *oldFile) error {
		far, err := f.distance(r, at, o)
		if err == nil && far >= 0 && (best < 0 || far < best || far == best && o.c.Compare(f.from) < 0) {
			best, f.from = far, o.c
		}
		return err
	}
	for _, p := range f.paths {
		if o := byPath[p]; o != nil {
			if err := try(p, o); err != nil {
				return err
			}
		}
	}
	if best == 0 {
		return nil
	}
	for _, p := range f.paths {
		for _, o := range byStem[stem(path.Base(p))] {
			if err := try(p, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// distance is how unlike the old file is, and negative if it is no source at all.
func (f *newFile) distance(r *repo.Repo, at string, o *oldFile) (float64, error) {
	if !o.read {
		h, size, err := r.FileHeader(o.c)
		if err != nil {
			return 0, err
		}
		// who applies the delta must be able to read the source, in a parent repository too
		o.size, o.bad, o.read = size, h.IsSymlink() || size == 0 || h.Mode&0o004 == 0, true
	}
	if o.bad {
		return -1, nil
	}
	small, large := min(o.size, f.size), max(o.size, f.size)
	if o.path == at && large <= samePathFactor*small {
		return 0, nil
	}
	off := float64(large-small) / float64(f.size)
	switch {
	case off > similarPercent/100.0:
		return -1, nil
	case path.Base(o.path) == path.Base(at):
		return 1 + off, nil
	}
	return 2 + off, nil
}
