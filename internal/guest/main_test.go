// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"grove/internal/deploy"
	"grove/internal/fetch"
	"grove/internal/fixture"
	"grove/internal/guest"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
)

func TestMain(m *testing.M) {
	sandbox.Child(scriptlet.Builtins())
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// world is Copse Linux and a state root that has its base composed; tests work in copies of that.
type world struct {
	fixture.World
	dir, seed string
}

var (
	shared     world
	sharedErr  error
	sharedOnce sync.Once
)

// clock is what deployments are dated with.
func clock() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }

// needRoot skips a test that cannot do its work without root, or fails it where the tests have to be complete.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatal("needs root, which there must be where GROVE_CI=1")
	}
	t.Skip("needs root")
}

func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(shm(), "grove-guest-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// shm is a memory file system where there is one: these tests write and sync much.
func shm() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

func copse(t testing.TB) world {
	t.Helper()
	needRoot(t)
	sharedOnce.Do(func() { sharedErr = makeShared() })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func makeShared() error {
	dir, err := os.MkdirTemp(shm(), "grove-guest-world-")
	if err != nil {
		return err
	}
	shared.dir, shared.seed = dir, filepath.Join(dir, "seed")
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if shared.World, err = fixture.Make(filepath.Join(dir, "copse"), fixture.Options{Minimal: true}); err != nil {
		return err
	}
	e, err := envAt(shared.seed)
	if err != nil {
		return err
	}
	_, err = guest.Compose(context.Background(), e, guest.ComposeOptions{Manifest: shared.BaseManifest})
	return err
}

func envAt(root string) (guest.Env, error) {
	s, err := deploy.Open(root, deploy.Options{AsRoot: os.Getuid() == 0})
	if err != nil {
		return guest.Env{}, err
	}
	return guest.Env{Store: s, Client: fetch.New(fetch.Options{UserAgent: "grove-test"}), Now: clock, Wait: 5 * time.Second}, nil
}

// state gives a state root of its own that has the base.
func (w world) state(t testing.TB) guest.Env {
	t.Helper()
	root := filepath.Join(tempDir(t), "state")
	copyState(t, w.seed, root)
	return open(t, root)
}

func open(t testing.TB, root string) guest.Env {
	t.Helper()
	e, err := envAt(root)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// copyState copies a state root by hard links; what changes in one is written anew, never in place.
func copyState(t testing.TB, from, to string) {
	t.Helper()
	script := `cp -al "$1" "$2" && find "$2" -name "*.lock" -delete -o -name .running -delete`
	if out, err := exec.Command("sh", "-c", script, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
}

func mustCreate(t testing.TB, e guest.Env, name, base string, packages ...string) guest.Change {
	t.Helper()
	c, err := guest.Create(context.Background(), e, name, guest.CreateOptions{Base: base, Packages: packages})
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return c
}

func mustInstall(t testing.TB, e guest.Env, name string, words ...string) guest.Change {
	t.Helper()
	s, err := guest.ParseSpecs(words)
	if err != nil {
		t.Fatal(err)
	}
	c, err := guest.Install(context.Background(), e, name, s, guest.Options{})
	if err != nil {
		t.Fatalf("install %v: %v", words, err)
	}
	return c
}

// mustUpdateBase composes the newer base into the state root.
func (w world) mustUpdateBase(t testing.TB, e guest.Env) guest.Composed {
	t.Helper()
	c, err := guest.Compose(context.Background(), e, guest.ComposeOptions{Manifest: w.UpdatesManifest})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// source makes a source of packages, signed by the world's key, and the .repo file that names it.
func (w world) source(t testing.TB, id string, specs ...fixture.Spec) (repoFile, dir string) {
	t.Helper()
	root := tempDir(t)
	dir = filepath.Join(root, id)
	secret, err := os.ReadFile(w.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	var built []fixture.Built
	for _, s := range specs {
		s.Key = secret
		b, err := fixture.Build(s)
		if err != nil {
			t.Fatal(err)
		}
		built = append(built, b)
	}
	if err := fixture.WriteSource(dir, built, nil, secret); err != nil {
		t.Fatal(err)
	}
	repoFile = filepath.Join(root, id+".repo")
	text := fmt.Sprintf("[%s]\nbaseurl=file://%s\nenabled=1\ngpgcheck=1\ngpgkey=file://%s\n", id, dir, w.PublicKey)
	if err := os.WriteFile(repoFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return repoFile, dir
}

// rpmFile writes a package file, signed by the world's key.
func (w world) rpmFile(t testing.TB, s fixture.Spec) string {
	t.Helper()
	secret, err := os.ReadFile(w.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	s.Key = secret
	data, err := fixture.RPM(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tempDir(t), s.FileName())
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// listing is everything of a guest's folder by name, /var and trees left out.
func listing(t testing.TB, root string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -path "*/root/*" -prune -o -path "*/var/*" -prune -o -name "*.lock" -prune -o -printf "%p %l\n" | sort`, "sh", root).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// fsck demands that a state root is whole.
func fsck(t testing.TB, e guest.Env) {
	t.Helper()
	rep, err := guest.Fsck(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rep.Faults {
		t.Errorf("fault: %s", f)
	}
}

func mustRead(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func currentRoot(t testing.TB, e guest.Env, name string) string {
	t.Helper()
	g, err := e.Store.Guest(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Current()
	if err != nil {
		t.Fatal(err)
	}
	return d.Root()
}

// currentTree is where this test can look at the tree of the current deployment, whatever kind it has.
func currentTree(t testing.TB, e guest.Env, name string) string {
	t.Helper()
	g, err := e.Store.Guest(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Current()
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenTree()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.Name()
}
