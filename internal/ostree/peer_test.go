// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// need skips at a desk and fails in CI if a program is missing.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatalf("needs %s", program)
	}
	t.Skipf("needs %s", program)
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "OSTREE_DUMMY_SIGN_ENABLED=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestAgainstOSTree commits random directories with the real ostree: every object that it writes is read and encoded
// again to the same bytes, and our own encoding of the directory has the name that ostree gave it.
func TestAgainstOSTree(t *testing.T) {
	need(t, "ostree")
	for seed := int64(1); seed <= 4; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		top := t.TempDir()
		dir, repo := top+"/tree", top+"/repo"
		fill(t, rnd, dir, 3)
		if seed == 1 {
			fillWide(t, dir+"/wide")
		}
		run(t, "ostree", "--repo="+repo, "init", "--mode=archive")
		commit := run(t, "ostree", "--repo="+repo, "commit", "-b", "test/"+fmt.Sprint(seed), "-s", "tree é", "-m", "two\nlines",
			"--add-metadata-string=version=1", `--add-metadata=x=@(a{sv}mias) ({"k": <byte 1>}, just 3, ["a"])`, dir)
		run(t, "ostree", "--repo="+repo, "sign", "--sign-type=dummy", commit, "secret")
		run(t, "ostree", "--repo="+repo, "summary", "-u")
		checkRepo(t, repo)
		tree, meta := encodeDir(t, dir)
		data, err := os.ReadFile(repo + "/objects/" + commit[:2] + "/" + commit[2:] + ".commit")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ostree.ParseCommit(data)
		if err != nil {
			t.Fatal(err)
		}
		if c.Tree != tree || c.Meta != meta {
			t.Errorf("seed %d: root is %s %s, ostree has %s %s", seed, tree, meta, c.Tree, c.Meta)
		}
		if c.Subject != "tree é" || !strings.HasPrefix(c.Body, "two\nlines") || c.Version() != "1" {
			t.Errorf("seed %d: subject %q, body %q, version %q", seed, c.Subject, c.Body, c.Version())
		}
	}
}

// checkRepo reads and encodes again every object of an archive repository, and its summary.
func checkRepo(t *testing.T, repo string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(repo+"/objects", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		checkObject(t, strings.TrimPrefix(path, repo+"/objects/"), data)
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d objects: %v", n, err)
	}
	data, err := os.ReadFile(repo + "/summary")
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := recode("summary", data); err != nil || !bytes.Equal(again, data) {
		t.Errorf("summary: %v\n got %x\nwant %x", err, again, data)
	}
}

func checkObject(t testing.TB, path string, data []byte) {
	t.Helper()
	sum, typ, archive, err := ostree.ParseObjectPath(path)
	if err != nil {
		t.Error(err)
		return
	}
	if got := ostree.ObjectPath(sum, typ, archive); got != path {
		t.Errorf("path %s became %s", path, got)
	}
	kind := typ.String()
	if archive {
		kind = "filez"
	}
	again, got, err := recode(kind, data)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if !bytes.Equal(again, data) {
		t.Errorf("%s: encoded again\n got %.200x\nwant %.200x", path, again, data)
	}
	if typ != ostree.TypeCommitMeta && got != sum {
		t.Errorf("%s: name is %s", path, got)
	}
}

// fill makes a random directory.
func fill(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	t.Helper()
	mkdir(t, dir)
	for i, n := 0, rnd.Intn(12); i < n; i++ {
		path := dir + "/" + randomName(rnd)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch k := rnd.Intn(10); {
		case k < 3 && depth > 0:
			fill(t, rnd, path, depth-1)
		case k < 5:
			if err := os.Symlink("../"+randomName(rnd), path); err != nil {
				t.Fatal(err)
			}
			continue
		default:
			content := make([]byte, rnd.Intn(3)*rnd.Intn(9000))
			rnd.Read(content)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []string{"user.zz", "user.a", "user.mm"}[:rnd.Intn(4)] {
			_ = unix.Setxattr(path, x, []byte(randomName(rnd)), 0) // not every file system has them
		}
		if err := os.Chmod(path, fs.FileMode(0o700|rnd.Intn(0o100))|[]fs.FileMode{0, fs.ModeSetuid, fs.ModeSticky}[rnd.Intn(3)]); err != nil {
			t.Fatal(err)
		}
	}
}

// fillWide makes directories whose dirtrees need offsets of 2 and 4 bytes.
func fillWide(t *testing.T, dir string) {
	t.Helper()
	for sub, n := range map[string]int{"few": 6, "some": 40, "many": 1500} {
		mkdir(t, dir+"/"+sub)
		for i := range n {
			if err := os.Symlink("x", fmt.Sprintf("%s/%s/%s%04d", dir, sub, strings.Repeat("n", i%240), i)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func randomName(rnd *rand.Rand) string {
	letters := []rune("abcXYZ019-_.+~ é€")
	out := []rune{'n'}
	for n := rnd.Intn(5) * rnd.Intn(12); n > 0; n-- {
		out = append(out, letters[rnd.Intn(len(letters))])
	}
	return string(out)
}

// encodeDir is what a commit does, in short: the names of a directory's dirtree and dirmeta.
func encodeDir(t *testing.T, dir string) (tree, meta ostree.Checksum) {
	t.Helper()
	var dt ostree.DirTree
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := dir + "/" + e.Name()
		if e.IsDir() {
			sub, m := encodeDir(t, path)
			dt.Dirs = append(dt.Dirs, ostree.TreeDir{Name: e.Name(), Tree: sub, Meta: m})
			continue
		}
		h := header(t, path)
		var content io.Reader
		if !h.IsSymlink() {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content = bytes.NewReader(data)
		}
		sum, _, err := h.Sum(content)
		if err != nil {
			t.Fatal(err)
		}
		dt.Files = append(dt.Files, ostree.TreeFile{Name: e.Name(), Checksum: sum})
	}
	slices.Reverse(dt.Files) // Encode sorts
	h := header(t, dir)
	return dt.Checksum(), ostree.DirMeta{UID: h.UID, GID: h.GID, Mode: h.Mode, Xattrs: h.Xattrs}.Checksum()
}

func header(t *testing.T, path string) ostree.FileHeader {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	h := ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if h.IsSymlink() {
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		h.Symlink = target
		return h
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Listxattr(path, buf)
	if err != nil {
		return h
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if n == 0 {
			break
		}
		value := make([]byte, 1<<16)
		vn, err := unix.Getxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		h.Xattrs = append(h.Xattrs, ostree.Xattr{Name: name, Value: value[:vn]})
	}
	h.Xattrs = ostree.SortXattrs(h.Xattrs)
	return h
}

// shared is where real data of other projects may lie.
func shared() string {
	if dir := os.Getenv("GROVE_SHARED"); dir != "" {
		return dir
	}
	return "../../../shared"
}

// sharedFiles are repositories in tar files, as the peers' own tests have them.
var sharedFiles = []string{
	"ostreedev-ostree/tests/pre-signed-pull-data.tar.gz",
	"ostreedev-ostree/tests/pre-endian-deltas-repo-little.tar.xz",
	"ostreedev-ostree/tests/pre-endian-deltas-repo-big.tar.xz",
	"ostreedev-ostree/tests/bare-split-xattrs-basic.tar.xz",
	"ostree-rs-ext/ostree-ext/lib/src/fixtures/exampleos-v1.tar.zst",
}

// eachShared calls f for each object and summary in the shared repositories: path is xx/yyyy….type or "summary".
func eachShared(t testing.TB, f func(archive, path string, data []byte)) {
	for _, name := range sharedFiles {
		file := shared() + "/data/ostree/" + name
		if _, err := os.Stat(file); err != nil {
			continue
		}
		unpack := map[string]string{".gz": "gzip", ".xz": "xz", ".zst": "zstd"}[filepath.Ext(name)]
		if _, err := exec.LookPath(unpack); err != nil {
			continue
		}
		out, err := exec.Command(unpack, "-dc", file).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for r := tar.NewReader(bytes.NewReader(out)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, path, ok := strings.Cut(h.Name, "objects/")
			if filepath.Base(h.Name) == "summary" {
				path, ok = "summary", true
			}
			if !ok || h.Typeflag != tar.TypeReg {
				continue
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			f(name, path, data)
		}
	}
}

func sharedObjects(t testing.TB, kind string) (out [][]byte) {
	eachShared(t, func(_, path string, data []byte) {
		if strings.HasSuffix(path, kind) && len(out) < 50 {
			out = append(out, data)
		}
	})
	return out
}

func TestSharedRepositories(t *testing.T) {
	counts := map[string]int{}
	eachShared(t, func(archive, path string, data []byte) {
		kind := strings.TrimPrefix(filepath.Ext(path), ".")
		switch kind {
		case "file", "file-xattrs-link": // bare: the header lies in the inode
			return
		case "":
			kind = "summary"
			if again, _, err := recode(kind, data); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%s: summary: %v\n got %x\nwant %x", archive, err, again, data)
			}
		default:
			checkObject(t, path, data)
		}
		counts[kind]++
	})
	if len(counts) == 0 {
		t.Skip("needs shared data (GROVE_SHARED)")
	}
	t.Log(counts)
}

// TestBareUser reads the headers that ostree keeps in xattrs of a bare-user repository.
func TestBareUser(t *testing.T) {
	need(t, "ostree")
	top := t.TempDir()
	dir, repo := top+"/tree", top+"/repo"
	fill(t, rand.New(rand.NewSource(7)), dir, 2)
	if err := unix.Setxattr(dir, "user.test", []byte("x"), 0); err != nil {
		t.Skipf("needs a file system with user xattrs: %v", err)
	}
	run(t, "ostree", "--repo="+repo, "init", "--mode=bare-user")
	run(t, "ostree", "--repo="+repo, "commit", "-b", "x", "--owner-uid=5", dir)
	files, err := filepath.Glob(repo + "/objects/*/*.file")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, path := range files {
		sum, _, _, err := ostree.ParseObjectPath(strings.TrimPrefix(path, repo+"/objects/"))
		if err != nil {
			t.Fatal(err)
		}
		value := make([]byte, 1<<16)
		n, err := unix.Getxattr(path, ostree.UserMetaXattr, value)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ostree.ParseUserMeta(value[:n])
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := ostree.EncodeUserMeta(h); !bytes.Equal(got, value[:n]) {
			t.Errorf("%s: encoded again\n got %x\nwant %x", path, got, value[:n])
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if h.IsSymlink() {
			h.Symlink, content = string(content), nil
		}
		if got, _, err := h.Sum(bytes.NewReader(content)); err != nil || got != sum {
			t.Errorf("%s: name is %s, %v", path, got, err)
		}
	}
}
