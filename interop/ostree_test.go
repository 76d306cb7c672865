// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The real ostree pulls what grove serves, and has the same commit.
func TestOstreePulls(t *testing.T) {
	need(t, "ostree", "python3")
	w := copse(t)
	s := newSite(t)
	srv := s.serverOf(w.updated)
	for server, url := range map[string]string{"grove-serve": s.serveByGrove(srv), "static-server": s.serveByPython(srv)} {
		for _, mode := range []string{"bare", "bare-user", "archive"} {
			peerCase(t, "serve/"+server+"/"+mode+"/ostree-reads-grove", func(t *testing.T) { ostreePulls(t, w, url, mode) })
		}
	}
	// The state root's own repository, guests and all, is one that ostree can read and clone.
	s.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	s.grove("create", "one", "dist:"+w.Ref, "--install", "hello")
	clone := "--repo=" + s.path("clone")
	tool(t, "ostree", clone, "init", "--mode=archive")
	tool(t, "ostree", clone, "pull-local", filepath.Join(s.root, "repo"), s.current("one"))
	tool(t, "ostree", clone, "fsck", "-q")
	// and its prune takes nothing that a guest has.
	tool(t, "ostree", "--repo="+filepath.Join(s.root, "repo"), "prune", "--refs-only", "--depth=0")
	s.fsck()
	s.grove("run", "one", "--", "hello")
}

// ostreePulls has the real ostree pull Copse from a server into a new repository.
func ostreePulls(t *testing.T, w world, url, mode string) {
	repo := "--repo=" + filepath.Join(t.TempDir(), "repo")
	tool(t, "ostree", repo, "init", "--mode="+mode)
	tool(t, "ostree", repo, "remote", "add", "--no-gpg-verify", "g", url)
	if out := tool(t, "ostree", repo, "remote", "refs", "g"); out != "g:"+w.Ref+"\n" {
		t.Errorf("remote refs: %q", out)
	}
	if out := tool(t, "ostree", repo, "remote", "summary", "g"); !strings.Contains(out, w.updatesCommit) {
		t.Errorf("remote summary: %s", out)
	}
	args := []string{repo, "pull", "--depth=1", "g", w.Ref}
	if mode == "archive" {
		args = []string{repo, "pull", "--mirror", "--depth=-1", "g"}
	}
	tool(t, "ostree", args...)
	tool(t, "ostree", repo, "fsck", "-q")
	ref := "g:" + w.Ref
	if mode == "archive" {
		ref = w.Ref
	}
	if got := strings.TrimSpace(tool(t, "ostree", repo, "rev-parse", ref)); got != w.updatesCommit {
		t.Errorf("%s: pulled %s, want %s", mode, got, w.updatesCommit)
	}
	if out := tool(t, "ostree", repo, "log", ref); !strings.Contains(out, w.baseCommit) {
		t.Errorf("%s: the commit before is not in the log:\n%s", mode, out)
	}
	if out := tool(t, "ostree", repo, "cat", ref, "/usr/etc/motd"); out != "Welcome to Copse 1.1\n" {
		t.Errorf("%s: /usr/etc/motd holds %q", mode, out)
	}
}

// small is a tree without packages; etc is where its configuration lies.
func small(t *testing.T, dir, etc string) string {
	t.Helper()
	for _, d := range []string{"usr/bin", "usr/lib", etc, "var", "proc", "dev", "sys", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "usr/lib/os-release"), "ID=bare\nVERSION_ID=1\n")
	write(t, filepath.Join(dir, etc, "plain.conf"), "one\n")
	write(t, filepath.Join(dir, etc, "other.conf"), "one\n")
	return dir
}

// A base that ostree committed and no package manager has ever seen.
func TestBaseOfOstree(t *testing.T) {
	need(t, "ostree")
	for _, c := range []struct{ name, etc string }{{"usr-etc", "usr/etc"}, {"etc", "etc"}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			dir := small(t, s.path("tree"), c.etc)
			srv := s.path("srv")
			tool(t, "ostree", "--repo="+srv, "init", "--mode=archive")
			commit := func() string {
				t.Helper()
				out := tool(t, "ostree", "--repo="+srv, "commit", "-b", "bare/1", "--tree=dir="+dir, "-s", "x", "--owner-uid=0", "--owner-gid=0")
				tool(t, "ostree", "--repo="+srv, "summary", "-u")
				return strings.TrimSpace(out)
			}
			first := commit()
			s.grove("remote", "add", "other", s.serveByGrove(srv), "--no-gpg-verify")
			s.grove("create", "g", "other:bare/1")
			if got := s.current("g"); got != first {
				t.Fatalf("the guest is at %s, ostree made %s", got, first)
			}
			etc := filepath.Join(s.root, "guests/g/current/root/etc")
			if got := read(t, filepath.Join(etc, "plain.conf")); got != "one\n" {
				t.Fatalf("plain.conf holds %q", got)
			}
			write(t, filepath.Join(etc, "plain.conf"), "mine\n")
			write(t, filepath.Join(dir, c.etc, "plain.conf"), "two\n")
			write(t, filepath.Join(dir, c.etc, "other.conf"), "two\n")
			write(t, filepath.Join(dir, "usr/lib/new"), "new\n")
			second := commit()
			s.grove("upgrade", "g")
			if got := s.current("g"); got != second {
				t.Fatalf("upgraded to %s, want %s", got, second)
			}
			if got := read(t, filepath.Join(etc, "plain.conf")) + read(t, filepath.Join(etc, "other.conf")); got != "mine\ntwo\n" {
				t.Errorf("merged to %q", got)
			}
			s.grove("rollback", "g")
			if got := read(t, filepath.Join(etc, "other.conf")); got != "one\n" {
				t.Errorf("after rollback other.conf holds %q", got)
			}
			s.fails(1, "install", "g", "nothing-has-this")
			s.fsck()
		})
	}
}

// keyring is a GnuPG home with one key.
type keyring struct{ home, id, public string }

func newKeyring(t *testing.T, name string) keyring { return newKeyringOf(t, name, "rsa2048") }

func newKeyringOf(t *testing.T, name, algorithm string) keyring {
	t.Helper()
	// The path of an agent's socket must be short.
	home, err := os.MkdirTemp("/tmp", "gk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tool(t, "gpgconf", "--homedir", home, "--kill", "all")
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		t.Helper()
		return tool(t, "gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	gpg("--quick-gen-key", name+" <"+name+"@example.org>", algorithm, "sign", "never")
	k := keyring{home: home, public: filepath.Join(home, "public.asc")}
	for _, line := range strings.Split(gpg("--with-colons", "--list-keys"), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" && k.id == "" {
			k.id = f[9]
		}
	}
	write(t, k.public, gpg("--armor", "--export", k.id))
	return k
}

// Commits signed by ostree: the right key, another one, none, and a signature that is of something else.
func TestSignedByOstree(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	s := newSite(t)
	good, other := newKeyring(t, "good"), newKeyring(t, "other")
	srv := s.path("srv")
	tool(t, "ostree", "--repo="+srv, "init", "--mode=archive")
	dir := small(t, s.path("tree"), "usr/etc")
	n := 0
	commit := func(sign ...string) {
		t.Helper()
		n++
		write(t, filepath.Join(dir, "usr/lib/n"), strings.Repeat("x", n))
		tool(t, "ostree", append([]string{"--repo=" + srv, "commit", "-b", "bare/1", "--tree=dir=" + dir, "-s", "x"}, sign...)...)
		tool(t, "ostree", "--repo="+srv, "summary", "-u")
	}
	by := func(k keyring) []string { return []string{"--gpg-sign=" + k.id, "--gpg-homedir=" + k.home} }
	url := s.serveByGrove(srv)

	commit(by(good)...)
	s.grove("remote", "add", "right", url, "--gpg-key", good.public)
	s.grove("remote", "add", "wrong", url, "--gpg-key", other.public)
	s.grove("remote", "add", "both", url, "--gpg-key", other.public, "--gpg-key", good.public)
	s.grove("create", "g", "right:bare/1")
	s.grove("create", "b", "both:bare/1")
	s.fails(4, "create", "w", "wrong:bare/1")
	if left := glob(t, filepath.Join(s.root, "guests/w*")); len(left) > 0 {
		t.Errorf("a refused guest left %v", left)
	}

	before := s.current("g")
	refused := func(what string) {
		t.Helper()
		s.fails(4, "upgrade", "g")
		if got := s.current("g"); got != before {
			t.Fatalf("%s: the guest went on to %s", what, got)
		}
		s.fsck()
	}
	commit()
	refused("unsigned")
	commit(by(other)...)
	refused("signed by a stranger")

	// Signed afterwards, by both: one good signature is enough, and ostree's own check agrees.
	head := strings.TrimSpace(tool(t, "ostree", "--repo="+srv, "rev-parse", "bare/1"))
	tool(t, "ostree", "--repo="+srv, "gpg-sign", "--gpg-homedir="+good.home, head, good.id)
	s.grove("upgrade", "g")
	if got := s.current("g"); got != head {
		t.Errorf("upgraded to %s, want %s", got, head)
	}
	before = head

	// The signature of another commit.
	commit()
	next := strings.TrimSpace(tool(t, "ostree", "--repo="+srv, "rev-parse", "bare/1"))
	object := func(c string) string { return filepath.Join(srv, "objects", c[:2], c[2:]+".commitmeta") }
	tool(t, "cp", object(head), object(next))
	refused("the signature of another commit")

	// ostree and grove keep a remote the same way: what one adds the other uses.
	tool(t, "ostree", "--repo="+filepath.Join(s.root, "repo"), "remote", "add", "--gpg-import="+good.public, "theirs", url)
	s.fails(4, "create", "t", "theirs:bare/1")
	if err := os.Remove(object(next)); err != nil {
		t.Fatal(err)
	}
	tool(t, "ostree", "--repo="+srv, "gpg-sign", "--gpg-homedir="+good.home, next, good.id)
	s.grove("create", "t", "theirs:bare/1")
	tool(t, "ostree", "--repo="+filepath.Join(s.root, "repo"), "pull", "right", "bare/1")
	if out, _, code := site.try(s, "remote", "list"); code != 0 || !strings.Contains(out, "theirs") {
		t.Errorf("remote list: %s", out)
	}
	_, _, code := capture(t, ostreeCommand(s, "pull", "wrong", "bare/1"))
	if code == 0 {
		t.Errorf("ostree trusts what grove refused: the key of remote wrong is not as grove was told")
	}
	s.fsck()
}

// ostreeCommand is ostree on the state root's repository.
func ostreeCommand(s site, args ...string) *exec.Cmd {
	return exec.Command("ostree", append([]string{"--repo=" + filepath.Join(s.root, "repo")}, args...)...)
}
