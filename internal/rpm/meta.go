// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"strconv"
	"strings"
)

// Digest names content: Algo is "sha256" and the like, Hex lower case.
type Digest struct{ Algo, Hex string }

// String gives "sha256:hex", "" if there is no digest.
func (d Digest) String() string {
	if d.Hex == "" {
		return ""
	}
	return d.Algo + ":" + d.Hex
}

// Meta is what a source's metadata, or a header, tells about a package without opening it.
//
//	units   SizeBytes of the package file, InstalledBytes as the header counts; HeaderStart and HeaderEnd are offsets in the file
//	shape   Requires lacks the "rpmlib(...)" ones; Files holds what the source listed, directories and ghosts among them
type Meta struct {
	NEVRA
	Provides, Requires, Conflicts, Obsoletes    []Dep
	Recommends, Suggests, Supplements, Enhances []Dep
	Files                                       []string
	Summary, Description, License, URL          string
	Vendor, Group, SourceRPM                    string
	SizeBytes, InstalledBytes, BuildTimeSec     int64
	Location                                    string // as the source gives it, relative to its base
	Digest                                      Digest // of the package file
	HeaderStart, HeaderEnd                      int64
}

// NEVRA gives the name of the package. For a source package Arch is "src"; public keys in an rpmdb have none.
func (h *Header) NEVRA() NEVRA {
	n := NEVRA{Name: h.String(TagName), Arch: h.String(TagArch)}
	n.Version, n.Release = h.String(TagVersion), h.String(TagRelease)
	if e, ok := h.Uint32(TagEpoch); ok {
		n.Epoch = strconv.FormatUint(uint64(e), 10)
	}
	if h.IsSource() {
		n.Arch = "src"
	}
	return n
}

// IsSource tells whether the header is that of a source package. Unlike rpm it does not count the pseudo packages of
// public keys in an rpmdb, which have no architecture.
//
//	source  rpm lib/header.cc, headerIsSource: no SOURCERPM
func (h *Header) IsSource() bool { return !h.Has(TagSourceRPM) && h.Has(TagArch) }

// Meta gives the header's own view of the package; what concerns the file and its source stays empty.
//
//	errors  text only, where arrays of the header do not match or a path is unclean
func (h *Header) Meta() (Meta, error) {
	m := Meta{
		NEVRA: h.NEVRA(), Summary: h.String(TagSummary), Description: h.String(TagDescription),
		License: h.String(TagLicense), URL: h.String(TagURL), Vendor: h.String(TagVendor),
		Group: h.String(TagGroup), SourceRPM: h.String(TagSourceRPM),
	}
	if v, ok := h.Uint64(TagLongSize); ok {
		m.InstalledBytes = int64(v)
	} else if v, ok := h.Uint64(TagSize); ok {
		m.InstalledBytes = int64(v)
	}
	if v, ok := h.Uint64(TagBuildTime); ok {
		m.BuildTimeSec = int64(v)
	}
	for kind, dst := range map[DepKind]*[]Dep{
		Provides: &m.Provides, Requires: &m.Requires, Conflicts: &m.Conflicts, Obsoletes: &m.Obsoletes,
		Recommends: &m.Recommends, Suggests: &m.Suggests, Supplements: &m.Supplements, Enhances: &m.Enhances,
	} {
		deps, err := h.Deps(kind)
		if err != nil {
			return m, err
		}
		*dst = deps
	}
	m.Requires = withoutRPMLib(m.Requires)
	m.Provides = h.withSelf(m.Provides, m.NEVRA)
	paths, err := h.Paths()
	m.Files = paths
	return m, err
}

func withoutRPMLib(deps []Dep) []Dep {
	kept := deps[:0]
	for _, d := range deps {
		if !strings.HasPrefix(d.Name, "rpmlib(") {
			kept = append(kept, d)
		}
	}
	return kept
}

// withSelf adds "name = evr", which packages made by rpm before 4 do not provide by themselves. Those have no region.
//
//	source  rpm lib/headerutil.cc, headerConvert
func (h *Header) withSelf(provides []Dep, n NEVRA) []Dep {
	if h.region != 0 || h.IsSource() {
		return provides
	}
	for _, p := range provides {
		if p.Name == n.Name && p.Flags&SenseEqual != 0 && p.EVR.Compare(n.EVR) == 0 {
			return provides
		}
	}
	return append(provides, Dep{Name: n.Name, Flags: SenseEqual, EVR: n.EVR})
}
