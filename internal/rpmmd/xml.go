// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Limits of the tokenizer. Real nesting ends at 5, real tags have at most 8 attributes.
const (
	maxDepth = 32
	maxAttrs = 64
)

type tokenKind uint8

const (
	tokenStart tokenKind = iota
	tokenEnd
	tokenText
)

// scanner cuts the XML that repository makers write into tokens, in place and without garbage. It checks that tags match.
// What such files never hold, and what would need care, is refused: document types, CDATA, encodings other than UTF-8.
// Prefixes of names are dropped: the elements of rpm-md are told apart by their local names.
//
// A scanner reads a whole document, or a piece of one that begins inside the root element (see pieces).
type scanner struct {
	b      []byte
	pos    int
	offset int64 // of b[0] in the document

	name    []byte // local, of the last start or end tag
	attrs   []rawAttr
	escaped bool   // an attribute may have entities
	text    []byte // raw, between tags
	texts   bool   // text is wanted; else it is passed over

	stack   [][]byte // full names of the elements that are open; nil: the root of an earlier piece
	root    []byte   // full name of the root element where it began or ended here
	pending bool     // the last start tag closed itself
	began   bool     // the root element was there
	last    bool     // nothing comes behind b
	scratch []byte
}

type rawAttr struct{ name, value []byte }

// reset makes s read a piece; first and last say where in the document it stands.
func (s *scanner) reset(p piece) {
	*s = scanner{b: p.data, offset: p.offset, last: p.last, began: !p.first, attrs: s.attrs[:0], stack: s.stack[:0], scratch: s.scratch}
	if !p.first {
		s.stack = append(s.stack, nil)
	}
}

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("xml at byte %d: %s", s.offset+int64(s.pos), fmt.Sprintf(format, args...))
}

// run gives the tokens of a piece to token. It checks the name of the root element, and says how it is written where it begins and ends.
func (s *scanner) run(part piece, root string, token func(tokenKind) error) (names rootNames, err error) {
	s.reset(part)
	atRoot := part.first
	for {
		kind, err := s.next()
		if err == io.EOF {
			if part.last && !part.first {
				names.end = string(s.root)
			}
			return names, nil
		}
		if err == nil && atRoot && kind == tokenStart {
			atRoot = false
			if string(s.name) != root {
				err = s.fail("root element %.40q, wanted %s", s.name, root)
			}
			if !part.last {
				names.begin = string(s.root)
			}
		}
		if err == nil {
			err = token(kind)
		}
		if err != nil {
			return names, err
		}
	}
}

// next gives the next token, io.EOF at the end of the piece or behind the root element.
func (s *scanner) next() (tokenKind, error) {
	if s.pending {
		s.pending = false
		return tokenEnd, nil // name still stands
	}
	for s.pos < len(s.b) {
		if s.b[s.pos] != '<' {
			from := s.pos
			s.pos = s.tagAfter(s.pos)
			s.text = s.b[from:s.pos]
			if len(s.stack) > 0 && s.texts {
				return tokenText, nil
			}
			if len(s.stack) > 0 {
				continue
			}
			if len(bytes.TrimSpace(bytes.TrimPrefix(s.text, []byte("\ufeff")))) > 0 {
				return 0, s.fail("text outside the root element")
			}
			continue
		}
		kind, skipped, err := s.tag()
		if err != nil || !skipped {
			return kind, err
		}
	}
	return 0, s.atEnd()
}

// tagAfter is the place of the next '<', or the end. Mostly it follows some blanks.
func (s *scanner) tagAfter(i int) int {
	for end := min(i+8, len(s.b)); i < end; i++ {
		if s.b[i] == '<' {
			return i
		}
	}
	if n := bytes.IndexByte(s.b[i:], '<'); n >= 0 {
		return i + n
	}
	return len(s.b)
}

func (s *scanner) atEnd() error {
	switch {
	case len(s.stack) > 0 && s.stack[len(s.stack)-1] != nil && (s.last || len(s.stack) > 1):
		return s.fail("ends inside <%s>", s.stack[len(s.stack)-1])
	case !s.last && len(s.stack) == 0:
		return s.fail("the root element ends before the last package")
	case !s.last:
		return io.EOF
	case len(s.stack) > 0:
		return s.fail("ends inside the root element")
	case !s.began:
		return s.fail("no element in it")
	}
	return io.EOF
}

// tag reads what begins with '<'.
func (s *scanner) tag() (kind tokenKind, skipped bool, err error) {
	if s.pos+1 >= len(s.b) {
		return 0, false, s.fail("a tag without end")
	}
	switch s.b[s.pos+1] {
	case '/':
		return tokenEnd, false, s.end()
	case '?':
		n := bytes.IndexByte(s.b[s.pos:], '>')
		if n < 0 {
			return 0, false, s.fail("a tag without end")
		}
		err := s.declaration(s.b[s.pos+1 : s.pos+n])
		s.pos += n + 1
		return 0, true, err
	case '!':
		rest := s.b[s.pos:]
		if !bytes.HasPrefix(rest, []byte("<!--")) {
			return 0, false, s.fail("%.12s is not expected here", rest)
		}
		n := bytes.Index(rest[4:], []byte("-->"))
		if n < 0 {
			return 0, false, s.fail("a tag without end")
		}
		s.pos += 4 + n + 3
		return 0, true, nil
	}
	return tokenStart, false, s.start()
}

// end reads an end tag.
func (s *scanner) end() error {
	rest := s.b[s.pos+2:]
	if len(s.stack) == 0 {
		return s.fail("an end tag that matches nothing")
	}
	open := s.stack[len(s.stack)-1]
	n := len(open)
	if n == 0 || n >= len(rest) || rest[n] != '>' || !bytes.Equal(rest[:n], open) { // not as it is written always
		n = bytes.IndexByte(rest, '>')
		if n < 0 {
			return s.fail("a tag without end")
		}
		name := trimRight(rest[:n])
		if open != nil && !bytes.Equal(open, name) || len(name) == 0 {
			return s.fail("</%.40s> does not match", name)
		}
		open = name
	}
	s.stack = s.stack[:len(s.stack)-1]
	if len(s.stack) == 0 {
		s.root = open
	}
	s.name = local(open)
	s.pos += 2 + n + 1
	return nil
}

// start reads a start tag with its attributes.
func (s *scanner) start() error {
	i, colon := s.pos+1, s.pos
	for ; i < len(s.b) && !nameEnd[s.b[i]]; i++ {
		if s.b[i] == ':' && colon == s.pos {
			colon = i
		}
	}
	full := s.b[s.pos+1 : i]
	s.name, s.attrs = s.b[colon+1:i], s.attrs[:0]
	for {
		for i < len(s.b) && blank(s.b[i]) {
			i++
		}
		if i >= len(s.b) {
			return s.fail("a tag without end")
		}
		if s.b[i] == '>' {
			i++
			break
		}
		if s.b[i] == '/' {
			if i+1 >= len(s.b) || s.b[i+1] != '>' {
				return s.fail("a / inside a tag")
			}
			s.pending = true
			i += 2
			break
		}
		var err error
		if i, err = s.attribute(i); err != nil {
			return err
		}
	}
	switch {
	case len(s.name) == 0:
		return s.fail("a tag without name")
	case len(s.stack) == 0 && s.began:
		return s.fail("a second root element")
	case len(s.stack) >= maxDepth:
		return s.fail("nested deeper than %d", maxDepth)
	}
	if len(s.stack) == 0 {
		s.root = full
	}
	s.began = true
	if !s.pending {
		s.stack = append(s.stack, full)
	}
	s.escaped = len(s.attrs) > 0 && bytes.IndexByte(s.b[s.pos:i], '&') >= 0
	s.pos = i
	return nil
}

// attribute reads one, at i, and gives the place behind it.
func (s *scanner) attribute(i int) (int, error) {
	from := i
	for i < len(s.b) && s.b[i] != '=' && s.b[i] != '>' && s.b[i] != '<' {
		i++
	}
	if i >= len(s.b) || s.b[i] != '=' || i == from {
		return 0, s.fail("attribute %.40q has no value", s.b[from:i])
	}
	name := trimRight(s.b[from:i])
	for i++; i < len(s.b) && blank(s.b[i]); i++ {
	}
	if i >= len(s.b) || s.b[i] != '"' && s.b[i] != '\'' {
		return 0, s.fail("value of %.40q has no quotes", name)
	}
	n := bytes.IndexByte(s.b[i+1:], s.b[i])
	if n < 0 {
		return 0, s.fail("value of %.40q does not end", name)
	}
	if len(s.attrs) >= maxAttrs {
		return 0, s.fail("more than %d attributes", maxAttrs)
	}
	s.attrs = append(s.attrs, rawAttr{name, s.b[i+1 : i+1+n]})
	return i + n + 2, nil
}

func (s *scanner) declaration(body []byte) error {
	i := bytes.Index(body, []byte("encoding="))
	if !bytes.HasPrefix(body, []byte("?xml")) || i < 0 {
		return nil
	}
	enc := bytes.ToLower(bytes.Trim(body[i+9:], `"'? `))
	if !bytes.HasPrefix(enc, []byte("utf-8")) && !bytes.HasPrefix(enc, []byte("utf8")) && !bytes.HasPrefix(enc, []byte("us-ascii")) {
		return s.fail("encoding %.20q, wanted UTF-8", enc)
	}
	return nil
}

func blank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// nameEnd has the bytes that end the name of a start tag.
var nameEnd = [256]bool{' ': true, '\n': true, '\t': true, '\r': true, '>': true, '/': true}

func trimRight(b []byte) []byte {
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func local(name []byte) []byte {
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// each calls f for each attribute of the last start tag.
func (s *scanner) each(f func(name, value []byte) error) error {
	for _, a := range s.attrs {
		value, err := s.value(a)
		if err == nil {
			err = f(a.name, value)
		}
		if err != nil {
			return s.fail("attribute %.40q: %v", a.name, err)
		}
	}
	return nil
}

// value gives what an attribute of the last start tag says, as unescape does.
func (s *scanner) value(a rawAttr) ([]byte, error) {
	if !s.escaped {
		return a.value, nil
	}
	return s.unescape(a.value)
}

// after gives the text of an element: what was there before, and that of the last token. There is more than one where a comment stands
// between.
func (s *scanner) after(before []byte) ([]byte, error) {
	before = bytes.Clone(before) // it may be in s.scratch
	text, err := s.unescape(s.text)
	if err != nil || len(before) == 0 {
		return text, err
	}
	return append(before, text...), nil
}

var errEntity = errors.New("entity that is not known")

// unescape replaces entities; the result may share s.scratch and is valid until the next call that has any.
func (s *scanner) unescape(b []byte) ([]byte, error) {
	i := bytes.IndexByte(b, '&')
	if i < 0 {
		return b, nil
	}
	out := s.scratch[:0]
	for i >= 0 {
		out = append(out, b[:i]...)
		b = b[i+1:]
		j := bytes.IndexByte(b[:min(len(b), 12)], ';')
		if j <= 0 {
			return nil, s.fail("%v", errEntity)
		}
		var err error
		if out, err = entity(out, b[:j]); err != nil {
			return nil, s.fail("&%s;: %v", b[:j], err)
		}
		b = b[j+1:]
		i = bytes.IndexByte(b, '&')
	}
	s.scratch = append(out, b...)
	return s.scratch, nil
}

func entity(out, name []byte) ([]byte, error) {
	switch string(name) {
	case "lt":
		return append(out, '<'), nil
	case "gt":
		return append(out, '>'), nil
	case "amp":
		return append(out, '&'), nil
	case "quot":
		return append(out, '"'), nil
	case "apos":
		return append(out, '\''), nil
	}
	if name[0] != '#' || len(name) < 2 {
		return nil, errEntity
	}
	digits, base := string(name[1:]), 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 21)
	if err != nil || n == 0 || !utf8.ValidRune(rune(n)) {
		return nil, errEntity
	}
	return utf8.AppendRune(out, rune(n)), nil
}
