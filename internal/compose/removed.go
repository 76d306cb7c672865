// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"grove/internal/rpm"
	"grove/internal/scriptlet"
	"grove/internal/tree"
)

// Packages of the base that go, or are replaced. Their files make room for the new packages' before these are merged; what no
// other package has is put back for the time of the scriptlets, as rpm erases a package only after its %preun.

// removal is one of them.
type removal struct {
	header *rpm.Header
	files  []scriptlet.Erase // in the tree while scriptlets run, and gone afterwards
}

// ownPath is a file of a package with its place in the tree.
type ownPath struct {
	at string
	rpm.File
}

// pathsOf are the files of a package that have a place in the tree, sorted.
func (b *build) pathsOf(h *rpm.Header) ([]ownPath, error) {
	var out []ownPath
	err := b.eachPath(h, func(p string, f rpm.File) { out = append(out, ownPath{p, f}) })
	slices.SortFunc(out, func(x, y ownPath) int { return strings.Compare(x.at, y.at) })
	return out, err
}

// dropRemoved takes the files of removed and replaced base packages out of the tree, save those that a
// package which stays has as well.
func (b *build) dropRemoved() error {
	if len(b.removed) == 0 {
		return nil
	}
	keep := map[string]bool{}
	for _, h := range b.remaining() {
		if err := b.eachPath(h, func(p string, _ rpm.File) { keep[p] = true }); err != nil {
			return err
		}
	}
	edit := b.tree.Edit()
	var dirs []string
	for _, h := range b.removed {
		paths, err := b.pathsOf(h)
		if err != nil {
			return err
		}
		for _, f := range paths {
			switch {
			case keep[f.at]:
			case isAccountFile(f.at): // the base's accounts have files everywhere
				b.keepBase[f.at] = true
			case f.IsDir():
				dirs = append(dirs, f.at)
			default:
				// A ghost or a file that the base's makers removed may be absent; a directory that they put in its place is
				// not the package's.
				e, ok, err := b.tree.Lookup(f.at)
				if err != nil {
					return err
				}
				if !ok || e.Dir {
					continue
				}
				if err := edit.Remove(f.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	b.tree = edit.Tree()
	return b.dropEmptyDirs(dirs)
}

// leaveForScripts puts back into the merged tree what removed packages have and no other, and lists it as what the
// runner of scriptlets erases. before is the tree with all of it.
func (b *build) leaveForScripts(before *tree.Tree) error {
	keep := map[string]bool{}
	for _, h := range b.remaining() {
		if err := b.eachPath(h, func(p string, _ rpm.File) { keep[p] = true }); err != nil {
			return err
		}
	}
	for _, n := range b.packages {
		if err := b.eachPath(n.Header, func(p string, _ rpm.File) { keep[p] = true }); err != nil {
			return err
		}
	}
	edit := b.tree.Edit()
	edit.ParentMeta = dirMeta(0o755)
	// rpm erases in the reverse of the order of installation, which is that of dependencies.
	for _, h := range slices.Backward(b.removed) {
		r := removal{header: h}
		paths, err := b.pathsOf(h)
		if err != nil {
			return err
		}
		algo, err := h.DigestAlgo(rpm.TagFileDigestAlgo)
		if err != nil {
			return err
		}
		for _, f := range paths {
			if keep[f.at] || isAccountFile(f.at) {
				continue
			}
			there, err := b.leave(edit, before, f)
			if err != nil {
				return err
			}
			if !there || f.State > fileNormal {
				continue
			}
			e := scriptlet.Erase{Path: f.at, Dir: f.IsDir(), Config: f.Flags&rpm.FileConfig != 0 && !f.IsDir(), LinkTo: f.LinkTo}
			if e.Config && f.IsGhost() {
				continue // rpm counts it as changed, and leaves it
			}
			if f.IsRegular() {
				e.Digest = rpm.Digest{Algo: algo, Hex: f.Digest}
			}
			r.files = append(r.files, e)
		}
		b.removals = append(b.removals, r)
	}
	b.tree = edit.Tree()
	return nil
}

// leave puts one file back where nothing else has taken its place, and says whether it is there for the scriptlets.
func (b *build) leave(edit *tree.Editor, before *tree.Tree, f ownPath) (bool, error) {
	e, ok, err := before.Lookup(f.at)
	if err != nil || !ok || e.Dir != f.IsDir() {
		return false, err
	}
	now, there, err := b.tree.Lookup(f.at)
	if err != nil || there {
		return there && now.Dir && e.Dir, err
	}
	if free, err := b.freePlace(f.at); err != nil || !free {
		return false, err
	}
	if e.Dir {
		return true, edit.PutDir(f.at, e.Meta)
	}
	return true, edit.PutFile(f.at, e.File)
}

// freePlace says whether a path can be put without removing anything: no file stands where one of its directories was.
func (b *build) freePlace(p string) (bool, error) {
	for i, c := range p {
		if c != '/' {
			continue
		}
		e, ok, err := b.tree.Lookup(p[:i])
		if err != nil || !ok {
			return err == nil, err
		}
		if !e.Dir {
			return false, nil
		}
	}
	return true, nil
}
