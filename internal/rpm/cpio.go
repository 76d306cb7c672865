// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	cpioMagicNewc     = "070701"
	cpioMagicCRC      = "070702" // a checksum field more than newc, not looked at: file digests are stronger
	cpioMagicStripped = "07070X"
	cpioTrailer       = "TRAILER!!!"
	cpioHeaderBytes   = 110
	cpioStrippedBytes = 14
)

// cpioEntry is the head of one member.
//
//	shape   stripped: only index is set, everything else stands in the package's header
type cpioEntry struct {
	name      string
	sizeBytes int64
	stripped  bool
	index     uint32
}

// cpioReader reads members one after another; the caller reads content from r itself and then calls skipped.
//
//	source  rpm lib/cpio.cc; docs/manual/format_payload.md
type cpioReader struct {
	r   *bufio.Reader
	off int64 // in the archive, to know the padding
}

func (c *cpioReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.off += int64(n)
	return n, err
}

// next reads the next member's head. io.EOF stands for the trailer.
func (c *cpioReader) next() (cpioEntry, error) {
	if err := c.align(); err != nil {
		return cpioEntry{}, err
	}
	var buf [cpioHeaderBytes]byte
	if _, err := io.ReadFull(c, buf[:6]); err != nil {
		return cpioEntry{}, fmt.Errorf("payload: %w", unexpected(err))
	}
	switch magic := string(buf[:6]); magic {
	case cpioMagicStripped:
		if _, err := io.ReadFull(c, buf[6:cpioStrippedBytes]); err != nil {
			return cpioEntry{}, fmt.Errorf("payload: %w", unexpected(err))
		}
		index, err := hex32(buf[6:cpioStrippedBytes])
		if err != nil {
			return cpioEntry{}, err
		}
		return cpioEntry{stripped: true, index: index}, c.align()
	case cpioMagicNewc, cpioMagicCRC:
		return c.nextNewc(&buf)
	default:
		return cpioEntry{}, fmt.Errorf("payload: cpio magic %q at %d", magic, c.off-6)
	}
}

func (c *cpioReader) nextNewc(buf *[cpioHeaderBytes]byte) (cpioEntry, error) {
	if _, err := io.ReadFull(c, buf[6:]); err != nil {
		return cpioEntry{}, fmt.Errorf("payload: %w", unexpected(err))
	}
	size, err := hex32(buf[54:62])
	if err != nil {
		return cpioEntry{}, err
	}
	nameBytes, err := hex32(buf[94:102])
	if err != nil {
		return cpioEntry{}, err
	}
	if nameBytes < 1 || nameBytes > maxPathBytes+2 {
		return cpioEntry{}, fmt.Errorf("payload: name of %d bytes, want 1 to %d", nameBytes, maxPathBytes+2)
	}
	name := make([]byte, nameBytes)
	if _, err := io.ReadFull(c, name); err != nil {
		return cpioEntry{}, fmt.Errorf("payload: %w", unexpected(err))
	}
	s := strings.TrimRight(string(name), "\x00")
	if s == cpioTrailer {
		return cpioEntry{}, io.EOF
	}
	return cpioEntry{name: s, sizeBytes: int64(size)}, c.align()
}

// align skips to the next multiple of 4 bytes.
func (c *cpioReader) align() error {
	n := int((4 - c.off%4) % 4)
	k, err := c.r.Discard(n)
	c.off += int64(k)
	if err != nil {
		return fmt.Errorf("payload: %w", unexpected(err))
	}
	return nil
}

func hex32(b []byte) (uint32, error) {
	v, err := strconv.ParseUint(string(b), 16, 32)
	if err != nil {
		return 0, fmt.Errorf("payload: number %q is not hexadecimal", b)
	}
	return uint32(v), nil
}
