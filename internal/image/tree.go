// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"fmt"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// either reads a directory from the first that has it.
type either [2]tree.Source

func (e either) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	if t, err := e[0].DirTree(c); err == nil {
		return t, nil
	}
	return e[1].DirTree(c)
}

func (e either) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) {
	if m, err := e[0].DirMeta(c); err == nil {
		return m, nil
	}
	return e[1].DirMeta(c)
}

// mountPoints are the folders that whoever runs a guest mounts something on, with their modes. An image cannot get them
// later.
var mountPoints = []struct {
	name string
	mode uint32
}{{"dev", 0o755}, {"etc", 0o755}, {"proc", 0o555}, {"run", 0o755}, {"sys", 0o555}, {"tmp", 0o1777}, {"var", 0o755}}

// Tree is a tree as an image shows it: with the folders that a guest is given mounts on, and its defaults of /etc in
// /usr/etc.
type Tree struct {
	Of   tree.Root // the tree that it was made from
	Root tree.Root
	Src  tree.Source // reads it
}

// Mountable makes the Tree of one that src reads.
//
//	errors  those of src; a tree that has both /etc and /usr/etc filled
func Mountable(src tree.Source, of tree.Root) (Tree, error) {
	t := tree.Load(src, of)
	edit := t.Edit()
	if err := moveEtc(t, edit); err != nil {
		return Tree{}, err
	}
	for _, m := range mountPoints {
		if _, ok, err := t.Lookup(m.name); err != nil {
			return Tree{}, err
		} else if ok && m.name != "etc" {
			continue
		}
		if err := edit.PutDir(m.name, ostree.DirMeta{Mode: ostree.ModeDir | m.mode}); err != nil {
			return Tree{}, err
		}
	}
	if err := edit.Err(); err != nil {
		return Tree{}, err
	}
	mem := &tree.Memory{}
	root, err := edit.Tree().Write(mem)
	return Tree{of, root, either{mem, src}}, err
}

// moveEtc brings what a tree has in /etc to /usr/etc, as ostree does.
func moveEtc(t *tree.Tree, edit *tree.Editor) error {
	e, ok, err := t.Lookup("etc")
	if err != nil || !ok {
		return err
	}
	if !e.Dir {
		return errors.New("the tree has an /etc that is no folder")
	}
	etc, err := t.Sub("etc")
	if err != nil {
		return err
	}
	_, hasDefaults, err := t.Lookup("usr/etc")
	if err != nil {
		return err
	}
	list, err := etc.ReadDir("")
	if err != nil {
		return err
	}
	switch {
	case hasDefaults && len(list) > 0:
		return fmt.Errorf("the tree has both /etc (with %s) and /usr/etc", list[0].Name)
	case !hasDefaults:
		if err := edit.Graft("usr/etc", etc); err != nil {
			return err
		}
	}
	return edit.Remove("etc")
}
