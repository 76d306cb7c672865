// SPDX-License-Identifier: Apache-2.0

package delta_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/delta"
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

func needPeer(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("ostree")
	need(t, err == nil, "ostree")
	need(t, os.Geteuid() == 0, "root")
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ostreeProgram is the peer.
var ostreeProgram = "ostree"

// peer runs ostree and returns what it prints.
func peer(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(ostreeProgram, args...).CombinedOutput()
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

// initRepo makes an empty repository; syncing only takes time here.
func initRepo(t testing.TB, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), mode)
	ok(t, err)
	ok(t, r.Config().Set("core", "min-free-space-percent", "0"))
	ok(t, r.Config().Set("core", "fsync", "false"))
	ok(t, r.Config().Save())
	return open(t, r.Path())
}

// check states that the repository and its deltas are sound.
func check(t testing.TB, r *repo.Repo) {
	t.Helper()
	ok(t, r.Check(context.Background()))
	faults, err := delta.Fsck(context.Background(), r)
	ok(t, err)
	for _, f := range faults {
		t.Errorf("fsck: %s", f)
	}
}

func write(t testing.TB, path string, data []byte, mode uint32) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(t, os.WriteFile(path, data, 0o600))
	ok(t, unix.Chmod(path, mode))
}

// random gives n bytes that no compressor can do anything about.
func random(seed int64, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return b
}

// program gives n bytes that look a little like machine code: they repeat, and have numbers in them.
func program(seed int64, n int) []byte {
	r := rand.New(rand.NewSource(seed))
	words := make([][]byte, 300)
	for i := range words {
		words[i] = random(seed+int64(i), 4+r.Intn(12))
	}
	var b []byte
	for len(b) < n {
		b = append(b, words[r.Intn(len(words))]...)
		b = append(b, byte(len(b)), byte(len(b)>>8), byte(len(b)>>16))
	}
	return b[:n]
}

// changed gives b with a few bytes changed, some put in and some taken out.
func changed(b []byte, seed int64) []byte {
	r := rand.New(rand.NewSource(seed))
	b = bytes.Clone(b)
	for range 20 {
		b[r.Intn(len(b))] ^= 0x55
	}
	at, cut := r.Intn(len(b)), r.Intn(len(b)/2)
	b = append(b[:at:at], append(random(seed, 100), b[at:]...)...)
	return append(b[:cut:cut], b[cut+30:]...)
}

// makeTrees lays out two versions of a tree whose difference needs every operation.
func makeTrees(t testing.TB, dir string) (before, after string) {
	t.Helper()
	before, after = dir+"/before", dir+"/after"
	root := os.Geteuid() == 0
	for i, d := range []string{before, after} {
		write(t, d+"/usr/bin/same", []byte("the same in both"), 0o755)
		write(t, d+"/usr/bin/empty", nil, 0o644)
		write(t, d+"/usr/share/notes", fmt.Appendf(nil, "version %d\n", i), 0o644)
		for j := range 30 {
			write(t, fmt.Sprintf("%s/usr/share/many/%d/file%d", d, j%3, j), fmt.Appendf(nil, "number %d of %d\n", j, i*(j%2)), 0o644)
		}
		ok(t, os.Symlink(fmt.Sprintf("target%d", i), d+"/usr/bin/link"))
		if root {
			ok(t, os.Lchown(d+"/usr/bin/link", 5, 6))
			write(t, d+"/usr/bin/su", fmt.Appendf(nil, "suid %d", i), 0o4755)
		}
		xattr := fmt.Appendf(nil, "value %d", i)
		if err := unix.Setxattr(d+"/usr/share/notes", "user.note", xattr, 0); err != nil {
			t.Logf("no xattrs here: %v", err)
		}
	}
	code := program(1, 60_000)
	write(t, before+"/usr/lib/libtool.so.1.2", code, 0o755)
	write(t, after+"/usr/lib/libtool.so.1.3", changed(code, 2), 0o755)
	secret := program(3, 20_000)
	write(t, before+"/usr/lib/secret", secret, 0o600)
	write(t, after+"/usr/lib/secret", changed(secret, 4), 0o600)
	big := random(5, 300_000)
	write(t, before+"/usr/lib/archive", big, 0o644)
	write(t, after+"/usr/lib/archive", changed(big, 6), 0o644)
	write(t, after+"/usr/lib/huge", random(7, 400_000), 0o644)
	write(t, after+"/usr/lib/text", bytes.Repeat([]byte("all work and no play "), 5_000), 0o644)
	return before, after
}

// commitDir commits a directory on top of the ref, which it sets.
func commitDir(t testing.TB, r *repo.Repo, dir, ref string, stamp uint64) ostree.Checksum {
	t.Helper()
	ctx := context.Background()
	tx, err := r.Begin(ctx)
	ok(t, err)
	defer tx.Abort()
	root, err := r.CommitTree(ctx, tx, dir, repo.CommitTreeOptions{})
	ok(t, err)
	v := ostree.Commit{Subject: "s", Tree: root.Tree, Meta: root.Meta, Timestamp: stamp}
	if v.Parent, err = r.Resolve(ref); err != nil {
		v.Parent = ostree.Checksum{}
	}
	c, err := tx.PutCommit(v)
	ok(t, err)
	ok(t, tx.SetRef(ref, c))
	ok(t, tx.Commit())
	return c
}

// world is an archive repository with two commits of the ref x.
type world struct {
	r             *repo.Repo
	before, after ostree.Checksum
}

func makeWorld(t testing.TB) world {
	t.Helper()
	before, after := makeTrees(t, t.TempDir())
	r := initRepo(t, repo.Archive)
	return world{r, commitDir(t, r, before, "x", 1000), commitDir(t, r, after, "x", 2000)}
}

// clone makes a repository that holds a commit of the world; none for an empty one.
func (w world) clone(t testing.TB, mode repo.Mode, c ostree.Checksum) *repo.Repo {
	t.Helper()
	r := initRepo(t, mode)
	if !c.IsZero() {
		_, err := pull.Local(context.Background(), r, w.r.Path(), "", []string{c.String()}, pull.Options{})
		ok(t, err)
		ok(t, r.SetRef("x", c))
	}
	return r
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

var modes = map[string]repo.Mode{"bare": repo.Bare, "bare-user": repo.BareUser, "archive": repo.Archive}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
