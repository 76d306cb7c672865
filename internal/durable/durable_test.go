// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/durable"
)

// names lists a directory, leftovers counted and left out.
func names(t *testing.T, dir string) (list []string, leftovers int) {
	t.Helper()
	ents, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		if durable.IsLeftover(e.Name()) {
			leftovers++
		} else {
			list = append(list, e.Name())
		}
	}
	return list, leftovers
}

func TestWriteFileAndSwap(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "a/b/f")
	if err := durable.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := durable.WriteFile(p, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(p)
		if fi, _ := os.Stat(p); string(got) != text || fi.Mode() != 0o640 {
			t.Fatalf("got %q %v, want %q 0640", got, fi.Mode(), text)
		}
	}
	link := filepath.Join(dir, "current")
	for _, target := range []string{"a", "a/b"} {
		if err := durable.Swap(link, target); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.Readlink(link); got != target {
			t.Fatalf("got %q, want %q", got, target)
		}
	}
	if err := durable.Symlink("x", link); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Symlink over a link: %v", err)
	}
	if err := durable.RenameNoReplace(p, link); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("RenameNoReplace over a link: %v", err)
	}
	if err := durable.Swap(filepath.Join(dir, "no/current"), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Swap in a missing directory: %v", err)
	}
	if err := durable.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := durable.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if list, left := names(t, dir); len(list) != 1 || left != 0 {
		t.Fatalf("left: %v and %d leftovers", list, left)
	}
}

// Each step fails in turn: the file is old or new, and nothing but leftovers lies about.
func TestEachStepFailing(t *testing.T) {
	defer durable.SetHook(nil)
	for n := int64(1); ; n++ {
		dir := t.TempDir()
		p := filepath.Join(dir, "f")
		os.WriteFile(p, []byte("old"), 0o644)
		os.Symlink("old", filepath.Join(dir, "l"))
		first, fired := durable.Steps(), false
		durable.SetHook(func(step int64, op, path string) error {
			if step == first+n {
				fired = true
				return errors.New("injected")
			}
			return nil
		})
		err := durable.WriteFile(p, []byte("new"), 0o644)
		if err == nil {
			err = durable.Swap(filepath.Join(dir, "l"), "new")
		}
		if err == nil {
			err = durable.MkdirAll(filepath.Join(dir, "d/e"), 0o755)
		}
		if err == nil {
			err = durable.RemoveAll(filepath.Join(dir, "d"))
		}
		durable.SetHook(nil)
		text, _ := os.ReadFile(p)
		link, _ := os.Readlink(filepath.Join(dir, "l"))
		if s := string(text); (s != "old" && s != "new") || (link != "old" && link != "new") {
			t.Fatalf("step %d: file %q, link %q", n, text, link)
		}
		if !fired {
			if err != nil {
				t.Fatal(err)
			}
			if n < 10 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "injected") {
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

func TestKillAt(t *testing.T) {
	if dir := os.Getenv("DURABLE_TEST_KILL"); dir != "" {
		var n int64
		fmt.Sscan(os.Getenv("DURABLE_TEST_STEP"), &n)
		durable.KillAt(n)
		durable.WriteFile(filepath.Join(dir, "f"), []byte("new"), 0o644)
		return
	}
	for n := 1; n <= 4; n++ {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "f"), []byte("old"), 0o644)
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillAt$")
		cmd.Env = append(os.Environ(), "DURABLE_TEST_KILL="+dir, fmt.Sprint("DURABLE_TEST_STEP=", n))
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v", n, err)
		}
		text, _ := os.ReadFile(filepath.Join(dir, "f"))
		if want := map[bool]string{true: "old", false: "new"}[n < 4]; string(text) != want {
			t.Fatalf("step %d: %q", n, text)
		}
		if list, _ := names(t, dir); len(list) != 1 {
			t.Fatalf("step %d: %v", n, list)
		}
	}
}

func TestLock(t *testing.T) {
	ctx := context.Background()
	p := filepath.Join(t.TempDir(), ".lock")
	get := func(exclusive bool) (*durable.Lock, error) { return durable.Acquire(ctx, p, exclusive, 0) }
	a, err := get(false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := get(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(true); !errors.Is(err, durable.ErrBusy) {
		t.Fatalf("exclusive beside shared: %v", err)
	}
	a.Release()
	go func() { time.Sleep(20 * time.Millisecond); b.Release() }()
	c, err := durable.Acquire(ctx, p, true, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(false); !errors.Is(err, durable.ErrBusy) {
		t.Fatalf("shared beside exclusive: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := durable.Acquire(short, p, false, -1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting until the context ends: %v", err)
	}
	if c.Release() != nil || c.Release() != nil {
		t.Fatal("release twice")
	}
}
