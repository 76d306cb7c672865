// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"grove/internal/importer"
	"grove/internal/rpm"
)

// Which file of several packages is the one in the tree, and which cannot be together: as rpm decides it, before
// anything is laid out.
//
//	source  rpm lib/transaction.cc (handleOverlappedFiles, handleInstInstalledFile, handleColorConflict),
//	        lib/rpmfi.cc (rpmfilesCompare)

// FileConflict is one path that two packages have with different content, in rpm's words.
type FileConflict struct {
	Path      string // as the later package names it
	Package   rpm.NEVRA
	With      rpm.NEVRA
	Installed bool // With is the base's
}

func (c FileConflict) String() string {
	if c.Installed {
		return fmt.Sprintf("file %s from install of %s conflicts with file from package %s", c.Path, c.Package, c.With)
	}
	return fmt.Sprintf("file %s conflicts between attempted installs of %s and %s", c.Path, c.Package, c.With)
}

// FileConflicts are all that a run met.
type FileConflicts struct{ List []FileConflict }

// maxConflictsShown is how many are spelled out: two versions of one package can have thousands.
const maxConflictsShown = 20

func (e *FileConflicts) Error() string {
	var lines []string
	for _, c := range e.List[:min(len(e.List), maxConflictsShown)] {
		lines = append(lines, c.String())
	}
	if n := len(e.List) - maxConflictsShown; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(lines, "\n")
}

// baseWins marks a path on which the base's file stays.
const baseWins = -1

// claim is what is known of a path that a package of the run has.
type claim struct {
	pkg  int // the last package that has it
	file rpm.File
	algo string
}

// clash is the comparison of all files of a run.
type clash struct {
	b         *build
	mayTake   map[int]bool // packages of the run whose files may take the place of others'
	last      map[string]claim
	inBase    map[string][]claim // paths that the base has as well: every claim
	conflicts []FileConflict
}

// compareFiles finds who wins each path that several packages have, or refuses.
//
//	errors  *FileConflicts
func compareFiles(ctx context.Context, b *build) error {
	err := b.begin(ctx) // the tree that %pretrans left counts
	if err != nil {
		return err
	}
	if b.places, err = b.newPlaces(); err != nil {
		return err
	}
	b.winner, b.wrongColour, b.baseStates = map[string]int{}, map[int][]string{}, map[string]map[string]byte{}
	c := clash{b: b, mayTake: map[int]bool{}, last: map[string]claim{}, inBase: map[string][]claim{}}
	for i, p := range b.packages {
		c.mayTake[i] = slices.Contains(b.m.ReplaceFiles, p.meta.Name)
	}
	for i := range b.packages {
		if err := c.add(i); err != nil {
			return fmt.Errorf("files of %s: %w", b.packages[i].meta.NEVRA, err)
		}
	}
	if len(c.inBase) > 0 {
		if err := c.againstBase(); err != nil {
			return err
		}
	}
	if len(c.conflicts) > 0 {
		return &FileConflicts{c.conflicts}
	}
	return nil
}

// add compares the files of one package with those of the packages before it.
func (c *clash) add(i int) error {
	p := c.b.packages[i]
	files, err := p.Header.Files()
	if err != nil {
		return err
	}
	algo, err := p.Header.DigestAlgo(rpm.TagFileDigestAlgo)
	if err != nil {
		return err
	}
	for _, f := range files {
		mapped, ok := importer.MapPath(f.Path)
		if _, left := slices.BinarySearch(p.Skipped, f.Path); left || !ok {
			continue
		}
		at, err := c.b.places.file(mapped)
		if err != nil {
			return err
		}
		now := claim{i, f, algo}
		if before, ok := c.last[at]; ok {
			c.between(at, before, now)
		}
		c.last[at] = now
		if err := c.noteBase(at, now); err != nil {
			return err
		}
	}
	return nil
}

// between decides between two packages of the run.
func (c *clash) between(at string, before, now claim) {
	b := c.b
	first, decided := b.winner[at]
	if !decided {
		first = before.pkg
	}
	switch colour := c.colour(before.file, now.file); {
	case !differ(before, now):
		if before.file.IsGhost() && !now.file.IsGhost() {
			first = now.pkg
		}
	case colour > 0:
		first = now.pkg
		b.wrongColour[before.pkg] = append(b.wrongColour[before.pkg], before.file.Path)
	case colour < 0:
		b.wrongColour[now.pkg] = append(b.wrongColour[now.pkg], now.file.Path)
	case c.mayTake[now.pkg]:
		first = now.pkg
	case c.mayTake[before.pkg]:
	default:
		c.conflicts = append(c.conflicts, FileConflict{Path: now.file.Path, Package: b.packages[now.pkg].meta.NEVRA, With: b.packages[before.pkg].meta.NEVRA})
	}
	b.winner[at] = first
}

// colour tells which of two differing files wins by the word size of their programs: > 0 the second, < 0 the first,
// 0 neither.
func (c *clash) colour(first, second rpm.File) int {
	all := installColor(c.b.o.Arch)
	a, b := first.Color&all, second.Color&all
	switch {
	case a == 0 || b == 0 || a == b:
		return 0
	case b&preferredColour != 0:
		return 1
	case a&preferredColour != 0:
		return -1
	}
	return 0
}

// preferredColour is that of 64-bit programs. Source: rpm, macros.in (_prefer_color).
const preferredColour = 2

// differ tells whether rpm takes two files for different ones.
func differ(x, y claim) bool {
	a, b := x.file, y.file
	if a.IsGhost() || b.IsGhost() {
		return false
	}
	links := a.IsSymlink() && b.IsSymlink()
	if !links && a.Mode != b.Mode || a.User != b.User || a.Group != b.Group {
		return true
	}
	switch {
	case links:
		return a.LinkTo != b.LinkTo
	case a.IsRegular():
		return a.SizeBytes != b.SizeBytes || a.Digest != b.Digest || x.algo != y.algo && a.Digest != ""
	case !a.IsDir():
		return a.RDev != b.RDev
	}
	return false
}

// noteBase keeps what the base has as well, if it is not plainly the same directory.
func (c *clash) noteBase(at string, now claim) error {
	if now.file.IsGhost() {
		return nil
	}
	e, ok, err := c.b.tree.Lookup(at)
	if err != nil || !ok {
		return err
	}
	plain := now.file.User == "root" && now.file.Group == "root" && e.Meta.Mode&0o7777 == now.file.Mode&0o7777
	if e.Dir && now.file.IsDir() && plain {
		return nil
	}
	c.inBase[at] = append(c.inBase[at], now)
	return nil
}

// againstBase compares with the files of the base's packages that stay.
func (c *clash) againstBase() error {
	owned, names := map[string]bool{}, baseNames(c.inBase)
	for _, h := range c.b.remaining() {
		if !mayHave(h, names) {
			continue
		}
		algo, err := h.DigestAlgo(rpm.TagFileDigestAlgo)
		if err != nil {
			return fmt.Errorf("files of %s: %w", h.NEVRA(), err)
		}
		err = c.b.eachPath(h, func(at string, f rpm.File) {
			for _, now := range c.inBase[at] {
				if f.State == fileNotInstalled {
					continue
				}
				owned[at] = true
				c.withBase(at, h, claim{baseWins, f, algo}, now)
			}
		})
		if err != nil {
			return err
		}
	}
	for at, claims := range c.inBase {
		_, decided := c.b.winner[at]
		if owned[at] || decided || c.b.o.Base != nil && len(c.b.base.headers) == 0 {
			continue
		}
		if isAccountFile(at) {
			c.b.winner[at] = baseWins // who is there stays
			continue
		}
		c.b.winner[at] = claims[0].pkg // rpm writes over what no package owns; settleConfig saves it where it is to be saved
	}
	slices.SortStableFunc(c.conflicts, func(x, y FileConflict) int { return strings.Compare(x.Path, y.Path) })
	return nil
}

// withBase decides between a package of the base and one of the run.
func (c *clash) withBase(at string, h *rpm.Header, base, now claim) {
	b := c.b
	switch colour := c.colour(base.file, now.file); {
	case !differ(base, now):
		if _, decided := b.winner[at]; base.file.IsGhost() && !decided {
			b.winner[at] = now.pkg
		} else if !base.file.IsGhost() {
			b.winner[at] = baseWins
		}
	case colour > 0:
		b.winner[at] = now.pkg
		b.setState(h, base.file, wrongColour)
	case colour < 0:
		b.winner[at] = baseWins
		b.wrongColour[now.pkg] = append(b.wrongColour[now.pkg], now.file.Path)
	case c.mayTake[now.pkg]:
		b.winner[at] = now.pkg
		if now.file.Flags&rpm.FileConfig == 0 {
			b.setState(h, base.file, fileReplaced)
		}
	default:
		c.conflicts = append(c.conflicts, FileConflict{Path: now.file.Path, Package: b.packages[now.pkg].meta.NEVRA, With: h.NEVRA(), Installed: true})
	}
}

// setState notes that a file of a package of the base is another's from now on. What one of them calls configuration stays both's.
func (b *build) setState(h *rpm.Header, f rpm.File, state byte) {
	if f.Flags&rpm.FileConfig != 0 {
		return
	}
	n := h.NEVRA().String()
	if b.baseStates[n] == nil {
		b.baseStates[n] = map[string]byte{}
	}
	b.baseStates[n][f.Path] = state
}
