// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"grove/internal/ostree"
	"grove/internal/repo"
)

func testRepo(t testing.TB) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.BareUser)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// onePart makes a part with one file object in it by hand, packed in the given way.
func onePart(t testing.TB, r *repo.Repo, kind byte, f func(p *partBuilder, h ostree.FileHeader) Object) (Part, []byte) {
	t.Helper()
	b := newBuilder(r, t.TempDir(), 1<<20)
	p, err := b.part(0)
	if err != nil {
		t.Fatal(err)
	}
	f(p, ostree.FileHeader{Mode: ostree.ModeRegular | 0o644})
	if err := p.data.Flush(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.packAs(&out, kind); err != nil {
		t.Fatal(err)
	}
	p.file.Close()
	return Part{Checksum: ostree.SumBytes(out.Bytes()), SizeBytes: uint64(out.Len()), UsizeBytes: p.usize, Objects: p.objects}, out.Bytes()
}

func fileObject(h ostree.FileHeader, content string) Object {
	c, _, _ := h.Sum(strings.NewReader(content))
	return Object{ostree.TypeFile, c}
}

func applyPart(r *repo.Repo, part Part, data []byte) error {
	tx, err := r.Begin(context.Background())
	if err != nil {
		return err
	}
	defer tx.Abort()
	sb := &Superblock{Parts: []Part{part}}
	if err := sb.ApplyPart(context.Background(), tx, 0, bytes.NewReader(data)); err != nil {
		return err
	}
	return tx.Commit()
}

// Every operation, in every order that makes sense, packed or not.
func TestOperations(t *testing.T) {
	r := testRepo(t)
	const old = "0123456789 is what the source says"
	h := ostree.FileHeader{Mode: ostree.ModeRegular | 0o644}
	source := fileObject(h, old)
	tx, err := r.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.PutFile(h, int64(len(old)), strings.NewReader(old)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var patch bytes.Buffer
	if _, err := writePatch(&patch, []byte(old), []byte("it is what the source said"), diffWindow); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content string
		ops     func(p *partBuilder, mode, xattrs uint64)
		bad     bool
	}{
		"splice": {"own", func(p *partBuilder, m, x uint64) { at, _ := p.addBytes([]byte("own")); p.op('S', m, x, 3, at) }, false},
		"empty":  {"", func(p *partBuilder, m, x uint64) { p.op('S', m, x, 0, 0) }, false},
		"pieces": {"own and own", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes([]byte("own and "))
			p.op('o', m, x, 11)
			p.op('w', 8, at)
			p.op('w', 3, at)
			p.op('c')
		}, false},
		"source": {"source 0123", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes(append([]byte("source "), source.Checksum[:]...))
			p.op('o', m, x, 11)
			p.op('w', 7, at)
			p.op('r', at+7)
			p.op('w', 4, 0)
			p.op('R')
			p.op('c')
		}, false},
		"patch": {"it is what the source said", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes(source.Checksum[:])
			to, _ := p.addBytes(patch.Bytes())
			p.op('r', at)
			p.op('o', m, x, 26)
			p.op('B', to, uint64(patch.Len()))
			p.op('c')
			p.op('R')
		}, false},
		"other content":   {"own", func(p *partBuilder, m, x uint64) { at, _ := p.addBytes([]byte("not")); p.op('S', m, x, 3, at) }, true},
		"beyond the data": {"own", func(p *partBuilder, m, x uint64) { p.op('S', m, x, 3, 1<<40) }, true},
		"no such mode":    {"own", func(p *partBuilder, m, x uint64) { at, _ := p.addBytes([]byte("own")); p.op('S', 7, x, 3, at) }, true},
		"no such xattrs":  {"own", func(p *partBuilder, m, x uint64) { at, _ := p.addBytes([]byte("own")); p.op('S', m, 7, 3, at) }, true},
		"not closed":      {"", func(p *partBuilder, m, x uint64) { p.op('o', m, x, 0) }, true},
		"too short":       {"own", func(p *partBuilder, m, x uint64) { p.op('o', m, x, 3); p.op('c') }, true},
		"too long": {"own", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes([]byte("owned"))
			p.op('o', m, x, 3)
			p.op('w', 5, at)
			p.op('c')
		}, true},
		"absurd size": {"own", func(p *partBuilder, m, x uint64) { p.op('o', m, x, 1<<63); p.op('c') }, true},
		"no source":   {"own", func(p *partBuilder, m, x uint64) { p.op('o', m, x, 3); p.op('B', 0, 0); p.op('c') }, true},
		"behind source": {"own", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes(source.Checksum[:])
			p.op('o', m, x, 3)
			p.op('r', at)
			p.op('w', 3, 1000)
			p.op('c')
		}, true},
		"source not there": {"own", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes(make([]byte, 32))
			p.op('o', m, x, 3)
			p.op('r', at)
			p.op('w', 3, 0)
			p.op('c')
		}, true},
		"unknown":       {"own", func(p *partBuilder, m, x uint64) { p.op('?') }, true},
		"half a number": {"own", func(p *partBuilder, m, x uint64) { p.ops = append(p.ops, 'o', 0x80) }, true},
		"nothing":       {"own", func(p *partBuilder, m, x uint64) {}, true},
		"write outside": {"own", func(p *partBuilder, m, x uint64) { p.op('w', 0, 0) }, true},
		"twice": {"own", func(p *partBuilder, m, x uint64) {
			at, _ := p.addBytes([]byte("own"))
			p.op('S', m, x, 3, at)
			p.op('S', m, x, 3, at)
		}, true},
	} {
		for _, kind := range []byte{'x', 0} {
			var o Object
			part, data := onePart(t, r, kind, func(p *partBuilder, h ostree.FileHeader) Object {
				o = fileObject(h, c.content)
				p.begin(o, int64(len(c.content)))
				m, x := p.header(h)
				c.ops(p, m, x)
				return o
			})
			err := applyPart(r, part, data)
			if c.bad && !errors.Is(err, ostree.ErrCorrupt) && !errors.Is(err, repo.ErrNotFound) || !c.bad && err != nil {
				t.Errorf("%s, packed as %q: %v", name, kind, err)
			}
			if r.Has(o.Type, o.Checksum) == c.bad {
				t.Errorf("%s: its object is there: %v", name, c.bad)
			}
			if err := applyPart(r, part, append(bytes.Clone(data), 0)); !c.bad && !errors.Is(err, ostree.ErrCorrupt) {
				t.Errorf("%s with a byte more: %v", name, err)
			}
			if !c.bad {
				os.Remove(r.ObjectPath(o.Type, o.Checksum)) // the next one shall make it, too
			}
		}
	}
}

// A part that unpacks to more than it can need is given up early.
func TestBomb(t *testing.T) {
	r := testRepo(t)
	var out bytes.Buffer
	out.WriteByte('x')
	z, err := newXZWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 40 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	part := Part{Checksum: ostree.SumBytes(out.Bytes()), SizeBytes: uint64(out.Len()), UsizeBytes: 100}
	if err := applyPart(r, part, out.Bytes()); err == nil || !strings.Contains(err.Error(), "it unpacks to more than") {
		t.Error(err)
	}
}

// Both ways to compress, the host's program and Go's, give what the reader takes.
func TestXZWriter(t *testing.T) {
	for name, begin := range map[string]func(io.Writer) (io.WriteCloser, error){"as the host can": newXZWriter, "in Go": newGoXZWriter} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			z, err := begin(&out)
			if err != nil {
				t.Fatal(err)
			}
			text := bytes.Repeat([]byte("some text, "), 100_000)
			for _, n := range []int{0, 1, 300_000, len(text) - 300_001} {
				if _, err := z.Write(text[:n]); err != nil {
					t.Fatal(err)
				}
				text = append(text[n:], text[:n]...)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(text); err == nil {
				t.Error("written after it was closed")
			}
			r := testRepo(t)
			b, err := unpack(r, bufioOf(append([]byte{'x'}, out.Bytes()...)), 1<<30)
			if err != nil || !bytes.Equal(b.data, text) {
				t.Errorf("%v", err)
			}
			b.free()
		})
	}
}

// A disk that is full below the compressor is what the error is about.
func TestXZWriterFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil && os.Getenv("GROVE_CI") == "1" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip("needs /dev/full")
	}
	defer full.Close()
	z, err := newXZWriter(struct{ io.Writer }{full})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write(make([]byte, 8<<20))
	if err := z.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want no space left on device", err)
	}
}

func FuzzPayload(f *testing.F) {
	r := testRepo(f)
	h := ostree.FileHeader{Mode: ostree.ModeRegular | 0o644, Xattrs: []ostree.Xattr{{Name: "user.x", Value: []byte("y")}}}
	_, data := onePart(f, r, 0, func(p *partBuilder, _ ostree.FileHeader) Object {
		o := fileObject(h, "own")
		p.begin(o, 3)
		m, x := p.header(h)
		at, _ := p.addBytes([]byte("own"))
		p.op('o', m, x, 3)
		p.op('w', 3, at)
		p.op('c')
		return o
	})
	o := fileObject(h, "own")
	f.Add(data[1:], append([]byte{byte(ostree.TypeFile)}, o.Checksum[:]...))
	f.Add(data[1:], bytes.Repeat([]byte{byte(ostree.TypeDirTree)}, 33))
	f.Fuzz(func(t *testing.T, data, objects []byte) {
		objects = objects[:len(objects)/objectEntryLen*objectEntryLen]
		p, err := parsePayload(data)
		if err != nil {
			return
		}
		list, _, err := p.scan(objects)
		if err != nil {
			return
		}
		for _, m := range list {
			if m.object.Type != ostree.TypeFile || m.splice || m.size > 1<<20 {
				continue
			}
			w := &worker{p: p}
			n, _ := io.Copy(io.Discard, io.LimitReader(noSource{&pieces{w: w, pos: m.from, size: int64(m.size)}, m}, 1<<20))
			_ = n
		}
	})
}

// noSource reads pieces of files that have no source: there is no repository to take one from.
type noSource struct {
	r *pieces
	m made
}

func (n noSource) Read(b []byte) (int, error) {
	if n.m.source != nil || bytes.ContainsAny(n.r.w.p.ops[n.m.from:n.m.to], "rB") {
		return 0, io.EOF
	}
	return n.r.Read(b)
}

func bufioOf(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }
