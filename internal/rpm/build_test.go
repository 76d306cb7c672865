// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/rpmpack"

	"grove/internal/rpm"
)

// tag is one entry of a header that a test makes by hand.
type tag struct {
	num, typ, count uint32
	data            []byte
}

func str(num uint32, s string) tag { return tag{num, rpm.TypeString, 1, append([]byte(s), 0)} }

func strs(num uint32, list ...string) tag {
	return tag{num, rpm.TypeStringArray, uint32(len(list)), []byte(strings.Join(list, "\x00") + "\x00")}
}

func ints(num uint32, list ...uint32) tag {
	t := tag{num: num, typ: rpm.TypeInt32, count: uint32(len(list))}
	for _, v := range list {
		t.data = binary.BigEndian.AppendUint32(t.data, v)
	}
	return t
}

func shorts(num uint32, list ...uint16) tag {
	t := tag{num: num, typ: rpm.TypeInt16, count: uint32(len(list))}
	for _, v := range list {
		t.data = binary.BigEndian.AppendUint16(t.data, v)
	}
	return t
}

// blob makes a header with a region around all tags, without magic.
func blob(region uint32, tags ...tag) []byte {
	be := binary.BigEndian
	var index, data []byte
	for _, t := range tags {
		align := map[uint32]int{rpm.TypeInt16: 2, rpm.TypeInt32: 4, rpm.TypeInt64: 8}[t.typ]
		for align > 0 && len(data)%align != 0 {
			data = append(data, 0)
		}
		for _, v := range []uint32{t.num, t.typ, uint32(len(data)), t.count} {
			index = be.AppendUint32(index, v)
		}
		data = append(data, t.data...)
	}
	n := uint32(len(tags) + 1)
	var first []byte
	for _, v := range []uint32{region, rpm.TypeBin, uint32(len(data)), 16} {
		first = be.AppendUint32(first, v)
	}
	for _, v := range []uint32{region, rpm.TypeBin, -n * 16, 16} {
		data = be.AppendUint32(data, v)
	}
	out := be.AppendUint32(nil, n)
	out = be.AppendUint32(out, uint32(len(data)))
	return append(append(append(out, first...), index...), data...)
}

var magic = []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}

// pack puts a package together.
func pack(sig, header, payload []byte) []byte {
	lead := make([]byte, 96)
	copy(lead, []byte{0xed, 0xab, 0xee, 0xdb, 3, 0})
	copy(lead[10:], "made-1-1")
	lead[79] = 5
	out := append(lead, magic...)
	out = append(out, sig...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	out = append(out, magic...)
	out = append(out, header...)
	return append(out, payload...)
}

// made is a small package by hand: three hard links and one plain file, uncompressed, files digested with sha256.
type made struct {
	tags    []tag
	payload []byte
	sig     []tag
}

const made1, made2 = "hard linked content\n", "plain\n"

func sum(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

func newMade(stripped bool) *made {
	m := &made{}
	var p bytes.Buffer
	member := func(i int, name, content string) {
		if stripped {
			fmt.Fprintf(&p, "07070X%08x", i)
		} else {
			fmt.Fprintf(&p, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i, 0o100644, 0, 0, 3, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
			p.WriteString(name + "\x00")
		}
		for p.Len()%4 != 0 {
			p.WriteByte(0)
		}
		p.WriteString(content)
		for p.Len()%4 != 0 {
			p.WriteByte(0)
		}
	}
	member(0, "./usr/a", "")
	member(1, "./usr/b", "")
	member(3, "./usr/d", made2)
	member(2, "./usr/c", made1)
	trailer := "TRAILER!!!"
	fmt.Fprintf(&p, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(trailer)+1, 0)
	p.WriteString(trailer + "\x00")
	for p.Len()%4 != 0 {
		p.WriteByte(0)
	}
	m.payload = p.Bytes()
	m.tags = []tag{
		str(rpm.TagName, "made"), str(rpm.TagVersion, "1"), str(rpm.TagRelease, "1"), str(rpm.TagArch, "noarch"),
		str(rpm.TagSourceRPM, "made-1-1.src.rpm"),
		ints(rpm.TagFileSizes, uint32(len(made1)), uint32(len(made1)), uint32(len(made1)), uint32(len(made2))),
		shorts(rpm.TagFileModes, 0o100644, 0o100644, 0o100644, 0o100644),
		strs(rpm.TagFileDigests, sum(made1), sum(made1), sum(made1), sum(made2)),
		strs(rpm.TagFileLinkTos, "", "", "", ""),
		ints(rpm.TagFileFlags, 0, 0, 0, 0),
		strs(rpm.TagFileUserName, "root", "root", "root", "daemon"),
		strs(rpm.TagFileGroupName, "root", "root", "root", "daemon"),
		ints(rpm.TagFileDevices, 1, 1, 1, 1), ints(rpm.TagFileInodes, 7, 7, 7, 8),
		ints(rpm.TagDirIndexes, 0, 0, 0, 0), strs(rpm.TagBasenames, "a", "b", "c", "d"), strs(rpm.TagDirNames, "/usr/"),
		str(rpm.TagPayloadFormat, "cpio"), str(rpm.TagPayloadCompressor, "none"), ints(rpm.TagFileDigestAlgo, 8),
		strs(rpm.TagPayloadDigest, sum(string(m.payload))), ints(rpm.TagPayloadDigestAlgo, 8),
	}
	return m
}

// set replaces the tag with the same number, or adds it.
func (m *made) set(t tag) *made {
	for i := range m.tags {
		if m.tags[i].num == t.num {
			m.tags[i] = t
			return m
		}
	}
	m.tags = append(m.tags, t)
	return m
}

func (m *made) without(num uint32) *made {
	for i := range m.tags {
		if m.tags[i].num == num {
			m.tags = append(m.tags[:i:i], m.tags[i+1:]...)
			return m
		}
	}
	return m
}

func (m *made) header() []byte { return blob(rpm.TagHeaderImmutable, m.tags...) }

func (m *made) bytes() []byte {
	sig := m.sig
	if sig == nil {
		sig = []tag{str(rpm.TagSHA256Header, sum(string(magic)+string(m.header())))}
	}
	return pack(blob(rpm.TagHeaderSignatures, sig...), m.header(), m.payload)
}

// packed is a package by rpmpack with a bit of everything it can do.
func packed(t testing.TB, compressor string, sign func([]byte) ([]byte, error), more ...rpmpack.RPMFile) []byte {
	t.Helper()
	r, err := rpmpack.NewRPM(rpmpack.RPMMetaData{
		Name: "hello", Version: "2.10", Release: "3", Epoch: 1, Arch: "x86_64", Summary: "says hello", Description: "It says\nhello.",
		Licence: "GPL", URL: "https://example.org", Vendor: "Nobody", Group: "Tools", Compressor: compressor, BuildTime: time.Unix(1700000000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range []struct {
		to   *rpmpack.Relations
		text string
	}{{&r.Requires, "libfoo >= 2.0"}, {&r.Requires, "/bin/sh"}, {&r.Provides, "greeter = 3"}, {&r.Conflicts, "bye"}, {&r.Obsoletes, "hi < 2"}} {
		if err := dep.to.Set(dep.text); err != nil {
			t.Fatal(err)
		}
	}
	r.AddPrein("echo pre")
	r.AddPostin("echo post")
	for _, f := range append([]rpmpack.RPMFile{
		{Name: "/usr/bin/hello", Body: bytes.Repeat([]byte("hello "), 5000), Mode: 0o4755},
		{Name: "/usr/bin/hi", Body: []byte("hello"), Mode: 0o120777},
		{Name: "/usr/share/hello", Mode: 0o40755},
		{Name: "/etc/hello.conf", Body: []byte("a=b\n"), Mode: 0o644, Owner: "daemon", Group: "mail", Type: rpmpack.ConfigFile | rpmpack.NoReplaceFile},
		{Name: "/var/log/hello", Mode: 0o644, Type: rpmpack.GhostFile},
		{Name: "/usr/share/hello/empty", Mode: 0o600},
	}, more...) {
		f.MTime = 1700000000
		r.AddFile(f)
	}
	if sign != nil {
		r.SetPGPSigner(sign)
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
