// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/rpm"
)

const vercmpTable = `
1 = 1
1.0 < 1.0.1
1.0 > 1.0~rc1
1.0~rc1 < 1.0~rc2
1.0~~ < 1.0~
1.0^ > 1.0
1.0^git1 < 1.0.1
1.0^git1 < 1.0^git2
1.0~rc1^git1 > 1.0~rc1
10 > 9
010 = 10
1a < 1b
1a < 1.1
2_0 = 2.0
a.1 < 1
1.0a > 1.0
.. = .
é = è
1.fc33 < 1.fc34
18446744073709551616 > 18446744073709551615
`

func checkVercmp(t *testing.T, table string) {
	t.Helper()
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(line, "#") {
			continue
		}
		want := map[string]int{"<": -1, "=": 0, "==": 0, ">": 1}[f[1]]
		if got := rpm.Vercmp(f[0], f[2]); got != want {
			t.Errorf("Vercmp(%s, %s) = %d, want %d", f[0], f[2], got, want)
		}
		if got := rpm.Vercmp(f[2], f[0]); got != -want {
			t.Errorf("Vercmp(%s, %s) = %d, want %d", f[2], f[0], got, -want)
		}
	}
}

func TestVercmp(t *testing.T) { checkVercmp(t, vercmpTable) }

func TestVercmpShared(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared(t, "rpmdb"), "other", "rpmvercmp.claircore.txt"))
	if err != nil {
		t.Fatal(err)
	}
	checkVercmp(t, string(data))
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"bash-5.1-2.el9.x86_64":     "bash-5.1-2.el9.x86_64",
		"gtk+-2:2.0-1.i686.rpm":     "gtk+-2:2.0-1.i686",
		"2:gtk2-2.0-1.i686":         "gtk2-2:2.0-1.i686",
		"a-b-c-0:1.0~rc1-1.noarch":  "a-b-c-1.0~rc1-1.noarch",
		"bash":                      `package name "bash": want name-version-release.arch`,
		"bash-5.x86_64":             `package name "bash-5.x86_64": no version`,
		"-1-2.noarch":               `package name "-1-2.noarch": no version`,
		"kernel-core-6.1-1.aarch64": "kernel-core-6.1-1.aarch64",
	} {
		n, err := rpm.ParseNEVRA(in)
		got := n.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	if a, b := rpm.ParseEVR("1.0-1"), rpm.ParseEVR("0:1.0-1"); a.Compare(b) != 0 {
		t.Error("epoch 0 differs from none")
	}
	if a, b := rpm.ParseEVR("1:0.1-1"), rpm.ParseEVR("9-9"); a.Compare(b) != 1 {
		t.Error("epoch does not count")
	}
}

func TestDepIntersects(t *testing.T) {
	parse := func(s string) rpm.Dep {
		f := strings.Fields(s)
		d := rpm.Dep{Name: f[0]}
		if len(f) == 3 {
			for _, c := range f[1] {
				d.Flags |= map[rune]uint32{'<': rpm.SenseLess, '>': rpm.SenseGreater, '=': rpm.SenseEqual}[c]
			}
			d.EVR = rpm.ParseEVR(f[2])
		}
		if d.String() != s {
			t.Errorf("%q prints as %q", s, d.String())
		}
		return d
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"foo = 1-1", "foo >= 1", true},
		{"foo = 1-1", "foo > 1", false},
		{"foo = 1-1", "foo", true},
		{"foo = 1-1", "bar", false},
		{"foo = 2:1-1", "foo < 9", false},
		{"foo < 2", "foo > 1", true},
		{"foo < 1", "foo > 2", false},
		{"foo <= 2", "foo >= 2", true},
		{"foo = 1-2", "foo = 1-1", false},
		{"foo = 1-2", "foo = 1", true},
	} {
		if got := parse(c.a).Intersects(parse(c.b)); got != c.want {
			t.Errorf("%s and %s: %v, want %v", c.a, c.b, got, c.want)
		}
		if got := parse(c.b).Intersects(parse(c.a)); got != c.want {
			t.Errorf("%s and %s: %v, want %v", c.b, c.a, got, c.want)
		}
	}
}

// list prints a payload with the content of its files.
func list(data []byte) string {
	r := bytes.NewReader(data)
	p, err := rpm.ReadPackage(r)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	pl, err := p.Payload(r)
	if err != nil {
		return err.Error()
	}
	for {
		f, content, err := pl.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			return out.String() + err.Error()
		}
		b, err := io.ReadAll(content)
		text := string(b)
		if len(text) > 30 {
			text = fmt.Sprintf("%.10q... %d", text, len(text))
		}
		fmt.Fprintf(&out, "%o %s:%s %s%s %v %s\n", f.Mode, f.User, f.Group, f.Path, map[bool]string{true: " -> " + f.LinkTo}[f.IsSymlink()], f.Links, strings.TrimSpace(text))
		if err != nil {
			return out.String() + err.Error()
		}
	}
}

func TestCompressors(t *testing.T) {
	const want = `100644 daemon:mail /etc/hello.conf [] a=b
104755 root:root /usr/bin/hello [] "hello hell"... 30000
120777 root:root /usr/bin/hi -> hello [] 
40755 root:root /usr/share/hello [] 
100600 root:root /usr/share/hello/empty [] 
`
	for _, compressor := range []string{"gzip", "zstd", "xz", "lzma", "zstd:19", "gzip:9"} {
		if got := list(packed(t, compressor, nil)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", compressor, got, want)
		}
	}
}

func TestPackedHeader(t *testing.T) {
	p, err := rpm.ReadPackage(bytes.NewReader(packed(t, "gzip", nil)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Meta()
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := p.Header.Scriptlets()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s\n%s\n%s\n%s\nrequires %s\nprovides %s\nobsoletes %s\nfiles %s\nscripts %+v\n%v", m.NEVRA, m.Summary, m.License, m.Description,
		m.Requires, m.Provides, m.Obsoletes, m.Files, scripts, p.Header.Complete())
	const want = `hello-1:2.10-3.x86_64
says hello
GPL
It says
hello.
requires [libfoo >= 2.0 /bin/sh]
provides [hello = 2.10-3 greeter = 3]
obsoletes [hi < 2]
files [/etc/hello.conf /usr/bin/hello /usr/bin/hi /usr/share/hello /usr/share/hello/empty /var/log/hello]
scripts [{Kind:pre Prog:[/bin/sh] Body:echo pre Flags:0} {Kind:post Prog:[/bin/sh] Body:echo post Flags:0}]
true`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

const madeList = `100644 daemon:daemon /usr/d [] plain
100644 root:root /usr/c [/usr/a /usr/b /usr/c] hard linked content
`

func TestHardLinks(t *testing.T) {
	for _, stripped := range []bool{false, true} {
		if got := list(newMade(stripped).bytes()); got != madeList {
			t.Errorf("stripped %v:\n got %s\nwant %s", stripped, got, madeList)
		}
	}
}

// TestDamage changes one thing at a time and demands the right refusal.
func TestDamage(t *testing.T) {
	fresh := func() *made { return newMade(false) }
	noDigest := func() *made { return fresh().without(rpm.TagPayloadDigest) }
	for _, c := range []struct {
		name string
		m    *made
		want string
	}{
		{"payload digest", fresh().set(strs(rpm.TagPayloadDigest, sum("x"))), "payload: digest mismatch"},
		{"file digest", noDigest().set(strs(rpm.TagFileDigests, sum(made1), sum(made1), sum(made1), sum("x"))), "payload: /usr/d: digest mismatch"},
		{"file size", noDigest().set(ints(rpm.TagFileSizes, 20, 20, 20, 5)), "payload: /usr/d: 6 bytes, want 5"},
		{"digest length", noDigest().set(ints(rpm.TagFileDigestAlgo, 10)), "payload: /usr/d: digest of 64 digits, want 128 for sha512"},
		{"digest algorithm", noDigest().set(ints(rpm.TagFileDigestAlgo, 99)), "header: tag 5011: digest algorithm 99 is not known"},
		{"file not in header", noDigest().set(strs(rpm.TagBasenames, "a", "b", "c", "e")), `payload: "./usr/d" is not in the header`},
		{"path above", fresh().set(strs(rpm.TagBasenames, "a", "b", "c", "..")), `header: path "/usr/..": ".." is not a name`},
		{"path through slash", fresh().set(strs(rpm.TagBasenames, "a", "b", "c", "x/../../d")), `header: path "/usr/x/../../d": ".." is not a name`},
		{"relative path", fresh().set(strs(rpm.TagDirNames, "usr/")), `header: path "usr/a": want an absolute path`},
		{"directory index", fresh().set(ints(rpm.TagDirIndexes, 0, 0, 0, 1)), "header: file 3: directory 1 of 1"},
		{"few modes", fresh().set(shorts(rpm.TagFileModes, 1)), "header: tag 1030: 1 values for 4 files"},
		{"few owners", fresh().set(strs(rpm.TagFileUserName, "root")), "header: tag 1039: 1 values for 4 files"},
		{"compressor", fresh().set(str(rpm.TagPayloadCompressor, "arj")), `payload: compressor "arj" is not known`},
		{"format", fresh().set(str(rpm.TagPayloadFormat, "drpm")), `payload: format "drpm", want cpio`},
		{"no name", fresh().without(rpm.TagName), "read header: no name, version or release"},
		{"broken set", noDigest().set(ints(rpm.TagFileInodes, 7, 7, 6, 8)), "payload: /usr/b: 0 bytes, want 20"},
	} {
		got := list(c.m.bytes())
		if i := strings.LastIndex(strings.TrimSpace(got), "\n"); i >= 0 {
			got = got[i+1:]
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	whole := fresh().bytes()
	for n := range len(whole) {
		if got := list(whole[:n]); got == madeList {
			t.Fatalf("cut at %d of %d: not noticed", n, len(whole))
		}
	}
}

// TestEveryBit flips each bit of the header and the payload and demands that nothing passes as it was.
func TestEveryBit(t *testing.T) {
	m := newMade(true)
	data := m.bytes()
	p, err := rpm.ReadPackage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for i := int(p.HeaderStart) + 8; i < len(data); i++ {
		for bit := range 8 {
			b := bytes.Clone(data)
			b[i] ^= 1 << bit
			q, err := rpm.ReadPackage(bytes.NewReader(b))
			if err != nil {
				continue
			}
			if v, err := q.Verify(bytes.NewReader(b), nil); err == nil && v.Status != rpm.DigestMismatch {
				t.Fatalf("byte %d bit %d: %s", i, bit, v.Status)
			}
		}
	}
}

func TestHeaderRefusals(t *testing.T) {
	good := blob(rpm.TagHeaderImmutable, str(rpm.TagName, "x"), ints(rpm.TagSize, 1, 2))
	put := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", good, ""},
		{"empty", nil, "header: 0 bytes, want at least 8"},
		{"no entries", put(0, 0), "header: 0 entries, want 1 to 65535"},
		{"many entries", put(0, 1<<31), "header: 2147483648 entries, want 1 to 65535"},
		{"much data", put(4, 1<<31), "header: 2147483648 bytes of data, limit 268435455"},
		{"cut", good[:len(good)-1], "header: 83 bytes, want 84 for 3 entries and 28 bytes of data"},
		{"trailer outside", put(8+8, 20), "header: region tag 63: trailer at 20, data ends at 28"},
		{"trailer's tag", put(8+48+12, 62), "header: region tag 63: trailer names tag 62 type 7 count 16"},
		{"trailer's way back", put(8+48+12+8, 0xffffff00), "header: region tag 63: trailer points 256 back, have 3 entries"},
		{"reserved tag", put(8+16, 7), "header: entry 1: tag 7 is reserved"},
		{"type", put(8+20, 12), "header: tag 1000: type 12, want 0 to 9"},
		{"string count", put(8+28, 2), "header: tag 1000: string with count 2, want 1"},
		{"offset", put(8+24, 1<<30), "header: tag 1000: data at 1073741824, want 0 to 28"},
		{"misaligned", put(8+32+8, 3), "header: tag 1009: offset 3 is not a multiple of 4"},
		{"too many", put(8+32+12, 1<<30), "header: tag 1009: 1073741824 values of 4 bytes, 24 bytes left"},
		{"overlap", put(8+32+8, 0), "header: tag 1009: data at 0, want 2 to 28"},
	} {
		_, err := rpm.ParseHeader(c.data)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestDribbles reads a header as an rpmdb has it: what the installation added lies behind the region.
func TestDribbles(t *testing.T) {
	inner := blob(rpm.TagHeaderImmutable, str(rpm.TagName, "x"), str(rpm.TagVersion, "1"))
	be := binary.BigEndian
	il, dl := be.Uint32(inner), be.Uint32(inner[4:])
	entries, data := inner[8:8+il*16], bytes.Clone(inner[8+il*16:])
	for len(data)%4 != 0 {
		data = append(data, 0)
	}
	at := uint32(len(data))
	data = be.AppendUint32(data, 42)
	out := be.AppendUint32(be.AppendUint32(nil, il+1), uint32(len(data)))
	out = append(out, entries...)
	for _, v := range []uint32{rpm.TagInstallTime, rpm.TypeInt32, at, 1} {
		out = be.AppendUint32(out, v)
	}
	out = append(out, data...)
	h, err := rpm.ParseHeader(out)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := h.Uint32(rpm.TagInstallTime); v != 42 || h.Complete() {
		t.Errorf("install time %d, complete %v", v, h.Complete())
	}
	if want := append(bytes.Clone(magic), inner...); !bytes.Equal(h.Immutable(), want) {
		t.Errorf("immutable part of %d bytes, want %d", len(h.Immutable()), len(want))
	}
	if _, n, d := h.Region(); n != int(il) || d != int(dl) {
		t.Errorf("region of %d entries and %d bytes, want %d and %d", n, d, il, dl)
	}
	p := pack(blob(rpm.TagHeaderSignatures, str(rpm.TagSHA1Header, "0")), out, nil)
	if _, err := rpm.ReadPackage(bytes.NewReader(p)); err == nil {
		t.Error("a package with fields outside the region is not refused")
	}
}

type unknown struct{ error }

func (unknown) UnknownKey() string { return "abcd" }

type distrusted struct{ error }

func (distrusted) DistrustedKey() string { return "abcd" }

func TestVerify(t *testing.T) {
	bin := func(num uint32, s string) tag { return tag{num, rpm.TypeBin, uint32(len(s)), []byte(s)} }
	verify := func(signed io.Reader, sig []byte) (string, error) {
		b, err := io.ReadAll(signed)
		if err != nil {
			return "", err
		}
		who, digest, _ := strings.Cut(string(sig), " ")
		switch {
		case who == "nobody":
			return "", unknown{errors.New("unknown")}
		case who == "mallory":
			return "", distrusted{errors.New("revoked")}
		case digest != sum(string(b)):
			return "", errors.New("does not fit")
		}
		return who, nil
	}
	signed := string(magic) + string(newMade(false).header())
	plain := newMade(false).without(rpm.TagPayloadDigest)
	plainSigned := string(magic) + string(plain.header())
	noFileDigests := newMade(false).without(rpm.TagPayloadDigest).without(rpm.TagFileDigests)
	looseSigned := string(magic) + string(noFileDigests.header())
	for _, c := range []struct {
		name string
		m    *made
		sig  []tag
		want string
	}{
		{"unsigned", newMade(false), []tag{}, "not signed | not signed"},
		{"header", newMade(false), []tag{bin(rpm.TagRSAHeader, "alice "+sum(signed))}, "good alice 1 | good alice 1"},
		{"openpgp", newMade(false), []tag{strs(rpm.TagOpenPGP, "YWxpY2UgeA==")}, "bad signature: does not fit | bad signature: does not fit"},
		{"not base64", newMade(false), []tag{strs(rpm.TagOpenPGP, "!")}, "bad signature: signature 0: illegal base64 data at input byte 0 | bad signature: signature 0: illegal base64 data at input byte 0"},
		{"unknown", newMade(false), []tag{bin(rpm.TagRSAHeader, "nobody")}, "signed by an unknown key: abcd | signed by an unknown key: abcd"},
		{"unknown and good", newMade(false), []tag{bin(rpm.TagDSAHeader, "nobody"), bin(rpm.TagRSAHeader, "alice "+sum(signed))}, "good alice 1 | good alice 1"},
		{"bad and good", newMade(false), []tag{bin(rpm.TagDSAHeader, "bob 1"), bin(rpm.TagRSAHeader, "alice "+sum(signed))}, "bad signature: does not fit | bad signature: does not fit"},
		{"revoked", newMade(false), []tag{bin(rpm.TagRSAHeader, "mallory")}, "signed by a distrusted key: revoked | signed by a distrusted key: revoked"},
		{"header digest", newMade(false), []tag{bin(rpm.TagRSAHeader, "alice "+sum(signed)), str(rpm.TagSHA1Header, "00")}, "digest mismatch | digest mismatch"},
		{"size", newMade(false), []tag{bin(rpm.TagRSAHeader, "alice "+sum(signed)), ints(rpm.SigTagSize, 3)}, "good alice 1 | digest mismatch"},
		{"file digests", plain, []tag{bin(rpm.TagRSAHeader, "alice "+sum(plainSigned))}, "good alice 3 | good alice 3"},
		{"whole", plain, []tag{bin(rpm.SigTagPGP, "alice "+sum(plainSigned+string(plain.payload)))}, "verify: the signature spans the payload, which is not at hand | good alice 2"},
		{"header and bad whole", plain, []tag{bin(rpm.TagRSAHeader, "alice "+sum(plainSigned)), bin(rpm.SigTagPGP, "alice 1")}, "good alice 3 | bad signature: does not fit"},
		{"uncovered payload", noFileDigests, []tag{bin(rpm.TagRSAHeader, "alice "+sum(looseSigned))}, "bad signature: the signed header has no digest of the payload, or not of all files | bad signature: the signed header has no digest of the payload, or not of all files"},
	} {
		c.m.sig = c.sig
		data := c.m.bytes()
		p, err := rpm.ReadPackage(bytes.NewReader(data))
		if err != nil {
			t.Fatal(c.name, err)
		}
		show := func(file io.ReaderAt) string {
			v, err := p.Verify(file, verify)
			switch {
			case err != nil:
				return err.Error()
			case v.Status == rpm.Good:
				return fmt.Sprintf("good %s %d", v.Signer, v.Payload)
			case v.Status == rpm.DigestMismatch:
				return v.Status.String()
			}
			return v.Err().Error()
		}
		if got := show(nil) + " | " + show(bytes.NewReader(data)); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestNotPackage(t *testing.T) {
	for _, data := range []string{"", "x", "PK\x03\x04", strings.Repeat("x", 200)} {
		if _, err := rpm.ReadPackage(strings.NewReader(data)); !errors.Is(err, rpm.ErrNotPackage) {
			t.Errorf("%.10q: %v", data, err)
		}
	}
	// A claim of 200 MB of header with nothing behind it must not cost memory.
	b := newMade(false).bytes()
	p, _ := rpm.ReadPackage(bytes.NewReader(b))
	binary.BigEndian.PutUint32(b[p.HeaderStart+12:], 200<<20)
	if n := testing.AllocsPerRun(1, func() { _, _ = rpm.ReadPackage(bytes.NewReader(b)) }); n > 200 {
		t.Errorf("%v allocations", n)
	}
	if _, err := rpm.ReadPackage(bytes.NewReader(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
