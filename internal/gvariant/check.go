// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// check fails unless data is the normal form of a value of type t. at is where data begins, for the error text. Its
// cost is linear in the size of the data: every element of an array takes at least a byte or an offset, and the depth
// is bounded.
func check(t *typ, data []byte, at, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("byte %d: nested deeper than %d", at, MaxDepth)
	}
	if t.fixed > 0 && len(data) != t.fixed {
		return fmt.Errorf("byte %d: %s takes %d bytes, got %d", at, t.text, t.fixed, len(data))
	}
	switch t.kind {
	case 'b':
		if data[0] > 1 {
			return fmt.Errorf("byte %d: boolean is %d, wanted 0 or 1", at, data[0])
		}
	case 's', 'o', 'g':
		return checkString(t, data, at)
	case 'v':
		return checkVariant(data, at, depth)
	case 'm':
		return checkMaybe(t, data, at, depth)
	case 'a':
		return checkArray(t, data, at, depth)
	case '(', '{':
		return checkStruct(t, data, at, depth)
	}
	return nil
}

func checkString(t *typ, data []byte, at int) error {
	if len(data) == 0 || bytes.IndexByte(data, 0) != len(data)-1 {
		return fmt.Errorf("byte %d: string does not end with its only NUL", at)
	}
	s := data[:len(data)-1]
	switch {
	case !utf8.Valid(s):
		return fmt.Errorf("byte %d: string is not UTF-8", at)
	case t.kind == 'o' && !validObjectPath(string(s)):
		return fmt.Errorf("byte %d: %q is no object path", at, s)
	case t.kind == 'g' && !validSignature(string(s)):
		return fmt.Errorf("byte %d: %q is no signature", at, s)
	}
	return nil
}

func checkVariant(data []byte, at, depth int) error {
	sep := bytes.LastIndexByte(data, 0)
	if sep < 0 {
		return fmt.Errorf("byte %d: variant has no type", at)
	}
	if len(data)-sep-1 > maxTypeLen {
		return fmt.Errorf("byte %d: variant's type has %d characters, at most %d allowed", at, len(data)-sep-1, maxTypeLen)
	}
	t, err := parseType(string(data[sep+1:]))
	if err != nil {
		return fmt.Errorf("byte %d: %w", at+sep+1, err)
	}
	return check(t, data[:sep], at, depth+1)
}

func checkMaybe(t *typ, data []byte, at, depth int) error {
	e := t.elems[0]
	if len(data) == 0 {
		return nil
	}
	if e.fixed == 0 {
		if data[len(data)-1] != 0 {
			return fmt.Errorf("byte %d: maybe does not end with NUL", at+len(data)-1)
		}
		data = data[:len(data)-1]
	}
	return check(e, data, at, depth+1)
}

func checkArray(t *typ, data []byte, at, depth int) error {
	e := t.elems[0]
	n, table, ok := arrayLen(t, data)
	if !ok {
		return fmt.Errorf("byte %d: %d bytes are no array %s", at, len(data), t.text)
	}
	if e.fixed > 0 && e.kind != 'b' && e.kind != '(' && e.kind != '{' {
		return nil // numbers: every bit pattern is one
	}
	if e.fixed == 0 && n > 0 && widthFor(table, n) != widthOf(len(data)) {
		return fmt.Errorf("byte %d: array %s has offsets wider than needed", at, t.text)
	}
	pos := 0
	for i := 0; i < n; i++ {
		start, end, ok := element(t, data, i, table)
		if !ok || start < pos {
			return fmt.Errorf("byte %d: array %s: element %d lies outside", at, t.text, i)
		}
		if err := zeros(data[pos:start], at+pos); err != nil {
			return err
		}
		if err := check(e, data[start:end], at+start, depth+1); err != nil {
			return err
		}
		pos = end
	}
	return nil
}

func checkStruct(t *typ, data []byte, at, depth int) error {
	cur := newCursor(t, data)
	for i := range t.elems {
		pos := cur.pos
		m, start, end, ok := cur.step()
		if !ok {
			return fmt.Errorf("byte %d: %s: member %d lies outside", at, t.text, i)
		}
		if err := zeros(data[pos:start], at+pos); err != nil {
			return err
		}
		if err := check(m, data[start:end], at+start, depth+1); err != nil {
			return err
		}
	}
	if t.fixed > 0 {
		return zeros(data[cur.pos:], at+cur.pos)
	}
	if cur.pos != cur.tail {
		return fmt.Errorf("byte %d: %s: %d bytes left over", at+cur.pos, t.text, cur.tail-cur.pos)
	}
	if n := (len(data) - cur.tail) / cur.width; n > 0 && widthFor(cur.pos, n) != cur.width {
		return fmt.Errorf("byte %d: %s has offsets wider than needed", at, t.text)
	}
	return nil
}

func zeros(pad []byte, at int) error {
	for i, b := range pad {
		if b != 0 {
			return fmt.Errorf("byte %d: padding is %#02x, wanted 0", at+i, b)
		}
	}
	return nil
}

// validObjectPath: "/" or elements of letters, digits and underscore, each after a slash.
func validObjectPath(s string) bool {
	if s == "/" {
		return true
	}
	if !strings.HasPrefix(s, "/") {
		return false
	}
	for _, e := range strings.Split(s[1:], "/") {
		if e == "" || strings.Trim(e, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return false
		}
	}
	return true
}

// validSignature: any number of complete types, one after another.
func validSignature(s string) bool {
	if len(s) > maxTypeLen {
		return false
	}
	for s != "" {
		_, rest, err := parseOne(s, 0)
		if err != nil {
			return false
		}
		s = rest
	}
	return true
}
