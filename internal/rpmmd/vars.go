// SPDX-License-Identifier: Apache-2.0

package rpmmd

import "strings"

// Vars are the variables of .repo files by their names: releasever, basearch, arch and what /etc/dnf/vars adds.
type Vars map[string]string

// baseArchs gives the base architecture of those that have another name.
//
//	source  dnf dnf/rpm/__init__.py, _BASEARCH_MAP
var baseArchs = map[string]string{
	"i386": "i386", "i486": "i386", "i586": "i386", "i686": "i386", "athlon": "i386", "geode": "i386",
	"amd64": "x86_64", "ia32e": "x86_64", "x86_64_v2": "x86_64", "x86_64_v3": "x86_64", "x86_64_v4": "x86_64",
	"armv7hl": "armhfp", "armv7hnl": "armhfp", "armv6hl": "armv6hl", "armv8hl": "armhfp",
	"armv5tel": "arm", "armv5tejl": "arm", "armv6l": "arm", "armv7l": "arm",
	"ppc64p7": "ppc64", "ppc64iseries": "ppc64", "ppc64pseries": "ppc64", "sh4a": "sh4",
}

// BaseArch returns the architecture under which a distribution files packages for arch.
func BaseArch(arch string) string {
	if b := baseArchs[arch]; b != "" {
		return b
	}
	return arch
}

// NewVars returns the variables that every host has.
func NewVars(releasever, arch string) Vars {
	major, minor, _ := strings.Cut(releasever, ".")
	return Vars{
		"releasever": releasever, "releasever_major": major, "releasever_minor": minor,
		"arch": arch, "basearch": BaseArch(arch),
	}
}

// maxExpanded bounds what variables can make of one value.
const maxExpanded = 64 << 10

// Expand replaces $name, ${name}, ${name:-word} (word where name is not set) and ${name:+word} (word where it is).
// What is not known stays as it is and is returned in unknown.
func (v Vars) Expand(s string) (result string, unknown []string) {
	var b strings.Builder
	for s != "" && b.Len() <= maxExpanded {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		text, value, ok := v.one(s[i:])
		if !ok {
			if len(text) > 1 {
				unknown = append(unknown, text)
			}
			value = text
		}
		b.WriteString(value)
		s = s[i+len(text):]
	}
	return b.String(), unknown
}

// one reads the variable at the start of s: its text, and its value if it has one.
func (v Vars) one(s string) (text, value string, ok bool) {
	braced := strings.HasPrefix(s, "${")
	start := 1
	if braced {
		start = 2
	}
	end := start
	for end < len(s) && (s[end] == '_' || s[end] >= '0' && s[end] <= '9' || s[end] >= 'a' && s[end] <= 'z' || s[end] >= 'A' && s[end] <= 'Z') {
		end++
	}
	name := s[start:end]
	if name == "" {
		return s[:1], "", false
	}
	value, ok = v[name]
	if !braced {
		return s[:end], value, ok
	}
	close := strings.IndexByte(s[end:], '}')
	if close < 0 {
		return s[:1], "", false
	}
	text, rest := s[:end+close+1], s[end:end+close]
	switch {
	case rest == "":
		return text, value, ok
	case strings.HasPrefix(rest, ":-"):
		if value == "" {
			value = rest[2:]
		}
		return text, value, true
	case strings.HasPrefix(rest, ":+"):
		if value != "" {
			value = rest[2:]
		}
		return text, value, true
	}
	return text, "", false
}
