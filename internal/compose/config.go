// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"path"
	"slices"

	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// What becomes of files that are in the tree already when a package brings them: those of the package that it replaces, those of packages
// that stay, and those that nobody owns, because the base's makers or a scriptlet put them there. rpm decides it before it unpacks
// anything; here it is decided once all trees are merged, from the tree of before.
//
//	source  rpm lib/transaction.cc (handleOverlappedFiles, handleInstInstalledFile), lib/rpmfi.cc (rpmfilesDecideFate,
//	        rpmfilesConfigConflict), lib/fsm.cc (fsmBackup)

// fate is what becomes of one file. The names in comments are rpm's.
type fate int

const (
	fateTake   fate = iota // the package's file replaces what is there (FA_CREATE, FA_TOUCH)
	fateStay               // what is there stays, or nothing where nothing is (FA_SKIP)
	fateNew                // what is there stays, the package's lies beside it as .rpmnew (FA_ALTNAME)
	fateSave               // the package's comes, what was there lies beside it as .rpmsave (FA_SAVE)
	fateBackup             // the same, as .rpmorig: nobody owned it (FA_BACKUP)
)

// States of a file in an rpmdb. Source: rpm lib/rpmfiles.h (RPMFILE_STATE_*).
const (
	fileNormal       = 0
	fileReplaced     = 1
	fileNotInstalled = 2
)

// onDisk is what a tree has at a path.
type onDisk struct {
	tree.Entry
	there bool
	link  string              // target of a symbolic link
	sums  map[string]string   // of a regular file, by algorithm, as they are asked for
	open  func(string) string // digest by algorithm; "" if it cannot be had
}

// ownedFile is a file of a package in its words, with the algorithm of its digest.
type ownedFile struct {
	rpm.File
	algo string
}

// is tells whether the file in the tree is what the package has: the same type and content or target.
func (d *onDisk) is(f ownedFile) bool {
	switch {
	case !d.there || d.Dir:
		return false
	case d.link != "":
		return f.IsSymlink() && f.LinkTo == d.link
	}
	return f.IsRegular() && d.sum(f.algo) == f.Digest
}

func (d *onDisk) sum(algo string) string {
	if s, ok := d.sums[algo]; ok {
		return s
	}
	d.sums[algo] = d.open(algo)
	return d.sums[algo]
}

// decideFresh is the fate of a file that no installed package has.
func decideFresh(d *onDisk, now ownedFile) fate {
	switch {
	case now.IsGhost():
		return fateStay
	case !d.there || now.Flags&rpm.FileConfig == 0 || d.is(now):
		return fateTake
	case now.Flags&rpm.FileNoReplace != 0:
		return fateNew
	}
	return fateBackup
}

// decideOwned is the fate of a file that an installed package has as well, where one of them calls it configuration.
func decideOwned(was ownedFile, d *onDisk, now ownedFile) fate {
	switch {
	case now.IsGhost():
		return fateStay
	case !d.there && now.Flags&rpm.FileMissingOK != 0:
		return fateStay
	case !d.there || !was.IsRegular() && !was.IsSymlink():
		return fateTake
	case was.IsRegular() == now.IsRegular() && d.is(now), d.is(was) && !was.IsGhost():
		return fateTake
	case now.Flags&rpm.FileConfig == 0:
		return fateSave
	case was.IsRegular() && now.IsRegular() && was.algo == now.algo && was.Digest == now.Digest,
		was.IsSymlink() && now.IsSymlink() && was.LinkTo == now.LinkTo:
		return fateStay
	case now.Flags&rpm.FileNoReplace != 0:
		return fateNew
	}
	return fateSave
}

// settleConfig gives each file of the new packages its fate. before is the tree in which none of them was.
func (b *build) settleConfig(before *tree.Tree) error {
	now, err := b.meeting(before)
	if err != nil || len(now) == 0 {
		return err
	}
	was, err := b.ownersOf(now)
	if err != nil {
		return err
	}
	edit := b.tree.Edit()
	edit.ParentMeta = dirMeta(0o755)
	for _, at := range sortedKeys(now) {
		f := now[at]
		d, err := b.onDisk(before, at)
		if err != nil {
			return err
		}
		what := fateTake
		if len(was[at]) == 0 {
			what = decideFresh(d, f)
		} else if f.IsGhost() {
			what = fateStay
		}
		for _, w := range was[at] {
			if (w.Flags|f.Flags)&rpm.FileConfig != 0 {
				what = decideOwned(w, d, f)
			}
			if what == fateStay {
				break
			}
		}
		why := "was changed"
		if len(was[at]) == 0 {
			why = "belongs to no package"
		}
		if err := b.settle1(edit, at, d, what, why); err != nil {
			return err
		}
	}
	b.tree = edit.Tree()
	return nil
}

// meeting are the files of the new packages, by their place, on which something has to be decided: of several packages' the first
// one's that is no ghost, as rpm unpacks that one.
func (b *build) meeting(before *tree.Tree) (map[string]ownedFile, error) {
	out := map[string]ownedFile{}
	for i, p := range b.packages {
		algo, err := p.Header.DigestAlgo(rpm.TagFileDigestAlgo)
		if err != nil {
			return nil, err
		}
		var failed error
		err = b.eachPath(p.Header, func(at string, f rpm.File) {
			if failed != nil || f.IsDir() || isAccountFile(at) {
				return
			}
			if _, left := slices.BinarySearch(p.Skipped, f.Path); left || slices.Contains(b.wrongColour[i], f.Path) {
				return
			}
			if had, twice := out[at]; twice && !had.IsGhost() {
				return
			}
			e, ok, err := before.Lookup(at)
			failed = err
			if ok && !e.Dir || f.Flags&rpm.FileMissingOK != 0 {
				out[at] = ownedFile{f, algo}
			}
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ownersOf are the files of installed packages, those that go among them, at the given places.
func (b *build) ownersOf(places map[string]ownedFile) (map[string][]ownedFile, error) {
	out := map[string][]ownedFile{}
	names := baseNames(places)
	for _, h := range b.base.headers {
		if !mayHave(h, names) {
			continue
		}
		algo, err := h.DigestAlgo(rpm.TagFileDigestAlgo)
		if err != nil {
			return nil, err
		}
		err = b.eachPath(h, func(at string, f rpm.File) {
			if _, ok := places[at]; ok && f.State != fileNotInstalled {
				out[at] = append(out[at], ownedFile{f, algo})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// otherNames are the directories that have another name in a tree than in packages.
var otherNames = map[string]string{factory + "/roothome": "root", importer.AlternativesState: "alternatives"}

// baseNames are the last parts of paths of a tree, as packages have them.
func baseNames[V any](paths map[string]V) map[string]bool {
	out := make(map[string]bool, len(paths))
	for p := range paths {
		out[path.Base(p)] = true
		if other := otherNames[p]; other != "" {
			out[other] = true
		}
	}
	return out
}

// mayHave is false for a package that has no file of these names: reading all its files is not needed to know that it has none of the
// paths.
func mayHave(h *rpm.Header, names map[string]bool) bool {
	return !h.Has(rpm.TagBasenames) || slices.ContainsFunc(h.Strings(rpm.TagBasenames), func(n string) bool { return names[n] })
}

// onDisk looks a path up in a tree.
func (b *build) onDisk(t *tree.Tree, at string) (*onDisk, error) {
	e, ok, err := t.Lookup(at)
	if err != nil || !ok || e.Dir {
		return &onDisk{Entry: e, there: ok}, err
	}
	h, _, content, err := b.reader().OpenFile(e.File)
	if err != nil {
		return nil, err
	}
	content.Close()
	return &onDisk{Entry: e, there: true, link: h.Symlink, sums: map[string]string{}, open: func(algo string) string {
		return b.digestOf(e.File, algo)
	}}, nil
}

// digestOf is the digest of an object's content, "" for an algorithm that is not known.
func (b *build) digestOf(file ostree.Checksum, algo string) string {
	_, _, content, err := b.reader().OpenFile(file)
	if err != nil {
		return ""
	}
	defer content.Close()
	sum, err := hashFile(content, algo)
	if err != nil {
		return ""
	}
	return sum
}

// settle1 does what was decided about one path, for the reason given. In the tree, the package's file is there.
func (b *build) settle1(edit *tree.Editor, at string, d *onDisk, what fate, why string) error {
	if what == fateTake {
		return nil
	}
	now, ok, err := b.tree.Lookup(at)
	if err != nil || ok && now.Dir || d.Dir {
		return err
	}
	if what == fateStay {
		switch {
		case ok && !d.there:
			return edit.Remove(at)
		case !d.there || ok && now.File == d.File:
			return nil
		}
		if free, err := b.freePlace(at); err != nil || !free {
			return err
		}
		b.keepBase[at] = true
		return edit.PutFile(at, d.File)
	}
	if winner, decided := b.winner[at]; !ok || decided && winner == baseWins {
		return nil
	}
	switch what {
	case fateNew:
		b.warn("/%s of the base %s: the new default lies beside it, as .rpmnew", visible(at), why)
		b.keepBase[at] = true
		b.beside[at] = at + ".rpmnew"
		if err := edit.PutFile(at, d.File); err != nil {
			return err
		}
		return edit.PutFile(at+".rpmnew", now.File)
	case fateSave:
		b.warn("/%s of the base %s: it lies beside the new one, as .rpmsave", visible(at), why)
		return edit.PutFile(at+".rpmsave", d.File)
	}
	b.warn("/%s of the base %s: it lies beside the new one, as .rpmorig", visible(at), why)
	return edit.PutFile(at+".rpmorig", d.File)
}
