// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"strings"
	"testing"

	"grove/internal/fixture"
	"grove/internal/manifest"
)

// Kernels and their like lie side by side: in a base, and layered on one, as dnf installs them.
func TestSeveralVersions(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	kernel := func(version string) fixture.Spec {
		return fixture.Spec{Name: "kernel-core", Version: version, Provides: []string{"installonlypkg(kernel)"}, Files: []fixture.File{
			{Path: "/usr/lib/modules", Dir: true}, {Path: "/usr/lib/modules/" + version, Dir: true}, {Path: "/usr/lib/modules/" + version + "/vmlinuz", Content: []byte(version)},
			{Path: "/usr/share/licenses/kernel-core/COPYING", Content: []byte("the same in all\n")},
		}, Scripts: []fixture.Script{{Kind: "post", Body: "echo " + version + " $1 >> /usr/lib/modules/list"}, {Kind: "preun", Body: "echo gone $1 >> /usr/lib/modules/list"}}}
	}
	p.source(t, "kernels", kernel("1"), kernel("2"), kernel("3"), kernel("4"),
		fixture.Spec{Name: "module", Requires: []string{"kernel-core = 2"}, Files: []fixture.File{file("/usr/lib/modules/2/module", "m\n")}})
	check := func(m manifest.Manifest, base, as, versions, list string) {
		t.Helper()
		res, tr := p.run(t, m, p.onBase(t, base))
		if err := p.repo.SetRef(as, res.Commit); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range p.headers(t, tr) {
			if n := h.NEVRA(); n.Name == "kernel-core" {
				got = append(got, n.EVR.Version)
				if text := p.text(t, tr, "usr/lib/modules/"+n.EVR.Version+"/vmlinuz"); text != n.EVR.Version {
					t.Errorf("%s: kernel %s is %q", as, n.EVR.Version, text)
				}
			}
		}
		if s := strings.Join(got, " "); s != versions {
			t.Errorf("%s: kernels %s, want %s", as, s, versions)
		}
		if s := strings.ReplaceAll(p.text(t, tr, "usr/lib/modules/list"), "\n", ","); s != list {
			t.Errorf("%s: scriptlets said %q, want %q", as, s, list)
		}
		if s := p.text(t, tr, "usr/share/licenses/kernel-core/COPYING"); s != "the same in all\n" {
			t.Errorf("%s: the file that all have is %q", as, s)
		}
	}
	// One by name, the newest; several by version.
	check(manifest.Manifest{Packages: []string{"kernel-core"}}, "base", "newest", "4", "4 1,")
	check(manifest.Manifest{Packages: []string{"kernel-core-1", "kernel-core-3"}}, "base", "two", "1 3", "1 1,3 2,")
	// On a base with two: another one beside them; what needs a version brings it.
	check(manifest.Manifest{Packages: []string{"kernel-core-4"}}, "two", "three", "1 3 4", "1 1,3 2,4 3,")
	check(manifest.Manifest{Packages: []string{"module"}}, "two", "needed", "1 3 2", "1 1,3 2,2 3,")
	// One of several goes; the file that the others have too stays.
	check(manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"kernel-core-1-1.noarch"}}}, "two", "one", "3", "1 1,3 2,gone 1,")
}
