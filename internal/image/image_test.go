// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/composefs"
	"grove/internal/gvariant"
	"grove/internal/image"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a repository with a store of images beside it.
type world struct {
	r   *repo.Repo
	s   *image.Store
	dir string
}

// setUp makes one, or skips where this host can show no images.
func setUp(t *testing.T) world {
	t.Helper()
	dir := t.TempDir()
	r, err := repo.Init(filepath.Join(dir, "repo"), repo.Bare)
	must(t, err)
	w := world{r, image.New(r, filepath.Join(dir, "images")), dir}
	if err := w.s.Support(); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return w
}

// commit writes files by their paths; a path with a final slash is a folder, "-> x" a link.
func (w world) commit(t *testing.T, files map[string]string, more ...gvariant.Entry) (ostree.Checksum, tree.Root) {
	t.Helper()
	dir := t.TempDir()
	for p, text := range files {
		path := filepath.Join(dir, p)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(p, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case link:
			must(t, os.Symlink(target, path))
		default:
			must(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	tx, err := w.r.Begin(t.Context())
	must(t, err)
	root, err := w.r.CommitTree(t.Context(), tx, dir, repo.CommitTreeOptions{})
	must(t, err)
	c, err := tx.PutCommit(ostree.Commit{Metadata: more, Tree: root.Tree, Meta: root.Meta, Timestamp: 1})
	must(t, err)
	must(t, tx.Commit())
	return c, root
}

// shown lists what a mount of the images shows.
func (w world) shown(t *testing.T, files []image.File) string {
	t.Helper()
	m, err := w.s.Mount(files)
	must(t, err)
	f, err := m.Open()
	must(t, err)
	defer f.Close()
	return list(t, f.Name()+"/.")
}

func list(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		text := ""
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			text, err = os.Readlink(p)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(p)
			text = string(data)
		}
		st, serr := d.Info()
		if serr == nil {
			fmt.Fprintf(&b, "%s %v %q\n", rel, st.Mode(), text)
		}
		return errors.Join(err, serr)
	}))
	return b.String()
}

func many(n int, more map[string]string) map[string]string {
	out := map[string]string{"usr/etc/conf": "c", "usr/bin/sh": "-> bash", "usr/bin/bash": "bash"}
	for i := range n {
		out[fmt.Sprintf("usr/share/d%d/f%d", i%7, i)] = fmt.Sprint("content ", i)
	}
	for p, text := range more {
		if text == "" {
			delete(out, p)
			continue
		}
		out[p] = text
	}
	return out
}

// A small change is a layer above the image of the base, a large one an image of its own, and a mount shows the tree
// either way.
func TestMake(t *testing.T) {
	for _, c := range []struct {
		name   string
		top    map[string]string
		images string
	}{
		{"same", many(60, nil), "base.erofs"},
		{"small", many(60, map[string]string{"usr/bin/new": "new", "usr/bin/bash": "other", "usr/share/d1/f1": ""}), "layer.erofs base.erofs"},
		{"folder gone", many(60, map[string]string{"usr/bin/sh": "", "usr/bin/bash": ""}), "layer.erofs base.erofs"},
		{"file for folder", many(60, map[string]string{"usr/bin/sh": "", "usr/bin/bash": "", "usr/bin": "file"}), "layer.erofs base.erofs"},
		{"large", many(400, map[string]string{"usr/bin/new": "new"}), "layer.erofs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setUp(t)
			_, base := w.commit(t, many(60, nil))
			_, top := w.commit(t, c.top)
			files, err := w.s.Make(t.Context(), w.mountable(t, base), w.mountable(t, top), t.TempDir())
			must(t, err)
			w.sameAs(t, files, top, c.images)
		})
	}
}

// sameAs holds the names of images, their digests and what a mount of them shows against a checkout of the tree.
func (w world) sameAs(t *testing.T, files []image.File, root tree.Root, images string) {
	t.Helper()
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f.Path))
		in, err := os.Open(f.Path)
		must(t, err)
		d, err := composefs.MeasureVerity(in)
		in.Close()
		if err != nil || d != f.Digest {
			t.Errorf("%s: digest %x, measured %x, %v", f.Path, f.Digest, d, err)
		}
	}
	if got := strings.Join(names, " "); got != images {
		t.Errorf("images %s, want %s", got, images)
	}
	out := filepath.Join(t.TempDir(), "out")
	must(t, w.r.Checkout(t.Context(), root, out, repo.CheckoutOptions{}))
	for _, m := range []string{"dev", "etc", "proc", "run", "sys", "tmp", "var"} {
		must(t, os.MkdirAll(filepath.Join(out, m), 0o755))
	}
	must(t, errors.Join(os.Chmod(out+"/proc", 0o555), os.Chmod(out+"/sys", 0o555), os.Chmod(out+"/tmp", 0o777|fs.ModeSticky)))
	if got, want := w.shown(t, files), list(t, out); got != want {
		t.Errorf("shown:\n%s\nwant:\n%s", got, want)
	}
}

func (w world) mountable(t *testing.T, root tree.Root) image.Tree {
	t.Helper()
	m, err := image.Mountable(w.r, root)
	must(t, err)
	return m
}

// The image of a base is made once, is found again, and goes when nobody has a link to it.
func TestBaseIsKept(t *testing.T) {
	w := setUp(t)
	_, root := w.commit(t, many(10, nil))
	a, err := w.s.Base(t.Context(), w.mountable(t, root))
	must(t, err)
	before := stat(t, a.Path)
	b, err := w.s.Base(t.Context(), w.mountable(t, root))
	must(t, err)
	if a != b || stat(t, b.Path).Ino != before.Ino {
		t.Errorf("made again: %+v, %+v", a, b)
	}
	other := image.New(w.r, filepath.Dir(a.Path))
	if b, err = other.Base(t.Context(), w.mountable(t, root)); err != nil || a != b {
		t.Errorf("by another store: %+v, %v", b, err)
	}
	link := filepath.Join(w.dir, "link")
	must(t, os.Link(a.Path, link))
	if freed, err := w.s.Sweep(); err != nil || freed != 0 || stat(t, a.Path).Ino != before.Ino {
		t.Errorf("swept %d bytes of what is used, %v", freed, err)
	}
	must(t, os.Remove(link))
	freed, err := w.s.Sweep()
	left, _ := os.ReadDir(filepath.Dir(a.Path))
	if err != nil || freed == 0 || len(left) > 0 {
		t.Errorf("swept %d bytes, %v; left %v", freed, err, left)
	}
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st
}

// A note without its image, and a damaged one, count as nothing.
func TestHalfABase(t *testing.T) {
	w := setUp(t)
	_, root := w.commit(t, many(3, nil))
	a, err := w.s.Base(t.Context(), w.mountable(t, root))
	must(t, err)
	note := strings.TrimSuffix(a.Path, ".erofs") + ".json"
	for _, damage := range []func() error{
		func() error { return os.Remove(a.Path) },
		func() error { return os.Remove(note) },
		func() error { return os.WriteFile(note, []byte("{}"), 0o644) },
		func() error { return os.WriteFile(note, []byte(`{"digest":"zz","inodes":3}`), 0o644) },
		func() error { return os.WriteFile(note, nil, 0o644) },
	} {
		must(t, damage())
		b, err := w.s.Base(t.Context(), w.mountable(t, root))
		must(t, err)
		if a != b {
			t.Errorf("got %+v, want %+v", b, a)
		}
		stat(t, b.Path)
		stat(t, note)
	}
}

func TestMountable(t *testing.T) {
	w := setUp(t)
	for _, c := range []struct {
		name, want string
		files      map[string]string
	}{
		{"etc moves", "", map[string]string{"etc/conf": "c"}},
		{"empty etc goes", "", map[string]string{"etc/": "", "usr/etc/conf": "c"}},
		{"both", "the tree has both /etc (with other) and /usr/etc", map[string]string{"etc/other": "c", "usr/etc/conf": "c"}},
		{"no folder", "/etc that is no folder", map[string]string{"etc": "c", "usr/etc/conf": "c"}},
	} {
		_, root := w.commit(t, c.files)
		m, err := image.Mountable(w.r, root)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s", c.name, err, c.want)
			}
			continue
		}
		must(t, err)
		f, err := w.s.Base(t.Context(), m)
		must(t, err)
		if got := w.shown(t, []image.File{f}); !strings.Contains(got, "usr/etc/conf -rw-r--r-- \"c\"\n") || strings.Contains(got, "\netc/") || !strings.Contains(got, "\netc d") {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

// What a commit says of its image is held against it, once.
func TestCheckCommit(t *testing.T) {
	w := setUp(t)
	files := many(5, nil)
	_, root := w.commit(t, files)
	right, err := composefs.CommitDigest(t.Context(), w.r, root)
	must(t, err)
	plain, _ := w.commit(t, files)
	good, _ := w.commit(t, files, gvariant.Entry{Key: composefs.KeyDigest, Value: gvariant.Bytes(right[:])})
	wrong := right
	wrong[0]++
	bad, _ := w.commit(t, files, gvariant.Entry{Key: composefs.KeyDigest, Value: gvariant.Bytes(wrong[:])})
	odd, _ := w.commit(t, files, gvariant.Entry{Key: composefs.KeyDigest, Value: gvariant.String("x")})
	for range 2 {
		must(t, w.s.CheckCommit(t.Context(), plain))
		must(t, w.s.CheckCommit(t.Context(), good))
		for _, c := range []ostree.Checksum{bad, odd} {
			if err := w.s.CheckCommit(t.Context(), c); !errors.Is(err, ostree.ErrCorrupt) {
				t.Errorf("wrong digest: %v", err)
			}
		}
	}
	if _, err := os.Lstat(filepath.Join(w.dir, "images", good.String()+".checked")); err != nil {
		t.Error(err)
	}
	_, err = w.s.Sweep()
	must(t, err)
	if _, err := os.Lstat(filepath.Join(w.dir, "images", good.String()+".checked")); err != nil {
		t.Errorf("the note of a commit that is there went: %v", err)
	}
}

// What the mount tells is only for the one who holds it open.
func TestSupportScratch(t *testing.T) {
	w := setUp(t)
	if err := w.s.SupportScratch(); err != nil {
		t.Log("scriptlets are run over checkouts here:", err)
	}
	bareUser, err := repo.Init(filepath.Join(w.dir, "user"), repo.BareUser)
	must(t, err)
	if err := image.New(bareUser, filepath.Join(w.dir, "other")).Support(); err == nil || !strings.Contains(err.Error(), "bare-user") {
		t.Errorf("mode bare-user: %v", err)
	}
}

// With fs-verity, objects and images are sealed, and a mount holds each file against its digest.
func TestSealed(t *testing.T) {
	w := setUp(t)
	_, root := w.commit(t, many(4, nil))
	w.s.Seal()
	f, err := w.s.Base(t.Context(), w.mountable(t, root))
	if err != nil {
		t.Skipf("this kernel or file system has no fs-verity: %v", err)
	}
	if !f.Sealed {
		t.Error("not sealed")
	}
	if got := w.shown(t, []image.File{f}); !strings.Contains(got, `usr/bin/bash -rw-r--r-- "bash"`) {
		t.Errorf("shown:\n%s", got)
	}
	f.Digest[0]++
	m, err := w.s.Mount([]image.File{f})
	must(t, err)
	if _, err := m.Open(); err == nil {
		t.Error("an image with another digest was mounted")
	}
}
