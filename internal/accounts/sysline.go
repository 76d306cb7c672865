// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"fmt"
	"slices"
	"strings"
)

// maxSysusersLine bounds a line; systemd's own limit of a line is larger, no distribution comes near.
const maxSysusersLine = 16 << 10

// line takes one line of sysusers.d.
func (s *sysusers) line(text string) error {
	text = strings.TrimRight(text, " \t\r\n")
	text = strings.TrimLeft(text, " \t")
	if text == "" || text[0] == '#' || text[0] == ';' {
		return nil
	}
	if len(text) > maxSysusersLine {
		return fmt.Errorf("%d bytes, limit %d", len(text), maxSysusersLine)
	}
	words, err := splitQuoted(text)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return fmt.Errorf("%q: want an action and a name", text)
	}
	if len(words) > 6 {
		return fmt.Errorf("%q: %d fields, at most 6", text, len(words))
	}
	var f [6]string
	for i, w := range words {
		if w == "-" {
			w = ""
		}
		if i > 0 {
			if w, err = specifiers(w); err != nil {
				return err
			}
		}
		f[i] = w
	}
	if f[0] != "r" && !validName(f[1]) {
		return fmt.Errorf("%q is not a name of a user or group", f[1])
	}
	switch f[0] {
	case "u", "u!":
		return s.userLine(f)
	case "g":
		return s.groupLine(f)
	case "m":
		return s.memberLine(f)
	case "r":
		return s.rangeLine(f)
	}
	return fmt.Errorf("action %q is not known", f[0])
}

func (s *sysusers) userLine(f [6]string) error {
	it := &item{name: f[1], gecos: f[3], home: f[4], shell: f[5], locked: f[0] == "u!"}
	if strings.ContainsAny(it.gecos, ":\n") {
		return fmt.Errorf("user %q: description %q has a colon or a line break", it.name, it.gecos)
	}
	for _, path := range []string{it.home, it.shell} {
		if path != "" && (path[0] != '/' || strings.ContainsAny(path, ":\n")) {
			return fmt.Errorf("user %q: %q is not an absolute path without colons", it.name, path)
		}
	}
	id, group, both := strings.Cut(f[2], ":")
	switch {
	case strings.HasPrefix(f[2], "/"):
		it.idPath = f[2]
	case both:
		if gid, ok := parseID(group); ok && validID(gid) {
			it.gid, it.strict = &gid, true
		} else if validName(group) {
			it.groupName = group
		} else {
			return fmt.Errorf("user %q: %q is not a group", it.name, group)
		}
		it.strict = true
		fallthrough
	default:
		if id == "" || id == "-" {
			break
		}
		uid, ok := parseID(id)
		if !ok || !validID(uid) {
			return fmt.Errorf("user %q: %q is not an id", it.name, id)
		}
		it.uid = &uid
	}
	return s.putItem(it, true)
}

func (s *sysusers) groupLine(f [6]string) error {
	if f[3] != "" || f[4] != "" || f[5] != "" {
		return fmt.Errorf("group %q: a group takes no description, home or shell", f[1])
	}
	it := &item{name: f[1]}
	if strings.HasPrefix(f[2], "/") {
		it.idPath = f[2]
	} else if f[2] != "" {
		gid, ok := parseID(f[2])
		if !ok || !validID(gid) {
			return fmt.Errorf("group %q: %q is not an id", f[1], f[2])
		}
		it.gid = &gid
	}
	return s.putItem(it, false)
}

// putItem keeps the first of a name; the same again is fine, another is refused.
func (s *sysusers) putItem(it *item, user bool) error {
	known := s.groups
	if user {
		known = s.users
	}
	was := known[it.name]
	if was == nil {
		s.addItem(it, user)
		return nil
	}
	if !sameID(was.uid, it.uid) || !sameID(was.gid, it.gid) || was.idPath != it.idPath || was.groupName != it.groupName ||
		was.gecos != it.gecos || was.home != it.home || was.shell != it.shell || was.locked != it.locked {
		return fmt.Errorf("%q: an earlier line says otherwise", it.name)
	}
	return nil
}

func sameID(a, b *uint32) bool { return a == b || a != nil && b != nil && *a == *b }

func (s *sysusers) memberLine(f [6]string) error {
	if !validName(f[2]) {
		return fmt.Errorf("member %q: %q is not a group", f[1], f[2])
	}
	if f[3] != "" || f[4] != "" || f[5] != "" {
		return fmt.Errorf("member %q: takes a group only", f[1])
	}
	if _, ok := s.members[f[2]]; !ok {
		s.memberOrder = append(s.memberOrder, f[2])
	}
	if !slices.Contains(s.members[f[2]], f[1]) {
		s.members[f[2]] = append(s.members[f[2]], f[1])
	}
	return nil
}

func (s *sysusers) rangeLine(f [6]string) error {
	if f[1] != "" || f[3] != "" || f[4] != "" || f[5] != "" {
		return fmt.Errorf("range %q: takes only the range", f[2])
	}
	low, high, ok := strings.Cut(f[2], "-")
	if !ok {
		high = low
	}
	l, ok1 := parseID(low)
	h, ok2 := parseID(high)
	if !ok1 || !ok2 || l > h || !validID(h) {
		return fmt.Errorf("%q is not a range of ids", f[2])
	}
	if len(s.ranges) >= maxIDRanges {
		return fmt.Errorf("range %q: already %d ranges", f[2], len(s.ranges))
	}
	s.ranges = append(s.ranges, idRange{l, h})
	return nil
}

// validName is systemd's strict rule: a letter or underscore, then letters, digits, underscore, dash; at most 31 bytes.
func validName(n string) bool {
	if n == "" || len(n) > 31 {
		return false
	}
	for i := range len(n) {
		c := n[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// validID refuses the two numbers that mean "none" in 16 and 32 bits.
func validID(id uint32) bool { return id != 0xffff && id != 0xffffffff }

// specifiers replaces "%%"; the others name the machine that one stands on, which must not decide what a tree holds.
func specifiers(s string) (string, error) {
	head, rest, found := strings.Cut(s, "%")
	for found {
		if rest == "" || rest[0] != '%' {
			return "", fmt.Errorf("%q: only the specifier %%%% is known", s)
		}
		var more string
		more, rest, found = strings.Cut(rest[1:], "%")
		head += "%" + more
	}
	return head, nil
}

// splitQuoted splits at blanks; quotes of both kinds keep blanks, a backslash the next byte ("\n", "\t" are those).
func splitQuoted(text string) ([]string, error) {
	var words []string
	var word []byte
	var quote byte
	in := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			i++
			if i == len(text) {
				return nil, fmt.Errorf("%q: ends in a backslash", text)
			}
			word, in = append(word, unescape(text[i])), true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			if in {
				words, word, in = append(words, string(word)), nil, false
			}
		default:
			word, in = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quote is not closed", text)
	}
	if in {
		words = append(words, string(word))
	}
	return words, nil
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	}
	return c
}
