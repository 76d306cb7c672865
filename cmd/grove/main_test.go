// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"grove/internal/deploy"
	"grove/internal/fixture"
	"grove/internal/sandbox"
)

// tests cleans up after all tests of the package.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	return code
}

func TestMain(m *testing.M) {
	sandbox.Child(builtins())
	workInMemory()
	testscript.Main(tests{m}, map[string]func(){"grove": main})
}

// workInMemory puts temporary folders into /dev/shm where it has room for all tests and nobody chose another place:
// every change of a guest ends with a sync of the file system, which on a disk in use takes most of the time.
func workInMemory() {
	const dir, wantBytes = "/dev/shm", 6 << 30
	var st unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(dir, &st) != nil || st.Bavail*uint64(st.Bsize) < wantBytes || unix.Access(dir, unix.W_OK) != nil {
		return
	}
	os.Setenv("TMPDIR", dir)
}

// world is Copse Linux and what was composed of it, made once for all tests and only read by them.
type world struct {
	fixture.World
	dir          string
	base, update string // archive repositories: the base alone; the base and its update
}

var (
	shared     world
	sharedErr  error
	sharedOnce sync.Once
)

// copse gives the shared world. What root composes is missing from it where the tests do not run as root.
func copse(t testing.TB) world {
	t.Helper()
	sharedOnce.Do(func() { sharedErr = makeShared() })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func makeShared() error {
	dir, err := os.MkdirTemp("", "grove-test-copse")
	if err != nil {
		return err
	}
	shared.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if shared.World, err = fixture.Make(filepath.Join(dir, "copse"), fixture.Options{}); err != nil {
		return err
	}
	shared.base, shared.update = filepath.Join(dir, "base-repo"), filepath.Join(dir, "update-repo")
	if os.Getuid() != 0 {
		return nil
	}
	root := filepath.Join(dir, "composer")
	if err := inProcess("--root", root, "compose", shared.BaseManifest, "--repo", shared.base); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", shared.base, shared.update).CombinedOutput(); err != nil {
		return fmt.Errorf("copy: %s", out)
	}
	return inProcess("--root", root, "compose", shared.UpdatesManifest, "--repo", shared.update)
}

// inProcess runs the program without a process of its own.
func inProcess(args ...string) error {
	var out bytes.Buffer
	if code := run(args, env{stdout: &out, stderr: &out, getenv: func(string) string { return "" }}); code != 0 {
		return fmt.Errorf("grove %v: exit code %d\n%s", args, code, out.String())
	}
	return nil
}

// need skips a test whose want is not met, or fails it where the tests have to be complete (GROVE_CI=1).
func need(t testing.TB, what string) {
	t.Helper()
	if lacking(what) {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatalf("needs %s, which this machine must have where GROVE_CI=1", what)
		}
		t.Skipf("needs %s", what)
	}
}

// skipKey is where a script keeps how it is skipped.
type skipKey struct{}

// lacking tells whether a want is not met: root, or a program.
func lacking(what string) bool {
	if what == "root" {
		return os.Getuid() != 0
	}
	_, err := exec.LookPath(what)
	return err != nil
}

// bothKinds are scripts where it matters how a tree lies on disk. The other ones that make guests run with images only.
var bothKinds = []string{"damaged", "deploy-kinds", "full-disk", "hooks", "host-units", "install", "labels", "lost", "road", "run", "stage", "upgrade"}

// TestScripts runs each script; those that make guests with composefs images where this host can mount them, bothKinds
// with checkouts as well. The condition [composefs] is true where guests are of that kind.
func TestScripts(t *testing.T) {
	all, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var plain, guests, again []string
	for _, f := range all {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("needs root")) && bytes.Contains(text, []byte("grove create")) {
			guests = append(guests, f)
			if slices.Contains(bothKinds, strings.TrimSuffix(filepath.Base(f), ".txtar")) {
				again = append(again, f)
			}
		} else {
			plain = append(plain, f)
		}
	}
	composefs := os.Getuid() == 0 && supported(t)
	t.Run("plain", func(t *testing.T) { runScripts(t, plain, "", false) })
	t.Run("auto", func(t *testing.T) { runScripts(t, guests, deploy.Auto, composefs) })
	if composefs { // else they are checkouts anyway
		t.Run("checkout", func(t *testing.T) { runScripts(t, again, deploy.Checkout, false) })
	}
}

// supported tells whether this host can show trees by their images, which it has to where GROVE_CI=1.
func supported(t *testing.T) bool {
	s, err := deploy.Open(filepath.Join(t.TempDir(), "state"), deploy.Options{AsRoot: true})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Images().Support()
	if err != nil && os.Getenv("GROVE_CI") == "1" {
		t.Error(err)
	}
	return err == nil
}

func runScripts(t *testing.T, files []string, kind deploy.Kind, composefs bool) {
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			if err := setUp(copse(t), e); err != nil || kind == "" {
				return err
			}
			root := e.Getenv("GROVE_ROOT")
			if err := os.MkdirAll(root, 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(root, "config.json"), []byte(`{"deploy": "`+string(kind)+`"}`), 0o644)
		},
		Cmds: commands(),
		Condition: func(cond string) (bool, error) {
			if cond == "composefs" {
				return composefs, nil
			}
			return !lacking(cond), nil
		},
	})
}

func setUp(w world, e *testscript.Env) error {
	e.Setenv("COPSE", w.Dir)
	e.Setenv("ARCH", w.Arch)
	e.Setenv("REF", w.Ref)
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("GROVE_ROOT", filepath.Join(e.WorkDir, "state"))
	for _, name := range []string{"GROVE_CI", "GOCOVERDIR"} {
		e.Setenv(name, os.Getenv(name))
	}
	e.Values["environ"] = e
	e.Values[skipKey{}] = func(why string) { e.T().Skip(why) }
	return nil
}
