// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"fmt"
	"strings"
)

// maxTypeLen bounds a type string; D-Bus has the same limit, and no type of OSTree comes near it.
const maxTypeLen = 255

// maxTypeDepth bounds the nesting inside one type string.
const maxTypeDepth = 64

// typ is a parsed type string. It is immutable and may be shared.
type typ struct {
	text  string
	kind  byte   // the first letter of text
	align int    // 1, 2, 4 or 8
	fixed int    // size in bytes when all values have the same, else 0
	elems []*typ // a, m: the element; ( and {: the members
}

// Types are shared constants: nothing ever writes to them.
var (
	typBool   = &typ{text: "b", kind: 'b', align: 1, fixed: 1}
	typByte   = &typ{text: "y", kind: 'y', align: 1, fixed: 1}
	typInt16  = &typ{text: "n", kind: 'n', align: 2, fixed: 2}
	typUint16 = &typ{text: "q", kind: 'q', align: 2, fixed: 2}
	typInt32  = &typ{text: "i", kind: 'i', align: 4, fixed: 4}
	typUint32 = &typ{text: "u", kind: 'u', align: 4, fixed: 4}
	typInt64  = &typ{text: "x", kind: 'x', align: 8, fixed: 8}
	typUint64 = &typ{text: "t", kind: 't', align: 8, fixed: 8}
	typHandle = &typ{text: "h", kind: 'h', align: 4, fixed: 4}
	typDouble = &typ{text: "d", kind: 'd', align: 8, fixed: 8}
	typString = &typ{text: "s", kind: 's', align: 1}
	typObject = &typ{text: "o", kind: 'o', align: 1}
	typSig    = &typ{text: "g", kind: 'g', align: 1}
	typVar    = &typ{text: "v", kind: 'v', align: 8}

	typBytes   = arrayOf(typByte)
	typStrings = arrayOf(typString)
	typEntrySV = dictEntryOf(typString, typVar)
	typDict    = arrayOf(typEntrySV)
	typXattr   = tupleOf([]*typ{typBytes, typBytes})
)

// basic returns the type of one letter, or nil if the letter is no complete type.
func basic(c byte) *typ {
	switch c {
	case 'b':
		return typBool
	case 'y':
		return typByte
	case 'n':
		return typInt16
	case 'q':
		return typUint16
	case 'i':
		return typInt32
	case 'u':
		return typUint32
	case 'x':
		return typInt64
	case 't':
		return typUint64
	case 'h':
		return typHandle
	case 'd':
		return typDouble
	case 's':
		return typString
	case 'o':
		return typObject
	case 'g':
		return typSig
	case 'v':
		return typVar
	}
	return nil
}

func arrayOf(e *typ) *typ {
	return &typ{text: "a" + e.text, kind: 'a', align: e.align, elems: []*typ{e}}
}

func maybeOf(e *typ) *typ {
	return &typ{text: "m" + e.text, kind: 'm', align: e.align, elems: []*typ{e}}
}

func dictEntryOf(key, value *typ) *typ {
	return structOf('{', '}', []*typ{key, value})
}

func tupleOf(members []*typ) *typ {
	return structOf('(', ')', members)
}

// structOf lays members one after another. The size is fixed when every member's is; the empty tuple has size 1.
func structOf(open, end byte, members []*typ) *typ {
	t := &typ{kind: open, align: 1, elems: members}
	var text strings.Builder
	text.WriteByte(open)
	size, fixed := 0, true
	for _, m := range members {
		text.WriteString(m.text)
		t.align = max(t.align, m.align)
		size = alignUp(size, m.align) + m.fixed
		fixed = fixed && m.fixed > 0
	}
	text.WriteByte(end)
	t.text = text.String()
	if fixed {
		t.fixed = max(1, alignUp(size, t.align))
	}
	return t
}

// parseType reads a string that holds exactly one complete type.
func parseType(s string) (*typ, error) {
	switch s { // what variants in OSTree mostly hold
	case "ay":
		return typBytes, nil
	case "as":
		return typStrings, nil
	case "a{sv}":
		return typDict, nil
	case "(ayay)": // an xattr
		return typXattr, nil
	}
	if len(s) > maxTypeLen {
		return nil, fmt.Errorf("parse type: %d characters, at most %d allowed", len(s), maxTypeLen)
	}
	t, rest, err := parseOne(s, 0)
	if err != nil {
		return nil, fmt.Errorf("parse type %q: %w", s, err)
	}
	if rest != "" {
		return nil, fmt.Errorf("parse type %q: %q is left over", s, rest)
	}
	return t, nil
}

// parseOne reads one complete type from the front of s.
func parseOne(s string, depth int) (t *typ, rest string, err error) {
	if s == "" {
		return nil, "", fmt.Errorf("type ends early")
	}
	if depth > maxTypeDepth {
		return nil, "", fmt.Errorf("nested deeper than %d", maxTypeDepth)
	}
	if t := basic(s[0]); t != nil {
		return t, s[1:], nil
	}
	switch s[0] {
	case 'a', 'm':
		e, rest, err := parseOne(s[1:], depth+1)
		if err != nil {
			return nil, "", err
		}
		if s[0] == 'm' {
			return maybeOf(e), rest, nil
		}
		return arrayOf(e), rest, nil
	case '(', '{':
		return parseStruct(s, depth)
	}
	return nil, "", fmt.Errorf("letter %q is no type", s[0])
}

func parseStruct(s string, depth int) (*typ, string, error) {
	open, end := s[0], byte(')')
	if open == '{' {
		end = '}'
	}
	var members []*typ
	rest := s[1:]
	for {
		if rest == "" {
			return nil, "", fmt.Errorf("%q is not closed", open)
		}
		if rest[0] == end {
			break
		}
		m, r, err := parseOne(rest, depth+1)
		if err != nil {
			return nil, "", err
		}
		members, rest = append(members, m), r
	}
	if open == '{' && (len(members) != 2 || basic(members[0].kind) == nil || members[0].kind == 'v') {
		return nil, "", fmt.Errorf("a dictionary entry has a basic key and one value")
	}
	return structOf(open, end, members), rest[1:], nil
}

func alignUp(n, align int) int { return (n + align - 1) &^ (align - 1) }
