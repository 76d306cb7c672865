// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// content is the file object that "path=x" stands for in the texts of these tests.
func content(x string) ostree.Checksum { return ostree.SumBytes([]byte(x)) }

func meta(mode uint32) ostree.DirMeta { return ostree.DirMeta{Mode: ostree.ModeDir | mode} }

// letters turns checksums back into what made them.
var letters = func() map[ostree.Checksum]string {
	m := map[ostree.Checksum]string{}
	for c := 'a'; c <= 'z'; c++ {
		m[content(string(c))] = string(c)
	}
	return m
}()

// mk makes a tree from words: "path=x" a file, "path/" a directory, "path/700" one with that mode.
func mk(t testing.TB, words string) *tree.Tree {
	t.Helper()
	e := tree.Empty(ostree.DefaultDirMeta()).Edit()
	for _, w := range strings.Fields(words) {
		if path, x, ok := strings.Cut(w, "="); ok {
			e.PutFile(path, content(x))
			continue
		}
		i := strings.LastIndex(w, "/")
		mode := uint32(0o755)
		if w[i+1:] != "" {
			fmt.Sscanf(w[i+1:], "%o", &mode)
		}
		e.PutDir(w[:i], meta(mode))
	}
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	return e.Tree()
}

// show is the reverse of mk, in the order of Walk.
func show(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	var out []string
	err := tr.Walk(func(path string, e tree.Entry) error {
		if path != "" || e.Meta.Mode&0o7777 != 0o755 {
			out = append(out, path+showEntry(e))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func showEntry(e tree.Entry) string {
	switch {
	case !e.Dir:
		return "=" + letters[e.File]
	case e.Meta.Mode&0o7777 == 0o755:
		return "/"
	}
	return fmt.Sprintf("/%o", e.Meta.Mode&0o7777)
}

// stored writes tr and loads it again, so that it is read lazily; the counts begin anew.
func stored(t testing.TB, m *tree.Memory, tr *tree.Tree) (*tree.Tree, tree.Root) {
	t.Helper()
	root, err := tr.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Stats()
	return tree.Load(m, root), root
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

const system = "bin=l etc/ etc/fstab=f usr/ usr/bin/ usr/bin/sh=s usr/lib/ usr/lib/a/ usr/lib/a/x=x usr/lib/b=b usr/lib-/ usr/lib-/z=z var/700"

func TestLook(t *testing.T) {
	var m tree.Memory
	tr, _ := stored(t, &m, mk(t, system))
	equal(t, "walk", show(t, tr), system)
	for path, want := range map[string]string{
		"":             "/ ok",
		"usr/bin/sh":   "=s ok",
		"usr/lib":      "/ ok",
		"var":          "/700 ok",
		"usr/none":     "none ok",
		"bin/sh":       "none ok",
		"usr/bin/sh/x": "none ok",
		"/usr":         `none path "/usr": name is empty`,
		"usr/":         `none path "usr/": name is empty`,
		"usr/../etc":   `none path "usr/../etc": name ".." is reserved`,
	} {
		e, ok, err := tr.Lookup(path)
		got := "none"
		if ok {
			got = showEntry(e)
			if want := path[strings.LastIndex(path, "/")+1:]; e.Name != want {
				t.Errorf("lookup %q: name %q", path, e.Name)
			}
		}
		equal(t, "lookup "+path, got+" "+errText(err), want)
	}
	es, err := tr.ReadDir("usr")
	var names []string
	for _, e := range es {
		names = append(names, e.Name+showEntry(e))
	}
	equal(t, "readdir", fmt.Sprint(names, err), "[bin/ lib/ lib-/] <nil>")
	if _, err := tr.ReadDir("bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("readdir of a file: %v", err)
	}
	sub, err := tr.Sub("usr/lib")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sub", show(t, sub), "a/ a/x=x b=b")
	if _, err := tr.Sub("usr/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sub: %v", err)
	}
}

func TestWalkSkips(t *testing.T) {
	tr := mk(t, system)
	for at, want := range map[string]string{
		"usr/lib":    ". bin etc etc/fstab usr usr/bin usr/bin/sh usr/lib usr/lib- usr/lib-/z var",
		"usr/bin/sh": ". bin etc etc/fstab usr usr/bin usr/bin/sh usr/lib usr/lib/a usr/lib/a/x usr/lib/b usr/lib- usr/lib-/z var",
		"bin":        ". bin",
		".":          ".",
	} {
		var got []string
		err := tr.Walk(func(path string, _ tree.Entry) error {
			if path == "" {
				path = "."
			}
			got = append(got, path)
			if path == at {
				return fs.SkipDir
			}
			return nil
		})
		equal(t, "skip "+at, strings.Join(got, " ")+errText(err), want+"ok")
	}
	n := 0
	err := tr.Walk(func(string, tree.Entry) error { n++; return fs.SkipAll })
	equal(t, "skip all", fmt.Sprint(n, err), "1 <nil>")
	boom := errors.New("boom")
	if err := tr.Walk(func(string, tree.Entry) error { return boom }); err != boom {
		t.Errorf("error of f became %v", err)
	}
}

// TestLazy: looking at one path reads the directories on the way and nothing else.
func TestLazy(t *testing.T) {
	var m tree.Memory
	tr, _ := stored(t, &m, mk(t, system))
	if _, _, err := tr.Lookup("usr/bin/sh"); err != nil {
		t.Fatal(err)
	}
	equal(t, "reads", fmt.Sprintf("%+v", m.Stats()), "{TreesRead:3 MetasRead:0 TreesPut:0 MetasPut:0}")
}

// TestMissingObject: what can not be read is an error that names path and object.
func TestMissingObject(t *testing.T) {
	var m, empty tree.Memory
	full := mk(t, system)
	_, root := stored(t, &m, full)
	tr := tree.Load(&empty, root)
	_, _, err := tr.Lookup("usr")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), root.Tree.String()) {
		t.Errorf("lookup: %v", err)
	}
	if err := tr.Walk(func(string, tree.Entry) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("walk: %v", err)
	}
	if _, err := tree.Merge(tr, full, tree.MergeOptions{}); err != nil {
		t.Errorf("merge of equal content opens nothing: %v", err)
	}
	if _, err := tree.Merge(tr, mk(t, "x=x"), tree.MergeOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("merge: %v", err)
	}
	if _, err := tree.Diff(tr, mk(t, "x=x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("diff: %v", err)
	}
	e := tr.Edit()
	if err := e.PutFile("usr/x", content("x")); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "usr/x: ") {
		t.Errorf("edit: %v", err)
	}
}

// TestBomb: a few objects that describe more entries than anybody has are refused, not visited.
func TestBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("visits millions of entries")
	}
	var m tree.Memory
	metaSum, _ := m.PutDirMeta(ostree.DefaultDirMeta())
	sum, _ := m.PutDirTree(ostree.DirTree{})
	for range 6 {
		var dt ostree.DirTree
		for i := range 1000 {
			dt.Dirs = append(dt.Dirs, ostree.TreeDir{Name: fmt.Sprintf("%04d", i), Tree: sum, Meta: metaSum})
		}
		sum, _ = m.PutDirTree(dt)
	}
	n := 0
	stop := errors.New("stop")
	err := tree.Load(&m, tree.Root{Tree: sum, Meta: metaSum}).Walk(func(string, tree.Entry) error {
		if n++; n > 1<<20 { // the limit itself would take too long here
			return stop
		}
		return nil
	})
	if err != stop {
		t.Errorf("walk: %v", err)
	}
	for range tree.MaxDepth + 1 {
		sum, _ = m.PutDirTree(ostree.DirTree{Dirs: []ostree.TreeDir{{Name: "d", Tree: sum, Meta: metaSum}}})
	}
	err = tree.Load(&m, tree.Root{Tree: sum, Meta: metaSum}).Walk(func(string, tree.Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "nested deeper than") {
		t.Errorf("deep tree: %.80v", err)
	}
}

func TestWrite(t *testing.T) {
	var m tree.Memory
	tr := mk(t, system)
	hash, err := tree.Hash(tr)
	if err != nil {
		t.Fatal(err)
	}
	loaded, root := stored(t, &m, tr)
	if root != hash {
		t.Errorf("written as %v, hashed as %v", root, hash)
	}
	if again, err := loaded.Write(&m); err != nil || again != root {
		t.Errorf("written again as %v, %v", again, err)
	}
	equal(t, "unchanged", fmt.Sprintf("%+v", m.Stats()), "{TreesRead:0 MetasRead:0 TreesPut:0 MetasPut:0}")
	e := loaded.Edit()
	e.PutFile("usr/lib/a/y", content("y"))
	if _, err := e.Tree().Write(&m); err != nil {
		t.Fatal(err)
	}
	equal(t, "one file", fmt.Sprintf("%+v", m.Stats()), "{TreesRead:4 MetasRead:0 TreesPut:4 MetasPut:0}")
}

func TestFormat(t *testing.T) {
	headers := map[ostree.Checksum]ostree.FileHeader{
		content("l"): {Mode: 0o120777, Symlink: "usr/bin"},
		content("s"): {UID: 1, GID: 2, Mode: 0o104755, Xattrs: []ostree.Xattr{{Name: "user.x", Value: []byte("hi")}}},
	}
	e := mk(t, "bin=l usr/bin/sh=s").Edit()
	e.PutDir("a b", ostree.DirMeta{UID: 5, Mode: 0o041777, Xattrs: []ostree.Xattr{{Name: "user.n", Value: []byte{1}}}})
	var out strings.Builder
	err := tree.Format(&out, e.Tree(), func(c ostree.Checksum) (ostree.FileHeader, int64, error) {
		return headers[c], int64(len(letters[c])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "format", out.String(), `d 0755 0:0 - - .
d 1777 5:0 - - "a b" {user.n=01}
l 0777 0:0 1 `+content("l").String()[:12]+` bin -> usr/bin
d 0755 0:0 - - usr
d 0755 0:0 - - usr/bin
- 4755 1:2 1 `+content("s").String()[:12]+` usr/bin/sh {user.x=6869}
`)
}
