// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/fixture"
)

// talker is a package with every kind of scriptlet and trigger; each notes that it ran, its arguments and files in
// /usr/lib/order.
func talker(name, version string) fixture.Spec {
	s := fixture.Spec{Name: name, Version: version, Files: []fixture.File{
		{Path: "/usr/share/" + name, Dir: true, Mode: 0o755},
		{Path: "/usr/share/" + name + "/file", Mode: 0o644, Content: []byte(version)},
		{Path: "/usr/share/" + name + "/only-" + version, Mode: 0o644},
	}}
	who := name + "-" + version
	note := func(what string) string {
		return `posix.mkdir("/usr") posix.mkdir("/usr/lib") local f = io.open("/usr/lib/order", "a") f:write("` + who + " " + what + `", " ", tostring(arg[2]), " ", tostring(arg[3]))
			for _, p in ipairs({"` + "/usr/share/" + name + `/only-1", "/usr/share/` + name + `/only-2"}) do if posix.stat(p) then f:write(" has", p:sub(-1)) end end
			if rpm.next_file then for p in rpm.next_file do f:write(" ", p) end end f:write("\n") f:close()`
	}
	for _, k := range []string{"pretrans", "pre", "post", "preun", "postun", "posttrans"} {
		s.Scripts = append(s.Scripts, fixture.Script{Kind: k, Prog: "<lua>", Body: note(k)})
	}
	trigger := func(kind, what string, priority int, on ...string) {
		s.Triggers = append(s.Triggers, fixture.Trigger{Kind: kind, On: on, Prog: "<lua>", Priority: priority, Body: note(kind + " " + what)})
	}
	for _, k := range []string{"triggerprein", "triggerin", "triggerun", "triggerpostun"} {
		for _, on := range []string{"aa", "bb", "cc", "dd"} {
			trigger(k, on, 0, on)
		}
	}
	for _, k := range []string{"filetriggerin", "filetriggerun", "filetriggerpostun"} {
		trigger(k, "all", 0, "/usr/share/")
		trigger(k, "low", 500, "/usr/share/aa", "/usr/share/cc", "/usr/share/dd")
	}
	for _, k := range []string{"transfiletriggerin", "transfiletriggerun", "transfiletriggerpostun"} {
		trigger(k, "all", 0, "/usr/share/")
		trigger(k, "low", 100, "/usr/share/cc/", "/usr/share/aa/")
	}
	return s
}

// TestScriptletOrder has rpm and grove run the scriptlets and triggers of an installation, and of one transaction that
// replaces a package, removes one and adds one. The files of new packages are there earlier with grove, so only what
// packages see while they are removed is compared.
func TestScriptletOrder(t *testing.T) {
	need(t, "rpm", "createrepo_c")
	s := newSite(t)
	file := map[string]string{}
	put := func(dir string, p fixture.Spec, requires string) {
		p.Requires = append(p.Requires, strings.Fields(requires)...)
		data, err := fixture.RPM(p)
		if err != nil {
			t.Fatal(err)
		}
		name := s.path(dir, p.Name+"-"+p.Version+"-1.noarch.rpm")
		write(t, name, string(data))
		file[p.Name+p.Version] = name
	}
	put("old", talker("base", "1"), "")
	put("old", talker("aa", "1"), "base")
	put("old", talker("bb", "1"), "aa")
	put("old", talker("cc", "1"), "bb")
	put("new", talker("aa", "2"), "base")
	dd := talker("dd", "1")
	dd.Obsoletes = []string{"cc"}
	put("new", dd, "aa")

	root := s.path("rpm")
	log := filepath.Join(root, "usr/lib/order")
	write(t, log, "")
	tool(t, "rpm", "--root="+root, "--nosignature", "-i", file["base1"], file["aa1"], file["bb1"], file["cc1"])
	tool(t, "rpm", "--root="+root, "--nosignature", "-U", file["aa2"], file["dd1"])

	text := ""
	for _, id := range []string{"old", "new"} {
		tool(t, "createrepo_c", "-q", s.path(id))
		text += "[" + id + "]\nname=" + id + "\nbaseurl=file://" + s.path(id) + "\ngpgcheck=0\n"
	}
	write(t, s.path("talk.repo"), text)
	write(t, s.path("base.yaml"), "ref: talk\nrepos:\n  - old\npackages:\n  - cc\n")
	s.grove("compose", s.path("base.yaml"), "--repo", s.path("srv"))
	s.grove("remote", "add", "talk", "file://"+s.path("srv"), "--no-gpg-verify")
	s.grove("create", "g", "talk:talk")
	write(t, filepath.Join(s.root, "repos.d/talk.repo"), read(t, s.path("talk.repo")))
	write(t, s.path("guest.yaml"), "base: talk:talk\npackages: [dd]\noverrides: {remove: [cc], replace: [{nevra: aa-2-1.noarch}]}\n")
	s.grove("apply", "g", s.path("guest.yaml"))
	tree, done := s.tree("g")
	defer done()
	got := seen(read(t, filepath.Join(tree, "usr/lib/order")))
	want := seen(read(t, log))
	if got != want {
		t.Errorf("grove\n%s\nrpm\n%s", got, want)
	}
}

// seen leaves out which files of packages that come are there already.
func seen(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i, l := range lines {
		if !strings.Contains(l, "un ") || strings.Contains(l, "transfile") {
			lines[i] = strings.NewReplacer(" has1", "", " has2", "").Replace(l)
		}
	}
	return strings.Join(lines, "\n")
}
