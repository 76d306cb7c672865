// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
	"grove/internal/sign"
)

// ostreeRepo makes an archive repository with the real ostree.
func ostreeRepo(t testing.TB, extra ...string) (path, tree string) {
	t.Helper()
	dir := t.TempDir()
	tree, path = filepath.Join(dir, "tree"), filepath.Join(dir, "repo")
	for name, content := range sample() {
		os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755)
		if target, ok := strings.CutPrefix(content, "->"); ok {
			os.Symlink(target, filepath.Join(tree, name))
		} else {
			os.WriteFile(filepath.Join(tree, name), []byte(content), 0o644)
		}
	}
	os.Chmod(filepath.Join(tree, "usr/bin/moss"), 0o4755)
	initTheirs(t, path, repo.Archive)
	run(t, "ostree", append([]string{"--repo=" + path, "commit", "-b", "main", "--tree=dir=" + tree}, extra...)...)
	return path, tree
}

func initTheirs(t testing.TB, path string, mode repo.Mode) {
	run(t, "ostree", "--repo="+path, "init", "--mode="+mode.String())
	run(t, "ostree", "--repo="+path, "config", "set", "core.fsync", "false")
}

// python serves a folder with a server that knows nothing about OSTree.
func python(t testing.TB, dir string) string {
	t.Helper()
	needs(t, "python3")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.Command("python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "http://127.0.0.1:" + port
}

// TestOursFromTheirs pulls what ostree made, and lets it check the result.
func TestOursFromTheirs(t *testing.T) {
	needs(t, "ostree")
	path, _ := ostreeRepo(t)
	t.Log(strings.Fields(run(t, "ostree", "--version"))[0:4])
	want := strings.TrimSpace(run(t, "ostree", "--repo="+path, "rev-parse", "main"))
	url := python(t, path)
	for _, summary := range []bool{false, true} {
		if summary {
			run(t, "ostree", "--repo="+path, "summary", "-u")
		}
		for _, mode := range modes() {
			r := initRepo(t, mode)
			addRemote(t, r, url, nil)
			if _, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{}); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(run(t, "ostree", "--repo="+r.Path(), "rev-parse", "up:main")); got != want {
				t.Errorf("%v: got %s, want %s", mode, got, want)
			}
			run(t, "ostree", "--repo="+r.Path(), "fsck")
			if res, err := r.Fsck(context.Background(), repo.FsckOptions{}); err != nil {
				t.Errorf("%v: %+v %v", mode, res, err)
			}
			if summary {
				refs, err := pull.RemoteRefs(context.Background(), r, "up")
				if err != nil || refs["main"].String() != want {
					t.Errorf("refs: %v %v", refs, err)
				}
			}
		}
	}
}

// TestTheirsFromOurs lets ostree pull from our server what we committed.
func TestTheirsFromOurs(t *testing.T) {
	needs(t, "ostree")
	src := initRepo(t, repo.Archive)
	want := commit(t, src, change{ref: "main", files: sample(), bind: []string{"main"}})
	for _, summary := range []bool{false, true} {
		if summary {
			if err := src.WriteSummary(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		s := httptest.NewServer(serve.Handler(src))
		defer s.Close()
		for _, mode := range modes() {
			path := filepath.Join(t.TempDir(), "repo")
			initTheirs(t, path, mode)
			run(t, "ostree", "--repo="+path, "remote", "add", "--no-gpg-verify", "up", s.URL)
			run(t, "ostree", "--repo="+path, "pull", "up", "main")
			if got := strings.TrimSpace(run(t, "ostree", "--repo="+path, "rev-parse", "up:main")); got != want.String() {
				t.Errorf("%v: got %s, want %s", mode, got, want)
			}
			run(t, "ostree", "--repo="+path, "fsck")
		}
		if summary {
			path := filepath.Join(t.TempDir(), "repo")
			initTheirs(t, path, repo.Archive)
			run(t, "ostree", "--repo="+path, "remote", "add", "--no-gpg-verify", "up", s.URL)
			if out := run(t, "ostree", "--repo="+path, "remote", "refs", "up"); out != "up:main\n" {
				t.Errorf("refs: %q", out)
			}
			run(t, "ostree", "--repo="+path, "pull", "--mirror", "up")
			run(t, "ostree", "--repo="+path, "fsck")
		}
	}
}

// TestGPGSign pulls what `ostree gpg-sign` signed.
func TestGPGSign(t *testing.T) {
	needs(t, "ostree", "gpg")
	home, err := os.MkdirTemp("", "g") // a short path: gpg-agent's socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		return run(t, "gpg", append([]string{"--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	for _, kind := range []string{"rsa2048", "ed25519"} {
		name := kind + "@example.org"
		gpg("--quick-generate-key", name, kind, "sign", "never")
		id := ""
		for _, line := range strings.Split(gpg("--with-colons", "--list-keys", name), "\n") {
			if f := strings.Split(line, ":"); f[0] == "pub" {
				id = f[4]
			}
		}
		path, _ := ostreeRepo(t, "--gpg-sign="+id, "--gpg-homedir="+home)
		run(t, "ostree", "--repo="+path, "summary", "-u", "--gpg-sign="+id, "--gpg-homedir="+home)
		key := gpg("--export", "--armor", name)
		url := python(t, path)
		for _, options := range []map[string]string{{}, {"gpg-verify-summary": "true"}} {
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, url, options)
			if err := os.WriteFile(r.Config().KeyringPath("up"), []byte(key), 0o644); err != nil {
				t.Fatal(err)
			}
			res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
			if err != nil || len(res.VerifiedBy) != 1 || !strings.Contains(res.VerifiedBy[0], name) {
				t.Errorf("%s %v: %v %v", kind, options, res.VerifiedBy, err)
			}
			// the signature came with it
			run(t, "ostree", "--repo="+r.Path(), "show", "up:main")
			if d, err := r.Detached(res.Commits["main"]); err != nil || len(d) != 1 {
				t.Errorf("detached: %v %v", d, err)
			}
		}
		if kind == "rsa2048" {
			continue
		}
		// the first key does not do for what the second signed; a summary that was changed is refused
		r := initRepo(t, repo.BareUser)
		addRemote(t, r, url, map[string]string{"gpg-verify-summary": "true"})
		other := gpg("--export", "rsa2048@example.org")
		os.WriteFile(r.Config().KeyringPath("up"), []byte(other), 0o644)
		_, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
		if !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("wrong key: %v", err)
		}
		t.Log(err)
		os.WriteFile(r.Config().KeyringPath("up"), []byte(key), 0o644)
		data, _ := os.ReadFile(filepath.Join(path, "summary"))
		good := bytes.Clone(data)
		data[len(data)/2] ^= 1
		os.WriteFile(filepath.Join(path, "summary"), data, 0o644)
		_, err = pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
		if !errors.Is(err, sign.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), "summary") {
			t.Errorf("changed summary: %v", err)
		}
		os.WriteFile(filepath.Join(path, "summary"), good, 0o644)
		_, err = pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
		if err != nil {
			t.Errorf("the right summary: %v", err)
		}
		// with the same signature on the server, the summary that was verified before is used again
		os.WriteFile(filepath.Join(path, "summary"), data, 0o644)
		_, err = pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
		if err != nil {
			t.Errorf("the summary of the cache: %v", err)
		}
		os.Remove(filepath.Join(path, "summary.sig"))
		_, err = pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
		if !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("unsigned summary: %v", err)
		}
		t.Log(err)
	}
}
