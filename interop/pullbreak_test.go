// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stalling serves a folder, but answers no more requests for files after the first few until it is let go.
type stalling struct {
	url     string
	files   atomic.Int64
	after   atomic.Int64
	reached chan struct{}
}

func serveStalling(t *testing.T, dir string, after int64) *stalling {
	t.Helper()
	s := &stalling{reached: make(chan struct{})}
	s.after.Store(after)
	files := http.FileServer(http.Dir(dir))
	var told atomic.Bool
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".filez") && s.files.Add(1) > s.after.Load() {
			if told.CompareAndSwap(false, true) {
				close(s.reached)
			}
			<-r.Context().Done()
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

// killed starts a pull and kills it in the middle, when the server answers no more.
func (c client) killed(t *testing.T, repo string, s *stalling, args ...string) {
	t.Helper()
	words := append(append(slices.Clone(c.argv), "--repo="+repo), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = environ()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.reached:
	case <-time.After(time.Minute):
		t.Error("the pull never came to the file where the server waits")
	}
	time.Sleep(100 * time.Millisecond) // what came is to be stored
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// A pull that was killed in the middle is gone on with by the other program, and by the same.
func TestPullKilled(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	for _, k := range []struct {
		name        string
		first, then client
		u           client
		goesOn      bool // what came before the kill is not asked for again
	}{
		{"pull/killed/grove-reads-ostree", ostree, grove, ostree, true},
		{"pull/killed/ostree-reads-grove", grove, ostree, grove, false},
		{"pull/killed-and-again/grove-reads-ostree", grove, grove, ostree, true},
	} {
		peerCase(t, k.name, func(t *testing.T) {
			u := pullFrom(t, k.u)
			all := int64(len(glob(t, filepath.Join(u.dir, "objects/*/*.filez"))))
			const before = 20
			s := serveStalling(t, u.dir, before)
			repo := k.first.clone(t, "bare-user", s.url)
			k.first.killed(t, repo, s, "pull", "up", "main")
			sound(t, repo)
			if refs := glob(t, filepath.Join(repo, "refs/remotes/up/*")); len(refs) > 0 {
				t.Errorf("refs after the kill: %v", refs)
			}
			s.files.Store(0)
			s.after.Store(1 << 30)
			k.then.run(t, repo, "pull", "up", "main")
			if n := s.files.Load(); k.goesOn && n > all-before/2 {
				t.Errorf("%d of %d files were asked for after %d had come", n, all, before)
			}
			if got := strings.TrimSpace(k.then.run(t, repo, "rev-parse", "up:main")); got != u.head() {
				t.Errorf("pulled %s, want %s", got, u.head())
			}
			if left := glob(t, filepath.Join(repo, "state/*.commitpartial")); len(left) > 0 {
				t.Errorf("marks are left: %v", left)
			}
			sound(t, repo)
		})
	}
}

// At any moment: a pull that is killed after a while, again and again with more time, comes through at last, and every state
// between is one that both programs call sound.
func TestPullKilledAtRandom(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	u := pullFrom(t, ostree)
	for _, mode := range []string{"bare-user", "archive"} {
		s := serveStatic(t, u.dir)
		repo := grove.clone(t, mode, s.url)
		done := false
		for ms := 5; !done; ms += 1 + ms/3 {
			words := append(slices.Clone(grove.argv), "--repo="+repo, "pull", "up", "main", "other", "--depth=-1")
			cmd := exec.Command(words[0], words[1:]...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if err != nil && cmd.ProcessState.Exited() {
				t.Fatalf("after %d ms: %v: %s", ms, err, &errs)
			}
			sound(t, repo)
			done = err == nil
		}
		if got := strings.TrimSpace(ostree.run(t, repo, "rev-parse", "up:main")); got != u.head() {
			t.Errorf("pulled %s, want %s", got, u.head())
		}
		if left := glob(t, filepath.Join(repo, "tmp/grove-staging-*")); len(left) > 0 {
			t.Errorf("staging folders are left: %v", left)
		}
	}
}

// A disk that fills up in the middle of a pull: one clear error, no damage; with room again the pull goes on.
func TestPullFullDisk(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	u := pullFrom(t, ostree)
	for _, c := range []struct{ how, url string }{{"http", serveStatic(t, u.dir).url}, {"file", "file://" + u.dir}} {
		disk := t.TempDir()
		if err := unix.Mount("none", disk, "tmpfs", 0, "size=2m"); err != nil {
			lacking(t, "needs mount: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
		repo := filepath.Join(disk, "repo")
		grove.run(t, repo, "init", "--mode=bare-user")
		grove.run(t, repo, "config", "set", "core.min-free-space-percent", "0")
		grove.run(t, repo, "remote", "add", "up", c.url, "--no-gpg-verify")
		_, errs, code := grove.try(t, repo, "pull", "up", "main")
		if code != 1 || !strings.Contains(errs, "no space left") || strings.Count(errs, "grove: ") != 1 {
			t.Errorf("%s: exit code %d: %s", c.how, code, errs)
		}
		sound(t, repo)
		if err := unix.Mount("none", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
		grove.run(t, repo, "pull", "up", "main")
		sound(t, repo)
		if left := glob(t, filepath.Join(repo, "state/*.commitpartial")); len(left) > 0 {
			t.Errorf("%s: marks are left: %v", c.how, left)
		}
	}
}
