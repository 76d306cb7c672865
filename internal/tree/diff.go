// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
)

// Kind says how a path differs between two trees.
type Kind uint8

// The kinds of change.
const (
	Added       Kind = iota + 1
	Removed          // with everything below, each path by itself
	Modified         // another file, or a file where there was a directory, or the reverse
	MetaChanged      // a directory's own owner, mode or xattrs
)

// String returns the letter that diffs are printed with: A, D, M or m.
func (k Kind) String() string {
	if k < Added || k > MetaChanged {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return "?ADMm"[k : k+1]
}

// Change is one path that differs. Old is zero if it was added, New if it was removed.
type Change struct {
	Path     string
	Kind     Kind
	Old, New Entry
}

// Diff returns what changed from a to b, in the order of Walk. Directories with equal checksums are not opened.
func Diff(a, b *Tree) ([]Change, error) {
	d := differ{left: MaxEntries}
	err := d.item("", item{isDir: true, sub: a.root}, item{isDir: true, sub: b.root}, 0)
	return d.out, err
}

// Distance counts the changes that Diff would list, up to limit: above, it is limit+1.
func Distance(a, b *Tree, limit int) (int, error) {
	d := differ{left: MaxEntries, counts: true, limit: limit}
	err := d.item("", item{isDir: true, sub: a.root}, item{isDir: true, sub: b.root}, 0)
	if errors.Is(err, errFar) {
		err = nil
	}
	return d.n, err
}

var errFar = errors.New("the trees differ too much")

type differ struct {
	out    []Change
	left   int
	counts bool // and lists nothing
	n      int
	limit  int
}

// item compares what both trees have under one name.
func (d *differ) item(path string, a, b item, depth int) error {
	switch {
	case !a.isDir && !b.isDir:
		if a.file == b.file {
			return nil
		}
		return d.add(path, Modified, &a, &b)
	case a.isDir != b.isDir:
		if err := d.add(path, Modified, &a, &b); err != nil {
			return err
		}
		if a.isDir {
			return d.below(path, Removed, a.sub.dir, depth)
		}
		return d.below(path, Added, b.sub.dir, depth)
	}
	if a.sub.meta.sum != b.sub.meta.sum {
		if err := d.add(path, MetaChanged, &a, &b); err != nil {
			return err
		}
	}
	x, y := a.sub.dir, b.sub.dir
	if x == y || x.checksum() == y.checksum() {
		return nil
	}
	if err := errors.Join(x.open(), y.open()); err != nil {
		return pathError(path, err)
	}
	for p := (pairs{cursor{d: x}, cursor{d: y}}); p.more(); {
		a, b, hasA, hasB := p.next()
		if err := bound(&d.left, depth); err != nil {
			return pathError(path, err)
		}
		var err error
		switch {
		case hasA && hasB:
			err = d.item(under(path, a.name), a, b, depth+1)
		case hasA:
			err = d.whole(under(path, a.name), Removed, a, depth+1)
		default:
			err = d.whole(under(path, b.name), Added, b, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole reports an entry that only one side has, with everything below it.
func (d *differ) whole(path string, k Kind, it item, depth int) error {
	if err := bound(&d.left, depth); err != nil {
		return pathError(path, err)
	}
	var old, now *item
	if k == Removed {
		old = &it
	} else {
		now = &it
	}
	if err := d.add(path, k, old, now); err != nil || !it.isDir {
		return err
	}
	return d.below(path, k, it.sub.dir, depth)
}

func (d *differ) below(path string, k Kind, in *dir, depth int) error {
	if err := in.open(); err != nil {
		return pathError(path, err)
	}
	for c := (cursor{d: in}); c.more(); {
		it := c.next()
		if err := d.whole(under(path, it.name), k, it, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) add(path string, k Kind, old, now *item) error {
	if d.counts {
		if d.n++; d.n > d.limit {
			return errFar
		}
		return nil
	}
	c := Change{Path: path, Kind: k}
	for _, side := range []struct {
		from *item
		to   *Entry
	}{{old, &c.Old}, {now, &c.New}} {
		if side.from == nil {
			continue
		}
		e, err := side.from.entry()
		if err != nil {
			return pathError(path, err)
		}
		*side.to = e
	}
	d.out = append(d.out, c)
	return nil
}
