// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"io"
	"math/bits"
	"sync"
)

// A code is decoded by a table that its next bits are the index of, 11 for lengths and literals and 8 for distances. Longer
// codes go on in a second table behind the first. An entry is a number of 32 bits:
//
//	0-3    bits of the code that this entry takes off; of an entry that leads to a second table nothing
//	4-7    what it is
//	8-11   bits that follow a length or a distance; of an entry that leads to a second table the bits of its index
//	16-31  the literal, the smallest length or distance, or where the second table begins
const (
	lenMask    = 0xf
	isLiteral  = 1 << 4
	isOther    = 1 << 5 // neither literal nor number: isSub, isEnd, or no code
	isSub      = 1 << 6
	isEnd      = 1 << 7
	extraShift = 8
	extraMask  = 0xf
	valueShift = 16

	maxCodeLen = 15
	maxLitLen  = 288 // with those that the fixed code has and no stream may use
	maxDist    = 32
	litBits    = 11
	distBits   = 8
	// The sizes are powers of two above what any code needs, 2342 and 402 entries (zlib's examples/enough.c counts them).
	litSize  = 4096
	distSize = 512
)

type litTable struct {
	entry [litSize]uint32
	bits  uint // of an index of the first table
}

func (t *litTable) sub(e uint32, bits uint64) uint32 { return t.entry[subIndex(e, bits)&(litSize-1)] }

type distTable struct {
	entry [distSize]uint32
	bits  uint
}

func (t *distTable) sub(e uint32, bits uint64) uint32 { return t.entry[subIndex(e, bits)&(distSize-1)] }

// subIndex is where an entry that leads to a second table leads to with the bits that follow.
func subIndex(e uint32, bits uint64) uint32 {
	return e>>valueShift + uint32(bits)&(1<<(e>>extraShift&extraMask)-1)
}

// litEntries and distEntries are what each symbol means.
//
//	source  RFC 1951 section 3.2.5
var (
	litEntries  = makeLitEntries()
	distEntries = makeDistEntries()
)

func makeLitEntries() (e [maxLitLen]uint32) {
	for i := range 256 {
		e[i] = uint32(i)<<valueShift | isLiteral
	}
	e[256] = isOther | isEnd
	base := uint32(3)
	for i := uint32(257); i < 285; i++ {
		extra := uint32(0)
		if i >= 265 {
			extra = (i - 261) / 4
		}
		e[i] = base<<valueShift | extra<<extraShift
		base += 1 << extra
	}
	e[285] = maxMatch << valueShift
	e[286], e[287] = isOther, isOther
	return e
}

func makeDistEntries() (e [maxDist]uint32) {
	base := uint32(1)
	for i := range uint32(30) {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		e[i] = base<<valueShift | extra<<extraShift
		base += 1 << extra
	}
	e[30], e[31] = isOther, isOther
	return e
}

// fixedTables are those of blocks with the fixed codes.
var fixedTables = sync.OnceValue(func() *struct {
	lit  litTable
	dist distTable
} {
	var t struct {
		lit  litTable
		dist distTable
	}
	var lens [maxLitLen]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	t.lit.bits, _ = makeTable(t.lit.entry[:], litBits, lens[:], litEntries[:])
	for i := range maxDist {
		lens[i] = 5
	}
	t.dist.bits, _ = makeTable(t.dist.entry[:], distBits, lens[:maxDist], distEntries[:])
	return &t
})

// makeTable makes the table of a code from the length of each symbol's code, 0 for a symbol that does not occur. It returns
// how many bits an index of the first table has. ok is false where there are more or fewer codes than such lengths allow; one
// code alone of one bit is allowed, and none at all.
func makeTable(table []uint32, primary uint, lens []uint8, symbols []uint32) (used uint, ok bool) {
	var count [maxCodeLen + 1]int
	for _, n := range lens {
		count[n]++
	}
	longest := uint(maxCodeLen)
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	used = max(1, min(primary, longest))
	var next [maxCodeLen + 2]uint32 // the next code of each length
	code := uint32(0)
	for n := uint(1); n <= longest; n++ {
		code <<= 1
		next[n] = code
		code += uint32(count[n])
	}
	single := longest == 1 && count[1] == 1
	if longest > 0 && code != 1<<longest && !single {
		return used, false
	}
	if longest == 0 || single {
		for i := range table[:1<<used] {
			table[i] = isOther
		}
	}
	fillTable(table, used, longest, lens, symbols, &next)
	return used, true
}

// fillTable enters each symbol. A code's first bit is its highest, and the lowest of an index: codes are turned around.
func fillTable(table []uint32, primary, longest uint, lens []uint8, symbols []uint32, next *[maxCodeLen + 2]uint32) {
	if longest > primary {
		clear(table[:1<<primary]) // 0 = no second table yet
	}
	end := uint32(1) << primary
	for s, n := range lens {
		if n == 0 {
			continue
		}
		n := uint(n)
		code := bits.Reverse32(next[n]) >> (32 - n)
		next[n]++
		if n <= primary {
			e := symbols[s] | uint32(n)
			for i := code; i < 1<<primary; i += 1 << n {
				table[i] = e
			}
			continue
		}
		first := &table[code&(1<<primary-1)]
		width := longest - primary
		if *first == 0 {
			*first = end<<valueShift | uint32(width)<<extraShift | isOther | isSub
			end += 1 << width
		}
		e := symbols[s] | uint32(n-primary)
		start := *first >> valueShift
		for i := code >> primary; i < 1<<width; i += 1 << (n - primary) {
			table[start+i] = e
		}
	}
}

// lensOrder is the order in which a header gives the lengths of the code that the lengths of the other two are written in.
var lensOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// header reads the header of a block.
func (d *Decoder) header() error {
	defer d.unread()
	head, err := d.take(3)
	if err != nil {
		return err
	}
	d.final = head&1 != 0
	switch head >> 1 {
	case 0:
		return d.stored()
	case 1:
		fixed := fixedTables()
		d.lit, d.dist, d.st = &fixed.lit, &fixed.dist, inBlock
		return nil
	case 2:
		d.lit, d.dist, d.st = &d.ownLit, &d.ownDist, inBlock
		return d.dynamic()
	}
	return ErrCorrupt
}

func (d *Decoder) stored() error {
	d.unread()
	d.bits, d.nbits = 0, 0
	if len(d.in)-d.pos < 4 {
		return io.ErrUnexpectedEOF
	}
	b := d.in[d.pos : d.pos+4]
	if b[0]^b[2] != 0xff || b[1]^b[3] != 0xff {
		return ErrCorrupt
	}
	d.pos += 4
	d.left, d.st = int(b[0])|int(b[1])<<8, inStored
	return nil
}

// dynamic reads the two codes of a block.
func (d *Decoder) dynamic() error {
	counts, err := d.take(14)
	if err != nil {
		return err
	}
	lits, dists, clens := int(counts&31)+257, int(counts>>5&31)+1, int(counts>>10)+4
	if lits > 286 || dists > 30 {
		return ErrCorrupt
	}
	if err := d.lengths(lits+dists, clens); err != nil {
		return err
	}
	var ok bool
	if d.ownLit.bits, ok = makeTable(d.ownLit.entry[:], litBits, d.lens[:lits], litEntries[:]); !ok {
		return ErrCorrupt
	}
	if d.ownDist.bits, ok = makeTable(d.ownDist.entry[:], distBits, d.lens[lits:lits+dists], distEntries[:]); !ok {
		return ErrCorrupt
	}
	return nil
}

// lengths reads the first n code lengths into lens.
func (d *Decoder) lengths(n, clens int) error {
	var own [19]uint8
	for _, at := range lensOrder[:clens] {
		v, err := d.take(3)
		if err != nil {
			return err
		}
		own[at] = uint8(v)
	}
	var table [128]uint32
	width, ok := makeTable(table[:], 7, own[:], lensEntries[:])
	if !ok {
		return ErrCorrupt
	}
	for i := 0; i < n; {
		e, err := d.symbol(table[:], width)
		if err != nil {
			return err
		}
		if v := e >> valueShift; v < 16 {
			d.lens[i] = uint8(v)
			i++
			continue
		}
		run := lensRuns[e>>valueShift-16]
		more, err := d.take(run.extra)
		if err != nil {
			return err
		}
		count, value := run.base+int(more), uint8(0)
		if e>>valueShift == 16 {
			if i == 0 {
				return ErrCorrupt
			}
			value = d.lens[i-1]
		}
		if count > n-i {
			return ErrCorrupt
		}
		for range count {
			d.lens[i] = value
			i++
		}
	}
	return nil
}

// lensEntries are the symbols of the code of lengths: 0 to 15 a length, 16 to 18 a run.
var lensEntries = func() (e [19]uint32) {
	for i := range e {
		e[i] = uint32(i) << valueShift
	}
	return e
}()

// lensRuns are the runs of symbols 16 to 18: the one before, zeros, more zeros.
var lensRuns = [3]struct {
	extra uint
	base  int
}{{2, 3}, {3, 3}, {7, 11}}
