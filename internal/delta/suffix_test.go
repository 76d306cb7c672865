// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"math/rand"
	"slices"
	"testing"
)

func someTexts() map[string][]byte {
	r := rand.New(rand.NewSource(1))
	few := make([]byte, 3000)
	for i := range few {
		few[i] = byte(r.Intn(3))
	}
	random := make([]byte, 3000)
	r.Read(random)
	return map[string][]byte{
		"empty": nil, "one": {7}, "two": {1, 0}, "same": bytes.Repeat([]byte{5}, 1000), "period": bytes.Repeat([]byte("abcab"), 300),
		"few letters": few, "random": random, "ends high": {255, 255, 0, 255}, "mississippi": []byte("mississippi"),
	}
}

func TestSuffixArray(t *testing.T) {
	for name, text := range someTexts() {
		want := make([]int32, len(text))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortFunc(want, func(a, b int32) int { return bytes.Compare(text[a:], text[b:]) })
		if got := suffixArray(text); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, wanted %v", name, got[:min(20, len(got))], want[:min(20, len(want))])
		}
	}
}

func TestLongestMatch(t *testing.T) {
	for name, text := range someTexts() {
		x := newIndex(text)
		r := rand.New(rand.NewSource(2))
		for range 300 {
			var want []byte
			if len(text) > 3 {
				i := r.Intn(len(text))
				want = append(want, text[i:min(len(text), i+r.Intn(40))]...)
			}
			want = append(want, byte(r.Intn(256)), byte(r.Intn(4)))
			best := 0
			for i := range text {
				best = max(best, common(text[i:], want))
			}
			if best < 2 {
				best = 0
			}
			pos, n := x.longest(want)
			if n != best || !bytes.Equal(text[pos:pos+n], want[:n]) {
				t.Fatalf("%s: %q: got %d at %d, wanted %d", name, want, n, pos, best)
			}
		}
	}
}
