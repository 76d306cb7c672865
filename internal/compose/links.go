// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// maxPathBytes bounds a path whose links were followed. Source: Linux, include/uapi/linux/limits.h (PATH_MAX).
const maxPathBytes = 4096

// places says where the files of packages come to lie: a package that has /usr/sbin/x puts x into /usr/bin where
// /usr/sbin is a link to it, in the base or in another package of the run. rpm does the same when it compares files of
// packages and when it unpacks them.
//
//	source  rpm lib/fprint.cc
type places struct {
	link func(string) (target string, ok bool, err error) // of the tree path of a symbolic link
	seen map[string]string                                // directory -> where it leads
}

// newPlaces knows the links of the base and of the packages to come.
func (b *build) newPlaces() (*places, error) {
	before := b.tree
	more := map[string]string{}
	for _, p := range b.packages {
		files, err := p.Header.Files()
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if at, ok := importer.MapPath(f.Path); ok && f.IsSymlink() && !f.IsGhost() && more[at] == "" {
				more[at] = f.LinkTo
			}
		}
	}
	return &places{seen: map[string]string{}, link: func(at string) (string, bool, error) {
		if target, ok := more[at]; ok {
			return target, true, nil
		}
		e, ok, err := before.Lookup(at)
		if err != nil || !ok || e.Dir {
			return "", false, err
		}
		h, _, content, err := b.reader().OpenFile(e.File)
		if err != nil {
			return "", false, err
		}
		content.Close()
		return h.Symlink, h.Symlink != "", nil
	}}, nil
}

// dir gives where a directory, by its path in the tree, really is.
func (p *places) dir(d string) (string, error) { return p.follow(d, maxLinks) }

func (p *places) follow(d string, left int) (string, error) {
	if d == "." || d == "" {
		return "", nil
	}
	if at, ok := p.seen[d]; ok {
		return at, nil
	}
	parent, err := p.follow(path.Dir(d), left)
	if err != nil {
		return "", err
	}
	at := strings.TrimPrefix(parent+"/"+path.Base(d), "/")
	if len(at) > maxPathBytes { // a link to many times itself would grow without end
		return "", fmt.Errorf("/%.60s...: longer than %d bytes where its links are followed", at, maxPathBytes)
	}
	target, ok, err := p.link(at)
	if err != nil {
		return "", err
	}
	if ok && left > 0 {
		to := follow(visible(at), target)
		if mapped, ok := importer.MapPath("/" + to); ok {
			if at, err = p.follow(mapped, left-1); err != nil {
				return "", err
			}
		}
	}
	p.seen[d] = at
	return at, nil
}

// file gives where a file or link, by its path in the tree, comes to lie: the link itself is not followed.
func (p *places) file(at string) (string, error) {
	d, err := p.dir(path.Dir(at))
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(d+"/"+path.Base(at), "/"), nil
}

// settle moves what a package has below links to where they lead: in its tree, and in what is known of its files.
func (b *build) settle(p *imported) (*tree.Tree, error) {
	t := tree.Load(b.o.Repo, p.Root)
	moved := map[string]string{}
	for _, f := range p.Paths {
		for d := path.Dir(f); d != "." && moved[d] == ""; d = path.Dir(d) {
			to, err := b.places.dir(d)
			if err != nil {
				return nil, err
			}
			moved[d] = to
		}
	}
	for _, o := range p.Owners {
		if o.Dir && moved[o.Path] == "" {
			to, err := b.places.dir(o.Path)
			if err != nil {
				return nil, err
			}
			moved[o.Path] = to
		}
	}
	from := make([]string, 0, len(moved))
	for d, to := range moved {
		if d != to {
			from = append(from, d)
		}
	}
	if len(from) == 0 {
		return t, nil
	}
	sort.Sort(sort.Reverse(sort.StringSlice(from))) // what lies deeper moves first
	for _, d := range from {
		sub, err := t.Sub(d)
		if err != nil {
			continue // moved along with what it lies in
		}
		edit := t.Edit()
		if err := edit.Remove(d); err != nil {
			return nil, err
		}
		other := tree.Empty(ostree.DirMeta{Mode: 0o040755}).Edit()
		other.ParentMeta = ostree.DirMeta{Mode: 0o040755}
		if err := other.Graft(moved[d], sub); err != nil {
			return nil, err
		}
		if t, err = tree.Merge(edit.Tree(), other.Tree(), tree.MergeOptions{KeepBaseDirs: true, OnConflict: keepFirst}); err != nil {
			return nil, err
		}
	}
	return t, p.moveNames(b.places)
}

// keepFirst is for two files of one package that come to one place; that they are equal was checked before.
func keepFirst(_ string, base, layer tree.Entry) (tree.Decision, error) {
	if base.Dir || layer.Dir {
		return tree.Refuse, nil
	}
	return tree.KeepBase, nil
}

func (p *imported) moveNames(to *places) (err error) {
	p.Paths = slices.Clone(p.Paths)
	for i, f := range p.Paths {
		if p.Paths[i], err = to.file(f); err != nil {
			return err
		}
	}
	slices.Sort(p.Paths)
	p.Owners = slices.Clone(p.Owners)
	for i, o := range p.Owners {
		at := to.file
		if o.Dir {
			at = to.dir
		}
		if p.Owners[i].Path, err = at(o.Path); err != nil {
			return err
		}
	}
	return nil
}
