// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"os"
)

// Numbers of the ndb format; all integers little endian.
//
//	source  rpm lib/backend/ndb/rpmpkg.c
const (
	ndbMagic      = 'R' | 'p'<<8 | 'm'<<16 | 'P'<<24
	ndbSlotMagic  = 'S' | 'l'<<8 | 'o'<<16 | 't'<<24
	ndbBlobMagic  = 'B' | 'l'<<8 | 'b'<<16 | 'S'<<24
	ndbTailMagic  = 'B' | 'l'<<8 | 'b'<<16 | 'E'<<24
	ndbPageBytes  = 4096
	ndbSlotBytes  = 16
	ndbBlockBytes = 16
	ndbHeadBytes  = 32 // two slots wide
	ndbBlobHead   = 16 // magic, package, generation, length
	ndbBlobTail   = 12 // adler32, length, magic
)

// readNDB reads Packages.db: a header, pages of slots (magic, package, block, blocks), and the blobs that the slots point to.
func readNDB(path string) ([]blob, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseNDB(data)
}

func parseNDB(data []byte) ([]blob, error) {
	le := binary.LittleEndian
	if len(data) < ndbHeadBytes || le.Uint32(data) != ndbMagic {
		return nil, fmt.Errorf("no ndb magic")
	}
	if v := le.Uint32(data[4:]); v != 0 {
		return nil, fmt.Errorf("ndb version %d, want 0", v)
	}
	end := uint64(le.Uint32(data[12:])) * ndbPageBytes
	if end == 0 || end > uint64(len(data)) {
		return nil, fmt.Errorf("%d bytes of slots, file has %d", end, len(data))
	}
	var blobs []blob
	for at := uint64(ndbHeadBytes); at < end; at += ndbSlotBytes {
		slot := data[at:]
		if le.Uint32(slot) != ndbSlotMagic {
			return nil, fmt.Errorf("slot at %d: magic %08x, want %08x", at, le.Uint32(slot), ndbSlotMagic)
		}
		hnum := le.Uint32(slot[4:])
		if hnum == 0 {
			continue
		}
		if len(blobs) >= maxPackages {
			return nil, errTooMany(len(blobs) + 1)
		}
		b, err := ndbBlob(data, hnum, uint64(le.Uint32(slot[8:]))*ndbBlockBytes)
		if err != nil {
			return nil, fmt.Errorf("package %d: %w", hnum, err)
		}
		blobs = append(blobs, blob{hnum, b})
	}
	return blobs, nil
}

func ndbBlob(data []byte, hnum uint32, at uint64) ([]byte, error) {
	le := binary.LittleEndian
	if at+ndbBlobHead+ndbBlobTail > uint64(len(data)) {
		return nil, fmt.Errorf("blob at %d, file has %d bytes", at, len(data))
	}
	head := data[at:]
	if le.Uint32(head) != ndbBlobMagic || le.Uint32(head[4:]) != hnum {
		return nil, fmt.Errorf("blob at %d: magic %08x package %d", at, le.Uint32(head), le.Uint32(head[4:]))
	}
	n := uint64(le.Uint32(head[12:]))
	blocks := (ndbBlobHead + n + ndbBlobTail + ndbBlockBytes - 1) / ndbBlockBytes
	whole := blocks * ndbBlockBytes
	if n > maxBlobBytes || whole > uint64(len(head)) {
		return nil, fmt.Errorf("blob at %d: %d bytes, file ends after %d", at, n, len(head))
	}
	tail := head[whole-ndbBlobTail : whole]
	if le.Uint32(tail[8:]) != ndbTailMagic || uint64(le.Uint32(tail[4:])) != n {
		return nil, fmt.Errorf("blob at %d: tail magic %08x length %d, want %d", at, le.Uint32(tail[8:]), le.Uint32(tail[4:]), n)
	}
	if sum := adler32.Checksum(head[:whole-ndbBlobTail]); sum != le.Uint32(tail) {
		return nil, fmt.Errorf("blob at %d: checksum %08x, want %08x", at, sum, le.Uint32(tail))
	}
	return head[ndbBlobHead : ndbBlobHead+n : ndbBlobHead+n], nil
}
