// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"bytes"
	"errors"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/ostree"
)

func sized(entries ...[]byte) ostree.Commit {
	return ostree.Commit{Metadata: gvariant.Dict{{Key: ostree.KeySizes, Value: gvariant.ByteArrays(entries)}}}
}

func TestSizes(t *testing.T) {
	sum := bytes.Repeat([]byte{7}, 32)
	good := append(append([]byte(nil), sum...), 0xac, 0x02, 5, 3)
	list, ok, err := sized(good, good[:35]).Sizes()
	if err != nil || !ok || len(list) != 2 || list[0].ArchivedBytes != 300 || list[0].UnpackedBytes != 5 || list[0].Type != ostree.TypeDirMeta || list[1].Type != 0 {
		t.Fatalf("%+v %v %v", list, ok, err)
	}
	if _, ok, err := (ostree.Commit{}).Sizes(); ok || err != nil {
		t.Errorf("nothing said: %v %v", ok, err)
	}
	for _, bad := range [][]byte{sum[:31], sum, append(append([]byte(nil), sum...), 0x80), append(append([]byte(nil), good...), 1)} {
		if _, _, err := sized(bad).Sizes(); !errors.Is(err, ostree.ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func FuzzSizes(f *testing.F) {
	f.Add(append(bytes.Repeat([]byte{1}, 32), 0xac, 0x02, 5, 3))
	f.Fuzz(func(t *testing.T, entry []byte) {
		if list, _, err := sized(entry).Sizes(); err == nil && len(list) != 1 {
			t.Fatalf("%x: %d entries", entry, len(list))
		}
	})
}
