// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindowBytes bounds the memory a decompressor takes for its dictionary. It is what zstd's and xz' own tools give
// without being asked for more (zstd --ultra -22 needs it, xz -9 needs 64 MiB), so no ordinary package is above.
const maxWindowBytes = 128 << 20

// decompress gives the plain payload. The names are those of PAYLOADCOMPRESSOR; "" is gzip, and a gzip payload may in
// truth be plain, an lzma one xz, as the libraries that rpm uses accept it.
//
//	source  rpm rpmio/rpmio.cc, the fdio types
func decompress(name string, r *bufio.Reader) (io.ReadCloser, error) {
	magic, err := r.Peek(6)
	if err != nil && len(magic) == 0 {
		return nil, fmt.Errorf("payload: %w", unexpected(err))
	}
	switch name {
	case "", "gzip":
		if bytes.HasPrefix(magic, []byte("0707")) {
			return io.NopCloser(r), nil
		}
		return gzip.NewReader(r)
	case "bzip2":
		return io.NopCloser(bzip2.NewReader(r)), nil
	case "xz", "lzma":
		if bytes.Equal(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}) {
			x, err := xz.NewReader(r, maxWindowBytes)
			return io.NopCloser(x), err
		}
		return decompressLZMA(r)
	case "zstd":
		// Two packages are imported at a time on few cores: no goroutines of its own, and no more memory than the window.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case "none", "identity", "ufdio":
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("payload: compressor %q is not known", name)
}

// decompressLZMA reads the format of before xz: 1 byte of properties, dictionary size and plain size, both little endian.
func decompressLZMA(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(lzma.HeaderLen)
	if err != nil {
		return nil, fmt.Errorf("payload: lzma header: %w", unexpected(err))
	}
	if dict := binary.LittleEndian.Uint32(head[1:]); dict > maxWindowBytes {
		return nil, fmt.Errorf("payload: lzma dictionary of %d bytes, limit %d", dict, maxWindowBytes)
	}
	l, err := lzma.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("payload: lzma header: %w", err)
	}
	return io.NopCloser(l), nil
}
