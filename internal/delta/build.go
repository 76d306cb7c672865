// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// builder collects objects into parts, and packs each part that is full while the next one fills.
type builder struct {
	r       *repo.Repo
	dir     string // where the part files go
	max     int64
	now     *partBuilder
	parts   []*Part
	packing errgroup.Group
}

// partBuilder is a part being filled. Its data lies in a file without a name.
type partBuilder struct {
	objects Objects
	usize   uint64
	modes   []byte
	modeAt  map[[12]byte]uint64
	xattrs  [][]byte
	xattrAt map[string]uint64
	ops     []byte
	file    *os.File
	data    *bufio.Writer
	size    int64 // of the data
}

// packers is how many parts are packed at a time: each takes some 50 MB.
const packers = 2

func newBuilder(r *repo.Repo, dir string, max int64) *builder {
	b := &builder{r: r, dir: dir, max: max}
	b.packing.SetLimit(packers)
	return b
}

// part gives the part that sizeBytes more of data go into.
func (b *builder) part(sizeBytes int64) (*partBuilder, error) {
	if p := b.now; p != nil {
		if p.objects.Len() == 0 || p.size+int64(len(p.ops)+len(p.modes))+sizeBytes <= b.max {
			return p, nil
		}
		if err := b.finishPart(); err != nil {
			return nil, err
		}
	}
	f, err := b.r.TempFile()
	if err != nil {
		return nil, err
	}
	b.now = &partBuilder{modeAt: map[[12]byte]uint64{}, xattrAt: map[string]uint64{}, file: f, data: bufio.NewWriterSize(f, 256<<10)}
	return b.now, nil
}

// begin notes that the next object of the part is o.
func (p *partBuilder) begin(o Object, usize int64) {
	p.objects = append(append(p.objects, byte(o.Type)), o.Checksum[:]...)
	p.usize += uint64(usize)
}

// op adds an operation.
func (p *partBuilder) op(letter byte, numbers ...uint64) {
	p.ops = append(p.ops, letter)
	for _, n := range numbers {
		p.ops = appendVarint(p.ops, n)
	}
}

// header gives the places of a file's mode and xattrs in the tables.
func (p *partBuilder) header(h ostree.FileHeader) (mode, xattrs uint64) {
	var m [12]byte
	binary.BigEndian.PutUint32(m[:], h.UID)
	binary.BigEndian.PutUint32(m[4:], h.GID)
	binary.BigEndian.PutUint32(m[8:], h.Mode)
	mode, ok := p.modeAt[m]
	if !ok {
		mode = uint64(len(p.modes) / 12)
		p.modeAt[m] = mode
		p.modes = append(p.modes, m[:]...)
	}
	x := ostree.EncodeXattrs(h.Xattrs)
	if xattrs, ok = p.xattrAt[string(x)]; !ok {
		xattrs = uint64(len(p.xattrs))
		p.xattrAt[string(x)] = xattrs
		p.xattrs = append(p.xattrs, x)
	}
	return mode, xattrs
}

// add puts content into the data, and gives its place.
func (p *partBuilder) add(content io.Reader) (offset uint64, size int64, err error) {
	offset = uint64(p.size)
	size, err = io.Copy(struct{ io.Writer }{p.data}, content)
	p.size += size
	return offset, size, err
}

func (p *partBuilder) addBytes(b []byte) (offset uint64, err error) {
	offset = uint64(p.size)
	_, err = p.data.Write(b)
	p.size += int64(len(b))
	return offset, err
}

// finishPart has the part packed, if there is one.
func (b *builder) finishPart() error {
	p := b.now
	b.now = nil
	if p == nil {
		return nil
	}
	if err := p.data.Flush(); err != nil {
		p.file.Close()
		return err
	}
	out := &Part{UsizeBytes: p.usize, Objects: p.objects}
	path := filepath.Join(b.dir, strconv.Itoa(len(b.parts)))
	b.parts = append(b.parts, out)
	b.packing.Go(func() error {
		defer p.file.Close()
		return p.pack(out, path)
	})
	return nil
}

// finish packs what is left, and waits.
func (b *builder) finish() ([]*Part, error) {
	if len(b.parts) == 0 && b.now == nil { // libostree has one part always
		if _, err := b.part(0); err != nil {
			return nil, err
		}
	}
	err := b.finishPart()
	if werr := b.packing.Wait(); err == nil {
		err = werr
	}
	return b.parts, err
}

// abort gives up.
func (b *builder) abort() {
	if b.now != nil {
		b.now.file.Close()
	}
	b.packing.Wait()
}

// plain is the part's payload, not compressed.
func (p *partBuilder) plain() io.Reader {
	var xattrs []byte
	ends := make([]int64, 0, len(p.xattrs))
	for _, x := range p.xattrs {
		xattrs = append(xattrs, x...)
		ends = append(ends, int64(len(xattrs)))
	}
	xattrs = appendOffsets(xattrs, int64(len(xattrs)), ends...)
	a := int64(len(p.modes))
	b := a + int64(len(xattrs))
	c := b + p.size
	foot := appendOffsets(nil, c+int64(len(p.ops)), c, b, a)
	return io.MultiReader(bytes.NewReader(p.modes), bytes.NewReader(xattrs), io.NewSectionReader(p.file, 0, p.size),
		bytes.NewReader(p.ops), bytes.NewReader(foot))
}

// counter counts and hashes what goes by.
type counter struct {
	w io.Writer
	n int64
	h hash.Hash
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	if c.h != nil {
		c.h.Write(b)
	}
	return c.w.Write(b)
}

// pack writes the part's file, compressed always: libostree 2022.7 can not read a larger part that is not (it maps the file from
// its second byte on, which the kernel refuses).
func (p *partBuilder) pack(out *Part, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &counter{w: f, h: sha256.New()}
	if err := p.packAs(c, 'x'); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	out.SizeBytes = uint64(c.n)
	out.Checksum = ostree.Checksum(c.h.Sum(nil))
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return f.Close()
}

// packAs writes the part's bytes.
func (p *partBuilder) packAs(w io.Writer, kind byte) error {
	if _, err := w.Write([]byte{kind}); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	if kind == 0 {
		_, err := io.CopyBuffer(w, p.plain(), buf)
		return err
	}
	z, err := newXZWriter(w)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{z}, p.plain(), buf)
	if cerr := z.Close(); cerr != nil {
		err = cerr // it knows what w said; the copy only that nobody reads on
	}
	return err
}
