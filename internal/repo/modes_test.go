// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
)

// A commit goes from a repository of each mode to one of each other and keeps its name and all it holds.
func TestPullLocalBetweenModes(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "tree")
	makeTree(t, dir, true)
	plain := filepath.Join(t.TempDir(), "plain")
	makeTree(t, plain, false)
	all := append(modes(), repo.BareUserOnly)
	for _, from := range all {
		src := initRepo(t, from)
		want := commitDir(t, src, plain, "plain", repo.CommitTreeOptions{CanonicalPermissions: true, NoXattrs: true})
		if from != repo.BareUserOnly {
			commitDir(t, src, dir, "all", repo.CommitTreeOptions{})
		}
		for _, to := range all {
			for _, untrusted := range []bool{false, true} {
				dest := initRepo(t, to)
				ok(t, pullLocal(dest, src, []string{"plain"}, pull.Options{Untrusted: untrusted}))
				err := pullLocal(dest, src, []string{"all"}, pull.Options{Untrusted: untrusted})
				if (err == nil) != (from != repo.BareUserOnly && to != repo.BareUserOnly) {
					t.Errorf("%v to %v: all: %v", from, to, err)
				}
				if got, err := dest.Resolve("plain"); err != nil || got != want {
					t.Errorf("%v to %v: %v %v", from, to, got, err)
				}
				sameText(t, print(t, dest, want), print(t, src, want))
				check(t, dest)
			}
		}
	}
}

// What the sample of libostree's own tests holds is read, and the same files make the same objects when we write them.
func TestSplitXattrsSample(t *testing.T) {
	sample := "../../../shared/data/ostree/ostreedev-ostree/tests/bare-split-xattrs-basic.tar.xz"
	if _, err := os.Stat(sample); err != nil {
		t.Skip("the shared data is not here")
	}
	dir := t.TempDir()
	ok(t, exec.Command("tar", "-xJf", sample, "-C", dir, "--no-same-owner").Run())
	theirs := open(t, dir+"/repo")
	files, err := filepath.Glob(dir + "/repo/objects/??/*.file")
	ok(t, err)
	if len(files) != 3 {
		t.Fatalf("%d files in the sample", len(files))
	}
	ours := initRepo(t, repo.BareSplitXattrs)
	ctx := context.Background()
	tx, err := ours.Begin(ctx)
	ok(t, err)
	withXattr := 0
	for _, path := range files {
		c, err := ostree.ParseChecksum(filepath.Base(filepath.Dir(path)) + strings.TrimSuffix(filepath.Base(path), ".file"))
		ok(t, err)
		h, size, in, err := theirs.OpenVerified(c)
		ok(t, err)
		if len(h.Xattrs) > 0 && h.Xattrs[0].Name == "user.mykey" && string(h.Xattrs[0].Value) == "myvalue" {
			withXattr++
		}
		ok(t, tx.PutFileAs(c, h, size, in))
		ok(t, in.Close())
	}
	ok(t, tx.Commit())
	if withXattr != 1 {
		t.Errorf("%d files with the xattr", withXattr)
	}
	for _, ext := range []string{".file-xattrs", ".file-xattrs-link"} {
		list, err := filepath.Glob(dir + "/repo/objects/??/*" + ext)
		ok(t, err)
		for _, path := range list {
			want, err := os.ReadFile(path)
			ok(t, err)
			rel, _ := filepath.Rel(dir+"/repo", path)
			if got, err := os.ReadFile(filepath.Join(ours.Path(), rel)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %x %v, theirs %x", rel, got, err, want)
			}
		}
	}
}

// A prune takes the xattrs with the files, and leaves those that others share.
func TestSplitXattrsPrune(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	dir := t.TempDir()
	write(t, dir+"/keep", "keep", 0o644)
	write(t, dir+"/go", "go", 0o644)
	for _, f := range []string{"/keep", "/go"} {
		ok(t, unix.Setxattr(dir+f, "user.shared", []byte("s"), 0))
	}
	ok(t, unix.Setxattr(dir+"/go", "user.own", []byte("o"), 0))
	write(t, dir+"/go2", "go2", 0o644)
	ok(t, unix.Setxattr(dir+"/go2", "user.shared", []byte("s"), 0))
	r := initRepo(t, repo.BareSplitXattrs)
	commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	ok(t, os.Remove(dir+"/go"))
	ok(t, os.Remove(dir+"/go2"))
	commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	_, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	ok(t, err)
	check(t, r)
	count := map[string]int{}
	list, err := filepath.Glob(r.Path() + "/objects/??/*")
	ok(t, err)
	for _, path := range list {
		count[filepath.Ext(path)]++
	}
	if count[".file"] != 1 || count[".file-xattrs"] != 1 || count[".file-xattrs-link"] != 1 {
		t.Errorf("left: %v", count)
	}
}

// Where the file system can, files of the same content share blocks, found by payload links as libostree writes them.
func TestPayloadLinks(t *testing.T) {
	needRoot(t)
	mnt := mountImage(t, "mkfs.xfs", "-q")
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 200_000)
	write(t, dir+"/a", text, 0o644)
	write(t, dir+"/b", text, 0o755)
	write(t, dir+"/small", "small", 0o644)
	r, err := repo.Init(mnt+"/repo", repo.Bare)
	ok(t, err)
	for k, v := range map[string]string{"payload-link-threshold": "1000", "min-free-space-percent": "0"} {
		ok(t, r.Config().Set("core", k, v))
	}
	ok(t, r.Config().Save())
	r = open(t, r.Path())
	ok(t, os.Remove(dir+"/b"))
	commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	var before, after unix.Statfs_t
	ok(t, unix.Statfs(mnt, &before))
	write(t, dir+"/b", text, 0o755)
	commitDir(t, r, dir, "x", repo.CommitTreeOptions{})
	check(t, r)
	used := int64(len(text))
	for range 100 { // XFS frees what was deleted in the background
		ok(t, unix.Statfs(mnt, &after))
		if used = (int64(before.Bfree) - int64(after.Bfree)) * after.Bsize; used <= int64(len(text))/2 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if used > int64(len(text))/2 {
		t.Errorf("the second file took %d bytes", used)
	}
	links, err := filepath.Glob(r.Path() + "/objects/??/*.payload-link")
	ok(t, err)
	if len(links) != 1 {
		t.Fatalf("payload links: %v", links)
	}
	ctx := context.Background()
	_, err = r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	ok(t, err)
	if _, err := os.Lstat(links[0]); err != nil {
		t.Error("the link went with a prune that left its file")
	}
	ok(t, r.DeleteRef("x"))
	_, err = r.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	ok(t, err)
	if _, err := os.Lstat(links[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link stays without its file: %v", err)
	}
	check(t, r)
}

// mountImage mounts a new file system in a file.
func mountImage(t *testing.T, mkfs ...string) string {
	t.Helper()
	_, err := exec.LookPath(mkfs[0])
	need(t, err == nil, mkfs[0])
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	ok(t, err)
	ok(t, f.Truncate(400<<20))
	ok(t, f.Close())
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		need(t, false, "loop mounts: "+string(out))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			ok(t, unix.Unmount(mnt, unix.MNT_DETACH))
		}
	})
	return mnt
}
