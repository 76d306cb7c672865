// SPDX-License-Identifier: Apache-2.0

package inflate_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"grove/internal/inflate"
)

// contents are of the kinds that give all kinds of blocks.
func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text bytes.Buffer
	for text.Len() < 400_000 {
		fmt.Fprintf(&text, "%d bottles of beer on the %x wall\n", r.IntN(100), r.Uint32()>>r.IntN(32))
	}
	skewed := make([]byte, 300_000) // many symbols, most of them rare: long codes
	for i := range skewed {
		skewed[i] = byte(min(r.ExpFloat64()*9, 255))
	}
	far := append(bytes.Clone(noise[:32<<10]), bytes.Repeat(noise[:32<<10], 3)...)
	return map[string][]byte{
		"nothing": {}, "one byte": {7}, "short": []byte("hello hello hello"), "zeros": make([]byte, 300_000), "noise": noise,
		"text": text.Bytes(), "long codes": skewed, "as far back as can be": far, "pairs": bytes.Repeat([]byte("ab"), 70_000),
		"text, then noise": append(bytes.Clone(text.Bytes()[:100_000]), noise[:90_000]...),
	}
}

func deflate(t testing.TB, level int, parts ...[]byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		w.Write(p)
		w.Flush()
	}
	w.Close()
	return b.Bytes()
}

func inflated(src []byte, size int) ([]byte, int, error) {
	var d inflate.Decoder
	dst := make([]byte, size+inflate.Slack)
	n, used, err := d.Bytes(dst, src)
	return dst[:n], used, err
}

func TestRoundTrip(t *testing.T) {
	z := inflate.NewReader(nil)
	for name, want := range contents() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			t.Run(fmt.Sprintf("%s at %d", name, level), func(t *testing.T) {
				half := len(want) / 2
				src := deflate(t, level, want[:half], want[half:])
				long := append(bytes.Clone(src), "what follows"...)
				got, used, err := inflated(long, len(want))
				if err != nil || used != len(src) || !bytes.Equal(got, want) {
					t.Errorf("from memory: %d bytes of %d, equal %v, %v; got %d, wanted %d", used, len(src), bytes.Equal(got, want), err, len(got), len(want))
				}
				for how, in := range map[string]io.Reader{
					"whole": bytes.NewReader(long), "by bytes": iotest.OneByteReader(bytes.NewReader(long)),
					"by halves": iotest.HalfReader(bytes.NewReader(long)), "with its end": iotest.DataErrReader(bytes.NewReader(long)),
				} {
					z.Reset(in)
					if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
						t.Errorf("from a stream, %s: %d bytes, wanted %d, %v", how, len(got), len(want), err)
					}
				}
				rest := bytes.NewReader(long)
				z.Reset(rest)
				io.Copy(io.Discard, z)
				if n := rest.Len() + z.Buffered(); n != len("what follows") {
					t.Errorf("%d bytes are left of what follows", n)
				}
			})
		}
	}
}

func TestTooShortOrTooLong(t *testing.T) {
	for name, want := range contents() {
		src := deflate(t, 6, want)
		if len(want) > 0 {
			if _, _, err := inflated(src, len(want)-1); !errors.Is(err, inflate.ErrTooLong) {
				t.Errorf("%s into one byte too few: %v", name, err)
			}
		}
		for _, cut := range []int{0, 1, len(src) / 2, len(src) - 1} {
			if _, _, err := inflated(src[:cut], len(want)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, cut, len(src), err)
			}
			z := inflate.NewReader(bytes.NewReader(src[:cut]))
			if _, err := io.Copy(io.Discard, z); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut to %d of %d bytes, as a stream: %v", name, cut, len(src), err)
			}
		}
		broken := errors.New("the line is broken")
		z := inflate.NewReader(io.MultiReader(bytes.NewReader(src[:len(src)/2]), iotest.ErrReader(broken)))
		if _, err := io.Copy(io.Discard, z); !errors.Is(err, broken) {
			t.Errorf("%s on a line that breaks: %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ what, hex string }{
		{"block of type 3", "07"},
		{"stored length and its complement differ", "01 0100 0000 61"},
		{"distance beyond the beginning", "4b04 42 00"}, // a, then 3 bytes from 2 before
		{"287 lengths", "f5 00 00 00 00 00 00 00"},
		{"31 distances", "05 1f 00 00 00 00 00 00"},
		{"too many codes", "04 00 fe ff ff ff ff ff ff ff"},
		{"no code for what comes", "05 00 00 00 00 00 00 00 00 00"},
		{"run of lengths that goes on from nothing", "04 00 02 24 00 00 00 00 00 00"},
	} {
		src, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := io.ReadAll(flate.NewReader(bytes.NewReader(src))); err == nil {
			t.Errorf("%s: the standard library reads %q", c.what, out)
		}
		if _, _, err := inflated(src, 100); !errors.Is(err, inflate.ErrCorrupt) {
			t.Errorf("%s: %v, wanted %v", c.what, err, inflate.ErrCorrupt)
		}
		if _, err := io.ReadAll(inflate.NewReader(bytes.NewReader(src))); !errors.Is(err, inflate.ErrCorrupt) {
			t.Errorf("%s, as a stream: %v, wanted %v", c.what, err, inflate.ErrCorrupt)
		}
	}
}

// agree holds both ways against the standard library.
func agree(t *testing.T, src []byte) {
	const most = 1 << 20
	want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(src)), most))
	if len(want) == most {
		return
	}
	got, _, err := inflated(src, len(want))
	if (err == nil) != (wantErr == nil) && !(wantErr != nil && errors.Is(err, inflate.ErrTooLong)) {
		t.Fatalf("from memory: %v, the standard library: %v", err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatal("from memory: other content")
	}
	got, err = io.ReadAll(inflate.NewReader(iotest.HalfReader(bytes.NewReader(src))))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("as a stream: %v, the standard library: %v", err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatal("as a stream: other content")
	}
	if len(got) > len(want) && !bytes.HasPrefix(got, want) || len(got) <= len(want) && !bytes.HasPrefix(want, got) {
		t.Fatal("as a stream: other content before the end")
	}
}

// TestDamage flips bits of good streams: what both make of them is the same.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, content := range contents() {
		src := deflate(t, 6, content[:min(len(content), 3000)])
		for range 300 {
			bad := bytes.Clone(src)
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			agree(t, bad)
			if t.Failed() {
				t.Fatal(name)
			}
		}
	}
}

func FuzzAgree(f *testing.F) {
	for _, content := range contents() {
		for _, level := range []int{0, 1, 9} {
			f.Add(deflate(f, level, content[:min(len(content), 2000)]))
		}
	}
	f.Fuzz(agree)
}

func BenchmarkText(b *testing.B) {
	content := contents()["text"]
	src := deflate(b, 6, content)
	dst := make([]byte, len(content)+inflate.Slack)
	var d inflate.Decoder
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, _, err := d.Bytes(dst, src); err != nil {
			b.Fatal(err)
		}
	}
}
