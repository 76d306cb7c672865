// SPDX-License-Identifier: Apache-2.0

package label_test

import (
	"context"
	"strings"
	"testing"

	"grove/internal/label"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/selinux"
	"grove/internal/tree"
)

func TestALabelIsSortedIn(t *testing.T) {
	x := func(name, value string) ostree.Xattr { return ostree.Xattr{Name: name, Value: []byte(value)} }
	xs := []ostree.Xattr{x("security.capability", "c"), x("security.selinux", "old\x00"), x("trusted.x", "t")}
	var got strings.Builder
	for _, a := range label.Set(xs, "new") {
		got.WriteString(a.Name + "=" + string(a.Value) + " ")
	}
	if want := "security.capability=c security.selinux=new\x00 trusted.x=t "; got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
	if label.Get(xs) != "old" || label.Get(label.Set(xs, "")) != "old" || label.Get(nil) != "" {
		t.Error("the label that is there is not found")
	}
}

// TestOnlyWhatIsNewIsLabelled: what a tree shares with its base keeps the base's label, and a file of the repo that two paths
// name gets an object for each label.
func TestOnlyWhatIsNewIsLabelled(t *testing.T) {
	ctx := context.Background()
	r, err := repo.Init(t.TempDir()+"/repo", repo.Archive)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	put := func(text string) ostree.Checksum {
		sum, err := tx.PutFile(ostree.FileHeader{Mode: 0o100644}, int64(len(text)), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	policy := func(text string) *selinux.Policy {
		p, err := selinux.New(selinux.Files{Contexts: []byte(text)}, selinux.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	edit := tree.Empty(ostree.DirMeta{Mode: ostree.ModeDir | 0o755}).Edit()
	edit.PutDir("usr", ostree.DirMeta{Mode: ostree.ModeDir | 0o755})
	edit.PutDir("usr/etc", ostree.DirMeta{Mode: ostree.ModeDir | 0o755})
	edit.PutFile("usr/a", put("same"))
	edit.PutFile("usr/etc/b", put("same"))
	if err := edit.Err(); err != nil {
		t.Fatal(err)
	}
	base, err := label.Tree(ctx, tx, edit.Tree(), policy("/.* one\n/etc(/.*)? etc\n/none <<none>>\n"), label.Options{})
	if err != nil {
		t.Fatal(err)
	}
	edit = base.Edit()
	edit.PutFile("usr/new", put("new"))
	edit.PutFile("none", put("none"))
	got, err := label.Tree(ctx, tx, edit.Tree(), policy("/.* two\n/none <<none>>\n"), label.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	err = got.Walk(func(path string, e tree.Entry) error {
		xs := e.Meta.Xattrs
		if !e.Dir {
			h, _, err := tx.FileHeader(e.File)
			if err != nil {
				return err
			}
			xs = h.Xattrs
		}
		text.WriteString("/" + path + "=" + label.Get(xs) + " ")
		return nil
	})
	if want := "/=one /none= /usr=one /usr/a=one /usr/etc=etc /usr/etc/b=etc /usr/new=two "; err != nil || text.String() != want {
		t.Errorf("%v, %s, want %s", err, text.String(), want)
	}
	if same, err := label.SamePolicy(base, got); err != nil || !same {
		t.Errorf("two trees without policy: %v, %v", same, err)
	}
}
