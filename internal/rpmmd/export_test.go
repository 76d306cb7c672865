// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"reflect"

	"grove/internal/rpm"
)

// What the fuzz targets need of the inside.

func FuzzedRepomd(data []byte) error {
	r, err := parseRepomd(data)
	if err != nil {
		return nil
	}
	for kind, f := range r.files {
		if f.digest.Hex == "" || f.location == "" || f.size < 0 || f.openSize < 0 {
			return fmt.Errorf("%s: %+v", kind, f)
		}
	}
	return nil
}

func FuzzedMetalink(data []byte) error {
	m, err := parseMetalink(data)
	for _, b := range m.bases {
		if err == nil && !remoteURL(b) {
			return fmt.Errorf("base %q", b)
		}
	}
	return nil
}

// ParseCut is ParsePrimary in pieces of size bytes.
func ParseCut(data []byte, size int) ([]rpm.Meta, error) {
	return parsePrimary(bytes.NewReader(data), size)
}

func Location(href, base string) (string, error) { return location(href, base) }

func Pack(p []rpm.Meta, g []Group, e []Environment) []byte {
	data, err := packed(content{p, extras{Groups: g, Environments: e}})
	if err != nil {
		panic(err)
	}
	return data
}

func packed(c content) ([]byte, error) {
	all, err := pack(c)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writeSections(&b, cacheMagic, all)
	return b.Bytes(), err
}

// Seal puts the right magic and checksums into a damaged compact form, so that what lies behind them is tried.
func Seal(data []byte) []byte { return seal(data, cacheMagic, sections) }

func seal(data []byte, magic string, n int) []byte {
	le := binary.LittleEndian
	out, first := bytes.Clone(data), headBytes(n)
	if len(out) < first {
		return out
	}
	copy(out, magic)
	le.PutUint32(out[first-4:], crc32.Checksum(out[:first-4], castagnoli))
	at := uint64(first)
	for i := range n {
		n := le.Uint64(out[magicBytes+8*i:])
		if n > uint64(len(out)) || at+n+4 > uint64(len(out)) {
			return out
		}
		le.PutUint32(out[at+n:], crc32.Checksum(out[at:at+n], castagnoli))
		at += n + 4
	}
	return out
}

func FuzzedUnpack(data []byte) error {
	c, err := unpack(data, &slab{})
	if err != nil {
		return nil
	}
	again, err := packed(c)
	if err != nil {
		return err
	}
	c2, err := unpack(again, &slab{})
	if err != nil || !reflect.DeepEqual(c, c2) {
		return fmt.Errorf("does not come back: %v", err)
	}
	return nil
}

// Index is the compact form of filelists.xml.
func Index(xml []byte) ([]byte, error) {
	w := newIndexer()
	if err := ParseFilelists(bytes.NewReader(xml), nil, w.add); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := writeSections(&b, indexMagic, w.fileIndex[:])
	return b.Bytes(), err
}

func SealIndex(data []byte) []byte { return seal(data, indexMagic, indexSections) }

// InIndex is what an index has of wanted, nil = of all.
func InIndex(data []byte, globs []string, wanted ...string) (map[string][]string, error) {
	x, err := openIndex(data)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	return found, x.each(newWanted(wanted, globs), func(id string, files []string) error {
		found[id] = append(found[id], files...)
		return nil
	})
}
