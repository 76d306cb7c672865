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

// Limits of the tokenizer. Real descriptions end below 64 KiB, real nesting at 5.
const (
	maxToken = 8 << 20
	maxDepth = 32
)

type tokenKind uint8

const (
	tokenStart tokenKind = iota
	tokenEnd
	tokenText
)

// scanner cuts the XML that repository makers write into tokens, with a buffer of constant size and without garbage. It checks
// that tags match. What such files never hold, and what would need care, is refused: document types, CDATA, encodings
// other than UTF-8. Prefixes of names are dropped: the elements of rpm-md are told apart by their local names.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	eof      bool
	offset   int64 // of buf[0] in the stream

	name  []byte // of the last start or end tag; valid until next is called, as are attrs and text
	attrs []byte // raw
	text  []byte // raw, between tags

	stack   [][]byte
	pending bool // the last start tag closed itself
	began   bool // the root element was there
	scratch []byte
}

func newScanner(r io.Reader) *scanner { return &scanner{r: r, buf: make([]byte, 256<<10)} }

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("xml at byte %d: %s", s.offset+int64(s.pos), fmt.Sprintf(format, args...))
}

// fill reads more behind what is there.
func (s *scanner) fill() error {
	if s.eof {
		return io.EOF
	}
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.offset += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= maxToken {
			return s.fail("a token of more than %d bytes", maxToken)
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for i := 0; i < 100; i++ {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if err == io.EOF {
			s.eof = true
			if n == 0 {
				return io.EOF
			}
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// until returns the distance from pos to the next c, reading as needed.
func (s *scanner) until(c byte, from int) (int, error) {
	for {
		if s.pos+from < s.end {
			if i := bytes.IndexByte(s.buf[s.pos+from:s.end], c); i >= 0 {
				return from + i, nil
			}
		}
		from = s.end - s.pos
		if err := s.fill(); err != nil {
			return from, err
		}
	}
}

// next gives the next token, io.EOF behind the root element.
func (s *scanner) next() (tokenKind, error) {
	if s.pending {
		s.pending = false
		return tokenEnd, nil // name still stands
	}
	for {
		if s.pos >= s.end {
			if err := s.fill(); err != nil {
				return 0, s.atEOF(err)
			}
		}
		if s.buf[s.pos] != '<' {
			n, err := s.until('<', 0)
			if err != nil && err != io.EOF {
				return 0, err
			}
			s.text = s.buf[s.pos : s.pos+n]
			s.pos += n
			if len(s.stack) > 0 {
				return tokenText, nil
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
}

func (s *scanner) atEOF(err error) error {
	switch {
	case err != io.EOF:
		return err
	case len(s.stack) > 0:
		return s.fail("ends inside <%s>", s.stack[len(s.stack)-1])
	case !s.began:
		return s.fail("no element in it")
	}
	return io.EOF
}

// tag reads what begins with '<'.
func (s *scanner) tag() (kind tokenKind, skipped bool, err error) {
	n, err := s.tagEnd()
	if err == io.EOF {
		return 0, false, s.fail("a tag without end")
	}
	if err != nil {
		return 0, false, err
	}
	body := s.buf[s.pos+1 : s.pos+n]
	if len(body) == 0 {
		return 0, false, s.fail("an empty tag")
	}
	switch body[0] {
	case '?':
		err = s.declaration(body)
		s.pos += n + 1
		return 0, true, err
	case '!':
		if !bytes.HasPrefix(body, []byte("!--")) {
			return 0, false, s.fail("<%.12s is not expected here", body)
		}
		s.pos += n + 1
		return 0, true, nil
	case '/':
		name := local(trimRight(body[1:]))
		if len(s.stack) == 0 || !bytes.Equal(s.stack[len(s.stack)-1], name) {
			return 0, false, s.fail("</%.40s> does not match", name)
		}
		s.name = s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		s.pos += n + 1
		return tokenEnd, false, nil
	}
	return tokenStart, false, s.start(body, n)
}

// tagEnd gives the distance to the '>' that ends the tag at pos.
func (s *scanner) tagEnd() (int, error) {
	n, err := s.until('>', 1)
	if err != nil {
		return 0, err
	}
	if s.pos+4 <= s.end && string(s.buf[s.pos:s.pos+4]) == "<!--" {
		for n < 6 || string(s.buf[s.pos+n-2:s.pos+n]) != "--" {
			if n, err = s.until('>', n+1); err != nil {
				return 0, err
			}
		}
		return n, nil
	}
	// a '>' may stand inside a quoted value: "(a >= 1 if b)"
	from, quote := 1, byte(0)
	for {
		quote = quoteState(s.buf[s.pos+from:s.pos+n], quote)
		if quote == 0 {
			return n, nil
		}
		from = n + 1
		if n, err = s.until('>', from); err != nil {
			return 0, err
		}
	}
}

// quoteState gives the quote that is open behind b, 0 if none.
func quoteState(b []byte, quote byte) byte {
	for len(b) > 0 {
		if quote != 0 {
			i := bytes.IndexByte(b, quote)
			if i < 0 {
				return quote
			}
			quote, b = 0, b[i+1:]
			continue
		}
		i := 0
		for i < len(b) && b[i] != '"' && b[i] != '\'' {
			i++
		}
		if i == len(b) {
			return 0
		}
		quote, b = b[i], b[i+1:]
	}
	return quote
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

func (s *scanner) start(body []byte, n int) error {
	if body[len(body)-1] == '/' {
		s.pending = true
		body = body[:len(body)-1]
	}
	i := 0
	for i < len(body) && !blank(body[i]) {
		i++
	}
	s.name, s.attrs = local(body[:i]), body[i:]
	if len(s.name) == 0 {
		return s.fail("a tag without name")
	}
	if len(s.stack) == 0 && s.began {
		return s.fail("a second root element")
	}
	s.began = true
	if len(s.stack) >= maxDepth {
		return s.fail("nested deeper than %d", maxDepth)
	}
	if !s.pending {
		// the slot keeps its memory from the tag that was there before
		k := len(s.stack)
		if k < cap(s.stack) {
			s.stack = s.stack[:k+1]
		} else {
			s.stack = append(s.stack, nil)
		}
		s.stack[k] = append(s.stack[k][:0], s.name...)
	}
	s.pos += n + 1
	return nil
}

func blank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	return b
}

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

// attr takes the next attribute of the last start tag; ok is false behind the last.
func (s *scanner) attr() (name, value []byte, ok bool, err error) {
	a := trimLeft(s.attrs)
	if len(a) == 0 {
		return nil, nil, false, nil
	}
	i := bytes.IndexByte(a, '=')
	if i <= 0 {
		return nil, nil, false, s.fail("attribute %.40q has no value", a)
	}
	name = trimRight(a[:i])
	a = trimLeft(a[i+1:])
	if len(a) == 0 || a[0] != '"' && a[0] != '\'' {
		return nil, nil, false, s.fail("value of %.40q has no quotes", name)
	}
	j := bytes.IndexByte(a[1:], a[0])
	if j < 0 {
		return nil, nil, false, s.fail("value of %.40q does not end", name)
	}
	s.attrs = a[j+2:]
	value, err = s.unescape(a[1 : j+1])
	return name, value, true, err
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
