// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/sign"
	"grove/internal/trust"
)

func le(n byte) string { return b(n) + zeros(7) } // 64 bits, little-endian

// le16 are offsets of a container of more than 255 bytes.
func le16(ends ...int) (out string) {
	for _, n := range ends {
		out += b(byte(n), byte(n>>8))
	}
	return out
}

// deltaExample is a delta from the sample tree to one in which a leads to c, hello says more, and jello is new: the part,
// the superblock, and the commit that they make. Nothing of it is made by the code that writes deltas.
func deltaExample(before ostree.Commit) (part, superblock []byteRun, after ostree.Commit) {
	h, _, top, meta, _ := sampleTree()
	link := ostree.FileHeader{Mode: ostree.SymlinkMode, Symlink: "c"}
	plain := ostree.FileHeader{Mode: ostree.DefaultFileMode}
	a, _, _ := link.Sum(strings.NewReader(""))
	hello, _, _ := h.Sum(strings.NewReader("hello again\n"))
	jello, _, _ := plain.Sum(strings.NewReader("jello\n"))
	tree := ostree.DirTree{Files: []ostree.TreeFile{{Name: "a", Checksum: a}, {Name: "hello", Checksum: hello}, {Name: "jello", Checksum: jello}}, Dirs: top.Dirs}
	dir := string(tree.Encode())
	after = ostree.Commit{Subject: "t", Timestamp: 1e9 + 1, Parent: before.Checksum(), Tree: tree.Checksum(), Meta: meta.Checksum()}

	const modesEnd, xattrsEnd = 24, 24 + 13 + 2
	data := []byteRun{{"c", "data: at 0 the target of a"}, {sum(top.Files[1].Checksum), "at 1 the file object to take from, the old hello"}, {" again\n", "at 33 what the new hello has behind it"},
		{le(6), "at 40 a patch: so many bytes are added to the source's"}, {le(0), "so many bytes are taken as they are"}, {le(0), "so far the source's place moves on then"},
		{b(2) + zeros(5), "what is added: h becomes j"}, {dir, "at 70 the new dirtree"}}
	ops := []byteRun{
		{"S" + b(0, 0, 1, 0), "program: a is mode 0, xattrs 0, 1 byte of the data at 0"},
		{"o" + b(1, 1, 12), "hello begins: mode 1, xattrs 1, 12 bytes"},
		{"r" + b(1), "the source is the file object at 1"}, {"w" + b(5, 0), "5 bytes of the source at 0"}, {"R", "no source any more"},
		{"w" + b(7, 33), "7 bytes of the data at 33"}, {"c", "hello ends"},
		{"r" + b(1), "the same source"}, {"o" + b(1, 0, 6), "jello begins"}, {"B" + b(40, 30), "the patch of 30 bytes at 40"}, {"c", "jello ends"},
		{"S" + b(byte(len(dir)&0x7f|0x80), byte(len(dir)>>7), 70), "the dirtree: its size as a varint of two bytes, at 70"},
	}
	dataEnd := xattrsEnd + len(joined(data))
	part = append(append([]byteRun{
		{b(0), "not compressed; offsets are counted from the next byte"},
		{be(0) + be(0) + be(0o120777), "modes[0]: uid, gid, mode"}, {be(0) + be(0) + be(0o100644), "modes[1]"},
		{"user.note\x00" + "x" + b(10, 12), "xattrs[1], as above; xattrs[0] is empty and has no bytes"}, {b(0, 13), "ends of xattrs[0] and xattrs[1]"}}, data...), ops...)
	part = append(part, byteRun{le16(dataEnd, xattrsEnd, modesEnd), "ends of data, xattrs, modes"})

	file := joined(part)
	objects := []byteRun{{b(1) + sum(a), "objects: a file, a"}, {b(1) + sum(hello), "a file, hello"}, {b(1) + sum(jello), "a file, jello"}, {b(2) + sum(tree.Checksum()), "a dirtree"}}
	commit := string(after.Encode())
	commitEnd := 104 + len(commit)
	partsAt := (commitEnd + 7) / 8 * 8
	partsEnd := partsAt + 4 + 32 + 4 + 16 + len(joined(objects)) + 2
	superblock = append([]byteRun{
		{"ostree.endianness\x00", "metadata[0]: key"}, {zeros(6), "padding"}, {"l", "value: numbers below are little-endian"}, {b(0) + "y", "its type"}, {b(18), "end of the key"}, {b(28), "end of metadata[0]"},
		{zeros(3), "padding"}, {be(0) + be(1e9+1), "timestamp, big-endian"}, {sum(before.Checksum()), "from"}, {sum(after.Checksum()), "to"},
		{commit, "the commit object; no prerequisites, so no bytes"}, {zeros(partsAt - commitEnd), "padding"},
		{zeros(4), "parts[0]: version"}, {sum(ostree.SumBytes([]byte(file))), "SHA-256 of the part file"}, {zeros(4), "padding"},
		{le(byte(len(file) & 0xff))[:1] + b(byte(len(file)>>8)) + zeros(6), "its size"}, {le(byte(1 + 12 + 6 + len(dir))), "size of what it makes"}}, objects...)
	superblock = append(superblock, byteRun{b(36), "end of the SHA-256"}, byteRun{b(byte(partsEnd - partsAt - 1)), "end of parts[0]"},
		byteRun{zeros((8 - partsEnd%8) % 8), "padding; no fallbacks, so no bytes"},
		byteRun{le16(partsEnd, commitEnd, commitEnd, 104, 72, 29), "ends of parts, prerequisites, commit, to, from, metadata"})
	return part, superblock, after
}

// The signed form of the superblock on the page is what a key vouches for, and what is delivered with it changed is not.
func TestFormatPageSignedDelta(t *testing.T) {
	r, before := sampleRepo(t)
	part, superblock, after := deltaExample(before)
	body, seed := joined(superblock), bytes.Repeat([]byte{7}, 32)
	signature, err := sign.SignEd25519(seed, []byte(body))
	ok(t, err)
	const key = "ostree.sign.ed25519"
	end := 8 + len(body)
	head := []byteRun{{"OSTSGNDT", "the magic number, of type t"}, {body[:16], "the superblock: the bytes above"}}
	tail := []byteRun{{zeros((8 - end%8) % 8), "padding, up to a multiple of 8"}, {key + "\x00", "signatures[0]: key"}, {zeros(4), "padding"},
		{string(signature), "value[0]: the signature over the superblock's bytes"}, {b(64), "end of value[0]"}, {b(0) + "aay", "the value's type"},
		{b(byte(len(key) + 1)), "end of the key"}, {b(94), "end of signatures[0]"}, {le16(end), "end of the superblock; the signatures come last and need none"}}
	file := joined(head) + body[16:] + joined(tail)

	policy, err := trust.Ed25519FromKeys(base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)))
	ok(t, err)
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "0"), []byte(joined(part)), 0o644))
	ctx := context.Background()
	for name, data := range map[string]string{"changed": strings.Replace(file, be(1e9+1), be(1e9+2), 1), "as it is": file} {
		ok(t, os.WriteFile(filepath.Join(dir, "superblock"), []byte(data), 0o644))
		got, err := delta.Apply(ctx, r, dir, delta.ApplyOptions{Policy: policy})
		if data == file && (err != nil || got != after.Checksum()) || data != file && !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("%s: %s, %v; want %s or that nobody vouches for it", name, got, err, after.Checksum())
		}
	}
	left := fmt.Sprintf("... %d bytes more of it\n", len(body)-16)
	onPage(t, "delta-signed", hexLines(head)+left+hexLines(tail))
}

// The delta on the page is one: it is read, and applied to the sample tree makes the commit.
func TestFormatPageDelta(t *testing.T) {
	r, before := sampleRepo(t)
	part, superblock, after := deltaExample(before)
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "superblock"), []byte(joined(superblock)), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "0"), []byte(joined(part)), 0o644))
	ctx := context.Background()
	got, err := delta.Apply(ctx, r, dir, delta.ApplyOptions{})
	if err != nil || got != after.Checksum() {
		t.Fatalf("applied: %s, %v; want %s", got, err, after.Checksum())
	}
	ok(t, r.SetRef("main", got))
	ok(t, r.Check(ctx))
	onPage(t, "delta-superblock", hexLines(superblock))
	onPage(t, "delta-part", hexLines(part))

	name, digest := ostree.DeltaName{From: before.Checksum(), To: got}, ostree.SumBytes([]byte(joined(superblock)))
	index := []byteRun{{"ostree.static-deltas\x00", "key"}, {zeros(3), "padding"}, {name.String() + "\x00", "its entry[0]: key, from and to in hex"}, {zeros(6), "padding"}, {sum(digest), "value: SHA-256 of the superblock"},
		{b(0) + "ay", "its type"}, {b(130), "end of the key"}, {b(172), "end of entry[0]"}, {b(0) + "a{sv}", "type of the value"}, {b(21), "end of the key"}, {b(204), "end of the only entry"}}
	if want := string(ostree.DeltaIndex([]ostree.DeltaDigest{{Name: name, Superblock: digest}})); want != joined(index) {
		t.Errorf("index: by hand\n%x\nby the code\n%x", joined(index), want)
	}
	onPage(t, "delta-index", hexLines(index))
}
