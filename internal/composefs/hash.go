// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"math/bits"
)

// xxh32 is the 32-bit xxHash, which EROFS' filter of attribute names uses.
//
//	source  the algorithm's specification, doc/xxhash_spec.md of Cyan4973/xxHash
func xxh32(data []byte, seed uint32) uint32 {
	const p1, p2, p3, p4, p5 = 0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1
	le := binary.LittleEndian
	total := uint32(len(data))
	h := seed + p5
	if len(data) >= 16 {
		lanes := [4]uint32{seed + p1, seed, seed, seed}
		lanes[0] += p2
		lanes[1] += p2
		lanes[3] -= p1
		for ; len(data) >= 16; data = data[16:] {
			for i := range lanes {
				lanes[i] = bits.RotateLeft32(lanes[i]+le.Uint32(data[4*i:])*p2, 13) * p1
			}
		}
		h = bits.RotateLeft32(lanes[0], 1) + bits.RotateLeft32(lanes[1], 7) + bits.RotateLeft32(lanes[2], 12) +
			bits.RotateLeft32(lanes[3], 18)
	}
	h += total
	for ; len(data) >= 4; data = data[4:] {
		h = bits.RotateLeft32(h+le.Uint32(data)*p3, 17) * p4
	}
	for _, b := range data {
		h = bits.RotateLeft32(h+uint32(b)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}

// verityAlgorithm is fs-verity's number for SHA-256.
const verityAlgorithm = 1

// Verity is the digest that fs-verity gives a file: of a descriptor with the root of a tree of SHA-256 over blocks of
// 4096 bytes.
//
//	source  linux Documentation/filesystems/fsverity.rst
type Verity [sha256.Size]byte

// verityWriter computes a Verity of what is written to it.
type verityWriter struct {
	levels []verityLevel
	size   uint64
	sum    hash.Hash
}

// verityLevel is a block that is being filled.
type verityLevel struct {
	buf  []byte
	full bool // a block of this level was handed up already
}

func newVerity() *verityWriter { return &verityWriter{sum: sha256.New()} }

// Write takes more of the file.
func (v *verityWriter) Write(p []byte) (int, error) {
	v.size += uint64(len(p))
	v.add(0, p)
	return len(p), nil
}

// add puts bytes into a level. A block goes up when more follows it, so the last one of a level is always at hand.
func (v *verityWriter) add(level int, p []byte) {
	if level == len(v.levels) {
		v.levels = append(v.levels, verityLevel{buf: make([]byte, 0, blockSize)})
	}
	for len(p) > 0 {
		l := &v.levels[level]
		if len(l.buf) == blockSize {
			h := v.block(l.buf)
			l.buf, l.full = l.buf[:0], true
			v.add(level+1, h)
			l = &v.levels[level]
		}
		n := min(blockSize-len(l.buf), len(p))
		l.buf = append(l.buf, p[:n]...)
		p = p[n:]
	}
}

// block hashes one block, filled up with zeros.
func (v *verityWriter) block(b []byte) []byte {
	v.sum.Reset()
	v.sum.Write(b)
	v.sum.Write(zeros[:blockSize-len(b)])
	return v.sum.Sum(nil)
}

// Sum returns the digest of what was written.
func (v *verityWriter) Sum() Verity {
	var root []byte
	if v.size == 0 {
		root = zeros[:sha256.Size]
	}
	for level := 0; level < len(v.levels); level++ {
		l := v.levels[level]
		h := v.block(l.buf)
		if !l.full { // a single block: its hash is the root
			root = h
			break
		}
		v.add(level+1, h)
	}
	var d [256]byte
	d[0], d[1], d[2] = 1, verityAlgorithm, blockBits
	binary.LittleEndian.PutUint64(d[8:], v.size)
	copy(d[16:], root)
	return sha256.Sum256(d[:])
}

// MeasureVerity computes the fs-verity digest of content.
func MeasureVerity(r io.Reader) (Verity, error) {
	v := newVerity()
	if _, err := io.Copy(v, r); err != nil {
		return Verity{}, err
	}
	return v.Sum(), nil
}
