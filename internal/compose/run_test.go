// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
	"grove/internal/scriptlet"
	"grove/internal/sign"
	"grove/internal/solve"
	"grove/internal/tree"
)

func (p *place) headers(t testing.TB, tr *tree.Tree) []*rpm.Header {
	t.Helper()
	dir, _, err := compose.ExtractRpmdb(p.repo, tr, filepath.Join(tempDir(t), "db"))
	if err != nil {
		t.Fatal(err)
	}
	headers, err := rpmdb.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return headers
}

// The same lock, another place, another umask, locale and clock zone: the same commit, from the cache alone.
func TestLockGivesSameCommit(t *testing.T) {
	w := copse(t)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("LANG", "tr_TR.UTF-8")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	m, err := w.baseManifest()
	if err != nil {
		t.Fatal(err)
	}
	p := w.place(t)
	if err := p.repo.DeleteRef("base"); err != nil {
		t.Fatal(err)
	}
	o, err := p.options()
	if err != nil {
		t.Fatal(err)
	}
	o.Lock, o.Offline = &w.lock, true
	res, _ := p.run(t, m, o)
	if res.Commit != w.base || string(res.Lock.Encode()) != string(w.lock.Encode()) {
		t.Errorf("got %s, wanted %s\n%s\n%s", res.Commit, w.base, res.Lock.Encode(), w.lock.Encode())
	}
	layers := manifest.Manifest{Packages: []string{"greeter", "capsule", "all-scripts", "lua-post"}}
	one, _ := p.run(t, layers, p.onBase(t, w.base.String()))
	syscall.Umask(0o022)
	q := w.place(t)
	two, _ := q.run(t, layers, q.onBase(t, w.base.String()))
	if one.Commit != two.Commit {
		t.Errorf("layers: %s and %s", one.Commit, two.Commit)
	}
}

func TestErrors(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	before, err := p.repo.Refs("")
	if err != nil {
		t.Fatal(err)
	}
	var unknown *solve.Unknown
	var conflict *solve.Conflict
	var script *scriptlet.Failure
	var files *compose.FileConflicts
	for _, tc := range []struct {
		name string
		m    manifest.Manifest
		is   func(error) bool
		text string
	}{
		{"unknown", manifest.Manifest{Packages: []string{"helo"}}, func(e error) bool { return errors.As(e, &unknown) }, "hello"},
		{"unsolvable", manifest.Manifest{Packages: []string{"broken-dep"}}, func(e error) bool { return errors.As(e, &conflict) }, "libnothere.so.9"},
		{"scriptlet", manifest.Manifest{Packages: []string{"broken-pre"}}, func(e error) bool { return errors.As(e, &script) }, "about to break"},
		{"unsigned", manifest.Manifest{Packages: []string{"unsigned-one"}}, func(e error) bool { return errors.Is(e, sign.ErrUntrusted) }, "unsigned-one"},
		{"forged", manifest.Manifest{Packages: []string{"forged"}}, func(e error) bool { return errors.Is(e, sign.ErrUntrusted) }, "forged"},
		{"file clash", manifest.Manifest{Packages: []string{"hello", "clash-hello"}}, func(e error) bool { return errors.As(e, &files) }, "file /usr/bin/hello conflicts between attempted installs of hello-1.0-1.noarch and clash-hello-1.0-1.noarch"},
		{"source", manifest.Manifest{Packages: []string{"hello"}, Repos: []string{"nosuch"}}, nil, "known: copse"},
		{"group", manifest.Manifest{Packages: []string{"@nosuch"}}, nil, "known groups: core, greetings"},
		{"bound source", manifest.Manifest{RepoPackages: []manifest.RepoPackages{{Repo: "nosuch", Packages: []string{"hello"}}}}, nil, "nosuch"},
		{"unit", manifest.Manifest{Units: []string{"../../x.service"}}, nil, "no unit's name"},
		{"target", manifest.Manifest{DefaultTarget: "../x.target"}, nil, "no unit's name"},
		{"file without folder", manifest.Manifest{AddFiles: [][2]string{{"a", "/etc/a"}}}, nil, "no folder"},
		{"file to remove", manifest.Manifest{RemoveFiles: []string{"/usr/nosuch"}}, nil, "usr/nosuch"},
		{"root to remove", manifest.Manifest{RemoveFiles: []string{"/"}}, nil, "root"},
		{"pattern", manifest.Manifest{Packages: []string{"hello"}, RemoveFromPackages: [][]string{{"hello", "("}}}, nil, "remove-from-packages"},
		{"layer", manifest.Manifest{OSTreeLayers: []string{"nosuch"}}, nil, "layer nosuch"},
		{"removal", manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"nosuch"}}}, nil, "nosuch"},
		{"removal of what is needed", manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"glibc"}}}, func(e error) bool { return errors.As(e, &conflict) }, "glibc"},
		{"replacement from a source that has none", manifest.Manifest{Overrides: manifest.Overrides{Replace: []manifest.LocalPackage{{NEVRA: "motd-9-9.noarch"}}}}, nil, "motd-9-9"},
		{"local package without file", manifest.Manifest{LocalPackages: []manifest.LocalPackage{{NEVRA: "a-1-1.noarch", SHA256: strings.Repeat("1", 64)}}}, nil, "give the file again"},
	} {
		_, err := compose.Run(context.Background(), tc.m, p.onBase(t, "base"))
		if err == nil || !strings.Contains(err.Error(), tc.text) || tc.is != nil && !tc.is(err) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	empty, err := p.options()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compose.Run(context.Background(), manifest.Manifest{}, empty); err == nil {
		t.Error("a base of nothing was made")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := compose.Run(cancelled, manifest.Manifest{Packages: []string{"hello"}}, p.onBase(t, "base")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	after, err := p.repo.Refs("")
	if err != nil {
		t.Fatal(err)
	}
	for r := range after {
		if before[r] != after[r] && !strings.HasPrefix(r, "grove/pkg/") {
			t.Errorf("ref %s came", r)
		}
	}
	if err := p.repo.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// A base package goes: its files, its empty folders, its row; what others share stays.
func TestOverrides(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "shared",
		fixture.Spec{Name: "one", Files: []fixture.File{{Path: "/usr/share/both", Content: []byte("same\n")}, {Path: "/usr/lib/pair", Dir: true},
			{Path: "/usr/lib/pair/one", Content: []byte("1\n")}, {Path: "/usr/lib/alone", Dir: true}, {Path: "/usr/lib/alone/x", Content: []byte("x\n")},
			{Path: "/etc/one.conf", Content: []byte("conf\n"), Flags: fixture.FlagConfig}, {Path: "/usr/lib/one-ghost", Flags: fixture.FlagGhost}}},
		fixture.Spec{Name: "two", Files: []fixture.File{{Path: "/usr/share/both", Content: []byte("same\n")}, {Path: "/usr/lib/pair", Dir: true},
			{Path: "/usr/lib/pair/two", Content: []byte("2\n")}}},
		fixture.Spec{Name: "one", Version: "2.0", Files: []fixture.File{{Path: "/usr/share/both", Content: []byte("same\n")}, {Path: "/usr/lib/new", Content: []byte("new\n")}}})
	res, _ := p.run(t, manifest.Manifest{Packages: []string{"one-1.0-1.noarch", "two"}}, p.onBase(t, "base"))
	if err := p.repo.SetRef("pair", res.Commit); err != nil {
		t.Fatal(err)
	}
	// What the base's makers put in the place of a file of the package is not the package's.
	p.edited(t, "pair", "pair", func(b *editor) {
		b.remove("usr/lib/alone/x")
		b.file("usr/lib/alone/x/mine", "mine\n")
	})

	res, tr := p.run(t, manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"one"}}}, p.onBase(t, "pair"))
	for path, want := range map[string]string{
		"usr/share/both": "same\n", "usr/lib/pair/one": "[none]", "usr/lib/pair/two": "2\n", "usr/etc/one.conf": "[none]", "usr/lib/alone/x/mine": "mine\n",
	} {
		if got := p.text(t, tr, path); got != want {
			t.Errorf("removed: %s is %q, wanted %q", path, got, want)
		}
	}
	if got := p.installed(t, tr); strings.Contains(got, "one-1.0") || !strings.Contains(got, "two-1.0") {
		t.Errorf("removed: installed %s", got)
	}
	if strings.Join(res.Lock.Removed, " ") != "one-1.0-1.noarch" || len(res.Lock.Packages) != 0 {
		t.Errorf("lock %+v", res.Lock)
	}
	// The lock gives the same.
	o := p.onBase(t, "pair")
	o.Lock = &res.Lock
	if again, _ := p.run(t, manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"one"}}}, o); again.Commit != res.Commit {
		t.Error("another commit by the lock")
	}
	// Both: nothing is left of them.
	_, tr = p.run(t, manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"one", "two"}}}, p.onBase(t, "pair"))
	for _, path := range []string{"usr/share/both", "usr/lib/pair"} {
		if got := p.text(t, tr, path); got != "[none]" {
			t.Errorf("both removed: %s is %q", path, got)
		}
	}
	// In its place another version, from a source.
	m := manifest.Manifest{Overrides: manifest.Overrides{Replace: []manifest.LocalPackage{{NEVRA: "one-2.0-1.noarch"}}}}
	_, tr = p.run(t, m, p.onBase(t, "pair"))
	if got := p.text(t, tr, "usr/lib/new") + p.text(t, tr, "usr/lib/pair/one") + p.text(t, tr, "usr/share/both"); got != "new\n[none]same\n" {
		t.Errorf("replaced: %q", got)
	}
	if got := p.installed(t, tr); strings.Contains(got, "one-1.0") || !strings.HasSuffix(got, "one-2.0-1.noarch") {
		t.Errorf("replaced: installed %s", got)
	}
	// From a file.
	path, l := p.rpmFile(t, fixture.Spec{Name: "one", Version: "0.5", Files: []fixture.File{{Path: "/usr/lib/old", Content: []byte("old\n")}}}, p.secret(t))
	o = p.onBase(t, "pair")
	o.LocalFiles = []string{path}
	_, tr = p.run(t, manifest.Manifest{Overrides: manifest.Overrides{Replace: []manifest.LocalPackage{l}}}, o)
	if got := p.installed(t, tr); !strings.HasSuffix(got, "one-0.5-1.noarch") {
		t.Errorf("replaced by an older file: installed %s", got)
	}
}

// The package that brings /etc/passwd is replaced: the accounts of the base stay.
func TestReplaceOwnerOfAccounts(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	res, _ := p.run(t, manifest.Manifest{Packages: []string{"greeter"}}, p.onBase(t, "base"))
	if err := p.repo.SetRef("greeted", res.Commit); err != nil {
		t.Fatal(err)
	}
	p.source(t, "newer", fixture.Spec{Name: "setup", Version: "3.0", Files: []fixture.File{
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/bash\n"), Flags: fixture.FlagConfig | fixture.FlagNoReplace},
		{Path: "/etc/group", Content: []byte("root:x:0:\n"), Flags: fixture.FlagConfig | fixture.FlagNoReplace},
		{Path: "/etc/setup.conf", Content: []byte("3\n")},
	}})
	m := manifest.Manifest{Overrides: manifest.Overrides{Replace: []manifest.LocalPackage{{NEVRA: "setup-3.0-1.noarch"}}}}
	_, tr := p.run(t, m, p.onBase(t, "greeted"))
	if got := p.text(t, tr, "usr/etc/passwd"); !strings.Contains(got, "greeter:") || !strings.Contains(got, "mail:") {
		t.Errorf("passwd is\n%s", got)
	}
	if got := p.text(t, tr, "usr/etc/setup.conf") + p.text(t, tr, "usr/etc/shells"); got != "3\n[none]" {
		t.Errorf("files of setup: %q", got)
	}
}

// Two word sizes of one package: the 64-bit program wins, whether it lies in the base or comes with the other.
func TestTwoArchitectures(t *testing.T) {
	w := copse(t)
	if w.Arch != "x86_64" {
		t.Skip("needs x86_64")
	}
	t.Parallel()
	p := w.place(t)
	elf := func(class byte) []byte {
		h := make([]byte, 64)
		copy(h, "\x7fELF")
		h[4], h[5], h[6] = class, 1, 1
		return h
	}
	spec := func(arch string, class byte, lib string) fixture.Spec {
		return fixture.Spec{Name: "multi", Arch: arch, Files: []fixture.File{
			{Path: "/usr/bin/multi", Mode: 0o755, Content: elf(class), Color: uint32(class)}, {Path: lib, Content: []byte(arch)}, {Path: "/usr/share/multi", Content: []byte("same\n")},
		}}
	}
	p.source(t, "multi", spec("x86_64", 2, "/usr/lib64/libmulti"), spec("i686", 1, "/usr/lib/libmulti"))
	want := string(elf(2))
	res, tr := p.run(t, manifest.Manifest{Packages: []string{"multi.x86_64", "multi.i686"}}, p.onBase(t, "base"))
	if got := p.text(t, tr, "usr/bin/multi"); got != want {
		t.Error("together: the 32-bit program won")
	}
	if err := p.repo.SetRef("both", res.Commit); err != nil {
		t.Fatal(err)
	}
	res, _ = p.run(t, manifest.Manifest{Packages: []string{"multi.x86_64"}}, p.onBase(t, "base"))
	if err := p.repo.SetRef("wide", res.Commit); err != nil {
		t.Fatal(err)
	}
	_, tr = p.run(t, manifest.Manifest{Packages: []string{"multi.i686"}}, p.onBase(t, "wide"))
	if got := p.text(t, tr, "usr/bin/multi"); got != want {
		t.Error("on a base with the 64-bit one: the 32-bit program won")
	}
	if got := p.installed(t, tr); !strings.Contains(got, "multi-1.0-1.x86_64") || !strings.Contains(got, "multi-1.0-1.i686") {
		t.Errorf("installed %s", got)
	}
	for _, h := range p.headers(t, tr) { // rpm is told which file gave way
		if n := h.NEVRA(); n.Name == "multi" && n.Arch == "i686" {
			paths, _ := h.Paths()
			states := h.Bytes(rpm.TagFileStates)
			for i, f := range paths {
				if want := map[bool]byte{true: 4}[f == "/usr/bin/multi"]; i >= len(states) || states[i] != want {
					t.Errorf("states of %v: %v", paths, states)
					break
				}
			}
		}
	}
	_, tr = p.run(t, manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"multi.i686"}}}, p.onBase(t, "both"))
	if got := p.text(t, tr, "usr/bin/multi"); got != want || p.text(t, tr, "usr/lib/libmulti") != "[none]" || p.text(t, tr, "usr/share/multi") != "same\n" {
		t.Error("the removal of one took what the other has")
	}
	if got := p.installed(t, tr); !strings.Contains(got, "multi-1.0-1.x86_64") || strings.Contains(got, "i686") {
		t.Errorf("installed %s", got)
	}
}

func TestLocalPackages(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	spec := fixture.Spec{Name: "pebble", Requires: []string{"hello"}, Files: []fixture.File{{Path: "/usr/share/pebble", Content: []byte("round\n")}}}
	path, l := p.rpmFile(t, spec, nil)
	m := manifest.Manifest{LocalPackages: []manifest.LocalPackage{l}}
	o := p.onBase(t, "base")
	o.LocalFiles = []string{path}
	if _, err := compose.Run(context.Background(), m, o); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("unsigned: %v", err)
	}
	o = p.onBase(t, "base")
	o.LocalFiles, o.NoGPGCheck = []string{path}, true
	res, tr := p.run(t, m, o)
	if got := p.text(t, tr, "usr/share/pebble"); got != "round\n" || len(res.Layered) != 2 {
		t.Errorf("%q, layered %v", got, res.Layered)
	}
	// What came in unchecked is checked when it is used again.
	if _, err := compose.Run(context.Background(), m, p.onBase(t, "base")); !errors.Is(err, sign.ErrUntrusted) && err == nil {
		t.Errorf("unsigned, from the cache: %v", err)
	}
	path, l = p.rpmFile(t, spec, p.secret(t))
	m.LocalPackages[0] = l
	o = p.onBase(t, "base")
	o.LocalFiles = []string{path}
	first, _ := p.run(t, m, o)
	// Without the file, from the cache.
	again, _ := p.run(t, m, p.onBase(t, "base"))
	if first.Commit != again.Commit {
		t.Error("another commit from the cache")
	}
	// A cache of which only the ref is left is a cache without the package.
	c, err := p.repo.Resolve("grove/pkg/pebble/1.0-1.noarch")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.dir, "repo/objects", ostree.ObjectPath(c, ostree.TypeCommit, false))); err != nil {
		if err := os.Remove(filepath.Join(p.dir, "repo", ostree.ObjectPath(c, ostree.TypeCommit, false))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := compose.Run(context.Background(), m, p.onBase(t, "base")); err == nil || !strings.Contains(err.Error(), "give the file again") {
		t.Errorf("cache without object: %v", err)
	}
	o = p.onBase(t, "base")
	o.LocalFiles = []string{path}
	if made, _ := p.run(t, m, o); made.Commit != first.Commit {
		t.Error("another commit after the cache was made again")
	}
}

// Two sources have the package; the manifest binds it to the older one.
func TestRepoPackages(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "stable", fixture.Spec{Name: "apple"}, fixture.Spec{Name: "bound", Files: []fixture.File{{Path: "/usr/share/bound", Content: []byte("1\n")}}}, fixture.Spec{Name: "zebra"})
	p.source(t, "testing", fixture.Spec{Name: "bound", Version: "2.0"}, fixture.Spec{Name: "cherry", Files: []fixture.File{{Path: "/usr/share/cherry", Content: []byte("red\n")}}},
		fixture.Spec{Name: "zebra", Version: "2.0"})
	m := manifest.Manifest{Packages: []string{"cherry", "zebra", "/usr/share/cherry"}, RepoPackages: []manifest.RepoPackages{{Repo: "stable", Packages: []string{"bound"}}}}
	res, tr := p.run(t, m, p.onBase(t, "base"))
	var got []string
	for _, n := range res.Layered {
		got = append(got, n.String())
	}
	sort.Strings(got)
	if s := strings.Join(got, " "); s != "bound-1.0-1.noarch cherry-1.0-1.noarch zebra-2.0-1.noarch" {
		t.Error(s)
	}
	if p.text(t, tr, "usr/share/bound") != "1\n" || p.text(t, tr, "usr/share/cherry") != "red\n" {
		t.Error("files of other packages")
	}
}

// What was layered before stays as it is, until an upgrade.
func TestKept(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "one", fixture.Spec{Name: "thing"})
	m := manifest.Manifest{Packages: []string{"thing"}}
	first, _ := p.run(t, m, p.onBase(t, "base"))
	p.source(t, "two", fixture.Spec{Name: "thing", Version: "2.0"})
	o := p.onBase(t, "base")
	o.Previous = &first.Lock
	kept, _ := p.run(t, m, o)
	if kept.Commit != first.Commit || len(kept.Newer) != 1 || !strings.HasPrefix(kept.Newer[0], "thing-2.0-1.noarch") {
		t.Errorf("%v, newer %v", kept.Layered, kept.Newer)
	}
	if string(kept.Lock.Encode()) != string(first.Lock.Encode()) {
		t.Errorf("lock\n%s\nwas\n%s", kept.Lock.Encode(), first.Lock.Encode())
	}
	o = p.onBase(t, "base")
	o.Previous, o.Newest = &first.Lock, true
	if up, _ := p.run(t, m, o); up.Layered[0].Version != "2.0" {
		t.Errorf("upgrade: %v", up.Layered)
	}
	// A request that only the newer one fulfils overrules what is kept.
	o = p.onBase(t, "base")
	o.Previous = &first.Lock
	if up, _ := p.run(t, manifest.Manifest{Packages: []string{"thing >= 2"}}, o); up.Layered[0].Version != "2.0" {
		t.Errorf("request with blanks: %v", up.Layered)
	}
}

// A base as Fedora makes it: accounts in /usr/lib, content in /var, its rpmdb in a folder of its own.
func TestForeignBase(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.edited(t, "base", "foreign", func(b *editor) {
		b.file("usr/lib/passwd", "polkitd:x:999:999:polkit:/:/sbin/nologin\n")
		b.file("usr/lib/group", "polkitd:x:999:\n")
		b.file("usr/etc/nsswitch.conf", "passwd: files altfiles\ngroup: files altfiles\n")
		b.file("var/lib/there/already", "x\n")
		tr := b.edit.Tree()
		e, ok, err := tr.Lookup("usr/share/rpm/rpmdb.sqlite")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		b.remove("usr/share/rpm", "usr/lib/sysimage/rpm")
		if err := b.edit.PutFile("usr/lib/sysimage/rpm/rpmdb.sqlite", e.File); err != nil {
			t.Fatal(err)
		}
		b.file("usr/lib/sysimage/rpm/.rpm.lock", "")
		b.link("usr/share/rpm", "../lib/sysimage/rpm")
	})
	_, tr := p.run(t, manifest.Manifest{Packages: []string{"greeter"}}, p.onBase(t, "foreign"))
	if got := p.text(t, tr, "usr/etc/passwd"); !strings.Contains(got, "greeter:x:998:998:") {
		t.Errorf("passwd\n%s", got)
	}
	if got := p.text(t, tr, "usr/lib/passwd"); strings.Contains(got, "greeter") || strings.Contains(p.text(t, tr, "usr/etc/passwd"), "polkitd") {
		t.Errorf("accounts went to another file:\n%s", got)
	}
	for path, want := range map[string]string{
		"usr/lib/sysimage/rpm": "[link to ../../share/rpm]", "usr/share/rpm": "[directory]", "var/lib/there/already": "x\n",
	} {
		if got := p.text(t, tr, path); got != want {
			t.Errorf("%s is %s, wanted %s", path, got, want)
		}
	}
	if got := p.installed(t, tr); !strings.Contains(got, "bash-") || !strings.Contains(got, "greeter-") {
		t.Errorf("installed %s", got)
	}
	e, _, err := tr.Lookup("usr/share/greeter/mine")
	if err != nil {
		t.Fatal(err)
	}
	if h, _, err := p.repo.FileHeader(e.File); err != nil || h.UID != 998 {
		t.Errorf("owner %d, %v", h.UID, err)
	}
}

// A base whose rpmdb is damaged is no base without packages.
func TestDamagedRpmdb(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.edited(t, "base", "damaged", func(b *editor) {
		b.file("usr/share/rpm/rpmdb.sqlite", "this is no database, but it is long enough to be looked at as if it were one\n")
	})
	if _, err := compose.Run(context.Background(), manifest.Manifest{Packages: []string{"hello"}}, p.onBase(t, "damaged")); err == nil || !strings.Contains(err.Error(), "rpmdb") {
		t.Errorf("got %v", err)
	}
	sum, err := p.repo.Resolve("base")
	if err != nil {
		t.Fatal(err)
	}
	// A tree of which a directory is missing, likewise.
	broken := tree.Load(brokenSource{p.repo}, treeRoot(t, p, sum))
	if _, _, err := compose.ExtractRpmdb(p.repo, broken, tempDir(t)); err == nil || !errors.Is(err, ostree.ErrCorrupt) {
		t.Errorf("missing directory: %v", err)
	}
}

type brokenSource struct{ tree.Source }

func (b brokenSource) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	d, err := b.Source.DirTree(c)
	for _, f := range d.Files {
		if f.Name == "rpmdb.sqlite" {
			return d, fmt.Errorf("dirtree %s: %w", c, ostree.ErrCorrupt)
		}
	}
	return d, err
}

func treeRoot(t testing.TB, p *place, c ostree.Checksum) tree.Root {
	t.Helper()
	commit, err := p.repo.Commit(c)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Root{Tree: commit.Tree, Meta: commit.Meta}
}

// Ids are for life, until the base gives one of them to somebody else.
func TestIDs(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	m := manifest.Manifest{Packages: []string{"greeter"}}
	first, _ := p.run(t, m, p.onBase(t, "base"))
	if len(first.Lock.Users) != 1 || !strings.HasPrefix(first.Lock.Users[0], "greeter:x:999:999:") {
		t.Fatalf("users %v", first.Lock.Users)
	}
	p.source(t, "more", fixture.Spec{Name: "aaa", Files: []fixture.File{{Path: "/usr/lib/sysusers.d/aaa.conf", Content: []byte("u aaa - - - -\n")}}})
	o := p.onBase(t, "base")
	o.Previous = &first.Lock
	m.Packages = append(m.Packages, "aaa")
	second, _ := p.run(t, m, o)
	if got := strings.Join(second.Lock.Users, " "); !strings.HasPrefix(got, "greeter:x:999:") || !strings.Contains(got, "aaa:x:998:") {
		t.Errorf("users %s", got)
	}
	p.edited(t, "base", "taken", func(b *editor) {
		b.file("usr/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nmail:x:8:12::/:/bin/sh\ntaken:x:999:999::/:/sbin/nologin\n")
		b.file("usr/etc/group", "root:x:0:\nmail:x:12:\ntaken:x:999:\n")
	})
	o = p.onBase(t, "taken")
	o.Previous = &second.Lock
	third, _ := p.run(t, m, o)
	if got := strings.Join(third.Lock.Users, " "); !strings.Contains(got, "greeter:x:997:") || !strings.Contains(got, "aaa:x:998:") {
		t.Errorf("users %s", got)
	}
	if len(third.Warnings) != 2 || !strings.Contains(third.Warnings[1], "user greeter had the id 999, which the base gives to taken") {
		t.Errorf("warnings %q", third.Warnings)
	}
	// By a lock, nothing is given away.
	o = p.onBase(t, "taken")
	l := second.Lock
	l.Base.Commit = o.Base.Commit.String()
	o.Lock = &l
	if _, err := compose.Run(context.Background(), m, o); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("by lock: %v", err)
	}
}

// What a manifest asks beside packages, on a tree of its own.
func TestTreefileKeys(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.edited(t, "base", "layer", func(b *editor) {
		b.remove("usr")
		b.file("usr/lib/layered", "layer\n")
	})
	m, err := w.baseManifest()
	if err != nil {
		t.Fatal(err)
	}
	m.AddFiles = [][2]string{{"motd", "/etc/motd.d/x"}, {"script", "/usr/bin/script"}, {"seed", "/var/lib/seed"}, {"opt", "/opt/o"}}
	m.RemoveFiles = []string{"/etc/hosts"}
	m.RemoveFromPackages = [][]string{{"motd", "/usr/lib/motd.d/.*"}, {"setup", "/etc/proto.*", "/nothing"}}
	m.Units = []string{"a.service"}
	m.DefaultTarget = "multi-user.target"
	m.Postprocess = []string{"echo post > /usr/lib/post; echo var > /var/lib/post"}
	m.OSTreeOverrideLayers = []string{"layer"}
	m.AutomaticVersionPrefix = "1.<date:%Y>"
	m.Metadata = map[string]any{"distro": "copse", "n": int64(3), "grove.inputs": "forged"}
	o, err := p.options()
	if err != nil {
		t.Fatal(err)
	}
	o.Ref = "x/y"
	o.ReadFile = func(name string) ([]byte, error) {
		if name == "script" {
			return []byte("#!/bin/sh\n"), nil
		}
		return []byte(name + "\n"), nil
	}
	o.Checkout = filepath.Join(p.dir, "checkout")
	res, tr := p.run(t, m, o)
	for path, want := range map[string]string{
		"usr/etc/motd.d/x": "motd\n", "usr/share/factory/var/lib/seed": "seed\n", "usr/lib/opt/o": "opt\n", "usr/etc/hosts": "[none]",
		"usr/lib/motd.d/copse": "[none]", "usr/etc/protocols": "[none]", "usr/etc/services": p.text(t, tr, "usr/etc/services"),
		"usr/etc/systemd/system/multi-user.target.wants/a.service": "[link to /usr/lib/systemd/system/a.service]",
		"usr/etc/systemd/system/default.target":                    "[link to /usr/lib/systemd/system/multi-user.target]",
		"usr/lib/post":                                             "post\n", "usr/share/factory/var/lib/post": "var\n", "usr/lib/layered": "layer\n", "usr/etc/machine-id": "",
		"home": "[link to var/home]", "var": "[directory]",
	} {
		if got := p.text(t, tr, path); got != want {
			t.Errorf("%s is %q, wanted %q", path, got, want)
		}
	}
	if conf := p.text(t, tr, "usr/lib/tmpfiles.d/grove-var.conf"); !strings.Contains(conf, "C /var/lib/seed 0644 0 0 - -\n") {
		t.Errorf("tmpfiles.d:\n%s", conf)
	}
	c, err := p.repo.Commit(res.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if compose.CommitVersion(c) != res.Lock.CommitVersion || !strings.HasPrefix(res.Lock.CommitVersion, "1.20") {
		t.Errorf("version %q", compose.CommitVersion(c))
	}
	if compose.Inputs(c) != res.Lock.Inputs {
		t.Error("the manifest's metadata overruled grove's")
	}
	keys := map[string]bool{}
	last := ""
	for _, e := range c.Metadata {
		if keys[e.Key] || e.Key < last {
			t.Errorf("key %s after %s", e.Key, last)
		}
		keys[e.Key], last = true, e.Key
	}
	if v, _ := c.Metadata.Lookup("n"); v.Type() != "x" {
		t.Errorf("n is a %s", v.Type())
	}
	// The checkout holds the tree, and nothing of the working folder stays in it.
	if data, err := os.ReadFile(filepath.Join(o.Checkout, "usr/lib/post")); err != nil || string(data) != "post\n" {
		t.Errorf("checkout: %q, %v", data, err)
	}
	// Nothing changed: told before anything is made.
	o, err = p.options()
	if err != nil {
		t.Fatal(err)
	}
	o.Ref, o.ReadFile = "x/y", func(string) ([]byte, error) { return []byte("other\n"), nil }
	var told string
	o.Unchanged = func(in string) bool { told = in; return true }
	again, err := compose.Run(context.Background(), m, o)
	if err != nil || !again.Unchanged || !again.Commit.IsZero() {
		t.Errorf("unchanged: %+v, %v", again, err)
	}
	if told == res.Lock.Inputs {
		t.Error("other files, the same hash")
	}
}

func TestReadFileFollowsLinks(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.edited(t, "base", "links", func(b *editor) {
		b.file("usr/share/real/key", "key\n")
		b.link("usr/etc/pki/linked", "../../usr/share/real")
		b.link("usr/etc/abs", "/etc/pki/linked/key")
		b.link("usr/etc/loop", "loop")
		b.link("usr/etc/out", "../../../../../../../../etc/shells")
		b.link("usr/etc/root", "/")
		b.link("usr/etc/dangling", "nowhere")
	})
	sum, err := p.repo.Resolve("links")
	if err != nil {
		t.Fatal(err)
	}
	tr, _, err := p.repo.Tree(sum)
	if err != nil {
		t.Fatal(err)
	}
	shells := p.text(t, tr, "usr/etc/shells")
	for path, want := range map[string]string{
		"usr/etc/os-release": p.text(t, tr, "usr/lib/os-release"), "usr/etc/pki/linked/key": "key\n", "usr/etc/abs": "key\n", "usr/etc/out": shells,
		"usr/etc/root/usr/share/real/key": "key\n", "lib/os-release": p.text(t, tr, "usr/lib/os-release"),
		"usr/etc/dangling": "", "usr/etc/pki": "", "usr/etc/shells/below": "", "usr/etc/root": "",
	} {
		data, _, err := compose.ReadFile(p.repo, tr, path)
		if err != nil || string(data) != want {
			t.Errorf("%s: got %q, wanted %q: %v", path, data, want, err)
		}
	}
	if _, _, err := compose.ReadFile(p.repo, tr, "usr/etc/loop"); err == nil {
		t.Error("a loop has an end")
	}
}
