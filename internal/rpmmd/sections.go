// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"
)

// The compact forms in the cache are files of a few sections:
//
//	magic     16 bytes, with the version
//	lengths   of the sections, 8 bytes each, little-endian; then the CRC-32C of what stands before
//	sections  behind each its CRC-32C, so that several processors check them at once

var errDamaged = errors.New("damaged cache")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const magicBytes = 16

// headBytes is where the first of n sections begins.
func headBytes(n int) int { return magicBytes + 8*n + 4 }

func writeSections(w io.Writer, magic string, all [][]byte) error {
	head := []byte(magic)
	for _, s := range all {
		if uint64(len(s)) > math.MaxUint32 {
			return fmt.Errorf("metadata of %d bytes is too large for the cache", len(s))
		}
		head = binary.LittleEndian.AppendUint64(head, uint64(len(s)))
	}
	for _, s := range append([][]byte{head}, all...) {
		if _, err := w.Write(s); err != nil {
			return err
		}
		if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(s, castagnoli))); err != nil {
			return err
		}
	}
	return nil
}

// readSections finds n sections in data and checks them.
//
//	errors  errDamaged
func readSections(magic string, data []byte, n int) ([][]byte, error) {
	le, first := binary.LittleEndian, headBytes(n)
	if len(data) < first || string(data[:magicBytes]) != magic || le.Uint32(data[first-4:]) != crc32.Checksum(data[:first-4], castagnoli) {
		return nil, errDamaged
	}
	all, bad := make([][]byte, n), make([]bool, n)
	rest := data[first:]
	var wait sync.WaitGroup
	defer wait.Wait()
	for i := range all {
		size := le.Uint64(data[magicBytes+8*i:])
		if size > math.MaxUint32 || uint64(len(rest)) < size+4 {
			return nil, errDamaged
		}
		all[i] = rest[:size:size]
		sum := le.Uint32(rest[size:])
		rest = rest[size+4:]
		wait.Go(func() { bad[i] = crc32.Checksum(all[i], castagnoli) != sum })
	}
	wait.Wait()
	for _, b := range bad {
		if b {
			return nil, errDamaged
		}
	}
	if len(rest) > 0 {
		return nil, errDamaged
	}
	return all, nil
}
