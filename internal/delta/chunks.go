// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"hash/crc64"
	"slices"
)

// Chunks of content: a chunk ends where a sum over the last bytes has a certain form, so that the same content is cut at the same
// places wherever it stands in a file.
const (
	minChunk  = 512
	maxChunk  = 32 << 10
	chunkMask = 1<<13 - 1 // 8 KiB on average
)

// gear gives each byte a random number, always the same.
var gear = func() (t [256]uint64) {
	x := uint64(0x9e3779b97f4a7c15)
	for i := range t {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		t[i] = x
	}
	return t
}()

// nextChunk is the length of the chunk that data begins with.
func nextChunk(data []byte) int {
	end := min(len(data), maxChunk)
	sum := uint64(0)
	for i := range end {
		sum = sum<<1 + gear[data[i]]
		if i >= minChunk && sum>>40&chunkMask == 0 {
			return i + 1
		}
	}
	return end
}

// match is a run of the new file that is also in the old one.
type match struct{ to, from, length int }

// matchChunks finds what of the new file is in the old one, chunk by chunk, and grows what it finds to both sides. The matches
// are in order and do not overlap; total is how many bytes they are.
func matchChunks(old, new []byte) (list []match, total int) {
	table := crc64.MakeTable(crc64.ECMA)
	chunks := map[uint64]int{} // checksum -> where in old; the first counts
	for at := 0; at < len(old); {
		n := nextChunk(old[at:])
		sum := crc64.Checksum(old[at:at+n], table)
		if _, ok := chunks[sum]; !ok {
			chunks[sum] = at
		}
		at += n
	}
	done := 0
	for at := 0; at < len(new); {
		if len(list) > 0 { // going on from the last match is the most likely
			if l := &list[len(list)-1]; l.to+l.length == at {
				n := common(new[at:], old[l.from+l.length:])
				l.length += n
				at, done = at+n, at+n
				if n > 0 {
					continue
				}
			}
		}
		n := nextChunk(new[at:])
		from, ok := chunks[crc64.Checksum(new[at:at+n], table)]
		if !ok || from+n > len(old) || !bytes.Equal(old[from:from+n], new[at:at+n]) {
			at += n
			continue
		}
		m := match{at, from, n}
		for m.to > done && m.from > 0 && new[m.to-1] == old[m.from-1] {
			m.to, m.from, m.length = m.to-1, m.from-1, m.length+1
		}
		list = append(list, m)
		at += n
		done = at
	}
	list = slices.DeleteFunc(list, func(m match) bool { return m.length < minChunk })
	for _, m := range list {
		total += m.length
	}
	return list, total
}
