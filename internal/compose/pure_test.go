// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"grove/internal/accounts"
	"grove/internal/compose"
	"grove/internal/gvariant"
	"grove/internal/importer"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

func TestExpandDate(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for in, want := range map[string]string{
		"":                      "",
		"38":                    "38",
		"38.<date:%Y%m%d>":      "38.20260203",
		"<date:%y.%j>.dev":      "26.034.dev",
		"<date:%H%M%S>":         "040506",
		"<date:%%Y>":            "%Y",
		"38.<date:%Y":           "38.<date:%Y",
		"a<date:>b":             "ab",
		"<date:%Y>-<date:%Y>":   "2026-<date:%Y>",
		"<date:%d of %m, %q>.1": "03 of 02, %q.1",
	} {
		if got := compose.ExpandDate(in, at); got != want {
			t.Errorf("%q: got %q, wanted %q", in, got, want)
		}
	}
}

func TestTreePath(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/motd":             "usr/etc/motd",
		"etc/motd":              "usr/etc/motd",
		"/etc":                  "usr/etc",
		"/var":                  "usr/share/factory/var",
		"/var/lib/x":            "usr/share/factory/var/lib/x",
		"/usr/bin/x":            "usr/bin/x",
		"//usr//bin/../lib/./x": "usr/lib/x",
		"../../etc/shadow":      "usr/etc/shadow",
		"/../../x":              "x",
		"/etc/../usr/lib/x":     "usr/lib/x",
		"/bin/x":                "usr/bin/x",
		"/opt/tool/x":           "usr/lib/opt/tool/x",
		"/usr/local/bin/x":      "usr/share/factory/var/usrlocal/bin/x",
		"/root/.bashrc":         "usr/share/factory/var/roothome/.bashrc",
		"/usr/etc/x":            "usr/etc/x",
		"/usr/share/rpm":        "usr/share/rpm",
		"/etcetera":             "etcetera",
		"/":                     "",
	} {
		if got := compose.TreePath(in); got != want {
			t.Errorf("%q: got %q, wanted %q", in, got, want)
		}
	}
}

func TestFollow(t *testing.T) {
	for _, tc := range []struct{ link, target, want string }{
		{"etc/os-release", "../usr/lib/os-release", "usr/lib/os-release"},
		{"etc/pki/a", "b", "etc/pki/b"},
		{"etc/pki/a", "/usr/share/b", "usr/share/b"},
		{"etc/a", "/etc/b", "etc/b"},
		{"etc/a", "../../../../../etc/shadow", "etc/shadow"},
		{"lib", "usr/lib", "usr/lib"},
		{"usr/a", "/", ""},
		{"usr/a", "..", ""},
		{"a", "b/../../c", "c"},
	} {
		if got := compose.Follow(tc.link, tc.target); got != tc.want {
			t.Errorf("%s -> %s: got %q, wanted %q", tc.link, tc.target, got, tc.want)
		}
	}
	for place, seen := range map[string]string{"usr/etc/x/y": "etc/x/y", "usr/lib/x": "usr/lib/x", "usr/etcetera": "usr/etcetera"} {
		if got := compose.GuestPath(place); got != seen {
			t.Errorf("guest sees %s as %s, wanted %s", place, got, seen)
		}
		if got := compose.PlaceInTree(seen); got != place {
			t.Errorf("%s lies in %s, wanted %s", seen, got, place)
		}
	}
	if got := compose.PlaceInTree("etc"); got != "usr/etc" {
		t.Errorf("etc lies in %s", got)
	}
}

func TestEscapeTmpfiles(t *testing.T) {
	for in, want := range map[string]string{
		"/var/a b":    `/var/a\x20b`,
		`/var/a\b`:    `/var/a\\b`,
		"/var/a\tb":   `/var/a\tb`,
		"/var/a\nd /": `/var/a\nd\x20/`,
		"/var/100%":   "/var/100%%",
		`/var/"q"`:    `/var/\"q\"`,
		"/var/größe":  "/var/größe",
	} {
		if got := compose.EscapeTmpfiles(in); got != want {
			t.Errorf("%q: got %q, wanted %q", in, got, want)
		}
	}
}

func TestUnitName(t *testing.T) {
	for name, ok := range map[string]bool{
		"sshd.service": true, "getty@tty1.service": true, `dev-disk\x2d1.device`: true, "a.b.socket": true,
		"": false, ".": false, "..": false, ".service": false, "sshd": false, "sshd.": false, "../x.service": false,
		"a/b.service": false, "a b.service": false, "a\n.service": false, strings.Repeat("a", 300) + ".service": false,
	} {
		if got := compose.UnitName(name); got != ok {
			t.Errorf("%.40q: got %v", name, got)
		}
	}
}

func TestLockOrder(t *testing.T) {
	lines := []string{"a:x:1:", "b:x:2:", "c:x:3:"}
	for _, tc := range []struct{ known, want string }{
		{"", "a:x:1: b:x:2: c:x:3:"},
		{"c:x:9:", "c:x:3: a:x:1: b:x:2:"},
		{"b:x:2: gone:x:7: a:x:1:", "b:x:2: a:x:1: c:x:3:"},
		{"b:x:2: b:x:2:", "b:x:2: a:x:1: c:x:3:"},
	} {
		if got := strings.Join(compose.LockOrder(lines, strings.Fields(tc.known)), " "); got != tc.want {
			t.Errorf("%s: got %s, wanted %s", tc.known, got, tc.want)
		}
	}
}

func mustAccounts(t testing.TB, passwd, group, shadow, gshadow string) accounts.DB {
	t.Helper()
	db, err := accounts.Parse(accounts.Files{Passwd: []byte(passwd), Group: []byte(group), Shadow: []byte(shadow), Gshadow: []byte(gshadow)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func accountText(db accounts.DB) string {
	f := db.Format()
	return fmt.Sprintf("passwd:\n%sgroup:\n%sshadow:\n%sgshadow:\n%s", f.Passwd, f.Group, f.Shadow, f.Gshadow)
}

func TestWithoutAccounts(t *testing.T) {
	db := mustAccounts(t, "root:x:0:0::/:/bin/sh\n# a comment\na:x:9:9::/:/bin/sh\nb:x:8:8::/:/bin/sh\n", "root:x:0:\na:x:9:\nb:x:8:\n",
		"root:*:1::::::\na:!!:1::::::\nb:$6$x$y:1::::::\n", "root:::\na:!::\nb:!::\n")
	got := accountText(compose.WithoutAccounts(db, map[string]bool{"a": true, "b": true}, map[string]bool{"a": true}))
	want := "passwd:\nroot:x:0:0::/:/bin/sh\n# a comment\ngroup:\nroot:x:0:\nb:x:8:\nshadow:\nroot:*:1::::::\nb:$6$x$y:1::::::\ngshadow:\nroot:::\nb:!::\n"
	if got != want {
		t.Errorf("got\n%s\nwanted\n%s", got, want)
	}
}

// Names and ids of nss-altfiles are taken, and its files are not written to.
func TestSysusersBesideAltfiles(t *testing.T) {
	db := mustAccounts(t, "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n", "", "")
	alt := mustAccounts(t, "polkitd:x:999:999::/:/sbin/nologin\nmail:x:8:12::/:/sbin/nologin\n", "polkitd:x:999:\nmail:x:12:\nwheel:x:10:\n", "", "")
	got, err := compose.SysusersBeside([]string{"u greeter - \"Greeter\" - -", "u mail 8", "m greeter wheel"}, db, alt)
	if err != nil {
		t.Fatal(err)
	}
	text := accountText(got)
	for _, want := range []string{"greeter:x:998:998:Greeter:/:", "wheel:x:10:greeter"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, foreign := range []string{"polkitd", "mail"} {
		if strings.Contains(text, foreign) {
			t.Errorf("%s in\n%s", foreign, text)
		}
	}
}

func TestFreeLines(t *testing.T) {
	db := mustAccounts(t, "root:x:0:0::/:\ntaken:x:999:999::/:\n", "root:x:0:\ntaken:x:999:\n", "", "")
	users, groups, warnings := compose.FreeLines(db,
		[]string{"greeter:x:999:998::/:/bin/sh", "fine:x:997:997::/:/bin/sh", "grouped:x:990:999::/:/bin/sh", "taken:x:999:999::/:/bin/sh", "rubbish"},
		[]string{"grouped:x:999:", "fine:x:997:"})
	if got := strings.Join(users, " "); got != "fine:x:997:997::/:/bin/sh taken:x:999:999::/:/bin/sh rubbish" && got != "fine:x:997:997::/:/bin/sh rubbish" {
		t.Errorf("users %s", got)
	}
	if got := strings.Join(groups, " "); got != "fine:x:997:" {
		t.Errorf("groups %s", got)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "grouped") || !strings.Contains(warnings[1], "greeter") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestVersion(t *testing.T) {
	base := &compose.Base{}
	for _, tc := range []struct {
		name string
		m    manifest.Manifest
		o    compose.Options
		base string
		want string
	}{
		{"none", manifest.Manifest{}, compose.Options{}, "", ""},
		{"prefix", manifest.Manifest{AutomaticVersionPrefix: "38.<date:%Y>"}, compose.Options{}, "", "38.1970"},
		{"base", manifest.Manifest{AutomaticVersionPrefix: "38"}, compose.Options{Base: base}, "37.1", "37.1"},
		{"metadata", manifest.Manifest{AutomaticVersionPrefix: "38", Metadata: map[string]any{"version": "39"}}, compose.Options{}, "", "39"},
		{"lock", manifest.Manifest{AutomaticVersionPrefix: "38"}, compose.Options{Lock: &manifest.Lock{CommitVersion: "7"}}, "", "7"},
		{"lock without", manifest.Manifest{AutomaticVersionPrefix: "38"}, compose.Options{Lock: &manifest.Lock{}}, "", ""},
	} {
		if got := compose.Version(tc.m, tc.o, tc.base, 86400); got != tc.want {
			t.Errorf("%s: got %q, wanted %q", tc.name, got, tc.want)
		}
	}
}

// Everything that the content depends on changes the hash, and nothing else does.
func TestInputHash(t *testing.T) {
	picks := map[string]string{"a-1-1.noarch": "sha256:" + strings.Repeat("1", 64)}
	m := func(f func(*manifest.Manifest)) manifest.Manifest {
		m := manifest.Manifest{Base: "x:y", Repos: []string{"r"}, Packages: []string{"a", "b"}, AddFiles: [][2]string{{"f", "/etc/f"}}}
		f(&m)
		return m
	}
	file := "one"
	o := compose.Options{Arch: "x86_64", ReadFile: func(string) ([]byte, error) { return []byte(file), nil }}
	none := func(*manifest.Manifest) {}
	first := compose.InputHash(m(none), o, picks)
	for name, got := range map[string]string{
		"order of requests": compose.InputHash(m(func(m *manifest.Manifest) { m.Packages = []string{"b", "a"} }), o, picks),
		"name of the base":  compose.InputHash(m(func(m *manifest.Manifest) { m.Base = "z" }), o, picks),
		"sources":           compose.InputHash(m(func(m *manifest.Manifest) { m.Repos = nil }), o, picks),
	} {
		if got != first {
			t.Errorf("%s changed the hash", name)
		}
	}
	base := o
	base.Base = &compose.Base{Commit: ostree.Checksum{1}}
	arch := o
	arch.Arch = "aarch64"
	noFile := o
	noFile.ReadFile = nil
	seen := map[string]string{first: "the first"}
	different := func(name, hash string) {
		t.Helper()
		if was, ok := seen[hash]; ok {
			t.Errorf("%s has the hash of %s", name, was)
		}
		seen[hash] = name
	}
	different("base", compose.InputHash(m(none), base, picks))
	different("architecture", compose.InputHash(m(none), arch, picks))
	different("file missing", compose.InputHash(m(none), noFile, picks))
	different("digest", compose.InputHash(m(none), o, map[string]string{"a-1-1.noarch": "sha256:" + strings.Repeat("2", 64)}))
	different("package", compose.InputHash(m(none), o, map[string]string{"a-1-2.noarch": "sha256:" + strings.Repeat("1", 64)}))
	file = "two"
	different("content of a file", compose.InputHash(m(none), o, picks))
	file = "one"
	no := false
	for name, change := range map[string]func(*manifest.Manifest){
		"request":       func(m *manifest.Manifest) { m.Packages = append(m.Packages, "c") },
		"documentation": func(m *manifest.Manifest) { m.Documentation = &no },
		"languages":     func(m *manifest.Manifest) { m.InstallLangs = []string{"de"} },
		"postprocess":   func(m *manifest.Manifest) { m.Postprocess = []string{"true"} },
		"unit":          func(m *manifest.Manifest) { m.Units = []string{"a.service"} },
		"removal":       func(m *manifest.Manifest) { m.RemoveFiles = []string{"/usr/x"} },
		"metadata":      func(m *manifest.Manifest) { m.Metadata = map[string]any{"k": "v"} },
		"override":      func(m *manifest.Manifest) { m.Overrides.Remove = []string{"z"} },
	} {
		different(name, compose.InputHash(m(change), o, picks))
	}
}

func TestPriority(t *testing.T) {
	s := func(p int) rpmmd.Source { return rpmmd.Source{ID: "s", Priority: p} }
	for _, tc := range []struct {
		name string
		got  int
		want int
	}{
		{"default", compose.Priority(s(0), false), 198},
		{"own", compose.Priority(s(10), false), 20},
		{"of the base", compose.Priority(s(99), false, "s", "t"), 198},
		{"foreign", compose.Priority(s(99), false, "t"), 199},
		{"foreign, but its own priority comes first", compose.Priority(s(98), false, "t"), 197},
		{"foreign, upgrade", compose.Priority(s(1), true, "t"), 2},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %d, wanted %d", tc.name, tc.got, tc.want)
		}
	}
}

func nevra(t testing.TB, s string) rpm.Meta {
	t.Helper()
	n, err := rpm.ParseNEVRA(s)
	if err != nil {
		t.Fatal(err)
	}
	return rpm.Meta{NEVRA: n}
}

func TestBindPackages(t *testing.T) {
	a, b := nevra(t, "a-1-1.noarch"), nevra(t, "b-1-1.noarch")
	req := solve.Request{Repos: []solve.Repo{
		{ID: "one", Packages: []rpm.Meta{a, b}}, {ID: "two", Packages: []rpm.Meta{a, b}}, {ID: "@kept", Packages: []rpm.Meta{a, b, a}},
	}}
	kept := compose.BindPackages(manifest.Manifest{RepoPackages: []manifest.RepoPackages{{Repo: "two", Packages: []string{"a"}}}}, &req,
		[]manifest.LockedPackage{{NEVRA: "a-1-1.noarch", Source: "one"}, {NEVRA: "b-1-1.noarch", Source: "one"}, {NEVRA: "a-1-1.noarch", Source: "two"}})
	var text []string
	for _, r := range req.Repos {
		for _, p := range r.Packages {
			text = append(text, r.ID+"/"+p.Name)
		}
	}
	for _, k := range kept {
		text = append(text, k.Source+":"+k.NEVRA)
	}
	if got := strings.Join(text, " "); got != "one/b two/a two/b @kept/b @kept/a one:b-1-1.noarch two:a-1-1.noarch" {
		t.Error(got)
	}
}

func TestVariant(t *testing.T) {
	for _, tc := range []struct {
		v    any
		want string
	}{
		{true, "b"}, {int64(7), "x"}, {1.5, "d"}, {"s", "s"}, {[]any{"a", int64(1)}, "av"}, {map[string]any{"k": []any{}}, "a{sv}"}, {nil, "s"},
	} {
		if got := compose.Variant(tc.v).Type(); got != tc.want {
			t.Errorf("%v: got %s, wanted %s", tc.v, got, tc.want)
		}
	}
}

func TestPlain(t *testing.T) {
	if !compose.Plain(manifest.Manifest{Base: "x", Ref: "y", Releasever: "1", Repos: []string{"r"}, ExcludePackages: []string{"z"}}) {
		t.Error("a base alone is not plain")
	}
	for i, m := range []manifest.Manifest{
		{Packages: []string{"a"}}, {Units: []string{"a.service"}}, {DefaultTarget: "a.target"}, {Postprocess: []string{"x"}}, {PostprocessScript: "x"},
		{RemoveFiles: []string{"x"}}, {AddFiles: [][2]string{{"a", "b"}}}, {OSTreeLayers: []string{"x"}}, {OSTreeOverrideLayers: []string{"x"}},
		{LocalPackages: []manifest.LocalPackage{{}}}, {Overrides: manifest.Overrides{Remove: []string{"x"}}},
		{Overrides: manifest.Overrides{Replace: []manifest.LocalPackage{{}}}}, {RepoPackages: []manifest.RepoPackages{{}}}, {Metadata: map[string]any{"a": 1}},
	} {
		if compose.Plain(m) {
			t.Errorf("%d is plain: %+v", i, m)
		}
	}
}

func TestLockFits(t *testing.T) {
	sum := ostree.Checksum{1}
	with := manifest.Lock{Arch: "x86_64", Base: manifest.LockedBase{Ref: "r", Commit: sum.String()}}
	without := manifest.Lock{}
	for _, tc := range []struct {
		name string
		l    manifest.Lock
		arch string
		base *ostree.Checksum
		ok   bool
	}{
		{"same base", with, "x86_64", &sum, true},
		{"other base", with, "x86_64", &ostree.Checksum{2}, false},
		{"no base", with, "x86_64", nil, false},
		{"other machine", with, "aarch64", &sum, false},
		{"base tree", without, "x86_64", nil, true},
		{"base tree for a guest", without, "x86_64", &sum, false},
	} {
		if err := compose.LockFits(tc.l, tc.arch, tc.base); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestMembers(t *testing.T) {
	packages := func(names string) (all []rpm.Meta) {
		for _, n := range strings.Fields(names) {
			all = append(all, rpm.Meta{NEVRA: rpm.NEVRA{Name: n}})
		}
		return all
	}
	one := &rpmmd.Metadata{
		Groups: []rpmmd.Group{
			{ID: "g", Name: "Good Things", Mandatory: []string{"a", "gone"}, Default: []string{"b"}, Optional: []string{"c"}, Conditional: []rpmmd.Conditional{{Name: "a-de", Requires: "a"}, {Name: "nowhere", Requires: "a"}}},
			{ID: "h", Mandatory: []string{"d"}}, {ID: "o", Mandatory: []string{"f"}},
		},
		Environments: []rpmmd.Environment{{ID: "e", Name: "All of It", Groups: []string{"h", "g", "nosuch"}, Options: []string{"o", "p"}, DefaultOptions: []string{"o"}}, {ID: "h", Groups: []string{"g"}}},
		Packages:     packages("a b c d a-de f"),
	}
	two := &rpmmd.Metadata{Groups: []rpmmd.Group{{ID: "g", Mandatory: []string{"a"}, Default: []string{"e"}}}, Packages: packages("a e")}
	for _, tt := range []struct{ name, want, conditional string }{
		{"g", "a b e", "a-de"}, {"h", "d", ""}, {"e", "d a b e f", "a-de"}, {"^e", "d a b e f", "a-de"}, {"^h", "a b e", "a-de"},
		{"Good Things", "a b e", "a-de"}, {"All of It", "d a b e f", "a-de"}, {"x", "!g, h, o, ^e, ^h", ""}, {"^g", "!", ""},
	} {
		got, conditional, err := compose.Members(tt.name, one, two)
		if bad, ok := strings.CutPrefix(tt.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		var names []string
		for _, c := range conditional {
			names = append(names, c.Name)
		}
		if err != nil || strings.Join(got, " ") != tt.want || strings.Join(names, " ") != tt.conditional {
			t.Errorf("%s: got %v, %v, %v", tt.name, got, names, err)
		}
	}
}

func TestBaseSources(t *testing.T) {
	own := ostree.Commit{Metadata: gvariant.Dict{{Key: compose.KeySources, Value: gvariant.Strings([]string{"a", "b"})}}}
	if got := compose.BaseSources(own); len(got) != 2 || !got["b"] {
		t.Errorf("got %v", got)
	}
	entry := gvariant.Dict{{Key: "id", Value: gvariant.String("fedora")}, {Key: "timestamp", Value: gvariant.Uint64(1)}}
	theirs := ostree.Commit{Metadata: gvariant.Dict{{Key: "rpmostree.rpmmd-repos", Value: gvariant.Array("a{sv}", entry.Value())}}}
	if got := compose.BaseSources(theirs); len(got) != 1 || !got["fedora"] {
		t.Errorf("got %v", got)
	}
	odd := ostree.Commit{Metadata: gvariant.Dict{{Key: compose.KeySources, Value: gvariant.Uint32(1)}}}
	if got := compose.BaseSources(odd); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// Whatever place a path of a package comes to in a tree, its name leads back to the package.
func TestBaseNames(t *testing.T) {
	for _, p := range []string{"/etc/a", "/usr/bin/a", "/bin/a", "/root", "/root/a", "/home", "/srv", "/mnt", "/opt/a", "/usr/local/a", "/var/lib/a",
		"/var/lib/alternatives", "/var/lib/alternatives/a", "/boot/a", "/lib", "/etc", "/usr", "/tmp", "/run"} {
		at, ok := importer.MapPath(p)
		if ok && !compose.BaseNames(map[string]bool{at: true})[path.Base(p)] {
			t.Errorf("%s lies at %s, and is not found by its name", p, at)
		}
	}
}
