// SPDX-License-Identifier: Apache-2.0

package gvariant_test

import (
	"strings"
	"testing"

	"grove/internal/gvariant"
)

// What GLib printed is read back to the same bytes.
func TestParseWhatGLibPrints(t *testing.T) {
	n := 0
	for _, row := range rows(t, "normal.tsv", 4) {
		typ, data, text := row[0], unhex(t, row[1]), row[3]
		v, err := gvariant.Parse(text)
		if err != nil {
			t.Errorf("%.80s: %v", text, err)
			continue
		}
		if v.Type() != typ || string(gvariant.Encode(v)) != string(data) {
			t.Errorf("%.80s: type %s, wanted %s, or other bytes", text, v.Type(), typ)
		}
		n++
	}
	if n < 100 {
		t.Errorf("only %d rows", n)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"1", "1"}, {" -1 ", "-1"}, {"0x10", "16"}, {"010", "8"}, {"1.5", "1.5"}, {"1e3", "1000.0"}, {"-inf", "-inf"}, {"nan", "nan"},
		{"true", "true"}, {"'it\\'s'", `"it's"`}, {`"a\u00e9\U0001f600\x"`, "'aé😀x'"}, {`b'a\0b'`, "[byte 0x61, 0x00, 0x62, 0x00]"},
		{"uint64 5", "uint64 5"}, {"@t 5", "uint64 5"}, {"double 3", "3.0"}, {"byte 0xff", "byte 0xff"},
		{"[1, 2]", "[1, 2]"}, {"[1, 2.5]", "[1.0, 2.5]"}, {"[1, uint32 2]", "[uint32 1, 2]"}, {"@as []", "@as []"}, {"[[], [1]]", "[@ai [], [1]]"},
		{"['a', objectpath '/x']", ""}, {"[objectpath '/a', '/x']", "[objectpath '/a', '/x']"},
		{"(1, 'a')", "(1, 'a')"}, {"(1,)", "(1,)"}, {"()", "()"}, {"( )", "()"}, {"{'a': 1, 'b': 2}", "{'a': 1, 'b': 2}"},
		{"{'a': <1>, 'b': <'x'>}", "{'a': <1>, 'b': <'x'>}"}, {"{'a', 1}", "{'a', 1}"}, {"@a{sv} {}", "@a{sv} {}"},
		{"just 1", "@mi 1"}, {"@mi nothing", "@mi nothing"}, {"[just 1, 2, nothing]", "[@mi 1, 2, nothing]"}, {"<<1>>", "<<1>>"},
		{"signature 'a{sv}'", "signature 'a{sv}'"},
		{"", ""}, {"nothing", ""}, {"[]", ""}, {"{}", ""}, {"[1, 'a']", ""}, {"1 2", ""}, {"byte 256", ""}, {"uint16 -1", ""}, {"int32 1.5", ""},
		{"'a", ""}, {"'a\\", ""}, {"[1", ""}, {"[1 2]", ""}, {"(1", ""}, {"{1}", ""}, {"<1", ""}, {"{[1]: 2}", ""}, {"@q 'a'", ""}, {"@ 1", ""},
		{"@(i 1", ""}, {"objectpath 'x'", ""}, {"signature '('", ""}, {"word", ""}, {"1_0", ""}, {`'\ud800'`, ""}, {"'\\u12", ""}, {"'a\xff'", ""},
		{strings.Repeat("[", 100_000), ""}, {strings.Repeat("@ai ", 1000), ""}, {"0x", ""}, {"--1", ""}, {"string 5", ""}, {"boolean 'x'", ""},
	} {
		v, err := gvariant.Parse(tt.text)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%.40q: taken as %s", tt.text, v)
		case tt.want != "" && err != nil:
			t.Errorf("%q: %v", tt.text, err)
		case tt.want != "" && v.String() != tt.want:
			t.Errorf("%q: %s, want %s", tt.text, v, tt.want)
		}
	}
}

// What is read can be printed and read again, and is in normal form.
func FuzzParse(f *testing.F) {
	for _, row := range rows(f, "normal.tsv", 4) {
		f.Add(row[3])
	}
	f.Add("[just 1, 2, nothing]")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := gvariant.Parse(text)
		if err != nil {
			return
		}
		if _, err := gvariant.Decode(v.Type(), gvariant.Encode(v)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		again, err := gvariant.Parse(v.String())
		if err != nil || !again.Equal(v) {
			t.Fatalf("%q: printed %q, which reads as %v, %v", text, v.String(), again, err)
		}
	})
}
