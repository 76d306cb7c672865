// SPDX-License-Identifier: Apache-2.0

// Package interop_test holds the built program against the real tools of the field, in both directions: ostree,
// rpm, dnf, createrepo_c. It also breaks it: kills at every kind of step, and looks for writes outside its folders.
//
// Everything here needs root and the peers. At a desk what is missing skips its test; with GROVE_CI=1 it fails it.
// Larger worlds are used where they lie ready (GROVE_SHARED, GROVE_MEADOW) and never made here.
package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/fixture"
)

// program is the built grove; "" where the tests do not run as root.
var program string

// scratch is removed after all tests.
var scratch string

func TestMain(m *testing.M) { os.Exit(all(m)) }

func all(m *testing.M) int {
	if os.Getuid() != 0 {
		return m.Run()
	}
	workInMemory()
	dir, err := os.MkdirTemp("", "grove-interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch, program = dir, filepath.Join(dir, "grove")
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Looking at the folders tells go's cache of test results that these tests depend on all of the program.
	for _, src := range []string{"../cmd", "../internal"} {
		_ = filepath.WalkDir(src, func(string, fs.DirEntry, error) error { return nil })
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "grove/cmd/grove")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build grove: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := finishTable(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// workInMemory puts temporary folders into /dev/shm where it has room for all of it and nobody chose another place: each
// change ends with a sync of the file system, which on a disk in use takes most of the time.
func workInMemory() {
	const dir, wantBytes = "/dev/shm", 8 << 30
	var st unix.Statfs_t
	if os.Getenv("TMPDIR") == "" && unix.Statfs(dir, &st) == nil && st.Bavail*uint64(st.Bsize) >= wantBytes {
		os.Setenv("TMPDIR", dir)
	}
}

// need skips a test whose wants are not met, or fails it where the tests have to be complete (GROVE_CI=1).
// A want is root, or a program.
func need(t testing.TB, wants ...string) {
	t.Helper()
	for _, what := range append([]string{"root"}, wants...) {
		missing := false
		if what == "root" {
			missing = os.Getuid() != 0
		} else if _, err := exec.LookPath(what); err != nil {
			missing = true
		}
		switch {
		case missing && os.Getenv("GROVE_CI") == "1":
			t.Fatalf("needs %s, which this machine must have where GROVE_CI=1", what)
		case missing:
			t.Skipf("needs %s", what)
		}
	}
}

// lacking skips a test for want of something, or fails it where the tests have to be complete.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// sharedFolder is a folder of the material that lies beside the project; a test that wants it skips without it.
func sharedFolder(t testing.TB, sub string) string {
	t.Helper()
	dir := os.Getenv("GROVE_SHARED")
	if dir == "" {
		dir = "../../shared" // beside the repository's root
	}
	dir, err := filepath.Abs(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs %s of GROVE_SHARED", sub)
	}
	return dir
}

// meadow is a world of the given size that lies ready; without one the test skips.
func meadow(t testing.TB, size string) string {
	t.Helper()
	tmp := os.Getenv("TMPDIR")
	var places []string
	if env := os.Getenv("GROVE_MEADOW"); env != "" {
		places = append(places, env, env+"-"+size, filepath.Join(env, "meadow-"+size))
	}
	for _, d := range []string{tmp, "/tmp"} {
		if d != "" {
			places = append(places, filepath.Join(d, "grove-acceptance", "meadow-"+size))
		}
	}
	for _, p := range places {
		_, err := os.Stat(filepath.Join(p, "ready"))
		if err == nil && strings.HasSuffix(filepath.Base(p), size) {
			return p
		}
	}
	t.Skipf("needs a Meadow world of size %s at GROVE_MEADOW", size)
	return ""
}

// site is one machine, as far as grove is concerned: a state root and an environment.
type site struct {
	t    testing.TB
	dir  string // all of the test's own
	root string
	env  []string // beside the test's own
	// prefix is put before the program: taskset, strace.
	prefix []string
}

// newSite is a machine where grove was never used.
func newSite(t testing.TB) site {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return site{t: t, dir: dir, root: filepath.Join(dir, "state")}
}

// with is the same machine for another test or with other variables.
func (s site) with(t testing.TB, env ...string) site {
	s.t = t
	s.env = append(append([]string(nil), s.env...), env...)
	return s
}

func (s site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// tree mounts a guest's tree, of whatever kind its deployment is, with its /etc and /var, until done is called.
func (s site) tree(guest string) (dir string, done func()) {
	s.t.Helper()
	dir = s.path("tree-of-" + guest)
	s.grove("mount", guest, dir)
	return dir, func() { s.grove("umount", dir) }
}

// try runs the program and tells how it ended; 128 and more is a signal.
func (s site) try(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	words := append(append(append([]string(nil), s.prefix...), program), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
	cmd.Env = append(cmd.Env, s.env...)
	return capture(s.t, cmd)
}

func capture(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	if took := time.Since(began); took > time.Second {
		t.Logf("%.1f s: %.160s", took.Seconds(), strings.Join(cmd.Args, " "))
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
		if code < 0 {
			code = 128
		}
	case err != nil:
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return out.String(), errs.String(), code
}

// environ is the test's environment without what would turn the program's head.
func environ() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GROVE_") {
			out = append(out, e)
		}
	}
	return out
}

// grove runs the program, which must succeed.
func (s site) grove(args ...string) string {
	s.t.Helper()
	out, errs, code := s.try(args...)
	if code != 0 {
		s.t.Fatalf("grove %s: exit code %d\n%s%s", strings.Join(args, " "), code, errs, out)
	}
	return out
}

// fails runs the program, which must end with code and say why.
func (s site) fails(code int, args ...string) string {
	s.t.Helper()
	out, errs, got := s.try(args...)
	if got != code || !strings.Contains(errs, "grove: ") {
		s.t.Fatalf("grove %s: exit code %d, want %d and a reason\n%s%s", strings.Join(args, " "), got, code, errs, out)
	}
	return errs
}

// status is what `grove status --json` says of a guest, as far as the tests look.
type status struct {
	Name string
	Base struct {
		Ref, Commit, Version string
	}
	Requested   []string
	Deployments []struct {
		ID       int
		Commit   string
		Current  bool
		Packages int
		Layered  []string
	}
}

func (s site) status(name string) status {
	s.t.Helper()
	var st status
	if err := json.Unmarshal([]byte(s.grove("status", name, "--json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// current is the commit of a guest's current deployment.
func (s site) current(name string) string {
	s.t.Helper()
	for _, d := range s.status(name).Deployments {
		if d.Current {
			return d.Commit
		}
	}
	s.t.Fatalf("guest %s: no current deployment", name)
	return ""
}

// fsck demands that ostree and grove find the state root whole.
func (s site) fsck() {
	s.t.Helper()
	s.grove("fsck")
	tool(s.t, "ostree", "--repo="+filepath.Join(s.root, "repo"), "fsck", "-q")
}

// tool runs a peer, which must succeed, and gives what it printed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, errs, code := capture(t, exec.Command(name, args...))
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), code, errs, out)
	}
	return out
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// world is Copse Linux and what was composed of it, made once and only read by the tests.
type world struct {
	fixture.World
	base, updated string // archive repositories: the base; base and updates
	baseCommit    string
	updatesCommit string
	err           error
}

var (
	shared     world
	sharedOnce sync.Once
)

// copse gives the shared world. Its packages lie in a folder, its repositories were composed by the program.
func copse(t testing.TB) world {
	t.Helper()
	need(t)
	sharedOnce.Do(func() { makeShared(t) })
	if shared.err != nil || shared.updatesCommit == "" {
		t.Fatalf("the shared world could not be made: %v", shared.err)
	}
	return shared
}

func makeShared(t testing.TB) {
	t.Helper()
	if shared.World, shared.err = fixture.Make(filepath.Join(scratch, "copse"), fixture.Options{}); shared.err != nil {
		return
	}
	s := site{t: t, dir: scratch, root: filepath.Join(scratch, "composer")}
	shared.base, shared.updated = filepath.Join(scratch, "base"), filepath.Join(scratch, "updated")
	s.grove("compose", shared.BaseManifest, "--repo", shared.base)
	tool(t, "cp", "-a", shared.base, shared.updated)
	s.grove("compose", shared.UpdatesManifest, "--repo", shared.updated)
	shared.baseCommit = strings.TrimSpace(s.grove("repo", "rev-parse", "--repo", shared.base, shared.Ref))
	shared.updatesCommit = strings.TrimSpace(s.grove("repo", "rev-parse", "--repo", shared.updated, shared.Ref))
}

// serverOf is a copy of a repository that the test may change.
func (s site) serverOf(repo string) string {
	s.t.Helper()
	dir := s.path("srv")
	tool(s.t, "cp", "-a", repo, dir)
	return dir
}

// update brings the updated base of Copse into a server's repository.
func (w world) update(s site, srv string) {
	s.t.Helper()
	s.grove("repo", "--repo", srv, "pull-local", w.updated)
	s.grove("repo", "--repo", srv, "summary", "-u")
}
