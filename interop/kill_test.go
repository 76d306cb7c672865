// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// copyState copies a state root by hard links, as nothing in it is written in place; locks are not shared.
func copyState(t testing.TB, from, to string) {
	t.Helper()
	tool(t, "sh", "-c", `rm -rf "$2" && cp -al "$1" "$2" && find "$2" \( -name "*.lock" -o -name .running \) -delete`, "sh", from, to)
}

// guestsOf says what the guests of a state root are, without times.
func (s site) guestsOf() string {
	s.t.Helper()
	var list []status
	if err := json.Unmarshal([]byte(s.grove("list", "--json")), &list); err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, g := range list {
		fmt.Fprintf(&b, "%s on %s asks for %v\n", g.Name, g.Base.Commit, g.Requested)
		for _, d := range g.Deployments {
			fmt.Fprintf(&b, "  %s current %v %v\n", d.Commit, d.Current, d.Layered)
		}
	}
	return b.String()
}

var leftoverName = regexp.MustCompile(`^(\.grove-(tmp|trash)-|\.stage-|staging-|compose-|work-\d|tmp-)`)

// clean demands that nothing of a killed run lies about, and that none of its mounts stayed.
func (s site) clean(dirs ...string) {
	s.t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && leftoverName.MatchString(d.Name()) && !strings.Contains(path, "/root/") {
				s.t.Errorf("left over: %s", path)
			}
			if d != nil && d.IsDir() && (d.Name() == "root" || d.Name() == "objects") {
				return fs.SkipDir
			}
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	for _, line := range strings.Split(read(s.t, "/proc/self/mounts"), "\n") {
		if strings.Contains(line, s.dir) {
			s.t.Errorf("still mounted: %s", line)
		}
	}
}

// killing is a verb to be killed in, and the state that it starts from.
type killing struct {
	name    string
	args    []string
	between bool // it does several things, each whole by itself
}

// TestKilledAnywhere kills the program at random moments, in Go, in C, in its helpers' waits, between any two system
// calls: not only before the steps that count as durable. Where it was killed shows in the name of what fails.
func TestKilledAnywhere(t *testing.T) {
	need(t, "ostree")
	w := copse(t)
	seed := newSite(t)
	srv := seed.serverOf(w.base)
	seed.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	seed.grove("create", "g", "dist:"+w.Ref)
	seed.grove("install", "g", "hello")
	seed.grove("install", "g", "tool-in-opt")
	w.update(seed, srv)
	random := rand.New(rand.NewSource(seedOf(t)))
	for _, k := range []killing{
		{name: "create", args: []string{"create", "h", "dist:" + w.Ref, "--install", "greeter"}},
		{name: "install", args: []string{"install", "g", "greeter", "all-scripts"}},
		{name: "upgrade", args: []string{"upgrade", "g"}},
		{name: "upgrade --stage", args: []string{"upgrade", "g", "--stage"}},
		{name: "override", args: []string{"override", "remove", "g", "motd"}},
		{name: "rollback", args: []string{"rollback", "g"}},
		{name: "uninstall", args: []string{"uninstall", "g", "hello"}},
		{name: "delete", args: []string{"delete", "g", "--yes"}},
		{name: "gc", args: []string{"gc", "--keep", "0"}, between: true},
	} {
		t.Run(k.name, func(t *testing.T) {
			s := newSite(t)
			copyState(t, seed.root, s.root)
			before := s.guestsOf()
			began := time.Now()
			s.grove(k.args...)
			whole := time.Since(began)
			after := s.guestsOf()
			for range killsOf(t) {
				copyState(t, seed.root, s.root)
				at := time.Duration(random.Int63n(int64(whole)))
				killAfter(t, s, at, k.args)
				k.judge(s, before, after, at)
				if t.Failed() {
					t.Fatalf("killed after %v of %v", at, whole)
				}
			}
			s.fsck()
		})
	}
}

// seedOf chooses the moments: GROVE_TEST_SEED, else always the same.
func seedOf(t testing.TB) int64 {
	n, err := strconv.ParseInt(os.Getenv("GROVE_TEST_SEED"), 10, 64)
	if err != nil {
		n = 1
	}
	t.Logf("GROVE_TEST_SEED=%d", n)
	return n
}

// killsOf is how often each verb is killed: GROVE_TEST_KILLS, else a few times.
func killsOf(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("GROVE_TEST_KILLS"))
	if err != nil || n < 1 {
		return 4
	}
	t.Logf("GROVE_TEST_KILLS=%d", n)
	return n
}

// killAfter starts the program and kills it, and nothing else, after a while.
func killAfter(t testing.TB, s site, at time.Duration, args []string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(at)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// judge demands the old or the new state, a whole store, that the verb can be done again, and that nothing is left.
func (k killing) judge(s site, before, after string, at time.Duration) {
	s.t.Helper()
	got := s.guestsOf()
	if got != before && got != after && !k.between {
		s.t.Errorf("after %v neither old nor new:\n%s\nold:\n%s\nnew:\n%s", at, got, before, after)
	}
	s.grove("fsck")
	if strings.Contains(got, "g on") {
		if out := s.grove("run", "g", "--", "/bin/bash", "-c", "echo runs"); out != "runs\n" {
			s.t.Errorf("the guest says %q", out)
		}
	}
	if got == before {
		s.grove(k.args...)
		if got := s.guestsOf(); got != after {
			s.t.Errorf("done again:\n%s\nwant\n%s", got, after)
		}
	}
	s.sweep()
	s.clean(s.root)
	s.grove("fsck")
}

// sweep is a gc some hours later: what lies half-written in the cache may be somebody's work until then.
func (s site) sweep() {
	s.t.Helper()
	tool(s.t, "find", filepath.Join(s.root, "cache"), "-type", "f", "-exec", "touch", "-d", "3 hours ago", "{}", "+")
	s.grove("gc")
}

// TestComposeKilled kills a compose at steps spread over all it takes, and at random moments. The served repository
// then has the old commit or the new one, is whole, and the next compose makes what an undisturbed one makes.
func TestComposeKilled(t *testing.T) {
	need(t, "ostree")
	w := copse(t)
	seed := newSite(t)
	srv := seed.path("srv")
	seed.grove("compose", w.BaseManifest, "--repo", srv)
	args := func(s site) []string { return []string{"compose", w.UpdatesManifest, "--repo", s.path("srv")} }
	fresh := func(s site) site {
		copyState(s.t, seed.root, s.root)
		tool(s.t, "rm", "-rf", s.path("srv"))
		tool(s.t, "cp", "-a", srv, s.path("srv"))
		return s
	}
	head := func(s site) string {
		return strings.TrimSpace(tool(s.t, "ostree", "--repo="+s.path("srv"), "rev-parse", w.Ref))
	}
	old := head(seed)
	s := fresh(newSite(t))
	began := time.Now()
	s.with(t, "GROVE_TEST_STEPS="+s.path("steps")).grove(args(s)...)
	whole := time.Since(began)
	steps, err := strconv.Atoi(read(t, s.path("steps")))
	if err != nil || steps < 20 {
		t.Fatalf("%d durable steps: %v", steps, err)
	}
	want := head(s)
	check := func(what string) {
		t.Helper()
		tool(t, "ostree", "--repo="+s.path("srv"), "fsck", "-q")
		if got := head(s); got != old && got != want {
			t.Errorf("%s: the ref is at %s, neither %s nor %s", what, got, old, want)
		}
		s.grove("fsck")
		s.grove(args(s)...)
		if got := head(s); got != want {
			t.Errorf("%s: composed again %s, want %s", what, got, want)
		}
		s.sweep()
		s.clean(s.root, s.path("srv"))
	}
	for i := range 6 {
		n := 1 + i*(steps-1)/5
		s = fresh(s)
		if _, errs, code := s.with(t, fmt.Sprintf("GROVE_TEST_KILL_AT=%d", n)).try(args(s)...); code != 128 && n < steps-steps/10-2 {
			t.Errorf("step %d of %d: not killed but %d: %s", n, steps, code, errs)
		}
		check(fmt.Sprintf("step %d of %d", n, steps))
	}
	random := rand.New(rand.NewSource(seedOf(t)))
	for range 4 {
		s = fresh(s)
		at := time.Duration(random.Int63n(int64(whole)))
		killAfter(t, s, at, args(s))
		check(fmt.Sprintf("after %v of %v", at, whole))
	}
}

// TestFirstComposeKilled: a repository that did not exist is absent, or one that the next compose goes on with.
func TestFirstComposeKilled(t *testing.T) {
	need(t, "ostree")
	w := copse(t)
	s := newSite(t)
	for i := range 6 {
		srv := s.path("srv")
		tool(t, "rm", "-rf", srv, s.root)
		killAfter(t, s, time.Duration(i)*150*time.Millisecond, []string{"compose", w.BaseManifest, "--repo", srv})
		if _, err := os.Stat(filepath.Join(srv, "config")); err == nil {
			tool(t, "ostree", "--repo="+srv, "fsck", "-q")
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		s.grove("compose", w.BaseManifest, "--repo", srv)
		if got := strings.TrimSpace(tool(t, "ostree", "--repo="+srv, "rev-parse", w.Ref)); got != w.baseCommit {
			t.Errorf("composed %s after a kill, want %s", got, w.baseCommit)
		}
		s.fsck()
		s.sweep()
		s.clean(s.root, srv)
	}
}
