// SPDX-License-Identifier: Apache-2.0

// Package keyfile reads and changes GKeyFile text: the form of OSTree's repository configuration and of remotes.d.
//
// It does not know files or what keys mean. What is not touched is given back byte for byte.
package keyfile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxSizeBytes bounds a file: real ones have hundreds of bytes. Who reads one stops there.
const MaxSizeBytes = 4 << 20

// File is a GKeyFile as its lines. The zero File is empty.
type File struct{ lines []line }

// line is one line. group is the group that it stands in; key is "" for comments, blank lines and group heads.
type line struct {
	text, group, key, value string
	head                    bool
}

// Parse reads GKeyFile text: [group] lines, key=value lines, # comments.
//
//	source  GLib, glib/gkeyfile.c
func Parse(data []byte) (*File, error) {
	k := &File{}
	if len(data) > MaxSizeBytes {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(data), MaxSizeBytes)
	}
	group := ""
	if len(data) == 0 {
		return k, nil
	}
	text := strings.TrimSuffix(string(data), "\n")
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, fmt.Errorf("not UTF-8 text")
	}
	for i, raw := range strings.Split(text, "\n") {
		l := line{text: raw, group: group}
		switch trim := strings.TrimSpace(raw); {
		case trim == "" || trim[0] == '#':
		case trim[0] == '[':
			if len(trim) < 3 || trim[len(trim)-1] != ']' {
				return nil, fmt.Errorf("line %d: %.80q is no group", i+1, trim)
			}
			group = trim[1 : len(trim)-1]
			l.group, l.head = group, true
		default:
			key, value, ok := strings.Cut(trim, "=")
			if !ok || group == "" || strings.TrimSpace(key) == "" {
				return nil, fmt.Errorf("line %d: %.80q is no key=value in a group", i+1, trim)
			}
			l.key, l.value = strings.TrimSpace(key), strings.TrimSpace(value)
		}
		k.lines = append(k.lines, l)
	}
	return k, nil
}

// Bytes returns the text, each line with its end.
func (k *File) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range k.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Get returns the raw value, escapes and all, and whether the key is there; of a key that stands twice the last one counts, as GKeyFile has it.
func (k *File) Get(group, key string) (string, bool) {
	for i := len(k.lines) - 1; i >= 0; i-- {
		if l := k.lines[i]; l.key == key && key != "" && l.group == group {
			return l.value, true
		}
	}
	return "", false
}

// Set changes the last line of that key, or adds one at the end of the group's keys, or a new group at the end.
func (k *File) Set(group, key, value string) {
	add := line{text: key + "=" + value, group: group, key: key, value: value}
	at := -1
	for i, l := range k.lines {
		if l.group != group {
			continue
		}
		if l.key == key {
			at = -2
			break
		}
		if l.head || l.key != "" {
			at = i + 1
		}
	}
	switch {
	case at == -2:
		for i := len(k.lines) - 1; i >= 0; i-- {
			if l := k.lines[i]; l.group == group && l.key == key {
				k.lines[i] = add
				return
			}
		}
	case at >= 0:
		k.lines = append(k.lines[:at], append([]line{add}, k.lines[at:]...)...)
	default:
		if len(k.lines) > 0 {
			k.lines = append(k.lines, line{group: k.lines[len(k.lines)-1].group})
		}
		k.lines = append(k.lines, line{text: "[" + group + "]", group: group, head: true}, add)
	}
}

// Unset removes a key.
func (k *File) Unset(group, key string) {
	k.filter(func(l line) bool { return l.group != group || l.key != key || key == "" })
}

// RemoveGroup removes a group with all its lines, and reports whether it was there.
func (k *File) RemoveGroup(group string) bool {
	n := len(k.lines)
	k.filter(func(l line) bool { return l.group != group })
	return len(k.lines) != n
}

func (k *File) filter(keep func(line) bool) {
	var kept []line
	for _, l := range k.lines {
		if keep(l) {
			kept = append(kept, l)
		}
	}
	k.lines = kept
}

// Groups lists the groups in the order in which they first stand.
func (k *File) Groups() []string {
	var list []string
	seen := map[string]bool{}
	for _, l := range k.lines {
		if l.head && !seen[l.group] {
			seen[l.group] = true
			list = append(list, l.group)
		}
	}
	return list
}

// Keys lists the keys of a group.
func (k *File) Keys(group string) []string {
	var list []string
	seen := map[string]bool{}
	for _, l := range k.lines {
		if l.group == group && l.key != "" && !seen[l.key] {
			seen[l.key] = true
			list = append(list, l.key)
		}
	}
	return list
}

// Unescape decodes GKeyFile's escapes of a string: \s \n \t \r \\.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r").Replace(s)
}

// Escape is the reverse of Unescape; a leading blank would not survive otherwise.
func Escape(s string) string {
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
	if strings.HasPrefix(s, " ") {
		s = `\s` + s[1:]
	}
	return s
}
