// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// inflaters keeps decompressors for reuse: each has a window and tables of some 40 KiB.
var inflaters = sync.Pool{New: func() any { return flate.NewReader(noInput) }}

var noInput = bytes.NewReader(nil)

// byteReader is what a decompressor reads no further than it has to.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// newInflater takes a decompressor for in. The caller gives it back with putInflater.
func newInflater(in byteReader) io.Reader {
	z := inflaters.Get().(io.Reader)
	z.(flate.Resetter).Reset(in, nil) // without a dictionary it does not fail
	return z
}

func putInflater(z io.Reader) {
	z.(flate.Resetter).Reset(noInput, nil)
	inflaters.Put(z)
}

// PutPacked stages a file object that in holds as an archive repository has it: header, then raw deflate. It must have the
// name want. An archive repository takes the compressed bytes over as they are, once they are verified. check, if not nil,
// is asked about the header before anything is stored. It does not look whether the repository has the object already: see Has.
//
//	errors  ostree.ErrCorrupt; nothing is staged then
func (tx *Tx) PutPacked(want ostree.Checksum, in io.Reader, check func(h ostree.FileHeader) error) error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	buf := tx.codecs.buffer()
	defer tx.codecs.release(buf)
	n, err := io.ReadFull(in, *buf)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	p := &packed{tx: tx, want: want, data: (*buf)[:n]}
	if err == nil {
		p.rest = in
	}
	if err = p.header(); err != nil {
		return fmt.Errorf("file %s: %w", want, err)
	}
	if check != nil {
		if err := check(p.h); err != nil {
			return fmt.Errorf("file %s: %w", want, err)
		}
	}
	switch {
	case p.h.IsSymlink():
		_, err := tx.putSmall(p.h, nil, &want)
		return err
	case p.rest == nil && p.size <= smallFile:
		return p.small()
	}
	return p.large()
}

// packed is one object that PutPacked stages: its header, what else was read of it, and what is still to come.
type packed struct {
	tx   *Tx
	want ostree.Checksum
	h    ostree.FileHeader
	size int64
	data []byte
	rest io.Reader // nil: data is all of it
}

// header reads the header, which data begins with.
func (p *packed) header() error {
	in := bytes.NewReader(p.data)
	h, size, err := archiveHeader(in)
	p.h, p.size, p.data = h, int64(size), p.data[len(p.data)-in.Len():]
	return err
}

// stream reads all that is left.
func (p *packed) stream() io.Reader {
	if p.rest == nil {
		return bytes.NewReader(p.data)
	}
	return io.MultiReader(bytes.NewReader(p.data), p.rest)
}

// small stages an object that fits into memory, packed and unpacked.
func (p *packed) small() error {
	out := p.tx.codecs.buffer()
	defer p.tx.codecs.release(out)
	in := bytes.NewReader(p.data)
	z := newInflater(in)
	defer putInflater(z)
	n, err := io.ReadFull(z, (*out)[:p.size])
	if err == nil {
		var one [1]byte
		switch m, e := io.ReadFull(z, one[:]); {
		case m > 0:
			err = errors.New("content is longer than its size says")
		case e != io.EOF:
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("file %s: inflate, %d of %d bytes: %w: %w", p.want, n, p.size, err, ostree.ErrCorrupt)
	}
	if p.tx.r.mode != Archive {
		_, err := p.tx.putSmall(p.h, (*out)[:n], &p.want)
		return err
	}
	hash := ostree.NewFileHasher(p.h)
	hash.Write((*out)[:n])
	if err := checkName(hash.Sum(), &p.want); err != nil {
		return err
	}
	return p.tx.putRaw(p.want, p.h, p.size, p.data[:len(p.data)-in.Len()])
}

// putRaw stages a filez object whose content was verified.
func (tx *Tx) putRaw(c ostree.Checksum, h ostree.FileHeader, size int64, deflated []byte) error {
	o := object{ostree.TypeFile, c}
	mine, err := tx.claimNamed(o, &c)
	if !mine {
		return err
	}
	head := h.ArchivePrefix(uint64(size))
	if err == nil {
		err = tx.budget.take(int64(len(head) + len(deflated)))
	}
	if err == nil {
		err = tx.writePlain(stagedName(o), append(head, deflated...))
	}
	return tx.settle(o, err)
}

// large stages an object that does not fit: through a temporary file.
func (p *packed) large() error {
	if p.tx.r.mode != Archive {
		z := newInflater(bufio.NewReaderSize(p.stream(), 32<<10))
		defer putInflater(z)
		content := &sized{r: inflater{z}, left: p.size}
		_, err := p.tx.putFile(p.h, p.size, content, &p.want)
		return err
	}
	tmp := p.tx.tmpName()
	fd, err := p.tx.create(tmp, 0o600)
	if err != nil {
		return err
	}
	err = p.copyRaw(fd)
	return p.tx.finishLarge(tmp, fd, p.h, p.want, p.size, err)
}

// copyRaw writes the object as it is, inflating it beside to see what it is. What follows the deflate stream is cut off.
func (p *packed) copyRaw(fd int) error {
	out := &blockWriter{w: fdWriter{fd, p.tx.budget}}
	head := p.h.ArchivePrefix(uint64(p.size))
	if _, err := out.Write(head); err != nil {
		return err
	}
	raw := &counter{r: io.TeeReader(p.stream(), out)}
	in := bufio.NewReaderSize(raw, 32<<10)
	z := newInflater(in)
	defer putInflater(z)
	hash := ostree.NewFileHasher(p.h)
	buf := p.tx.codecs.buffer()
	defer p.tx.codecs.release(buf)
	content := &sized{r: inflater{z}, left: p.size}
	if _, err := io.CopyBuffer(struct{ io.Writer }{hash}, content, *buf); err != nil {
		return fmt.Errorf("file %s: %w", p.want, err)
	}
	if err := checkName(hash.Sum(), &p.want); err != nil {
		return err
	}
	if err := out.flush(); err != nil || in.Buffered() == 0 {
		return err
	}
	return unix.Ftruncate(fd, int64(len(head))+raw.n-int64(in.Buffered()))
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
