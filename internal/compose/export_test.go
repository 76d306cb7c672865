// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"crypto/sha256"
	"io"
	"os"

	"grove/internal/accounts"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// Names for the tests outside of the package.
var (
	ExpandDate      = expandDate
	TreePath        = treePath
	Follow          = follow
	GuestPath       = guestPath
	PlaceInTree     = placeInTree
	EscapeTmpfiles  = escapeTmpfiles
	LockOrder       = lockOrder
	WithoutAccounts = withoutAccounts
	UnitName        = unitName
	Variant         = variant
	Visible         = visible
	BaseSources     = baseSources
)

// Members gives the packages of a group of these sources, and those that belong to it on a condition.
func Members(name string, sources ...*rpmmd.Metadata) (there []string, conditional []rpmmd.Conditional, err error) {
	b := &build{sources: sources}
	there, err = b.group(name)
	return there, b.conditional, err
}

// InputHash is the hash of what a run would be made from.
func InputHash(m manifest.Manifest, o Options, picks map[string]string) string {
	b := &build{m: m, o: o}
	for _, n := range sortedKeys(picks) {
		nevra, err := rpm.ParseNEVRA(n)
		if err != nil {
			panic(err)
		}
		b.picks = append(b.picks, pick{meta: rpm.Meta{NEVRA: nevra, Digest: digestOf(picks[n])}})
	}
	return b.inputHash()
}

// Version is the version that a commit would get.
func Version(m manifest.Manifest, o Options, baseVersion string, stamp uint64) string {
	b := &build{m: m, o: o, stamp: stamp}
	b.base.version = baseVersion
	return b.version()
}

// Priority is what the solver is told of a source.
func Priority(s rpmmd.Source, newest bool, baseSources ...string) int {
	b := &build{o: Options{Newest: newest}}
	b.base.sources = map[string]bool{}
	for _, id := range baseSources {
		b.base.sources[id] = true
	}
	return b.priority(s)
}

// BindPackages applies repo-packages to what sources offer.
func BindPackages(m manifest.Manifest, req *solve.Request, kept []manifest.LockedPackage) []manifest.LockedPackage {
	b := &build{m: m, kept: kept}
	b.bindPackages(req)
	return b.kept
}

// FreeLines leaves out account lines whose ids others have.
func FreeLines(db accounts.DB, users, groups []string) (u, g, warnings []string) {
	b := &build{}
	u, g = b.freeLines(db, users, groups)
	return u, g, b.result.Warnings
}

// SysusersBeside applies lines where other accounts lie in /usr/lib.
func SysusersBeside(lines []string, db, alt accounts.DB) (accounts.DB, error) {
	return (&build{}).sysusers(lines, db, alt)
}

// LockFits tells why a lock cannot be followed.
func LockFits(l manifest.Lock, arch string, base *ostree.Checksum) error {
	b := &build{o: Options{Lock: &l, Arch: arch}}
	if base != nil {
		b.o.Base = &Base{Commit: *base}
	}
	return b.lockFits()
}

// BaseNames is how packages may call what lies at paths of a tree.
func BaseNames(paths map[string]bool) map[string]bool { return baseNames(paths) }

var OpenChecked = openChecked

// ReadOnce reads a package file that others may write to.
func ReadOnce(f *os.File) (io.Reader, func(sum string) error) {
	r := &reading{f: f, hash: sha256.New()}
	return r, r.finish
}
