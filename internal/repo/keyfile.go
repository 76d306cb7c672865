// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"grove/internal/durable"
)

// maxKeyfileSizeBytes bounds a configuration file: real ones have hundreds of bytes.
const maxKeyfileSizeBytes = 4 << 20

// keyfile is a GKeyFile as its lines: what is not touched is written back byte for byte.
type keyfile struct{ lines []keyline }

// keyline is one line. group is the group that it stands in; key is "" for comments, blank lines and group heads.
type keyline struct {
	text, group, key, value string
	head                    bool
}

// parseKeyfile reads GKeyFile text: [group] lines, key=value lines, # comments.
func parseKeyfile(data []byte) (*keyfile, error) {
	k := &keyfile{}
	group := ""
	if len(data) == 0 {
		return k, nil
	}
	text := strings.TrimSuffix(string(data), "\n")
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, fmt.Errorf("not UTF-8 text")
	}
	for i, line := range strings.Split(text, "\n") {
		l := keyline{text: line, group: group}
		switch trim := strings.TrimSpace(line); {
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

// readKeyfile reads and parses the file path.
func readKeyfile(path string) (*keyfile, error) {
	data, err := readLimited(path, maxKeyfileSizeBytes)
	if err != nil {
		return nil, err
	}
	k, err := parseKeyfile(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return k, nil
}

func (k *keyfile) save(path string, perm os.FileMode) error {
	return durable.WriteFile(path, k.bytes(), perm)
}

func (k *keyfile) bytes() []byte {
	var b bytes.Buffer
	for _, l := range k.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// get returns the raw value; of a key that stands twice the last one counts, as GKeyFile has it.
func (k *keyfile) get(group, key string) (string, bool) {
	for i := len(k.lines) - 1; i >= 0; i-- {
		if l := k.lines[i]; l.key == key && key != "" && l.group == group {
			return l.value, true
		}
	}
	return "", false
}

// set changes the last line of that key, or adds one at the end of the group's keys, or a new group at the end.
func (k *keyfile) set(group, key, value string) {
	line := keyline{text: key + "=" + value, group: group, key: key, value: value}
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
				k.lines[i] = line
				return
			}
		}
	case at >= 0:
		k.lines = append(k.lines[:at], append([]keyline{line}, k.lines[at:]...)...)
	default:
		if len(k.lines) > 0 {
			k.lines = append(k.lines, keyline{group: k.lines[len(k.lines)-1].group})
		}
		k.lines = append(k.lines, keyline{text: "[" + group + "]", group: group, head: true}, line)
	}
}

// unset removes a key.
func (k *keyfile) unset(group, key string) {
	k.filter(func(l keyline) bool { return l.group != group || l.key != key || key == "" })
}

// removeGroup removes a group with all its lines, and reports whether it was there.
func (k *keyfile) removeGroup(group string) bool {
	n := len(k.lines)
	k.filter(func(l keyline) bool { return l.group != group })
	return len(k.lines) != n
}

func (k *keyfile) filter(keep func(keyline) bool) {
	var kept []keyline
	for _, l := range k.lines {
		if keep(l) {
			kept = append(kept, l)
		}
	}
	k.lines = kept
}

// groups lists the groups in the order in which they first stand.
func (k *keyfile) groups() []string {
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

// keys lists the keys of a group.
func (k *keyfile) keys(group string) []string {
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

// unescape decodes GKeyFile's escapes of a string: \s \n \t \r \\.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r").Replace(s)
}

// escape is the reverse of unescape; a leading blank would not survive otherwise.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
	if strings.HasPrefix(s, " ") {
		s = `\s` + s[1:]
	}
	return s
}
