// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"fmt"
	"strings"
)

// Dep is one dependency: a name, optionally with a range of versions, or a rich (boolean) expression.
//
//	shape   Name may be a capability "foo", "foo(x86-64)", a path "/bin/sh" or a rich one "(a if b)", which has no EVR
//	units   Flags as in the Sense constants
type Dep struct {
	Name  string
	Flags uint32
	EVR   EVR
	Pre   bool // needed before the package's own scriptlets run
}

// Rich tells whether the dependency is a boolean expression.
func (d Dep) Rich() bool { return strings.HasPrefix(d.Name, "(") }

// String gives "foo >= 1:2-3".
func (d Dep) String() string {
	op := d.Op()
	if op == "" {
		return d.Name
	}
	return d.Name + " " + op + " " + d.EVR.String()
}

// Op gives "<", "<=", "=", ">=", ">", or "" where any version will do.
func (d Dep) Op() string {
	if d.EVR.IsZero() {
		return ""
	}
	op := ""
	if d.Flags&SenseLess != 0 {
		op += "<"
	}
	if d.Flags&SenseGreater != 0 {
		op += ">"
	}
	if d.Flags&SenseEqual != 0 {
		op += "="
	}
	return op
}

// Intersects tells whether some version satisfies both (as a provide satisfies a require). Rich ones do only if they are the same text.
// A side without a version range satisfies all; a missing release on either side is not compared.
//
//	source  rpm lib/rpmds.cc, rpmdsCompareIndex
func (d Dep) Intersects(o Dep) bool {
	if d.Name != o.Name {
		return false
	}
	if d.Op() == "" || o.Op() == "" {
		return true
	}
	c := compareEpoch(d.EVR.Epoch, o.EVR.Epoch)
	if c == 0 {
		c = Vercmp(d.EVR.Version, o.EVR.Version)
	}
	if c == 0 && d.EVR.Release != "" && o.EVR.Release != "" {
		c = Vercmp(d.EVR.Release, o.EVR.Release)
	}
	switch {
	case c < 0:
		return d.Flags&SenseGreater != 0 || o.Flags&SenseLess != 0
	case c > 0:
		return d.Flags&SenseLess != 0 || o.Flags&SenseGreater != 0
	}
	return d.Flags&o.Flags&SenseCompare != 0
}

// DepKind chooses one of the lists of dependencies.
type DepKind int

// The lists of dependencies that a header has.
const (
	Provides DepKind = iota
	Requires
	Conflicts
	Obsoletes
	Recommends
	Suggests
	Supplements
	Enhances
	Order
)

var depTags = map[DepKind][3]uint32{
	Provides:    {TagProvideName, TagProvideFlags, TagProvideVersion},
	Requires:    {TagRequireName, TagRequireFlags, TagRequireVersion},
	Conflicts:   {TagConflictName, TagConflictFlags, TagConflictVersion},
	Obsoletes:   {TagObsoleteName, TagObsoleteFlags, TagObsoleteVersion},
	Recommends:  {TagRecommendName, TagRecommendFlags, TagRecommendVersion},
	Suggests:    {TagSuggestName, TagSuggestFlags, TagSuggestVersion},
	Supplements: {TagSupplementName, TagSupplementFlags, TagSupplementVersion},
	Enhances:    {TagEnhanceName, TagEnhanceFlags, TagEnhanceVersion},
	Order:       {TagOrderName, TagOrderFlags, TagOrderVersion},
}

// Deps gives one list of dependencies in the header's order, "rpmlib(...)" ones included.
//
//	errors  text only, if the arrays of the header do not match
func (h *Header) Deps(kind DepKind) ([]Dep, error) {
	tags := depTags[kind]
	return h.deps(tags[0], tags[1], tags[2])
}

func (h *Header) deps(nameTag, flagsTag, versionTag uint32) ([]Dep, error) {
	names, flags, versions := h.Strings(nameTag), h.Uint32s(flagsTag), h.Strings(versionTag)
	if flags != nil && len(flags) != len(names) || versions != nil && len(versions) != len(names) {
		return nil, fmt.Errorf("header: tag %d: %d names, %d flags, %d versions", nameTag, len(names), len(flags), len(versions))
	}
	if len(names) == 0 {
		return nil, nil
	}
	out := make([]Dep, len(names))
	for i, name := range names {
		out[i].Name = name
		if flags != nil {
			out[i].Flags = flags[i]
		}
		if versions != nil {
			out[i].EVR = ParseEVR(versions[i])
		}
		out[i].Pre = out[i].Flags&(SensePrereq|SenseScriptPre|SenseScriptPost) != 0
	}
	return out, nil
}
