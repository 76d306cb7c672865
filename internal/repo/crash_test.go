// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

// smallTree is a tree that differs with n.
func smallTree(t testing.TB, dir string, n int) {
	t.Helper()
	write(t, dir+"/d/same", "the same", 0o644)
	write(t, dir+"/d/file", fmt.Sprint("number ", n), 0o644)
	write(t, dir+"/new"+fmt.Sprint(n)+"/file", fmt.Sprint("new ", n), 0o755)
	os.Remove(dir + "/link")
	ok(t, os.Symlink(fmt.Sprint("to", n), dir+"/link"))
}

// Each durable step of commit, pull and prune fails in turn: the repository stays sound, the ref is old or new.
func TestEachStepFailing(t *testing.T) {
	defer durable.SetHook(nil)
	ctx := context.Background()
	dir := t.TempDir()
	smallTree(t, dir, 1)
	src := initRepo(t, repo.BareUser)
	first := commitDir(t, src, dir, "x", repo.CommitTreeOptions{})
	smallTree(t, dir, 2)
	second := commitDir(t, src, dir, "x", repo.CommitTreeOptions{})
	r := initRepo(t, repo.Archive)
	r.Config().Unset("core", "fsync")
	ok(t, r.Config().Save())
	r = open(t, r.Path())
	jobs := map[string]func() error{
		"pull": func() error {
			return pullLocal(r, src, []string{"x"}, pull.Options{})
		},
		"commit": func() error {
			_, err := tryCommitDir(r, dir, "x", repo.CommitTreeOptions{})
			return err
		},
		"prune": func() error { // of the second commit, which no ref names
			_, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
			return err
		},
		"summary": func() error { return r.WriteSummary(ctx) },
	}
	for name, job := range jobs {
		for n := int64(1); ; n++ {
			resetTo(t, r, src, first)
			if name == "prune" {
				ok(t, pullLocal(r, src, []string{second.String()}, pull.Options{}))
			}
			begin, fired := durable.Steps(), false
			durable.SetHook(func(step int64, op, path string) error {
				if step == begin+n {
					fired = true
					return errors.New("injected")
				}
				return nil
			})
			err := job()
			durable.SetHook(nil)
			if fired && (err == nil || !strings.Contains(err.Error(), "injected")) {
				t.Fatalf("%s, step %d: %v", name, n, err)
			}
			check(t, r)
			if err := state(r, first, second); err != nil && name != "commit" {
				t.Fatalf("%s, step %d: %v", name, n, err)
			}
			if !fired {
				ok(t, err)
				t.Logf("%s: %d steps", name, n-1)
				break
			}
		}
	}
}

// resetTo makes first the one commit of r.
func resetTo(t *testing.T, r, src *repo.Repo, first ostree.Checksum) {
	t.Helper()
	ctx := context.Background()
	ok(t, pullLocal(r, src, []string{first.String()}, pull.Options{}))
	ok(t, r.SetRef("x", first))
	_, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	ok(t, err)
}

// state fails unless x is one of the two, whole.
func state(r *repo.Repo, first, second ostree.Checksum) error {
	c, err := r.Resolve("x")
	if err != nil {
		return err
	}
	if c != first && c != second {
		return fmt.Errorf("ref is %s, wanted %s or %s", c, first, second)
	}
	tr, _, err := r.Tree(c)
	if err != nil {
		return err
	}
	return tr.Walk(func(p string, e tree.Entry) error {
		if e.Dir {
			return nil
		}
		_, _, err := r.FileHeader(e.File)
		return err
	})
}

// A process is killed before each of its durable steps; the next one finds a sound repository and clears up.
func TestKilledAtEachStep(t *testing.T) {
	if path := os.Getenv("REPO_TEST_KILL"); path != "" {
		var n int64
		fmt.Sscan(os.Getenv("REPO_TEST_STEP"), &n)
		r, err := repo.Open(path)
		ok(t, err)
		durable.KillAt(n)
		_, err = tryCommitDir(r, os.Getenv("REPO_TEST_TREE"), "x", repo.CommitTreeOptions{})
		ok(t, err)
		return
	}
	dir := t.TempDir()
	smallTree(t, dir, 1)
	r := initRepo(t, repo.BareUser)
	first := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	smallTree(t, dir, 2)
	for n := 1; ; n++ {
		ok(t, r.SetRef("x", first))
		_, err := r.Prune(context.Background(), repo.PruneOptions{RefsOnly: true})
		ok(t, err)
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAtEachStep$")
		cmd.Env = append(os.Environ(), "REPO_TEST_KILL="+r.Path(), "REPO_TEST_TREE="+dir, fmt.Sprint("REPO_TEST_STEP=", n))
		out, err := cmd.CombinedOutput()
		check(t, r)
		c, rerr := r.Resolve("x")
		ok(t, rerr)
		if err == nil {
			if c == first || n < 10 {
				t.Fatalf("step %d: not killed, ref %s", n, c)
			}
			t.Logf("%d steps", n-1)
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v\n%s", n, err, out)
		}
		if n == 1 {
			if ents, _ := os.ReadDir(r.Path() + "/tmp"); len(ents) != 2 {
				t.Fatalf("tmp after the kill: %v", ents)
			}
		}
		tx, err := r.Begin(context.Background())
		ok(t, err)
		if ents, _ := os.ReadDir(r.Path() + "/tmp"); len(ents) != 2 { // cache, and the new transaction's
			t.Fatalf("tmp after the next begin: %v", ents)
		}
		ok(t, tx.Abort())
	}
}

// damage is one way to spoil the file path; it reports whether it applies.
type damage struct {
	name string
	do   func(t *testing.T, path string, fi os.FileInfo) bool
}

func damages() []damage {
	content := func(change func([]byte) []byte) func(t *testing.T, path string, fi os.FileInfo) bool {
		return func(t *testing.T, path string, fi os.FileInfo) bool {
			if !fi.Mode().IsRegular() {
				return false
			}
			data, err := os.ReadFile(path)
			ok(t, err)
			changed := change(data)
			if changed == nil {
				return false
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			ok(t, err)
			_, err = f.Write(changed)
			ok(t, err)
			ok(t, f.Close())
			return true
		}
	}
	replace := func(make func(path string) error) func(t *testing.T, path string, fi os.FileInfo) bool {
		return func(t *testing.T, path string, fi os.FileInfo) bool {
			ok(t, os.Remove(path))
			ok(t, make(path))
			return true
		}
	}
	return []damage{
		{"flipped", content(func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			b[len(b)/2] ^= 4
			return b
		})},
		{"cut", content(func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			return b[:len(b)-1]
		})},
		{"emptied", content(func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			return []byte{}
		})},
		{"longer", content(func(b []byte) []byte { return append(b, 0) })},
		{"removed", replace(func(string) error { return nil })},
		{"symlink", replace(func(p string) error { return os.Symlink("/etc/passwd", p) })},
		{"fifo", replace(func(p string) error { return unix.Mkfifo(p, 0o644) })},
		{"directory", replace(func(p string) error { return os.Mkdir(p, 0o755) })},
	}
}

// Each object is spoiled in each way: fsck names it, and a pull from there refuses or leaves the taker sound.
func TestDamage(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			smallTree(t, dir, 1)
			write(t, dir+"/empty", "", 0o600)
			r := initRepo(t, mode)
			commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
			files, err := filepath.Glob(r.Path() + "/objects/??/*")
			ok(t, err)
			for _, path := range files {
				for _, d := range damages() {
					damageOne(t, r, path, d)
				}
			}
			check(t, r)
		})
	}
}

func damageOne(t *testing.T, r *repo.Repo, path string, d damage) {
	t.Helper()
	fi, err := os.Lstat(path)
	ok(t, err)
	save := t.TempDir() + "/saved"
	ok(t, exec.Command("cp", "-a", "--reflink=never", path, save).Run())
	ok(t, os.Remove(path)) // others may share the inode
	ok(t, exec.Command("cp", "-a", "--reflink=never", save, path).Run())
	applies := d.do(t, path, fi)
	if strings.HasSuffix(path, ".file-xattrs") && d.name == "removed" {
		applies = false // the links to it are what counts
	}
	if strings.HasSuffix(path, ".filez") && d.name == "longer" {
		applies = false // what comes after the end of the deflate stream is not read
	}
	if d.name == "cut" {
		if data, err := os.ReadFile(path); err == nil && string(data) == "to1" {
			applies = false // a bare-user symlink's target is the same without the NUL after it
		}
	}
	ctx := context.Background()
	res, err := r.Fsck(ctx, repo.FsckOptions{})
	ok(t, err)
	name := strings.TrimSuffix(filepath.Base(filepath.Dir(path))+filepath.Base(path), "z")
	found := false
	for _, f := range res.Faults {
		found = found || f.Object == name
	}
	if strings.HasSuffix(name, ".commit") && d.name == "removed" {
		found = len(res.Faults) > 0 && strings.HasPrefix(res.Faults[0].Object, "ref x")
	}
	if applies && !found {
		t.Errorf("%s %s: fsck says %v", name, d.name, res.Faults)
	}
	if applies && !strings.HasSuffix(path, ".file-xattrs") && (d.name == "flipped" || d.name == "removed" || d.name == "symlink") {
		taker := initRepo(t, repo.Archive)
		if r.Mode() == repo.Archive {
			taker = initRepo(t, repo.BareUser)
		}
		if err := pullLocal(taker, open(t, r.Path()), []string{"x"}, pull.Options{Untrusted: true}); err == nil {
			t.Errorf("%s %s: pulled", name, d.name)
		}
		check(t, taker)
	}
	ok(t, os.RemoveAll(path))
	ok(t, exec.Command("cp", "-a", save, path).Run())
}

// Fsck with Delete takes damaged objects away, and a pull brings them back.
func TestFsckDelete(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	smallTree(t, dir, 1)
	src, r := initRepo(t, repo.BareUser), initRepo(t, repo.Archive)
	c := commitDir(t, src, dir, "x", repo.CommitTreeOptions{})
	ok(t, pullLocal(r, src, nil, pull.Options{}))
	tr, v, err := r.Tree(c)
	ok(t, err)
	e, _, err := tr.Lookup("d/file")
	ok(t, err)
	for _, o := range []struct {
		t ostree.ObjectType
		c ostree.Checksum
	}{{ostree.TypeFile, e.File}, {ostree.TypeDirTree, v.Tree}} {
		ok(t, os.Remove(r.ObjectPath(o.t, o.c))) // it may be a hard link to the other repository's
		ok(t, os.WriteFile(r.ObjectPath(o.t, o.c), []byte("damaged"), 0o644))
		res, err := r.Fsck(ctx, repo.FsckOptions{Delete: true})
		ok(t, err)
		if len(res.Faults) != 1 || r.Has(o.t, o.c) || !r.IsPartial(c) {
			t.Errorf("%v: %+v, partial %v", o.t, res, r.IsPartial(c))
		}
		if res, err = r.Fsck(ctx, repo.FsckOptions{}); err != nil || len(res.Faults) != 0 || res.Partial != 1 || res.Lost != 1 {
			t.Errorf("afterwards: %+v %v", res, err)
		}
		check(t, r)
		ok(t, pullLocal(r, src, nil, pull.Options{}))
		if r.IsPartial(c) {
			t.Error("still partial")
		}
		check(t, r)
	}
}
