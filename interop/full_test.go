// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a small file system of the test's own.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, dir, size string) disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	return disk{t, dir}
}

// fill leaves so many bytes free; empty undoes it.
func (d disk) fill(freeBytes int64) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if n := int64(st.Bavail)*st.Bsize - freeBytes; n > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d disk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// TestDiskFillsUp has the disk fill up at ever later moments of each verb: it says so in one line, and the guests are as
// before or as after, whole, and the verb succeeds when there is room again.
func TestDiskFillsUp(t *testing.T) {
	need(t, "ostree", "mount")
	w := copse(t)
	s := newSite(t)
	d := newDisk(t, filepath.Join(t.TempDir(), "disk"), "400m")
	seed := s
	seed.root = filepath.Join(d.dir, "seed")
	srv := s.serverOf(w.base)
	seed.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	seed.grove("create", "g", "dist:"+w.Ref)
	seed.grove("install", "g", "hello")
	seed.grove("install", "g", "tool-in-opt")
	w.update(seed, srv)
	for _, k := range []killing{
		{name: "create", args: []string{"create", "h", "dist:" + w.Ref, "--install", "greeter"}},
		{name: "install", args: []string{"install", "g", "greeter", "all-scripts"}},
		{name: "upgrade", args: []string{"upgrade", "g"}},
		{name: "upgrade --stage", args: []string{"upgrade", "g", "--stage"}},
		{name: "rollback", args: []string{"rollback", "g"}},
		{name: "pin", args: []string{"pin", "g"}},
		{name: "delete", args: []string{"delete", "g", "--yes"}},
		{name: "gc", args: []string{"gc", "--keep", "0"}, between: true},
	} {
		t.Run(k.name, func(t *testing.T) {
			s := s.with(t)
			s.root = filepath.Join(d.dir, "state")
			copyState(t, seed.root, s.root)
			before := s.guestsOf()
			s.grove(k.args...)
			after := s.guestsOf()
			failed, passed := 0, 0
			for free := int64(0); passed < 1 && free <= 64<<20; free = max(free*4, 64<<10) {
				copyState(t, seed.root, s.root)
				d.fill(free)
				_, errs, code := s.try(k.args...)
				d.empty()
				switch {
				case code == 0:
					passed++
				case code != 1 || !strings.Contains(errs, "no space left on device") && !strings.Contains(errs, "No space left on device"):
					t.Errorf("%d bytes free: exit code %d: %s", free, code, errs)
				case strings.Count(errs, "grove: ") != 1:
					t.Errorf("%d bytes free: more than one line says what is wrong: %s", free, errs)
				default:
					failed++
				}
				k.judge(s, before, after, 0)
				if t.Failed() {
					t.Fatalf("with %d bytes free: %s", free, errs)
				}
			}
			if passed == 0 {
				t.Error("never had enough room")
			}
			t.Logf("%d times too little room, then enough", failed)
		})
	}
	s.root = filepath.Join(d.dir, "state")
	s.fsck()
}

// TestTwoAtOnce has several groves at work in one state root: on one guest, on two, gc beside them. Each does its work
// or says that another one is at work, and what they leave is whole.
func TestTwoAtOnce(t *testing.T) {
	need(t, "ostree")
	w := copse(t)
	s := newSite(t)
	s.grove("remote", "add", "dist", "file://"+s.serverOf(w.base), "--no-gpg-verify")
	for _, g := range []string{"a", "b"} {
		s.grove("create", g, "dist:"+w.Ref)
	}
	type ended struct {
		what string
		code int
		errs string
	}
	// What waits gets its turn; what does not is told so, or was first.
	for round, wait := range []string{"2m", ""} {
		var calls [][]string
		for i, pkg := range []string{"hello", "greeter", "tool-in-opt"} {
			calls = append(calls, []string{"install", []string{"a", "b"}[i%2], pkg}, []string{"gc"}, []string{"run", "a", "--", "bash", "-c", "echo runs"}, []string{"status"})
		}
		calls = append(calls, []string{"create", fmt.Sprintf("c%d", round), "dist:" + w.Ref, "--install", "hello"}, []string{"rollback", "b"}, []string{"fsck"})
		results := make(chan ended)
		for _, args := range calls {
			go func() {
				all := append([]string{}, args...)
				if wait != "" {
					all = append([]string{"--wait", wait}, args...)
				}
				cmd := exec.Command(program, all...)
				cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
				out, _ := cmd.CombinedOutput()
				results <- ended{strings.Join(args, " "), cmd.ProcessState.ExitCode(), string(out)}
			}()
		}
		busy := 0
		for range calls {
			r := <-results
			switch {
			case r.code == 5 && wait == "" && strings.Contains(r.errs, "grove: "):
				busy++
			case r.code == 1 && strings.HasPrefix(r.what, "rollback") && strings.Contains(r.errs, "no deployment before"):
				// it came before the guest's first change
			case r.code != 0:
				t.Errorf("%s: exit code %d: %s", r.what, r.code, r.errs)
			}
		}
		t.Logf("%d calls at once with --wait %q: %d were told that another one is at work", len(calls), wait, busy)
		s.fsck()
		if wait == "" {
			continue
		}
		// Guest b was rolled back at some moment among them.
		if got := s.status("a").Requested; len(got) != 2 || !slices.Contains(got, "hello") || !slices.Contains(got, "tool-in-opt") {
			t.Errorf("guest a asks for %v, want hello and tool-in-opt", got)
		}
	}
	for _, g := range []string{"a", "b", "c0"} {
		if out := s.grove("run", g, "--", "bash", "-c", "echo runs"); out != "runs\n" {
			t.Errorf("guest %s says %q", g, out)
		}
	}
	s.sweep()
	s.clean(s.root)
}
