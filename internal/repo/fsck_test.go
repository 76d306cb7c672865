// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// bound commits an empty tree that is bound to refs and a collection, and sets the refs named.
func bound(t *testing.T, r *repo.Repo, parent ostree.Checksum, binding []string, collection string, refs ...string) ostree.Checksum {
	t.Helper()
	tx, err := r.Begin(context.Background())
	ok(t, err)
	defer tx.Abort()
	v := ostree.Commit{Parent: parent, Subject: strings.Join(refs, " ")}
	if binding != nil {
		v.Metadata = v.Metadata.With(ostree.KeyRefBinding, gvariant.Strings(binding))
	}
	if collection != "" {
		v.Metadata = v.Metadata.With(ostree.KeyCollection, gvariant.String(collection))
	}
	v.Tree, err = tx.PutDirTree(ostree.DirTree{})
	ok(t, err)
	v.Meta, err = tx.PutDirMeta(ostree.DefaultDirMeta())
	ok(t, err)
	c, err := tx.PutCommit(v)
	ok(t, err)
	for _, ref := range refs {
		ok(t, tx.SetRef(ref, c))
	}
	ok(t, tx.Commit())
	return c
}

func TestFsckBindings(t *testing.T) {
	none := ostree.Checksum{}
	for _, tt := range []struct {
		name       string
		collection string
		make       func(r *repo.Repo)
		bindings   string // what is found with VerifyBindings; "" = nothing
		back       string // and with VerifyBackRefs
	}{
		{"bound", "", func(r *repo.Repo) { bound(t, r, none, []string{"a", "b"}, "", "a", "b") }, "", ""},
		{"not bound", "", func(r *repo.Repo) { bound(t, r, none, nil, "", "a") }, "", ""},
		{"bound to another", "", func(r *repo.Repo) { bound(t, r, none, []string{"b"}, "", "a") }, `ref a: commit`, `is bound to the ref "b", which does not exist`},
		{"old commit", "", func(r *repo.Repo) { bound(t, r, bound(t, r, none, []string{"a"}, ""), []string{"a"}, "", "a") }, "", `is bound to the ref "a", which names`},
		{"remote", "", func(r *repo.Repo) { bound(t, r, none, []string{"a"}, "", "up:a") }, "", ""},
		{"remote's other", "", func(r *repo.Repo) { bound(t, r, none, []string{"x"}, "", "up:a") }, "ref up:a: commit", "does not exist"},
		{"collection", "org.example.One", func(r *repo.Repo) { bound(t, r, none, []string{"a"}, "org.example.One", "a") }, "", ""},
		{"no collection", "org.example.One", func(r *repo.Repo) { bound(t, r, none, []string{"a"}, "", "a") }, "is bound to no collection", "is bound to no collection"},
		{"other collection", "org.example.One", func(r *repo.Repo) { bound(t, r, none, []string{"a"}, "org.example.Two", "a") }, `bound to collection "org.example.Two"`, "does not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := initRepo(t, repo.Archive)
			if tt.collection != "" {
				ok(t, r.Config().Set("core", "collection-id", tt.collection))
				ok(t, r.Config().Save())
				r = open(t, r.Path())
			}
			tt.make(r)
			for _, c := range []struct {
				o    repo.FsckOptions
				want string
			}{{repo.FsckOptions{}, ""}, {repo.FsckOptions{VerifyBindings: true}, tt.bindings}, {repo.FsckOptions{VerifyBackRefs: true}, tt.back}} {
				res, err := r.Fsck(context.Background(), c.o)
				ok(t, err)
				text := ""
				for _, f := range res.Faults {
					text += f.String() + "\n"
				}
				if c.want == "" && text != "" || !strings.Contains(text, c.want) {
					t.Errorf("%+v: %q, want %q", c.o, text, c.want)
				}
			}
		})
	}
}

func TestFsckTombstones(t *testing.T) {
	ctx := context.Background()
	r := initRepo(t, repo.Archive)
	first := bound(t, r, ostree.Checksum{}, nil, "")
	second := bound(t, r, first, nil, "", "a")
	ok(t, os.Remove(r.ObjectPath(ostree.TypeCommit, first)))
	res, err := r.Fsck(ctx, repo.FsckOptions{AddTombstones: true})
	ok(t, err)
	if len(res.Tombstones) != 1 || res.Tombstones[0] != first || !r.Has(ostree.TypeTombstone, first) || !r.Has(ostree.TypeCommit, second) {
		t.Errorf("%+v", res)
	}
	if v, _ := open(t, r.Path()).Config().Get("core", "tombstone-commits"); v != "true" {
		t.Errorf("core.tombstone-commits is %q", v)
	}
	res, err = r.Fsck(ctx, repo.FsckOptions{AddTombstones: true})
	if err != nil || len(res.Tombstones)+len(res.Faults) != 0 {
		t.Errorf("again: %+v %v", res, err)
	}
}
