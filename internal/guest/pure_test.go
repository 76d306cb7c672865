// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/fixture"
	"grove/internal/guest"
	"grove/internal/manifest"
	"grove/internal/rpm"
)

func nevras(t testing.TB, text string) []rpm.NEVRA {
	t.Helper()
	var out []rpm.NEVRA
	for _, s := range strings.Fields(text) {
		n, err := rpm.ParseNEVRA(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func TestDiffPackages(t *testing.T) {
	for _, tc := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a-1-1.noarch", "a-1-1.noarch", ""},
		{"", "b-1-1.noarch a-1-1.noarch", "+a-1-1.noarch +b-1-1.noarch"},
		{"a-1-1.noarch", "", "-a-1-1.noarch"},
		{"a-1-1.noarch", "a-2-1.noarch", "a:1-1>2-1"},
		{"a-1-1.noarch", "a-2-1.x86_64", "a:1-1>2-1"},
		{"a-2:1-1.noarch", "a-1:9-1.noarch", "a:2:1-1<1:9-1"},
		{"a-1-1.noarch", "a-1-1.x86_64", "-a-1-1.noarch +a-1-1.x86_64"},
		// Two word sizes go up together.
		{"a-1-1.x86_64 a-1-1.i686", "a-2-1.x86_64 a-2-1.i686", "a:1-1>2-1 a:1-1>2-1"},
		{"a-1-1.x86_64", "a-1-1.x86_64 a-1-1.i686", "+a-1-1.i686"},
		{"a-1-1.x86_64 a-1-1.i686", "a-2-1.x86_64", "-a-1-1.i686 a:1-1>2-1"},
		// Kernels count one by one.
		{"k-1-1.x86_64 k-2-1.x86_64", "k-2-1.x86_64 k-3-1.x86_64", "-k-1-1.x86_64 +k-3-1.x86_64"},
		{"k-1-1.x86_64", "k-1-1.x86_64 k-2-1.x86_64", "+k-2-1.x86_64"},
	} {
		d := guest.DiffPackages(nevras(t, tc.a), nevras(t, tc.b))
		var out []string
		for _, n := range d.Removed {
			out = append(out, "-"+n)
		}
		for _, n := range d.Added {
			out = append(out, "+"+n)
		}
		for _, c := range d.Upgraded {
			out = append(out, fmt.Sprintf("%s:%s>%s", c.Name, c.From, c.To))
		}
		for _, c := range d.Downgraded {
			out = append(out, fmt.Sprintf("%s:%s<%s", c.Name, c.From, c.To))
		}
		if got := strings.Join(out, " "); got != tc.want {
			t.Errorf("%s -> %s: got %s, wanted %s", tc.a, tc.b, got, tc.want)
		}
		if d.Empty() != (tc.want == "") {
			t.Errorf("%s -> %s: empty is %v", tc.a, tc.b, d.Empty())
		}
	}
}

func TestDropRequest(t *testing.T) {
	for _, tc := range []struct{ packages, local, word, want string }{
		{"hello greeter", "", "hello", "greeter"},
		{"hello greeter", "", "nosuch", "!hello greeter"},
		{"hello-1.0-1.noarch", "", "hello", ""},
		{"hello-doc", "", "hello", "!hello-doc"},
		{"hello.noarch", "", "hello", ""},
		{"hello hello-doc greeter", "", "hello*", "greeter"},
		{"@greetings", "", "@greetings", ""},
		{"/usr/bin/hello", "", "/usr/bin/hello", ""},
		{"/usr/bin/hello", "", "*", "!/usr/bin/hello"},
		{"hello", "pebble-1-1.noarch", "pebble", "hello"},
		{"hello", "pebble-1-1.noarch", "pebble-1-1.noarch", "hello"},
		{"hello", "pebble-1-1.noarch", "pebble-2-1.noarch", "!hello pebble-1-1.noarch"},
		{"hello", "", "[", "!hello"},
	} {
		m := manifest.Manifest{Packages: strings.Fields(tc.packages)}
		for _, l := range strings.Fields(tc.local) {
			m.LocalPackages = append(m.LocalPackages, manifest.LocalPackage{NEVRA: l})
		}
		found := guest.DropRequest(&m, tc.word)
		left := m.Packages
		for _, l := range m.LocalPackages {
			left = append(left, l.NEVRA)
		}
		got := strings.Join(left, " ")
		if !found {
			got = "!" + got
		}
		if got != tc.want {
			t.Errorf("%s %s without %s: got %q, wanted %q", tc.packages, tc.local, tc.word, got, tc.want)
		}
	}
}

func TestOverrideLists(t *testing.T) {
	l := guest.ReplaceLocal([]manifest.LocalPackage{{NEVRA: "a-1-1.noarch"}, {NEVRA: "b-1-1.noarch"}}, manifest.LocalPackage{NEVRA: "a-2-1.noarch"})
	if len(l) != 2 || l[0].NEVRA != "b-1-1.noarch" || l[1].NEVRA != "a-2-1.noarch" {
		t.Errorf("%v", l)
	}
	m := manifest.Manifest{Overrides: manifest.Overrides{Remove: []string{"x", "y"}, Replace: l}}
	for word, ok := range map[string]bool{"x": true, "a": true, "b-1-1.noarch": true, "b-9-1.noarch": false, "z": false} {
		if got := guest.ResetOne(&m, word); got != ok {
			t.Errorf("%s: %v", word, got)
		}
	}
	if len(m.Overrides.Remove) != 1 || len(m.Overrides.Replace) != 0 {
		t.Errorf("%+v", m.Overrides)
	}
}

func TestParseSpecs(t *testing.T) {
	data, err := fixture.RPM(fixture.Spec{Name: "pebble"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, broken := filepath.Join(dir, "any-name.rpm"), filepath.Join(dir, "broken.rpm")
	if err := errors.Join(os.WriteFile(file, data, 0o644), os.WriteFile(broken, data[:50], 0o644)); err != nil {
		t.Fatal(err)
	}
	s, err := guest.ParseSpecs([]string{"hello", file, "/usr/bin/x", "@group", "foo >= 2"})
	if err != nil || strings.Join(s.Names, "|") != "hello|/usr/bin/x|@group|foo >= 2" || len(s.Local) != 1 || s.Local[0].NEVRA != "pebble-1.0-1.noarch" ||
		len(s.Local[0].SHA256) != 64 || s.Files[0] != file {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", " ", " x", "x\ny", broken, filepath.Join(dir, "nosuch.rpm"), dir + ".rpm"} {
		if _, err := guest.ParseSpecs([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	// What a guest keeps of it is read back as it was.
	m := manifest.Manifest{Base: "b", Packages: s.Names, LocalPackages: s.Local}
	again, err := manifest.Parse(m.Encode(), "manifest.yaml", "x86_64")
	if err != nil || strings.Join(again.Packages, "|") != strings.Join(s.Names, "|") || !bytes.Equal(again.Encode(), m.Encode()) {
		t.Errorf("got %q, wanted %q: %v", again.Packages, s.Names, err)
	}
}

func TestBaseOf(t *testing.T) {
	got := guest.BaseOf(nevras(t, "a-1-1.noarch b-2-1.noarch l-1-1.noarch"), manifest.Lock{
		Packages: []manifest.LockedPackage{{NEVRA: "l-1-1.noarch"}, {NEVRA: "b-2-1.noarch"}}, Removed: []string{"b-1-1.noarch", "gone-1-1.noarch"},
	})
	var names []string
	for _, n := range got {
		names = append(names, n.String())
	}
	if s := strings.Join(names, " "); s != "a-1-1.noarch b-1-1.noarch gone-1-1.noarch" {
		t.Error(s)
	}
}

func header(t testing.TB, s fixture.Spec) *rpm.Header {
	t.Helper()
	data, err := fixture.RPM(s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rpm.ReadPackage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p.Header
}

func TestWhy(t *testing.T) {
	headers := []*rpm.Header{
		header(t, fixture.Spec{Name: "base"}),
		header(t, fixture.Spec{Name: "app", Requires: []string{"middle"}, Recommends: []string{"lib"}}),
		header(t, fixture.Spec{Name: "middle", Requires: []string{"lib"}}),
		header(t, fixture.Spec{Name: "lib"}),
		header(t, fixture.Spec{Name: "stray"}),
		header(t, fixture.Spec{Name: "supplement", Supplements: []string{"app"}}),
		header(t, fixture.Spec{Name: "rich", Requires: []string{"(choice if middle else other)"}}),
		header(t, fixture.Spec{Name: "choice", Files: []fixture.File{{Path: "/usr/bin/choice"}}}),
		header(t, fixture.Spec{Name: "by-file", Requires: []string{"/usr/bin/choice", "lib = 1.0"}}),
		header(t, fixture.Spec{Name: "old", Requires: []string{"lib = 0.9"}}),
		header(t, fixture.Spec{Name: "part"}),
	}
	l := manifest.Lock{Packages: []manifest.LockedPackage{
		{NEVRA: "app-1.0-1.noarch", Requested: true}, {NEVRA: "middle-1.0-1.noarch"}, {NEVRA: "lib-1.0-1.noarch"}, {NEVRA: "stray-1.0-1.noarch", Reason: "weak"},
		{NEVRA: "supplement-1.0-1.noarch"}, {NEVRA: "rich-1.0-1.noarch", Requested: true}, {NEVRA: "choice-1.0-1.noarch"}, {NEVRA: "by-file-1.0-1.noarch", Requested: true},
		{NEVRA: "old-1.0-1.noarch", Requested: true}, {NEVRA: "part-1.0-1.noarch", Reason: "replaces", Replaces: []string{"whole"}},
	}}
	for pkg, want := range map[string]string{
		"part": "part-1.0-1.noarch: it came with others in the place of whole",
		"base": "base-1.0-1.noarch: it is part of the base",
		"app":  "app-1.0-1.noarch: it was asked for",
		"lib":  "lib-1.0-1.noarch: needed by by-file-1.0-1.noarch (lib = 1.0) | by-file-1.0-1.noarch: it was asked for | also middle-1.0-1.noarch",
		"middle-1.0-1.noarch": "middle-1.0-1.noarch: needed by app-1.0-1.noarch (middle) | " +
			"app-1.0-1.noarch: it was asked for",
		"stray":           "stray-1.0-1.noarch: nothing that is installed needs it: it came as weak",
		"supplement":      "supplement-1.0-1.noarch: comes along with app-1.0-1.noarch (supplements app) | app-1.0-1.noarch: it was asked for",
		"/usr/bin/choice": "choice-1.0-1.noarch: needed by rich-1.0-1.noarch ((choice if middle else other)) | rich-1.0-1.noarch: it was asked for, as r*h | also by-file-1.0-1.noarch",
	} {
		for range 5 {
			reasons, err := guest.WhyOf(headers, l, []string{"r*h", "app"}, pkg)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, r := range reasons {
				out = append(out, r.Package+": "+r.Because)
			}
			if len(reasons[0].Also) > 0 {
				out = append(out, "also "+strings.Join(reasons[0].Also, " "))
			}
			if got := strings.Join(out, " | "); got != want {
				t.Errorf("%s: got %s, wanted %s", pkg, got, want)
			}
		}
	}
	if _, err := guest.WhyOf(headers, l, nil, "nosuch"); !errors.Is(err, guest.ErrUnsuited) {
		t.Errorf("nosuch: %v", err)
	}
}

func TestReadIn(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	outside := filepath.Join(filepath.Dir(root), "secret")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "etc/dir"), 0o755), os.WriteFile(outside, []byte("outside"), 0o644),
		os.WriteFile(filepath.Join(root, "secret"), []byte("inside"), 0o644), os.WriteFile(filepath.Join(root, "etc/file"), []byte("text"), 0o644),
		os.Symlink("../../secret", filepath.Join(root, "etc/up")), os.Symlink("/secret", filepath.Join(root, "etc/absolute")),
		os.Symlink("../../../..", filepath.Join(root, "etc/top")), os.Symlink("loop", filepath.Join(root, "etc/loop")),
		os.Symlink("/proc/self/root/etc/passwd", filepath.Join(root, "etc/magic")),
		unix.Mkfifo(filepath.Join(root, "etc/fifo"), 0o644), os.WriteFile(filepath.Join(root, "etc/big"), make([]byte, 101), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/file": "text", "/etc/file": "text", "etc/up": "inside", "etc/absolute": "inside", "etc/top/secret": "inside", "../secret": "inside",
	} {
		if got, err := guest.ReadIn(root, name, 100); err != nil || string(got) != want {
			t.Errorf("%s: got %q, wanted %q: %v", name, got, want, err)
		}
	}
	for _, name := range []string{"etc/dir", "etc/loop", "etc/fifo", "etc/big", "etc/magic", "etc/none"} {
		_, err := guest.ReadIn(root, name, 100)
		if err == nil || errors.Is(err, fs.ErrNotExist) != (name == "etc/none" || name == "etc/magic") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRepoFiles(t *testing.T) {
	for names, ok := range map[string]bool{"": true, "a.repo": true, "x/a.repo y/b.repo": true, "x/a.repo y/a.repo": false, "a.txt": false, "x/.repo": false} {
		if err := guest.CheckRepo(strings.Fields(names)); (err == nil) != ok {
			t.Errorf("%q: %v", names, err)
		}
	}
}
