// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Numbers of Berkeley DB's hash format; integers in the byte order of the machine that made it.
//
//	source  Berkeley DB src/dbinc/db_page.h
const (
	bdbHashMagic    = 0x061561
	bdbPageHead     = 26
	bdbHashUnsorted = 2 // page types
	bdbOverflow     = 7
	bdbHashMeta     = 8
	bdbHash         = 13
	bdbKeyData      = 1 // item types
	bdbOffPage      = 3
)

// readBDB reads Packages: a Berkeley DB hash from package number to header. Key 0 holds the highest number.
func readBDB(path string) ([]blob, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseBDB(data)
}

type bdbFile struct {
	data  []byte
	order binary.ByteOrder
	size  uint32 // of a page
	taken uint64 // bytes of overflow pages read so far
}

func parseBDB(data []byte) ([]blob, error) {
	if len(data) < 512 {
		return nil, fmt.Errorf("%d bytes are no Berkeley DB", len(data))
	}
	f := bdbFile{data: data, order: binary.LittleEndian}
	if binary.BigEndian.Uint32(data[12:]) == bdbHashMagic {
		f.order = binary.BigEndian
	}
	if m := f.order.Uint32(data[12:]); m != bdbHashMagic || data[25] != bdbHashMeta {
		return nil, fmt.Errorf("magic %08x type %d, want a Berkeley DB hash", m, data[25])
	}
	if data[24] != 0 {
		return nil, fmt.Errorf("encrypted with algorithm %d", data[24])
	}
	f.size = f.order.Uint32(data[20:])
	if f.size < 512 || f.size > 65536 || f.size&(f.size-1) != 0 {
		return nil, fmt.Errorf("page size %d", f.size)
	}
	var blobs []blob
	for n := uint32(1); n < uint32(uint64(len(data))/uint64(f.size)); n++ {
		page := f.page(n)
		if page[25] != bdbHash && page[25] != bdbHashUnsorted {
			continue
		}
		found, err := f.items(page)
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", n, err)
		}
		if blobs = append(blobs, found...); len(blobs) > maxPackages {
			return nil, errTooMany(len(blobs))
		}
	}
	return blobs, nil
}

// page gives page n, which the caller knows to be within the file.
func (f *bdbFile) page(n uint32) []byte {
	at := uint64(n) * uint64(f.size)
	return f.data[at : at+uint64(f.size)]
}

// items reads the pairs of key and value of a hash page. An item ends where the one before it begins; the first ends with the page.
func (f *bdbFile) items(page []byte) ([]blob, error) {
	count := int(f.order.Uint16(page[20:]))
	if bdbPageHead+2*count > len(page) || count%2 != 0 {
		return nil, fmt.Errorf("%d items", count)
	}
	var blobs []blob
	end := len(page)
	next := func(i int) ([]byte, error) {
		at := int(f.order.Uint16(page[bdbPageHead+2*i:]))
		if at < bdbPageHead+2*count || at >= end {
			return nil, fmt.Errorf("item %d at %d, want up to %d", i, at, end)
		}
		item := page[at:end]
		end = at
		return item, nil
	}
	for i := 0; i < count; i += 2 {
		key, err := next(i)
		if err != nil {
			return nil, err
		}
		value, err := next(i + 1)
		if err != nil {
			return nil, err
		}
		if len(key) != 5 || key[0] != bdbKeyData {
			return nil, fmt.Errorf("item %d: key of type %d and %d bytes, want a package number", i, key[0], len(key)-1)
		}
		hnum := f.order.Uint32(key[1:])
		if hnum == 0 {
			continue
		}
		data, err := f.value(value)
		if err != nil {
			return nil, fmt.Errorf("package %d: %w", hnum, err)
		}
		blobs = append(blobs, blob{hnum, data})
	}
	return blobs, nil
}

func (f *bdbFile) value(item []byte) ([]byte, error) {
	switch {
	case item[0] == bdbKeyData:
		return item[1:len(item):len(item)], nil
	case item[0] == bdbOffPage && len(item) >= 12:
		return f.chain(f.order.Uint32(item[4:]), f.order.Uint32(item[8:]))
	}
	return nil, fmt.Errorf("value of type %d and %d bytes", item[0], len(item))
}

// chain collects a value from overflow pages. What all chains together take cannot exceed the file, or some share pages.
func (f *bdbFile) chain(n, want uint32) ([]byte, error) {
	if f.taken += uint64(want); want > maxBlobBytes || f.taken > uint64(len(f.data)) {
		return nil, fmt.Errorf("value of %d bytes, file has %d", want, len(f.data))
	}
	out := make([]byte, 0, want)
	for uint32(len(out)) < want {
		if n == 0 || uint64(n)+1 > uint64(len(f.data))/uint64(f.size) {
			return nil, fmt.Errorf("value of %d bytes breaks off after %d: page %d", want, len(out), n)
		}
		page := f.page(n)
		length := f.order.Uint16(page[22:])
		if page[25] != bdbOverflow || length == 0 || int(length) > len(page)-bdbPageHead || uint32(len(out))+uint32(length) > want {
			return nil, fmt.Errorf("value of %d bytes: page %d of type %d has %d", want, n, page[25], length)
		}
		out = append(out, page[bdbPageHead:bdbPageHead+int(length)]...)
		n = f.order.Uint32(page[16:])
	}
	return out, nil
}
