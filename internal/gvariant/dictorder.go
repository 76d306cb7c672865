// SPDX-License-Identifier: Apache-2.0

package gvariant

// InsertionOrder gives the entries in the order in which GLib's GVariantDict writes those that were put into it one after
// another: the order of the hash table that it keeps them in. libostree makes summaries and signatures so, and the order is
// part of their bytes. Of entries with one key the last counts.
//
//	source  GLib 2.74 glib/gvariant.c, g_variant_dict_end; glib/ghash.c (open addressing, sizes of powers of two, a prime below
//	        as modulus); glib/gstring.c, g_str_hash
func (d Dict) InsertionOrder() Dict {
	t := newGLibTable()
	for _, e := range d {
		t.insert(e)
	}
	out := make(Dict, 0, t.used)
	for _, e := range t.slots {
		if e != nil {
			out = append(out, *e)
		}
	}
	return out
}

// gLibTable places entries as a GHashTable of strings does that nothing is ever removed from.
type gLibTable struct {
	slots []*Entry
	used  int
}

const gLibMinShift = 3

// gLibPrimes are the moduli by the power of two of the table's size.
var gLibPrimes = [...]uint32{1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 262139,
	524287, 1048573, 2097143, 4194301, 8388593, 16777213}

func newGLibTable() *gLibTable { return &gLibTable{slots: make([]*Entry, 1<<gLibMinShift)} }

func gLibStringHash(s string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(s); i++ {
		h = h*33 + uint32(int32(int8(s[i])))
	}
	return max(h, 2) // 0 and 1 mark free slots
}

// first is where the search for an entry begins.
func (t *gLibTable) first(key string) int {
	shift := 0
	for 1<<shift < len(t.slots) {
		shift++
	}
	return int(gLibStringHash(key) * 11 % gLibPrimes[min(shift, len(gLibPrimes)-1)])
}

func (t *gLibTable) insert(e Entry) {
	at := t.first(e.Key)
	for step := 1; t.slots[at] != nil; step++ {
		if t.slots[at].Key == e.Key {
			t.slots[at] = &e
			return
		}
		at = (at + step) & (len(t.slots) - 1)
	}
	t.slots[at] = &e
	t.used++
	if len(t.slots) <= t.used+t.used/16 {
		t.grow()
	}
}

// grow doubles the table in place: each entry goes to its new slot, and what stood there moves on in turn, unless it has
// been placed already.
func (t *gLibTable) grow() {
	size := 1
	for n := int(float64(t.used) * 1.333); n > 0; n >>= 1 {
		size <<= 1
	}
	old := len(t.slots)
	t.slots = append(t.slots, make([]*Entry, max(0, size-old))...)
	placed := make([]bool, len(t.slots))
	for i := range old {
		e := t.slots[i]
		if e == nil || placed[i] {
			continue
		}
		t.slots[i] = nil
		for e != nil {
			at := t.first(e.Key)
			for step := 1; placed[at]; step++ {
				at = (at + step) & (len(t.slots) - 1)
			}
			placed[at] = true
			t.slots[at], e = e, t.slots[at]
		}
	}
}
