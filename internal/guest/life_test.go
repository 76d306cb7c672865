// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/fixture"
	"grove/internal/guest"
	"grove/internal/manifest"
	"grove/internal/solve"
)

func TestLife(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	c := mustCreate(t, e, "mail", w.Ref)
	if c.To != 1 || c.From != 0 || c.Unchanged {
		t.Errorf("create: %+v", c)
	}
	base := c.Commit
	c = mustInstall(t, e, "mail", "greeter")
	if got := strings.Join(c.Packages.Added, " "); got != "greeter-1.0-1.noarch greeter-doc-1.0-1.noarch hello-1.0-1.noarch" {
		t.Errorf("added %q", got)
	}
	if c := mustInstall(t, e, "mail", "greeter"); !c.Unchanged || c.To != 0 {
		t.Errorf("again: %+v", c)
	}
	// What the base has already is asked for nevertheless, and named.
	c = mustInstall(t, e, "mail", "bash")
	if strings.Join(c.Satisfied, " ") != "bash" || c.To != 3 {
		t.Errorf("what the base has: %+v", c)
	}
	s, err := guest.StatusOf(e, "mail")
	if err != nil || strings.Join(s.Requested, " ") != "greeter bash" || len(s.Deployments) != 3 || !s.Deployments[0].Current {
		t.Errorf("status: %+v, %v", s, err)
	}
	why, err := guest.Why(e, "mail", "hello")
	if err != nil || len(why) != 2 || why[1].Because != "it was asked for" || why[1].Package != "greeter-1.0-1.noarch" {
		t.Errorf("why: %v, %v", why, err)
	}
	// Everything uninstalled: the base's own commit again.
	c, err = guest.Uninstall(ctx, e, "mail", []string{"greeter", "bash"}, guest.Options{})
	if err != nil || c.Commit != base || len(c.Packages.Removed) != 3 {
		t.Errorf("uninstall everything: %+v, %v", c, err)
	}
	if _, err := guest.Uninstall(ctx, e, "mail", []string{"greeter"}, guest.Options{}); !errors.Is(err, guest.ErrUnsuited) || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("uninstall what was not asked for: %v", err)
	}
	if c, err = guest.Rollback(ctx, e, "mail", 0); err != nil || c.To != 3 || len(c.Packages.Added) != 3 {
		t.Errorf("rollback: %+v, %v", c, err)
	}
	if _, err := guest.Rollback(ctx, e, "mail", 3); !errors.Is(err, guest.ErrUnsuited) {
		t.Errorf("rollback to the current: %v", err)
	}
	if _, err := guest.Rollback(ctx, e, "mail", 9); !errors.Is(err, guest.ErrUnsuited) {
		t.Errorf("rollback to nothing: %v", err)
	}
	hist, err := guest.History(e, "mail")
	if err != nil || len(hist) != 4 || len(hist[0].Changes.Removed) != 3 {
		t.Errorf("history: %+v, %v", hist, err)
	}
	d, err := guest.Compare(e, "mail", 1, 2, false)
	if err != nil || len(d.Packages.Added) != 3 || len(d.Files) == 0 {
		t.Errorf("diff: %+v, %v", d, err)
	}
	found, missed, err := guest.Search(ctx, e, "mail", []string{"GREET"}, guest.SearchOptions{})
	if err != nil || missed != nil || len(found) < 2 || !found[0].Installed {
		t.Errorf("search: %+v, %v, %v", found, missed, err)
	}
	fsck(t, e)
	if err := guest.Delete(ctx, e, "mail"); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.StatusOf(e, "mail"); err == nil {
		t.Error("deleted guest has a status")
	}
	fsck(t, e)
}

// A base that is named otherwise, or a manifest that says something else, is a change, even where the commit is the same.
func TestSameCommitOtherIntent(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	c := mustCreate(t, e, "mail", w.Ref)
	sum, err := e.Store.Repo().Resolve(w.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Store.Repo().SetRef("other/name", sum); err != nil {
		t.Fatal(err)
	}
	r, err := guest.Rebase(ctx, e, "mail", "other/name", guest.Options{})
	if err != nil || r.To != 2 || r.Commit != c.Commit || !r.Packages.Empty() {
		t.Fatalf("rebase to another name of the same commit: %+v, %v", r, err)
	}
	s, err := guest.StatusOf(e, "mail")
	if err != nil || s.Base.Ref != "other/name" || s.Deployments[0].Packages == 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	fsck(t, e)
}

// A manifest without packages can ask for something all the same.
func TestManifestWithoutPackages(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	for _, tc := range []struct {
		name string
		m    manifest.Manifest
		path string
	}{
		{"units", manifest.Manifest{Units: []string{"a.service"}}, "etc/systemd/system/multi-user.target.wants/a.service"},
		{"target", manifest.Manifest{DefaultTarget: "multi-user.target"}, "etc/systemd/system/default.target"},
		{"postprocess", manifest.Manifest{Postprocess: []string{"echo here > /usr/lib/made"}}, "usr/lib/made"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := w.state(t)
			tc.m.Base = w.Ref
			if _, err := guest.Apply(ctx, e, "mail", tc.m, guest.Options{}); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(currentTree(t, e, "mail"), tc.path)); err != nil {
				t.Error(err)
			}
			if c, err := guest.Apply(ctx, e, "mail", tc.m, guest.Options{}); err != nil || !c.Unchanged {
				t.Errorf("again: %+v, %v", c, err)
			}
		})
	}
	t.Run("remove-files", func(t *testing.T) {
		t.Parallel()
		e := w.state(t)
		m := manifest.Manifest{Base: w.Ref, RemoveFiles: []string{"/usr/lib/motd.d/copse"}}
		if _, err := guest.Apply(ctx, e, "mail", m, guest.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(currentTree(t, e, "mail"), "usr/lib/motd.d/copse")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is there: %v", err)
		}
	})
	t.Run("add-files", func(t *testing.T) {
		t.Parallel()
		e := w.state(t)
		m := manifest.Manifest{Base: w.Ref, AddFiles: [][2]string{{"x", "/etc/x"}}}
		if _, err := guest.Apply(ctx, e, "mail", m, guest.Options{}); err == nil {
			t.Error("files that stand nowhere were added")
		}
	})
}

// Whatever fails, or is only tried, leaves no folder, no ref of a guest and no .repo file.
func TestNothingLeftBehind(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	mustCreate(t, e, "mail", w.Ref)
	repoFile, _ := w.source(t, "extra", fixture.Spec{Name: "extra"})
	before := listing(t, filepath.Join(e.Store.Root(), "guests"))
	refs := func() string {
		all, err := e.Store.Repo().Refs("")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, r := range guest.SortedKeys(all) {
			if !strings.HasPrefix(r, "grove/pkg/") {
				b.WriteString(r + "\n")
			}
		}
		return b.String()
	}
	refsBefore := refs()
	same := func(what string) {
		t.Helper()
		if got := listing(t, filepath.Join(e.Store.Root(), "guests")); got != before {
			t.Errorf("%s: guests are\n%s\nwere\n%s", what, got, before)
		}
		if got := refs(); got != refsBefore {
			t.Errorf("%s: refs are\n%s\nwere\n%s", what, got, refsBefore)
		}
	}
	o := guest.Options{DryRun: true, RepoFiles: []string{repoFile}}
	c, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"extra"}}, o)
	if err != nil || len(c.Packages.Added) != 1 || c.To != 0 {
		t.Errorf("dry run: %+v, %v", c, err)
	}
	same("dry run")
	if _, err := guest.Create(ctx, e, "web", guest.CreateOptions{Base: w.Ref, Packages: []string{"extra"}, Options: o}); err != nil {
		t.Error(err)
	}
	same("dry create")
	o.DryRun = false
	for _, bad := range []string{"broken-pre", "broken-dep", "nothing-called-so", "unsigned-one", "forged"} {
		if _, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{bad}}, o); err == nil {
			t.Errorf("install %s: no error", bad)
		}
		same("install " + bad)
		if _, err := guest.Create(ctx, e, "web", guest.CreateOptions{Base: w.Ref, Packages: []string{bad}, Options: o}); err == nil {
			t.Errorf("create with %s: no error", bad)
		}
		same("create with " + bad)
	}
	// The last step before the swap fails: what fills /var meets a file where a folder must be.
	g, err := e.Store.Guest("mail")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(g.VarDir(), "lib")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(g.VarDir(), g.VarDir()+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.VarDir(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"extra", "hello"}}, o); err == nil {
		t.Error("install over a broken /var: no error")
	}
	if err := errors.Join(os.Remove(g.VarDir()), os.Rename(g.VarDir()+".away", g.VarDir())); err != nil {
		t.Fatal(err)
	}
	same("install that fails at the end")
	if _, err := guest.Create(ctx, e, "web", guest.CreateOptions{Base: "no/such/ref"}); err == nil {
		t.Error("create on no base")
	}
	same("create on no base")
	if _, err := guest.Rebase(ctx, e, "mail", "no/such/ref", guest.Options{}); err == nil {
		t.Error("rebase to no base")
	}
	same("rebase to no base")
	fsck(t, e)
}

// A person who interrupts a create leaves no guest either.
func TestInterruptedCreate(t *testing.T) {
	w := copse(t)
	t.Parallel()
	e := w.state(t)
	ctx, cancel := context.WithCancel(context.Background())
	e.Solve = func(solve.Request) (solve.Plan, error) {
		cancel()
		return solve.Plan{}, errors.New("interrupted")
	}
	_, err := guest.Create(ctx, e, "mail", guest.CreateOptions{Base: w.Ref, Packages: []string{"hello"}})
	if err == nil {
		t.Fatal("no error")
	}
	ents, err := os.ReadDir(filepath.Join(e.Store.Root(), "guests"))
	if err != nil || len(ents) != 0 {
		t.Errorf("left behind: %v, %v", ents, err)
	}
}

// A .repo file that was given stays with the guest; one that would not be found again is refused.
func TestRepoFiles(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	mustCreate(t, e, "mail", w.Ref, "hello")
	repoFile, _ := w.source(t, "extra", fixture.Spec{Name: "extra"})
	odd := filepath.Join(filepath.Dir(repoFile), "odd.txt")
	if err := os.Link(repoFile, odd); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"extra"}}, guest.Options{RepoFiles: []string{odd}}); err == nil {
		t.Error("a .repo file of another name was taken")
	}
	// Also where nothing else changes.
	c, err := guest.Install(ctx, e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{RepoFiles: []string{repoFile}})
	if err != nil || !c.Unchanged {
		t.Errorf("%+v, %v", c, err)
	}
	mustInstall(t, e, "mail", "extra")
	fsck(t, e)
}

// What a guest's root left in /etc to trap us: nothing hangs, nothing of the host is read.
func TestHostileEtc(t *testing.T) {
	w := copse(t)
	t.Parallel()
	for _, tc := range []struct {
		name string
		trap func(t *testing.T, root string) error
		ok   bool // the install goes through
	}{
		{"fifo", func(t *testing.T, root string) error {
			return unix.Mkfifo(filepath.Join(root, "etc/yum.repos.d/trap.repo"), 0o644)
		}, false},
		{"fifo for folder", func(t *testing.T, root string) error {
			if err := os.RemoveAll(filepath.Join(root, "etc/yum.repos.d")); err != nil {
				return err
			}
			return unix.Mkfifo(filepath.Join(root, "etc/yum.repos.d"), 0o644)
		}, false},
		{"link out", func(t *testing.T, root string) error {
			return os.Symlink("../../../../../../../../../../../../etc/passwd", filepath.Join(root, "etc/yum.repos.d/trap.repo"))
		}, false},
		{"huge", func(t *testing.T, root string) error {
			return os.WriteFile(filepath.Join(root, "etc/yum.repos.d/trap.repo"), make([]byte, 9<<20), 0o644)
		}, false},
		{"endless key of the host", func(t *testing.T, root string) error {
			text := mustRead(t, filepath.Join(root, "etc/yum.repos.d/copse.repo"))
			text = strings.ReplaceAll(text, "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-copse-1", "gpgkey=file:///dev/zero")
			return os.WriteFile(filepath.Join(root, "etc/yum.repos.d/copse.repo"), []byte(text), 0o644)
		}, false},
		{"key is a fifo", func(t *testing.T, root string) error {
			p := filepath.Join(root, "etc/pki/rpm-gpg/RPM-GPG-KEY-copse-1")
			if err := os.Remove(p); err != nil {
				return err
			}
			return unix.Mkfifo(p, 0o644)
		}, false},
		{"variables are a fifo", func(t *testing.T, root string) error {
			if err := os.MkdirAll(filepath.Join(root, "etc/dnf/vars"), 0o755); err != nil {
				return err
			}
			return unix.Mkfifo(filepath.Join(root, "etc/dnf/vars/trap"), 0o644)
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := w.state(t)
			mustCreate(t, e, "mail", w.Ref)
			if err := tc.trap(t, currentRoot(t, e, "mail")); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := guest.Install(context.Background(), e, "mail", guest.Specs{Names: []string{"hello"}}, guest.Options{})
				done <- err
			}()
			select {
			case err := <-done:
				if (err == nil) != tc.ok {
					t.Errorf("got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("hangs")
			}
		})
	}
}

// gc that runs while another grove works is told so; one after it keeps what the guest's next change needs.
func TestGC(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	local := w.rpmFile(t, fixture.Spec{Name: "pebble", Files: []fixture.File{{Path: "/usr/share/pebble", Content: []byte("round\n")}}})
	mustCreate(t, e, "mail", w.Ref)
	mustInstall(t, e, "mail", "hello", local)
	mustInstall(t, e, "mail", "tool-in-opt")
	lock, err := e.Store.Lock(ctx, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.Wait = 0
	if _, err := guest.GC(ctx, e, deploy.GCOptions{}); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("gc beside another: %v", err)
	}
	lock.Release()
	e.Wait = 5 * time.Second
	rep, err := guest.GC(ctx, e, deploy.GCOptions{})
	if err != nil || strings.Join(rep.Deployments, " ") != "mail/1" {
		t.Errorf("gc: %+v, %v", rep, err)
	}
	fsck(t, e)
	// All it needs is in the cache still, the local package too.
	e.Offline = true
	c, err := guest.Uninstall(ctx, e, "mail", []string{"tool-in-opt"}, guest.Options{})
	if err != nil || len(c.Packages.Removed) != 1 {
		t.Errorf("uninstall after gc: %+v, %v", c, err)
	}
	fsck(t, e)
}

// Packages that only a removed deployment was made from go with it, at once.
func TestGCDropsPackages(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	mustCreate(t, e, "mail", w.Ref, "hello")
	for range 2 {
		if _, err := guest.Uninstall(ctx, e, "mail", []string{"hello"}, guest.Options{}); err != nil {
			t.Fatal(err)
		}
		mustInstall(t, e, "mail", "tool-in-opt")
		if _, err := guest.Uninstall(ctx, e, "mail", []string{"tool-in-opt"}, guest.Options{}); err != nil {
			t.Fatal(err)
		}
		mustInstall(t, e, "mail", "hello")
	}
	if _, err := guest.Uninstall(ctx, e, "mail", []string{"hello"}, guest.Options{}); err != nil {
		t.Fatal(err)
	}
	rep, err := guest.GC(ctx, e, deploy.GCOptions{Keep: -1})
	if err != nil || strings.Join(rep.Refs, " ") != "grove/pkg/hello/1.0-1.noarch grove/pkg/tool-in-opt/1.0-1.noarch" {
		t.Errorf("gc: %v, %v", rep.Refs, err)
	}
	fsck(t, e)
}

func TestPinWaitsForGC(t *testing.T) {
	w := copse(t)
	t.Parallel()
	ctx := context.Background()
	e := w.state(t)
	mustCreate(t, e, "mail", w.Ref)
	lock, err := e.Store.Lock(ctx, true, e.Wait)
	if err != nil {
		t.Fatal(err)
	}
	e.Wait = 0
	if _, err := guest.Pin(ctx, e, "mail", 0, true); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("pin beside gc: %v", err)
	}
	lock.Release()
	e.Wait = 5 * time.Second
	if id, err := guest.Pin(ctx, e, "mail", 0, true); err != nil || id != 1 {
		t.Errorf("pin: %d, %v", id, err)
	}
}

// Two that create one name: one guest, one error, nothing half.
func TestCreateTwice(t *testing.T) {
	w := copse(t)
	t.Parallel()
	e := w.state(t)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := guest.Create(context.Background(), e, "mail", guest.CreateOptions{Base: w.Ref})
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Fatalf("%v and %v", a, b)
	}
	if err := errors.Join(a, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second: %v", err)
	}
	if _, err := guest.StatusOf(e, "mail"); err != nil {
		t.Error(err)
	}
	fsck(t, e)
}
