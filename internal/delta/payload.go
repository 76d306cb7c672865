// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mikelolasagasti/xz"
	"golang.org/x/sys/unix"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// Limits of a part, held against while it is unpacked.
const (
	maxPayloadSizeBytes = 8 << 30
	maxModesSizeBytes   = 12 << 20 // a million of them
	maxXattrsSizeBytes  = 16 << 20
	// maxDict bounds the memory that a part makes the decompressor take: libostree's own parts need 32 MiB.
	maxDict = 64 << 20
	// inMemory is up to what size a payload is held in memory; larger ones go to a file without a name.
	inMemory = 1 << 20
)

// payload is an unpacked part: tables, data and operations.
type payload struct {
	modes  []byte // 12 bytes each
	xattrs [][]ostree.Xattr
	data   []byte
	ops    []byte
	free   func()
}

// maxPayload is what a part may unpack to: what it makes, patches (which are up to some times larger than what they make, 24
// bytes for each short block) and metadata included.
func (p Part) maxPayload() int64 {
	limit := uint64(16<<20) + 1024*uint64(p.Objects.Len())
	if p.UsizeBytes > maxPayloadSizeBytes/4 {
		return maxPayloadSizeBytes
	}
	return int64(min(limit+4*p.UsizeBytes, maxPayloadSizeBytes))
}

// openPayload unpacks a part that in holds, and no more than that. Nothing of it is looked at before its checksum is found
// right; for an inline part, which has none, want is nil. free must be called.
//
//	errors  ostree.ErrCorrupt
func openPayload(r *repo.Repo, in io.Reader, part Part, want *ostree.Checksum) (*payload, error) {
	sum := sha256.New()
	raw := bufio.NewReaderSize(io.TeeReader(in, sum), 64<<10)
	b, err := unpack(r, raw, part.maxPayload())
	if err != nil {
		return nil, err
	}
	// what is behind the xz stream belongs to the checksum too
	if _, err = io.Copy(io.Discard, raw); err == nil && want != nil {
		if got := ostree.Checksum(sum.Sum(nil)); got != *want {
			err = corruptf("it has checksum %s, wanted %s", got, want)
		}
	}
	var p *payload
	if err == nil {
		p, err = parsePayload(b.data)
	}
	if err != nil {
		b.free()
		return nil, err
	}
	p.free = b.free
	return p, nil
}

// unpack reads the byte that says how a part is packed, and what follows.
func unpack(r *repo.Repo, raw *bufio.Reader, limit int64) (*blob, error) {
	kind, err := raw.ReadByte()
	if err == io.EOF {
		return nil, corruptf("it is empty")
	}
	if err != nil {
		return nil, err
	}
	var plain io.Reader = raw
	switch kind {
	case 0:
	case 'x':
		z, err := xz.NewReader(raw, maxDict)
		if err != nil {
			return nil, unpackError(err)
		}
		z.Multistream(false)
		plain = z
	default:
		return nil, corruptf("compression is %#x, wanted 0 or 'x'", kind)
	}
	b, err := newBlob(r, io.LimitReader(plain, limit+1))
	if err != nil {
		return nil, unpackError(err)
	}
	if int64(len(b.data)) > limit {
		b.free()
		return nil, corruptf("it unpacks to more than %d bytes", limit)
	}
	return b, nil
}

// unpackError marks as corrupt what the decompressor does not like; errors of the line and the disk stay what they are.
func unpackError(err error) error {
	for _, e := range []error{xz.ErrBuf, xz.ErrData, xz.ErrFormat, xz.ErrMemlimit, xz.ErrOptions, xz.ErrUnsupportedCheck} {
		if errors.Is(err, e) {
			return corruptf("unpack: %w", err)
		}
	}
	return err
}

// blob is bytes in memory or in a file without a name, mapped into memory. Nobody else can shorten that file.
type blob struct {
	data []byte
	free func()
}

// newBlob takes in all of in.
func newBlob(r *repo.Repo, in io.Reader) (*blob, error) {
	head := make([]byte, 0, 32<<10)
	for len(head) < inMemory {
		if len(head) == cap(head) {
			head = append(make([]byte, 0, min(4*cap(head), inMemory)), head...)
		}
		n, err := in.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err == io.EOF {
			return &blob{head, func() {}}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	f, err := r.TempFile()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(head); err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, in, head[:256<<10]); err != nil {
		return nil, err
	}
	return mapFile(f)
}

// mapFile maps all of a file that nobody else can change.
func mapFile(f *os.File) (*blob, error) {
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 {
		return &blob{nil, func() {}}, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", fi.Size(), err)
	}
	return &blob{data, func() { unix.Munmap(data) }}, nil
}

var xattrTableType = gvariant.MustType("aa(ayay)")

// parsePayload takes an unpacked part apart. It refers to data.
func parsePayload(data []byte) (*payload, error) {
	s := span{bytes.NewReader(data), 0, int64(len(data))}
	ends, table, err := s.tail(3)
	if err != nil {
		return nil, err
	}
	if ends[0] > ends[1] || ends[1] > ends[2] || ends[2] > table {
		return nil, corruptf("members end at %d of %d bytes", ends, len(data))
	}
	p := &payload{modes: data[:ends[0]], data: data[ends[1]:ends[2]], ops: data[ends[2]:table]}
	if len(p.modes)%12 != 0 || len(p.modes) > maxModesSizeBytes {
		return nil, corruptf("table of modes has %d bytes, wanted a multiple of 12, at most %d", len(p.modes), maxModesSizeBytes)
	}
	if n := ends[1] - ends[0]; n > maxXattrsSizeBytes {
		return nil, corruptf("table of xattrs has %d bytes, at most %d allowed", n, maxXattrsSizeBytes)
	}
	v, err := xattrTableType.Decode(data[ends[0]:ends[1]])
	if err != nil {
		return nil, corruptf("table of xattrs: %w", err)
	}
	for i := range v.Len() {
		xs, err := ostree.ParseXattrs(gvariant.Encode(v.Index(i)))
		if err != nil {
			return nil, fmt.Errorf("table of xattrs: entry %d: %w", i, err)
		}
		p.xattrs = append(p.xattrs, xs)
	}
	return p, nil
}

// header is the file header that mode i and xattrs j of the tables give. The caller fills in a symlink's target.
func (p *payload) header(i, j uint64) ostree.FileHeader {
	m := p.modes[12*i:]
	return ostree.FileHeader{
		UID: binary.BigEndian.Uint32(m), GID: binary.BigEndian.Uint32(m[4:]), Mode: binary.BigEndian.Uint32(m[8:]),
		Xattrs: p.xattrs[j],
	}
}
