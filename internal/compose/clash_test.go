// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
)

// A pair is two packages that meet on a path, as the files of each.
type pair struct {
	name   string
	a, b   []fixture.File
	differ bool     // rpm refuses
	paths  []string // to compare with what rpm leaves; those of the lists below where empty
}

const meet = "/usr/share/meet"

func file(path, text string) fixture.File { return fixture.File{Path: path, Content: []byte(text)} }

func with(f fixture.File, change func(*fixture.File)) fixture.File {
	change(&f)
	return f
}

func coloured(text string, colour uint32) fixture.File {
	return fixture.File{Path: "/usr/bin/meet", Mode: 0o755, Content: []byte(text), Color: colour}
}

var pairs = []pair{
	{name: "same content", a: []fixture.File{file(meet, "x\n")}, b: []fixture.File{file(meet, "x\n")}},
	{name: "other content", a: []fixture.File{file(meet, "x\n")}, b: []fixture.File{file(meet, "y\n")}, differ: true},
	{name: "other mode", a: []fixture.File{file(meet, "x\n")}, b: []fixture.File{with(file(meet, "x\n"), func(f *fixture.File) { f.Mode = 0o755 })}, differ: true},
	{name: "other owner", a: []fixture.File{file(meet, "x\n")}, b: []fixture.File{with(file(meet, "x\n"), func(f *fixture.File) { f.Group = "mail" })}, differ: true},
	{name: "same config", a: []fixture.File{with(file("/etc/meet", "x\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig })},
		b: []fixture.File{with(file("/etc/meet", "x\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig })}},
	{name: "other config", a: []fixture.File{with(file("/etc/meet", "x\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig })},
		b: []fixture.File{with(file("/etc/meet", "y\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig | fixture.FlagNoReplace })}, differ: true},
	{name: "ghost, then file", a: []fixture.File{with(file(meet, ""), func(f *fixture.File) { f.Flags = fixture.FlagGhost })}, b: []fixture.File{file(meet, "y\n")}},
	{name: "file, then ghost", a: []fixture.File{file(meet, "x\n")}, b: []fixture.File{with(file(meet, ""), func(f *fixture.File) { f.Flags = fixture.FlagGhost })}},
	{name: "same link", a: []fixture.File{{Path: meet, Link: "x"}}, b: []fixture.File{{Path: meet, Link: "x"}}},
	{name: "other link", a: []fixture.File{{Path: meet, Link: "x"}}, b: []fixture.File{{Path: meet, Link: "y"}}, differ: true},
	{name: "link and file", a: []fixture.File{{Path: meet, Link: "x"}}, b: []fixture.File{file(meet, "x\n")}, differ: true},
	{name: "same directory", a: []fixture.File{{Path: meet, Dir: true}}, b: []fixture.File{{Path: meet, Dir: true}}},
	{name: "directory of another mode", a: []fixture.File{{Path: meet, Dir: true}}, b: []fixture.File{{Path: meet, Dir: true, Mode: 0o700}}, differ: true},
	{name: "directory and file", a: []fixture.File{{Path: meet, Dir: true}}, b: []fixture.File{file(meet, "x\n")}, differ: true},
	{name: "32 bit, then 64 bit", a: []fixture.File{coloured("32\n", 1)}, b: []fixture.File{coloured("64\n", 2)}},
	{name: "64 bit, then 32 bit", a: []fixture.File{coloured("64\n", 2)}, b: []fixture.File{coloured("32\n", 1)}},
	{name: "64 bit twice", a: []fixture.File{coloured("64\n", 2)}, b: []fixture.File{coloured("sixty-four\n", 2)}, differ: true},
	{name: "program and script", a: []fixture.File{coloured("64\n", 2)}, b: []fixture.File{coloured("#!\n", 0)}, differ: true},
	{name: "through a link to a directory", a: []fixture.File{{Path: "/usr/lib/meet", Dir: true}, file("/usr/lib/meet/f", "x\n"), {Path: "/usr/lib/meeting", Link: "meet"}},
		b: []fixture.File{file("/usr/lib/meeting/f", "y\n")}, differ: true},
	{name: "through a link to a directory, the same", a: []fixture.File{{Path: "/usr/lib/meet", Dir: true}, file("/usr/lib/meet/f", "x\n"), {Path: "/usr/lib/meeting", Link: "meet"}},
		b: []fixture.File{file("/usr/lib/meeting/f", "x\n"), file("/usr/lib/meeting/g", "g\n")}, paths: []string{"/usr/lib/meet/f", "/usr/lib/meet/g", "/usr/lib/meeting"}},
}

func (c pair) specs(aFirst bool) []fixture.Spec {
	one := fixture.Spec{Name: "one", Files: c.a}
	two := fixture.Spec{Name: "two", Files: c.b}
	if aFirst {
		two.Requires = []string{"pre:one"} // so that both go in in this order
	}
	return []fixture.Spec{one, two}
}

func (c pair) compared() []string {
	if len(c.paths) > 0 {
		return c.paths
	}
	return []string{c.a[0].Path}
}

// refusals are the sentences of an error or of rpm that say what is in the way.
func refusals(text string) string {
	all := regexp.MustCompile(`file /.* (?:conflicts with file from package|conflicts between attempted installs of) .*`).FindAllString(text, -1)
	for i, s := range all {
		all[i] = strings.TrimSpace(strings.ReplaceAll(s, "0:", ""))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n")
}

// Files of two packages, both new or one in the base, are meet, chosen or refused, in the words of rpm's refusal.
func TestFileConflicts(t *testing.T) {
	w := copse(t)
	t.Parallel()
	for _, c := range pairs {
		t.Run(c.name, func(t *testing.T) {
			p := w.place(t)
			p.source(t, "pair", c.specs(true)...)
			both := manifest.Manifest{Packages: []string{"one", "two"}}
			first, _ := p.run(t, manifest.Manifest{Packages: []string{"one"}}, p.onBase(t, "base"))
			if err := p.repo.SetRef("with-one", first.Commit); err != nil {
				t.Fatal(err)
			}
			for _, m := range []struct {
				base string
				m    manifest.Manifest
				rpm  [][]string
			}{
				{"base", both, [][]string{{"one", "two"}}},
				{"with-one", manifest.Manifest{Packages: []string{"two"}}, [][]string{{"one"}, {"two"}}},
			} {
				res, err := compose.Run(context.Background(), m.m, p.onBase(t, m.base))
				var refused *compose.FileConflicts
				if errors.As(err, &refused) != c.differ || err != nil && refused == nil {
					t.Fatalf("on %s: %v", m.base, err)
				}
				root, said := rpmInstalls(t, c.specs(true), m.rpm)
				if root == "" {
					continue // no rpm here
				}
				got := ""
				if err != nil {
					got = refusals(err.Error())
				}
				if want := refusals(said); got != want {
					t.Errorf("on %s: refused with\n%s\nrpm says\n%s", m.base, got, want)
				}
				if err != nil {
					continue
				}
				tr, _, err := p.repo.Tree(res.Commit)
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range c.compared() {
					at := strings.TrimPrefix(strings.Replace(path, "/etc/", "/usr/etc/", 1), "/")
					if got, want := p.text(t, tr, at), onDisk(filepath.Join(root, path)); got != want {
						t.Errorf("on %s: %s is %q, rpm leaves %q", m.base, path, got, want)
					}
				}
			}
		})
	}
}

// onDisk describes a path as place.text does.
func onDisk(path string) string {
	if target, err := os.Readlink(path); err == nil {
		return "[link to " + target + "]"
	}
	st, err := os.Stat(path)
	if err != nil {
		return "[none]"
	}
	if st.IsDir() {
		return "[directory]"
	}
	data, _ := os.ReadFile(path)
	return string(data)
}

// rpmInstalls lets the real rpm install packages into a folder, one group after the other, and gives what it said.
func rpmInstalls(t *testing.T, specs []fixture.Spec, groups [][]string, flags ...string) (root, said string) {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs rpm and root")
		}
		return "", ""
	}
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	for _, s := range specs {
		data, err := fixture.RPM(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.Name+".rpm"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range groups {
		args := append(flags[:len(flags):len(flags)], "--root", root, "--define", "_transaction_color 3", "--define", "_prefer_color 2", "-U", "--nodeps", "--nosignature", "--ignorearch")
		for _, name := range g {
			args = append(args, filepath.Join(dir, name+".rpm"))
		}
		cmd := exec.Command("rpm", args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, _ := cmd.CombinedOutput()
		said += string(out)
	}
	return root, said
}

// In the base /usr/sbin is a link to bin, as in Fedora 42; packages still have files in /usr/sbin.
func TestThroughLinks(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.edited(t, "base", "merged", func(b *editor) {
		b.remove("usr/sbin")
		b.link("usr/sbin", "bin")
		b.file("usr/share/made", "by the base's maker\n")
		b.file("usr/etc/made", "by the base's maker\n")
		b.file("usr/etc/kept", "by the base's maker\n")
		b.file("usr/etc/subuid", "me:100000:65536\n")
		b.link("usr/lib/elsewhere", "/var/elsewhere")
	})
	p.source(t, "sbin",
		fixture.Spec{Name: "tool", Files: []fixture.File{
			{Path: "/usr/sbin", Dir: true}, {Path: "/usr/sbin/tool", Mode: 0o4750, Group: "mail", Content: []byte("#!/bin/sh\n")},
			{Path: "/usr/sbin/tool-link", Link: "tool"}, {Path: "/sbin/old", Content: []byte("old\n")},
			{Path: "/usr/lib/elsewhere/f", Content: []byte("f\n")},
		}, Scripts: []fixture.Script{{Kind: "post", Body: "test -u /usr/sbin/tool && test -f /usr/bin/tool && ln -s tool /usr/sbin/by-script"}}},
		fixture.Spec{Name: "twice", Files: []fixture.File{{Path: "/usr/sbin/both", Content: []byte("same\n")}, {Path: "/usr/bin/both", Content: []byte("same\n")}}},
		fixture.Spec{Name: "same-tool", Files: []fixture.File{{Path: "/usr/bin/tool", Content: []byte("another\n")}}},
		fixture.Spec{Name: "own", Files: []fixture.File{file("/usr/share/made", "own\n"),
			with(file("/etc/made", "own\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig }),
			with(file("/etc/kept", "own\n"), func(f *fixture.File) { f.Flags = fixture.FlagConfig | fixture.FlagNoReplace }),
			with(file("/etc/subuid", ""), func(f *fixture.File) { f.Flags = fixture.FlagConfig })}},
	)
	_, tr := p.run(t, manifest.Manifest{Packages: []string{"tool", "twice", "own"}}, p.onBase(t, "merged"))
	for path, want := range map[string]string{
		"usr/sbin": "[link to bin]", "usr/bin/tool": "#!/bin/sh\n", "usr/bin/tool-link": "[link to tool]", "usr/bin/old": "old\n", "usr/bin/both": "same\n",
		"usr/bin/by-script": "[link to tool]", "usr/lib/elsewhere": "[link to /var/elsewhere]", "usr/share/factory/var/elsewhere/f": "f\n",
		"usr/share/made": "own\n", "usr/etc/made": "own\n", "usr/etc/kept": "by the base's maker\n",
		"usr/etc/made.rpmorig": "by the base's maker\n", "usr/etc/kept.rpmnew": "own\n", "usr/etc/subuid": "me:100000:65536\n",
	} {
		if got := p.text(t, tr, path); got != want {
			t.Errorf("%s is %q, wanted %q", path, got, want)
		}
	}
	e, _, err := tr.Lookup("usr/bin/tool")
	if err != nil {
		t.Fatal(err)
	}
	h, _, content, err := p.repo.OpenFile(e.File)
	if err != nil {
		t.Fatal(err)
	}
	content.Close()
	if h.Mode != 0o104750 || h.GID == 0 {
		t.Errorf("/usr/bin/tool has mode %o and group %d", h.Mode, h.GID)
	}
	_, err = compose.Run(context.Background(), manifest.Manifest{Packages: []string{"tool", "same-tool"}}, p.onBase(t, "merged"))
	if err == nil || !strings.Contains(err.Error(), "tool conflicts between attempted installs of") {
		t.Errorf("two tools: %v", err)
	}
	// Links that lead to themselves, once and many times, end in a refusal and not in an endless search.
	p.source(t, "loops",
		fixture.Spec{Name: "loop", Files: []fixture.File{{Path: "/usr/lib/x", Link: "y"}, {Path: "/usr/lib/y", Link: "x"}, file("/usr/lib/other", "o\n")}},
		fixture.Spec{Name: "in-loop", Requires: []string{"loop"}, Files: []fixture.File{file("/usr/lib/x/f", "f\n")}},
		fixture.Spec{Name: "many", Files: []fixture.File{{Path: "/usr/lib/m", Link: strings.Repeat("m/", 1500) + "m"}}},
		fixture.Spec{Name: "in-many", Requires: []string{"many"}, Files: []fixture.File{file("/usr/lib/m/f", "f\n")}})
	for pkg, want := range map[string]string{"in-loop": "/usr/lib/", "in-many": "longer than 4096 bytes"} {
		if _, err := compose.Run(context.Background(), manifest.Manifest{Packages: []string{pkg}}, p.onBase(t, "base")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pkg, err)
		}
	}
	// A package of the run brings the link itself.
	p.source(t, "layout",
		fixture.Spec{Name: "layout", Requires: []string{"pre:early"}, Files: []fixture.File{{Path: "/usr/lib/new", Dir: true}, {Path: "/usr/lib/old", Link: "new"}}},
		fixture.Spec{Name: "early", Files: []fixture.File{file("/usr/lib/old/early", "e\n")}})
	_, tr = p.run(t, manifest.Manifest{Packages: []string{"layout"}}, p.onBase(t, "base"))
	if got := p.text(t, tr, "usr/lib/new/early") + p.text(t, tr, "usr/lib/old"); got != "e\n[link to new]" {
		t.Errorf("%q", got)
	}
}
