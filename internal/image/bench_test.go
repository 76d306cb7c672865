// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"grove/internal/image"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// BenchmarkBase makes the image of a commit's tree: GROVE_BENCH_REPO is a repository of mode bare, GROVE_BENCH_REF the commit.
func BenchmarkBase(b *testing.B) {
	path := os.Getenv("GROVE_BENCH_REPO")
	if path == "" {
		b.Skip("GROVE_BENCH_REPO names no repository")
	}
	for b.Loop() {
		r, err := repo.Open(path) // anew: nothing is in its cache
		if err != nil {
			b.Fatal(err)
		}
		refs, err := r.Refs("")
		if err != nil {
			b.Fatal(err)
		}
		var c ostree.Checksum
		if c = refs[os.Getenv("GROVE_BENCH_REF")]; c.IsZero() {
			b.Fatalf("no ref %s", os.Getenv("GROVE_BENCH_REF"))
		}
		v, err := r.Commit(c)
		if err != nil {
			b.Fatal(err)
		}
		s := image.New(r, filepath.Join(b.TempDir(), "images"))
		t, err := image.Mountable(r, tree.Root{Tree: v.Tree, Meta: v.Meta})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Base(b.Context(), t); err != nil {
			b.Fatal(err)
		}
	}
}
