// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"

	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// Which version of a package is taken, when several fit?
//
// An upgrade takes the newest. Any other change leaves what is layered as it is, and takes what is new from the
// sources that the base itself was made from, as far as they have it: those packages were built beside the base's.
// Both are preferences; the solver leaves them where they do not fit.

// keptRepo is the solver's name of the packages that the run before took.
const keptRepo = "@kept"

// Priorities in the solver's words, where lower wins. A source's own priority comes first, as with dnf; among
// sources of equal priority those of the base win.
const (
	keptPriority    = -1 << 29
	defaultPriority = 99 // of a source that names none
)

// KeySources is the commit metadata that names the sources a base was made from (as).
const KeySources = "grove.sources"

// rpmOSTreeSources is rpm-ostree's name of the same (aa{sv}, key id).
const rpmOSTreeSources = "rpmostree.rpmmd-repos"

// priority is what the solver is told of a source.
func (b *build) priority(s rpmmd.Source) int {
	p := 2 * ownPriority(s)
	if !b.o.Newest && len(b.base.sources) > 0 && !b.base.sources[s.ID] {
		p++
	}
	return p
}

func ownPriority(s rpmmd.Source) int {
	if s.Priority == 0 {
		return defaultPriority
	}
	return s.Priority
}

// keptRepo gives the solver the packages of the run before, from the package cache, as the ones to prefer.
func (b *build) keptRepo(req *solve.Request) error {
	if b.o.Previous == nil || b.o.Newest && !b.short {
		return nil
	}
	r := solve.Repo{ID: keptRepo, Priority: keptPriority}
	if b.o.Newest { // a source that is not at hand must not take anybody back to an older version
		r.Priority = 2 * b.shortPriority
	}
	for _, l := range b.o.Previous.Packages {
		if l.Source == LocalSource {
			continue
		}
		n, err := rpm.ParseNEVRA(l.NEVRA)
		if err != nil {
			return fmt.Errorf("lock of the deployment before: %w", err)
		}
		res, ok, err := b.cachedLocked(n, l)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		m, err := res.Header.Meta()
		if err != nil {
			return err
		}
		if b.choice != nil && b.choice.Left(&m) {
			continue
		}
		b.kept = append(b.kept, l)
		r.Packages, r.Origins = append(r.Packages, m), append(r.Origins, l.Source)
	}
	if len(r.Packages) > 0 {
		req.Repos = append(req.Repos, r)
	}
	return nil
}

// lockedMeta is a kept package's metadata with what its lock says of its file.
func lockedMeta(l manifest.LockedPackage, m rpm.Meta) rpm.Meta {
	m.Location, m.Digest, m.SizeBytes = l.Location, digestOf(l.Digest), l.SizeBytes
	return m
}

// newer names requested packages of which a source has a newer version than the one that was taken.
func (b *build) newer() []string {
	var out []string
	for _, p := range b.picks {
		if !p.requested {
			continue
		}
		best := p.meta.NEVRA
		source := ""
		for _, md := range b.sources {
			for _, m := range md.Packages {
				if m.Name == best.Name && m.Arch == best.Arch && m.EVR.Compare(best.EVR) > 0 {
					best, source = m.NEVRA, md.Source.ID
				}
			}
		}
		if source != "" {
			out = append(out, fmt.Sprintf("%s (%s)", best, source))
		}
	}
	return out
}

// baseSources are the ids of the sources that a commit was made from, none where it does not say.
func baseSources(c ostree.Commit) map[string]bool {
	out := map[string]bool{}
	if v, ok := c.Metadata.Lookup(KeySources); ok && v.Type() == "as" {
		for _, id := range v.Strings() {
			out[id] = true
		}
		return out
	}
	if v, ok := c.Metadata.Lookup(rpmOSTreeSources); ok && v.Type() == "aa{sv}" {
		for i := range v.Len() {
			if d, ok := v.Index(i).Dict(); ok {
				if id, ok := d.Lookup("id"); ok && id.Type() == "s" {
					out[id.Str()] = true
				}
			}
		}
	}
	return out
}
