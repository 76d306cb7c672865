// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"path"
	"strings"

	"grove/internal/rpmmd"
)

// protectedByDefault is what dnf protects where its configuration says nothing.
//
//	source  dnf.conf(5), protected_packages
const protectedByDefault = "dnf glob:/etc/yum/protected.d/*.conf glob:/etc/dnf/protected.d/*.conf"

// protected are the packages that the target says must not be removed: names and globs of names.
func (v view) protected(conf rpmmd.Main) ([]string, error) {
	setting := conf.Protected
	if setting == "" {
		setting = protectedByDefault
	}
	var out []string
	for _, word := range words(setting) {
		pattern, ok := strings.CutPrefix(word, "glob:")
		if !ok {
			out = append(out, word)
			continue
		}
		more, err := v.protectedIn(pattern)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// protectedIn reads the lists that a pattern of the target's /etc names: a word a package, # begins a comment.
func (v view) protectedIn(pattern string) ([]string, error) {
	dir, last := path.Split(path.Clean(pattern))
	dir, ok := strings.CutPrefix(path.Clean(dir), "/etc/")
	if !ok {
		return nil, nil
	}
	names, err := v.names(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if ok, err := path.Match(last, name); err != nil || !ok {
			continue
		}
		data, err := v.file("etc/" + dir + "/" + name)
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(data), "\n") {
			line, _, _ = strings.Cut(line, "#")
			out = append(out, words(line)...)
		}
	}
	return out, nil
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) })
}
