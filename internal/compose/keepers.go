// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/manifest"
	"grove/internal/rpm"
)

// movedOn is true for a package file in whose place the run before took a newer package of a source.
func (b *build) movedOn(n rpm.NEVRA) bool {
	if b.o.Previous == nil {
		return false
	}
	return slices.ContainsFunc(b.o.Previous.Packages, func(l manifest.LockedPackage) bool {
		have, err := rpm.ParseNEVRA(l.NEVRA)
		return err == nil && l.Source != LocalSource && have.Name == n.Name && have.Arch == n.Arch && have.EVR.Compare(n.EVR) > 0
	})
}

// ProtectedError refuses a change that would take protected packages away.
type ProtectedError struct{ Packages []rpm.NEVRA }

func (e *ProtectedError) Error() string {
	names := make([]string, 0, len(e.Packages))
	for _, n := range e.Packages {
		names = append(names, n.String())
	}
	return fmt.Sprintf("this would remove protected packages: %s", strings.Join(names, ", "))
}

// checkProtected looks for protected packages among what a change takes out of the base, or drops of what was
// layered before. Another version in its place, or one that makes it obsolete, is no removal. What an earlier change
// removed already does not count again; nor does what an upgrade has no use for any more.
func (b *build) checkProtected() error {
	var gone []rpm.NEVRA
	removedBefore := map[string]bool{}
	if l := b.o.Previous; l != nil {
		for _, s := range l.Removed {
			if n, err := rpm.ParseNEVRA(s); err == nil {
				removedBefore[n.Name] = true
			}
		}
		for _, p := range l.Packages {
			if n, err := rpm.ParseNEVRA(p.NEVRA); err == nil && !b.o.Newest && !b.there(n) {
				gone = append(gone, n)
			}
		}
	}
	for _, h := range b.removed {
		if n := h.NEVRA(); !removedBefore[n.Name] && !b.there(n) {
			gone = append(gone, n)
		}
	}
	return CheckProtected(b.o.Protected, gone)
}

// CheckProtected refuses to let go of packages that are protected: names, or globs of names.
//
//	errors  *ProtectedError
func CheckProtected(protected []string, gone []rpm.NEVRA) error {
	var e ProtectedError
	for _, n := range gone {
		if slices.ContainsFunc(protected, func(p string) bool { return rpm.Glob(p, n.Name) }) {
			e.Packages = append(e.Packages, n)
		}
	}
	if len(e.Packages) == 0 {
		return nil
	}
	return &e
}

// there is true where the tree will have a package of that name, or one that makes it obsolete.
func (b *build) there(n rpm.NEVRA) bool {
	self := rpm.Dep{Name: n.Name, Flags: rpm.SenseEqual, EVR: n.EVR}
	return slices.ContainsFunc(b.picks, func(p pick) bool {
		return p.meta.Name == n.Name || slices.ContainsFunc(p.meta.Obsoletes, func(d rpm.Dep) bool { return d.Intersects(self) })
	}) || slices.ContainsFunc(b.remaining(), func(h *rpm.Header) bool { return h.NEVRA().Name == n.Name })
}
