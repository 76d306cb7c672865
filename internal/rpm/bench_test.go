// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/rpmpack"

	"grove/internal/rpm"
)

// BenchmarkHeaders parses the headers of 300 packages with all that an import asks for.
func BenchmarkHeaders(b *testing.B) {
	var blobs [][]byte
	paths, _ := filepath.Glob(filepath.Join(shared(b, "rpms"), "el7-closure", "*.rpm"))
	for len(blobs) < 300 {
		for _, path := range paths {
			_, p := open(b, path)
			blobs = append(blobs, p.Header.Blob())
		}
	}
	blobs = blobs[:300]
	for b.Loop() {
		for _, blob := range blobs {
			h, err := rpm.ParseHeader(blob)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := h.Meta(); err != nil {
				b.Fatal(err)
			}
			if _, err := h.Files(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkPayload reads real payloads with all digests; MB/s are of plain content.
func BenchmarkPayload(b *testing.B) {
	dir := shared(b, "rpms")
	for _, name := range []string{"el7-closure/glibc-2.17-317.el7.x86_64.rpm", "rpmlint/mc-4.8.15-10.3.1.x86_64.rpm"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			b.Skip(err)
		}
		benchPayload(b, filepath.Base(name), data)
	}
	self, err := os.ReadFile(os.Args[0]) // some real machine code
	if err != nil {
		b.Fatal(err)
	}
	for _, compressor := range []string{"zstd:3", "zstd:19", "gzip:6"} {
		benchPayload(b, compressor, packed(b, compressor, nil, rpmpack.RPMFile{Name: "/usr/bin/big", Body: self, Mode: 0o755}))
	}
}

func benchPayload(b *testing.B, name string, data []byte) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := bytes.NewReader(data)
			p, err := rpm.ReadPackage(r)
			if err != nil {
				b.Fatal(err)
			}
			pl, err := p.Payload(r)
			if err != nil {
				b.Fatal(err)
			}
			var total int64
			for {
				_, content, err := pl.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, content)
				if err != nil {
					b.Fatal(err)
				}
				total += n
			}
			b.SetBytes(total)
		}
	})
}
