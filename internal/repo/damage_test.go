// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

// TestDamageIsRefused damages each object of a repository of each mode in each way, and reads everything by each verb that
// reads: one that met the damage must say so, with the object's name; none may give what the object does not say.
func TestDamageIsRefused(t *testing.T) {
	ctx := context.Background()
	for _, mode := range modes() {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			smallTree(t, dir, 1)
			r := initRepo(t, mode)
			c := commitDir(t, r, dir, "x", repo.CommitTreeOptions{CanonicalPermissions: true})
			files, err := filepath.Glob(r.Path() + "/objects/??/*")
			ok(t, err)
			for _, path := range files {
				for _, d := range append(damages(), swapped(files)) {
					if d.name != "emptied" && d.name != "longer" && d.name != "symlink" && d.name != "directory" { // which TestDamage has
						damageRead(t, ctx, r, c, path, d)
					}
				}
			}
			check(t, r)
		})
	}
}

// swapped puts another object in place of one.
func swapped(files []string) damage {
	return damage{"swapped", func(t *testing.T, path string, fi os.FileInfo) bool {
		for _, other := range files {
			if other != path && filepath.Ext(other) == filepath.Ext(path) {
				ok(t, os.Remove(path))
				ok(t, exec.Command("cp", "-a", "--reflink=never", other, path).Run())
				return true
			}
		}
		return false
	}}
}

func damageRead(t *testing.T, ctx context.Context, r *repo.Repo, c ostree.Checksum, path string, d damage) {
	t.Helper()
	fi, err := os.Lstat(path)
	ok(t, err)
	save := t.TempDir() + "/saved"
	ok(t, exec.Command("cp", "-a", "--reflink=never", path, save).Run())
	defer func() {
		ok(t, os.RemoveAll(path))
		ok(t, exec.Command("cp", "-a", save, path).Run())
	}()
	if !d.do(t, path, fi) {
		return
	}
	ext := filepath.Ext(path)
	if ext == ".file-xattrs" || ext == ".file-xattrs-link" && d.name == "swapped" {
		return // the link is what is read, and all files here have the same xattrs: none
	}
	now, err := os.Lstat(path)
	if d.name == "cut" && err == nil && now.Size() == 3 || ext == ".filez" && d.name == "longer" || ext == ".commitmeta" {
		return // TestDamage says why these are as good as before
	}
	sum := strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(path, ext), r.Path()+"/objects/"), "/", "")
	isFile := ext == ".file" || ext == ".filez"
	fresh := open(t, r.Path()) // without what is remembered
	for what, read := range map[string]func() error{
		"ls": func() error {
			tr, _, err := fresh.Tree(c)
			if err != nil {
				return err
			}
			return tr.Walk(func(_ string, e tree.Entry) error {
				if e.Dir {
					return nil
				}
				_, _, err := fresh.FileHeader(e.File)
				return err
			})
		},
		"cat": func() error {
			tr, _, err := fresh.Tree(c)
			if err != nil {
				return err
			}
			return tr.Walk(func(_ string, e tree.Entry) error {
				if e.Dir {
					return nil
				}
				_, _, content, err := fresh.OpenVerified(e.File)
				if err == nil {
					_, err = io.Copy(io.Discard, content)
					content.Close()
				}
				return err
			})
		},
		"export": func() error { return fresh.ExportTar(ctx, io.Discard, c, repo.ExportOptions{}) },
		"checkout -C": func() error {
			v, err := fresh.Commit(c)
			if err != nil {
				return err
			}
			return fresh.Checkout(ctx, tree.Root{Tree: v.Tree, Meta: v.Meta}, t.TempDir()+"/out", repo.CheckoutOptions{Copy: true, UserMode: true})
		},
		"pull-local": func() error {
			return pullLocal(initRepo(t, other(r.Mode())), fresh, []string{c.String()}, pull.Options{Untrusted: true})
		},
	} {
		err := read()
		// a header alone says nothing of the content; the kernel copies what a bare repository has; the metadata of one file
		// may be that of another
		lax := isFile && (what == "ls" || what == "checkout -C" && r.Mode() != repo.Archive)
		switch {
		case err == nil && !lax:
			t.Errorf("%s.%s %s: %s does not see it", sum[:8], ext, d.name, what)
		case err != nil && !strings.Contains(err.Error(), sum) && !strings.Contains(err.Error(), sum[:2]+"/"+sum[2:]):
			t.Errorf("%s%s %s: %s does not name it: %v", sum[:8], ext, d.name, what, err)
		}
	}
}

func other(m repo.Mode) repo.Mode {
	if m == repo.Archive {
		return repo.BareUser
	}
	return repo.Archive
}

// A tree that nests beyond all measure, or into itself by a forged object, ends in bounded time with an error.
func TestDeepTrees(t *testing.T) {
	ctx := context.Background()
	r := initRepo(t, repo.Archive)
	tx, err := r.Begin(ctx)
	ok(t, err)
	meta, err := tx.PutDirMeta(ostree.DefaultDirMeta())
	ok(t, err)
	down, err := tx.PutDirTree(ostree.DirTree{})
	ok(t, err)
	for range 2100 {
		down, err = tx.PutDirTree(ostree.DirTree{Dirs: []ostree.TreeDir{{Name: "d", Tree: down, Meta: meta}}})
		ok(t, err)
	}
	c, err := tx.PutCommit(ostree.Commit{Tree: down, Meta: meta})
	ok(t, err)
	ok(t, tx.SetRef("deep", c))
	ok(t, tx.Commit())
	root := tree.Root{Tree: down, Meta: meta}
	for what, f := range map[string]func() error{
		"checkout": func() error { return r.Checkout(ctx, root, t.TempDir()+"/out", repo.CheckoutOptions{UserMode: true}) },
		"export":   func() error { return r.ExportTar(ctx, io.Discard, c, repo.ExportOptions{}) },
		"pull": func() error {
			return pullLocal(initRepo(t, repo.BareUser), r, []string{"deep"}, pull.Options{})
		},
		"walk":  func() error { return tree.Load(r, root).Walk(func(string, tree.Entry) error { return nil }) },
		"prune": func() error { _, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true}); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: went down 2100 directories", what)
		} else if !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "nest") && !strings.Contains(err.Error(), unix.ENAMETOOLONG.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	res, err := r.Fsck(ctx, repo.FsckOptions{})
	if err != nil || len(res.Faults) != 1 || !strings.Contains(res.Faults[0].String(), "deeper than") {
		t.Errorf("fsck: %v %v", res.Faults, err)
	}
}
