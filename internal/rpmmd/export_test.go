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
	data, err := pack(content{p, extras{Groups: g, Environments: e}})
	if err != nil {
		panic(err)
	}
	return data
}

// Seal puts the right checksums into a damaged compact form, so that what lies behind them is tried.
func Seal(data []byte) []byte {
	le := binary.LittleEndian
	out := bytes.Clone(data)
	if len(out) < cacheHead {
		return out
	}
	copy(out, cacheMagic)
	le.PutUint32(out[cacheHead-4:], crc32.Checksum(out[:cacheHead-4], castagnoli))
	at := uint64(cacheHead)
	for i := range sections {
		n := le.Uint64(out[len(cacheMagic)+8*i:])
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
	again, err := pack(c)
	if err != nil {
		return err
	}
	c2, err := unpack(again, &slab{})
	if err != nil || !reflect.DeepEqual(c, c2) {
		return fmt.Errorf("does not come back: %v", err)
	}
	return nil
}
