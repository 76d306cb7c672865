// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"

	"grove/internal/ostree"
)

// The operations of a part, by the letter that stands for them.
//
//	source  ostree src/libostree/ostree-repo-static-delta-private.h, OstreeStaticDeltaOpCode
const (
	opSplice      = 'S'
	opOpen        = 'o'
	opWrite       = 'w'
	opSetSource   = 'r'
	opUnsetSource = 'R'
	opClose       = 'c'
	opPatch       = 'B'
)

// OpCounts is how often each operation is in a part.
type OpCounts struct {
	Splice, Open, Write, SetSource, UnsetSource, Close, Patch int
}

// made is how one object is made.
type made struct {
	object Object
	splice bool
	header ostree.FileHeader // without a symlink's target
	size   uint64            // of the content
	offset uint64            // of the content in the data, with splice
	source *ostree.Checksum  // what is set when it begins
	from   int               // its operations, without the first, in payload.ops
	to     int               // behind the last
}

// op is one operation with its numbers.
type op struct {
	letter byte
	n      [4]uint64
}

// argCounts is how many numbers follow each letter; S has two for metadata.
var argCounts = map[byte]int{opSplice: 4, opOpen: 3, opWrite: 2, opSetSource: 1, opUnsetSource: 0, opClose: 0, opPatch: 2}

// next reads the operation at ops[pos:] and returns where the one behind it begins. meta says that a splice would make
// metadata.
func next(ops []byte, pos int, meta bool) (op, int, error) {
	o := op{letter: ops[pos]}
	count, ok := argCounts[o.letter]
	if !ok {
		return o, pos, corruptf("operation at %d: %q is none", pos, o.letter)
	}
	if o.letter == opSplice && meta {
		count = 2
	}
	at := pos + 1
	for i := range count {
		n, width := readVarint(ops[at:])
		if width == 0 {
			return o, pos, corruptf("operation %c at %d: number %d does not end", o.letter, pos, i+1)
		}
		o.n[i] = n
		at += width
	}
	return o, at, nil
}

// maxVarintLen is how many bytes a number takes at most.
const maxVarintLen = 10

// readVarint reads a number; width is 0 if b does not hold a whole one.
func readVarint(b []byte) (n uint64, width int) {
	for i, c := range b[:min(len(b), maxVarintLen)] {
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}

func appendVarint(b []byte, n uint64) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// scanner walks over a part's operations and finds out whether they make sense.
type scanner struct {
	p       *payload
	objects Objects
	list    []made
	counts  OpCounts
	open    *made
	source  *ostree.Checksum
	left    uint64 // bytes that the open file still wants
	total   uint64
}

// scan reads a part's operations without doing them: what object each run of them makes. All that they refer to in the payload
// is there then.
//
//	errors  ostree.ErrCorrupt
func (p *payload) scan(objects Objects) ([]made, OpCounts, error) {
	s := &scanner{p: p, objects: objects}
	for pos := 0; pos < len(p.ops); {
		meta := len(s.list) < objects.Len() && objects.At(len(s.list)).Type != ostree.TypeFile
		o, end, err := next(p.ops, pos, meta)
		if err == nil {
			err = s.step(o, pos, end)
		}
		if err != nil {
			return nil, s.counts, err
		}
		pos = end
	}
	if s.open != nil {
		return nil, s.counts, corruptf("object %s is not closed", s.open.object)
	}
	if len(s.list) != objects.Len() {
		return nil, s.counts, corruptf("operations for %d objects, wanted %d", len(s.list), objects.Len())
	}
	return s.list, s.counts, nil
}

func (s *scanner) step(o op, pos, end int) error {
	fail := func(format string, args ...any) error {
		return corruptf("operation %c at %d: %w", o.letter, pos, fmt.Errorf(format, args...))
	}
	if begins := o.letter == opSplice || o.letter == opOpen; begins {
		switch {
		case s.open != nil:
			return fail("object %s is open", s.open.object)
		case len(s.list) == s.objects.Len():
			return fail("all %d objects are made", s.objects.Len())
		}
	} else if s.open == nil && o.letter != opSetSource && o.letter != opUnsetSource {
		return fail("no object is open")
	}
	switch o.letter {
	case opSplice:
		s.counts.Splice++
		m, err := s.begin(o, end)
		if err == nil && !s.inData(m.offset, m.size) {
			err = fmt.Errorf("bytes %d and %d more of %d", m.offset, m.size, len(s.p.data))
		}
		if err != nil {
			return fail("%w", err)
		}
		m.splice = true
		s.list = append(s.list, m)
		s.source = nil
	case opOpen:
		s.counts.Open++
		m, err := s.begin(o, end)
		if err == nil && m.object.Type != ostree.TypeFile {
			err = fmt.Errorf("object %s is no file", m.object)
		}
		if err != nil {
			return fail("%w", err)
		}
		s.open, s.left = &m, m.size
	case opWrite:
		s.counts.Write++
		if s.source == nil && !s.inData(o.n[1], o.n[0]) {
			return fail("bytes %d and %d more of %d", o.n[1], o.n[0], len(s.p.data))
		}
		if o.n[0] > s.left {
			return fail("%d bytes where %d are wanted", o.n[0], s.left)
		}
		s.left -= o.n[0]
	case opPatch:
		s.counts.Patch++
		if !s.inData(o.n[0], o.n[1]) {
			return fail("bytes %d and %d more of %d", o.n[0], o.n[1], len(s.p.data))
		}
		if s.source == nil || s.left != s.open.size {
			return fail("no source, or not all of the file is still to be written")
		}
		s.left = 0
	case opSetSource:
		s.counts.SetSource++
		if !s.inData(o.n[0], 32) {
			return fail("checksum at %d of %d", o.n[0], len(s.p.data))
		}
		c := ostree.Checksum(s.p.data[o.n[0] : o.n[0]+32])
		s.source = &c
	case opUnsetSource:
		s.counts.UnsetSource++
		s.source = nil
	case opClose:
		s.counts.Close++
		if s.left != 0 {
			return fail("object %s lacks %d bytes", s.open.object, s.left)
		}
		s.open.to = end
		s.list = append(s.list, *s.open)
		s.open, s.source = nil, nil
	}
	return nil
}

// begin takes the numbers of an operation that begins an object.
func (s *scanner) begin(o op, end int) (made, error) {
	m := made{object: s.objects.At(len(s.list)), from: end, to: end, source: s.source}
	if m.object.Type != ostree.TypeFile {
		m.size, m.offset = o.n[0], o.n[1]
		if m.size > ostree.MaxMetadataSizeBytes {
			return m, fmt.Errorf("object %s has %d bytes, at most %d allowed", m.object, m.size, ostree.MaxMetadataSizeBytes)
		}
		return m, nil
	}
	if modes := uint64(len(s.p.modes) / 12); o.n[0] >= modes {
		return m, fmt.Errorf("mode %d of %d", o.n[0], modes)
	}
	if xattrs := uint64(len(s.p.xattrs)); o.n[1] >= xattrs {
		return m, fmt.Errorf("xattrs %d of %d", o.n[1], xattrs)
	}
	m.header = s.p.header(o.n[0], o.n[1])
	m.size, m.offset = o.n[2], o.n[3]
	if m.size > 1<<62 {
		return m, fmt.Errorf("object %s has %d bytes, beyond any file", m.object, m.size)
	}
	return m, nil
}

func (s *scanner) inData(offset, size uint64) bool {
	all := uint64(len(s.p.data))
	return offset <= all && size <= all-offset
}
