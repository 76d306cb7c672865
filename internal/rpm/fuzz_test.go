// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"grove/internal/rpm"
)

// addReal adds real packages as seeds, those that are small.
func addReal(f *testing.F, add func([]byte)) {
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	for _, pattern := range []string{"rpms/rpm-upstream/*.rpm", "rpms/rpm-rs/tests/assets/RPMS/v6/*.rpm", "malformed/*.rpm"} {
		paths, _ := filepath.Glob(filepath.Join(root, "data", pattern))
		for _, path := range paths {
			if data, err := os.ReadFile(path); err == nil && len(data) < 20000 {
				add(data)
			}
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(newMade(false).header())
	addReal(f, func(data []byte) {
		if p, err := rpm.ReadPackage(bytes.NewReader(data)); err == nil {
			f.Add(p.Header.Blob())
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := rpm.ParseHeader(data)
		if err != nil {
			return
		}
		if !bytes.Equal(h.Blob(), data) {
			t.Error("blob differs")
		}
		for _, tag := range h.Tags() {
			_, _, _, _ = h.Raw(tag)
			_, _, _, _ = h.String(tag), h.Strings(tag), h.Uint64s(tag), h.Bytes(tag)
			_, _ = h.Uint64(tag)
		}
		_, _ = h.Meta()
		_, _ = h.Files()
		_, _ = h.Triggers()
		_, _ = h.Scriptlets()
		_, _ = h.Changelog()
		if again, err := rpm.ParseHeader(h.Immutable()[8:]); err != nil {
			t.Errorf("immutable part: %v", err)
		} else if !bytes.Equal(again.Immutable(), h.Immutable()) {
			t.Error("immutable part is not stable")
		}
	})
}

func FuzzReadPackage(f *testing.F) {
	f.Add(newMade(false).bytes())
	f.Add(newMade(true).bytes())
	for _, compressor := range []string{"gzip", "xz", "lzma", "zstd"} {
		f.Add(packed(f, compressor, nil))
	}
	addReal(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) { _ = judgeBytes(data) })
}

// FuzzPayload feeds plain archives to a good header.
func FuzzPayload(f *testing.F) {
	m := newMade(true)
	m.without(rpm.TagPayloadDigest)
	h, err := rpm.ParseHeader(m.header())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(newMade(false).payload)
	f.Add(newMade(true).payload)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := readAll(&rpm.Package{Header: h}, bytes.NewReader(data))
		if err == nil && n != 4 {
			t.Errorf("%d files, want 4", n)
		}
	})
}

func FuzzVercmp(f *testing.F) {
	f.Add("1.0~rc1", "1.0^git", "2")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba := rpm.Vercmp(a, b), rpm.Vercmp(b, a)
		if ab != -ba {
			t.Errorf("%q %q: %d and %d", a, b, ab, ba)
		}
		_, _ = rpm.ParseNEVRA(a)
		e := rpm.ParseEVR(a)
		if again := rpm.ParseEVR(e.String()); again.Compare(e) != 0 {
			t.Errorf("%q: prints as %q", a, e)
		}
		_ = c
	})
}
