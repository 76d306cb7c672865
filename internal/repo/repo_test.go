// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

// modes are those that a test can write as whoever runs it.
func modes() []repo.Mode {
	if os.Geteuid() == 0 {
		return []repo.Mode{repo.Bare, repo.BareUser, repo.Archive, repo.BareSplitXattrs}
	}
	return []repo.Mode{repo.BareUser, repo.Archive}
}

func TestInitOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := repo.Open(dir); !errors.Is(err, repo.ErrNotFound) {
		t.Fatalf("open of nothing: %v", err)
	}
	r, err := repo.Init(dir+"/r", repo.Archive)
	ok(t, err)
	if r, err = repo.Init(dir+"/r", repo.Archive); err != nil || r.Mode() != repo.Archive {
		t.Fatalf("init again: %v", err)
	}
	if _, err := repo.Init(dir+"/r", repo.Bare); err == nil {
		t.Fatal("init in another mode")
	}
	write(t, dir+"/full/file", "x", 0o644)
	if _, err := repo.Init(dir+"/full", repo.Bare); err == nil {
		t.Fatal("init over something else")
	}
	check(t, r)
}

func TestConfigKeepsWhatItDoesNotKnow(t *testing.T) {
	r := initRepo(t, repo.Archive)
	path := filepath.Join(r.Path(), "config")
	text := "# a comment\n[core]\nrepo_version=1\nmode=archive-z2\nstrange.key = a;b;c # kept\n\n" +
		"[remote \"one\"]\nurl=http://example.org/a%20b?x=y\ngpg-verify=false\nbranches=x;y;\nunknown=\\sblank\n\n[other]\nk=v\n"
	ok(t, os.WriteFile(path, []byte(text), 0o644))
	r = open(t, r.Path())
	ok(t, r.Config().Save())
	got, _ := os.ReadFile(path)
	sameText(t, string(got), text)
	dir := t.TempDir()
	write(t, dir+"/host.conf", "[remote \"host\"]\nurl=http://host/\n[remote \"one\"]\nurl=http://not/\n", 0o644)
	r.Config().SetRemotesDir(dir)
	ok(t, r.Config().AddRemote(repo.Remote{Name: "two", URL: "file:///r", Options: map[string]string{"tls-permissive": "true"}}))
	if err := r.Config().AddRemote(repo.Remote{Name: "host"}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("add a remote twice: %v", err)
	}
	all, err := open(t, r.Path()).Config().Remotes()
	ok(t, err)
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "%s %s %v %v %v\n", m.Name, m.URL, m.GPGVerify, m.Branches, m.Options)
	}
	sameText(t, b.String(), "one http://example.org/a%20b?x=y false [x y] map[branches:x;y; gpg-verify:false unknown: blank url:http://example.org/a%20b?x=y]\n"+
		"two file:///r false [] map[gpg-verify:false tls-permissive:true url:file:///r]\n")
	for _, name := range []string{"two", "host"} {
		ok(t, r.Config().DeleteRemote(name))
		if _, err := r.Config().Remote(name); !errors.Is(err, repo.ErrNotFound) {
			t.Fatalf("deleted remote: %v", err)
		}
	}
	got, _ = os.ReadFile(path)
	sameText(t, string(got), text)
}

// TestManyRefs sets enough refs in one transaction for them to be moved together.
func TestManyRefs(t *testing.T) {
	r := initRepo(t, repo.BareUser)
	dir := t.TempDir()
	write(t, dir+"/f", "x", 0o644)
	c := commitDir(t, r, dir, "old/1", repo.CommitTreeOptions{})
	ok(t, os.MkdirAll(filepath.Join(r.Path(), "refs/heads/new/1/empty"), 0o755))
	tx, err := r.Begin(context.Background())
	ok(t, err)
	names := []string{"old/1", "new/1", "new/2/deep", "new/3", "origin:new/4", "x"}
	for _, name := range names {
		ok(t, tx.SetRef(name, c))
	}
	ok(t, tx.Commit())
	refs, err := r.Refs("")
	ok(t, err)
	for _, name := range names {
		if refs[name] != c {
			t.Errorf("%s: %v", name, refs[name])
		}
	}
	ok(t, r.Check(context.Background()))
	tx, err = r.Begin(context.Background())
	ok(t, err)
	for _, name := range []string{"new/5", "new/6", "new/7", "new/8", "x/y"} {
		ok(t, tx.SetRef(name, c))
	}
	if err := tx.Commit(); err == nil {
		t.Error("a ref below a ref")
	}
	ok(t, r.Check(context.Background()))
}

func TestRefs(t *testing.T) {
	r := initRepo(t, repo.BareUser)
	dir := t.TempDir()
	write(t, dir+"/f", "x", 0o644)
	c := commitDir(t, r, dir, "a/b", repo.CommitTreeOptions{})
	write(t, dir+"/f", "y", 0o644)
	d := commitDir(t, r, dir, "a/b", repo.CommitTreeOptions{})
	ok(t, r.SetRef("origin:a/c", c))
	ok(t, r.SetRef("a/d/e", d))
	for name, want := range map[string]ostree.Checksum{
		"a/b": d, "a/b^": c, "origin:a/c": c, "a/c": c, d.String(): d, d.String()[:9]: d, d.String() + "^": c,
	} {
		if got, err := r.Resolve(name); err != nil || got != want {
			t.Errorf("%s: got %v %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"a", "a/b/c", "no", "other:a/c", "../config", "a/b^^", "", "abcdef0", "/etc/passwd"} {
		if got, err := r.Resolve(name); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("%q: got %v %v", name, got, err)
		}
	}
	refs, err := r.Refs("a")
	ok(t, err)
	if len(refs) != 2 || refs["a/b"] != d || refs["a/d/e"] != d {
		t.Errorf("refs: %v", refs)
	}
	if refs, _ = r.Refs("origin:"); len(refs) != 1 {
		t.Errorf("remote's refs: %v", refs)
	}
	for prefix, want := range map[string]int{"": 3, "a/b": 1, "a/b/c": 0, "a/d": 1, "origin:a": 1, "other:": 0, "b": 0, "a/": 0, "../heads": 0} {
		if refs, err := r.Refs(prefix); err != nil || len(refs) != want {
			t.Errorf("refs of %q: %v %v", prefix, refs, err)
		}
	}
	if err := r.SetRef("a/b/c", c); err == nil {
		t.Error("a ref below a ref")
	}
	if err := r.SetRef("../x", c); err == nil {
		t.Error("a ref that leads outside")
	}
	ok(t, r.DeleteRef("a/d/e"))
	ok(t, r.SetRef("a/d", c)) // where an empty folder is left
	if err := r.DeleteRef("a"); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("delete a folder: %v", err)
	}
	write(t, r.Path()+"/refs/heads/bad", "no checksum", 0o644)
	if _, err := r.Resolve("bad"); !errors.Is(err, ostree.ErrCorrupt) {
		t.Errorf("damaged ref: %v", err)
	}
	if res, err := r.Fsck(context.Background(), repo.FsckOptions{}); err != nil || len(res.Faults) != 1 {
		t.Errorf("fsck: %v %v", res, err)
	}
	ok(t, r.DeleteRef("bad"))
	check(t, r)
}

// What is laid out is what was committed, in every mode.
func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	makeTree(t, dir, os.Geteuid() == 0)
	for _, mode := range modes() {
		r := initRepo(t, mode)
		c := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
		tr, v, err := r.Tree(c)
		ok(t, err)
		dest := filepath.Join(t.TempDir(), "dest")
		root := tree.Root{Tree: v.Tree, Meta: v.Meta}
		user := os.Geteuid() != 0
		ok(t, r.Checkout(context.Background(), root, dest, repo.CheckoutOptions{UserMode: user, CopyPrefixes: []string{"/usr/etc/"}}))
		again := commitDir(t, r, dest, "y", repo.CommitTreeOptions{SkipXattr: func(n string) bool { return n == ostree.UserMetaXattr && user }})
		if !user {
			sameText(t, print(t, r, again), print(t, r, c))
		}
		var st unix.Stat_t
		ok(t, unix.Stat(dest+"/usr/etc/conf", &st))
		if st.Nlink != 1 {
			t.Errorf("%v: own copy has %d links", mode, st.Nlink)
		}
		if st.Mtim.Sec != 0 {
			t.Errorf("%v: own copy has time %d", mode, st.Mtim.Sec)
		}
		e, _, err := tr.Lookup("usr/lib/edge1")
		ok(t, err)
		if got := content(t, r, e.File); got != strings.Repeat("x", 1<<20+1) {
			t.Errorf("%v: large file has %d bytes", mode, len(got))
		}
		if err := r.Checkout(context.Background(), root, dest, repo.CheckoutOptions{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("checkout over something: %v", err)
		}
		if err := r.Checkout(context.Background(), root, dest, repo.CheckoutOptions{Union: repo.UnionIdentical, UserMode: user}); err != nil {
			t.Errorf("%v: union-identical: %v", mode, err)
		}
		sub := filepath.Join(t.TempDir(), "sub")
		ok(t, r.Checkout(context.Background(), root, sub, repo.CheckoutOptions{UserMode: user, Subpath: "usr/share",
			Skip: func(p string) bool { return strings.HasPrefix(p, "many") }}))
		if ents, _ := os.ReadDir(sub); len(ents) != 3 {
			t.Errorf("subpath: %v", ents)
		}
		check(t, r)
	}
}

func TestUnion(t *testing.T) {
	r := initRepo(t, repo.BareUser)
	dir := t.TempDir()
	write(t, dir+"/d/f", "committed", 0o644)
	c := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	v, err := r.Commit(c)
	ok(t, err)
	root := tree.Root{Tree: v.Tree, Meta: v.Meta}
	for union, want := range map[repo.UnionMode]string{repo.UnionAdd: "there", repo.UnionOverwrite: "committed", repo.UnionIdentical: ""} {
		dest := t.TempDir()
		write(t, dest+"/d/f", "there", 0o644)
		err := r.Checkout(context.Background(), root, dest, repo.CheckoutOptions{UserMode: true, Union: union})
		if want == "" {
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("identical: %v", err)
			}
			continue
		}
		ok(t, err)
		if got, _ := os.ReadFile(dest + "/d/f"); string(got) != want {
			t.Errorf("union %d: %q, want %q", union, got, want)
		}
	}
	// nothing is written through a link that lies where a directory should be
	dest, outside := t.TempDir(), t.TempDir()
	ok(t, os.Symlink(outside, dest+"/d"))
	if err := r.Checkout(context.Background(), root, dest, repo.CheckoutOptions{UserMode: true, Union: repo.UnionOverwrite}); err == nil {
		t.Error("checkout through a symlink")
	}
	if ents, _ := os.ReadDir(outside); len(ents) != 0 {
		t.Errorf("outside: %v", ents)
	}
}

// A checkout brought from one tree to another is the same as a fresh one.
func TestUpdateCheckout(t *testing.T) {
	root := os.Geteuid() == 0
	mode := repo.BareUser
	if root {
		mode = repo.Bare
	}
	ctx := context.Background()
	all := t.TempDir()
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+w", all).Run() })
	base := filepath.Join(all, "tree")
	makeTree(t, base, root)
	r := initRepo(t, mode)
	var commits []ostree.Checksum
	commits = append(commits, commitDir(t, r, base, "x", repo.CommitTreeOptions{}))
	write(t, base+"/usr/bin/tool", "changed", 0o755)
	ok(t, os.RemoveAll(base+"/usr/share/many/a"))
	write(t, base+"/usr/share/many/a", "a file now", 0o644)
	write(t, base+"/usr/new/deep/er/file", "new", 0o600)
	ok(t, os.Remove(base+"/usr/bin/link"))
	ok(t, os.MkdirAll(base+"/usr/bin/link/dir", 0o755))
	ok(t, os.Chmod(base+"/var/empty", 0o700))
	ok(t, os.Chmod(base+"/usr/share/many/b", 0o555))
	write(t, base+"/usr/etc/conf", "changed", 0o644)
	commits = append(commits, commitDir(t, r, base, "x", repo.CommitTreeOptions{}))
	o := repo.CheckoutOptions{UserMode: !root, CopyPrefixes: []string{"usr/etc"}}
	for i := range 2 {
		from, v, err := r.Tree(commits[i])
		ok(t, err)
		to, w, err := r.Tree(commits[1-i])
		ok(t, err)
		dest, fresh := fmt.Sprint(all, "/dest", i), fmt.Sprint(all, "/fresh", i)
		ok(t, r.Checkout(ctx, tree.Root{Tree: v.Tree, Meta: v.Meta}, dest, o))
		ok(t, r.Checkout(ctx, tree.Root{Tree: w.Tree, Meta: w.Meta}, fresh, o))
		var before, after unix.Stat_t
		ok(t, unix.Stat(dest+"/usr/share/same1", &before))
		ok(t, r.UpdateCheckoutWith(ctx, from, to, dest, o))
		ok(t, unix.Stat(dest+"/usr/share/same1", &after))
		if before.Ino != after.Ino {
			t.Error("a file that is the same was made again")
		}
		sameText(t, printDir(t, dest, mode), printDir(t, fresh, mode))
		for _, p := range []string{"usr", "usr/bin", "usr/etc/conf", "usr/share/many"} {
			var st unix.Stat_t
			ok(t, unix.Stat(dest+"/"+p, &st))
			if st.Mtim.Sec != 0 || p == "usr/etc/conf" && st.Nlink != 1 {
				t.Errorf("%s: time %d, %d links", p, st.Mtim.Sec, st.Nlink)
			}
		}
		ok(t, r.UpdateCheckoutWith(ctx, to, to, dest, o))
	}
	check(t, r)
}

func TestCommitTreeOptions(t *testing.T) {
	r := initRepo(t, repo.Archive)
	dir := t.TempDir()
	write(t, dir+"/keep/f", "x", 0o4777)
	write(t, dir+"/drop/f", "x", 0o644)
	write(t, dir+"/keep/no", "x", 0o644)
	id := uint32(42)
	c := commitDir(t, r, dir, "x", repo.CommitTreeOptions{UID: &id, GID: &id, NoXattrs: true,
		Filter: func(p string, s *repo.Stat) bool {
			if p == "keep/f" {
				s.Mode, s.GID = 0o4711, 7
			}
			return p != "drop" && filepath.Base(p) != "no"
		},
		Xattrs: func(p string, s repo.Stat, xs []ostree.Xattr) ([]ostree.Xattr, error) {
			return append(xs, ostree.Xattr{Name: "security.selinux", Value: []byte("l:" + p)}), nil
		}})
	got := print(t, r, c)
	var lines []string
	for _, l := range strings.Split(got, "\n") {
		if f := strings.Fields(l); len(f) > 5 {
			lines = append(lines, strings.Join(append(f[:4:4], f[5:]...), " "))
		}
	}
	sameText(t, strings.Join(lines, "\n"), fmt.Sprintf("d %04o 42:42 - . {security.selinux=6c3a}\n"+
		"d 0755 42:42 - keep {security.selinux=6c3a6b656570}\n- 4711 42:7 1 keep/f {security.selinux=6c3a6b6565702f66}", mustMode(t, dir)))
	if c := commitDir(t, r, dir, "y", repo.CommitTreeOptions{CanonicalPermissions: true}); !strings.Contains(print(t, r, c), "- 0755 0:0 1 ") {
		t.Error(print(t, r, c))
	}
	ok(t, unix.Mkfifo(dir+"/fifo", 0o644))
	if _, err := tryCommitDir(r, dir, "z", repo.CommitTreeOptions{}); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("fifo: %v", err)
	}
	check(t, r)
}

func mustMode(t *testing.T, path string) uint32 {
	var st unix.Stat_t
	ok(t, unix.Stat(path, &st))
	return st.Mode & 0o7777
}

// A tree committed from hard links by inode is the same as one that is read.
func TestKnownInodes(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "tree")
	makeTree(t, dir, true)
	r := initRepo(t, repo.Bare)
	c := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	v, err := r.Commit(c)
	ok(t, err)
	dest := filepath.Join(t.TempDir(), "dest")
	ok(t, r.Checkout(context.Background(), tree.Root{Tree: v.Tree, Meta: v.Meta}, dest, repo.CheckoutOptions{}))
	listing, err := r.Begin(context.Background())
	ok(t, err)
	defer listing.Abort()
	known, err := listing.KnownInodes()
	ok(t, err)
	ok(t, r.Config().Set("core", "lock-timeout-secs", "0"))
	if _, err := r.Prune(context.Background(), repo.PruneOptions{}); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("what is known can be pruned: %v", err)
	}
	hits := 0
	d := commitDir(t, r, dest, "y", repo.CommitTreeOptions{Known: func(dev, ino uint64) (ostree.Checksum, bool) {
		sum, yes := known(dev, ino)
		if yes {
			hits++
		}
		return sum, yes
	}})
	sameText(t, print(t, r, d), print(t, r, c))
	if hits < 50 {
		t.Errorf("%d files known", hits)
	}
}

func TestDetachedAndPartial(t *testing.T) {
	ctx := context.Background()
	src, r := initRepo(t, repo.BareUser), initRepo(t, repo.Archive)
	dir := t.TempDir()
	write(t, dir+"/f", "x", 0o644)
	c := commitDir(t, src, dir, "x", repo.CommitTreeOptions{})
	tx, err := src.Begin(ctx)
	ok(t, err)
	tx.SetDetached(c, ostree.AddSignature(nil, ostree.KeySignEd25519, []byte("sig")))
	ok(t, tx.Commit())
	ok(t, pullLocal(r, src, nil, pull.Options{CommitOnly: true}))
	if !r.IsPartial(c) {
		t.Error("not marked as partial")
	}
	check(t, r)
	if _, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true}); err != nil {
		t.Error(err)
	}
	ok(t, pullLocal(r, src, nil, pull.Options{}))
	if r.IsPartial(c) {
		t.Error("still marked as partial")
	}
	d, err := r.Detached(c)
	ok(t, err)
	if sigs := ostree.Signatures(d, ostree.KeySignEd25519); len(sigs) != 1 || string(sigs[0]) != "sig" {
		t.Errorf("detached: %v", d)
	}
	check(t, r)
}

func TestTxRefusals(t *testing.T) {
	ctx := context.Background()
	r := initRepo(t, repo.BareUser)
	tx, err := r.Begin(ctx)
	ok(t, err)
	h := ostree.FileHeader{Mode: ostree.DefaultFileMode}
	large := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		size int64
		text string
	}{{5, "four"}, {3, "four"}, {0, "x"}, {int64(len(large)) - 1, large}, {int64(len(large)) + 1, large}, {1, large}} {
		if _, err := tx.PutFile(h, c.size, strings.NewReader(c.text)); !errors.Is(err, ostree.ErrCorrupt) {
			t.Errorf("%d bytes for %d: %v", c.size, len(c.text), err)
		}
	}
	sum, err := tx.PutFile(h, -1, strings.NewReader(large))
	ok(t, err)
	if want, _, _ := h.Sum(strings.NewReader(large)); sum != want {
		t.Error("large file has another name")
	}
	if err := tx.PutFileAs(sum, h, -1, strings.NewReader("other")); !errors.Is(err, ostree.ErrCorrupt) {
		t.Errorf("wrong content: %v", err)
	}
	if _, err := tx.PutDirTree(ostree.DirTree{Files: []ostree.TreeFile{{Name: "../x"}}}); err == nil {
		t.Error("dirtree that leads outside")
	}
	if _, err := tx.PutFile(ostree.FileHeader{Mode: 0o060000}, 0, nil); err == nil {
		t.Error("device")
	}
	if !tx.Has(ostree.TypeFile, sum) || r.Has(ostree.TypeFile, sum) {
		t.Error("staged object: visible to others, or not to us")
	}
	// two at once
	other, err := r.Begin(ctx)
	ok(t, err)
	_, err = other.PutFile(h, -1, strings.NewReader(large))
	ok(t, err)
	ok(t, tx.Commit())
	ok(t, other.Commit())
	if tx.Commit() == nil || tx.Abort() != nil {
		t.Error("commit twice, abort after commit")
	}
	if ents, _ := os.ReadDir(r.Path() + "/tmp"); len(ents) != 1 {
		t.Errorf("tmp: %v", ents)
	}
	check(t, r)
}

func TestLocks(t *testing.T) {
	r := initRepo(t, repo.Archive)
	ok(t, r.Config().Set("core", "lock-timeout-secs", "0"))
	ctx := context.Background()
	tx, err := r.Begin(ctx)
	ok(t, err)
	if _, err := r.Prune(ctx, repo.PruneOptions{}); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("prune during a transaction: %v", err)
	}
	ok(t, tx.Abort())
	l, err := durable.Acquire(ctx, r.Path()+"/.lock", true, 0)
	ok(t, err)
	if _, err := r.Begin(ctx); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("transaction during a prune: %v", err)
	}
	ok(t, l.Release())
	stop, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	tx, err = r.Begin(ctx)
	ok(t, err)
	ok(t, r.Config().Set("core", "lock-timeout-secs", "60"))
	if _, err := r.Prune(stop, repo.PruneOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("prune with an ending context: %v", err)
	}
	ok(t, tx.Abort())

	// Where no lock can be had, as on a read-only disk, it can still be said what would go.
	ok(t, os.RemoveAll(r.Path()+"/.lock"))
	ok(t, os.Symlink(".lock", r.Path()+"/.lock"))
	if _, err := r.Prune(ctx, repo.PruneOptions{}); err == nil {
		t.Error("prune without a lock")
	}
	if _, err := r.Prune(ctx, repo.PruneOptions{DryRun: true}); err != nil {
		t.Errorf("prune --no-prune without a lock: %v", err)
	}
}

func TestMinFreeSpace(t *testing.T) {
	r := initRepo(t, repo.BareUser)
	r.Config().Unset("core", "min-free-space-percent")
	ok(t, r.Config().Set("core", "min-free-space-size", "900000TB"))
	dir := t.TempDir()
	write(t, dir+"/f", "x", 0o644)
	_, err := tryCommitDir(r, dir, "x", repo.CommitTreeOptions{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "min-free-space-size") {
		t.Errorf("got %v", err)
	}
	check(t, r)
	for _, bad := range []string{"5", "5KB", "-1GB", "99999999999999999999GB", "9999999999TB"} {
		ok(t, r.Config().Set("core", "min-free-space-size", bad))
		if _, err := r.Begin(context.Background()); err == nil {
			t.Errorf("size %q", bad)
		}
	}
}

func TestFullDisk(t *testing.T) {
	needRoot(t)
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=4m"); err != nil {
		need(t, false, "mounts: "+err.Error())
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	dir := t.TempDir()
	write(t, dir+"/small", "x", 0o644)
	for _, mode := range []repo.Mode{repo.Bare, repo.Archive} {
		path := filepath.Join(mnt, mode.String())
		r, err := repo.Init(path, mode)
		ok(t, err)
		ok(t, r.Config().Set("core", "min-free-space-percent", "0"))
		ok(t, r.Config().Save())
		r = open(t, path)
		first := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
		noise := make([]byte, 3<<20)
		for i := range noise {
			noise[i] = byte(i * i >> 7 * i >> 3)
		}
		for i := range 4 {
			noise[i] = byte(i)
			big := filepath.Join(t.TempDir(), "t")
			for j := range 6 {
				noise[9] = byte(j)
				write(t, fmt.Sprint(big, "/f", j), string(noise[:1<<20-i]), 0o644)
			}
			write(t, big+"/large", strings.Repeat(string(noise), 2), 0o644)
			if _, err := tryCommitDir(r, big, "x", repo.CommitTreeOptions{}); mode == repo.Bare && !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("%v: full disk: %v", mode, err)
			}
		}
		if c, err := r.Resolve("x"); mode == repo.Bare && (err != nil || c != first) {
			t.Errorf("ref: %v %v", c, err)
		}
		check(t, r)
		ok(t, os.RemoveAll(path))
	}
}

func TestParentRepo(t *testing.T) {
	parent := initRepo(t, repo.BareUser)
	dir := t.TempDir()
	write(t, dir+"/f", "x", 0o644)
	c := commitDir(t, parent, dir, "x", repo.CommitTreeOptions{})
	r := initRepo(t, repo.BareUser)
	ok(t, r.Config().Set("core", "parent", parent.Path()))
	ok(t, r.Config().Save())
	r = open(t, r.Path())
	if got, err := r.Resolve("x"); err != nil || got != c {
		t.Fatalf("parent's ref: %v %v", got, err)
	}
	v, err := r.Commit(c)
	ok(t, err)
	ok(t, r.Checkout(context.Background(), tree.Root{Tree: v.Tree, Meta: v.Meta}, t.TempDir()+"/d", repo.CheckoutOptions{UserMode: true}))
	ok(t, r.SetRef("own", c))
	check(t, r)
	ok(t, r.Config().Set("core", "parent", r.Path()))
	ok(t, r.Config().Save())
	if _, err := repo.Open(r.Path()); err == nil {
		t.Error("a repository that is its own parent")
	}
}

func TestMetadataLimits(t *testing.T) {
	r := initRepo(t, repo.Archive)
	var c ostree.Checksum
	path := r.ObjectPath(ostree.TypeDirTree, c)
	ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(t, os.WriteFile(path, nil, 0o644))
	ok(t, os.Truncate(path, ostree.MaxMetadataSizeBytes+1))
	if _, err := r.DirTree(c); !errors.Is(err, ostree.ErrCorrupt) || !strings.Contains(err.Error(), "at most") {
		t.Errorf("large metadata: %v", err)
	}
	// a deflate bomb: the header says one byte, the stream has a million
	h := ostree.FileHeader{Mode: ostree.DefaultFileMode}
	dir := t.TempDir()
	write(t, dir+"/f", strings.Repeat("\x00", 1<<20), 0o644)
	commit := commitDir(t, r, dir, "x", repo.CommitTreeOptions{UID: new(uint32), GID: new(uint32)})
	tr, _, err := r.Tree(commit)
	ok(t, err)
	e, _, _ := tr.Lookup("f")
	file := r.ObjectPath(ostree.TypeFile, e.File)
	data, err := os.ReadFile(file)
	ok(t, err)
	for _, size := range []uint64{0, 1, 1<<20 - 1, 1<<20 + 1, 1 << 62} {
		bad := append(h.ArchivePrefix(size), bytes.TrimPrefix(data, h.ArchivePrefix(1<<20))...)
		ok(t, os.WriteFile(file, bad, 0o644))
		_, _, in, err := r.OpenVerified(e.File)
		ok(t, err)
		n, err := new(bytes.Buffer).ReadFrom(in)
		if !errors.Is(err, ostree.ErrCorrupt) || n > 1<<20+1 {
			t.Errorf("size %d: read %d bytes, %v", size, n, err)
		}
		in.Close()
	}
}

func TestPullDepth(t *testing.T) {
	src, r := initRepo(t, repo.Archive), initRepo(t, repo.Archive)
	dir := t.TempDir()
	var all []ostree.Checksum
	for i := range 4 {
		write(t, dir+"/f", fmt.Sprint(i), 0o644)
		all = append(all, commitDir(t, src, dir, "x", repo.CommitTreeOptions{}))
	}
	ctx := context.Background()
	ok(t, pullLocal(r, src, []string{"x"}, pull.Options{Depth: 1}))
	var have []bool
	for _, c := range all {
		have = append(have, r.Has(ostree.TypeCommit, c))
	}
	if !slices.Equal(have, []bool{false, false, true, true}) {
		t.Errorf("depth 1: %v", have)
	}
	ok(t, pullLocal(r, src, []string{"x"}, pull.Options{Depth: -1}))
	if !r.Has(ostree.TypeCommit, all[0]) {
		t.Error("depth -1")
	}
	res, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true, Depth: 2})
	ok(t, err)
	if res.Commits != 1 || r.Has(ostree.TypeCommit, all[0]) || !r.Has(ostree.TypeCommit, all[1]) {
		t.Errorf("prune to depth 2: %+v", res)
	}
	if res, err = r.Prune(ctx, repo.PruneOptions{}); err != nil || res.Deleted != 0 {
		t.Errorf("prune without refs only: %+v %v", res, err)
	}
	ok(t, r.DeleteRef("x"))
	if res, err = r.Prune(ctx, repo.PruneOptions{RefsOnly: true, Keep: all[2:3]}); err != nil || !r.Has(ostree.TypeCommit, all[2]) {
		t.Errorf("prune but keep one: %+v %v", res, err)
	}
	check(t, r)
}
