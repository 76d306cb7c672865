// SPDX-License-Identifier: Apache-2.0

package delta

import "bytes"

// suffixArray sorts the suffixes of text: entry i is where the i-th smallest begins. Time is linear; memory is 4 bytes for each
// of text's, and about one more.
//
//	source  Nong, Zhang, Chan: Two Efficient Algorithms for Linear Time Suffix Array Construction (SA-IS), 2009
func suffixArray(text []byte) []int32 {
	sa := make([]int32, len(text))
	sortSuffixes(text, sa, 256)
	return sa
}

// bitSet holds one bit for each position.
type bitSet []uint64

func (b bitSet) get(i int32) bool { return b[i>>6]>>(uint(i)&63)&1 != 0 }
func (b bitSet) set(i int32)      { b[i>>6] |= 1 << (uint(i) & 63) }

// sorter sorts the suffixes of one text over the letters 0 to len(count)-1.
type sorter[T byte | int32] struct {
	text  []T
	sa    []int32
	small bitSet  // suffixes that are smaller than the one behind them
	count []int32 // of each letter
	edge  []int32 // of each letter's bucket: where the next suffix goes
}

func sortSuffixes[T byte | int32](text []T, sa []int32, letters int) {
	n := int32(len(text))
	if n < 2 {
		clear(sa)
		return
	}
	s := &sorter[T]{text, sa, make(bitSet, (n+63)/64), make([]int32, letters), make([]int32, letters)}
	for i := n - 1; i >= 0; i-- {
		s.count[text[i]]++
		if i+1 < n && (text[i] < text[i+1] || text[i] == text[i+1] && s.small.get(i+1)) {
			s.small.set(i)
		}
	}
	fill(sa, -1)
	s.tails()
	for i := n - 1; i > 0; i-- {
		if s.leftmost(i) {
			s.edge[text[i]]--
			sa[s.edge[text[i]]] = i
		}
	}
	s.induce()
	m := s.sortLeftmost()
	// the leftmost small suffixes are sorted, at the front; the others follow from them
	fill(sa[m:], -1)
	s.tails()
	for i := m - 1; i >= 0; i-- {
		j := sa[i]
		sa[i] = -1
		s.edge[text[j]]--
		sa[s.edge[text[j]]] = j
	}
	s.induce()
}

func fill(s []int32, v int32) {
	for i := range s {
		s[i] = v
	}
}

// leftmost reports whether i is small and the one before it is not.
func (s *sorter[T]) leftmost(i int32) bool { return i > 0 && s.small.get(i) && !s.small.get(i-1) }

// heads makes edge the start of each bucket, tails its end.
func (s *sorter[T]) heads() {
	sum := int32(0)
	for i, c := range s.count {
		s.edge[i] = sum
		sum += c
	}
}

func (s *sorter[T]) tails() {
	sum := int32(0)
	for i, c := range s.count {
		sum += c
		s.edge[i] = sum
	}
}

// induce puts in all suffixes in the order that follows from those which are there.
func (s *sorter[T]) induce() {
	put := func(i int32) {
		c := s.text[i]
		s.sa[s.edge[c]] = i
		s.edge[c]++
	}
	s.heads()
	put(int32(len(s.text)) - 1) // behind the last there is the empty suffix, the smallest of all
	for i := range s.sa {
		if j := s.sa[i] - 1; j >= 0 && !s.small.get(j) {
			put(j)
		}
	}
	s.tails()
	for i := len(s.sa) - 1; i >= 0; i-- {
		if j := s.sa[i] - 1; j >= 0 && s.small.get(j) {
			c := s.text[j]
			s.edge[c]--
			s.sa[s.edge[c]] = j
		}
	}
}

// sortLeftmost sorts the leftmost small suffixes, of which so far only the pieces up to the next one are in order. It puts them
// at the front and returns how many there are.
func (s *sorter[T]) sortLeftmost() int32 {
	n := int32(len(s.text))
	m := int32(0)
	for i := range n {
		if j := s.sa[i]; s.leftmost(j) {
			s.sa[m] = j
			m++
		}
	}
	// pieces that are equal get one name; there is room for a name at half of each position
	names := s.sa[m:]
	fill(names, -1)
	last, name := int32(-1), int32(-1)
	for _, j := range s.sa[:m] {
		if last < 0 || !s.samePiece(last, j) {
			name++
		}
		last = j
		names[j/2] = name
	}
	reduced := s.sa[n-m:]
	at := len(reduced)
	for i := len(names) - 1; i >= 0; i-- {
		if v := names[i]; v >= 0 {
			at--
			reduced[at] = v
		}
	}
	if name+1 < m {
		sortSuffixes(reduced, s.sa[:m], int(name+1))
	} else {
		for i, v := range reduced {
			s.sa[v] = int32(i)
		}
	}
	i := int32(0)
	for j := range n {
		if s.leftmost(j) {
			reduced[i] = j
			i++
		}
	}
	for i := range s.sa[:m] {
		s.sa[i] = reduced[s.sa[i]]
	}
	return m
}

// samePiece compares the pieces that begin at two leftmost small suffixes and end with the next ones.
func (s *sorter[T]) samePiece(a, b int32) bool {
	n := int32(len(s.text))
	for i := int32(0); ; i++ {
		if a+i == n || b+i == n || s.text[a+i] != s.text[b+i] {
			return false // only one piece ends with the text
		}
		if i > 0 && (s.leftmost(a+i) || s.leftmost(b+i)) {
			return s.leftmost(a+i) && s.leftmost(b+i)
		}
	}
}

// index finds the longest match of some bytes in a text.
type index struct {
	text  []byte
	sa    []int32
	start []int32 // of the suffixes that begin with two given bytes; those of one byte only come first
}

func newIndex(text []byte) *index {
	x := &index{text, suffixArray(text), make([]int32, 1<<16+1)}
	for i := range len(text) - 1 {
		x.start[int(text[i])<<8+int(text[i+1])+1]++
	}
	if n := len(text); n > 0 { // the last byte alone is before all others that begin with it
		x.start[int(text[n-1])<<8]++
	}
	for i := range 1 << 16 {
		x.start[i+1] += x.start[i]
	}
	return x
}

// longest returns where in the text as many bytes of want as can be are found, and how many. Matches of less than two bytes
// do not count.
func (x *index) longest(want []byte) (pos, length int) {
	if len(want) < 2 || len(x.text) < 2 {
		return 0, 0
	}
	key := int(want[0])<<8 + int(want[1])
	lo, hi := int(x.start[key]), int(x.start[key+1])
	if key+1 < 1<<16 && len(x.text) > 0 && int(x.text[len(x.text)-1])<<8 == key+1 {
		hi-- // the lone last byte that stands before the next bucket
	}
	if lo >= hi {
		return 0, 0
	}
	// between lo and hi: the place where want would be put
	left, right := 2, 2 // bytes that want has in common with what is below lo and from hi on, at least
	a, b := lo, hi
	for a < b {
		mid := int(uint(a+b) >> 1)
		n := min(left, right)
		s := x.text[x.sa[mid]:]
		n += common(s[n:], want[n:])
		if n == len(want) {
			return int(x.sa[mid]), n
		}
		if n == len(s) || s[n] < want[n] {
			a, left = mid+1, n
		} else {
			b, right = mid, n
		}
		if n > length {
			pos, length = int(x.sa[mid]), n
		}
	}
	return pos, length
}

// common is the length of what both begin with.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+32 <= n; i += 32 {
		if !bytes.Equal(a[i:i+32], b[i:i+32]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
