// SPDX-License-Identifier: Apache-2.0

package selinux

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

const (
	// maxPattern is libselinux's limit for the length of a pattern.
	maxPattern = 4095
	// maxSpecs bounds the entries of a policy; the largest known has 7,000.
	maxSpecs = 200_000
	// stemDepth is how many leading directories make a stem.
	stemDepth = 3

	typeMask = 0o170000
)

// fileTypes are the type words of file_contexts.
var fileTypes = map[string]uint32{
	"-b": 0o060000, "-c": 0o020000, "-d": 0o040000, "-p": 0o010000, "-l": 0o120000, "-s": 0o140000, "--": 0o100000,
}

// spec is one entry.
type spec struct {
	order   int    // counted through all files
	file    int    // which of the files
	kind    uint32 // type bits; 0: any
	context string // "" for <<none>>
	match   func(key string) bool
	prefix  string // what every path that matches begins with
}

// takes tells whether the entry is for files of a kind; 0 is any kind.
func (s *spec) takes(kind uint32) bool { return kind == 0 || s.kind == 0 || s.kind == kind }

// add reads the entries of one file.
func (p *Policy) add(file int, text []byte, o Options) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.FieldsFunc(line, isSpace)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) > 3 {
			words = words[:3]
		}
		if err := p.addEntry(file, words, o); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (p *Policy) addEntry(file int, words []string, o Options) error {
	if len(words) < 2 {
		return fmt.Errorf("%q has no label", words[0])
	}
	for _, w := range words {
		if i := strings.IndexFunc(w, func(r rune) bool { return r > 0x7f }); i >= 0 {
			return fmt.Errorf("%q is not ASCII", w)
		}
	}
	if p.specs++; p.specs > maxSpecs {
		return fmt.Errorf("more than %d entries", maxSpecs)
	}
	s := &spec{order: p.specs, file: file, context: words[len(words)-1]}
	if s.context == "<<none>>" {
		s.context = ""
	}
	if len(words) == 3 {
		var ok bool
		if s.kind, ok = fileTypes[words[1]]; !ok {
			return fmt.Errorf("unknown file type %q: want one of -- -b -c -d -l -p -s", words[1])
		}
	}
	if len(words[0]) > maxPattern {
		return fmt.Errorf("a pattern of %d bytes, want at most %d", len(words[0]), maxPattern)
	}
	if text, ok := simplify(words[0]); ok {
		if o.Before38 && stemHasEscape(words[0]) {
			return nil // it was asked about no path
		}
		p.addLiteral(text, s, o)
		return nil
	}
	if err := s.compile(words[0]); err != nil {
		return err
	}
	p.root.add(words[0], s, o)
	return nil
}

// addLiteral keeps the entries of one path in the order in which they are asked: later files first, and since libselinux 3.8
// the first line of a file, before that the last.
func (p *Policy) addLiteral(text string, s *spec, o Options) {
	if o.Before38 {
		p.literals[text] = slices.Insert(p.literals[text], 0, s)
		return
	}
	at := slices.IndexFunc(p.literals[text], func(other *spec) bool { return other.file < s.file })
	if at < 0 {
		at = len(p.literals[text])
	}
	p.literals[text] = slices.Insert(p.literals[text], at, s)
}

// stemHasEscape tells whether the first of several directories is written with an escape that is no metacharacter's.
func stemHasEscape(pattern string) bool {
	end := 1 + strings.IndexByte(pattern[1:], '/')
	return end > 0 && strings.Contains(pattern[:end], `\`) && !strings.ContainsAny(pattern[:end], oldMeta)
}

// The characters that make a pattern of a text.
const (
	meta    = ".^$?*+|[({])}"
	oldMeta = ".^$?*+|[({" // libselinux before 3.8
)

// simplify undoes the escapes of a text without metacharacters; false if there is one, or an escape that is a class.
func simplify(pattern string) (string, bool) {
	if !strings.ContainsAny(pattern, meta+`\`) {
		return pattern, true
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\':
			if i++; i == len(pattern) || !strings.ContainsRune(meta+"-_,", rune(pattern[i])) {
				return "", false
			}
			b.WriteByte(pattern[i])
		case strings.IndexByte(meta, c) >= 0:
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// compile makes the entry's matcher. The usual forms, a text and then everything below it, need no expression.
func (s *spec) compile(pattern string) error {
	if strings.IndexByte("*+?", pattern[0]) >= 0 { // behind the anchor, Go would repeat that
		return fmt.Errorf("pattern %q: begins with %q, which repeats nothing", pattern, pattern[:1])
	}
	if n := len(pattern) - len(strings.TrimRight(pattern, `\`)); n%2 == 1 {
		return fmt.Errorf("pattern %q: ends within an escape", pattern)
	}
	for _, tail := range []struct {
		text  string
		match func(rest string) bool
	}{
		{"(/.*)?", func(rest string) bool { return rest == "" || rest == "\n" || rest[0] == '/' }},
		{"/.*", func(rest string) bool { return rest != "" && rest[0] == '/' }},
		{".*", func(string) bool { return true }},
		{"/[^/]*", func(rest string) bool { return rest != "" && rest[0] == '/' && !strings.Contains(rest[1:], "/") }},
	} {
		head, ok := strings.CutSuffix(pattern, tail.text)
		if !ok {
			continue
		}
		if text, ok := simplify(head); ok {
			s.prefix = text
			s.match = func(key string) bool { return strings.HasPrefix(key, text) && tail.match(key[len(text):]) }
			return nil
		}
	}
	text, err := translate(pattern)
	if err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	translated := "(?s)^" + text + `(?:\n?\z)`
	re, err := regexp.Compile(translated)
	if err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	tree, err := syntax.Parse(translated, syntax.Perl)
	if err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	var need string
	s.prefix, need = literalsOf(tree)
	prefix := s.prefix
	s.match = func(key string) bool {
		return strings.HasPrefix(key, prefix) && strings.Contains(key[len(prefix):], need) && re.MatchString(latin1(key))
	}
	return nil
}

// literalsOf finds what each match begins with, and the longest text that follows somewhere.
func literalsOf(re *syntax.Regexp) (prefix, need string) {
	if re.Op != syntax.OpConcat || len(re.Sub) < 2 || re.Sub[0].Op != syntax.OpBeginText {
		return "", ""
	}
	rest := re.Sub[1:]
	if plain(rest[0]) {
		prefix, rest = string(rest[0].Rune), rest[1:]
	}
	for _, sub := range rest {
		if plain(sub) && len(sub.Rune) > len(need) {
			need = string(sub.Rune)
		}
	}
	return prefix, need
}

func plain(re *syntax.Regexp) bool {
	return re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0
}

// translate turns what PCRE reads otherwise than Go into Go's words: a dollar also stands before a final newline, and \s
// takes the vertical tab.
//
//	errors  a repeated dollar, which Go would take
func translate(pattern string) (string, error) {
	if !strings.ContainsAny(pattern, `$\`) {
		return pattern, nil
	}
	var b strings.Builder
	class := -1 // where the class that is open begins
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(escape(pattern[i], class >= 0))
			continue
		case class < 0 && c == '$':
			if i+1 < len(pattern) && strings.IndexByte("*+?", pattern[i+1]) >= 0 {
				return "", fmt.Errorf("a dollar is repeated")
			}
			b.WriteString(`(?:\n?\z)`)
			continue
		case class < 0 && c == '[':
			class = i
			if strings.HasPrefix(pattern[i+1:], "^") {
				b.WriteByte(c)
				i++
				c = '^'
				class = i
			}
		case class >= 0 && c == ']' && i > class+1:
			class = -1
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// escape is what Go writes for PCRE's \c.
func escape(c byte, inClass bool) string {
	switch {
	case c == 's' && inClass:
		return `\t-\r `
	case c == 's':
		return `[\t-\r ]`
	case c == 'S' && !inClass:
		return `[^\t-\r ]`
	case c == 'Z' && !inClass:
		return `(?:\n?\z)`
	}
	return `\` + string(rune(c))
}

// latin1 makes a rune of each byte: the patterns are of bytes, and Go's of runes.
func latin1(key string) string {
	for i := range len(key) {
		if key[i] >= 0x80 {
			runes := make([]rune, len(key))
			for j := range len(key) {
				runes[j] = rune(key[j])
			}
			return string(runes)
		}
	}
	return key
}
