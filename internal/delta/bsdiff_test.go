// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"io"
	"math/rand"
	"testing"
)

func apply(patch, old []byte, size int) ([]byte, error) {
	return io.ReadAll(io.LimitReader(newPatcher(patch, bytes.NewReader(old), int64(len(old)), int64(size)), int64(size)+1))
}

func TestPatches(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	base := make([]byte, 60_000)
	r.Read(base)
	moved := append(append(bytes.Clone(base[30_000:]), "in between"...), base[:30_000]...)
	edited := bytes.Clone(base)
	for i := 0; i < len(edited); i += 97 {
		edited[i] += byte(i)
	}
	texts := someTexts()
	for _, c := range []struct {
		name     string
		old, new []byte
		most     int64 // bytes that are not for free
	}{
		{"both empty", nil, nil, 0}, {"from nothing", nil, base, 60_000}, {"to nothing", base, nil, 0}, {"same", base, base, 0},
		{"moved", base, moved, 100}, {"edited", base, edited, 1000}, {"put in", base, append(bytes.Clone(base[:999]), base...), 100},
		{"taken out", base, append(bytes.Clone(base[:20_000]), base[23_000:]...), 50}, {"others", base, texts["few letters"], 3000},
		{"period", texts["period"], append(bytes.Clone(texts["period"]), 9, 9, 9), 10}, {"one byte", []byte{1}, []byte{2}, 2},
		{"same letters", texts["same"], bytes.Repeat([]byte{5}, 5000), 4000},
	} {
		for _, window := range []int{diffWindow, 10_000} {
			var patch bytes.Buffer
			stats, err := writePatch(&patch, c.old, c.new, window)
			if err != nil {
				t.Fatal(err)
			}
			got, err := apply(patch.Bytes(), c.old, len(c.new))
			if err != nil || !bytes.Equal(got, c.new) {
				t.Fatalf("%s, window %d: %d bytes, wanted %d: %v", c.name, window, len(got), len(c.new), err)
			}
			if window == diffWindow && stats.changed+stats.extra > c.most {
				t.Errorf("%s: %+v, wanted at most %d bytes", c.name, stats, c.most)
			}
		}
	}
}

func TestBadPatches(t *testing.T) {
	block := func(a, b, c int64, data string) []byte {
		return append(appendOffset(appendOffset(appendOffset(nil, a), b), c), data...)
	}
	old := []byte("0123456789")
	for name, c := range map[string]struct {
		patch []byte
		size  int
	}{
		"empty": {nil, 1}, "short": {block(1, 0, 0, "")[:23], 1}, "too much": {block(2, 0, 0, "ab"), 1}, "negative": {block(-1, 2, 0, "ab"), 1},
		"negative extra": {block(2, -1, 0, "ab"), 1}, "no data": {block(5, 5, 0, "abc"), 10}, "overflow": {block(1<<62, 1<<62, 0, "abc"), 10},
		"far away": {append(block(0, 0, 1<<62+1, ""), block(1, 0, 0, "a")...), 1}, "ends early": {block(1, 1, 0, "ab"), 3},
	} {
		if got, err := apply(c.patch, old, c.size); err == nil {
			t.Errorf("%s: made %q", name, got)
		}
	}
	// outside of the source there are zeros
	got, err := apply(append(block(0, 0, -2, ""), block(4, 0, 0, "\x01\x01\x01\x01")...), old, 4)
	if err != nil || string(got) != "\x01\x0112" {
		t.Errorf("before its start: %q, %v", got, err)
	}
	got, err = apply(append(block(0, 0, 9, ""), block(3, 1, 0, "\x01\x01\x01x")...), old, 4)
	if err != nil || string(got) != ":\x01\x01x" {
		t.Errorf("behind its end: %q, %v", got, err)
	}
}

func FuzzPatch(f *testing.F) {
	old := bytes.Repeat([]byte("some old bytes "), 20)
	var p bytes.Buffer
	writePatch(&p, old, []byte("some new bytes, some old bytes"), diffWindow)
	f.Add(p.Bytes(), old, 30)
	f.Add([]byte{}, []byte{}, 0)
	f.Fuzz(func(t *testing.T, patch, old []byte, size int) {
		if size < 0 || size > 1<<20 {
			return
		}
		if got, err := apply(patch, old, size); err == nil && len(got) != size {
			t.Fatalf("%d bytes, wanted %d", len(got), size)
		}
		if len(old)+len(patch) > 32<<10 {
			return
		}
		var again bytes.Buffer
		writePatch(&again, old, patch, 4096)
		if got, err := apply(again.Bytes(), old, len(patch)); err != nil || !bytes.Equal(got, patch) {
			t.Fatalf("a patch of our own: %v", err)
		}
	})
}
