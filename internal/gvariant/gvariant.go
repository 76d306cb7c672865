// SPDX-License-Identifier: Apache-2.0

// Package gvariant reads and writes GVariant values, the serialisation that OSTree's objects are made of.
//
// It knows every type of the format, keeps integers as they lie in the bytes (little endian; OSTree stores some
// of its own byte-swapped, see [Swap32] and [Value.ByteSwap]), and prints values as `gvariant print` shows them.
// It does not parse the text form, and it has no signals, no reference counts, no lazy repair of damaged data.
//
// Invariants: a Value never changes; its bytes are always in normal form, so equal values have equal bytes;
// data from outside is checked once, by [Decode], and what Decode accepts encodes to the same bytes again.
package gvariant

import (
	"fmt"
)

// MaxDepth bounds how deep values may nest (arrays, tuples and variants together), as GLib does, so that
// hostile data cannot exhaust the stack.
const MaxDepth = 128

// MaxSizeBytes bounds what Decode reads: the largest metadata object that OSTree allows.
const MaxSizeBytes = 128 << 20

// Value is one immutable value with its type. The zero Value has type "" and is empty in every respect.
//
//	shape   the type and the serialised bytes in normal form
//	source  GLib gvariant-serialiser.c; "GVariant Specification" 1.0
type Value struct {
	t    *typ
	data []byte
}

// Type returns the type string, such as "a{sv}"; "" for the zero Value.
func (v Value) Type() string {
	if v.t == nil {
		return ""
	}
	return v.t.text
}

// IsZero reports whether v is the zero Value, which has no type.
func (v Value) IsZero() bool { return v.t == nil }

// Size returns the length of the serialised form in bytes.
func (v Value) Size() int { return len(v.data) }

// Encode returns the serialised bytes of v in normal form. The caller owns them.
func Encode(v Value) []byte { return append([]byte{}, v.data...) }

// Decode reads data as one value of the given type.
// The value keeps a reference to data: the caller must not change it afterwards.
//
//	errors  a bad type string, more than MaxSizeBytes, nesting beyond MaxDepth, or data that is not in normal
//	        form; the text says at which byte
func Decode(typeString string, data []byte) (Value, error) {
	t, err := parseType(typeString)
	if err != nil {
		return Value{}, err
	}
	return Type{t}.Decode(data)
}

// Type is a parsed type string, for callers that decode many values of one type.
type Type struct{ t *typ }

// MustType parses a type string that the program itself holds. It panics if that is no type.
func MustType(s string) Type {
	t, err := parseType(s)
	if err != nil {
		panic(err)
	}
	return Type{t}
}

// String returns the type string.
func (t Type) String() string { return Value{t: t.t}.Type() }

// Decode reads data as one value of this type, as the function Decode does.
func (t Type) Decode(data []byte) (Value, error) {
	if len(data) > MaxSizeBytes {
		return Value{}, fmt.Errorf("decode %s: %d bytes, at most %d allowed", t, len(data), MaxSizeBytes)
	}
	if err := check(t.t, data, 0, 0); err != nil {
		return Value{}, fmt.Errorf("decode %s: %w", t, err)
	}
	return Value{t.t, data}, nil
}

// Equal reports whether both values have the same type and content.
func (v Value) Equal(w Value) bool {
	return v.Type() == w.Type() && string(v.data) == string(w.data)
}
