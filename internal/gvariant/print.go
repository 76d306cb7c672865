// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// String returns the text form of v with type annotations, as g_variant_print gives it and `ostree show --raw` shows
// it. [Parse] reads it back.
//
//	source  GLib docs, "GVariant Text Format"; gvariant.c, g_variant_print_string
func (v Value) String() string {
	var b strings.Builder
	v.print(&b, true)
	return b.String()
}

// Text returns the text form of v with type annotations only where asked for.
func (v Value) Text(annotate bool) string {
	var b strings.Builder
	v.print(&b, annotate)
	return b.String()
}

// numberWords are what an annotated number begins with; int32 and double need none.
var numberWords = map[byte]string{'y': "byte ", 'n': "int16 ", 'q': "uint16 ", 'u': "uint32 ", 'x': "int64 ",
	't': "uint64 ", 'h': "handle "}

func (v Value) print(b *strings.Builder, annotate bool) {
	if w, ok := numberWords[v.kind()]; ok && annotate {
		b.WriteString(w)
	}
	switch v.kind() {
	case 'b':
		b.WriteString(strconv.FormatBool(v.Bool()))
	case 'y':
		fmt.Fprintf(b, "0x%02x", v.data[0])
	case 'q', 'u', 't':
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	case 'n', 'i', 'x', 'h':
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case 'd':
		b.WriteString(doubleText(v.Float()))
	case 's':
		printString(b, v.Str())
	case 'o', 'g':
		if annotate {
			b.WriteString(map[byte]string{'o': "objectpath ", 'g': "signature "}[v.t.kind])
		}
		b.WriteString("'" + v.Str() + "'")
	case 'v':
		b.WriteByte('<')
		v.Unpack().print(b, true)
		b.WriteByte('>')
	case 'm':
		v.printMaybe(b, annotate)
	case 'a':
		v.printArray(b, annotate)
	case '(', '{':
		v.printStruct(b, annotate)
	}
}

// printMaybe writes `just` only where a reader could not tell the depth: before a nothing inside.
func (v Value) printMaybe(b *strings.Builder, annotate bool) {
	if annotate {
		b.WriteString("@" + v.t.text + " ")
	}
	in, depth := v, 0
	for in.kind() == 'm' && in.Len() == 1 {
		in, depth = in.Index(0), depth+1
	}
	if in.kind() == 'm' {
		b.WriteString(strings.Repeat("just ", depth) + "nothing")
		return
	}
	in.print(b, false)
}

func (v Value) printArray(b *strings.Builder, annotate bool) {
	e := v.t.elems[0]
	if n := len(v.data); e.kind == 'y' && n > 0 && bytes.IndexByte(v.data, 0) == n-1 {
		printByteString(b, v.data[:n-1])
		return
	}
	open, end := "[", "]"
	if e.kind == '{' {
		open, end = "{", "}"
	}
	n := v.Len()
	if n == 0 && annotate {
		b.WriteString("@" + v.t.text + " ")
	}
	b.WriteString(open)
	for i := 0; i < n; i++ {
		if i > 0 {
			b.WriteString(", ")
		}
		it := v.Index(i)
		if e.kind == '{' {
			it.Index(0).print(b, annotate)
			b.WriteString(": ")
			it.Index(1).print(b, annotate)
		} else {
			it.print(b, annotate)
		}
		annotate = false // the first element told the type of all
	}
	b.WriteString(end)
}

func (v Value) printStruct(b *strings.Builder, annotate bool) {
	n := v.Len()
	b.WriteByte(v.t.kind)
	for i := 0; i < n; i++ {
		if i > 0 {
			b.WriteString(", ")
		}
		v.Index(i).print(b, annotate)
	}
	if v.t.kind == '{' {
		b.WriteByte('}')
		return
	}
	if n == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(')')
}

// escapes of the text format beside quote and backslash.
var escapes = map[rune]string{'\a': `\a`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\v': `\v`}

func printString(b *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, r := range s {
		switch esc, ok := escapes[r]; {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case ok:
			b.WriteString(esc)
		case unicode.IsPrint(r) || unicode.Is(unicode.Zs, r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
}

func printByteString(b *strings.Builder, s []byte) {
	quote := byte('\'')
	if bytes.IndexByte(s, '\'') >= 0 {
		quote = '"'
	}
	b.WriteByte('b')
	b.WriteByte(quote)
	for _, c := range s {
		esc, ok := escapes[rune(c)]
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case ok && c != '\a':
			b.WriteString(esc)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte(quote)
}

func doubleText(f float64) string {
	s := strconv.FormatFloat(f, 'g', 17, 64)
	s = strings.ToLower(strings.TrimPrefix(s, "+"))
	if !strings.ContainsAny(s, ".en") {
		s += ".0"
	}
	return s
}
