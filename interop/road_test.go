// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// road is one distribution's way from packages to a guest that is upgraded and rolled back.
type road struct {
	name     string
	manifest string   // of the base
	next     string   // of the base that the guest is upgraded to
	ref      string   // of both
	flags    []string // of every verb that takes packages: --repo-file ...
	install  []string // layered by name
	local    string   // layered from a file; "" = none
	drop     string   // the requested package that is uninstalled again
	probe    []string // a command that runs what was layered; its output has says
	says     string
	large    bool
	config   string // a file of /etc that every deployment has and no package of the way changes
}

func TestRoad(t *testing.T) {
	need(t, "ostree", "python3")
	t.Run("copse", func(t *testing.T) {
		w := copse(t)
		walk(t, road{
			manifest: w.BaseManifest, next: w.UpdatesManifest, ref: w.Ref,
			install: []string{"hello", "greeter"}, local: filepath.Join(w.Local, "pebble-1.0-1.noarch.rpm"),
			drop: "greeter", probe: []string{"hello"}, says: "Hello, world", config: "/etc/shells",
		})
	})
	t.Run("el7", func(t *testing.T) { walk(t, el7Road(t)) })
	for _, size := range []string{"small", "medium"} {
		t.Run("meadow-"+size, func(t *testing.T) { walk(t, meadowRoad(t, size)) })
	}
}

// walk goes the whole road, and looks at every stop whether libostree and rpm agree.
func walk(t *testing.T, r road) {
	s := newSite(t)
	srv := s.path("srv")
	s.grove("compose", r.manifest, "--repo", srv, "--write-lock", s.path("lock.json"))
	tool(t, "ostree", "--repo="+srv, "fsck", "-q")
	if refs := tool(t, "ostree", "--repo="+srv, "refs"); refs != r.ref+"\n" {
		t.Fatalf("refs of the served repository: %q", refs)
	}

	// Two servers of the same folder, two machines. The first has most objects from composing, the second has none.
	ours, plainWeb := s.serveByGrove(srv), s.serveByPython(srv)
	if r.large {
		ours, plainWeb = plainWeb, ours // python needs a millisecond and a connection for each object
	}
	s.grove("remote", "add", "dist", ours, "--no-gpg-verify")
	s.grove("create", "one", "dist:"+r.ref)
	plain := site{t: t, dir: s.path("plain"), root: s.path("plain", "state")}
	if err := os.Mkdir(plain.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plain.grove("remote", "add", "dist", plainWeb, "--no-gpg-verify")
	plain.grove("create", "two", "dist:"+r.ref)
	if a, b := s.current("one"), plain.current("two"); a != b {
		t.Fatalf("the same base is %s from grove serve, %s from a web server", a, b)
	}
	plain.fsck()

	if out := s.grove("run", "one", "--", "/bin/bash", "-c", "echo $((6*7)); read line < /etc/os-release; echo $line"); !strings.HasPrefix(out, "42\nNAME=") {
		t.Fatalf("run said %q", out)
	}
	install := append(append([]string{"install", "one"}, r.install...), r.flags...)
	if r.local != "" {
		install = append(install, r.local)
	}
	s.grove(install...)
	probe := func() string { t.Helper(); return s.grove(append([]string{"run", "one", "--"}, r.probe...)...) }
	if out := probe(); !strings.Contains(out, r.says) {
		t.Fatalf("%v says %q, want %q in it", r.probe, out, r.says)
	}
	rpmAgrees(s)

	// What a person and the guest's programs write: /etc of the deployment, /var of the guest.
	current := filepath.Join(s.root, "guests/one/current")
	kept := read(t, filepath.Join(current, "root", r.config)) + "# changed by hand\n"
	write(t, filepath.Join(current, "root", r.config), kept)
	write(t, filepath.Join(current, "root/etc/mine.conf"), "mine\n")
	s.grove("run", "one", "--", "/bin/bash", "-c", "echo data > /var/lib/data-of-guest")
	write(t, filepath.Join(s.root, "guests/one/var/lib/other-data"), "other\n")

	before := s.current("one")
	s.grove("compose", r.next, "--repo", srv)
	tool(t, "ostree", "--repo="+srv, "fsck", "-q")
	s.grove(append([]string{"upgrade", "one"}, withoutRepoFile(r.flags)...)...)
	after := s.current("one")
	if before == after {
		t.Fatalf("the upgrade changed nothing")
	}
	probe()
	rpmAgrees(s)
	keeps := func(what string) {
		t.Helper()
		for path, want := range map[string]string{
			filepath.Join(current, "root", r.config):               kept,
			filepath.Join(current, "root/etc/mine.conf"):           "mine\n",
			filepath.Join(s.root, "guests/one/var/lib/other-data"): "other\n",
		} {
			if got := read(t, path); got != want {
				t.Fatalf("after %s %s holds %q, want %q", what, path, got, want)
			}
		}
		if out := s.grove("run", "one", "--", "/bin/bash", "-c", "read x < /var/lib/data-of-guest; echo $x"); out != "data\n" {
			t.Fatalf("after %s the guest reads %q in its /var", what, out)
		}
	}
	keeps("upgrade")
	s.grove("rollback", "one")
	if got := s.current("one"); got != before {
		t.Fatalf("rolled back to %s, want %s", got, before)
	}
	keeps("rollback")
	probe()

	s.grove("uninstall", "one", r.drop)
	for _, name := range s.status("one").Requested {
		if name == r.drop {
			t.Fatalf("%s is still requested", r.drop)
		}
	}
	keeps("uninstall")
	rpmAgrees(s)
	s.fsck()
	s.grove("gc")
	s.fsck()
	keeps("gc")
	s.grove("delete", "one", "--yes")
	s.grove("gc")
	s.fsck()
	if left := glob(t, filepath.Join(s.root, "guests/*")); len(left) > 0 {
		t.Fatalf("the deleted guest left %v", left)
	}
}

// withoutRepoFile: the guest has had its .repo file since the first time.
func withoutRepoFile(flags []string) []string {
	var out []string
	for i := 0; i < len(flags); i++ {
		if flags[i] == "--repo-file" {
			i++
			continue
		}
		out = append(out, flags[i])
	}
	return out
}

// rpmAgrees demands that rpm, the guest's own where it has one and else the host's, knows what grove says is
// installed, and finds the files as the packages say.
func rpmAgrees(s site) {
	s.t.Helper()
	query := func(args ...string) (string, string, int) {
		return s.try(append([]string{"run", "one", "--", "rpm"}, args...)...)
	}
	root, done := s.tree("one")
	defer done()
	if _, err := os.Stat(filepath.Join(root, "usr/bin/rpm")); err != nil {
		query = func(args ...string) (string, string, int) {
			return hostRPM(s.t, "/usr/share/rpm", append([]string{"--root", root}, args...)...)
		}
	}
	out, errs, code := query("-qa")
	if code != 0 {
		s.t.Fatalf("rpm -qa: exit code %d\n%s", code, errs)
	}
	want := -1
	for _, d := range s.status("one").Deployments {
		if d.Current {
			want = d.Packages
		}
	}
	if got := len(strings.Fields(withoutKeys(out))); got != want {
		s.t.Fatalf("rpm knows %d packages, grove says %d:\n%s", got, want, out)
	}
	var listed []string // what the commit itself says, as rpm-ostree reads it
	list := tool(s.t, "ostree", "show", "--repo="+filepath.Join(s.root, "repo"), "--print-metadata-key=rpmostree.rpmdb.pkglist", s.current("one"))
	for _, m := range regexp.MustCompile(`\('([^']*)', '\d+', '([^']*)', '([^']*)', '([^']*)'\)`).FindAllStringSubmatch(list, -1) {
		listed = append(listed, m[1]+"-"+m[2]+"-"+m[3]+"."+m[4])
	}
	if got, want := sortedLines(strings.Join(listed, "\n")), sortedLines(withoutKeys(out)); got != want {
		s.t.Fatalf("the commit lists\n%s\nrpm\n%s", got, want)
	}
	for _, name := range s.status("one").Requested {
		if name = requestedName(name); name == "" {
			continue
		}
		if out, errs, code := query("-q", name); code != 0 {
			s.t.Fatalf("rpm -q %s: %s%s", name, out, errs)
		}
		out, errs, _ := query("-V", "--nodeps", name)
		for _, line := range strings.Split(strings.TrimSpace(out+errs), "\n") {
			// A commit has no times; configuration and ghosts may differ.
			if line != "" && !regexp.MustCompile(`^(\.{7}T\. |[.?SM5DLUGTP]{9}  [cg] )`).MatchString(line) {
				s.t.Errorf("rpm -V %s: %s", name, line)
			}
		}
	}
}

// requestedName takes the name from a request, "" where it has none (a path, a provide).
func requestedName(spec string) string {
	if strings.ContainsAny(spec, "/() ") {
		return ""
	}
	if m := regexp.MustCompile(`^(.*)-[^-]+-[^-]+\.(x86_64|aarch64|noarch)$`).FindStringSubmatch(spec); m != nil {
		return m[1]
	}
	return spec
}

func withoutKeys(list string) string {
	return regexp.MustCompile(`(?m)^gpg-pubkey.*\n`).ReplaceAllString(list, "")
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// el7World makes an rpm-md source of the real CentOS 7.9 packages and gives its folder, with el7.repo and keys.
func el7World(t *testing.T) string {
	need(t, "createrepo_c", "rpm")
	from := sharedFolder(t, "data/rpms/el7-closure")
	dir := t.TempDir()
	for _, d := range []struct{ name, pattern string }{{"signed", "*.rpm"}, {"stubs", "stubs/*.rpm"}} {
		if err := os.Mkdir(filepath.Join(dir, d.name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range glob(t, filepath.Join(from, d.pattern)) {
			tool(t, "ln", "-s", f, filepath.Join(dir, d.name, filepath.Base(f)))
		}
		tool(t, "createrepo_c", "-q", filepath.Join(dir, d.name))
	}
	tool(t, "cp", filepath.Join(from, "RPM-GPG-KEY-CentOS-7"), dir)
	write(t, filepath.Join(dir, "el7.repo"), "[el7]\nname=CentOS 7\nbaseurl=file://"+dir+"/signed\ngpgcheck=1\ngpgkey=file://"+dir+"/RPM-GPG-KEY-CentOS-7\n"+
		"[el7-stubs]\nname=stand-ins\nbaseurl=file://"+dir+"/stubs\ngpgcheck=0\n")
	return dir
}

// el7Manifest is a base of the packages. Its own .repo files name servers that are gone.
func el7Manifest(t *testing.T, dir, name string, packages ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, "ref: centos/7/x86_64/minimal\nreleasever: \"7\"\nrepos: [el7, el7-stubs]\nselinux: false\ncontainer: true\npackages: ["+
		strings.Join(packages, ", ")+"]\nremove-from-packages:\n  - [centos-release, /etc/yum.repos.d/.*]\n")
	return path
}

func el7Road(t *testing.T) road {
	dir := el7World(t)
	return road{
		manifest: el7Manifest(t, dir, "el7.yaml", "bash", "filesystem", "centos-release"),
		next:     el7Manifest(t, dir, "el7-next.yaml", "bash", "filesystem", "centos-release", "zlib"),
		ref:      "centos/7/x86_64/minimal", flags: []string{"--repo-file", filepath.Join(dir, "el7.repo")},
		install: []string{"grep", "/bin/sed"}, local: filepath.Join(dir, "signed", "popt-1.13-16.el7.x86_64.rpm"),
		drop: "popt-1.13-16.el7.x86_64", probe: []string{"grep", "-c", "root:x", "/etc/passwd"}, says: "1", config: "/etc/shells",
	}
}

func meadowRoad(t *testing.T, size string) road {
	world := meadow(t, size)
	dir := t.TempDir()
	for _, f := range glob(t, filepath.Join(world, "treefiles/*")) {
		tool(t, "cp", f, dir)
	}
	base := read(t, filepath.Join(dir, "meadow-base.yaml"))
	ref := regexp.MustCompile(`(?m)^ref: *"?([^"\n]*)`).FindStringSubmatch(base)[1]
	next := strings.Replace(base, "  - meadow-base\n", "  - meadow-base\n  - meadow-updates\n", 1)
	if next == base {
		t.Fatalf("the manifest of %s is not as expected", world)
	}
	write(t, filepath.Join(dir, "meadow-next.yaml"), next)
	r := road{
		manifest: filepath.Join(dir, "meadow-base.yaml"), next: filepath.Join(dir, "meadow-next.yaml"), ref: ref,
		install: []string{"postfix"}, drop: "postfix", probe: []string{"postconf", "-d", "mail_version"}, says: "mail_version = 3",
		config: "/etc/networks", flags: []string{"--repo-file", filepath.Join(dir, "meadow.repo")}, large: size != "small",
	}
	if size == "small" {
		// This one has no applications but those that came with its updates.
		r.install, r.drop, r.probe, r.says = []string{"jq", "tree"}, "tree", []string{"jq", "-n", "6*7"}, "42"
	}
	return r
}

// hostRPM runs this machine's rpm on a database, without its own configuration.
func hostRPM(t testing.TB, dbpath string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	need(t, "rpm")
	return capture(t, rpmCommand(t, append([]string{"--dbpath", dbpath, "--define", "_db_backend sqlite"}, args...)...))
}
