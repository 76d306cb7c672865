// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

const (
	rawBufferBytes   = 128 << 10 // of the file as it is
	plainBufferBytes = 64 << 10  // of what comes out of the decompressor
	maxPaddingBytes  = 64 << 10  // behind the trailer: cpio pads to a block, 512 bytes by rpm, up to 64 KiB by others
)

// Payload reads the files of a package in the order of the archive.
//
// It hands out every file of the header that is not a ghost exactly once (of a hard-linked set: one of them, with all
// names in Links, when the content comes), each with the content that the header's digest names, or ends with an error.
type Payload struct {
	files   []File
	byName  map[string]int
	seen    []bool
	sets    map[*string]*linkSet // of hard links, by the start of their Links
	algo    string
	cpio    *cpioReader
	closer  io.Closer
	raw     *bufio.Reader
	rawHash hash.Hash
	want    Digest
	current *content
	err     error
}

// linkSet is how far a set of hard links has come.
type linkSet struct {
	left  int // names still to come
	given bool
}

// Payload begins to read the payload that r stands at, as ReadPackage leaves it.
//
//	errors  text only, for a compressor or format that is not known or a header whose files are not consistent
func (p *Package) Payload(r io.Reader) (*Payload, error) {
	return p.Header.Payload(r)
}

// Payload begins to read the payload that belongs to the header; r stands at its first byte and ends with it.
func (h *Header) Payload(r io.Reader) (*Payload, error) {
	if f := h.String(TagPayloadFormat); f != "" && f != "cpio" {
		return nil, fmt.Errorf("payload: format %q, want cpio", f)
	}
	pl := &Payload{}
	var err error
	if pl.files, err = h.Files(); err != nil {
		return nil, err
	}
	if pl.algo, err = h.DigestAlgo(TagFileDigestAlgo); err != nil {
		return nil, err
	}
	if pl.want, err = h.payloadDigest(); err != nil {
		return nil, err
	}
	if pl.want.Hex != "" {
		if pl.rawHash, err = newHash(pl.want.Algo); err != nil {
			return nil, err
		}
		r = io.TeeReader(r, pl.rawHash)
	}
	pl.raw = bufio.NewReaderSize(r, rawBufferBytes)
	plain, err := decompress(h.String(TagPayloadCompressor), pl.raw)
	if err != nil {
		return nil, err
	}
	pl.closer = plain
	pl.cpio = &cpioReader{r: bufio.NewReaderSize(plain, plainBufferBytes)}
	pl.seen = make([]bool, len(pl.files))
	pl.byName = make(map[string]int, len(pl.files))
	for i := range pl.files {
		f := &pl.files[i]
		pl.byName[strings.TrimPrefix(f.Path, "/")] = i
		if f.NLink > 1 {
			if pl.sets == nil {
				pl.sets = make(map[*string]*linkSet)
			}
			pl.sets[&f.Links[0]] = &linkSet{left: f.NLink}
		}
	}
	return pl, nil
}

// Close frees the decompressor. It is not needed after an error or io.EOF, and does no harm.
func (pl *Payload) Close() error {
	if pl.err == nil {
		pl.err = errors.New("payload: closed")
	}
	if pl.closer == nil {
		return nil
	}
	c := pl.closer
	pl.closer = nil
	return c.Close()
}

// Next gives the next file and its content, which may be read until the next call; what is left unread then is read
// and checked. Directories, symbolic links and devices have empty content.
//
//	errors  io.EOF after the last file, once all is checked; ErrDigest; the content's reader fails with ErrDigest at its end
func (pl *Payload) Next() (*File, io.Reader, error) {
	if pl.err != nil {
		return nil, nil, pl.err
	}
	f, r, err := pl.next()
	if err != nil {
		pl.err = err
		pl.Close()
		return nil, nil, err
	}
	return f, r, nil
}

func (pl *Payload) next() (*File, io.Reader, error) {
	for {
		if pl.current != nil {
			if err := pl.current.drain(); err != nil {
				return nil, nil, err
			}
			pl.current = nil
		}
		e, err := pl.cpio.next()
		if err == io.EOF {
			return nil, nil, pl.finish()
		}
		if err != nil {
			return nil, nil, err
		}
		i, err := pl.find(e)
		if err != nil {
			return nil, nil, err
		}
		f := &pl.files[i]
		size, give, err := pl.expect(f, e)
		if err != nil {
			return nil, nil, err
		}
		if pl.current, err = pl.open(f, size); err != nil {
			return nil, nil, err
		}
		if !give {
			continue
		}
		if f.IsSymlink() {
			return f, strings.NewReader(""), pl.checkLink(f, size)
		}
		return f, pl.current, nil
	}
}

// find gives the file that a member stands for, once.
func (pl *Payload) find(e cpioEntry) (int, error) {
	i, ok := int(e.index), e.stripped && int64(e.index) < int64(len(pl.files))
	if !e.stripped {
		name := strings.TrimPrefix(strings.TrimPrefix(e.name, "."), "/")
		if i, ok = pl.byName[name]; !ok {
			i, ok = pl.byName[e.name] // a source package may hold a name with a leading dot
		}
	}
	switch {
	case !ok && e.stripped:
		return 0, fmt.Errorf("payload: file %d of %d", e.index, len(pl.files))
	case !ok:
		return 0, fmt.Errorf("payload: %q is not in the header", e.name)
	case pl.seen[i]:
		return 0, fmt.Errorf("payload: %q comes twice", pl.files[i].Path)
	}
	pl.seen[i] = true
	return i, nil
}

// expect gives the size of a member's content, and whether this member is to be handed out: of a hard-linked set only
// one that has the content is.
func (pl *Payload) expect(f *File, e cpioEntry) (size int64, give bool, err error) {
	want, give := f.SizeBytes, true
	switch {
	case f.IsSymlink():
		want = int64(len(f.LinkTo))
	case !f.IsRegular():
		want = 0
	case f.NLink > 1:
		set := pl.sets[&f.Links[0]]
		set.left--
		without := !e.stripped && e.sizeBytes == 0 && (set.left > 0 || set.given) ||
			e.stripped && f.Links[len(f.Links)-1] != f.Path
		if without {
			want = 0
		}
		give = !without && !set.given
		set.given = set.given || give
	}
	if !e.stripped && e.sizeBytes != want {
		return 0, false, fmt.Errorf("payload: %s: %d bytes, want %d", f.Path, e.sizeBytes, want)
	}
	return want, give, nil
}

func (pl *Payload) open(f *File, size int64) (*content, error) {
	c := &content{r: pl.cpio, left: size, path: f.Path}
	if !f.IsRegular() || f.Digest == "" || size == 0 && f.SizeBytes > 0 {
		return c, nil
	}
	h, err := newHash(pl.algo)
	if err != nil {
		return nil, err
	}
	if len(f.Digest) != hex.EncodedLen(h.Size()) {
		return nil, fmt.Errorf("payload: %s: digest of %d digits, want %d for %s", f.Path, len(f.Digest), hex.EncodedLen(h.Size()), pl.algo)
	}
	c.hash, c.want = h, f.Digest
	return c, nil
}

func (pl *Payload) checkLink(f *File, size int64) error {
	got := make([]byte, size) // at most the length of LinkTo, which is in memory already
	if _, err := io.ReadFull(pl.current, got); err != nil {
		return unexpected(err)
	}
	if string(got) != f.LinkTo {
		return fmt.Errorf("payload: %s: link to %q, header says %q", f.Path, got, f.LinkTo)
	}
	return nil
}

// finish checks that nothing is missing and that the whole has the digest that the header gives. It returns io.EOF if so.
func (pl *Payload) finish() error {
	for i := range pl.files {
		if f := &pl.files[i]; !pl.seen[i] && !f.IsGhost() {
			return fmt.Errorf("payload: %s is missing", f.Path)
		}
	}
	n, err := io.Copy(io.Discard, io.LimitReader(pl.cpio.r, maxPaddingBytes+1))
	if err != nil {
		return fmt.Errorf("payload: behind the trailer: %w", err)
	}
	if n > maxPaddingBytes {
		return fmt.Errorf("payload: more than %d bytes behind the trailer", maxPaddingBytes)
	}
	if pl.rawHash == nil {
		return io.EOF
	}
	if _, err := io.Copy(io.Discard, pl.raw); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := checkSum("payload", pl.rawHash, pl.want.Hex); err != nil {
		return err
	}
	return io.EOF
}

// content is what one member holds; it fails at its end if the digest is another.
type content struct {
	r    io.Reader
	left int64
	path string
	hash hash.Hash
	want string
	err  error
}

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		c.err = io.EOF
		if c.hash != nil {
			if err := checkSum("payload: "+c.path, c.hash, c.want); err != nil {
				c.err = err
			}
		}
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	c.left -= int64(n)
	if err != nil && c.left > 0 {
		c.err = fmt.Errorf("payload: %s: %w", c.path, unexpected(err))
		return n, c.err
	}
	return n, nil
}

func (c *content) drain() error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return nil
}
