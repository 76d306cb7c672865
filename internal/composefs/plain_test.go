// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"grove/internal/ostree"
)

// What is written of plain files is what is written of files whose attributes are in the list: with one and with many,
// objects that several files have and that one has, files larger than one chunk, inodes of both sizes, ends of blocks.
func TestPlain(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		count := 1 + int(seed*seed)
		make := func() *node { return plainTree(rand.New(rand.NewPCG(seed, 7)), count) }
		as, listed := make(), make()
		n := 0
		for _, f := range listed.children {
			if !f.plain {
				continue
			}
			n++
			f.plain, f.grow().object = false, "/"+ostree.ObjectPath(f.sum, ostree.TypeFile, false)
		}
		canonical := r.IntN(2) == 0
		var got, want bytes.Buffer
		a, errA := finish(&got, as, canonical)
		b, errB := finish(&want, listed, canonical)
		if errA != nil || errB != nil || a != b || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%d files, %d plain: %d bytes %x %v, want %d bytes %x %v", count, n, a.SizeBytes, a.Digest, errA, b.SizeBytes, b.Digest, errB)
		}
		if n == 0 {
			t.Errorf("seed %d: nothing is plain", seed)
		}
	}
}

// plainTree is a directory of files, most of them plain.
func plainTree(r *rand.Rand, count int) *node {
	root := &node{rare: none, mode: typeDir | 0o755}
	for i := range count {
		n := &node{rare: none, name: fmt.Sprintf("f%05d%0*d", i, r.IntN(40), 0), nlink: 1, parent: root}
		n.sum = ostree.Checksum{byte(r.IntN(20)), byte(i), byte(i >> 8), 7}
		shared := r.IntN(4) == 0
		if shared {
			n.sum = ostree.Checksum{1, byte(r.IntN(3))}
		}
		f := File{Header: ostree.FileHeader{Mode: typeRegular | 0o644}, SizeBytes: 1 + r.Int64N(9000)}
		switch r.IntN(20) {
		case 1:
			f.SizeBytes = r.Int64N(1 << 50)
		case 2:
			f.Header.UID = 100000
		}
		if shared { // of one object, each file is the same
			f = File{Header: ostree.FileHeader{Mode: typeRegular | 0o755}, SizeBytes: 77}
		} else if r.IntN(6) == 0 {
			f.Header.Xattrs = []ostree.Xattr{{Name: "user.x", Value: []byte{byte(r.IntN(3))}}}
		}
		n.dress(f)
		root.children = append(root.children, n)
	}
	sortNodes(root.children)
	return root
}
