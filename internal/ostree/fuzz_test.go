// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"bytes"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// FuzzXattrs: a file-xattrs object that is taken encodes to itself, also inside user.ostreemeta.
func FuzzXattrs(f *testing.F) {
	xs := []ostree.Xattr{{Name: "user.note", Value: []byte("x")}, {Name: "security.capability", Value: make([]byte, 20)}}
	f.Add(ostree.EncodeXattrs(xs))
	f.Add(ostree.EncodeXattrs(nil))
	f.Add(ostree.EncodeUserMeta(ostree.FileHeader{UID: 1, Mode: ostree.DefaultFileMode, Xattrs: xs}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if xs, err := ostree.ParseXattrs(data); err == nil && !bytes.Equal(ostree.EncodeXattrs(xs), data) {
			t.Errorf("%x encoded again %x", data, ostree.EncodeXattrs(xs))
		}
		if h, err := ostree.ParseUserMeta(data); err == nil && !bytes.Equal(ostree.EncodeUserMeta(h), data) {
			t.Errorf("%x encoded again %x", data, ostree.EncodeUserMeta(h))
		}
	})
}

// FuzzCollections: what a summary says of other collections is made anew by what writes it.
func FuzzCollections(f *testing.F) {
	refs := []ostree.SummaryRef{{Name: "a", SizeBytes: 7, Commit: ostree.SumBytes(nil), Metadata: gvariant.Dict{{Key: ostree.RefCommitVersion, Value: gvariant.String("1")}}}}
	value := ostree.CollectionMapValue(map[string][]ostree.SummaryRef{"org.example.A": refs, "org.example.B": nil})
	f.Add(gvariant.Dict{{Key: ostree.SummaryCollectionMap, Value: value}, {Key: ostree.SummaryExpires, Value: ostree.TimeValue(5)}}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ostree.ParseDetached(data)
		if err != nil {
			return
		}
		ostree.Summary{Metadata: d}.ExpiresSec()
		all, err := ostree.CollectionMap(d)
		if err != nil {
			return
		}
		again, err := ostree.CollectionMap(gvariant.Dict{{Key: ostree.SummaryCollectionMap, Value: ostree.CollectionMapValue(all)}})
		if err != nil || len(again) != len(all) {
			t.Errorf("%x: %d collections, then %d, %v", data, len(all), len(again), err)
		}
	})
}
