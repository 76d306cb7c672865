// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// The accessors below never fail: asked for something that the value's type does not have, they return the zero of
// what they return. A caller that must tell the difference looks at Type first.

func (v Value) kind() byte {
	if v.t == nil {
		return 0
	}
	return v.t.kind
}

// Bool returns the boolean of a value of type b.
func (v Value) Bool() bool { return v.kind() == 'b' && v.data[0] == 1 }

// Uint returns the number of a value of type y, q, u or t.
func (v Value) Uint() uint64 {
	switch v.kind() {
	case 'y', 'q', 'u', 't':
		return v.bits()
	}
	return 0
}

// Int returns the number of a value of type n, i, h or x.
func (v Value) Int() int64 {
	switch v.kind() {
	case 'n':
		return int64(int16(v.bits()))
	case 'i', 'h':
		return int64(int32(v.bits()))
	case 'x':
		return int64(v.bits())
	}
	return 0
}

// Float returns the number of a value of type d.
func (v Value) Float() float64 {
	if v.kind() != 'd' {
		return 0
	}
	return math.Float64frombits(v.bits())
}

func (v Value) bits() uint64 {
	switch len(v.data) {
	case 1:
		return uint64(v.data[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(v.data))
	case 4:
		return uint64(binary.LittleEndian.Uint32(v.data))
	case 8:
		return binary.LittleEndian.Uint64(v.data)
	}
	return 0
}

// Str returns the string of a value of type s, o or g.
func (v Value) Str() string {
	switch v.kind() {
	case 's', 'o', 'g':
		return string(v.data[:len(v.data)-1])
	}
	return ""
}

// Bytes returns the bytes of a value of type ay. The caller must not change them.
func (v Value) Bytes() []byte {
	if v.kind() != 'a' || v.t.elems[0].kind != 'y' {
		return nil
	}
	return v.data[:len(v.data):len(v.data)]
}

// Strings returns the strings of a value of type as, ao or ag.
func (v Value) Strings() []string {
	if v.kind() != 'a' {
		return nil
	}
	switch v.t.elems[0].kind {
	case 's', 'o', 'g':
	default:
		return nil
	}
	out := make([]string, v.Len())
	for i := range out {
		out[i] = v.Index(i).Str()
	}
	return out
}

// Len returns the number of children: elements of an array, members of a tuple or dictionary entry, 1 for a variant
// and for a maybe that holds something, else 0.
func (v Value) Len() int {
	switch v.kind() {
	case 'a':
		n, _, _ := arrayLen(v.t, v.data)
		return n
	case '(', '{':
		return len(v.t.elems)
	case 'v':
		return 1
	case 'm':
		if len(v.data) > 0 {
			return 1
		}
	}
	return 0
}

// Index returns child i, counted from 0; the zero Value if there is no such child. It copies nothing.
func (v Value) Index(i int) Value {
	if i < 0 || i >= v.Len() {
		return Value{}
	}
	switch v.t.kind {
	case 'v':
		return v.Unpack()
	case 'm':
		if v.t.elems[0].fixed > 0 {
			return Value{v.t.elems[0], v.data}
		}
		return Value{v.t.elems[0], v.data[:len(v.data)-1]}
	case 'a':
		_, table, _ := arrayLen(v.t, v.data)
		start, end, _ := element(v.t, v.data, i, table)
		return Value{v.t.elems[0], v.data[start:end]}
	}
	c := newCursor(v.t, v.data)
	for {
		m, start, end, ok := c.step()
		if !ok {
			return Value{}
		}
		if c.next > i {
			return Value{m, v.data[start:end]}
		}
	}
}

// Unpack returns what a variant holds; any other value as it is.
func (v Value) Unpack() Value {
	if v.kind() != 'v' {
		return v
	}
	sep := bytes.LastIndexByte(v.data, 0)
	t, err := parseType(string(v.data[sep+1:]))
	if err != nil {
		return Value{}
	}
	return Value{t, v.data[:sep]}
}

// Just returns what a maybe value holds, and false if it holds nothing or is no maybe.
func (v Value) Just() (Value, bool) {
	if v.kind() != 'm' || len(v.data) == 0 {
		return Value{}, false
	}
	return v.Index(0), true
}

// Swap32 reverses the bytes of n. OSTree stores the numbers of its own structures big endian where GVariant has
// them in the machine's order.
func Swap32(n uint32) uint32 { return bits.ReverseBytes32(n) }

// Swap64 reverses the bytes of n.
func Swap64(n uint64) uint64 { return bits.ReverseBytes64(n) }

// ByteSwap returns v with the bytes of each number in it reversed, at any depth, inside variants too.
func (v Value) ByteSwap() Value {
	switch v.kind() {
	case 0, 'b', 'y', 's', 'o', 'g':
		return v
	case 'v':
		return Variant(v.Unpack().ByteSwap())
	case 'm':
		if in, ok := v.Just(); ok {
			return Just(in.ByteSwap())
		}
		return v
	case 'a', '(', '{':
		if v.kind() == 'a' && v.t.elems[0].kind == 'y' {
			return v
		}
		children := make([]Value, v.Len())
		for i := range children {
			children[i] = v.Index(i).ByteSwap()
		}
		if v.kind() == 'a' {
			return array(v.t, children)
		}
		return structure(v.t, children)
	}
	data := make([]byte, len(v.data))
	for i, b := range v.data {
		data[len(data)-1-i] = b
	}
	return Value{v.t, data}
}
