// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"grove/internal/ostree"
	"grove/internal/tree"
)

func TestMerge(t *testing.T) {
	decide := func(d tree.Decision) func(string, tree.Entry, tree.Entry) (tree.Decision, error) {
		return func(string, tree.Entry, tree.Entry) (tree.Decision, error) { return d, nil }
	}
	for _, tt := range []struct {
		name, base, layer string
		o                 tree.MergeOptions
		want              string
	}{
		{name: "apart", base: "a=a", layer: "b=b", want: "a=a b=b"},
		{name: "into", base: "d/ d/a=a", layer: "d/b=b d/e/f=f", want: "d/ d/a=a d/b=b d/e/ d/e/f=f"},
		{name: "identical", base: "d/a=a", layer: "d/a=a", want: "d/ d/a=a"},
		{name: "empty layer directory", base: "d/a=a", layer: "d/", want: "d/ d/a=a"},
		{name: "empty base directory", base: "d/", layer: "d/a=a", want: "d/ d/a=a"},
		{name: "mixed order", base: "b=b d/ f=f", layer: "a=a c/ e=e g/", want: "a=a b=b c/ d/ e=e f=f g/"},
		{name: "files", base: "d/a=a d/b=b", layer: "d/a=c d/b=d", want: "d/a: file ca978112ca1b against file 2e7d2c03a950\n" +
			"d/b: file 3e23e8160039 against file 18ac3e7343f0"},
		{name: "replace", base: "d/a=a d/c=c", layer: "d/a=b", o: tree.MergeOptions{Replace: true}, want: "d/ d/a=b d/c=c"},
		{name: "kinds", base: "a=a b/x=x", layer: "a/x=x b=b", o: tree.MergeOptions{Replace: true},
			want: "a: file ca978112ca1b against directory\nb: directory against file 3e23e8160039"},
		{name: "keep base", base: "a=a b/x=x c=c", layer: "a/x=x b=b c=d", o: tree.MergeOptions{OnConflict: decide(tree.KeepBase)},
			want: "a=a b/ b/x=x c=c"},
		{name: "take layer", base: "a=a b/x=x c=c", layer: "a/x=x b=b c=d", o: tree.MergeOptions{OnConflict: decide(tree.TakeLayer)},
			want: "a/ a/x=x b=b c=d"},
		{name: "refuse", base: "c=c", layer: "c=d", o: tree.MergeOptions{OnConflict: decide(tree.Refuse)},
			want: "c: file 2e7d2c03a950 against file 18ac3e7343f0"},
		{name: "error of the decision", base: "c=c", layer: "c=d", o: tree.MergeOptions{
			OnConflict: func(path string, b, l tree.Entry) (tree.Decision, error) {
				return 0, errors.New(letters[b.File] + letters[l.File])
			}}, want: "c: cd"},
		{name: "meta over default", base: "d/ d/x=x", layer: "d/700 d/y=y", want: "d/700 d/x=x d/y=y"},
		{name: "meta over default, equal content", base: "d/ d/x=x", layer: "d/700 d/x=x", want: "d/700 d/x=x"},
		{name: "default over meta", base: "d/700", layer: "d/755 d/y=y", want: "d/700 d/y=y"},
		{name: "meta over meta", base: "d/700", layer: "d/711 d/y=y", want: "d/700 d/y=y"},
		{name: "keep base dirs", base: "d/755", layer: "d/711 d/y=y", o: tree.MergeOptions{KeepBaseDirs: true}, want: "d/ d/y=y"},
		{name: "meta by function", base: "d/700 e/700 f/755 g/", layer: "d/711 e/711 f/711 g/", o: tree.MergeOptions{
			DirMeta: func(path string, b, l ostree.DirMeta) ostree.DirMeta {
				switch path {
				case "d":
					return b
				case "e":
					return l
				}
				return meta(0o1777)
			}}, want: "d/700 e/711 f/1777 g/"},
	} {
		var m tree.Memory
		base, _ := stored(t, &m, mk(t, tt.base))
		layer, _ := stored(t, &m, mk(t, tt.layer))
		for _, l := range []*tree.Tree{layer, mk(t, tt.layer)} {
			got, err := tree.Merge(base, l, tt.o)
			if err != nil {
				equal(t, tt.name, err.Error(), tt.want)
				if n := len(tree.Conflicts(err)); n != strings.Count(tt.want, "against") {
					t.Errorf("%s: %d conflicts", tt.name, n)
				}
				continue
			}
			equal(t, tt.name, show(t, got), tt.want)
			if _, err := got.Write(&m); err != nil {
				t.Errorf("%s: write: %v", tt.name, err)
			}
		}
		equal(t, tt.name+": base", show(t, base), show(t, mk(t, tt.base)))
	}
}

// TestMergeTouchesLittle: only directories that both have are read and written, whatever else there is.
func TestMergeTouchesLittle(t *testing.T) {
	var m tree.Memory
	base, _ := stored(t, &m, mk(t, system))
	layer, _ := stored(t, &m, mk(t, "usr/bin/tool=t usr/share/tool/a/b/c=c usr/share/doc/d=d"))
	got, err := tree.Merge(base, layer, tree.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Write(&m); err != nil {
		t.Fatal(err)
	}
	// read on both sides: root, usr, usr/bin; written: the same three
	equal(t, "objects", fmt.Sprintf("%+v", m.Stats()), "{TreesRead:6 MetasRead:0 TreesPut:3 MetasPut:0}")
	again, err := tree.Merge(got, layer, tree.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := tree.Hash(got)
	b, _ := tree.Hash(again)
	if a != b {
		t.Errorf("merged twice: %v, once: %v", b, a)
	}
}

func TestConflictAs(t *testing.T) {
	_, err := tree.Merge(mk(t, "a=a"), mk(t, "a/b=b"), tree.MergeOptions{})
	var c *tree.Conflict
	if !errors.As(fmt.Errorf("layer x: %w", err), &c) || c.Path != "a" || c.Base.Dir || !c.Layer.Dir || c.Layer.Meta.Mode != 0o040755 {
		t.Errorf("conflict %+v of %v", c, err)
	}
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct{ name, a, b, want string }{
		{"equal", system, system, ""},
		{"files", "a=a b=b d/x=x", "b=c c=c d/x=y", "D a M b A c M d/x"},
		{"whole directories", "d/e/f=f", "g/h/700", "D d D d/e D d/e/f A g A g/h"},
		{"meta", "d/ d/x=x", "d/700 d/x=x", "m d"},
		{"kinds", "a=a b/x=x", "a/y=y b=b", "M a A a/y M b D b/x"},
		{"all", "/700 a=a", "", "m . D a"},
	} {
		var m tree.Memory
		a, _ := stored(t, &m, mk(t, tt.a))
		for _, b := range []*tree.Tree{mk(t, tt.b), func() *tree.Tree { l, _ := stored(t, &m, mk(t, tt.b)); return l }()} {
			changes, err := tree.Diff(a, b)
			var out []string
			for _, c := range changes {
				path := c.Path
				if path == "" {
					path = "."
				}
				out = append(out, c.Kind.String()+" "+path)
				if (c.Kind == tree.Added) != (c.Old.Name == "" && c.Path != "") || (c.Kind == tree.Removed) != (c.New.Name == "" && c.Path != "") {
					t.Errorf("%s: %+v", tt.name, c)
				}
			}
			equal(t, tt.name, strings.Join(out, " ")+errText(err), tt.want+"ok")
			for limit := range len(changes) + 2 {
				n, err := tree.Distance(a, b, limit)
				equal(t, tt.name, fmt.Sprint(n, errText(err)), fmt.Sprint(min(len(changes), limit+1), "ok"))
			}
		}
	}
}

// TestDiffTouchesLittle: equal subtrees are not opened.
func TestDiffTouchesLittle(t *testing.T) {
	var m tree.Memory
	a, _ := stored(t, &m, mk(t, system))
	b, _ := stored(t, &m, mk(t, system+" usr/bin/t=t"))
	if _, err := tree.Diff(a, b); err != nil {
		t.Fatal(err)
	}
	equal(t, "objects", fmt.Sprintf("%+v", m.Stats()), "{TreesRead:6 MetasRead:0 TreesPut:0 MetasPut:0}")
}

// TestConcurrentUse: many goroutines look into, edit, merge and hash one lazily loaded tree.
func TestConcurrentUse(t *testing.T) {
	var m tree.Memory
	base, root := stored(t, &m, mk(t, system))
	layer := mk(t, "usr/bin/t=t")
	want, _ := tree.Hash(mk(t, system+" usr/bin/t=t"))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var got *tree.Tree
			if i%2 == 0 {
				e := base.Edit()
				e.PutFile("usr/bin/t", content("t"))
				got = e.Tree()
			} else {
				got, _ = tree.Merge(base, layer, tree.MergeOptions{})
			}
			if h, _ := tree.Hash(got); h != want {
				t.Errorf("hash %v, want %v", h, want)
			}
			if h, _ := tree.Hash(base); h != root {
				t.Errorf("base changed")
			}
			if _, err := tree.Diff(base, got); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
}
