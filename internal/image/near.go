// SPDX-License-Identifier: Apache-2.0

package image

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// shelf is an image that others can stand on, and the tree that it shows.
type shelf struct {
	file File
	tree Tree
}

// nearShare is up to which part of an image's inodes another tree may differ from what it shows, so that who has that
// tree as a base stands on this image too: a new version of a base, most of the time. The layer above then holds the
// difference, and is written again with each change of a guest; an image of the base is written once.
const nearShare = 0.125

// nearTried is how many images are looked at for that, the newest first.
const nearTried = 4

// below is what the images of trees that were made from base stand on: its own image, where there is one, else one of a
// tree that is much the same, else its own, which is made.
func (s *Store) below(ctx context.Context, base Tree) (shelf, error) {
	image, note := s.names(base.Root)
	if f, _, ok := s.known(image, note); ok {
		return shelf{f, base}, nil
	}
	var best shelf
	least := -1
	for _, near := range s.newest(nearTried) {
		limit := int(nearShare * float64(near.file.Inodes))
		if least >= 0 {
			limit = min(limit, least-1)
		}
		n, err := tree.Distance(tree.Load(near.tree.Src, near.tree.Root), tree.Load(base.Src, base.Root), limit)
		if err == nil && n <= limit { // an error: what the other tree was of is not there any more
			best, least = near, n
		}
	}
	if least >= 0 {
		return best, nil
	}
	f, err := s.Base(ctx, base)
	return shelf{f, base}, err
}

// newest are the images of bases that can be stood on, up to n of them.
func (s *Store) newest(n int) []shelf {
	ents, err := os.ReadDir(s.dir)
	if err != nil {
		return nil
	}
	type note struct {
		path string
		time int64
	}
	var notes []note
	for _, e := range ents {
		name, ok := strings.CutSuffix(e.Name(), noteSuffix)
		if !ok || strings.HasSuffix(name, sealedSuffix) != s.seal {
			continue
		}
		if st, err := e.Info(); err == nil {
			notes = append(notes, note{filepath.Join(s.dir, e.Name()), st.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(notes, func(a, b note) int {
		return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(a.path, b.path))
	})
	var out []shelf
	for _, k := range notes {
		if len(out) == n {
			break
		}
		f, i, ok := s.known(strings.TrimSuffix(k.path, noteSuffix)+imageSuffix, k.path)
		if !ok {
			continue
		}
		of, ok := parseRoot(i.Of)
		if !ok {
			continue
		}
		t, err := Mountable(s.repo, of)
		if want, _ := s.names(t.Root); err == nil && want == f.Path {
			out = append(out, shelf{f, t})
		}
	}
	return out
}

// parseRoot reads what rootName wrote.
func parseRoot(name string) (tree.Root, bool) {
	t, m, _ := strings.Cut(name, "-")
	tc, terr := ostree.ParseChecksum(t)
	mc, merr := ostree.ParseChecksum(m)
	return tree.Root{Tree: tc, Meta: mc}, terr == nil && merr == nil
}
