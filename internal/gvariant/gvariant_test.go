// SPDX-License-Identifier: Apache-2.0

package gvariant_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"grove/internal/gvariant"
)

// rows reads a table of testdata, without its comment lines.
func rows(t testing.TB, file string, columns int) [][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		out = append(out, strings.SplitN(line, "\t", columns))
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rebuild makes v anew with the constructors alone.
func rebuild(v gvariant.Value) gvariant.Value {
	children := make([]gvariant.Value, v.Len())
	for i := range children {
		children[i] = rebuild(v.Index(i))
	}
	switch typ := v.Type(); typ[0] {
	case 'b':
		return gvariant.Bool(v.Bool())
	case 'y':
		return gvariant.Byte(byte(v.Uint()))
	case 'n':
		return gvariant.Int16(int16(v.Int()))
	case 'q':
		return gvariant.Uint16(uint16(v.Uint()))
	case 'i':
		return gvariant.Int32(int32(v.Int()))
	case 'u':
		return gvariant.Uint32(uint32(v.Uint()))
	case 'x':
		return gvariant.Int64(v.Int())
	case 't':
		return gvariant.Uint64(v.Uint())
	case 'd':
		return gvariant.Double(v.Float())
	case 's':
		return gvariant.String(v.Str())
	case 'v':
		return gvariant.Variant(children[0])
	case 'a':
		return gvariant.Array(typ[1:], children...)
	case 'm':
		if len(children) == 0 {
			return gvariant.Nothing(typ[1:])
		}
		return gvariant.Just(children[0])
	case '(':
		return gvariant.Tuple(children...)
	case '{':
		return gvariant.DictEntry(children[0], children[1])
	}
	return v // h, o, g: OSTree has none, so there are no constructors
}

func TestNormal(t *testing.T) {
	for _, row := range rows(t, "normal.tsv", 4) {
		typ, data, swapped, text := row[0], row[1], row[2], row[3]
		v, err := gvariant.Decode(typ, unhex(t, data))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := v.String(); got != text {
			t.Errorf("%s %s\n got %s\nwant %s", typ, data, got, text)
		}
		if got := hex.EncodeToString(gvariant.Encode(v)); got != data {
			t.Errorf("%s encoded\n got %s\nwant %s", text, got, data)
		}
		if got := hex.EncodeToString(gvariant.Encode(rebuild(v))); got != data {
			t.Errorf("%s rebuilt\n got %s\nwant %s", text, got, data)
		}
		if got := hex.EncodeToString(gvariant.Encode(v.ByteSwap())); got != swapped {
			t.Errorf("%s swapped\n got %s\nwant %s", text, got, swapped)
		}
	}
}

func TestDamaged(t *testing.T) {
	for _, row := range rows(t, "damaged.tsv", 3) {
		typ, data, verdict := row[0], row[1], row[2]
		_, err := gvariant.Decode(typ, unhex(t, data))
		if got := map[bool]string{true: "normal", false: "refused"}[err == nil]; got != verdict {
			t.Errorf("%s %s: %s (%v), want %s", typ, data, got, err, verdict)
		}
	}
}

// TestOffsetWidth: sizes and digests (first 8 bytes of sha256) around the borders of the offset widths, from GLib 2.74.6.
func TestOffsetWidth(t *testing.T) {
	for _, tt := range []struct {
		lengths []int
		size    int
		digest  string
	}{
		{[]int{100, 100, 47}, 253, "68590b71b933ddad"},
		{[]int{100, 100, 48}, 254, "e0e872c4952f130c"},
		{[]int{100, 100, 49}, 255, "33e87f09fe80388c"},
		{[]int{100, 100, 50}, 259, "5352cdc766b58cc4"},
		{[]int{100, 100, 51}, 260, "c73e2fc218bb5fa8"},
		{[]int{253}, 255, "d3b0917c6f896d7f"},
		{[]int{254}, 257, "b2bfc28189bc93f5"},
		{[]int{65532}, 65535, "a96fdb068834e89e"},
		{[]int{65533}, 65538, "862db83eb7b9b828"},
		{[]int{30000, 35529}, 65535, "3a742de09832e5a9"},
		{[]int{30000, 35530}, 65540, "e965f66278ef2548"},
	} {
		var ss []string
		for _, n := range tt.lengths {
			ss = append(ss, strings.Repeat("x", n))
		}
		data := gvariant.Encode(gvariant.Strings(ss))
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:8]); len(data) != tt.size || got != tt.digest {
			t.Errorf("lengths %v: %d bytes, digest %s; want %d, %s", tt.lengths, len(data), got, tt.size, tt.digest)
		}
		v, err := gvariant.Decode("as", data)
		if err != nil || v.Len() != len(ss) || v.Index(len(ss)-1).Str() != ss[len(ss)-1] {
			t.Errorf("lengths %v: read back: %v, %d strings", tt.lengths, err, v.Len())
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, tt := range []struct{ typ, data, want string }{
		{"", "", "type ends early"},
		{"z", "", `letter 'z' is no type`},
		{"aa", "", "type ends early"},
		{"ii", "\x00\x00\x00\x00", "is left over"},
		{"(i", "", "is not closed"},
		{"{vi}", "", "basic key"},
		{"{sss}", "", "basic key"},
		{strings.Repeat("a", 70) + "i", "", "nested deeper than 64"},
		{strings.Repeat("i", 256), "", "at most 255"},
		{"b", "\x02", "boolean is 2"},
		{"u", "\x02", "takes 4 bytes, got 1"},
		{"s", "a\x00b\x00", "only NUL"},
		{"s", "a", "only NUL"},
		{"s", "\xff\x00", "not UTF-8"},
		{"v", "\x01u", "variant has no type"},
		{"v", "\x01\x00u", "takes 4 bytes"},
		{"v", "\x01\x00(uu", "is not closed"},
		{"v", "\x01\x00" + strings.Repeat("y", 256), "at most 255"},
		{"(yu)", "\x01\x00\x00\x01\x01\x00\x00\x00", "padding is 0x01"},
		{"as", "a\x00\x02\x00", "element 0 lies outside"},
		{"as", "\xff", "1 bytes are no array"},
		{"as", "a\x00\x00\x02", "only NUL"},
		{"(ss)", "a\x00b\x00\x07", "member 0 lies outside"},
		{"(ss)", "a\x00b\x00\x01", "only NUL"},
		{"(ays)", "", "member 0 lies outside"},
		{"ms", "a\x00\x01", "does not end with NUL"},
	} {
		_, err := gvariant.Decode(tt.typ, []byte(tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80q %q: error %v, want %q", tt.typ, tt.data, err, tt.want)
		}
	}
}

func TestDepth(t *testing.T) {
	v := gvariant.Byte(1)
	for i := 0; i < gvariant.MaxDepth; i++ {
		v = gvariant.Variant(v)
	}
	if _, err := gvariant.Decode("v", gvariant.Encode(v)); err != nil {
		t.Errorf("depth %d: %v", gvariant.MaxDepth, err)
	}
	v = gvariant.Variant(v)
	if _, err := gvariant.Decode("v", gvariant.Encode(v)); err == nil {
		t.Errorf("depth %d: no error", gvariant.MaxDepth+1)
	}
}

// TestAccessorsForgive: asked for what a value is not, accessors give zeros and do not panic.
func TestAccessorsForgive(t *testing.T) {
	all := []gvariant.Value{{}, gvariant.Bool(true), gvariant.Byte(1), gvariant.Double(1), gvariant.String("x"),
		gvariant.Bytes([]byte("x")), gvariant.Strings([]string{"x"}), gvariant.Tuple(), gvariant.Variant(gvariant.Byte(1)),
		gvariant.Nothing("s"), gvariant.Just(gvariant.String("x")), gvariant.Dict{}.Value()}
	for _, v := range all {
		got := fmt.Sprint(v.Bool(), v.Uint(), v.Int(), v.Float(), v.Str(), v.Bytes(), v.Strings(), v.Len(),
			v.Index(-1), v.Index(5), v.Unpack(), v.ByteSwap(), v.Text(false))
		if _, ok := v.Dict(); ok != (v.Type() == "a{sv}") {
			t.Errorf("%s: Dict gives %v", got, ok)
		}
	}
}

func TestStringIsMadeText(t *testing.T) {
	for in, want := range map[string]string{"a\x00b": "a", "a\xffb": "a\uFFFDb", "": ""} {
		if got := gvariant.String(in).Str(); got != want {
			t.Errorf("String(%q) holds %q, want %q", in, got, want)
		}
	}
}

func TestDict(t *testing.T) {
	d := gvariant.Dict{}.With("version", gvariant.String("7")).With("n", gvariant.Uint64(gvariant.Swap64(5))).
		With("refs", gvariant.Strings([]string{"a", "b"})).With("raw", gvariant.Bytes([]byte{1})).With("yes", gvariant.Bool(true)).
		With("version", gvariant.String("8")).With("gone", gvariant.Byte(1)).Without("gone")
	d, err := gvariant.DecodeDict(d.Encode())
	if err != nil {
		t.Fatal(err)
	}
	want := "{'version': <'8'>, 'n': <uint64 360287970189639680>, 'refs': <['a', 'b']>, 'raw': <[byte 0x01]>, 'yes': <true>}"
	if got := d.Value().String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	s, ok1 := d.Str("version")
	_, ok2 := d.Str("n")
	n, ok3 := d.Uint("n")
	_, ok4 := d.Uint("none")
	ss, ok5 := d.Strings("refs")
	b, ok6 := d.Bytes("raw")
	y, ok7 := d.Bool("yes")
	got := fmt.Sprintln(s, ok1, ok2, gvariant.Swap64(n), ok3, ok4, ss, ok5, b, ok6, y, ok7, d.Has("none"))
	if want := "8 true false 5 true false [a b] true [1] true true true false\n"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestNumbersText(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 1e300: "1.0000000000000001e+300", math.Inf(1): "inf", -2: "-2.0"} {
		if got := gvariant.Double(f).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for i, row := range rows(f, "normal.tsv", 4) {
		if i%8 == 0 {
			f.Add(row[0], unhex(f, row[1]))
		}
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		v, err := gvariant.Decode(typ, data)
		if err != nil {
			return
		}
		if got := gvariant.Encode(rebuild(v)); string(got) != string(data) {
			t.Errorf("%s %x: rebuilt %x", typ, data, got)
		}
		if got := v.ByteSwap().ByteSwap(); !got.Equal(v) {
			t.Errorf("%s %x: swapped twice %x", typ, data, gvariant.Encode(got))
		}
		_ = v.String()
	})
}
