// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"grove/internal/gvariant"
	"grove/internal/trust"
)

// padder writes, and pads to a multiple of 8.
type padder struct {
	counter
	err error
}

func (p *padder) bytes(b []byte) {
	if p.err == nil {
		_, p.err = p.Write(b)
	}
}

func (p *padder) pad8() { p.bytes(make([]byte, align8(p.n)-p.n)) }

// write writes the superblock. Where inline is not empty the part files of that folder go in.
func (sb *Superblock) write(f io.Writer, inline string) error {
	out := bufio.NewWriterSize(f, 256<<10)
	w := &padder{counter: counter{w: out}}
	sb.writeMetadata(w, inline)
	ends := []int64{w.n}
	w.pad8()
	var stamp [8]byte
	for i := range stamp {
		stamp[i] = byte(sb.Timestamp >> (56 - 8*i))
	}
	w.bytes(stamp[:])
	if !sb.Name.From.IsZero() {
		w.bytes(sb.Name.From[:])
	}
	ends = append(ends, w.n)
	w.bytes(sb.Name.To[:])
	ends = append(ends, w.n)
	w.pad8()
	w.bytes(sb.Commit)
	ends = append(ends, w.n, w.n) // and no parents
	parts, fallbacks := sb.lists()
	w.pad8()
	w.bytes(parts)
	ends = append(ends, w.n)
	w.pad8()
	w.bytes(fallbacks)
	for i, j := 0, len(ends)-1; i < j; i, j = i+1, j-1 { // a tuple's offsets stand in reverse
		ends[i], ends[j] = ends[j], ends[i]
	}
	w.bytes(appendOffsets(nil, w.n, ends...))
	if w.err != nil {
		return w.err
	}
	return out.Flush()
}

// writeMetadata writes the a{sv}: what the caller gave, the byte order, inline parts, detached metadata.
func (sb *Superblock) writeMetadata(w *padder, inline string) {
	var ends []int64
	add := func(key string, v gvariant.Value) {
		w.pad8()
		w.bytes(gvariant.Encode(gvariant.DictEntry(gvariant.String(key), gvariant.Variant(v))))
		ends = append(ends, w.n)
	}
	for _, e := range sb.Metadata {
		add(e.Key, e.Value)
	}
	add(keyEndianness, gvariant.Byte(byte(sb.Order)))
	if inline != "" {
		for i := range sb.Parts {
			w.pad8()
			sb.writeInline(w, inline, i)
			ends = append(ends, w.n)
		}
	}
	if len(sb.Detached) > 0 {
		add(sb.Name.Dir()+"/commitmeta", sb.Detached.Value())
	}
	w.bytes(appendOffsets(nil, w.n, ends...))
}

// writeInline writes the entry of a part: its key, and its file as a (yay).
func (sb *Superblock) writeInline(w *padder, dir string, i int) {
	if w.err != nil {
		return
	}
	start := w.n
	key := sb.Name.Dir() + "/" + strconv.Itoa(i)
	w.bytes(append([]byte(key), 0))
	keyEnd := w.n - start
	w.pad8() // an entry begins at a multiple of 8 itself
	f, err := os.Open(filepath.Join(dir, strconv.Itoa(i)))
	if err != nil {
		w.err = err
		return
	}
	defer f.Close()
	if _, err := io.Copy(&w.counter, f); err != nil {
		w.err = err
		return
	}
	w.bytes([]byte("\x00(yay)"))
	w.bytes(appendOffsets(nil, w.n-start, keyEnd))
}

// lists encodes parts and fallbacks.
func (sb *Superblock) lists() (parts, fallbacks []byte) {
	n32 := func(n uint32) gvariant.Value {
		if sb.Order == BigEndian {
			n = gvariant.Swap32(n)
		}
		return gvariant.Uint32(n)
	}
	n64 := func(n uint64) gvariant.Value {
		if sb.Order == BigEndian {
			n = gvariant.Swap64(n)
		}
		return gvariant.Uint64(n)
	}
	pv := make([]gvariant.Value, len(sb.Parts))
	for i, p := range sb.Parts {
		pv[i] = gvariant.Tuple(n32(maxPartVersion), gvariant.Bytes(p.Checksum[:]), n64(p.SizeBytes), n64(p.UsizeBytes), gvariant.Bytes(p.Objects))
	}
	fv := make([]gvariant.Value, len(sb.Fallbacks))
	for i, f := range sb.Fallbacks {
		fv[i] = gvariant.Tuple(gvariant.Byte(byte(f.Type)), gvariant.Bytes(f.Checksum[:]), n64(f.SizeBytes), n64(f.UsizeBytes))
	}
	return gvariant.Encode(gvariant.Array("(uayttay)", pv...)), gvariant.Encode(gvariant.Array("(yaytt)", fv...))
}

// signFile puts a superblock and signatures over it in place of the file at path, which f is, and returns the new file.
func signFile(ctx context.Context, f *os.File, path string, signers []trust.Signer) (*os.File, error) {
	body, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	defer body.free()
	if len(body.data) > maxSignedSizeBytes {
		return nil, corruptf("a signed superblock of %d bytes, at most %d can be read", len(body.data), maxSignedSizeBytes)
	}
	sigs, err := trust.Sign(ctx, signers, body.data, nil)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	b := bufio.NewWriterSize(out, 256<<10)
	w := &padder{counter: counter{w: b}}
	w.bytes([]byte(signedMagic))
	w.bytes(body.data)
	end := w.n
	w.pad8()
	w.bytes(sigs.Encode())
	w.bytes(appendOffsets(nil, w.n, end))
	if w.err == nil {
		w.err = b.Flush()
	}
	if w.err != nil {
		out.Close()
		return nil, w.err
	}
	return out, nil
}
