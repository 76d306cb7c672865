// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

var peerModes = map[string]repo.Mode{"bare": repo.Bare, "bare-user": repo.BareUser, "archive": repo.Archive}

// The same directory committed by both has the same checksum, and each reads what the other wrote.
func TestPeerSameChecksum(t *testing.T) {
	needOSTree(t)
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "tree")
	makeTree(t, dir, true)
	for name, mode := range peerModes {
		t.Run(name, func(t *testing.T) {
			theirs := filepath.Join(t.TempDir(), "theirs")
			peerInit(t, theirs, name)
			peer(t, "--repo="+theirs, "commit", "-b", "x", "--tree=dir="+dir, "--timestamp=@0", "-s", "s")
			want := peer(t, "--repo="+theirs, "rev-parse", "x")
			r := initRepo(t, mode)
			got := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
			if got.String() != want {
				p := open(t, theirs)
				c, err := p.Resolve("x")
				ok(t, err)
				sameText(t, print(t, r, got), print(t, p, c))
				t.Fatalf("got %s, want %s", got, want)
			}
			check(t, r)
			check(t, open(t, theirs))
			peer(t, "--repo="+r.Path(), "fsck")
			if got := peer(t, "--repo="+r.Path(), "rev-parse", "x"); got != want {
				t.Fatalf("ostree reads our ref as %s, want %s", got, want)
			}
			peerCheckout(t, r, open(t, theirs), dir)
			peerPull(t, r, theirs, name)
		})
	}
}

func peerInit(t *testing.T, path, mode string) {
	t.Helper()
	peer(t, "--repo="+path, "init", "--mode="+mode)
	peer(t, "--repo="+path, "config", "set", "core.fsync", "false")
}

// peerCheckout compares checkouts of all kinds.
func peerCheckout(t *testing.T, ours, theirs *repo.Repo, dir string) {
	want := printDir(t, dir, repo.Bare)
	tmp := t.TempDir()
	for i, r := range []*repo.Repo{ours, theirs} {
		c, err := r.Resolve("x")
		ok(t, err)
		v, err := r.Commit(c)
		ok(t, err)
		dest := filepath.Join(tmp, "ours"+string(rune('0'+i)))
		ok(t, r.Checkout(context.Background(), tree.Root{Tree: v.Tree, Meta: v.Meta}, dest, repo.CheckoutOptions{CopyPrefixes: []string{"usr/etc"}}))
		sameText(t, printDir(t, dest, repo.Bare), want)
		dest = filepath.Join(tmp, "theirs"+string(rune('0'+i)))
		peer(t, "--repo="+r.Path(), "checkout", "x", dest)
		sameText(t, printDir(t, dest, repo.Bare), want)
	}
	// user mode: both lay out the same
	var user [2]string
	ctx := context.Background()
	c, _ := ours.Resolve("x")
	v, err := ours.Commit(c)
	ok(t, err)
	ok(t, ours.Checkout(ctx, tree.Root{Tree: v.Tree, Meta: v.Meta}, tmp+"/u0", repo.CheckoutOptions{UserMode: true}))
	peer(t, "--repo="+ours.Path(), "checkout", "-U", "x", tmp+"/u1")
	for i := range user {
		r := initRepo(t, repo.Bare)
		skip := func(name string) bool { return name == ostree.UserMetaXattr }
		user[i] = print(t, r, commitDir(t, r, tmp+"/u"+string(rune('0'+i)), "x", repo.CommitTreeOptions{SkipXattr: skip}))
	}
	sameText(t, user[0], user[1])
}

// peerPull pulls in both directions into every mode.
func peerPull(t *testing.T, ours *repo.Repo, theirs, name string) {
	for to, mode := range peerModes {
		dest := filepath.Join(t.TempDir(), "dest")
		peerInit(t, dest, to)
		peer(t, "--repo="+dest, "pull-local", ours.Path(), "x")
		peer(t, "--repo="+dest, "fsck")
		for _, untrusted := range []bool{false, true} {
			r := initRepo(t, mode)
			_, err := pull.Local(context.Background(), r, theirs, "origin", []string{"x"}, pull.Options{Untrusted: untrusted})
			ok(t, err)
			check(t, r)
			peer(t, "--repo="+r.Path(), "fsck")
			got, err := r.Resolve("origin:x")
			ok(t, err)
			want, err := ours.Resolve("x")
			ok(t, err)
			if got != want {
				t.Fatalf("pulled %s, want %s", got, want)
			}
		}
	}
}

// ostree prunes and summarises our repository, and we its.
func TestPeerPruneAndSummary(t *testing.T) {
	needOSTree(t)
	dir := filepath.Join(t.TempDir(), "tree")
	makeTree(t, dir, false)
	r := initRepo(t, repo.Archive)
	first := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	write(t, dir+"/usr/new", "new", 0o644)
	second := commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	ctx := context.Background()
	ok(t, r.WriteSummary(ctx))
	out := peer(t, "--repo="+r.Path(), "summary", "-v", "--view")
	t.Log(out)
	if s, _, err := r.ReadSummary(); err != nil || len(s.Refs) != 1 || s.Refs[0].Commit != second {
		t.Fatalf("summary: %v %v", s, err)
	}
	peer(t, "--repo="+r.Path(), "summary", "-u")
	if s, _, err := r.ReadSummary(); err != nil || len(s.Refs) != 1 || s.Refs[0].Commit != second {
		t.Fatalf("ostree's summary: %v %v", s, err)
	}
	dry, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true, DryRun: true})
	ok(t, err)
	res, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	ok(t, err)
	if res != dry || res.Commits != 1 || r.Has(ostree.TypeCommit, first) {
		t.Fatalf("prune: %+v, dry run %+v", res, dry)
	}
	check(t, r)
	peer(t, "--repo="+r.Path(), "fsck")
	if out := peer(t, "--repo="+r.Path(), "prune", "--refs-only"); out == "" {
		t.Fatal("no output")
	} else {
		t.Log(out)
	}
	check(t, r)
}

// Our lock keeps ostree out, and ostree pulls from our archive by its summary.
func TestPeerLockAndPull(t *testing.T) {
	needOSTree(t)
	ctx := context.Background()
	dir := t.TempDir()
	smallTree(t, dir, 1)
	r := initRepo(t, repo.Archive)
	c := commitDir(t, r, dir, "a/x", repo.CommitTreeOptions{})
	ok(t, r.WriteSummary(ctx))
	ok(t, r.Config().Set("core", "lock-timeout-secs", "1"))
	ok(t, r.Config().Save())
	tx, err := r.Begin(ctx)
	ok(t, err)
	if out, err := exec.Command("ostree", "--repo="+r.Path(), "prune", "--refs-only").CombinedOutput(); err == nil {
		t.Errorf("ostree prunes beside our transaction: %s", out)
	}
	peer(t, "--repo="+r.Path(), "commit", "-b", "b", "--tree=dir="+dir) // writers share the lock
	ok(t, tx.Abort())
	peer(t, "--repo="+r.Path(), "prune", "--refs-only")

	dest := filepath.Join(t.TempDir(), "dest")
	peerInit(t, dest, "bare-user")
	peer(t, "--repo="+dest, "remote", "add", "--no-gpg-verify", "up", "file://"+r.Path())
	if out := peer(t, "--repo="+dest, "remote", "refs", "up"); out != "up:a/x" {
		t.Errorf("refs of the summary: %s", out)
	}
	peer(t, "--repo="+dest, "pull", "up", "a/x")
	peer(t, "--repo="+dest, "fsck")
	theirs := open(t, dest)
	check(t, theirs)
	if got, err := theirs.Resolve("up:a/x"); err != nil || got != c {
		t.Errorf("pulled %v %v, want %s", got, err, c)
	}
	if m, err := theirs.Config().Remote("up"); err != nil || m.GPGVerify || m.URL != "file://"+r.Path() {
		t.Errorf("remote: %+v %v", m, err)
	}
}
