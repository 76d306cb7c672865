// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"grove/internal/ostree"
	"grove/internal/tree"
)

func TestEdit(t *testing.T) {
	var m tree.Memory
	base, _ := stored(t, &m, mk(t, "a=a d/ d/x=x d/y=y"))
	graft := mk(t, "g=g h/700")
	for _, tt := range []struct {
		name string
		do   func(e *tree.Editor)
		want string
	}{
		{"nothing", func(e *tree.Editor) {}, "a=a d/ d/x=x d/y=y | ok"},
		{"replace", func(e *tree.Editor) { e.PutFile("a", content("b")) }, "a=b d/ d/x=x d/y=y | ok"},
		{"parents", func(e *tree.Editor) { e.PutFile("n/o/p", content("p")) }, "a=a d/ d/x=x d/y=y n/ n/o/ n/o/p=p | ok"},
		{"parents with mode", func(e *tree.Editor) { e.ParentMeta = meta(0o711); e.PutDir("n/o", meta(0o700)) },
			"a=a d/ d/x=x d/y=y n/711 n/o/700 | ok"},
		{"order", func(e *tree.Editor) {
			e.PutFile("d/z", content("z"))
			e.PutFile("d/b", content("b"))
			e.PutDir("d/xa", meta(0o755))
		}, "a=a d/ d/b=b d/x=x d/xa/ d/y=y d/z=z | ok"},
		{"chmod", func(e *tree.Editor) { e.PutDir("d", meta(0o700)); e.PutDir("", meta(0o555)) }, "/555 a=a d/700 d/x=x d/y=y | ok"},
		{"remove", func(e *tree.Editor) { e.Remove("d/x"); e.Remove("a") }, "d/ d/y=y | ok"},
		{"remove all", func(e *tree.Editor) { e.Remove("d"); e.PutFile("d", content("f")) }, "a=a d=f | ok"},
		{"remove and make", func(e *tree.Editor) { e.Remove("a"); e.PutDir("a", meta(0o755)); e.PutFile("a/b", content("b")) },
			"a/ a/b=b d/ d/x=x d/y=y | ok"},
		{"graft", func(e *tree.Editor) { e.Graft("d", graft); e.PutFile("d/h/i", content("i")); e.Graft("q/r", graft) },
			"a=a d/ d/g=g d/h/700 d/h/i=i q/ q/r/ q/r/g=g q/r/h/700 | ok"},
		{"graft root", func(e *tree.Editor) { e.Graft("", graft); e.PutFile("x", content("x")) }, "g=g h/700 x=x | ok"},
		{"errors", func(e *tree.Editor) {
			e.PutFile("d", content("x"))
			e.PutFile("a/b/c", content("x"))
			e.PutFile("", content("x"))
			e.PutFile("../x", content("x"))
			e.PutDir("a", meta(0o755))
			e.PutDir("n", ostree.DirMeta{Mode: 0o755})
			e.Graft("a", graft)
			e.Remove("a/b")
			e.Remove("n/o")
			e.Remove("")
			e.PutFile("fine", content("f"))
		}, `a=a d/ d/x=x d/y=y fine=f | d: put file: a directory is there
a/b/c: "a" is a file
.: the root is a directory
../x: path "../x": name ".." is reserved
a: put directory: a file is there
n: put directory: mode 0755 is no directory's
a: graft: a file is there
a/b: remove: file does not exist
n/o: remove: file does not exist
.: remove: the root can not be removed`},
	} {
		e := base.Edit()
		tt.do(e)
		equal(t, tt.name, show(t, e.Tree())+" | "+errText(e.Err()), tt.want)
		equal(t, tt.name+": base", show(t, base), "a=a d/ d/x=x d/y=y")
	}
	equal(t, "graft is as it was", show(t, graft), "g=g h/700")
	if err := base.Edit().Remove("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove: %v", err)
	}
}

// TestEditorGoesOn: each Tree is a value of its own while the Editor goes on.
func TestEditorGoesOn(t *testing.T) {
	e := mk(t, "a/ a/b/").Edit()
	var trees []*tree.Tree
	for _, n := range "xyz" {
		e.PutFile("a/b/"+string(n), content(string(n)))
		trees = append(trees, e.Tree())
	}
	equal(t, "first", show(t, trees[0]), "a/ a/b/ a/b/x=x")
	equal(t, "second", show(t, trees[1]), "a/ a/b/ a/b/x=x a/b/y=y")
	equal(t, "third", show(t, trees[2]), "a/ a/b/ a/b/x=x a/b/y=y a/b/z=z")
}

// TestEditBack: an edit that changes nothing leaves every checksum, and nothing to write.
func TestEditBack(t *testing.T) {
	var m tree.Memory
	base, root := stored(t, &m, mk(t, system))
	e := base.Edit()
	e.PutFile("usr/lib/b", content("q"))
	e.PutFile("usr/lib/b", content("b"))
	e.PutDir("var", meta(0o700))
	e.PutFile("new/file", content("n"))
	e.Remove("new")
	got, err := e.Tree().Write(&m)
	if err != nil || got != root {
		t.Errorf("root %v, want %v; %v", got, root, err)
	}
	if s := m.Stats(); s.TreesPut+s.MetasPut != 0 {
		t.Errorf("written: %+v", s)
	}
}

// TestRandomEdits holds the Editor against a map of paths.
func TestRandomEdits(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for round := range 60 {
		var m tree.Memory
		model := map[string]string{} // path -> letter, or "/" for a directory
		tr := tree.Empty(ostree.DefaultDirMeta())
		for range 6 {
			e := tr.Edit()
			for range rnd.Intn(25) {
				randomStep(rnd, e, model)
			}
			tr = e.Tree()
			if rnd.Intn(2) == 0 {
				tr, _ = stored(t, &m, tr)
			}
			equal(t, fmt.Sprint("round ", round), show(t, tr), modelText(model))
		}
	}
}

func randomStep(rnd *rand.Rand, e *tree.Editor, model map[string]string) {
	names := make([]string, 1+rnd.Intn(3))
	for i := range names {
		names[i] = []string{"a", "b", "a-", "c"}[rnd.Intn(4)]
	}
	path, letter := strings.Join(names, "/"), string(rune('a'+rnd.Intn(3)))
	switch rnd.Intn(4) {
	case 0:
		if e.Remove(path) == nil {
			for p := range model {
				if p == path || strings.HasPrefix(p, path+"/") {
					delete(model, p)
				}
			}
		}
		return
	case 1:
		if e.PutDir(path, meta(0o755)) != nil {
			return
		}
		model[path] = "/"
	default:
		if e.PutFile(path, content(letter)) != nil {
			return
		}
		model[path] = "=" + letter
	}
	for i := 1; i < len(names); i++ {
		model[strings.Join(names[:i], "/")] = "/"
	}
}

func modelText(model map[string]string) string {
	var paths [][]string
	for p := range model {
		paths = append(paths, strings.Split(p, "/"))
	}
	slices.SortFunc(paths, slices.Compare)
	var out []string
	for _, p := range paths {
		path := strings.Join(p, "/")
		out = append(out, path+model[path])
	}
	return strings.Join(out, " ")
}
