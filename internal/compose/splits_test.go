// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
)

// TestSplit divides a package in an upgrade: its parts stay together, by the lock too, and one that cannot come is left out with a word.
func TestSplit(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "one", fixture.Spec{Name: "thing"}, fixture.Spec{Name: "user", Requires: []string{"lib"}}, fixture.Spec{Name: "lib"})
	m := manifest.Manifest{Packages: []string{"thing"}}
	before, _ := p.run(t, m, p.onBase(t, "base"))
	p.source(t, "two", fixture.Spec{Name: "thing-a", Version: "2", Obsoletes: []string{"thing < 2"}},
		fixture.Spec{Name: "thing-b", Version: "2", Obsoletes: []string{"thing < 2"}}, fixture.Spec{Name: "other"})
	next := func(l manifest.Lock, newest bool) compose.Options {
		o := p.onBase(t, "base")
		o.Previous, o.Newest = &l, newest
		return o
	}
	layered := func(r compose.Result) string {
		var names []string
		for _, l := range r.Lock.Packages {
			n := l.NEVRA + "/" + l.Reason
			if len(l.Replaces) > 0 {
				n += "/" + strings.Join(l.Replaces, ",")
			}
			names = append(names, n)
		}
		return strings.Join(names, " ")
	}
	up, _ := p.run(t, m, next(before.Lock, true))
	if got, want := layered(up), "thing-a-2-1.noarch/requested/thing thing-b-2-1.noarch/replaces/thing"; got != want {
		t.Errorf("upgrade: %s, wanted %s", got, want)
	}
	again, _ := p.run(t, manifest.Manifest{Packages: []string{"thing", "other"}}, next(up.Lock, false))
	if got, want := layered(again), "thing-a-2-1.noarch/requested/thing thing-b-2-1.noarch/replaces/thing other-1.0-1.noarch/requested"; got != want {
		t.Errorf("install: %s, wanted %s", got, want)
	}
	o := p.onBase(t, "base")
	o.Lock = &again.Lock
	if locked, _ := p.run(t, manifest.Manifest{Packages: []string{"thing", "other"}}, o); locked.Commit != again.Commit || layered(locked) != layered(again) {
		t.Errorf("by its lock: %s", layered(locked))
	}
	user := manifest.Manifest{Packages: []string{"user"}}
	lib, _ := p.run(t, user, p.onBase(t, "base"))
	p.source(t, "libs", fixture.Spec{Name: "lib-core", Version: "2", Provides: []string{"lib = 2"}, Obsoletes: []string{"lib < 2"}},
		fixture.Spec{Name: "lib-data", Version: "2", Obsoletes: []string{"lib < 2"}})
	lib, _ = p.run(t, user, next(lib.Lock, true))
	if got, want := layered(lib), "lib-core-2-1.noarch/dependency/lib lib-data-2-1.noarch/replaces/lib user-1.0-1.noarch/requested"; got != want {
		t.Errorf("needed by another: %s, wanted %s", got, want)
	}
	if fresh, _ := p.run(t, m, p.onBase(t, "base")); len(fresh.Lock.Packages) != 1 {
		t.Errorf("asked for anew: %s", layered(fresh))
	}
	if without, _ := p.run(t, manifest.Manifest{Packages: []string{"thing"}, ExcludePackages: []string{"thing-b"}}, next(up.Lock, false)); len(without.Lock.Packages) != 1 {
		t.Errorf("excluded: %s", layered(without))
	}
	if gone, _ := p.run(t, manifest.Manifest{Packages: []string{"other"}}, next(again.Lock, false)); len(gone.Lock.Packages) != 1 {
		t.Errorf("asked for no more: %s", layered(gone))
	}
	p.source(t, "three", fixture.Spec{Name: "enemy", Conflicts: []string{"thing-b"}})
	res, _ := p.run(t, manifest.Manifest{Packages: []string{"thing", "enemy"}}, next(up.Lock, false))
	if got := layered(res); strings.Contains(got, "thing-b") || !strings.Contains(strings.Join(res.Warnings, "\n"), "thing-b would come along") {
		t.Errorf("with its enemy: %s\n%q", got, res.Warnings)
	}
}

// TestKernelUpgrade: a kernel that is asked for by name comes in one version, the newest, where dnf keeps installonly_limit of them; a base's
// own stays beside it.
func TestKernelUpgrade(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	kernel := func(version string) fixture.Spec {
		return fixture.Spec{Name: "kernel-core", Version: version, Provides: []string{"installonlypkg(kernel)"}}
	}
	p.source(t, "one", kernel("1"))
	m := manifest.Manifest{Packages: []string{"kernel-core"}}
	before, _ := p.run(t, m, p.onBase(t, "base"))
	if err := p.repo.SetRef("with-kernel", before.Commit); err != nil {
		t.Fatal(err)
	}
	p.source(t, "two", kernel("2"))
	o := p.onBase(t, "base")
	o.Previous, o.Newest = &before.Lock, true
	if up, _ := p.run(t, m, o); len(up.Layered) != 1 || up.Layered[0].Version != "2" {
		t.Errorf("upgrade: %v", up.Layered)
	}
	beside, tr := p.run(t, manifest.Manifest{Packages: []string{"kernel-core-2"}}, p.onBase(t, "with-kernel"))
	if got := p.installed(t, tr); len(beside.Layered) != 1 || !strings.Contains(got, "kernel-core-1-1") || !strings.Contains(got, "kernel-core-2-1") {
		t.Errorf("beside the base's: %s", got)
	}
}
