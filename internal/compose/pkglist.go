// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"cmp"
	"slices"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/rpm"
)

// KeyInstalled is where a commit lists the packages in its rpmdb, so that nobody has to read that to name them.
//
//	shape   a(sssss): name, epoch ("0" where there is none), version, release, architecture; sorted
//	source  rpm-ostree src/libpriv/rpmostree-rpm-util.cxx (rpmostree_create_rpmdb_pkglist_variant)
const KeyInstalled = "rpmostree.rpmdb.pkglist"

// KeyPackage is what rpm calls the packages that it makes of imported keys. They do not count as installed.
const KeyPackage = "gpg-pubkey"

// maxInstalled bounds the list of a commit that somebody else made.
const maxInstalled = 100_000

// listInstalled notes what the rpmdb of the tree has: that of before, without what goes, and what comes.
func (b *build) listInstalled() {
	b.installedNow = nil
	for _, h := range b.base.headers {
		if n := h.NEVRA(); n.Name != KeyPackage && !slices.Contains(b.removed, h) {
			b.installedNow = append(b.installedNow, n)
		}
	}
	for _, p := range b.packages {
		b.installedNow = append(b.installedNow, p.meta.NEVRA)
	}
}

// pkglist is the value of KeyInstalled.
func pkglist(names []rpm.NEVRA) gvariant.Value {
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b rpm.NEVRA) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.EVR.Compare(b.EVR), cmp.Compare(a.Arch, b.Arch))
	})
	items := make([]gvariant.Value, len(names))
	for i, n := range names {
		items[i] = gvariant.Tuple(gvariant.String(n.Name), gvariant.String(cmp.Or(n.Epoch, "0")), gvariant.String(n.Version),
			gvariant.String(n.Release), gvariant.String(n.Arch))
	}
	return gvariant.Array("(sssss)", items...)
}

// Installed are the packages that a commit says are in its rpmdb; false where it says nothing of that.
func Installed(c ostree.Commit) ([]rpm.NEVRA, bool) {
	v, ok := c.Metadata.Lookup(KeyInstalled)
	if !ok || v.Type() != "a(sssss)" || v.Len() > maxInstalled {
		return nil, false
	}
	out := make([]rpm.NEVRA, v.Len())
	for i := range out {
		p := v.Index(i)
		out[i] = rpm.NEVRA{Name: p.Index(0).Str(), EVR: rpm.EVR{Epoch: p.Index(1).Str(), Version: p.Index(2).Str(), Release: p.Index(3).Str()}, Arch: p.Index(4).Str()}
		if out[i].Epoch == "0" {
			out[i].Epoch = ""
		}
	}
	return out, true
}
