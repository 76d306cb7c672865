// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// verdict is "ok" or the error.
func verdict(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func TestNames(t *testing.T) {
	ref := ostree.CheckRefName
	remote := ostree.CheckRemoteName
	collection := ostree.CheckCollectionID
	entry := ostree.CheckName
	for _, tt := range []struct {
		what  string
		check func(string) error
		in    string
		want  string // part of the verdict; those for ref, remote, collection agree with ostree 2022.7
	}{
		{"ref", ref, "a", "ok"},
		{"ref", ref, "centos/7/x86_64/minimal", "ok"},
		{"ref", ref, "_a.b-c/0", "ok"},
		{"ref", ref, "é/中/x²", "ok"},
		{"ref", ref, "", "empty segment"},
		{"ref", ref, "a//b", "empty segment"},
		{"ref", ref, "/a", "empty segment"},
		{"ref", ref, "a/", "empty segment"},
		{"ref", ref, "..", "begins with"},
		{"ref", ref, "a/../b", "begins with"},
		{"ref", ref, "-a", "begins with"},
		{"ref", ref, "a/.b", "begins with"},
		{"ref", ref, "a b", "' ' is not allowed"},
		{"ref", ref, "a@b", "'@' is not allowed"},
		{"ref", ref, "a+b", "'+' is not allowed"},
		{"ref", ref, "a\u0301", "not allowed"},
		{"ref", ref, "€", "not allowed"},
		{"ref", ref, "a\xff", "not UTF-8"},
		{"ref", ref, "a:b", "':' is not allowed"},
		{"ref", ref, strings.Repeat("a/", 600) + "a", "at most 1024"},
		{"ref", ref, strings.Repeat("a", 256), "at most 255"},
		{"remote", remote, "a.b-c_d", "ok"},
		{"remote", remote, "é", "ok"},
		{"remote", remote, "a/b", "'/' is not allowed"},
		{"remote", remote, ".a", "begins with"},
		{"remote", remote, "", "empty"},
		{"collection", collection, "com.example", "ok"},
		{"collection", collection, "_a._b.C9", "ok"},
		{"collection", collection, "com", "wanted elements"},
		{"collection", collection, "a..b", "not allowed"},
		{"collection", collection, "a-b.c", "not allowed"},
		{"collection", collection, "a.1b", "not allowed"},
		{"collection", collection, "é.b", "not allowed"},
		{"entry", entry, "a b\n", "ok"},
		{"entry", entry, "..a", "ok"},
		{"entry", entry, "", "empty"},
		{"entry", entry, ".", "reserved"},
		{"entry", entry, "..", "reserved"},
		{"entry", entry, "a/b", "slash"},
		{"entry", entry, "a\x00b", "NUL"},
		{"entry", entry, "\xff", "not UTF-8"},
		{"entry", entry, strings.Repeat("a", 256), "at most 255"},
	} {
		if got := verdict(tt.check(tt.in)); !strings.Contains(got, tt.want) {
			t.Errorf("%s %.40q: %s, want %s", tt.what, tt.in, got, tt.want)
		}
	}
}

func TestParseRefspec(t *testing.T) {
	for in, want := range map[string]string{
		"a/b":      "'' 'a/b' ok",
		"r:a/b":    "'r' 'a/b' ok",
		":a":       `'' '' remote name "": empty segment`,
		"r:":       `'r' '' ref name "": empty segment`,
		"r:a:b":    `'r' 'a:b' ref name "a:b": ':' is not allowed`,
		"../r:a":   `'' '' remote name "../r": segment "../r" begins with '.'`,
		"x/../y:a": `'' '' remote name "x/../y": '/' is not allowed`,
	} {
		remote, ref, err := ostree.ParseRefspec(in)
		if got := fmt.Sprintf("'%s' '%s' %s", remote, ref, verdict(err)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestChecksum(t *testing.T) {
	sum := ostree.SumBytes([]byte("x"))
	data, err := json.Marshal(map[string]ostree.Checksum{"a": sum, "b": {}})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]ostree.Checksum
	if err := json.Unmarshal(data, &back); err != nil || back["a"] != sum || !back["b"].IsZero() {
		t.Errorf("%s came back as %v, %v", data, back, err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("g", 64), strings.ToUpper(sum.String()), sum.String() + "0"} {
		if c, err := ostree.ParseChecksum(bad); err == nil || !c.IsZero() {
			t.Errorf("%q: %s, %v", bad, c, err)
		}
	}
}

func TestObjectPath(t *testing.T) {
	sum, _ := ostree.ParseChecksum("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	var got []string
	for typ := ostree.TypeFile; typ <= ostree.TypeFileXattrsLink; typ++ {
		path := ostree.ObjectPath(sum, typ, typ == ostree.TypeFile)
		c, back, archive, err := ostree.ParseObjectPath(path)
		if err != nil || c != sum || back != typ || archive != (typ == ostree.TypeFile) {
			t.Errorf("%s: %s %s %v %v", path, c, back, archive, err)
		}
		got = append(got, strings.TrimPrefix(path, "01/23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef."))
	}
	want := "filez dirtree dirmeta commit tombstone-commit commitmeta payload-link file-xattrs file-xattrs-link"
	if strings.Join(got, " ") != want {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"", "01/23.file", "../../etc.file", sum.String() + ".file", sum.String()[:2] + "/" + sum.String()[2:] + ".x"} {
		if _, _, _, err := ostree.ParseObjectPath(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestFileHeaderCheck(t *testing.T) {
	for _, tt := range []struct {
		h    ostree.FileHeader
		want string
	}{
		{ostree.FileHeader{Mode: 0o100644}, "ok"},
		{ostree.FileHeader{Mode: 0o104755}, "ok"},
		{ostree.FileHeader{Mode: 0o120777, Symlink: "../x"}, "ok"},
		{ostree.FileHeader{Mode: 0o644}, "neither"},
		{ostree.FileHeader{Mode: 0o020644}, "neither"},
		{ostree.FileHeader{Mode: 0o1100644}, "above the type"},
		{ostree.FileHeader{Mode: 0o100644, Symlink: "x"}, "has the symlink target"},
		{ostree.FileHeader{Mode: 0o120777}, "no target"},
		{ostree.FileHeader{Mode: 0o120777, Symlink: "a\x00b"}, "NUL"},
		{ostree.FileHeader{Mode: 0o120777, Symlink: "a\xff"}, "not UTF-8"},
		{ostree.FileHeader{Mode: 0o120777, Symlink: strings.Repeat("a", 5000)}, "at most 4095"},
		{ostree.FileHeader{Mode: 0o100644, Xattrs: []ostree.Xattr{{Name: ""}}}, "wanted 1 to 255"},
		{ostree.FileHeader{Mode: 0o100644, Xattrs: []ostree.Xattr{{Name: "a"}, {Name: "a"}}}, "twice"},
	} {
		if got := verdict(tt.h.Check()); !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s, want %s", tt.h, got, tt.want)
		}
	}
}

// TestFileHasher: content in pieces or at once, the same name; ReadFileHeader reads what Prefix wrote.
func TestFileHasher(t *testing.T) {
	h := ostree.FileHeader{UID: 1, GID: 2, Mode: 0o100600, Xattrs: []ostree.Xattr{{Name: "user.x", Value: []byte("v")}}}
	content := bytes.Repeat([]byte("0123456789"), 5000)
	want, n, err := h.Sum(bytes.NewReader(content))
	if err != nil || n != int64(len(content)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	fh := ostree.NewFileHasher(h)
	for rest := content; len(rest) > 0; rest = rest[min(777, len(rest)):] {
		fh.Write(rest[:min(777, len(rest))])
	}
	if fh.Sum() != want || fh.SizeBytes() != n || ostree.SumBytes(append(h.Prefix(), content...)) != want {
		t.Errorf("names %s, %s", fh.Sum(), want)
	}
	if back, err := ostree.ReadFileHeader(bytes.NewReader(h.Prefix())); err != nil || !back.Equal(h) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

// TestUnsortedXattrs: an object of an old libostree keeps its order and so its name.
func TestUnsortedXattrs(t *testing.T) {
	xs := []ostree.Xattr{{Name: "user.b", Value: []byte("1")}, {Name: "user.a"}}
	old := ostree.DirMeta{Mode: ostree.DefaultDirMode, Xattrs: xs}
	back, err := ostree.ParseDirMeta(old.Encode())
	if err != nil || !back.Equal(old) || back.Checksum() != old.Checksum() {
		t.Errorf("came back as %+v, %v", back, err)
	}
	if got := ostree.SortXattrs(xs); got[0].Name != "user.a" || xs[0].Name != "user.b" {
		t.Errorf("sorted %v, was %v", got, xs)
	}
}

func TestSignatures(t *testing.T) {
	d := gvariant.Dict{}.With("x", gvariant.Byte(1))
	d = ostree.AddSignature(d, ostree.KeySignEd25519, []byte("one"))
	d = ostree.AddSignature(d, ostree.KeySignEd25519, []byte("two"))
	d, err := ostree.ParseDetached(d.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s", ostree.Signatures(d, ostree.KeySignEd25519), ostree.Signatures(d, "x")); got != "[one two] []" {
		t.Errorf("got %s", got)
	}
}

func TestSummaryRoundTrip(t *testing.T) {
	sum := ostree.SumBytes(nil)
	s := ostree.Summary{Refs: []ostree.SummaryRef{{Name: "b", SizeBytes: 7, Commit: sum}, {Name: "a", Commit: sum,
		Metadata: gvariant.Dict{{Key: ostree.RefCommitTimestamp, Value: ostree.TimeValue(1600000000)}}}}}
	back, err := ostree.ParseSummary(s.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r, ok := back.Lookup("a")
	v, _ := r.Metadata.Lookup(ostree.RefCommitTimestamp)
	sec, _ := ostree.TimeFrom(v)
	if !ok || sec != 1600000000 || back.Refs[1].SizeBytes != 7 {
		t.Errorf("came back as %+v", back)
	}
	s.Refs = append(s.Refs, s.Refs[0])
	if _, err := ostree.ParseSummary(s.Encode()); err == nil || !strings.Contains(err.Error(), `"b" after "b"`) {
		t.Errorf("a ref twice: %v", err)
	}
}

func TestCommitParent(t *testing.T) {
	c := ostree.Commit{Parent: ostree.SumBytes([]byte("p")), Subject: "s", Timestamp: 5,
		Related: []ostree.TreeFile{{Name: "r", Checksum: ostree.SumBytes([]byte("r"))}}}
	back, err := ostree.ParseCommit(c.Encode())
	if err != nil || back.Parent != c.Parent || back.Timestamp != 5 || len(back.Related) != 1 || back.Checksum() != c.Checksum() {
		t.Errorf("came back as %+v, %v", back, err)
	}
}
