// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
	"grove/internal/rpmdb"
)

// The database has the format that the tree's rpm expects, and keeps it through further layers.
func TestRpmdbFormats(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	backend := func(name, text string) fixture.Spec {
		return fixture.Spec{Name: name, Files: []fixture.File{{Path: "/usr/lib/rpm/macros.d/macros." + name, Content: []byte(text)}}}
	}
	p.source(t, "formats", backend("wants-ndb", "# the format\n%_db_backend ndb\n"), backend("wants-bdb", "%_db_backend\tbdb\n"),
		backend("wants-nothing", "%_dbpath /x\n%_db_backend nonsense\n"))
	for _, tc := range []struct {
		pkg  string
		want rpmdb.Format
	}{{"wants-ndb", rpmdb.NDB}, {"wants-bdb", rpmdb.BDB}, {"wants-nothing", rpmdb.SQLite}} {
		one, _ := p.run(t, manifest.Manifest{Packages: []string{tc.pkg}}, p.onBase(t, "base"))
		if err := p.repo.SetRef(tc.pkg, one.Commit); err != nil {
			t.Fatal(err)
		}
		_, tr := p.run(t, manifest.Manifest{Packages: []string{"hello"}, Overrides: manifest.Overrides{Remove: []string{"motd"}}}, p.onBase(t, tc.pkg))
		dir, place, err := compose.ExtractRpmdb(p.repo, tr, filepath.Join(t.TempDir(), "db"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := rpmdb.FormatOf(dir); got != tc.want || err != nil {
			t.Errorf("%s: format %s, %v", tc.pkg, got, err)
		}
		for _, name := range tc.want.Files() {
			if got := p.text(t, tr, place+"/"+name); got == "[none]" {
				t.Errorf("%s: no %s", tc.pkg, name)
			}
		}
		all := p.installed(t, tr)
		if strings.Contains(all, "motd") || !strings.Contains(all, tc.pkg) || !strings.Contains(all, "hello") {
			t.Errorf("%s: installed %s", tc.pkg, all)
		}
		// The same by stages, one after the other.
		staged := p.onBase(t, "base")
		staged.Previous = &one.Lock
		m := manifest.Manifest{Packages: []string{tc.pkg, "hello"}}
		three, _ := p.run(t, m, staged)
		again := p.onBase(t, "base")
		again.Lock = &three.Lock
		if four, _ := p.run(t, m, again); four.Commit != three.Commit {
			t.Errorf("%s: by the lock %s, wanted %s", tc.pkg, four.Commit, three.Commit)
		}
	}
}

// What alternatives knows of its links belongs to the deployment, as they do; scriptlets find it where it always was.
func TestAlternativesState(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "alternatives", fixture.Spec{Name: "alternatives", Files: []fixture.File{{Path: "/var/lib/alternatives", Dir: true, Mode: 0o755}}},
		fixture.Spec{Name: "ed", Requires: []string{"alternatives"}, Scripts: []fixture.Script{{Kind: "post", Prog: "<lua>",
			Body: `local f = io.open("/var/lib/alternatives/editor", "w") f:write("auto\n") f:close()`}}})
	_, tr := p.run(t, manifest.Manifest{Packages: []string{"ed"}}, p.onBase(t, "base"))
	if got := p.text(t, tr, "usr/etc/alternatives-state/editor"); got != "auto\n" {
		t.Errorf("state %q", got)
	}
	if got := p.text(t, tr, "usr/share/factory/var/lib/alternatives"); got != "[link to ../../etc/alternatives-state]" {
		t.Errorf("place in /var: %q", got)
	}
}
