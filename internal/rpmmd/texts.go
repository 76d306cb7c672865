// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"hash/maphash"
	"unicode/utf8"
	"unsafe"
)

const textBlock = 64 << 10

// texts makes strings of bytes that will not stay: they lie close together in blocks that are never moved or written again.
// What is asked for with intern is kept once.
type texts struct {
	block []byte
	seed  maphash.Seed
	table []string // open addressing; a power of two, at most half full
	count int
}

func newTexts() *texts {
	return &texts{seed: maphash.MakeSeed(), table: make([]string, 1<<14)}
}

// add copies b; what is not UTF-8 becomes U+FFFD.
func (t *texts) add(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if !utf8.Valid(b) {
		b = bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	if len(b) > textBlock/4 {
		return string(b)
	}
	if len(b) > cap(t.block)-len(t.block) {
		t.block = make([]byte, 0, textBlock)
	}
	n := len(t.block)
	t.block = append(t.block, b...)
	return unsafe.String(&t.block[n], len(b)) // bytes below len(block) are never written again
}

// like gives before if it says the same, else a copy: packages of one source stand together and share texts.
func (t *texts) like(b []byte, before string) string {
	if string(b) == before {
		return before
	}
	return t.add(b)
}

// intern gives the one string that says b. Names and versions of dependencies come back some ten times each.
func (t *texts) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	mask := uint64(len(t.table) - 1)
	i := maphash.Bytes(t.seed, b) & mask
	for t.table[i] != "" {
		if t.table[i] == string(b) {
			return t.table[i]
		}
		i = (i + 1) & mask
	}
	s := t.add(b)
	if s != string(b) {
		return s // mended: it has another place, and is rare
	}
	t.table[i] = s
	if t.count++; 2*t.count > len(t.table) {
		t.grow()
	}
	return s
}

func (t *texts) grow() {
	old := t.table
	t.table = make([]string, 2*len(old))
	mask := uint64(len(t.table) - 1)
	for _, s := range old {
		if s == "" {
			continue
		}
		i := maphash.String(t.seed, s) & mask
		for t.table[i] != "" {
			i = (i + 1) & mask
		}
		t.table[i] = s
	}
}
