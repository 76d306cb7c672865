// SPDX-License-Identifier: Apache-2.0

// Package inflate decompresses raw deflate streams (RFC 1951), which archive repositories hold each file as.
//
// It does not compress, and knows no gzip or zlib frame. A stream that is no deflate, refers to before its beginning or ends
// too early is refused with ErrCorrupt or io.ErrUnexpectedEOF; nothing in a stream decides about memory. What it is for: one
// object after the other with the same Decoder, the small ones from memory to memory. There it takes half the time of the
// libraries that read byte by byte.
package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrCorrupt says that the bytes are no deflate stream.
var ErrCorrupt = errors.New("corrupt deflate stream")

// ErrTooLong says that there is more content than room.
var ErrTooLong = errors.New("content is longer than expected")

// Slack is how many bytes longer than the content the destination of Bytes is: room is looked for once for two literals and
// the longest match, which is copied eight bytes at a time.
const Slack = 2 + maxMatch + 8

const (
	maxMatch = 258
	// maxHeader bounds the bytes of a block's header: 17 bits, 19 lengths of 3, then 320 of at most 7 + 7.
	maxHeader = (17 + 19*3 + (maxLitLen+maxDist)*14 + 7) / 8
)

// state is what a stream goes on with.
type state uint8

const (
	atHeader state = iota
	inStored       // with left bytes to come
	inBlock        // with lit and dist
	atEnd
)

// Decoder decompresses. The zero value is ready for Bytes; a Reader has one too. It is 20 KiB large: keep it for the next.
type Decoder struct {
	// Between two steps bits holds fewer than 8 bits, and in[pos:] follows them.
	in    []byte
	pos   int
	bits  uint64
	nbits uint
	whole bool // in goes to the end of the input

	st    state
	final bool
	left  int
	lit   *litTable
	dist  *distTable

	ownLit  litTable
	ownDist distTable
	lens    [maxLitLen + maxDist]uint8
}

func (d *Decoder) reset(in []byte, whole bool) {
	d.in, d.pos, d.bits, d.nbits, d.whole = in, 0, 0, 0, whole
	d.st, d.final = atHeader, false
}

// Bytes decompresses the stream that src begins with into dst, which has Slack bytes more than there may be of content. It
// returns how many bytes of content there are, and how many of src the stream has.
//
//	errors  ErrCorrupt, ErrTooLong, io.ErrUnexpectedEOF; n is then what was decompressed before
func (d *Decoder) Bytes(dst, src []byte) (n, used int, err error) {
	d.reset(src, true)
	n, err = d.decode(dst, 0)
	if err == nil && (d.st != atEnd || n > len(dst)-Slack) {
		err = ErrTooLong
	}
	used, d.in = d.pos, nil
	return n, used, err
}

// errMore says that the next step needs input that is not there yet.
var errMore = errors.New("more input wanted")

// decode goes on from out[:n] until out has no room for a match, the stream ends, or more input is wanted.
func (d *Decoder) decode(out []byte, n int) (int, error) {
	for {
		var err error
		switch d.st {
		case atEnd:
			return n, nil
		case atHeader:
			if !d.whole && len(d.in)-d.pos < maxHeader {
				return n, errMore
			}
			err = d.header()
		case inStored:
			k := min(d.left, len(d.in)-d.pos, len(out)-n)
			copy(out[n:], d.in[d.pos:d.pos+k])
			n, d.pos, d.left = n+k, d.pos+k, d.left-k
			switch {
			case d.left == 0:
				d.endBlock()
			case d.pos < len(d.in):
				return n, nil
			case d.whole:
				return n, io.ErrUnexpectedEOF
			default:
				return n, errMore
			}
		case inBlock:
			if n, err = d.fast(out, n); err == nil && d.st == inBlock {
				if len(out)-n < Slack {
					return n, nil
				}
				if !d.whole {
					return n, errMore
				}
				n, err = d.careful(out, n)
			}
		}
		if err != nil {
			return n, err
		}
	}
}

func (d *Decoder) endBlock() {
	d.st = atHeader
	if d.final {
		d.st = atEnd
	}
}

// fast decodes symbols while there are eight bytes of input and room for a match, so that neither need be looked at for each.
func (d *Decoder) fast(out []byte, n int) (int, error) {
	in, pos, bits, nbits := d.in, d.pos, d.bits, d.nbits
	lit, dist := d.lit, d.dist
	litMask, distMask := uint64(1)<<lit.bits-1, uint64(1)<<dist.bits-1
	var err error
	for len(in)-pos >= 8 && len(out)-n >= Slack {
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56
		e := lit.entry[bits&litMask&(litSize-1)]
		if e&isLiteral != 0 {
			bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
			out[n] = byte(e >> valueShift)
			n++
			e = lit.entry[bits&litMask&(litSize-1)]
			if e&isLiteral != 0 { // two of at most 11 bits: 34 are left
				bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
				out[n] = byte(e >> valueShift)
				n++
				e = lit.entry[bits&litMask&(litSize-1)]
				if e&isLiteral != 0 {
					bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
					out[n] = byte(e >> valueShift)
					n++
					continue
				}
			}
			if len(in)-pos < 8 {
				break
			}
			bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
			pos += int((63 - nbits) >> 3)
			nbits |= 56
		}
		if e&isOther != 0 {
			if e&isSub != 0 {
				bits, nbits = bits>>lit.bits, nbits-lit.bits
				e = lit.sub(e, bits)
			}
			if e&isLiteral != 0 {
				bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
				out[n] = byte(e >> valueShift)
				n++
				continue
			}
			if e&isOther != 0 {
				if e&isEnd == 0 {
					err = ErrCorrupt
					break
				}
				bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
				d.endBlock()
				break
			}
		}
		// a length and its distance: at most 15 + 5 + 15 + 13 bits
		bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
		extra := uint(e>>extraShift) & extraMask
		length := int(e>>valueShift) + int(bits&(1<<extra-1))
		bits, nbits = bits>>extra, nbits-extra
		e = dist.entry[bits&distMask&(distSize-1)]
		if e&isOther != 0 {
			if e&isSub != 0 {
				bits, nbits = bits>>dist.bits, nbits-dist.bits
				e = dist.sub(e, bits)
			}
			if e&isOther != 0 {
				err = ErrCorrupt
				break
			}
		}
		bits, nbits = bits>>(e&lenMask), nbits-uint(e&lenMask)
		extra = uint(e>>extraShift) & extraMask
		far := int(e>>valueShift) + int(bits&(1<<extra-1))
		bits, nbits = bits>>extra, nbits-extra
		if far > n {
			err = ErrCorrupt
			break
		}
		copyMatch(out[:n+length+8], n, far)
		n += length
	}
	d.pos, d.bits, d.nbits = pos, bits, nbits
	d.unread()
	return n, err
}

// copyMatch writes from out[n:] on, but for the last eight bytes, what stands far bytes before it. It may write those too.
func copyMatch(out []byte, n, far int) {
	to, from := out[n:], out[n-far:]
	length := len(to) - 8
	switch {
	case far >= 8:
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(to[i:], binary.LittleEndian.Uint64(from[i:]))
		}
	case far == 1:
		eight := uint64(from[0]) * 0x0101010101010101
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(to[i:], eight)
		}
	default:
		for i := range length {
			to[i] = from[i]
		}
	}
}

// unread gives whole bytes of bits back to the input.
func (d *Decoder) unread() {
	d.pos -= int(d.nbits >> 3)
	d.nbits &= 7
	d.bits &= 1<<d.nbits - 1
}

// careful decodes symbols at the end of the input, each bit looked for.
func (d *Decoder) careful(out []byte, n int) (int, error) {
	defer d.unread()
	for len(out)-n >= Slack && d.st == inBlock {
		e, err := d.symbol(d.lit.entry[:], d.lit.bits)
		switch {
		case err != nil:
			return n, err
		case e&isLiteral != 0:
			out[n] = byte(e >> valueShift)
			n++
			continue
		case e&isEnd != 0:
			d.endBlock()
			continue
		}
		length, err := d.extra(e)
		if err != nil {
			return n, err
		}
		if e, err = d.symbol(d.dist.entry[:], d.dist.bits); err != nil {
			return n, err
		}
		far, err := d.extra(e)
		if err != nil {
			return n, err
		}
		if far > n {
			return n, ErrCorrupt
		}
		copyMatch(out[:n+length+8], n, far)
		n += length
	}
	return n, nil
}

// fill makes sure of what bits there are, up to 56.
func (d *Decoder) fill() {
	for d.nbits <= 56 && d.pos < len(d.in) {
		d.bits |= uint64(d.in[d.pos]) << d.nbits
		d.pos++
		d.nbits += 8
	}
}

// symbol reads one symbol of a code.
func (d *Decoder) symbol(table []uint32, primary uint) (uint32, error) {
	d.fill()
	e := table[d.bits&(1<<primary-1)]
	n := uint(e & lenMask)
	if e&isSub != 0 {
		e = table[subIndex(e, d.bits>>primary)]
		n = primary + uint(e&lenMask)
	}
	switch {
	case n > d.nbits:
		return 0, io.ErrUnexpectedEOF
	case e&(isOther|isEnd) == isOther:
		return 0, ErrCorrupt
	}
	d.bits, d.nbits = d.bits>>n, d.nbits-n
	return e, nil
}

// extra reads the bits that follow a symbol, and gives the number that both are.
func (d *Decoder) extra(e uint32) (int, error) {
	k, err := d.take(uint(e>>extraShift) & extraMask)
	return int(e>>valueShift) + int(k), err
}

// take reads n bits, at most 16.
func (d *Decoder) take(n uint) (uint64, error) {
	d.fill()
	if n > d.nbits {
		return 0, io.ErrUnexpectedEOF
	}
	v := d.bits & (1<<n - 1)
	d.bits, d.nbits = d.bits>>n, d.nbits-n
	return v, nil
}
