// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"bytes"
	"encoding/binary"
	"hash/adler32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpmdb"
)

// makeNDB makes a Packages.db of blobs; the rest of its one page of slots is free.
func makeNDB(blobs map[uint32]string) []byte {
	le := binary.LittleEndian
	head := append([]byte("RpmP"), make([]byte, 28)...)
	le.PutUint32(head[12:], 1)
	var slots, body []byte
	for hnum := uint32(1); hnum <= 254; hnum++ {
		slots = append(slots, "Slot"...)
		data, used := blobs[hnum]
		if !used {
			slots = append(slots, make([]byte, 12)...)
			continue
		}
		at := len(body)
		body = append(body, "BlbS"...)
		for _, n := range []uint32{hnum, 1, uint32(len(data))} {
			body = le.AppendUint32(body, n)
		}
		body = append(body, data...)
		for (len(body)-at+12)%16 != 0 {
			body = append(body, 0)
		}
		body = le.AppendUint32(body, adler32.Checksum(body[at:]))
		body = le.AppendUint32(body, uint32(len(data)))
		body = append(body, "BlbE"...)
		for _, n := range []uint32{hnum, uint32(4096+at) / 16, uint32(len(body)-at) / 16} {
			slots = le.AppendUint32(slots, n)
		}
	}
	return append(append(head, slots...), body...)
}

// makeBDB makes a Packages of blobs with pages of 512 bytes: small ones in the hash page, large ones in overflow pages.
func makeBDB(order binary.ByteOrder, blobs map[uint32]string) []byte {
	const size = 512
	page := func(typ byte) []byte {
		p := make([]byte, size)
		p[25] = typ
		return p
	}
	meta, hash := page(8), page(13)
	order.PutUint32(meta[12:], 0x061561)
	order.PutUint32(meta[16:], 9)
	order.PutUint32(meta[20:], size)
	pages := [][]byte{meta, hash}
	end, count := size, 0
	put := func(item []byte) {
		end -= len(item)
		copy(hash[end:], item)
		order.PutUint16(hash[26+2*count:], uint16(end))
		count++
	}
	key := func(n uint32) []byte {
		k := []byte{1, 0, 0, 0, 0}
		order.PutUint32(k[1:], n)
		return k
	}
	put(key(0))
	put([]byte{1, 9, 0, 0, 0})
	for hnum := uint32(1); hnum < 16; hnum++ {
		data, used := blobs[hnum]
		if !used {
			continue
		}
		put(key(hnum))
		if len(data) < 64 {
			put(append([]byte{1}, data...))
			continue
		}
		item := make([]byte, 12)
		item[0] = 3
		order.PutUint32(item[4:], uint32(len(pages)))
		order.PutUint32(item[8:], uint32(len(data)))
		put(item)
		for len(data) > 0 {
			p := page(7)
			n := copy(p[26:], data)
			order.PutUint16(p[22:], uint16(n))
			if data = data[n:]; len(data) > 0 {
				order.PutUint32(p[16:], uint32(len(pages)+1))
			}
			pages = append(pages, p)
		}
	}
	order.PutUint16(hash[20:], uint16(count))
	return bytes.Join(pages, nil)
}

var someBlobs = map[uint32]string{1: "first", 3: strings.Repeat("large", 400), 7: strings.Repeat("x", 486), 9: ""}

func TestReadMadeDatabases(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		bdb  bool
	}{
		"ndb": {makeNDB(someBlobs), false}, "little": {makeBDB(binary.LittleEndian, someBlobs), true}, "big": {makeBDB(binary.BigEndian, someBlobs), true},
	} {
		got, err := rpmdb.ParseOld(c.data, c.bdb)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(someBlobs, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDamagedDatabases(t *testing.T) {
	ndb, bdb := makeNDB(someBlobs), makeBDB(binary.LittleEndian, someBlobs)
	for name, c := range map[string]struct {
		data []byte
		bdb  bool
		at   int
		to   string
		want string
	}{
		"ndb magic":    {ndb, false, 0, "X", "no ndb magic"},
		"ndb version":  {ndb, false, 4, "\x01", "ndb version 1, want 0"},
		"ndb pages":    {ndb, false, 12, "\xff\xff\xff\xff", "17592186040320 bytes of slots, file has 6736"},
		"ndb slot":     {ndb, false, 32, "x", "slot at 32: magic"},
		"ndb block":    {ndb, false, 40, "\xff\xff\xff\x0f", "package 1: blob at 4294967280, file has 6736 bytes"},
		"ndb content":  {ndb, false, 4096 + 17, "F", "package 1: blob at 4096: checksum"},
		"ndb length":   {ndb, false, 4096 + 12, "\xff\xff\xff\xff", "package 1: blob at 4096: 4294967295 bytes, file ends after 2640"},
		"bdb magic":    {bdb, true, 12, "\x62\x31\x05", "want a Berkeley DB hash"},
		"bdb size":     {bdb, true, 20, "\x01\x02", "page size 513"},
		"bdb items":    {bdb, true, 512 + 20, "\xff\xff", "page 1: 65535 items"},
		"bdb odd":      {bdb, true, 512 + 20, "\x03", "page 1: 3 items"},
		"bdb offset":   {bdb, true, 512 + 26, "\x00\x00", "page 1: item 0 at 0"},
		"bdb key":      {bdb, true, 1024 - 5, "\x02", "item 0: key of type 2 and 4 bytes, want a package number"},
		"bdb overflow": {bdb, true, 1024 + 25, "\x08", "page 2 of type 8 has 486"},
		"bdb loop":     {bdb, true, 1024 + 16, "\x02", "value of 2000 bytes: page 2 of type 7 has 486"},
		"bdb end":      {bdb, true, 1024 + 16, "\xff", "value of 2000 bytes breaks off after 486: page 255"},
	} {
		data := bytes.Clone(c.data)
		copy(data[c.at:], c.to)
		_, err := rpmdb.ParseOld(data, c.bdb)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestRichNames(t *testing.T) {
	for dep, want := range map[string]string{
		"(a and b)": "a b", "(a if b)": "a !b", "(a if b else c)": "a b c !b", "((a or b) unless (c or d))": "a b !c !d", "(a": "", "foo": "", "(a >= 1 with a < 2)": "a",
		"(foo(x86-64) or bar)": "bar foo(x86-64)", "(a and b or c)": "", "(a and rpmlib(X))": "a", strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100): "",
	} {
		if got := strings.Join(rpmdb.RichNames(dep), " "); got != want {
			t.Errorf("%s: got %q, want %q", dep, got, want)
		}
	}
}

func FuzzOld(f *testing.F) {
	f.Add(makeNDB(someBlobs), false)
	f.Add(makeBDB(binary.LittleEndian, someBlobs), true)
	f.Add(makeBDB(binary.BigEndian, someBlobs), true)
	if data, err := os.ReadFile(filepath.Join(shared(), "data/rpmdb/bdb/osv-scalibr-epoch/Packages")); err == nil {
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, bdb bool) {
		blobs, err := rpmdb.ParseOld(data, bdb)
		total := 0
		for _, b := range blobs {
			total += len(b)
		}
		if err == nil && total > 2*len(data) {
			t.Errorf("%d bytes from %d", total, len(data))
		}
	})
}

func FuzzRichNames(f *testing.F) {
	for _, r := range rich {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, dep string) {
		for _, n := range rpmdb.RichNames(dep) {
			if n == "" {
				t.Errorf("%q: empty name", dep)
			}
		}
	})
}
