// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/gvariant"
)

var dirTreeType = gvariant.MustType("(a(say)a(sayay))")

// DirTree is what a directory holds: files and symlinks, and directories, each by name and checksum.
//
//	shape   GVariant (a(say)a(sayay)): files as (name, file), directories as (name, dirtree, dirmeta)
//	units   a checksum is 32 raw bytes; both lists are sorted by the bytes of the name
//	name    sha256 of the encoded bytes; file objects/xx/yyyy….dirtree
//	source  ostree src/libostree/ostree-core.h, OSTREE_TREE_GVARIANT_FORMAT
type DirTree struct {
	Files []TreeFile
	Dirs  []TreeDir
}

// TreeFile is a file or symlink in a directory.
type TreeFile struct {
	Name     string
	Checksum Checksum
}

// TreeDir is a directory in a directory: what it holds, and its own metadata.
type TreeDir struct {
	Name       string
	Tree, Meta Checksum
}

func byFileName(a, b TreeFile) int { return strings.Compare(a.Name, b.Name) }
func byDirName(a, b TreeDir) int   { return strings.Compare(a.Name, b.Name) }

// Check fails unless all names are sound, sorted, and there once, over files and directories together.
func (t DirTree) Check() error {
	for i, f := range t.Files {
		if err := CheckName(f.Name); err != nil {
			return fmt.Errorf("file %d: %w", i, err)
		}
		if i > 0 && t.Files[i-1].Name >= f.Name {
			return fmt.Errorf("file %d: %q after %q", i, f.Name, t.Files[i-1].Name)
		}
	}
	files := t.Files
	for i, d := range t.Dirs {
		if err := CheckName(d.Name); err != nil {
			return fmt.Errorf("directory %d: %w", i, err)
		}
		if i > 0 && t.Dirs[i-1].Name >= d.Name {
			return fmt.Errorf("directory %d: %q after %q", i, d.Name, t.Dirs[i-1].Name)
		}
		for len(files) > 0 && files[0].Name < d.Name {
			files = files[1:]
		}
		if len(files) > 0 && files[0].Name == d.Name {
			return fmt.Errorf("directory %d: %q is a file too", i, d.Name)
		}
	}
	return nil
}

// Encode returns the object's bytes. Lists that are not sorted are written sorted.
func (t DirTree) Encode() []byte {
	if !slices.IsSortedFunc(t.Files, byFileName) {
		t.Files = slices.Clone(t.Files)
		slices.SortFunc(t.Files, byFileName)
	}
	if !slices.IsSortedFunc(t.Dirs, byDirName) {
		t.Dirs = slices.Clone(t.Dirs)
		slices.SortFunc(t.Dirs, byDirName)
	}
	// 24 for a name, 32 for each checksum, 8 for offsets: directories of a distribution need no second allocation.
	buf := make([]byte, 0, 64*len(t.Files)+100*len(t.Dirs)+16)
	ends := make([]int, 0, max(len(t.Files), len(t.Dirs)))
	for _, f := range t.Files {
		start := len(buf)
		buf = append(append(buf, f.Name...), 0)
		nameEnd := len(buf) - start
		buf = append(buf, f.Checksum[:]...)
		buf = gvariant.AppendOffsets(buf, start, nameEnd)
		ends = append(ends, len(buf))
	}
	buf = gvariant.AppendOffsets(buf, 0, ends...)
	filesEnd := len(buf)
	ends = ends[:0]
	for _, d := range t.Dirs {
		start := len(buf)
		buf = append(append(buf, d.Name...), 0)
		nameEnd := len(buf) - start
		buf = append(buf, d.Tree[:]...)
		treeEnd := len(buf) - start
		buf = append(buf, d.Meta[:]...)
		buf = gvariant.AppendOffsets(buf, start, treeEnd, nameEnd)
		ends = append(ends, len(buf)-filesEnd)
	}
	buf = gvariant.AppendOffsets(buf, filesEnd, ends...)
	return gvariant.AppendOffsets(buf, 0, filesEnd)
}

// Checksum returns the object's name.
func (t DirTree) Checksum() Checksum { return SumBytes(t.Encode()) }

// ParseDirTree reads a dirtree object and holds it to what Check demands.
//
//	errors  ErrCorrupt
func ParseDirTree(data []byte) (DirTree, error) {
	v, err := dirTreeType.Decode(data)
	if err != nil {
		return DirTree{}, corrupt("dirtree: %w", err)
	}
	t, err := dirTreeFrom(v)
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		return DirTree{}, corrupt("dirtree: %w", err)
	}
	return t, nil
}

func dirTreeFrom(v gvariant.Value) (t DirTree, err error) {
	files, dirs := v.Index(0), v.Index(1)
	if n := files.Len(); n > 0 {
		t.Files = make([]TreeFile, n)
	}
	if n := dirs.Len(); n > 0 {
		t.Dirs = make([]TreeDir, n)
	}
	for i := range t.Files {
		e, f := files.Index(i), &t.Files[i]
		f.Name = e.Index(0).Str()
		if f.Checksum, err = ChecksumFromBytes(e.Index(1).Bytes()); err != nil {
			return DirTree{}, fmt.Errorf("file %q: %w", f.Name, err)
		}
	}
	for i := range t.Dirs {
		e, d := dirs.Index(i), &t.Dirs[i]
		d.Name = e.Index(0).Str()
		if d.Tree, err = ChecksumFromBytes(e.Index(1).Bytes()); err != nil {
			return DirTree{}, fmt.Errorf("directory %q: tree: %w", d.Name, err)
		}
		if d.Meta, err = ChecksumFromBytes(e.Index(2).Bytes()); err != nil {
			return DirTree{}, fmt.Errorf("directory %q: meta: %w", d.Name, err)
		}
	}
	return t, nil
}
