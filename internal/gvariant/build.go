// SPDX-License-Identifier: Apache-2.0

package gvariant

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Bool makes a value of type b.
func Bool(b bool) Value {
	if b {
		return Value{typBool, []byte{1}}
	}
	return Value{typBool, []byte{0}}
}

// Byte makes a value of type y.
func Byte(b byte) Value { return Value{typByte, []byte{b}} }

// Int16 makes a value of type n.
func Int16(n int16) Value { return Value{typInt16, binary.LittleEndian.AppendUint16(nil, uint16(n))} }

// Uint16 makes a value of type q.
func Uint16(n uint16) Value { return Value{typUint16, binary.LittleEndian.AppendUint16(nil, n)} }

// Int32 makes a value of type i.
func Int32(n int32) Value { return Value{typInt32, binary.LittleEndian.AppendUint32(nil, uint32(n))} }

// Uint32 makes a value of type u. OSTree's own structures hold [Swap32] of the number.
func Uint32(n uint32) Value { return Value{typUint32, binary.LittleEndian.AppendUint32(nil, n)} }

// Int64 makes a value of type x.
func Int64(n int64) Value { return Value{typInt64, binary.LittleEndian.AppendUint64(nil, uint64(n))} }

// Uint64 makes a value of type t. OSTree's own structures hold [Swap64] of the number.
func Uint64(n uint64) Value { return Value{typUint64, binary.LittleEndian.AppendUint64(nil, n)} }

// Double makes a value of type d.
func Double(f float64) Value {
	return Value{typDouble, binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))}
}

// String makes a value of type s. The format cannot hold every Go string: s is cut at its first NUL, and bytes
// that are not UTF-8 become U+FFFD. Callers to whom that matters check first.
func String(s string) Value {
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	data := make([]byte, len(s)+1)
	copy(data, s)
	return Value{typString, data}
}

// Bytes makes a value of type ay; b is copied.
func Bytes(b []byte) Value { return Value{typBytes, append([]byte{}, b...)} }

// Strings makes a value of type as, each string as [String] has it.
func Strings(ss []string) Value {
	items := make([]Value, len(ss))
	for i, s := range ss {
		items[i] = String(s)
	}
	return array(typStrings, items)
}

// ByteArrays makes a value of type aay, as OSTree keeps lists of signatures.
func ByteArrays(bb [][]byte) Value {
	items := make([]Value, len(bb))
	for i, b := range bb {
		items[i] = Value{typBytes, b}
	}
	return array(arrayOf(typBytes), items)
}

// Array makes an array. It panics if elemType is no type or an item has another: that is misuse, not input.
func Array(elemType string, items ...Value) Value {
	e, err := parseType(elemType)
	if err != nil {
		panic(fmt.Sprintf("gvariant.Array: %v", err))
	}
	for i, it := range items {
		if it.Type() != elemType {
			panic(fmt.Sprintf("gvariant.Array: item %d has type %q, wanted %q", i, it.Type(), elemType))
		}
	}
	return array(arrayOf(e), items)
}

func array(t *typ, items []Value) Value {
	e := t.elems[0]
	var data []byte
	var ends []int
	for _, it := range items {
		data = pad(data, e.align)
		data = append(data, it.data...)
		if e.fixed == 0 {
			ends = append(ends, len(data))
		}
	}
	return Value{t, AppendOffsets(data, 0, ends...)}
}

// Tuple makes a tuple of any values. It panics on the zero Value.
func Tuple(members ...Value) Value {
	types := make([]*typ, len(members))
	for i, m := range members {
		if m.t == nil {
			panic(fmt.Sprintf("gvariant.Tuple: member %d has no type", i))
		}
		types[i] = m.t
	}
	return structure(tupleOf(types), members)
}

// DictEntry makes a dictionary entry, an element of a dictionary array. It panics unless key has a basic type.
func DictEntry(key, value Value) Value {
	if key.t == nil || value.t == nil || basic(key.t.kind) == nil || key.t.kind == 'v' {
		panic(fmt.Sprintf("gvariant.DictEntry: types %q and %q", key.Type(), value.Type()))
	}
	t := dictEntryOf(key.t, value.t)
	return structure(t, []Value{key, value})
}

func structure(t *typ, members []Value) Value {
	if len(members) == 0 {
		return Value{t, []byte{0}}
	}
	var data []byte
	var ends []int
	for i, m := range members {
		data = pad(data, m.t.align)
		data = append(data, m.data...)
		if m.t.fixed == 0 && i < len(members)-1 {
			ends = append(ends, len(data))
		}
	}
	if t.fixed > 0 {
		return Value{t, pad(data, t.align)}
	}
	for i, j := 0, len(ends)-1; i < j; i, j = i+1, j-1 {
		ends[i], ends[j] = ends[j], ends[i]
	}
	return Value{t, AppendOffsets(data, 0, ends...)}
}

// Variant wraps v, with its type, into a value of type v. It panics on the zero Value.
func Variant(v Value) Value {
	if v.t == nil {
		panic("gvariant.Variant: value has no type")
	}
	data := make([]byte, 0, len(v.data)+1+len(v.t.text))
	data = append(data, v.data...)
	data = append(data, 0)
	return Value{typVar, append(data, v.t.text...)}
}

// Just makes a maybe value that holds v. It panics on the zero Value.
func Just(v Value) Value {
	if v.t == nil {
		panic("gvariant.Just: value has no type")
	}
	data := append([]byte{}, v.data...)
	if v.t.fixed == 0 {
		data = append(data, 0)
	}
	return Value{maybeOf(v.t), data}
}

// Nothing makes a maybe value that holds nothing of type elemType. It panics if that is no type.
func Nothing(elemType string) Value {
	e, err := parseType(elemType)
	if err != nil {
		panic(fmt.Sprintf("gvariant.Nothing: %v", err))
	}
	return Value{maybeOf(e), nil}
}

func pad(data []byte, align int) []byte {
	for len(data)%align != 0 {
		data = append(data, 0)
	}
	return data
}
