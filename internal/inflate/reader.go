// SPDX-License-Identifier: Apache-2.0

package inflate

import "io"

const (
	window    = 32 << 10 // how far back a match may reach
	outBytes  = 4*window + Slack
	inBytes   = 64 << 10
	maxZeroes = 100 // reads that bring nothing and no error
)

// Reader decompresses a stream as it is read. Its memory is 210 KiB whatever the stream says: keep it for the next.
type Reader struct {
	d     Decoder
	src   io.Reader
	err   error // of the decoder: after what is still in out
	inEnd error // what ended the input
	in    [inBytes]byte
	out   [outBytes]byte
	have  int // bytes of out that are content
	read  int // of those, how many were given away
}

// NewReader makes a Reader for what src is.
func NewReader(src io.Reader) *Reader {
	r := &Reader{}
	r.Reset(src)
	return r
}

// Reset makes r decompress src from its beginning.
func (r *Reader) Reset(src io.Reader) {
	r.d.reset(r.in[:0], false)
	r.src, r.err, r.inEnd, r.have, r.read = src, nil, nil, 0, 0
}

// Buffered is how many bytes were read from the source that are not part of the stream, or not yet decompressed.
func (r *Reader) Buffered() int { return len(r.d.in) - r.d.pos }

// Read is io.Reader's. At the end of the stream it returns io.EOF, whatever follows it in the source.
//
//	errors  ErrCorrupt; io.ErrUnexpectedEOF where the source ends first; what the source returned
func (r *Reader) Read(p []byte) (int, error) {
	for r.read == r.have && len(p) > 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.step()
	}
	n := copy(p, r.out[r.read:r.have])
	r.read += n
	return n, nil
}

// step decompresses some content, all before having been given away.
func (r *Reader) step() {
	if len(r.out)-r.have < window+Slack {
		r.have = copy(r.out[:], r.out[r.have-window:r.have])
		r.read = r.have
	}
	n, err := r.d.decode(r.out[:], r.have)
	r.have = n
	switch {
	case err == errMore:
		r.more()
	case err == io.ErrUnexpectedEOF && r.inEnd != io.EOF && r.inEnd != nil:
		r.err = r.inEnd
	case err != nil:
		r.err = err
	case r.d.st == atEnd:
		r.err = io.EOF
	}
}

// more reads input behind what is not decompressed yet.
func (r *Reader) more() {
	n := copy(r.in[:], r.d.in[r.d.pos:])
	r.d.pos = 0
	for range maxZeroes {
		k, err := r.src.Read(r.in[n:])
		n += k
		if err != nil {
			r.inEnd, r.d.whole = err, true
		}
		if k > 0 || err != nil {
			r.d.in = r.in[:n]
			return
		}
	}
	r.d.in, r.d.whole, r.inEnd = r.in[:n], true, io.ErrNoProgress
}
