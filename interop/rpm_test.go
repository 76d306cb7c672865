// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// rpmCommand is this machine's rpm with an empty home.
func rpmCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("rpm", args...)
	cmd.Env = append(environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	return cmd
}

// rpmOn runs this machine's rpm on a database; it must succeed.
func rpmOn(t testing.TB, dbpath string, args ...string) string {
	t.Helper()
	out, errs, code := hostRPM(t, dbpath, args...)
	if code != 0 {
		t.Fatalf("rpm %v: exit code %d\n%s%s", args, code, errs, out)
	}
	return out
}

func sortedLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// locked are the packages of a lock, by name.
func locked(t testing.TB, path string) []string {
	t.Helper()
	var lock struct{ Packages []struct{ NEVRA string } }
	if err := json.Unmarshal([]byte(read(t, path)), &lock); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range lock.Packages {
		out = append(out, p.NEVRA)
	}
	return out
}

// This machine's rpm reads, checks, rebuilds and changes the database of a guest.
func TestRpmReadsTheDatabase(t *testing.T) {
	need(t, "rpm")
	w := copse(t)
	s := newSite(t)
	s.grove("compose", w.BaseManifest, "--repo", s.path("srv"), "--write-lock", s.path("base.lock"))
	s.grove("remote", "add", "dist", "file://"+s.path("srv"), "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref)
	s.grove("install", "g", "hello", "greeter", "capsule", "tool-in-opt", "all-scripts", "trigger-user", "file-trigger-user")
	guest := filepath.Join(s.root, "guests/g/current")
	tree, done := s.tree("g")
	defer done()
	db := s.path("rpmdb") // a copy: rpm wants to lock it
	tool(t, "cp", "-a", filepath.Join(tree, "usr/share/rpm"), db)

	want := sortedLines(strings.Join(append(locked(t, s.path("base.lock")), locked(t, filepath.Join(guest, "lock.json"))...), "\n"))
	if got := sortedLines(rpmOn(t, db, "-qa")); got != want {
		t.Errorf("rpm -qa\n%s\nwant\n%s", got, want)
	}
	rpmOn(t, db, "--verifydb")
	if out := rpmOn(t, db, "-qf", "/usr/bin/hello"); out != "hello-1.0-1.noarch\n" {
		t.Errorf("rpm -qf: %q", out)
	}
	if out := rpmOn(t, db, "-q", "--whatrequires", "hello"); !strings.Contains(out, "greeter-1.0-1.noarch") {
		t.Errorf("rpm -q --whatrequires: %q", out)
	}
	if out := rpmOn(t, db, "-q", "--whatprovides", "/bin/sh"); out != "bash-1.0-1.x86_64\n" && out != "bash-1.0-1.aarch64\n" {
		t.Errorf("rpm -q --whatprovides: %q", out)
	}
	if out := rpmOn(t, db, "-q", "--triggeredby", "hello"); !strings.Contains(out, "trigger-user-1.0-1.noarch") {
		t.Errorf("rpm -q --triggeredby: %q", out)
	}

	// What rpm itself makes of the same headers holds the same answers.
	copied := s.path("db")
	tool(t, "cp", "-a", db, copied)
	rpmOn(t, copied, "--rebuilddb")
	rpmOn(t, copied, "--verifydb")
	for _, query := range [][]string{
		{"-qa", "--qf", "%{NEVRA} %{INSTALLTIME} %{INSTALLTID} %{SIGPGP:pgpsig} %{RSAHEADER:pgpsig} %{SHA256HEADER}\\n"},
		{"-qa", "--qf", "[%{NAME} %{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILESTATES:fstate}\\n]"},
		{"-qa", "--provides"}, {"-qa", "--requires"}, {"-qa", "--scripts"},
	} {
		if a, b := sortedLines(rpmOn(t, db, query...)), sortedLines(rpmOn(t, copied, query...)); a != b {
			t.Errorf("rpm %v: ours\n%.2000s\nrebuilt\n%.2000s", query, a, b)
		}
	}
	rpmOn(t, copied, "-e", "--justdb", "--noscripts", "--notriggers", "greeter")
	if _, _, code := hostRPM(t, copied, "-q", "greeter"); code == 0 {
		t.Errorf("rpm cannot take a package out of the database")
	}
	if _, _, code := hostRPM(t, copied, "-e", "--justdb", "--noscripts", "bash"); code == 0 {
		t.Errorf("rpm does not see that others need bash")
	}
}

// A base that dnf installed and ostree committed: layers go on rpm's own database.
func TestLayersOnARootOfDnf(t *testing.T) {
	need(t, "rpm", "dnf", "ostree")
	w := copse(t)
	s := newSite(t)
	root := s.path("dnf")
	dnfInto(t, root, w.Dir, "1")("--setopt=install_weak_deps=False", "install", "bash", "coreutils", "grep", "sed", "copse-release",
		"filesystem", "shadow-utils", "glibc-common", "rpm", "motd")
	tree := s.path("tree")
	tool(t, "cp", "-a", "--one-file-system", root, tree)
	for _, d := range []string{"dev", "proc", "sys", "run"} {
		tool(t, "rm", "-rf", filepath.Join(tree, d))
		if err := os.Mkdir(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "mv", filepath.Join(tree, "etc"), filepath.Join(tree, "usr/etc"))
	srv := s.path("srv")
	tool(t, "ostree", "--repo="+srv, "init", "--mode=archive")
	commit := strings.TrimSpace(tool(t, "ostree", "--repo="+srv, "commit", "-b", "other/base", "--tree=dir="+tree, "-s", "by dnf"))
	s.grove("remote", "add", "other", s.serveByGrove(srv), "--no-gpg-verify")
	s.grove("create", "g", "other:other/base")
	if got := s.current("g"); got != commit {
		t.Fatalf("the guest is at %s, ostree made %s", got, commit)
	}
	if out := s.grove("run", "g", "--", "bash", "-c", "read x < /etc/copse-release; echo $x"); out != "Copse Linux release 1.0\n" {
		t.Errorf("run said %q", out)
	}
	s.grove("install", "g", "hello", "greeter")
	if out := s.grove("run", "g", "--", "hello"); out != "Hello, world\n" {
		t.Errorf("hello said %q", out)
	}
	if out := s.grove("run", "g", "--", "rpm", "-q", "hello", "bash"); !strings.HasPrefix(out, "hello-1.0-1.noarch\nbash-1.0-1.") {
		t.Errorf("rpm -q said %q", out)
	}
	tree, done := s.tree("g")
	defer done()
	db := s.path("rpmdb") // a copy: rpm wants to lock it
	tool(t, "cp", "-a", filepath.Join(tree, "usr/share/rpm"), db)
	rpmOn(t, db, "--verifydb")
	ours, theirs := rpmOn(t, db, "-qa", "--qf", "%{NEVRA}\\n"), rpmOn(t, filepath.Join(root, "usr/lib/sysimage/rpm"), "-qa", "--qf", "%{NEVRA}\\n")
	have := map[string]bool{}
	for _, n := range strings.Fields(ours) {
		have[n] = true
	}
	for _, n := range strings.Fields(theirs) {
		if !have[n] && !strings.HasPrefix(n, "gpg-pubkey") {
			t.Errorf("the guest's database lost %s", n)
		}
	}
	s.fsck()
}
