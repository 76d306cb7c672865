// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/manifest"
)

// TestReplaceFiles lets the files of the second of two packages take the place of the first one's, both new or the first in the base, as
// `rpm --replacefiles` does, and holds the files and their states in the database against it.
func TestReplaceFiles(t *testing.T) {
	w := copse(t)
	t.Parallel()
	for _, c := range pairs {
		if !c.differ || c.name == "directory and file" { // rpm breaks off while it unpacks that, grove before
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			p := w.place(t)
			p.source(t, "pair", c.specs(true)...)
			first, _ := p.run(t, manifest.Manifest{Packages: []string{"one"}}, p.onBase(t, "base"))
			if err := p.repo.SetRef("with-one", first.Commit); err != nil {
				t.Fatal(err)
			}
			for _, m := range []struct {
				base     string
				packages []string
				rpm      [][]string
			}{
				{"base", []string{"one", "two"}, [][]string{{"one", "two"}}},
				{"with-one", []string{"two"}, [][]string{{"one"}, {"two"}}},
			} {
				_, tr := p.run(t, manifest.Manifest{Packages: m.packages, ReplaceFiles: []string{"two"}}, p.onBase(t, m.base))
				root, said := rpmInstalls(t, c.specs(true), m.rpm, "--replacefiles")
				if root == "" {
					return // no rpm here
				}
				if refusals(said) != "" {
					t.Fatalf("rpm refuses: %s", said)
				}
				for _, path := range c.compared() {
					for _, suffix := range []string{"", ".rpmnew", ".rpmsave", ".rpmorig"} {
						at := strings.TrimPrefix(strings.Replace(path, "/etc/", "/usr/etc/", 1), "/") + suffix
						if got, want := p.text(t, tr, at), onDisk(filepath.Join(root, path+suffix)); got != want {
							t.Errorf("on %s: %s is %q, rpm leaves %q", m.base, path+suffix, got, want)
						}
					}
				}
				states := map[string]string{}
				for _, h := range p.headers(t, tr) {
					files, err := h.Files()
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range files {
						states[h.NEVRA().Name] += fmt.Sprintf("%s %d\n", f.Path, f.State)
					}
				}
				for _, name := range []string{"one", "two"} {
					out, err := exec.Command("rpm", "--root", root, "-q", "--qf", "[%{FILENAMES} %{FILESTATES}\n]", name).Output()
					if err != nil {
						t.Fatal(err)
					}
					if got := states[name]; got != string(out) {
						t.Errorf("on %s: states of %s:\n%sby rpm:\n%s", m.base, name, got, out)
					}
				}
			}
		})
	}
}
