// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/fixture"
)

// TestSplitAsDnf upgrades packages that were divided, in place with dnf and as layers with grove: one that was asked for, one that another
// needs, one that was divided twice, and one that is gone with nothing but its name's heir.
func TestSplitAsDnf(t *testing.T) {
	need(t, "dnf", "rpm", "createrepo_c")
	s := newSite(t)
	put := func(dir, name, version string, more func(*fixture.Spec)) {
		p := fixture.Spec{Name: name, Version: version, Files: []fixture.File{{Path: "/usr/share/" + name, Mode: 0o644, Content: []byte(name + version)}}}
		if more != nil {
			more(&p)
		}
		data, err := fixture.RPM(p)
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.path(dir, name+"-"+version+"-1.noarch.rpm"), string(data))
	}
	needs := func(list ...string) func(*fixture.Spec) {
		return func(p *fixture.Spec) { p.Requires = append(p.Requires, list...) }
	}
	instead := func(old string, provides ...string) func(*fixture.Spec) {
		return func(p *fixture.Spec) {
			p.Obsoletes, p.Provides = append(p.Obsoletes, old), append(p.Provides, provides...)
		}
	}
	put("old", "base", "1", nil)
	for _, name := range []string{"tool", "lib", "twice", "single"} {
		put("old", name, "1", nil)
	}
	put("old", "user", "1", needs("lib"))
	put("new", "tool-cli", "2", instead("tool < 2"))
	put("new", "tool-gui", "2", instead("tool < 2"))
	put("new", "lib-core", "2", instead("lib < 2", "lib = 2"))
	put("new", "lib-data", "2", instead("lib < 2"))
	put("new", "twice-a", "2", instead("twice < 2"))
	put("new", "twice-b", "2", instead("twice < 2"))
	put("newer", "twice-c", "3", instead("twice-b < 3"))
	put("newer", "twice-d", "3", instead("twice-b < 3"))
	put("new", "heir", "2", instead("single < 2"))
	put("new", "other", "1", nil)
	text := ""
	for _, id := range []string{"old", "new", "newer"} {
		tool(t, "createrepo_c", "-q", s.path(id))
		text += "[" + id + "]\nname=" + id + "\nbaseurl=file://" + s.path(id) + "\ngpgcheck=0\nmetadata_expire=0\nenabled=" + map[bool]string{true: "1", false: "0"}[id == "old"] + "\n"
	}
	write(t, s.path("x.repo"), text)
	write(t, s.path("dnf.conf"), "[main]\n")
	root := s.path("dnf")
	dnf := func(args ...string) {
		tool(t, "dnf", append([]string{"-q", "-y", "--installroot=" + root, "--releasever=1", "--setopt=reposdir=" + s.path(""), "--setopt=cachedir=" + s.path("cache"),
			"--config=" + s.path("dnf.conf"), "--noplugins"}, args...)...)
	}
	names := func(list []string) []string {
		list = slices.DeleteFunc(list, func(n string) bool { return n == "" })
		slices.Sort(list)
		return list
	}
	dnf("install", "base", "tool", "user", "twice", "single")
	want := func() []string {
		return names(strings.Split(tool(t, "rpm", "--root="+root, "-qa"), "\n"))
	}

	write(t, s.path("base.yaml"), "ref: split\nrepos:\n  - old\npackages:\n  - base\n")
	s.grove("compose", s.path("base.yaml"), "--repo", s.path("srv"))
	s.grove("remote", "add", "split", "file://"+s.path("srv"), "--no-gpg-verify")
	enable := func(ids ...string) {
		now := text
		for _, id := range ids {
			from := strings.Index(now, "["+id+"]")
			now = now[:from] + strings.Replace(now[from:], "enabled=0", "enabled=1", 1)
		}
		write(t, filepath.Join(s.root, "repos.d/x.repo"), now)
	}
	enable()
	s.grove("create", "g", "split:split", "--install", "tool", "--install", "user", "--install", "twice", "--install", "single")
	same := func(step string) {
		t.Helper()
		tree, done := s.tree("g")
		defer done()
		have := names(strings.Split(tool(t, "rpm", "--dbpath="+filepath.Join(tree, "usr/share/rpm"), "-qa"), "\n"))
		if d := cmp.Diff(want(), have); d != "" {
			t.Errorf("%s (- dnf, + grove): %s", step, d)
		}
	}
	same("install")
	for _, step := range [][]string{{"new"}, {"new", "newer"}} {
		enable(step...)
		var on []string
		for _, id := range step {
			on = append(on, "--enablerepo="+id)
		}
		dnf(append(on, "upgrade")...)
		s.grove("upgrade", "g", "--refresh")
		same(strings.Join(step, " and "))
	}
	// A change leaves them together; what they came for takes them along.
	dnf("--enablerepo=new", "install", "other")
	s.grove("install", "g", "other")
	same("install other")
	dnf("remove", "tool-cli", "tool-gui")
	s.grove("uninstall", "g", "tool")
	same("uninstall")
}
