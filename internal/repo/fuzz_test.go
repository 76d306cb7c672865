// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"bytes"
	"io"
	"testing"

	"grove/internal/ostree"
	"grove/internal/repo"
)

func FuzzInflateFile(f *testing.F) {
	h := ostree.FileHeader{Mode: ostree.DefaultFileMode}
	stored := []byte{1, 2, 0, 0xfd, 0xff, 'h', 'i'} // a final stored block of two bytes
	f.Add(append(h.ArchivePrefix(2), stored...))
	f.Add(append(h.ArchivePrefix(1<<40), stored...))
	f.Add(ostree.FileHeader{Mode: ostree.SymlinkMode, Symlink: "x"}.ArchivePrefix(0))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, size, content, err := repo.InflateFile(io.NopCloser(bytes.NewReader(data)))
		if err != nil {
			return
		}
		defer content.Close()
		n, err := io.Copy(io.Discard, io.LimitReader(content, 1<<24))
		if n > size || err == nil && n != size && n < 1<<24 {
			t.Fatalf("%v: %d bytes of %d, %v", h, n, size, err)
		}
	})
}
