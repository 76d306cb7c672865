// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

// need skips a test that can not run here, and fails it in CI.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func needOSTree(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("ostree")
	need(t, err == nil, "ostree")
}

func needRoot(t testing.TB) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root")
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// peer runs ostree and returns what it prints.
func peer(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ostree", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func open(t testing.TB, path string) *repo.Repo {
	t.Helper()
	r, err := repo.Open(path)
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// initRepo makes a repository that is checked at the end of the test.
func initRepo(t testing.TB, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), mode)
	ok(t, err)
	ok(t, r.Config().Set("core", "min-free-space-percent", "0"))
	ok(t, r.Config().Set("core", "fsync", "false")) // the loops of crash_test.go sync; here it only takes time
	ok(t, r.Config().Save())
	return open(t, r.Path())
}

func check(t testing.TB, r *repo.Repo) {
	t.Helper()
	if err := r.Check(context.Background()); err != nil {
		t.Fatalf("check %s: %v", r.Path(), err)
	}
}

func write(t testing.TB, path, text string, mode uint32) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(t, os.WriteFile(path, []byte(text), 0o600))
	ok(t, unix.Chmod(path, mode))
}

// makeTree lays out a directory with everything that a tree can have. Owners, capabilities and setuid need root.
func makeTree(t testing.TB, dir string, root bool) {
	t.Helper()
	write(t, dir+"/usr/bin/tool", "#!/bin/sh\necho hello\n", 0o755)
	write(t, dir+"/usr/bin/empty", "", 0o644)
	write(t, dir+"/usr/lib/big", strings.Repeat("0123456789abcdef", 200_000), 0o644)
	write(t, dir+"/usr/lib/edge", strings.Repeat("x", 1<<20), 0o600)
	write(t, dir+"/usr/lib/edge1", strings.Repeat("x", 1<<20+1), 0o444)
	write(t, dir+"/usr/share/ünïcode/文件 with blank", "unicode", 0o640)
	write(t, dir+"/usr/share/same1", "the same", 0o644)
	write(t, dir+"/usr/share/same2", "the same", 0o644)
	write(t, dir+"/usr/etc/conf", "key=value\n", 0o644)
	write(t, dir+"/usr/etc/d/more", "more\n", 0o600)
	ok(t, os.Symlink("tool", dir+"/usr/bin/link"))
	ok(t, os.Symlink("/no/where", dir+"/usr/dangling"))
	ok(t, os.MkdirAll(dir+"/var/empty", 0o755))
	for i := range 40 {
		write(t, fmt.Sprintf("%s/usr/share/many/%c/f%d", dir, 'a'+i%3, i), fmt.Sprint("number ", i), 0o644)
	}
	for _, p := range []string{"/usr/lib/edge", "/var"} {
		if err := unix.Setxattr(dir+p, "user.b", []byte("two\x00bytes"), 0); err == nil {
			ok(t, unix.Setxattr(dir+p, "user.a", []byte{}, 0))
		}
	}
	ok(t, unix.Chmod(dir+"/var/empty", 0o711))
	if !root {
		return
	}
	ok(t, os.Lchown(dir+"/usr/bin/link", 12, 34))
	ok(t, os.Lchown(dir+"/usr/etc/d", 1000, 1001))
	write(t, dir+"/usr/bin/su", "suid", 0o4755)
	ok(t, os.Lchown(dir+"/usr/share/many/a/f0", 5, 6))
	write(t, dir+"/usr/bin/sgid", "sgid", 0o755)
	ok(t, os.Lchown(dir+"/usr/bin/sgid", 0, 7))
	ok(t, unix.Chmod(dir+"/usr/bin/sgid", 0o2755))
	ok(t, unix.Chmod(dir+"/var", 0o1777))
	write(t, dir+"/usr/bin/ping", "cap", 0o755)
	// cap_net_raw+ep, as setcap writes it
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	ok(t, unix.Setxattr(dir+"/usr/bin/ping", "security.capability", caps, 0))
	ok(t, unix.Lsetxattr(dir+"/usr/dangling", "trusted.x", []byte("y"), 0))
}

// commitDir commits a directory and sets the ref.
func commitDir(t testing.TB, r *repo.Repo, dir, ref string, o repo.CommitTreeOptions) ostree.Checksum {
	t.Helper()
	c, err := tryCommitDir(r, dir, ref, o)
	ok(t, err)
	return c
}

func tryCommitDir(r *repo.Repo, dir, ref string, o repo.CommitTreeOptions) (ostree.Checksum, error) {
	ctx := context.Background()
	tx, err := r.Begin(ctx)
	if err != nil {
		return ostree.Checksum{}, err
	}
	defer tx.Abort()
	root, err := r.CommitTree(ctx, tx, dir, o)
	if err != nil {
		return ostree.Checksum{}, err
	}
	v := ostree.Commit{Subject: "s", Tree: root.Tree, Meta: root.Meta}
	v.Metadata = gvariant.Dict{{Key: ostree.KeyRefBinding, Value: gvariant.Strings([]string{ref})}}
	if v.Parent, err = r.Resolve(ref); err != nil {
		v.Parent = ostree.Checksum{}
	}
	c, err := tx.PutCommit(v)
	if err != nil {
		return c, err
	}
	if err := tx.SetRef(ref, c); err != nil {
		return c, err
	}
	return c, tx.Commit()
}

// print is a commit's tree as text.
func print(t testing.TB, r *repo.Repo, c ostree.Checksum) string {
	t.Helper()
	tr, _, err := r.Tree(c)
	ok(t, err)
	var b bytes.Buffer
	ok(t, tree.Format(&b, tr, r.FileHeader))
	return b.String()
}

// printDir is a directory as the text of the tree that it would be.
func printDir(t testing.TB, dir string, mode repo.Mode) string {
	t.Helper()
	r := initRepo(t, mode)
	return print(t, r, commitDir(t, r, dir, "x", repo.CommitTreeOptions{}))
}

func content(t testing.TB, r *repo.Repo, c ostree.Checksum) string {
	t.Helper()
	_, _, in, err := r.OpenVerified(c)
	ok(t, err)
	defer in.Close()
	data, err := io.ReadAll(in)
	ok(t, err)
	return string(data)
}

// sameText shows the first line that differs.
func sameText(t testing.TB, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("line %d:\ngot  %s\nwant %s", i+1, a, b)
		}
	}
}

// pullLocal brings refs from another repository on this machine, as the verb does.
func pullLocal(r, src *repo.Repo, refs []string, o pull.Options) error {
	_, err := pull.Local(context.Background(), r, src.Path(), "", refs, o)
	return err
}
