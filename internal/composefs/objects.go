// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"context"
	"fmt"
	"io"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// Objects is what a repository (or a transaction in it) offers.
type Objects interface {
	tree.Source
	OpenFile(ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error)
}

// InlineBytes is up to which size mkcomposefs puts a file's content into the image.
//
//	source  containers/composefs tools/mkcomposefs.c
const InlineBytes = 64

// Stat makes the function of that name in Options. With verity, each file's content is read for its digest; with
// inline, files up to InlineBytes carry their content themselves. libostree does the first and not the second.
func Stat(o Objects, verity, inline bool) func(ostree.Checksum) (File, error) {
	return func(c ostree.Checksum) (File, error) {
		h, size, content, err := o.OpenFile(c)
		if err != nil {
			return File{}, err
		}
		defer content.Close()
		f := File{Header: h, SizeBytes: size}
		if h.IsSymlink() || size == 0 {
			return f, nil
		}
		if inline && size <= InlineBytes {
			f.Content = make([]byte, size)
			_, err := io.ReadFull(content, f.Content)
			return f, err
		}
		if verity {
			d, err := MeasureVerity(content)
			if err != nil {
				return f, fmt.Errorf("measure %s: %w", c, err)
			}
			f.Digest = &d
		}
		return f, nil
	}
}

// Stater is what a repository offers that knows of a file object without opening it.
type Stater interface {
	StatFile(ostree.Checksum) (ostree.FileHeader, int64, error)
	StatFiles(ctx context.Context, sums []ostree.Checksum, put func(i int, h ostree.FileHeader, sizeBytes int64)) error
}

// Names are Options for images whose files are all redirects, held against nothing.
func Names(s Stater) Options {
	return Options{StatAll: func(ctx context.Context, sums []ostree.Checksum, put func(int, File)) error {
		return s.StatFiles(ctx, sums, func(i int, h ostree.FileHeader, size int64) { put(i, File{Header: h, SizeBytes: size}) })
	}}
}

// KeyDigest is where a commit carries the digest of its canonical image.
//
//	shape   ay, 32 bytes
//	source  ostree src/libostree/ostree-core.h (OSTREE_COMPOSEFS_DIGEST_KEY_V0)
const KeyDigest = "ostree.composefs.digest.v0"

// CommitDigest computes what a commit of that tree carries as KeyDigest. It reads the content of every file.
func CommitDigest(ctx context.Context, o Objects, root tree.Root) (Verity, error) {
	info, err := Write(ctx, io.Discard, o, root, Options{Stat: Stat(o, true, false), Canonical: true})
	return info.Digest, err
}
