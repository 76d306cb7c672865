// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"strings"
	"unicode/utf8"
)

// IsGlob tells whether a word that names packages or files is a pattern.
//
//	source  dnf dnf/util.py, is_glob_pattern
func IsGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

// Glob tells whether all of s fits a pattern: "*" is any text, with slashes too, "?" one character, "[a-z]" and "[!a-z]" (or "[^a-z]") one
// of a set; "\" takes the next character as it is, and fits nothing at the end. A "[" without its end is a character like any other.
//
//	source  fnmatch(3) without flags, which libsolv and libdnf ask
func Glob(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last "*", and what it has not taken yet
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, from = p, i
				p++
				continue
			}
			if n, m, ok := globOne(pattern[p:], s[i:]); ok {
				p, i = p+n, i+m
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(s[from:])
		from += size
		p, i = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// globOne holds the first character of s against the first part of a pattern, which is no "*"; n and m are their lengths.
func globOne(pattern, s string) (n, m int, ok bool) {
	c, m := utf8.DecodeRuneInString(s)
	switch pattern[0] {
	case '?':
		return 1, m, true
	case '[':
		if n, in := globSet(pattern, c); n > 0 {
			return n, m, in
		}
	case '\\':
		want, size := utf8.DecodeRuneInString(pattern[1:])
		return 1 + size, m, size > 0 && want == c
	}
	want, n := utf8.DecodeRuneInString(pattern)
	return n, m, want == c
}

// globSet reads a set of characters; n is 0 where it has no end.
func globSet(pattern string, c rune) (n int, in bool) {
	i := 1
	not := strings.HasPrefix(pattern[i:], "!") || strings.HasPrefix(pattern[i:], "^")
	if not {
		i++
	}
	char := func() rune {
		if pattern[i] == '\\' && i+1 < len(pattern) {
			i++
		}
		r, size := utf8.DecodeRuneInString(pattern[i:])
		i += size
		return r
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, in != not
		}
		low := char()
		high := low
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			i++
			high = char()
		}
		in = in || low <= c && c <= high
	}
	return 0, false
}
