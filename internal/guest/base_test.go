// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/guest"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/solve"
	"grove/internal/tree"
)

// edited commits the world's base with changes, as a ref of its own.
func edited(t testing.TB, e guest.Env, from, to string, change func(put func(path, text string), link func(path, target string), edit *tree.Editor)) {
	t.Helper()
	r := e.Store.Repo()
	sum, err := r.Resolve(from)
	if err != nil {
		t.Fatal(err)
	}
	tr, c, err := r.Tree(sum)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	edit := tr.Edit()
	file := func(path string, h ostree.FileHeader, text string) {
		t.Helper()
		sum, err := tx.PutFile(h, int64(len(text)), bytes.NewReader([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := edit.PutFile(path, sum); err != nil {
			t.Fatal(err)
		}
	}
	change(func(path, text string) { file(path, ostree.FileHeader{Mode: 0o100644}, text) },
		func(path, target string) { file(path, ostree.FileHeader{Mode: 0o120777, Symlink: target}, "") }, edit)
	if err := edit.Err(); err != nil {
		t.Fatal(err)
	}
	root, err := edit.Tree().Write(tx)
	if err != nil {
		t.Fatal(err)
	}
	c.Tree, c.Meta, c.Subject, c.Metadata = root.Tree, root.Meta, to, nil // which speaks of the packages of before
	if sum, err = tx.PutCommit(c); err == nil {
		if err = tx.SetRef(to, sum); err == nil {
			err = tx.Commit()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A base that no packages are known of makes a guest like any other.
func TestBaseWithoutRpmdb(t *testing.T) {
	w := copse(t)
	t.Parallel()
	e := w.state(t)
	edited(t, e, w.Ref, "bare", func(put func(string, string), _ func(string, string), edit *tree.Editor) {
		for _, p := range []string{"usr/share/rpm", "usr/lib/sysimage/rpm", "usr/share/factory/var/lib/rpm"} {
			if err := edit.Remove(p); err != nil {
				t.Fatal(err)
			}
		}
	})
	c := mustCreate(t, e, "mail", "bare")
	if c.Installed != 0 {
		t.Errorf("%d packages", c.Installed)
	}
	if s, err := guest.StatusOf(e, "mail"); err != nil || s.Deployments[0].Packages != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, err := guest.List(e); err != nil {
		t.Error(err)
	}
	if d, err := guest.Compare(e, "mail", 0, 0, false); err != nil || !d.Packages.Empty() {
		t.Errorf("diff: %+v, %v", d, err)
	}
}

// A link in the place of the rpmdb that is absolute for the guest leads nowhere on this host.
func TestRpmdbBehindLink(t *testing.T) {
	w := copse(t)
	t.Parallel()
	e := w.state(t)
	trap := filepath.Join(tempDir(t), "host-rpm")
	if err := os.MkdirAll(trap, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := e.Store.Repo().Resolve(w.Ref)
	if err != nil {
		t.Fatal(err)
	}
	tr, _, err := e.Store.Repo().Tree(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := compose.ExtractRpmdb(e.Store.Repo(), tr, trap); err != nil {
		t.Fatal(err)
	}
	edited(t, e, w.Ref, "linked", func(_ func(string, string), link func(string, string), edit *tree.Editor) {
		for _, p := range []string{"usr/share/rpm", "usr/lib/sysimage/rpm", "usr/share/factory/var/lib/rpm"} {
			if err := edit.Remove(p); err != nil {
				t.Fatal(err)
			}
		}
		link("usr/share/rpm", trap)
	})
	if c := mustCreate(t, e, "mail", "linked"); c.Installed != 0 {
		t.Errorf("%d packages of the host's database", c.Installed)
	}
}

// The release that sources are asked for is that of the new base, not that of the deployment before.
func TestReleaseverOfNewBase(t *testing.T) {
	w := copse(t)
	t.Parallel()
	e := w.state(t)
	for id, ver := range map[string]string{"one": "1", "two": "2"} {
		edited(t, e, w.Ref, id, func(put func(string, string), _ func(string, string), edit *tree.Editor) {
			put("usr/lib/os-release", "NAME=x\nID=x\nVERSION_ID="+ver+"\n")
			put("usr/etc/yum.repos.d/copse.repo", "[copse]\nbaseurl=file://"+w.Dir+"/base-$releasever\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-copse-1\n")
		})
	}
	mustCreate(t, e, "mail", "one")
	_, err := guest.Install(context.Background(), e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{})
	if err == nil || !strings.Contains(err.Error(), "base-1") {
		t.Errorf("on the first base: %v", err)
	}
	if _, err := guest.Rebase(context.Background(), e, "mail", "two", guest.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err = guest.Install(context.Background(), e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{})
	if err == nil || !strings.Contains(err.Error(), "base-2") {
		t.Errorf("on the second base: %v", err)
	}
	// At once, too: the rebase of a guest with layers.
	mustCreate(t, e, "web", w.Ref, "hello")
	_, err = guest.Rebase(context.Background(), e, "web", "two", guest.Options{})
	if err == nil || !strings.Contains(err.Error(), "base-2") {
		t.Errorf("with layers: %v", err)
	}
	// dnf's own variable wins over os-release, that of the manifest over both.
	if err := os.MkdirAll(filepath.Join(currentRoot(t, e, "mail"), "etc/dnf/vars"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(currentRoot(t, e, "mail"), "etc/dnf/vars/releasever"), []byte("seven\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = guest.Install(context.Background(), e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{})
	if err == nil || !strings.Contains(err.Error(), "base-seven") {
		t.Errorf("with a variable: %v", err)
	}
}

func TestUpgrade(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	c := mustCreate(t, e, "mail", w.Ref, "hello")
	if c, err := guest.Upgrade(ctx, e, "mail", guest.Options{}); err != nil || !c.Unchanged {
		t.Fatalf("nothing new: %+v, %v", c, err)
	}
	w.mustUpdateBase(t, e)
	if again := mustInstall(t, e, "mail", "tool-in-opt"); again.Base.Commit != c.Base.Commit {
		t.Error("install took the new base")
	}
	up, err := guest.Upgrade(ctx, e, "mail", guest.Options{DryRun: true})
	if err != nil || up.To != 0 || len(up.Packages.Upgraded) == 0 {
		t.Errorf("dry run: %+v, %v", up, err)
	}
	up, err = guest.Upgrade(ctx, e, "mail", guest.Options{})
	if err != nil || up.Base.Commit == c.Base.Commit {
		t.Fatalf("upgrade: %+v, %v", up, err)
	}
	var names []string
	for _, u := range up.Packages.Upgraded {
		names = append(names, u.Name+" "+u.To)
	}
	if got := strings.Join(names, ", "); got != "copse-release 1.1-1, hello 1.1-1, motd 1.1-1" {
		t.Errorf("upgraded %s", got)
	}
	fsck(t, e)
}

// A requested package that no source has any more: an upgrade says so, anything else keeps it.
func TestVanishedPackage(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	repoFile, dir := w.source(t, "extra", fixture.Spec{Name: "extra"})
	mustCreate(t, e, "mail", w.Ref)
	if _, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"extra"}}, guest.Options{RepoFiles: []string{repoFile}}); err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(w.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	other, err := fixture.Build(fixture.Spec{Name: "other", Key: secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := fixture.WriteSource(dir, []fixture.Built{other}, nil, secret); err != nil {
		t.Fatal(err)
	}
	before := listing(t, filepath.Join(e.Store.Root(), "guests"))
	_, err = guest.Upgrade(ctx, e, "mail", guest.Options{})
	var unknown *solve.Unknown
	if !errors.As(err, &unknown) || unknown.Spec != "extra" {
		t.Errorf("upgrade: %v", err)
	}
	if got := listing(t, filepath.Join(e.Store.Root(), "guests")); got != before {
		t.Errorf("something changed: %s", got)
	}
	s, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{Refresh: true})
	if err != nil || len(s.Packages.Added) != 1 || len(s.Packages.Removed) != 0 {
		t.Errorf("install: %+v, %v", s, err)
	}
}

// A new base that has a layered package of its own: it stays asked for, and nothing is layered.
func TestRebaseToBaseWithPackage(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	// The base with hello in it: made here, with the layers of a guest as the tree.
	c := mustCreate(t, e, "maker", w.Ref, "hello")
	sum, err := ostree.ParseChecksum(c.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Store.Repo().SetRef("with-hello", sum); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, e, "mail", w.Ref, "greeter")
	mustInstall(t, e, "mail", "hello")
	r, err := guest.Rebase(ctx, e, "mail", "with-hello", guest.Options{})
	if err != nil || strings.Join(r.Satisfied, " ") != "hello" || !r.Packages.Empty() {
		t.Fatalf("rebase: %+v, %v", r, err)
	}
	s, err := guest.StatusOf(e, "mail")
	if err != nil || strings.Join(s.Requested, " ") != "greeter hello" || strings.Join(s.Deployments[0].Layered, " ") != "greeter-doc-1.0-1.noarch greeter-1.0-1.noarch" &&
		strings.Join(s.Deployments[0].Layered, " ") != "greeter-1.0-1.noarch greeter-doc-1.0-1.noarch" {
		t.Errorf("status: %+v, %v", s, err)
	}
	r, err = guest.Rebase(ctx, e, "mail", w.Ref, guest.Options{})
	if err != nil || !r.Packages.Empty() {
		t.Errorf("back: %+v, %v", r, err)
	}
	fsck(t, e)
}

// Two state roots, one lock: one commit. And a lock is followed to the base that it names.
func TestGuestLock(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	first := mustCreate(t, e, "mail", w.Ref, "greeter")
	text := mustRead(t, filepath.Join(e.Store.Root(), "guests/mail/current/lock.json"))
	lock, err := manifest.ParseLock([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	other := w.state(t)
	w.mustUpdateBase(t, other) // the ref has moved on there
	c, err := guest.Create(ctx, other, "web", guest.CreateOptions{Base: w.Ref, Packages: []string{"greeter"}, Options: guest.Options{Lock: &lock}})
	if err != nil || c.Commit != first.Commit || c.Base.Commit != first.Base.Commit {
		t.Errorf("got %s on %s, wanted %s on %s: %v", c.Commit, c.Base.Commit, first.Commit, first.Base.Commit, err)
	}
	if got := mustRead(t, filepath.Join(other.Store.Root(), "guests/web/current/lock.json")); got != text {
		t.Errorf("the lock is\n%s\nwas\n%s", got, text)
	}
	if lock.Arch != w.Arch {
		t.Errorf("lock of architecture %q", lock.Arch)
	}
	for name, change := range map[string]func(*manifest.Lock){
		"no base":            func(l *manifest.Lock) { l.Base = manifest.LockedBase{} },
		"base nobody has":    func(l *manifest.Lock) { l.Base.Commit = strings.Repeat("7", 64) },
		"other architecture": func(l *manifest.Lock) { l.Arch = "s390x" },
		"digest":             func(l *manifest.Lock) { l.Packages[0].Digest = "sha256:" + strings.Repeat("7", 64) },
		"removed unknown":    func(l *manifest.Lock) { l.Removed = []string{"nosuch-1-1.noarch"} },
		"account":            func(l *manifest.Lock) { l.Users = []string{"what: is this"} },
		"location": func(l *manifest.Lock) {
			l.Packages[0].Location, l.Packages[0].Digest = "../../../../../../etc/passwd", "sha256:"+strings.Repeat("7", 64)
		},
	} {
		bad, err := manifest.ParseLock([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		change(&bad)
		if _, err := guest.Create(ctx, other, "bad", guest.CreateOptions{Base: w.Ref, Packages: []string{"greeter"}, Options: guest.Options{Lock: &bad}}); err == nil {
			t.Errorf("%s: no error", name)
			_ = guest.Delete(ctx, other, "bad")
		}
	}
	if _, err := guest.Create(ctx, other, "bad", guest.CreateOptions{Base: w.Ref, Options: guest.Options{Lock: &lock}}); !errors.Is(err, guest.ErrUnsuited) {
		t.Errorf("a lock with packages for a manifest without: %v", err)
	}
	fsck(t, other)
}

// Two guests with one manifest, in two state roots and under two umasks, have one commit.
func TestComposeAgain(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	dir := tempDir(t)
	srv, lockFile := filepath.Join(dir, "srv"), filepath.Join(dir, "lock.json")
	o := guest.ComposeOptions{Manifest: w.BaseManifest, Repo: srv, WriteLock: lockFile}
	first, err := guest.Compose(ctx, e, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := guest.Compose(ctx, e, o)
	if err != nil || !again.Unchanged || again.Commit != first.Commit {
		t.Fatalf("again: %+v, %v", again, err)
	}
	// A run that was killed before it wrote the summary is made good by the next one.
	if err := os.Remove(filepath.Join(srv, "summary")); err != nil {
		t.Fatal(err)
	}
	if _, err = guest.Compose(ctx, e, o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(srv, "summary")); err != nil {
		t.Error("no summary after a run that had nothing to do")
	}
	// Another commit on top, and then the lock: the very first commit comes again.
	o.Manifest = w.UpdatesManifest
	o.WriteLock = ""
	newer, err := guest.Compose(ctx, e, o)
	if err != nil || newer.Commit == first.Commit {
		t.Fatalf("newer: %+v, %v", newer, err)
	}
	o.Manifest, o.Lock = w.BaseManifest, lockFile
	e.Offline = true
	back, err := guest.Compose(ctx, e, o)
	if err != nil || back.Commit != first.Commit {
		t.Errorf("by lock: %+v, wanted %s: %v", back, first.Commit, err)
	}
	r, err := repo.Open(srv)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(ctx); err != nil {
		t.Error(err)
	}
}
