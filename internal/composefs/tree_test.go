// SPDX-License-Identifier: Apache-2.0

package composefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/composefs"
	"grove/internal/ostree"
	"grove/internal/sandbox"
	"grove/internal/tree"
)

// store is a repository in memory.
type store struct {
	trees map[ostree.Checksum]ostree.DirTree
	metas map[ostree.Checksum]ostree.DirMeta
	files map[ostree.Checksum]composefs.File
	body  map[ostree.Checksum]string
}

func newStore() *store {
	return &store{map[ostree.Checksum]ostree.DirTree{}, map[ostree.Checksum]ostree.DirMeta{}, map[ostree.Checksum]composefs.File{},
		map[ostree.Checksum]string{}}
}

func (s *store) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	if t, ok := s.trees[c]; ok {
		return t, nil
	}
	return ostree.DirTree{}, fmt.Errorf("dirtree %s is missing", c)
}

func (s *store) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) {
	if m, ok := s.metas[c]; ok {
		return m, nil
	}
	return ostree.DirMeta{}, fmt.Errorf("dirmeta %s is missing", c)
}

func (s *store) PutDirTree(t ostree.DirTree) (ostree.Checksum, error) {
	s.trees[t.Checksum()] = t
	return t.Checksum(), nil
}

func (s *store) PutDirMeta(m ostree.DirMeta) (ostree.Checksum, error) {
	s.metas[m.Checksum()] = m
	return m.Checksum(), nil
}

func (s *store) stat(c ostree.Checksum) (composefs.File, error) {
	if f, ok := s.files[c]; ok {
		return f, nil
	}
	return composefs.File{}, errors.New("no such file object")
}

func (s *store) file(t *testing.T, content string, mode uint32) ostree.Checksum {
	h := ostree.FileHeader{Mode: 0o100000 | mode}
	c, _, err := h.Sum(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	s.files[c], s.body[c] = composefs.File{Header: h, SizeBytes: int64(len(content))}, content
	return c
}

func (s *store) symlink(t *testing.T, target string) ostree.Checksum {
	h := ostree.FileHeader{Mode: 0o120777, Symlink: target}
	c, _, err := h.Sum(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	s.files[c] = composefs.File{Header: h}
	return c
}

func (s *store) write(t *testing.T, e *tree.Editor) tree.Root {
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	root, err := e.Tree().Write(s)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// two makes a base and a tree that differs from it in every way a layer can.
func (s *store) two(t *testing.T) (base, top tree.Root) {
	e := tree.Empty(ostree.DefaultDirMeta()).Edit()
	put := func(e *tree.Editor, path, content string) { _ = e.PutFile(path, s.file(t, content, 0o644)) }
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		put(e, fmt.Sprintf("usr/share/d%d/f%d", r.IntN(40), i), fmt.Sprint("content ", i))
	}
	put(e, "usr/bin/tool", "old tool")
	put(e, "usr/gone/deep/file", "x")
	put(e, "usr/lib/becomes-dir", "x")
	put(e, "usr/lib/becomes-file/inside", "x")
	put(e, "usr/lib/dir/kept", "kept")
	put(e, "usr/lib/dir/removed", "removed")
	put(e, "00/hex", "a name like a folder of objects")
	_ = e.PutFile("lib", s.symlink(t, "usr/lib"))
	base = s.write(t, e)
	old := tree.Load(s, base)
	e = old.Edit()
	put(e, "usr/bin/tool", "new tool, longer")
	put(e, "usr/bin/more", "more")
	_ = e.Remove("usr/gone")
	_ = e.Remove("usr/lib/becomes-dir")
	put(e, "usr/lib/becomes-dir/inside", "now a directory")
	_ = e.Remove("usr/lib/becomes-file")
	put(e, "usr/lib/becomes-file", "now a file")
	_ = e.Remove("usr/lib/dir/removed")
	_ = e.PutDir("usr/lib/dir", ostree.DirMeta{UID: 5, GID: 6, Mode: 0o40700})
	_ = e.Remove("lib")
	_ = e.PutFile("lib", s.symlink(t, "usr/lib64"))
	return base, s.write(t, e)
}

func TestSameTreeSameImage(t *testing.T) {
	s := newStore()
	root, _ := s.two(t)
	var first bytes.Buffer
	one, err := composefs.Write(t.Context(), &first, s, root, composefs.Options{Stat: s.stat})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var again bytes.Buffer
		two, err := composefs.Write(t.Context(), &again, s, root, composefs.Options{Stat: s.stat})
		if err != nil {
			t.Fatal(err)
		}
		if one != two || !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Fatal("the same tree made another image")
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	s := newStore()
	e := tree.Empty(ostree.DefaultDirMeta()).Edit()
	_ = e.PutFile("a/b", ostree.Checksum{1})
	root := s.write(t, e)
	_, err := composefs.Write(t.Context(), &bytes.Buffer{}, s, root, composefs.Options{Stat: s.stat})
	if err == nil || !strings.Contains(err.Error(), "b: no such file object") {
		t.Errorf("missing object: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := composefs.Write(ctx, &bytes.Buffer{}, s, root, composefs.Options{Stat: s.stat}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	long := strings.Repeat("x", 5000)
	e = tree.Empty(ostree.DefaultDirMeta()).Edit()
	_ = e.PutFile("link", s.symlink(t, long))
	_, err = composefs.Write(t.Context(), &bytes.Buffer{}, s, s.write(t, e), composefs.Options{Stat: s.stat})
	if err == nil || !strings.Contains(err.Error(), "/link: symlink target of 5000 bytes") {
		t.Errorf("long target: %v", err)
	}
}

// A kernel shows base and layer, one above the other, as the tree they were made of.
func TestStackedImagesShowTheTree(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs root to mount")
		}
		t.Skip("needs root to mount")
	}
	s := newStore()
	base, top := s.two(t)
	dir := t.TempDir()
	for c, body := range s.body {
		path := filepath.Join(dir, "objects", ostree.ObjectPath(c, ostree.TypeFile, false))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := func(name string, write func(f *os.File) error) string {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := write(f); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	o := composefs.Options{Stat: s.stat}
	below := image("base", func(f *os.File) error {
		_, err := composefs.Write(t.Context(), f, s, base, o)
		return err
	})
	above := image("layer", func(f *os.File) error {
		_, err := composefs.WriteLayer(t.Context(), f, s, base, top, o)
		return err
	})
	for _, c := range []struct {
		name   string
		images []sandbox.ImageFile
		root   tree.Root
	}{{"one", []sandbox.ImageFile{{Path: below}}, base}, {"two", []sandbox.ImageFile{{Path: above}, {Path: below}}, top}} {
		at := filepath.Join(dir, c.name)
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := sandbox.MountHost([]sandbox.HostMount{{Image: &sandbox.Image{Files: c.images, Objects: []string{filepath.Join(dir, "objects")}}, At: at, ReadOnly: true}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
		if got, want := s.onDisk(t, at), s.inTree(t, c.root); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want)
		}
	}
}

func (s *store) inTree(t *testing.T, root tree.Root) string {
	var b strings.Builder
	err := tree.Load(s, root).Walk(func(path string, e tree.Entry) error {
		switch f := s.files[e.File]; {
		case e.Dir:
			fmt.Fprintf(&b, "%s d %o %d:%d\n", path, e.Meta.Mode&0o7777, e.Meta.UID, e.Meta.GID)
		case f.Header.Symlink != "":
			fmt.Fprintf(&b, "%s -> %s\n", path, f.Header.Symlink)
		default:
			fmt.Fprintf(&b, "%s %o %q\n", path, f.Header.Mode&0o7777, s.body[e.File])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sortLines(b.String())
}

func (s *store) onDisk(t *testing.T, at string) string {
	var b strings.Builder
	err := filepath.Walk(at, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, at), "/")
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		switch {
		case info.IsDir():
			fmt.Fprintf(&b, "%s d %o %d:%d\n", rel, st.Mode&0o7777, st.Uid, st.Gid)
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(&b, "%s -> %s\n", rel, target)
			return err
		default:
			body, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%s %o %q\n", rel, st.Mode&0o7777, body)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sortLines(b.String())
}

func sortLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
