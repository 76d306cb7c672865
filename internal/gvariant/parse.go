// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxTextDepth bounds the nesting of a text, and maxTextBytes its length: people type these.
const (
	maxTextDepth = 64
	maxTextBytes = 1 << 20
)

// Parse reads the text form of one value, as g_variant_parse does without a type given: what [Value.String] prints, and the
// shorter forms that people type. An integer without a type is an int32, a number with a point a double.
//
//	errors  the text says at which byte
//	source  GLib docs, "GVariant Text Format"
func Parse(text string) (Value, error) {
	if len(text) > maxTextBytes {
		return Value{}, fmt.Errorf("parse value: %d bytes, at most %d allowed", len(text), maxTextBytes)
	}
	p := &textParser{text: text}
	n, err := p.value(0)
	if err == nil {
		if p.space(); p.at < len(text) {
			err = p.errorf("%.20q is too much", text[p.at:])
		}
	}
	var t *typ
	if err == nil {
		t, err = n.pattern.resolve()
	}
	var v Value
	if err == nil {
		v, err = n.build(t)
	}
	if err != nil {
		return Value{}, fmt.Errorf("parse value: %w", err)
	}
	return v, nil
}

// node is a piece of text that was read but has no final type yet.
//
//	shape   kind: 1 a number, b, s, y a bytestring, v, m a just, 0 a nothing, a, ( or { an entry
type node struct {
	kind    byte
	text    string
	subs    []*node
	pattern *pattern
}

// pattern is what is known of a type: kind is a letter of type strings, or N any number, S any kind of string, * anything.
// A loose one may also become a maybe of itself.
type pattern struct {
	kind  byte
	elems []*pattern
	loose bool
}

func patternOf(t *typ) *pattern {
	p := &pattern{kind: t.kind}
	for _, e := range t.elems {
		p.elems = append(p.elems, patternOf(e))
	}
	return p
}

// unify gives what fits both.
func unify(a, b *pattern) (*pattern, error) {
	switch {
	case a.kind == '*':
		return b, nil
	case b.kind == '*':
		return a, nil
	case a.kind == 'm' && b.kind != 'm' && b.loose, b.kind == 'm' && a.kind != 'm' && a.loose:
		if b.kind == 'm' {
			a, b = b, a
		}
		in, err := unify(a.elems[0], b)
		return &pattern{kind: 'm', elems: []*pattern{in}}, err
	case a.kind == 'N' && strings.IndexByte("ynqiuxthd", b.kind) >= 0, a.kind == 'S' && strings.IndexByte("sog", b.kind) >= 0:
		return &pattern{kind: b.kind, loose: a.loose && b.loose}, nil
	case b.kind == 'N' && strings.IndexByte("ynqiuxthd", a.kind) >= 0, b.kind == 'S' && strings.IndexByte("sog", a.kind) >= 0:
		return &pattern{kind: a.kind, loose: a.loose && b.loose}, nil
	case a.kind != b.kind || len(a.elems) != len(b.elems):
		return nil, fmt.Errorf("elements of different types")
	}
	out := &pattern{kind: a.kind, loose: a.loose && b.loose}
	for i := range a.elems {
		e, err := unify(a.elems[i], b.elems[i])
		if err != nil {
			return nil, err
		}
		out.elems = append(out.elems, e)
	}
	return out, nil
}

func (p *pattern) resolve() (*typ, error) {
	switch p.kind {
	case '*':
		return nil, fmt.Errorf("its type can not be told; say @TYPE before it")
	case 'N':
		return typInt32, nil
	case 'S':
		return typString, nil
	}
	if t := basic(p.kind); t != nil {
		return t, nil
	}
	elems := make([]*typ, len(p.elems))
	for i, e := range p.elems {
		var err error
		if elems[i], err = e.resolve(); err != nil {
			return nil, err
		}
	}
	var t *typ
	switch p.kind {
	case 'a':
		t = arrayOf(elems[0])
	case 'm':
		t = maybeOf(elems[0])
	case '{':
		t = dictEntryOf(elems[0], elems[1])
	default:
		t = tupleOf(elems)
	}
	return parseType(t.text) // which knows the limits
}

// build makes the value, of a type that its pattern fits.
func (n *node) build(t *typ) (Value, error) {
	if t.kind == 'm' {
		switch n.kind {
		case '0':
			return Value{t, nil}, nil
		case 'm':
			n = n.subs[0]
		}
		v, err := n.build(t.elems[0])
		if err != nil {
			return Value{}, err
		}
		return Just(v), nil
	}
	switch {
	case n.kind == '1':
		return numberValue(n.text, t)
	case n.kind == 'b' && t.kind == 'b':
		return Bool(n.text == "true"), nil
	case n.kind == 's' && t.kind == 's':
		return String(n.text), nil
	case n.kind == 's':
		v := Value{t, append([]byte(n.text), 0)}
		return v, check(t, v.data, 0, 0)
	case n.kind == 'y' && t.kind == 'a':
		return Bytes(append([]byte(n.text), 0)), nil
	case n.kind == 'v' && t.kind == 'v':
		in, err := n.subs[0].pattern.resolve()
		if err != nil {
			return Value{}, err
		}
		v, err := n.subs[0].build(in)
		if err != nil {
			return Value{}, err
		}
		return Variant(v), nil
	case n.kind == t.kind:
		items := make([]Value, len(n.subs))
		for i, s := range n.subs {
			e := t.elems[0]
			if t.kind != 'a' {
				e = t.elems[i]
			}
			var err error
			if items[i], err = s.build(e); err != nil {
				return Value{}, err
			}
		}
		if t.kind == 'a' {
			return array(t, items), nil
		}
		return structure(t, items), nil
	}
	return Value{}, fmt.Errorf("%.20q is no value of type %s", n.text, t.text)
}

func numberValue(s string, t *typ) (Value, error) {
	fail := func() (Value, error) {
		return Value{}, fmt.Errorf("%.40q is no number of type %s", s, t.text)
	}
	if t.kind == 'd' {
		f, err := strconv.ParseFloat(s, 64)
		if n, nerr := strconv.ParseInt(s, 0, 64); err != nil && nerr == nil {
			f, err = float64(n), nil
		}
		if err != nil {
			return fail()
		}
		return Value{t, binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))}, nil
	}
	size := t.fixed
	if size == 0 || strings.IndexByte("ynqiuxth", t.kind) < 0 {
		return fail()
	}
	var bits uint64
	if strings.IndexByte("yqut", t.kind) >= 0 {
		n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, 8*size)
		if err != nil {
			return fail()
		}
		bits = n
	} else {
		n, err := strconv.ParseInt(s, 0, 8*size)
		if err != nil {
			return fail()
		}
		bits = uint64(n)
	}
	return Value{t, binary.LittleEndian.AppendUint64(nil, bits)[:size]}, nil
}

// textParser reads a text from left to right.
type textParser struct {
	text string
	at   int
}

func (p *textParser) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: %w", p.at, fmt.Errorf(format, args...))
}

func (p *textParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r\f\v", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek gives the next byte that is no space, 0 at the end.
func (p *textParser) peek() byte {
	p.space()
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// take goes past c, if it is what comes next.
func (p *textParser) take(c byte) bool {
	if p.peek() != c || c == 0 {
		return false
	}
	p.at++
	return true
}

func (p *textParser) expect(c byte) error {
	if !p.take(c) {
		return p.errorf("want %q", c)
	}
	return nil
}

// word reads letters and digits.
func (p *textParser) word() string {
	start := p.at
	for p.at < len(p.text) && (p.text[p.at] == '_' || p.text[p.at]|0x20 >= 'a' && p.text[p.at]|0x20 <= 'z' || p.text[p.at] >= '0' && p.text[p.at] <= '9') {
		p.at++
	}
	return p.text[start:p.at]
}

// typeWords are what a value may begin with instead of @TYPE.
var typeWords = map[string]*typ{"boolean": typBool, "byte": typByte, "int16": typInt16, "uint16": typUint16, "int32": typInt32,
	"uint32": typUint32, "handle": typHandle, "int64": typInt64, "uint64": typUint64, "double": typDouble, "string": typString,
	"objectpath": typObject, "signature": typSig}

func (p *textParser) value(depth int) (*node, error) {
	if depth > maxTextDepth {
		return nil, p.errorf("nested deeper than %d", maxTextDepth)
	}
	switch c := p.peek(); {
	case c == 0:
		return nil, p.errorf("a value is missing")
	case c == '[':
		return p.array(depth)
	case c == '(':
		return p.tuple(depth)
	case c == '{':
		return p.dict(depth)
	case c == '<':
		p.at++
		in, err := p.value(depth + 1)
		if err == nil {
			err = p.expect('>')
		}
		return &node{kind: 'v', subs: []*node{in}, pattern: &pattern{kind: 'v', loose: true}}, err
	case c == '\'' || c == '"':
		s, err := p.str(false)
		return &node{kind: 's', text: s, pattern: &pattern{kind: 'S', loose: true}}, err
	case c == 'b' && p.at+1 < len(p.text) && (p.text[p.at+1] == '\'' || p.text[p.at+1] == '"'):
		p.at++
		s, err := p.str(true)
		return &node{kind: 'y', text: s, pattern: &pattern{kind: 'a', elems: []*pattern{{kind: 'y'}}, loose: true}}, err
	case c == '@':
		p.at++
		start := p.at
		for p.at < len(p.text) && strings.IndexByte("bynqiuxthdsogvam(){}", p.text[p.at]) >= 0 {
			p.at++
		}
		t, err := parseType(p.text[start:p.at])
		if err != nil {
			return nil, p.errorf("%w", err)
		}
		return p.typed(t, depth)
	case c == '+' || c == '-' || c == '.' || c >= '0' && c <= '9':
		return p.number()
	}
	start := p.at
	w := p.word()
	if t := typeWords[w]; t != nil {
		return p.typed(t, depth)
	}
	switch w {
	case "true", "false":
		return &node{kind: 'b', text: w, pattern: &pattern{kind: 'b', loose: true}}, nil
	case "inf", "nan":
		p.at = start
		return p.number()
	case "nothing":
		return &node{kind: '0', text: w, pattern: &pattern{kind: 'm', elems: []*pattern{{kind: '*'}}}}, nil
	case "just":
		in, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		return &node{kind: 'm', subs: []*node{in}, pattern: &pattern{kind: 'm', elems: []*pattern{in.pattern}}}, nil
	}
	p.at = start
	return nil, p.errorf("%.20q is no value", p.text[start:])
}

// typed reads a value that must have the type.
func (p *textParser) typed(t *typ, depth int) (*node, error) {
	n, err := p.value(depth + 1)
	if err != nil {
		return nil, err
	}
	if n.pattern, err = unify(n.pattern, patternOf(t)); err != nil {
		return nil, p.errorf("no value of type %s", t.text)
	}
	return n, nil
}

func (p *textParser) number() (*node, error) {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte("+-.", p.text[p.at]) >= 0 || p.word() != "" {
		if p.at < len(p.text) && strings.IndexByte("+-.", p.text[p.at]) >= 0 {
			p.at++
		}
	}
	s := p.text[start:p.at]
	if strings.Contains(s, "_") {
		return nil, p.errorf("%.40q is no number", s)
	}
	kind := byte('N')
	if hex := strings.HasPrefix(strings.TrimLeft(s, "+-"), "0x"); !hex && strings.ContainsAny(s, ".eEnN") {
		kind = 'd'
	}
	return &node{kind: '1', text: s, pattern: &pattern{kind: kind, loose: true}}, nil
}

func (p *textParser) array(depth int) (*node, error) {
	p.at++
	n := &node{kind: 'a', pattern: &pattern{kind: 'a', elems: []*pattern{{kind: '*'}}, loose: true}}
	for !p.take(']') {
		if len(n.subs) > 0 {
			if err := p.expect(','); err != nil {
				return nil, err
			}
		}
		e, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.subs = append(n.subs, e)
		if n.pattern.elems[0], err = unify(n.pattern.elems[0], e.pattern); err != nil {
			return nil, p.errorf("array: %w", err)
		}
	}
	return n, nil
}

func (p *textParser) tuple(depth int) (*node, error) {
	p.at++
	n := &node{kind: '(', pattern: &pattern{kind: '(', loose: true}}
	for first := true; !p.take(')'); first = false {
		if !first {
			if err := p.expect(','); err != nil {
				return nil, err
			}
			if len(n.subs) == 1 && p.take(')') { // (x,) is a tuple of one
				break
			}
		}
		e, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.subs, n.pattern.elems = append(n.subs, e), append(n.pattern.elems, e.pattern)
	}
	return n, nil
}

// dict reads {key: value, ...}, or {key, value}, which is a single entry.
func (p *textParser) dict(depth int) (*node, error) {
	p.at++
	entry := &pattern{kind: '{', elems: []*pattern{{kind: '*'}, {kind: '*'}}}
	n := &node{kind: 'a', pattern: &pattern{kind: 'a', elems: []*pattern{entry}, loose: true}}
	for !p.take('}') {
		if len(n.subs) > 0 {
			if err := p.expect(','); err != nil {
				return nil, err
			}
		}
		k, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		single := len(n.subs) == 0 && p.take(',')
		if !single {
			if err := p.expect(':'); err != nil {
				return nil, err
			}
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		e := &node{kind: '{', subs: []*node{k, v}, pattern: &pattern{kind: '{', elems: []*pattern{k.pattern, v.pattern}}}
		if single {
			e.pattern.loose = true
			return e, p.expect('}')
		}
		n.subs = append(n.subs, e)
		if n.pattern.elems[0], err = unify(n.pattern.elems[0], e.pattern); err != nil {
			return nil, p.errorf("dictionary: %w", err)
		}
	}
	return n, nil
}

var unescapes = map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// str reads a quoted string; raw is one of bytes, where backslash and digits are an octal number.
func (p *textParser) str(raw bool) (string, error) {
	quote := p.text[p.at]
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == quote:
			p.at++
			if s := b.String(); raw || utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
				return s, nil
			}
			return "", p.errorf("the string is not UTF-8")
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		if p.at++; p.at == len(p.text) {
			break
		}
		if err := p.escape(&b, raw); err != nil {
			return "", err
		}
	}
	return "", p.errorf("the string has no end")
}

// escape reads what follows a backslash, and stops at its last byte.
func (p *textParser) escape(b *strings.Builder, raw bool) error {
	c := p.text[p.at]
	plain, known := unescapes[c]
	digits := map[byte]int{'u': 4, 'U': 8}[c]
	switch {
	case known:
		b.WriteByte(plain)
	case c == '\n': // the line goes on
	case raw && c >= '0' && c <= '7':
		end := p.at
		for end < len(p.text) && end < p.at+3 && p.text[end] >= '0' && p.text[end] <= '7' {
			end++
		}
		n, err := strconv.ParseUint(p.text[p.at:end], 8, 8)
		if err != nil {
			return p.errorf("octal number %s", p.text[p.at:end])
		}
		b.WriteByte(byte(n))
		p.at = end - 1
	case !raw && digits > 0:
		if p.at+digits >= len(p.text) {
			return p.errorf("the string has no end")
		}
		n, err := strconv.ParseUint(p.text[p.at+1:p.at+1+digits], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) || n == 0 {
			return p.errorf("%q is no character", p.text[p.at-1:p.at+1+digits])
		}
		b.WriteRune(rune(n))
		p.at += digits
	default:
		b.WriteByte(c)
	}
	return nil
}
