// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpmmd"
)

const twoFilelists = `<filelists packages="3"><package pkgid="aa" name="moss"><file>/</file><file type="dir">/usr/bin</file><file>/usr/bin/moss</file>
<file>/usr/share/moss/a &amp; b</file></package><package pkgid="bb" name="none"/><package pkgid="cc" name="fern">
<file>/usr/bin/fern</file><file>/usr/bin/moss</file><file>fern.spec</file></package></filelists>`

func TestFileIndex(t *testing.T) {
	data, err := rpmmd.Index([]byte(twoFilelists))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		wanted []string
		want   map[string][]string
	}{
		{nil, map[string][]string{"aa": {"/", "/usr/bin", "/usr/bin/moss", "/usr/share/moss/a & b"}, "cc": {"/usr/bin/fern", "/usr/bin/moss", "fern.spec"}}},
		{[]string{"/usr/bin/moss"}, map[string][]string{"aa": {"/usr/bin/moss"}, "cc": {"/usr/bin/moss"}}},
		{[]string{"/usr/bin/fern", "/usr/share/moss/a & b", "/usr/bin/fer"}, map[string][]string{"aa": {"/usr/share/moss/a & b"}, "cc": {"/usr/bin/fern"}}},
		{[]string{"/", "/usr/bin"}, map[string][]string{"aa": {"/", "/usr/bin"}}},
		{[]string{"fern.spec"}, map[string][]string{"cc": {"fern.spec"}}},
		{[]string{"/usr/bin/", "/usr/share", ""}, map[string][]string{}},
	} {
		got, err := rpmmd.InIndex(data, nil, tt.wanted...)
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", tt.wanted, err, d)
		}
	}
	for _, tt := range []struct {
		globs []string
		want  map[string][]string
	}{
		{[]string{"/usr/bin/m*"}, map[string][]string{"aa": {"/usr/bin/moss"}, "cc": {"/usr/bin/moss"}}},
		{[]string{"*/fern"}, map[string][]string{"cc": {"/usr/bin/fern"}}},
		{[]string{"/usr/share*"}, map[string][]string{"aa": {"/usr/share/moss/a & b"}}},
		{[]string{"/us*/a ? b", "/usr/*/fern"}, map[string][]string{"aa": {"/usr/share/moss/a & b"}, "cc": {"/usr/bin/fern"}}},
		{[]string{"/usr/bin"}, map[string][]string{"aa": {"/usr/bin"}}},
		{[]string{"/usr/share/mos[!s]/*"}, map[string][]string{}},
	} {
		got, err := rpmmd.InIndex(data, tt.globs)
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", tt.globs, err, d)
		}
	}
	for i := range data { // whatever byte is wrong is noticed
		bad := bytes.Clone(data)
		bad[i] ^= 0x40
		if _, err := rpmmd.InIndex(bad, nil); err == nil {
			t.Errorf("byte %d changed: taken", i)
		}
	}
}

// TestFileListsOnce asks a source for files again after its lists are gone: the compact form answers, and is made again where it is damaged.
func TestFileListsOnce(t *testing.T) {
	dir, cache := repoDir(t, nil), t.TempDir()
	src := rpmmd.Source{ID: "wood", BaseURLs: []string{dir}}
	ask := func() ([]string, error) {
		m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{CacheDir: cache, Client: quick()})
		if err != nil {
			t.Fatal(err)
		}
		err = m.LoadFilelists(context.Background(), "/usr/share/moss/a & b")
		return m.Packages[0].Files, err
	}
	lists := filepath.Join(dir, "repodata", "f.xml.gz")
	index := func() string {
		found, err := filepath.Glob(filepath.Join(cache, "wood-*", "files-*"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	damage := func(edit func([]byte) []byte) func() {
		return func() {
			data, err := os.ReadFile(index())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(index(), edit(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		before func()
		bad    bool
	}{
		{"first", func() {}, false},
		{"lists gone", move(lists, lists+".gone"), false},
		{"index cut off", damage(func(b []byte) []byte { return b[:len(b)-1] }), true},
		{"lists back", move(lists+".gone", lists), false},
		{"index damaged", damage(func(b []byte) []byte { b[len(b)-9]++; return b }), false},
		{"lists gone again", move(lists, lists+".gone"), false},
	} {
		tt.before()
		files, err := ask()
		if want := []string{"/usr/bin/moss", "/etc/moss.d", "/usr/share/moss/a & b"}; (err != nil) != tt.bad || !tt.bad && !cmp.Equal(want, files) {
			t.Errorf("%s: %q %v", tt.name, files, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "wood-*", "filelists-*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func FuzzFileIndex(f *testing.F) {
	data, err := rpmmd.Index([]byte(twoFilelists))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = rpmmd.SealIndex(data)
		all, err := rpmmd.InIndex(data, nil)
		if err != nil {
			return
		}
		for id, files := range all {
			some, err := rpmmd.InIndex(data, nil, files[0])
			if err != nil || len(some[id]) == 0 {
				t.Fatalf("%q of %q is not found: %v", files[0], id, err)
			}
		}
	})
}
