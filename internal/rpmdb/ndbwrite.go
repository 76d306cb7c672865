// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"
)

// Numbers of the file that holds ndb's indexes: pages, each index a run of them.
//
//	source  rpm lib/backend/ndb/rpmxdb.c, rpmidx.c
const (
	ndbIndexName    = "Index.db"
	xdbMagic        = 'R' | 'p'<<8 | 'm'<<16 | 'X'<<24
	xdbSlotMagic    = 'S' | 'l'<<8 | 'o'<<16
	xdbSlotPages    = 1
	idxMagic        = 'R' | 'p'<<8 | 'm'<<16 | 'I'<<24
	idxHeadBytes    = 64
	idxMinSlots     = 256
	idxFirstHop     = 7
	idxHeadroom     = 8192 // of the key space, before offsets need more bits
	idxMaxKeyBytes  = 1 << 30
	ndbGeneration   = 1
	murmurMultiply  = 0x5bd1e995
	idxShortKey     = 255
	idxMediumKey    = 65535
	idxPackageBits  = 20
	idxPlaceBits    = 10
	idxPackageBits2 = 24
	idxPlaceBits2   = 6
)

// ndbFiles are Packages.db and Index.db.
func ndbFiles(blobs []blob, indexes []index) (map[string][]byte, error) {
	packages, err := ndbPackages(blobs)
	if err != nil {
		return nil, err
	}
	list, err := ndbIndexes(indexes)
	return map[string][]byte{ndbName: packages, ndbIndexName: list}, err
}

// ndbPackages is the file that readNDB reads.
func ndbPackages(blobs []blob) ([]byte, error) {
	le := binary.LittleEndian
	const perPage = ndbPageBytes / ndbSlotBytes
	pages := (len(blobs)+2)/perPage + 1 // the header is as large as two slots
	out := make([]byte, pages*ndbPageBytes)
	for i, n := range []uint32{ndbMagic, 0, ndbGeneration, uint32(pages), uint32(len(blobs) + 1)} {
		le.PutUint32(out[4*i:], n)
	}
	for at := ndbHeadBytes; at < len(out); at += ndbSlotBytes {
		le.PutUint32(out[at:], ndbSlotMagic)
	}
	for i, b := range blobs {
		at := len(out)
		for _, n := range []uint32{ndbBlobMagic, b.hnum, ndbGeneration, uint32(len(b.data))} {
			out = le.AppendUint32(out, n)
		}
		out = append(out, b.data...)
		for (len(out)-at+ndbBlobTail)%ndbBlockBytes != 0 {
			out = append(out, 0)
		}
		out = le.AppendUint32(out, adler32.Checksum(out[at:]))
		out = le.AppendUint32(out, uint32(len(b.data)))
		out = le.AppendUint32(out, ndbTailMagic)
		if len(out) > maxFileBytes {
			return nil, fmt.Errorf("more than %d bytes", maxFileBytes)
		}
		slot := out[ndbHeadBytes+i*ndbSlotBytes:]
		le.PutUint32(slot[4:], b.hnum)
		le.PutUint32(slot[8:], uint32(at/ndbBlockBytes))
		le.PutUint32(slot[12:], uint32((len(out)-at)/ndbBlockBytes))
	}
	return out, nil
}

// ndbIndexes puts all indexes into one file.
func ndbIndexes(indexes []index) ([]byte, error) {
	le := binary.LittleEndian
	out := make([]byte, xdbSlotPages*ndbPageBytes)
	for i, n := range []uint32{xdbMagic, 0, uint32(len(indexes)), xdbSlotPages, ndbPageBytes, ndbGeneration} {
		le.PutUint32(out[4*i:], n)
	}
	for at := ndbHeadBytes; at < len(out); at += ndbSlotBytes {
		le.PutUint32(out[at:], xdbSlotMagic)
	}
	for i, x := range indexes {
		data, err := ndbIndex(x)
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", x.name, err)
		}
		slot := out[ndbHeadBytes+i*ndbSlotBytes:]
		le.PutUint32(slot[4:], x.tag)
		le.PutUint32(slot[8:], uint32(len(out)/ndbPageBytes))
		le.PutUint32(slot[12:], uint32(len(data)/ndbPageBytes))
		out = append(out, data...)
	}
	return out, nil
}

// ndbIndex is one index: a header, slots of key offset and data, the same number of slots for data that needs more bits, keys.
func ndbIndex(x index) ([]byte, error) {
	le := binary.LittleEndian
	used, keys := 0, []byte{0} // offset 0 would say that a slot is free
	offsets := map[string]uint32{}
	for _, k := range x.keys {
		used += len(x.rows[k])
		offsets[k] = uint32(len(keys))
		keys = append(keyLength(keys, len(k)), k...)
		if len(keys) > idxMaxKeyBytes {
			return nil, fmt.Errorf("keys of more than %d bytes", idxMaxKeyBytes)
		}
	}
	slots := idxMinSlots
	for slots < 2*used {
		slots *= 2
	}
	size := idxHeadBytes + 12*slots + len(keys) + ndbPageBytes // room for more keys
	size = (size + ndbPageBytes - 1) / ndbPageBytes * ndbPageBytes
	room := uint32(size - idxHeadBytes - 12*slots)
	border := uint32(0x10000)
	for border != 0 && border < room+idxHeadroom {
		border <<= 1
	}
	xmask := ^(border - 1)
	if border == 0 {
		xmask = 0
	}
	out := make([]byte, size)
	for i, n := range []uint32{idxMagic, 0, ndbGeneration, uint32(slots), uint32(used), 0, xmask, uint32(len(keys))} {
		le.PutUint32(out[4*i:], n)
	}
	copy(out[idxHeadBytes+12*slots:], keys)
	mask := uint32(slots - 1)
	for _, k := range x.keys {
		hash := murmur(k)
		at := offsets[k] | hash&xmask
		for _, r := range x.rows[k] {
			h := hash & mask
			for hop := uint32(idxFirstHop); le.Uint32(out[idxHeadBytes+8*h:]) != 0; hop++ {
				h = (h + hop) & mask
			}
			data, more := idxData(r)
			le.PutUint32(out[idxHeadBytes+8*h:], at)
			le.PutUint32(out[idxHeadBytes+8*h+4:], data)
			le.PutUint32(out[idxHeadBytes+8*uint32(slots)+4*h:], more)
		}
	}
	return out, nil
}

// idxData packs package and place into one number where they are small, else into two.
func idxData(r row) (data, more uint32) {
	switch {
	case r.hnum < 1<<idxPackageBits && r.idx < 1<<idxPlaceBits:
		return r.hnum | r.idx<<idxPackageBits, 0
	case r.hnum < 1<<idxPackageBits2 && r.idx < 1<<idxPlaceBits2:
		return r.hnum | r.idx<<idxPackageBits2 | 0x40000000, 0
	}
	return r.idx | 0x80000000, r.hnum
}

// keyLength appends the length of a key: in one byte, three or seven.
func keyLength(out []byte, n int) []byte {
	switch {
	case n > 0 && n < idxShortKey:
		return append(out, byte(n))
	case n < idxMediumKey:
		return append(out, 255, byte(n), byte(n>>8))
	}
	return append(out, 255, 255, 255, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

// murmur is the hash of keys.
func murmur(s string) uint32 {
	h := uint32(len(s)) * murmurMultiply
	for ; len(s) >= 4; s = s[4:] {
		h += uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		h *= murmurMultiply
		h ^= h >> 16
	}
	if len(s) > 0 {
		for i := len(s) - 1; i >= 0; i-- {
			h += uint32(s[i]) << (8 * i)
		}
		h *= murmurMultiply
		h ^= h >> 16
	}
	h *= murmurMultiply
	h ^= h >> 10
	h *= murmurMultiply
	return h ^ h>>17
}
