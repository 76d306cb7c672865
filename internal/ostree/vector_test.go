// SPDX-License-Identifier: Apache-2.0

package ostree_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"grove/internal/ostree"
)

// recode reads an object of that kind and returns the bytes and the name that our encoder gives it.
func recode(kind string, data []byte) (again []byte, sum ostree.Checksum, err error) {
	switch kind {
	case "dirtree":
		v, err := ostree.ParseDirTree(data)
		return v.Encode(), v.Checksum(), err
	case "dirmeta":
		v, err := ostree.ParseDirMeta(data)
		return v.Encode(), v.Checksum(), err
	case "commit":
		v, err := ostree.ParseCommit(data)
		return v.Encode(), v.Checksum(), err
	case "commitmeta", "summary.sig":
		v, err := ostree.ParseDetached(data)
		return v.Encode(), ostree.Checksum{}, err
	case "summary":
		v, err := ostree.ParseSummary(data)
		return v.Encode(), ostree.Checksum{}, err
	case "filez":
		return recodeFilez(data)
	case "file-xattrs":
		v, err := ostree.ParseXattrs(data)
		return ostree.EncodeXattrs(v), ostree.SumBytes(ostree.EncodeXattrs(v)), err
	}
	return nil, sum, fmt.Errorf("kind %q is unknown to this test", kind)
}

// recodeFilez checks the content too: what the deflate stream holds gives the object its name.
func recodeFilez(data []byte) ([]byte, ostree.Checksum, error) {
	r := bytes.NewReader(data)
	h, size, err := ostree.ReadArchiveHeader(r)
	if err != nil {
		return nil, ostree.Checksum{}, err
	}
	again := append(h.ArchivePrefix(size), data[len(data)-r.Len():]...)
	var content io.Reader
	if !h.IsSymlink() {
		content = flate.NewReader(r)
	}
	sum, n, err := h.Sum(content)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("content has %d bytes, header says %d", n, size)
	}
	return again, sum, err
}

type vector struct {
	file, kind, expect, name string
	data                     []byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var out []vector
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(string(text), "\n\n")
		v := vector{file: filepath.Base(f)}
		for _, line := range strings.Split(head, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "kind":
				v.kind = value
			case "expect":
				v.expect = value
			case "name":
				v.name = value
			}
		}
		if v.data, err = hex.DecodeString(strings.Join(strings.Fields(body), "")); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, v)
	}
	return out
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		again, sum, err := recode(v.kind, v.data)
		switch {
		case v.expect != "ok":
			if err == nil || !strings.Contains(err.Error(), v.expect) {
				t.Errorf("%s: error %v, want %q", v.file, err, v.expect)
			}
			if !errors.Is(err, ostree.ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: %v is not ErrCorrupt", v.file, err)
			}
		case err != nil:
			t.Errorf("%s: %v", v.file, err)
		case !bytes.Equal(again, v.data):
			t.Errorf("%s: encoded again\n got %x\nwant %x", v.file, again, v.data)
		case v.name != "" && sum.String() != v.name:
			t.Errorf("%s: name %s, want %s", v.file, sum, v.name)
		}
	}
}

// TestDocExample holds the hex of doc.go against the encoder.
func TestDocExample(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^//\t([0-9a-f]{2}(?: [0-9a-f]{2})*) {2}`).FindAllStringSubmatch(string(src), -1) {
		got.WriteString(strings.ReplaceAll(m[1], " ", ""))
	}
	link := ostree.FileHeader{Mode: ostree.SymlinkMode, Symlink: "b"}
	file, _, _ := link.Sum(nil)
	dt := ostree.DirTree{Files: []ostree.TreeFile{{Name: "a", Checksum: file}},
		Dirs: []ostree.TreeDir{{Name: "sub", Tree: ostree.DirTree{}.Checksum(), Meta: ostree.DefaultDirMeta().Checksum()}}}
	if want := hex.EncodeToString(dt.Encode()); got.String() != want {
		t.Errorf("example in doc.go\n got %s\nwant %s", got.String(), want)
	}
	if prefix := fmt.Sprintf("%x", link.Prefix()); !strings.Contains(strings.ReplaceAll(string(src), " ", ""), prefix) {
		t.Errorf("doc.go does not show %s", prefix)
	}
	if sum := dt.Checksum().String(); !strings.Contains(string(src), sum) {
		t.Errorf("doc.go does not name the example %s", sum)
	}
}

// fuzzKind seeds with the vectors of one kind, and demands that what parses encodes to itself.
func fuzzKind(f *testing.F, kind string) {
	for _, v := range vectors(f) {
		if v.kind == kind {
			f.Add(v.data)
		}
	}
	for _, data := range sharedObjects(f, kind) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again, _, err := recode(kind, data)
		if err == nil && !bytes.Equal(again, data) {
			t.Errorf("encoded again\n got %x\nwant %x", again, data)
		}
	})
}

func FuzzDirTree(f *testing.F)    { fuzzKind(f, "dirtree") }
func FuzzDirMeta(f *testing.F)    { fuzzKind(f, "dirmeta") }
func FuzzCommit(f *testing.F)     { fuzzKind(f, "commit") }
func FuzzCommitMeta(f *testing.F) { fuzzKind(f, "commitmeta") }
func FuzzSummary(f *testing.F)    { fuzzKind(f, "summary") }

// FuzzFileHeader leaves the content alone: a short deflate stream can be very long inflated.
func FuzzFileHeader(f *testing.F) {
	for _, v := range vectors(f) {
		if v.kind == "filez" {
			f.Add(v.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		if h, size, err := ostree.ReadArchiveHeader(r); err == nil {
			if got := h.ArchivePrefix(size); !bytes.HasPrefix(data, got) || len(data)-r.Len() != len(got) {
				t.Errorf("archive header %x encoded again %x", data, got)
			}
		}
		r = bytes.NewReader(data)
		if h, err := ostree.ReadFileHeader(r); err == nil {
			if got := h.Prefix(); !bytes.HasPrefix(data, got) {
				t.Errorf("header %x encoded again %x", data, got)
			}
		}
		if h, err := ostree.ParseUserMeta(data); err == nil {
			if got := ostree.EncodeUserMeta(h); !bytes.Equal(got, data) {
				t.Errorf("user meta %x encoded again %x", data, got)
			}
		}
	})
}
