// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of a header. rpm itself refuses beyond them (lib/header.cc, hdrchkTags and hdrchkData; for signature
// headers lib/header.cc, hdrblobRead), so no package in use can be larger.
const (
	maxHeaderTags  = 0xffff
	maxHeaderBytes = 256<<20 - 1
	maxSigTags     = 32 + 32 // rpm allows 32; some signers of old left a few more
	maxSigBytes    = 64<<20 - 1
	maxStrings     = 4 << 20 // in one array; each costs 16 bytes of memory for as little as one byte of input
)

const (
	entryBytes  = 16 // tag, type, offset, count: big endian uint32 each
	prefixBytes = 8  // il, dl
)

// headerMagic opens a header in a package file; blobs in an rpmdb lack it.
var headerMagic = [8]byte{0: 0x8e, 0xad, 0xe8, 0x01}

// ErrNotHeader says that the bytes do not begin as a header (of a package) does.
var ErrNotHeader = errors.New("no header magic")

type entry struct {
	tag, typ uint32
	off, cnt uint32
	end      uint32 // data[off:end] are the values
}

// Header is one parsed header: an index of tags over a block of data. It is immutable and safe for concurrent use.
//
//	shape   blob = il, dl (uint32 big endian), il entries of (tag, type, offset, count), dl bytes of data
//	source  rpm docs/manual/format_header.md; lib/header.cc, hdrblobVerifyInfo
type Header struct {
	blob    []byte
	data    []byte
	entries []entry // sorted by tag; of equal tags only the last stays
	order   []uint32
	region  uint32 // 0: none
	ril     int    // entries inside the region, its own included
	rdl     int    // data bytes inside the region
}

// ParseHeader reads a blob without magic, as it lies in an rpmdb and in a package behind the 8 bytes of magic. The
// Header keeps data: the caller must not change it any more.
//
//	errors  text only; every entry that lies outside the data, is misaligned, overlaps or has no terminator is one
func ParseHeader(data []byte) (*Header, error) {
	if len(data) < prefixBytes {
		return nil, fmt.Errorf("header: %d bytes, want at least %d", len(data), prefixBytes)
	}
	il, dl := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
	if il < 1 || il > maxHeaderTags {
		return nil, fmt.Errorf("header: %d entries, want 1 to %d", il, maxHeaderTags)
	}
	if dl > maxHeaderBytes {
		return nil, fmt.Errorf("header: %d bytes of data, limit %d", dl, maxHeaderBytes)
	}
	if want := prefixBytes + int(il)*entryBytes + int(dl); len(data) != want {
		return nil, fmt.Errorf("header: %d bytes, want %d for %d entries and %d bytes of data", len(data), want, il, dl)
	}
	h := &Header{blob: data, data: data[prefixBytes+int(il)*entryBytes:], entries: make([]entry, il)}
	for i := range h.entries {
		b := data[prefixBytes+i*entryBytes:]
		h.entries[i] = entry{
			tag: binary.BigEndian.Uint32(b), typ: binary.BigEndian.Uint32(b[4:]),
			off: binary.BigEndian.Uint32(b[8:]), cnt: binary.BigEndian.Uint32(b[12:]),
		}
	}
	if err := h.checkRegion(); err != nil {
		return nil, err
	}
	if err := h.checkEntries(); err != nil {
		return nil, err
	}
	h.index()
	return h, nil
}

// checkRegion verifies the region entry and its trailer, if the header begins with one.
func (h *Header) checkRegion() error {
	e := &h.entries[0]
	switch e.tag {
	case TagHeaderImage, TagHeaderSignatures, TagHeaderImmutable:
	default:
		return nil
	}
	if e.typ != TypeBin || e.cnt != entryBytes {
		return fmt.Errorf("header: region tag %d: type %d count %d, want %d and %d", e.tag, e.typ, e.cnt, TypeBin, entryBytes)
	}
	if e.off == 0 { // rpm before 3.0.4 left it so: the region is the whole
		h.region, h.ril, h.rdl = e.tag, len(h.entries), len(h.data)
		e.end = 0
		return nil
	}
	if uint64(e.off)+entryBytes > uint64(len(h.data)) {
		return fmt.Errorf("header: region tag %d: trailer at %d, data ends at %d", e.tag, e.off, len(h.data))
	}
	t := h.data[e.off:]
	tag, typ, cnt := binary.BigEndian.Uint32(t), binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[12:])
	off := int64(int32(binary.BigEndian.Uint32(t[8:])))
	// In signature headers of old the trailer calls itself an image (lib/header.cc, hdrblobVerifyRegion).
	if tag != e.tag && !(e.tag == TagHeaderSignatures && tag == TagHeaderImage) || typ != TypeBin || cnt != entryBytes {
		return fmt.Errorf("header: region tag %d: trailer names tag %d type %d count %d", e.tag, tag, typ, cnt)
	}
	if -off%entryBytes != 0 || -off/entryBytes < 1 || -off/entryBytes > int64(len(h.entries)) {
		return fmt.Errorf("header: region tag %d: trailer points %d back, have %d entries", e.tag, -off, len(h.entries))
	}
	h.region, h.ril, h.rdl = e.tag, int(-off/entryBytes), int(e.off)+entryBytes
	e.end = e.off + entryBytes
	return nil
}

// checkEntries finds the end of each entry's values and refuses those that do not fit.
func (h *Header) checkEntries() error {
	end := uint32(0)
	for i := range h.entries {
		if i == 0 && h.region != 0 {
			continue
		}
		e := &h.entries[i]
		if h.region != 0 && i == h.ril && h.rdl > int(end) {
			end = uint32(h.rdl) // dribbles lie behind the region
		}
		if e.tag < TagHeaderI18NTable {
			return fmt.Errorf("header: entry %d: tag %d is reserved", i, e.tag)
		}
		limit := len(h.data)
		if i < h.ril {
			limit = h.rdl
		}
		if e.off < end || int64(e.off) > int64(limit) {
			return fmt.Errorf("header: tag %d: data at %d, want %d to %d", e.tag, e.off, end, limit)
		}
		n, err := valuesLength(e, h.data[e.off:limit])
		if err != nil {
			return fmt.Errorf("header: tag %d: %w", e.tag, err)
		}
		e.end = e.off + uint32(n)
		end = e.end
	}
	return nil
}

func valuesLength(e *entry, data []byte) (int, error) {
	size := uint64(1)
	switch e.typ {
	case TypeInt16:
		size = 2
	case TypeInt32:
		size = 4
	case TypeInt64:
		size = 8
	case TypeChar, TypeInt8, TypeBin:
	case TypeString, TypeStringArray, TypeI18NString:
		return stringsLength(e, data)
	case TypeNull:
		return 0, nil
	default:
		return 0, fmt.Errorf("type %d, want %d to %d", e.typ, TypeNull, TypeI18NString)
	}
	if uint64(e.off)%size != 0 {
		return 0, fmt.Errorf("offset %d is not a multiple of %d", e.off, size)
	}
	if uint64(e.cnt)*size > uint64(len(data)) {
		return 0, fmt.Errorf("%d values of %d bytes, %d bytes left", e.cnt, size, len(data))
	}
	return int(uint64(e.cnt) * size), nil
}

func stringsLength(e *entry, data []byte) (int, error) {
	if e.typ == TypeString && e.cnt != 1 {
		return 0, fmt.Errorf("string with count %d, want 1", e.cnt)
	}
	if limit := min(len(data), maxStrings); int64(e.cnt) > int64(limit) {
		return 0, fmt.Errorf("%d strings, limit %d", e.cnt, limit)
	}
	n := 0
	for range e.cnt {
		i := bytes.IndexByte(data[n:], 0)
		if i < 0 {
			return 0, errors.New("string without terminator")
		}
		n += i + 1
	}
	return n, nil
}

// index sorts the entries by tag. Of equal tags the last one counts, as dribbles replace what the region holds.
func (h *Header) index() {
	h.order = make([]uint32, len(h.entries))
	for i, e := range h.entries {
		h.order[i] = e.tag
	}
	slices.SortStableFunc(h.entries, func(a, b entry) int { return int(int64(a.tag) - int64(b.tag)) })
	kept := h.entries[:0]
	for _, e := range h.entries {
		if n := len(kept); n > 0 && kept[n-1].tag == e.tag {
			kept[n-1] = e
			continue
		}
		kept = append(kept, e)
	}
	h.entries = kept
}

// readHeader reads a header with its magic from a package. The memory grows with what really arrives.
func readHeader(r io.Reader, maxTags, maxBytes uint32) (*Header, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, unexpected(err)
	}
	if !bytes.Equal(head[:4], headerMagic[:4]) {
		return nil, fmt.Errorf("%w: got % x, want % x", ErrNotHeader, head[:4], headerMagic[:4])
	}
	il, dl := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if il > maxTags || dl > maxBytes {
		return nil, fmt.Errorf("header: %d entries and %d bytes of data, limits %d and %d", il, dl, maxTags, maxBytes)
	}
	blob, err := readBounded(r, head[8:], int(il)*entryBytes+int(dl))
	if err != nil {
		return nil, err
	}
	return ParseHeader(blob)
}

// readBounded appends n bytes of r to a copy of head, without trusting n before the bytes are there.
func readBounded(r io.Reader, head []byte, n int) ([]byte, error) {
	const step = 1 << 20 // what a lying length can cost at most beyond what was sent
	total := len(head) + n
	out := make([]byte, len(head), min(total, step))
	copy(out, head)
	for len(out) < total {
		if len(out) == cap(out) {
			out = slices.Grow(out, min(total-len(out), max(len(out), step)))
		}
		k, err := io.ReadFull(r, out[len(out):min(cap(out), total)])
		out = out[:len(out)+k]
		if err != nil {
			return nil, unexpected(err)
		}
	}
	return out, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Blob gives the header as it was read, without magic. The caller must not change it.
func (h *Header) Blob() []byte { return h.blob }

// Region gives the tag of the immutable region (TagHeaderImmutable, TagHeaderSignatures or TagHeaderImage; 0 = none)
// and how many index entries, its own included, and bytes of data it spans. A package's signatures cover the region.
func (h *Header) Region() (tag uint32, entries, dataBytes int) { return h.region, h.ril, h.rdl }

// Immutable gives the bytes that a package's signatures and header digests cover: magic, counts, entries and data of
// the immutable region; the whole header where there is no region. For a header from an rpmdb it leaves out what the
// installation added.
//
//	source  rpm lib/package.cc, headerSigVerify; lib/header.cc, copyTdEntry
func (h *Header) Immutable() []byte {
	il, dl := len(h.order), len(h.data)
	if h.region != 0 {
		il, dl = h.ril, h.rdl
	}
	out := make([]byte, 0, prefixBytes+len(headerMagic)+il*entryBytes+dl)
	out = append(out, headerMagic[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(il))
	out = binary.BigEndian.AppendUint32(out, uint32(dl))
	out = append(out, h.blob[prefixBytes:prefixBytes+il*entryBytes]...)
	return append(out, h.data[:dl]...)
}

// Complete tells whether the immutable region spans all of the header, as it does in a package file.
func (h *Header) Complete() bool {
	return h.region != 0 && h.ril == len(h.order) && h.rdl == len(h.data)
}

// Tags gives the tags in the order of the index, region tag included.
func (h *Header) Tags() []uint32 { return slices.Clone(h.order) }

func (h *Header) find(tag uint32) (entry, bool) {
	i, ok := slices.BinarySearchFunc(h.entries, tag, func(e entry, t uint32) int { return int(int64(e.tag) - int64(t)) })
	if !ok {
		return entry{}, false
	}
	return h.entries[i], true
}

// Has tells whether the tag is there, with any type.
func (h *Header) Has(tag uint32) bool { _, ok := h.find(tag); return ok }

// Raw gives a value as it lies in the header: its type, its count and its bytes (big endian; strings each with the
// final NUL). The caller must not change the bytes.
func (h *Header) Raw(tag uint32) (typ, count uint32, data []byte, ok bool) {
	e, ok := h.find(tag)
	if !ok {
		return 0, 0, nil, false
	}
	return e.typ, e.cnt, h.data[e.off:e.end:e.end], true
}

// String gives a string, or the first of several (of a translated string that is the untranslated one); "" if there is none.
func (h *Header) String(tag uint32) string {
	e, ok := h.find(tag)
	if !ok || e.cnt == 0 || !isString(e.typ) {
		return ""
	}
	b := h.data[e.off:e.end]
	return string(b[:bytes.IndexByte(b, 0)])
}

// Strings gives all strings of a tag, nil if there are none.
func (h *Header) Strings(tag uint32) []string {
	e, ok := h.find(tag)
	if !ok || e.cnt == 0 || !isString(e.typ) {
		return nil
	}
	all := string(h.data[e.off:e.end]) // one allocation for all of them
	out := make([]string, e.cnt)
	for i := range out {
		n := 0
		for all[n] != 0 {
			n++
		}
		out[i], all = all[:n], all[n+1:]
	}
	return out
}

func isString(typ uint32) bool {
	return typ == TypeString || typ == TypeStringArray || typ == TypeI18NString
}

// Uint32s gives the integers of a tag of 8, 16 or 32 bits, nil if there are none.
func (h *Header) Uint32s(tag uint32) []uint32 {
	e, ok := h.find(tag)
	if !ok || e.cnt == 0 {
		return nil
	}
	b := h.data[e.off:e.end]
	switch e.typ {
	case TypeChar, TypeInt8:
		out := make([]uint32, e.cnt)
		for i := range out {
			out[i] = uint32(b[i])
		}
		return out
	case TypeInt16:
		out := make([]uint32, e.cnt)
		for i := range out {
			out[i] = uint32(binary.BigEndian.Uint16(b[2*i:]))
		}
		return out
	case TypeInt32:
		out := make([]uint32, e.cnt)
		for i := range out {
			out[i] = binary.BigEndian.Uint32(b[4*i:])
		}
		return out
	}
	return nil
}

// Uint64s gives the integers of a tag of 8 to 64 bits, nil if there are none.
func (h *Header) Uint64s(tag uint32) []uint64 {
	e, ok := h.find(tag)
	if !ok || e.cnt == 0 {
		return nil
	}
	if e.typ == TypeInt64 {
		b := h.data[e.off:e.end]
		out := make([]uint64, e.cnt)
		for i := range out {
			out[i] = binary.BigEndian.Uint64(b[8*i:])
		}
		return out
	}
	small := h.Uint32s(tag)
	if small == nil {
		return nil
	}
	out := make([]uint64, len(small))
	for i, v := range small {
		out[i] = uint64(v)
	}
	return out
}

// Uint32 gives the first integer of a tag.
func (h *Header) Uint32(tag uint32) (uint32, bool) {
	v, ok := h.Uint64(tag)
	return uint32(v), ok && v <= 0xffffffff
}

// Uint64 gives the first integer of a tag.
func (h *Header) Uint64(tag uint32) (uint64, bool) {
	e, ok := h.find(tag)
	if !ok || e.cnt == 0 {
		return 0, false
	}
	b := h.data[e.off:e.end]
	switch e.typ {
	case TypeChar, TypeInt8:
		return uint64(b[0]), true
	case TypeInt16:
		return uint64(binary.BigEndian.Uint16(b)), true
	case TypeInt32:
		return uint64(binary.BigEndian.Uint32(b)), true
	case TypeInt64:
		return binary.BigEndian.Uint64(b), true
	}
	return 0, false
}

// Bytes gives a copy of a value of type bin, char or int8, nil if there is none.
func (h *Header) Bytes(tag uint32) []byte {
	e, ok := h.find(tag)
	if !ok || (e.typ != TypeBin && e.typ != TypeChar && e.typ != TypeInt8) {
		return nil
	}
	return bytes.Clone(h.data[e.off:e.end])
}
