// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// defaultDeflateLevel: 600 MB of programs and documents became, level by level from 1 to 6, 219, 214, 209, 204, 200 and
// 198 MB for 4.3, 5.8, 6.2, 6.8, 8.5 and 7.6 s of processor time (libostree's zlib at 6: 191 MB, 20 s); 290 MB of text
// 160, 157, 132, 139, 136 and 134 MB for 2.8, 2.9, 3.6, 4.3, 4.6 and 4.9 s (libostree: 139 MB, 10 s).
// archive.zlib-level overrides it.
const defaultDeflateLevel = 3

// bufferBytes is room for a small file, and to see that a file is none.
const bufferBytes = smallFile + 1

// codecs keeps compressors and buffers for reuse: a compressor has hundreds of kilobytes of tables.
type codecs struct {
	level   int
	writers sync.Pool // *flate.Writer
	buffers sync.Pool // *[]byte of bufferBytes
	packed  sync.Pool // *bytes.Buffer
}

func (c *codecs) buffer() *[]byte {
	if b, ok := c.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, bufferBytes)
	return &b
}

func (c *codecs) release(b *[]byte) { c.buffers.Put(b) }

func (c *codecs) writer(w io.Writer) (*flate.Writer, error) {
	if z, ok := c.writers.Get().(*flate.Writer); ok {
		z.Reset(w)
		return z, nil
	}
	return flate.NewWriter(w, c.level)
}

// deflate returns the filez object of a small file. The caller gives the buffer back.
func (c *codecs) deflate(h ostree.FileHeader, data []byte) (*bytes.Buffer, error) {
	b, ok := c.packed.Get().(*bytes.Buffer)
	if !ok {
		b = &bytes.Buffer{}
	}
	b.Reset()
	b.Write(h.ArchivePrefix(uint64(len(data))))
	if h.IsSymlink() {
		return b, nil
	}
	z, err := c.writer(b)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	c.writers.Put(z)
	return b, nil
}

func (c *codecs) releasePacked(b *bytes.Buffer) { c.packed.Put(b) }

// fdWriter writes to a descriptor and counts what it takes from the budget.
type fdWriter struct {
	fd     int
	budget *budget
}

func (w fdWriter) Write(p []byte) (int, error) {
	if err := w.budget.take(int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), writeAll(w.fd, p)
}

// deflateLarge writes the filez object of a large file. The size in the header is filled in when it is known.
func (tx *Tx) deflateLarge(fd int, h ostree.FileHeader, hash *ostree.FileHasher, head []byte, rest io.Reader) error {
	if err := writeAll(fd, h.ArchivePrefix(0)); err != nil {
		return err
	}
	out := &blockWriter{w: fdWriter{fd, tx.budget}}
	z, err := tx.codecs.writer(out)
	if err != nil {
		return err
	}
	content := io.TeeReader(io.MultiReader(bytes.NewReader(head), rest), hash)
	if _, err := io.CopyBuffer(struct{ io.Writer }{z}, content, make([]byte, 128<<10)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	tx.codecs.writers.Put(z)
	if err := out.flush(); err != nil {
		return err
	}
	// the size is part of the header's fixed front: same length with any number
	_, err = unix.Pwrite(fd, h.ArchivePrefix(uint64(hash.SizeBytes())), 0)
	return err
}

// blockWriter gathers small writes.
type blockWriter struct {
	w   io.Writer
	buf []byte
}

func (b *blockWriter) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p...)
	if len(b.buf) < 256<<10 {
		return len(p), nil
	}
	return len(p), b.flush()
}

func (b *blockWriter) flush() error {
	_, err := b.w.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}
