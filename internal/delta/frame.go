// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"
	"io"

	"grove/internal/ostree"
)

// Superblocks may hold their parts, and parts are files larger than memory should be: their outermost GVariant framing is
// read here, in place, and only what is small goes through package gvariant.

// corruptf makes an error that wraps ostree.ErrCorrupt.
func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, args...), ostree.ErrCorrupt)
}

// span is a run of bytes in a file.
type span struct {
	r         io.ReaderAt
	off, size int64
}

// load reads a span into memory.
func (s span) load(what string, limit int64) ([]byte, error) {
	if s.size > limit {
		return nil, corruptf("%s has %d bytes, at most %d allowed", what, s.size, limit)
	}
	data := make([]byte, s.size)
	if err := s.readAt(data, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return data, nil
}

func (s span) readAt(p []byte, off int64) error {
	n, err := s.r.ReadAt(p, s.off+off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s span) section() *io.SectionReader { return io.NewSectionReader(s.r, s.off, s.size) }

// sub gives the bytes [from, to) of s.
func (s span) sub(from, to int64) (span, error) {
	if from < 0 || from > to || to > s.size {
		return span{}, corruptf("bytes %d to %d of %d", from, to, s.size)
	}
	return span{s.r, s.off + from, to - from}, nil
}

// offsetWidth is the width of framing offsets in a container of that size.
//
//	source  GVariant Specification 1.0, section 3.2
func offsetWidth(size int64) int64 {
	switch {
	case size <= 0xff:
		return 1
	case size <= 0xffff:
		return 2
	case size <= 0xffffffff:
		return 4
	}
	return 8
}

// appendOffsets closes a container with bodySize bytes before its framing offsets.
func appendOffsets(dst []byte, bodySize int64, ends ...int64) []byte {
	width := int64(8)
	for _, w := range []int64{1, 2, 4} {
		if offsetWidth(bodySize+int64(len(ends))*w) <= w {
			width = w
			break
		}
	}
	for _, e := range ends {
		for i := int64(0); i < width; i++ {
			dst = append(dst, byte(uint64(e)>>(8*i)))
		}
	}
	return dst
}

func offsetAt(b []byte) int64 {
	var n uint64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return int64(n)
}

// tail reads the n last framing offsets of a container, the very last first: in a tuple that is the order of its members.
// It returns also where they begin.
func (s span) tail(n int64) (ends []int64, table int64, err error) {
	w := offsetWidth(s.size)
	if table = s.size - n*w; table < 0 {
		return nil, 0, corruptf("%d bytes are too few for %d framing offsets", s.size, n)
	}
	buf := make([]byte, n*w)
	if err := s.readAt(buf, table); err != nil {
		return nil, 0, err
	}
	for i := n - 1; i >= 0; i-- {
		end := offsetAt(buf[i*w : i*w+w])
		if end < 0 || end > table {
			return nil, 0, corruptf("framing offset %d of %d bytes", end, s.size)
		}
		ends = append(ends, end)
	}
	return ends, table, nil
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

// Limits of a dictionary that is read in place.
const (
	maxDictEntries  = 1 << 16
	maxDictKeyLen   = 4096
	maxVariantType  = 255
	maxDictValueLen = 16 << 20 // of one value that is loaded: detached metadata holds signatures
)

// dictEntry is one entry of an a{sv} that lies in a file: the value's type and where it is.
type dictEntry struct {
	key, typ string
	value    span
}

// dict finds the entries of an a{sv} without reading their values.
func (s span) dict() ([]dictEntry, error) {
	if s.size == 0 {
		return nil, nil
	}
	last, _, err := s.tail(1)
	if err != nil {
		return nil, err
	}
	w, table := offsetWidth(s.size), last[0]
	n := (s.size - table) / w
	if (s.size-table)%w != 0 || n == 0 || n > maxDictEntries {
		return nil, corruptf("dictionary of %d bytes with %d bytes of framing offsets", s.size, s.size-table)
	}
	offsets := make([]byte, n*w)
	if err := s.readAt(offsets, table); err != nil {
		return nil, err
	}
	var entries []dictEntry
	end := int64(0)
	for i := range n {
		start := align8(end)
		end = offsetAt(offsets[i*w : i*w+w])
		if end > table {
			return nil, corruptf("dictionary entry %d ends at %d of %d", i, end, table)
		}
		in, err := s.sub(start, end)
		if err != nil {
			return nil, err
		}
		e, err := in.entry()
		if err != nil {
			return nil, fmt.Errorf("dictionary entry %d: %w", i, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// entry reads a {sv}: key, NUL, padding, value, NUL, type, and one framing offset.
func (s span) entry() (e dictEntry, err error) {
	ends, table, err := s.tail(1)
	if err != nil {
		return e, err
	}
	keyEnd := ends[0]
	if keyEnd < 1 || keyEnd > maxDictKeyLen {
		return e, corruptf("key of %d bytes, wanted 1 to %d", keyEnd, maxDictKeyLen)
	}
	key := make([]byte, keyEnd)
	if err := s.readAt(key, 0); err != nil {
		return e, err
	}
	v, err := s.sub(align8(keyEnd), table)
	if err != nil {
		return e, err
	}
	foot := make([]byte, min(v.size, maxVariantType+1))
	if err := v.readAt(foot, v.size-int64(len(foot))); err != nil {
		return e, err
	}
	nul := len(foot) - 1
	for nul >= 0 && foot[nul] != 0 {
		nul--
	}
	if nul < 0 || key[keyEnd-1] != 0 {
		return e, corruptf("key %.80q or the type of its value has no NUL", key)
	}
	e.key, e.typ = string(key[:keyEnd-1]), string(foot[nul+1:])
	e.value, err = v.sub(0, v.size-int64(len(foot)-nul))
	return e, err
}
