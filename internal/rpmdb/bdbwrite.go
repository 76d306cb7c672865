// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Berkeley DB hash files, as libdb 4.8 and 5.3 make them: version 9, little endian, every bucket's first page in one row behind
// the meta page, then pages for what a bucket has more, then values that are too large for a page.
//
//	source  Berkeley DB src/dbinc/db_page.h (HMETA33, PAGE, HOFFPAGE), src/hash/hash_func.c (__ham_func5)
const (
	bdbVersion    = 9
	bdbPageBytes  = 4096
	bdbInline     = bdbPageBytes / 4 // a longer key or value goes to pages of its own
	bdbOffBytes   = 12
	bdbFillBytes  = bdbPageBytes / 2 // of a bucket's first page, on average
	bdbMaxBuckets = 1 << 20
)

// bdbCharKey is what a hash function is known by: the hash of this text is in the meta page.
const bdbCharKey = "%$sniglet^&\x00"

func bdbHashOf(key []byte) uint32 {
	var h uint32
	for _, c := range key {
		h = h*16777619 ^ uint32(c)
	}
	return h
}

type bdbPair struct{ key, value []byte }

// bdbFiles are Packages and its indexes.
//
//	source  rpm 4.14, lib/backend/db3.c (an index's value is an array of package number and place), lib/rpmdb.c (key 0 of Packages)
func bdbFiles(blobs []blob, indexes []index) (map[string][]byte, error) {
	le := binary.LittleEndian
	out := map[string][]byte{}
	pairs := []bdbPair{{le32(0), le32(uint32(len(blobs)))}}
	for _, b := range blobs {
		pairs = append(pairs, bdbPair{le32(b.hnum), b.data})
	}
	var err error
	if out[bdbName], err = bdbFileOf(bdbName, pairs); err != nil {
		return nil, err
	}
	for _, x := range indexes {
		pairs = nil
		for _, k := range x.keys {
			var value []byte
			for _, r := range x.rows[k] {
				value = le.AppendUint32(le.AppendUint32(value, r.hnum), r.idx)
			}
			if k == "" {
				k = "\x00" // rpm's key for the name of "/"
			}
			pairs = append(pairs, bdbPair{[]byte(k), value})
		}
		if out[x.name], err = bdbFileOf(x.name, pairs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bdbWriter lays pages out.
type bdbWriter struct {
	pages [][]byte // by number
}

func (w *bdbWriter) page(typ byte) (uint32, []byte, error) {
	n := uint32(len(w.pages))
	if uint64(n)*bdbPageBytes > maxFileBytes {
		return 0, nil, fmt.Errorf("more than %d bytes", maxFileBytes)
	}
	p := make([]byte, bdbPageBytes)
	binary.LittleEndian.PutUint32(p[8:], n)
	p[25] = typ
	w.pages = append(w.pages, p)
	return n, p, nil
}

// bdbFileOf makes a hash file; name only gives it an id of its own.
func bdbFileOf(name string, pairs []bdbPair) ([]byte, error) {
	size := 0
	for _, p := range pairs {
		size += 2 + 2*2 + min(len(p.key), bdbInline) + min(len(p.value), bdbInline)
	}
	buckets := 2
	for buckets*bdbFillBytes < size && buckets < bdbMaxBuckets {
		buckets *= 2
	}
	mask := uint32(buckets - 1)
	w := &bdbWriter{}
	_, meta, err := w.page(bdbHashMeta)
	if err != nil {
		return nil, err
	}
	for range buckets {
		_, p, err := w.page(bdbHash)
		if err != nil {
			return nil, err
		}
		binary.LittleEndian.PutUint16(p[22:], bdbPageBytes)
	}
	byBucket := make([][]bdbPair, buckets)
	for _, p := range pairs {
		b := bdbHashOf(p.key) & mask
		byBucket[b] = append(byBucket[b], p)
	}
	for b, list := range byBucket {
		slices.SortFunc(list, func(x, y bdbPair) int { return bdbOrder(x.key, y.key) })
		if err := w.fill(uint32(b)+1, list); err != nil {
			return nil, err
		}
	}
	le := binary.LittleEndian
	id := sha1.Sum([]byte(name))
	copy(meta[52:], id[:])
	for _, f := range []struct {
		at    int
		value uint32
	}{
		{12, bdbHashMagic}, {16, bdbVersion}, {20, bdbPageBytes}, {32, uint32(len(w.pages) - 1)},
		{72, mask}, {76, mask}, {80, mask >> 1}, {88, uint32(len(pairs))}, {92, bdbHashOf([]byte(bdbCharKey))},
	} {
		le.PutUint32(meta[f.at:], f.value)
	}
	for i := range bits.Len32(mask) + 1 {
		le.PutUint32(meta[96+4*i:], 1) // a bucket's page is its number and this
	}
	return bytes.Join(w.pages, nil), nil
}

// fill puts a bucket's pairs on its page, and on further ones behind it.
func (w *bdbWriter) fill(n uint32, list []bdbPair) error {
	le := binary.LittleEndian
	p := w.pages[n]
	count, end := 0, bdbPageBytes
	for _, pair := range list {
		key, err := w.item(pair.key)
		if err != nil {
			return err
		}
		value, err := w.item(pair.value)
		if err != nil {
			return err
		}
		if bdbPageHead+2*(count+2) > end-len(key)-len(value) {
			next, q, err := w.page(bdbHash)
			if err != nil {
				return err
			}
			le.PutUint32(p[16:], next)
			le.PutUint32(q[12:], n)
			n, p, count, end = next, q, 0, bdbPageBytes
		}
		for _, item := range [][]byte{key, value} {
			end -= len(item)
			copy(p[end:], item)
			le.PutUint16(p[bdbPageHead+2*count:], uint16(end))
			count++
		}
		le.PutUint16(p[20:], uint16(count))
		le.PutUint16(p[22:], uint16(end))
	}
	return nil
}

// item is a key or value as it lies on a page; a long one is put on pages of its own.
func (w *bdbWriter) item(data []byte) ([]byte, error) {
	if len(data) <= bdbInline {
		return append([]byte{bdbKeyData}, data...), nil
	}
	le := binary.LittleEndian
	item := make([]byte, bdbOffBytes)
	item[0] = bdbOffPage
	le.PutUint32(item[4:], uint32(len(w.pages)))
	le.PutUint32(item[8:], uint32(len(data)))
	var before uint32
	for rest := data; len(rest) > 0; {
		n, p, err := w.page(bdbOverflow)
		if err != nil {
			return nil, err
		}
		used := copy(p[bdbPageHead:], rest)
		rest = rest[used:]
		le.PutUint16(p[20:], 1) // references
		le.PutUint16(p[22:], uint16(used))
		if before != 0 {
			le.PutUint32(p[12:], before)
			le.PutUint32(w.pages[before][16:], n)
		}
		before = n
	}
	return item, nil
}

// bdbOrder is the order of keys on a page, which are looked up by halving: of two that begin alike, the longer comes first.
//
//	source  Berkeley DB src/hash/hash_page.c (__ham_getindex_sorted)
func bdbOrder(x, y []byte) int {
	n := min(len(x), len(y))
	if c := bytes.Compare(x[:n], y[:n]); c != 0 {
		return c
	}
	return len(y) - len(x)
}
