// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// Who needs what, of trees that have folders and files in common, is what walking each of them alone says.
func TestOwners(t *testing.T) {
	r := initRepo(t, repo.BareUserOnly)
	dir := t.TempDir()
	commit := func(ref string, files ...string) ostree.Checksum {
		root := filepath.Join(dir, ref)
		for _, f := range files {
			write(t, filepath.Join(root, f), f, 0o644)
		}
		return commitDir(t, r, root, ref, repo.CommitTreeOptions{})
	}
	all := []string{"a/b/c/one", "a/b/two", "a/three", "d/four"}
	base, same := commit("base", all...), commit("same", all...)
	layered := commit("layered", append(all, "a/b/c/five")...)
	other := commit("other", append(all, "d/six", "e/b/c/one")...)
	lone := commit("lone", "x/y")
	for i, holders := range [][][]ostree.Checksum{
		{},
		{{base}},
		{{base}, {same}},
		{{base}, {base}},
		{{base, layered}, {base}, {other}},
		{{lone}, {layered, lone}, {other}, {base, same}},
		{{other}, {layered}, {base}, {lone}, {base}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			type object struct {
				t ostree.ObjectType
				c ostree.Checksum
			}
			want := map[object]int{}
			for h, commits := range holders {
				ok(t, r.Reach(t.Context(), commits, func(ty ostree.ObjectType, c ostree.Checksum) {
					if _, known := want[object{ty, c}]; known {
						want[object{ty, c}] = repo.Several
					} else {
						want[object{ty, c}] = h
					}
				}))
			}
			ok(t, r.Owners(t.Context(), holders, func(ty ostree.ObjectType, c ostree.Checksum, got int) {
				if w, known := want[object{ty, c}]; !known || w != got {
					t.Errorf("%s %s: holder %d, want %d (known: %v)", ty, c, got, w, known)
				}
				delete(want, object{ty, c})
			}))
			for o, h := range want {
				t.Errorf("%s %s of holder %d: not told", o.t, o.c, h)
			}

			reached := r.NewReached()
			seen := map[object]bool{}
			for _, commits := range holders {
				ok(t, reached.Add(t.Context(), commits, func(ty ostree.ObjectType, c ostree.Checksum) {
					if seen[object{ty, c}] {
						t.Errorf("%s %s: told twice", ty, c)
					}
					seen[object{ty, c}] = true
				}))
			}
			for _, commits := range holders {
				ok(t, r.Reach(t.Context(), commits, func(ty ostree.ObjectType, c ostree.Checksum) {
					if !seen[object{ty, c}] {
						t.Errorf("%s %s: not told", ty, c)
					}
				}))
			}
		})
	}
}
