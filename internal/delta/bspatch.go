// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"encoding/binary"
	"errors"
	"io"
)

// controlLen is the length of the three numbers that begin a block of a patch.
const controlLen = 24

// offsetIn reads a number of a patch: 63 bits little endian, and a sign.
func offsetIn(b []byte) int64 {
	n := binary.LittleEndian.Uint64(b)
	v := int64(n &^ (1 << 63))
	if n>>63 != 0 {
		return -v
	}
	return v
}

func appendOffset(b []byte, n int64) []byte {
	u := uint64(n)
	if n < 0 {
		u = uint64(-n) | 1<<63
	}
	return binary.LittleEndian.AppendUint64(b, u)
}

// patcher reads what a patch makes of old. Memory: one block of the source at a time.
//
//	source  bsdiff's bspatch, in the form without header and compression that ostree uses
type patcher struct {
	patch   []byte
	old     io.ReaderAt
	oldSize int64
	oldPos  int64
	left    int64 // of the new file, beyond what the block holds
	diff    int64 // still to come in this block
	extra   int64
	seek    int64
}

func newPatcher(patch []byte, old io.ReaderAt, oldSize, newSize int64) *patcher {
	return &patcher{patch: patch, old: old, oldSize: oldSize, left: newSize}
}

func (p *patcher) Read(buf []byte) (int, error) {
	for p.diff == 0 && p.extra == 0 {
		if p.left == 0 {
			return 0, io.EOF
		}
		if err := p.control(); err != nil {
			return 0, err
		}
	}
	if p.diff == 0 {
		n := copy(buf[:min(int64(len(buf)), p.extra)], p.patch)
		p.patch = p.patch[n:]
		p.extra -= int64(n)
		p.endBlock()
		return n, nil
	}
	n := min(int64(len(buf)), p.diff)
	if err := p.add(buf[:n]); err != nil {
		return 0, err
	}
	p.oldPos += n
	p.diff -= n
	p.endBlock()
	return int(n), nil
}

// endBlock moves on in the source when a block is done.
func (p *patcher) endBlock() {
	if p.diff == 0 && p.extra == 0 {
		p.oldPos += p.seek
		p.seek = 0
	}
}

// maxOldPos bounds how far a patch can go astray in its source; positions beyond its ends count as zeros.
const maxOldPos = 1 << 62

// control reads the next block's numbers.
func (p *patcher) control() error {
	if len(p.patch) < controlLen {
		return corruptf("patch ends %d bytes before its file", p.left)
	}
	diff, extra, seek := offsetIn(p.patch), offsetIn(p.patch[8:]), offsetIn(p.patch[16:])
	p.patch = p.patch[controlLen:]
	switch {
	case diff < 0 || extra < 0 || diff > p.left || extra > p.left-diff:
		return corruptf("patch has a block of %d and %d bytes where %d are wanted", diff, extra, p.left)
	case diff+extra > int64(len(p.patch)):
		return corruptf("patch has a block of %d and %d bytes in its last %d", diff, extra, len(p.patch))
	case seek > maxOldPos || seek < -maxOldPos || p.oldPos+diff+seek > maxOldPos || p.oldPos+diff+seek < -maxOldPos:
		return corruptf("patch moves its source by %d", seek)
	}
	p.left -= diff + extra
	p.diff, p.extra, p.seek = diff, extra, seek
	p.endBlock() // an empty block only moves
	return nil
}

// add fills buf with the sum of patch and source.
func (p *patcher) add(buf []byte) error {
	from, to := max(p.oldPos, 0), min(p.oldPos+int64(len(buf)), p.oldSize)
	if from >= to {
		copy(buf, p.patch)
		p.patch = p.patch[len(buf):]
		return nil
	}
	clear(buf[:from-p.oldPos])
	clear(buf[to-p.oldPos:])
	if _, err := p.old.ReadAt(buf[from-p.oldPos:to-p.oldPos], from); err != nil && !errors.Is(err, io.EOF) {
		return err
	} else if err != nil && to < p.oldSize {
		return io.ErrUnexpectedEOF
	}
	for i, b := range p.patch[:len(buf)] {
		buf[i] += b
	}
	p.patch = p.patch[len(buf):]
	return nil
}
