// SPDX-License-Identifier: Apache-2.0

package gvariant

// Dict is an a{sv}: string keys, values of any type, in the order in which they are stored. The order counts: it is
// part of the bytes, and so of a commit's checksum.
type Dict []Entry

// Entry is one pair of a Dict. Value is what the variant holds, not the variant.
type Entry struct {
	Key   string
	Value Value
}

// DecodeDict reads data as an a{sv}.
//
//	errors  as Decode has them
func DecodeDict(data []byte) (Dict, error) {
	v, err := Decode("a{sv}", data)
	if err != nil {
		return nil, err
	}
	d, _ := v.Dict()
	return d, nil
}

// Dict returns the entries of a value of type a{sv}, and false for any other type.
func (v Value) Dict() (Dict, bool) {
	if v.Type() != "a{sv}" {
		return nil, false
	}
	d := make(Dict, v.Len())
	for i := range d {
		e := v.Index(i)
		d[i] = Entry{e.Index(0).Str(), e.Index(1).Unpack()}
	}
	return d, true
}

// Value returns d as a value of type a{sv}. It panics if an entry holds the zero Value.
func (d Dict) Value() Value {
	items := make([]Value, len(d))
	for i, e := range d {
		items[i] = structure(typEntrySV, []Value{String(e.Key), Variant(e.Value)})
	}
	return array(typDict, items)
}

// Encode returns the bytes of d as an a{sv}.
func (d Dict) Encode() []byte { return d.Value().data }

// Lookup returns the value of the first entry with that key.
func (d Dict) Lookup(key string) (Value, bool) {
	for _, e := range d {
		if e.Key == key {
			return e.Value, true
		}
	}
	return Value{}, false
}

// Has reports whether there is an entry with that key.
func (d Dict) Has(key string) bool {
	_, ok := d.Lookup(key)
	return ok
}

// Str returns the string of that key; "" and false if there is none or it has another type.
func (d Dict) Str(key string) (string, bool) {
	v, _ := d.Lookup(key)
	return v.Str(), v.kind() == 's'
}

// Strings returns the list of that key; nil and false if there is none or it has another type.
func (d Dict) Strings(key string) ([]string, bool) {
	v, _ := d.Lookup(key)
	return v.Strings(), v.Type() == "as"
}

// Bytes returns the bytes of that key; nil and false if there are none or it has another type.
func (d Dict) Bytes(key string) ([]byte, bool) {
	v, _ := d.Lookup(key)
	return v.Bytes(), v.Type() == "ay"
}

// Uint returns the number of that key as it is stored (not swapped); 0 and false if there is none or it is not one of
// y, q, u, t.
func (d Dict) Uint(key string) (uint64, bool) {
	v, _ := d.Lookup(key)
	switch v.kind() {
	case 'y', 'q', 'u', 't':
		return v.Uint(), true
	}
	return 0, false
}

// Bool returns the boolean of that key; false, false if there is none or it has another type.
func (d Dict) Bool(key string) (value, ok bool) {
	v, _ := d.Lookup(key)
	return v.Bool(), v.kind() == 'b'
}

// With returns a copy of d in which key has that value: in its old place, or at the end.
func (d Dict) With(key string, v Value) Dict {
	out := append(make(Dict, 0, len(d)+1), d...)
	for i, e := range out {
		if e.Key == key {
			out[i].Value = v
			return out
		}
	}
	return append(out, Entry{key, v})
}

// Without returns a copy of d that has no entry with that key.
func (d Dict) Without(key string) Dict {
	out := make(Dict, 0, len(d))
	for _, e := range d {
		if e.Key != key {
			out = append(out, e)
		}
	}
	return out
}
