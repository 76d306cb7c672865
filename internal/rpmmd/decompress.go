// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"grove/internal/fetch"
)

// maxWindow bounds the memory that a compressed file can make the reader take: xz -9 needs 64 MiB, zstd --ultra -22 128.
const maxWindow = 128 << 20

// decompress reads gzip, xz, zstd, bzip2 or plain XML, told apart by their first bytes: names lie.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xz.NewReader(b, maxWindow)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), nil
	case bytes.HasPrefix(head, []byte("\x00ZCK1")):
		return nil, errors.New("zchunk is not read")
	}
	return b, nil
}

// opened is the content of a metadata file, counted and digested as it is read.
type opened struct {
	r     io.Reader
	file  dataFile
	hash  hash.Hash // nil if repomd.xml gives no open-checksum
	count int64
}

func openContent(r io.Reader, f dataFile) (*opened, error) {
	plain, err := decompress(r)
	if err != nil {
		return nil, err
	}
	o := &opened{r: plain, file: f}
	if f.open.Hex != "" && f.open != f.digest {
		o.hash, err = fetch.NewHash(f.open.Algo)
	}
	return o, err
}

func (o *opened) limit() int64 {
	if o.file.openSize > 0 {
		return o.file.openSize
	}
	return maxOpen
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.count += int64(n)
	if o.count > o.limit() {
		return 0, fmt.Errorf("content is larger than %d bytes", o.limit())
	}
	if o.hash != nil {
		o.hash.Write(p[:n])
	}
	return n, err
}

// finish reads what is left and compares size and checksum.
func (o *opened) finish() error {
	if _, err := io.Copy(io.Discard, o); err != nil {
		return err
	}
	if want := o.file.openSize; want > 0 && o.count != want {
		return fmt.Errorf("content has %d bytes, wanted %d", o.count, want)
	}
	if o.hash != nil {
		if got := hex.EncodeToString(o.hash.Sum(nil)); got != o.file.open.Hex {
			return fmt.Errorf("content: %w: got %s, wanted %s", fetch.ErrDigest, got, o.file.open.Hex)
		}
	}
	return nil
}
