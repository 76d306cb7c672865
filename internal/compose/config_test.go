// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"grove/internal/fixture"
	"grove/internal/manifest"
	"grove/internal/tree"
)

// A configCase is one path of /etc: what the package of before has there, what the base's makers did to it, and what the package of
// after has. "" is nothing, "ghost" and "link" say what they are, else it is the content.
type configCase struct {
	path               string
	old, disk, now     string
	oldFlags, nowFlags uint32
}

func (c configCase) String() string {
	return fmt.Sprintf("old %q %02x, disk %q, new %q %02x", c.old, c.oldFlags, c.disk, c.now, c.nowFlags)
}

const (
	config      = fixture.FlagConfig
	noReplace   = fixture.FlagConfig | fixture.FlagNoReplace
	missingOK   = fixture.FlagConfig | fixture.FlagMissingOK
	ghost       = fixture.FlagGhost
	ghostConfig = fixture.FlagGhost | fixture.FlagConfig
)

// configCases are all combinations of what may be there before, on disk, and after.
func configCases(dir string, olds, nows []string) []configCase {
	flagsOf := func(what string) []uint32 {
		switch what {
		case "":
			return []uint32{0}
		case "ghost":
			return []uint32{ghost, ghostConfig, ghostConfig | fixture.FlagNoReplace}
		case "link":
			return []uint32{0, config, noReplace}
		}
		return []uint32{0, config, noReplace, missingOK, fixture.FlagMissingOK}
	}
	var out []configCase
	for _, old := range olds {
		for _, of := range flagsOf(old) {
			for _, disk := range []string{"", "old\n", "new\n", "changed\n", "link", "changed link"} {
				for _, now := range nows {
					for _, nf := range flagsOf(now) {
						out = append(out, configCase{fmt.Sprintf("%s/c%03d", dir, len(out)), old, disk, now, of, nf})
					}
				}
			}
		}
	}
	return out
}

// entry is what a package has at a path.
func (c configCase) entry(what string, flags uint32) []fixture.File {
	f := fixture.File{Path: c.path, Flags: flags}
	switch what {
	case "":
		return nil
	case "link":
		f.Link = "elsewhere"
	case "ghost":
	default:
		f.Content = []byte(what)
	}
	return []fixture.File{f}
}

// TestConfigAsRPM holds what becomes of each file of /etc against the real rpm: fresh packages over files that nobody owns, packages that
// replace others, and packages that go, where the files on disk are as they were, changed, or gone.
func TestConfigAsRPM(t *testing.T) {
	w := copse(t)
	t.Parallel()
	for _, group := range []struct {
		name       string
		olds, nows []string
		after      string // the package that rpm installs over "before"; "" = it is removed
	}{
		{name: "fresh", olds: []string{""}, nows: []string{"new\n", "link", "ghost"}, after: "after"},
		{name: "replace", olds: []string{"", "old\n", "link", "ghost"}, nows: []string{"", "old\n", "new\n", "link", "ghost"}, after: "before"},
		{name: "remove", olds: []string{"old\n", "link", "ghost"}, nows: []string{""}},
		{name: "beside", olds: []string{"ghost"}, nows: []string{"new\n", "link"}, after: "after"},
	} {
		t.Run(group.name, func(t *testing.T) {
			cases := configCases("/etc/"+group.name, group.olds, group.nows)
			before := fixture.Spec{Name: "before", Files: []fixture.File{{Path: "/etc/" + group.name, Dir: true}}}
			after := fixture.Spec{Name: group.after, Version: "2", Files: []fixture.File{{Path: "/etc/" + group.name, Dir: true}}}
			for _, c := range cases {
				before.Files = append(before.Files, c.entry(c.old, c.oldFlags)...)
				after.Files = append(after.Files, c.entry(c.now, c.nowFlags)...)
			}
			root := configByRPM(t, cases, before, after)
			tr, p := configByGrove(t, w, cases, before, after)
			for _, c := range cases {
				for _, suffix := range []string{"", ".rpmnew", ".rpmsave", ".rpmorig"} {
					got, want := p.text(t, tr, "usr"+c.path+suffix), onDisk(filepath.Join(root, c.path+suffix))
					if got != want {
						t.Errorf("%v: NAME%s is %q, by rpm %q", c, suffix, got, want)
					}
				}
			}
			t.Logf("%d files", len(cases))
		})
	}
}

func configByRPM(t *testing.T, cases []configCase, before, after fixture.Spec) string {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs rpm")
		}
		t.Skip("needs rpm")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	call := func(args ...string) {
		t.Helper()
		cmd := exec.Command("rpm", append([]string{"--root", root, "--nodeps", "--nosignature"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("rpm %v: %v\n%s", args, err, out)
		}
	}
	file := func(s fixture.Spec) string {
		t.Helper()
		data, err := fixture.RPM(s)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, s.FileName())
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	call("-U", file(before))
	for _, c := range cases {
		at := filepath.Join(root, c.path)
		os.Remove(at)
		var err error
		switch {
		case c.disk == "link":
			err = os.Symlink("elsewhere", at)
		case c.disk == "changed link":
			err = os.Symlink("there", at)
		case c.disk != "":
			err = os.WriteFile(at, []byte(c.disk), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if after.Name == "" {
		call("-e", "before")
	} else {
		call("-U", file(after))
	}
	return root
}

func configByGrove(t *testing.T, w world, cases []configCase, before, after fixture.Spec) (*tree.Tree, *place) {
	t.Helper()
	p := w.place(t)
	p.source(t, "before", before)
	first, had := p.run(t, manifest.Manifest{Packages: []string{"before"}}, p.onBase(t, "base"))
	if err := p.repo.SetRef("with-before", first.Commit); err != nil {
		t.Fatal(err)
	}
	p.edited(t, "with-before", "changed", func(b *editor) {
		for _, c := range cases {
			at := "usr" + c.path
			if _, ok, err := had.Lookup(at); err != nil {
				t.Fatal(err)
			} else if ok {
				b.remove(at)
			}
			switch {
			case c.disk == "link":
				b.link(at, "elsewhere")
			case c.disk == "changed link":
				b.link(at, "there")
			case c.disk != "":
				b.file(at, c.disk)
			}
		}
	})
	o := p.onBase(t, "changed")
	var m manifest.Manifest
	switch after.Name {
	case "":
		m.Overrides.Remove = []string{"before"}
	case "before":
		path, l := p.rpmFile(t, after, p.secret(t))
		o.LocalFiles, m.Overrides.Replace = []string{path}, []manifest.LocalPackage{l}
		o.NoGPGCheck = true
	default:
		p.source(t, "after", after)
		o = p.onBase(t, "changed")
		m.Packages = []string{after.Name}
	}
	_, tr := p.run(t, m, o)
	return tr, p
}

// A base made from nothing has files of nobody, too: those that a %pretrans left.
func TestConfigOfPretrans(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "early", fixture.Spec{Name: "early", Files: []fixture.File{
		{Path: "/etc/early", Content: []byte("package\n"), Flags: config}, {Path: "/etc/kept", Content: []byte("package\n"), Flags: noReplace},
	}, Scripts: []fixture.Script{{Kind: "pretrans", Prog: "<lua>", Body: `posix.mkdir("/etc") for _, f in ipairs({"early", "kept"}) do local h = io.open("/etc/" .. f, "w") h:write("script\n") h:close() end`}}})
	m, err := w.baseManifest()
	if err != nil {
		t.Fatal(err)
	}
	m.Packages, m.Repos = append(m.Packages, "early"), nil
	o, err := p.options()
	if err != nil {
		t.Fatal(err)
	}
	_, tr := p.run(t, m, o)
	for path, want := range map[string]string{"early": "package\n", "early.rpmorig": "script\n", "kept": "script\n", "kept.rpmnew": "package\n"} {
		if got := p.text(t, tr, "usr/etc/"+path); got != want {
			t.Errorf("/etc/%s is %q, want %q", path, got, want)
		}
	}
}
