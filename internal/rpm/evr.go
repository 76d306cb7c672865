// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"fmt"
	"strconv"
	"strings"
)

// EVR is epoch, version and release.
//
//	shape   Epoch decimal digits, "" = none (which compares as 0); Release "" = none
type EVR struct{ Epoch, Version, Release string }

// ParseEVR splits "[epoch:]version[-release]". It takes any text: what is not an epoch stays in the version.
//
//	source  rpm rpmio/rpmver.cc, parseEVR
func ParseEVR(s string) EVR {
	var e EVR
	digits := 0
	for digits < len(s) && isDigit(s[digits]) {
		digits++
	}
	if digits < len(s) && s[digits] == ':' {
		e.Epoch = s[:digits]
		if digits == 0 {
			e.Epoch = "0"
		}
		s = s[digits+1:]
	}
	e.Version = s
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		e.Version, e.Release = s[:i], s[i+1:]
	}
	return e
}

// Compare orders by epoch, version, release with Vercmp: -1, 0 or 1. A missing epoch is 0, a missing release is lowest.
//
//	source  rpm rpmio/rpmver.cc, rpmverCmp
func (a EVR) Compare(b EVR) int {
	if c := compareEpoch(a.Epoch, b.Epoch); c != 0 {
		return c
	}
	if c := Vercmp(a.Version, b.Version); c != 0 {
		return c
	}
	return Vercmp(a.Release, b.Release)
}

// String gives "[epoch:]version[-release]", without an epoch of 0.
func (e EVR) String() string {
	s := e.Version
	if e.Release != "" {
		s += "-" + e.Release
	}
	if t := strings.TrimLeft(e.Epoch, "0"); t != "" {
		s = t + ":" + s
	}
	return s
}

// IsZero tells whether there is no version at all.
func (e EVR) IsZero() bool { return e == EVR{} }

// EpochNumber gives the epoch as a number; none, and one out of range, is 0.
func (e EVR) EpochNumber() uint32 {
	n, err := strconv.ParseUint(e.Epoch, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func compareEpoch(a, b string) int {
	return Vercmp("0"+a, "0"+b)
}

// Vercmp compares two versions, or two releases, by rpm's rules: -1, 0 or 1.
//
//	source  rpm rpmio/rpmvercmp.cc; docs/manual/versioning.md
func Vercmp(a, b string) int {
	if a == b {
		return 0
	}
	for len(a) > 0 || len(b) > 0 {
		a, b = skipSeparators(a), skipSeparators(b)
		if c, done := compareMark(&a, &b); done {
			return c
		} else if c == marked {
			continue
		}
		if a == "" || b == "" {
			break
		}
		numeric := isDigit(a[0])
		sa, ra := segment(a, numeric)
		sb, rb := segment(b, numeric)
		if sb == "" { // of different kinds: the number is newer
			if numeric {
				return 1
			}
			return -1
		}
		if c := compareSegment(sa, sb, numeric); c != 0 {
			return c
		}
		a, b = ra, rb
	}
	switch {
	case a == "" && b == "":
		return 0
	case a == "":
		return -1
	}
	return 1
}

// marked says that both sides began with the same mark, which is now taken off.
const marked = 2

// compareMark handles '~', which sorts before the end of the text, and '^', which sorts just after it.
func compareMark(a, b *string) (cmp int, done bool) {
	for _, mark := range []byte{'~', '^'} {
		ha, hb := hasPrefix(*a, mark), hasPrefix(*b, mark)
		switch {
		case !ha && !hb:
			continue
		case ha && hb:
			*a, *b = (*a)[1:], (*b)[1:]
			return marked, false
		case mark == '~':
			if ha {
				return -1, true
			}
			return 1, true
		case ha == (*a == "" || *b == ""): // a ends in a caret where b ends, or b goes on where a ended
			return 1, true
		default:
			return -1, true
		}
	}
	return 0, false
}

func hasPrefix(s string, c byte) bool { return s != "" && s[0] == c }

func compareSegment(a, b string, numeric bool) int {
	if numeric {
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if len(a) != len(b) {
			if len(a) > len(b) {
				return 1
			}
			return -1
		}
	}
	return strings.Compare(a, b)
}

func segment(s string, numeric bool) (head, rest string) {
	i := 0
	for i < len(s) && (numeric && isDigit(s[i]) || !numeric && isAlpha(s[i])) {
		i++
	}
	return s[:i], s[i:]
}

func skipSeparators(s string) string {
	i := 0
	for i < len(s) && !isDigit(s[i]) && !isAlpha(s[i]) && s[i] != '~' && s[i] != '^' {
		i++
	}
	return s[i:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// NEVRA names one build of one package for one architecture.
//
//	shape   Arch "src" for a source package
type NEVRA struct {
	Name string
	EVR
	Arch string
}

// String gives "name-[epoch:]version-release.arch", without an epoch of 0.
func (n NEVRA) String() string {
	s := n.Name + "-" + n.EVR.String()
	if n.Arch != "" {
		s += "." + n.Arch
	}
	return s
}

// Compare orders by name, then version, then architecture.
func (n NEVRA) Compare(o NEVRA) int {
	if c := strings.Compare(n.Name, o.Name); c != 0 {
		return c
	}
	if c := n.EVR.Compare(o.EVR); c != 0 {
		return c
	}
	return strings.Compare(n.Arch, o.Arch)
}

// ParseNEVRA reads what NEVRA.String writes; "epoch:name-version-release.arch" and a final ".rpm" are taken too.
//
//	errors  text only, where a part is missing
func ParseNEVRA(s string) (NEVRA, error) {
	var n NEVRA
	rest := strings.TrimSuffix(s, ".rpm")
	dot := strings.LastIndexByte(rest, '.')
	if dot < 0 {
		return n, fmt.Errorf("package name %q: want name-version-release.arch", s)
	}
	rest, n.Arch = rest[:dot], rest[dot+1:]
	rel := strings.LastIndexByte(rest, '-')
	if rel <= 0 {
		return n, fmt.Errorf("package name %q: no release", s)
	}
	ver := strings.LastIndexByte(rest[:rel], '-')
	if ver <= 0 {
		return n, fmt.Errorf("package name %q: no version", s)
	}
	n.Name, n.EVR = rest[:ver], ParseEVR(rest[ver+1:])
	if i := strings.IndexByte(n.Name, ':'); i > 0 && n.Epoch == "" && strings.Trim(n.Name[:i], "0123456789") == "" {
		n.Epoch, n.Name = n.Name[:i], n.Name[i+1:]
	}
	if n.Name == "" || n.Version == "" || n.Release == "" || n.Arch == "" {
		return n, fmt.Errorf("package name %q: an empty part", s)
	}
	return n, nil
}
