// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"fmt"
	"runtime"
	"testing"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// encoded is a Source as a repository is one: each object is parsed from its bytes when it is asked for.
type encoded map[ostree.Checksum][]byte

func (s encoded) DirTree(c ostree.Checksum) (ostree.DirTree, error) { return ostree.ParseDirTree(s[c]) }
func (s encoded) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) { return ostree.ParseDirMeta(s[c]) }

func (s encoded) PutDirTree(t ostree.DirTree) (ostree.Checksum, error) {
	data := t.Encode()
	sum := ostree.SumBytes(data)
	s[sum] = data
	return sum, nil
}

func (s encoded) PutDirMeta(m ostree.DirMeta) (ostree.Checksum, error) {
	data := m.Encode()
	sum := ostree.SumBytes(data)
	s[sum] = data
	return sum, nil
}

// large makes a tree of 150,000 entries in the shape of a desktop: 15,000 directories below usr/share and usr/lib, one
// directory of 3,000 files (usr/bin), and 9 files in each of the others.
func large(b testing.TB, s encoded) tree.Root {
	e := tree.Empty(ostree.DefaultDirMeta()).Edit()
	n := 0
	file := func(path string) {
		n++
		e.PutFile(path, ostree.SumBytes(fmt.Append(nil, n)))
	}
	for i := range 3000 {
		file(fmt.Sprintf("usr/bin/program-%04d", i))
	}
	for i := range 14700 {
		dir := fmt.Sprintf("usr/share/doc/package-%03d/part-%02d", i/30, i%30)
		if i%2 == 0 {
			dir = fmt.Sprintf("usr/lib/modules/group-%03d/module-%02d", i/30, i%30)
		}
		for j := range 9 {
			file(fmt.Sprintf("%s/some-file-%d.txt", dir, j))
		}
	}
	if err := e.Err(); err != nil {
		b.Fatal(err)
	}
	root, err := e.Tree().Write(s)
	if err != nil {
		b.Fatal(err)
	}
	return root
}

// layerOf makes a package of 40 files: programs, a library directory of its own, documentation, configuration.
func layerOf(b testing.TB, s encoded) tree.Root {
	e := tree.Empty(ostree.DefaultDirMeta()).Edit()
	for i := range 10 {
		e.PutFile(fmt.Sprintf("usr/bin/tool-%d", i), content(fmt.Sprint(i)))
		e.PutFile(fmt.Sprintf("usr/lib/tool/lib-%d.so", i), content(fmt.Sprint(i)))
		e.PutFile(fmt.Sprintf("usr/share/doc/tool/page-%d", i), content(fmt.Sprint(i)))
		e.PutFile(fmt.Sprintf("usr/etc/tool/conf-%d", i), content(fmt.Sprint(i)))
	}
	root, err := e.Tree().Write(s)
	if err != nil {
		b.Fatal(err)
	}
	return root
}

func walkAll(b testing.TB, t *tree.Tree) (entries int) {
	err := t.Walk(func(string, tree.Entry) error { entries++; return nil })
	if err != nil {
		b.Fatal(err)
	}
	return entries
}

func heapMB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// BenchmarkHold reads the whole tree into memory; MB-held is what that takes beside the objects' own bytes.
func BenchmarkHold(b *testing.B) {
	s := encoded{}
	root := large(b, s)
	before := heapMB()
	var t *tree.Tree
	entries := 0
	for b.Loop() {
		t = tree.Load(s, root)
		entries = walkAll(b, t)
	}
	b.ReportMetric(float64(entries), "entries")
	b.ReportMetric(heapMB()-before, "MB-held")
	runtime.KeepAlive(t)
	runtime.KeepAlive(s)
}

// BenchmarkLayer merges a package of 40 files into the tree of 150,000, cold, and writes the result.
func BenchmarkLayer(b *testing.B) {
	s := encoded{}
	root, layer := large(b, s), layerOf(b, s)
	for b.Loop() {
		t, err := tree.Merge(tree.Load(s, root), tree.Load(s, layer), tree.MergeOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := t.Write(s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMerge merges alone, from a base that is held already.
func BenchmarkMerge(b *testing.B) {
	s := encoded{}
	base, layer := tree.Load(s, large(b, s)), tree.Load(s, layerOf(b, s))
	walkAll(b, base)
	for b.Loop() {
		if _, err := tree.Merge(base, layer, tree.MergeOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriteAll makes the whole tree from paths and encodes every directory.
func BenchmarkWriteAll(b *testing.B) {
	for b.Loop() {
		large(b, encoded{})
	}
}

// BenchmarkDiff compares the tree with itself plus a package, cold.
func BenchmarkDiff(b *testing.B) {
	s := encoded{}
	root, layer := large(b, s), layerOf(b, s)
	t, err := tree.Merge(tree.Load(s, root), tree.Load(s, layer), tree.MergeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	merged, err := t.Write(s)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		changes, err := tree.Diff(tree.Load(s, root), tree.Load(s, merged))
		if err != nil || len(changes) != 44 {
			b.Fatalf("%d changes, %v", len(changes), err)
		}
	}
}

// BenchmarkMergeMany merges 500 packages of 40 files one after another and writes once, as a compose does.
func BenchmarkMergeMany(b *testing.B) {
	s := encoded{}
	var layers []*tree.Tree
	for p := range 500 {
		e := tree.Empty(ostree.DefaultDirMeta()).Edit()
		for i := range 10 {
			for _, dir := range []string{"usr/bin", fmt.Sprintf("usr/lib/p%d", p), fmt.Sprintf("usr/share/doc/p%d", p), "usr/share/man/man1"} {
				e.PutFile(fmt.Sprintf("%s/p%d-%d", dir, p, i), content(fmt.Sprint(p, i)))
			}
		}
		root, err := e.Tree().Write(s)
		if err != nil {
			b.Fatal(err)
		}
		layers = append(layers, tree.Load(s, root))
	}
	for b.Loop() {
		t := tree.Empty(ostree.DefaultDirMeta())
		var err error
		for _, l := range layers {
			if t, err = tree.Merge(t, l, tree.MergeOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := t.Write(s); err != nil {
			b.Fatal(err)
		}
	}
}
