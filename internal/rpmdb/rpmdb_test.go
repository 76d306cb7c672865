// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/rpmpack"

	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// samples are the databases of ../shared: how many packages each has, and one of them.
var samples = map[string]struct {
	count int
	one   string
}{
	"bdb/centos5-plain":     {110, "glibc-2.5-123.el5_11.3.x86_64"},
	"bdb/libuuid":           {1, "libuuid-"},
	"bdb/osv-scalibr-epoch": {1, ":"},
	"ndb/sle15-bci":         {35, "bash-4.4-"},
	"sqlite/osv-scalibr":    {141, ""},
}

func TestReadRealDatabases(t *testing.T) {
	if shared() == "" {
		t.Skip("needs the shared data")
	}
	for name, want := range samples {
		headers, err := rpmdb.Read(filepath.Join(shared(), "data/rpmdb", name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all []string
		for _, h := range headers {
			all = append(all, h.NEVRA().String())
		}
		if want.count != 0 && len(all) != want.count || !strings.Contains(strings.Join(all, "\n"), want.one) {
			t.Errorf("%s: %d packages, want %d with %s:\n%s", name, len(all), want.count, want.one, strings.Join(all, "\n"))
		}
	}
}

// TestConvert writes each sample anew as sqlite: rpm reads all of it, and the headers are as they were.
func TestConvert(t *testing.T) {
	if shared() == "" {
		t.Skip("needs the shared data")
	}
	for name := range samples {
		headers, err := rpmdb.Read(filepath.Join(shared(), "data/rpmdb", name))
		if err != nil {
			t.Fatal(err)
		}
		var entries []rpmdb.Entry
		for _, h := range headers {
			entries = append(entries, rpmdb.Entry{Header: h, Stored: true})
		}
		dir := t.TempDir()
		if err := rpmdb.Write(dir, entries); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := rpmdb.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range again {
			if !bytes.Equal(h.Blob(), headers[i].Blob()) {
				t.Errorf("%s: %s differs", name, h.NEVRA())
			}
		}
		t.Run(name, func(t *testing.T) {
			needRPM(t)
			out := run(t, "rpm", "--dbpath", dir, "-qa")
			if got := strings.Count(out, "\n"); got != len(headers) {
				t.Errorf("rpm lists %d packages, want %d: %s", got, len(headers), out)
			}
		})
	}
}

func entry(t testing.TB, dir, name string, files int) rpmdb.Entry {
	t.Helper()
	p := newRPM(t, rpmpack.RPMMetaData{Name: name})
	for i := range files {
		p.AddFile(rpmpack.RPMFile{Name: fmt.Sprintf("/usr/share/%s/%d/file%d", name, i/8, i), Body: []byte("x"), Mode: 0o644})
	}
	pkg := readPackage(t, pack(t, dir, p))
	return rpmdb.Entry{Header: pkg.Header, Signature: pkg.Signature, InstallTime: 1_700_000_000, InstallTID: 1_700_000_000, InstallColor: 3}
}

func entries(t testing.TB, n, files int) []rpmdb.Entry {
	dir := t.TempDir()
	out := make([]rpmdb.Entry, n)
	for i := range out {
		out[i] = entry(t, dir, fmt.Sprintf("p%03d", i), files)
	}
	return out
}

func names(t testing.TB, path string) string {
	t.Helper()
	headers, err := rpmdb.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, h := range headers {
		all = append(all, h.String(rpm.TagName))
	}
	return strings.Join(all, " ")
}

func file(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWriteAndUpdate(t *testing.T) {
	list := entries(t, 5, 20)
	var dirs [2]string
	for i := range dirs {
		dirs[i] = t.TempDir()
		if err := rpmdb.Write(dirs[i], list[:3]); err != nil {
			t.Fatal(err)
		}
		remove := func(h *rpm.Header) bool { return h.String(rpm.TagName) == "p001" }
		if err := rpmdb.Update(filepath.Join(dirs[i], "rpmdb.sqlite"), remove, list[3:]); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(dirs[i])
		if err != nil || len(left) != 1 {
			t.Errorf("the folder holds %v", left)
		}
	}
	if got := names(t, dirs[0]); got != "p000 p002 p003 p004" {
		t.Errorf("got %s", got)
	}
	a, b := file(t, dirs[0]+"/rpmdb.sqlite"), file(t, dirs[1]+"/rpmdb.sqlite")
	if !bytes.Equal(a, b) {
		t.Error("the same input gave other bytes")
	}
	if a[18] != 1 || a[19] != 1 {
		t.Errorf("journal mode: format versions %d and %d, want 1: not WAL", a[18], a[19])
	}
}

func TestUpdateTakesADatabaseOutOfWAL(t *testing.T) {
	needRPM(t)
	dir := t.TempDir()
	run(t, "rpm", "--dbpath", dir, "--initdb")
	list := entries(t, 2, 3)
	if err := rpmdb.Update(dir, nil, list); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "p000 p001" {
		t.Errorf("got %s", got)
	}
	if a := file(t, dir+"/rpmdb.sqlite"); a[18] != 1 {
		t.Error("still in WAL mode")
	}
	if out := run(t, "rpm", "--dbpath", dir, "-q", "--whatprovides", "p001"); out != "p001-1.0-1.noarch\n" {
		t.Errorf("rpm: %s", out)
	}
	if out := run(t, "rpm", "--dbpath", dir, "-qf", "/usr/share/p000/0/file1"); out != "p000-1.0-1.noarch\n" {
		t.Errorf("rpm: %s", out)
	}
	run(t, "rpm", "--dbpath", dir, "-V", "--nofiles", "p000")
}

func TestReadLooksIntoTheWAL(t *testing.T) {
	needRPM(t)
	dir, packages := t.TempDir(), t.TempDir()
	p := pack(t, packages, newRPM(t, rpmpack.RPMMetaData{Name: "late"}))
	install(t, dir, []string{p})
	if got := names(t, dir); got != "late" {
		t.Errorf("got %q", got)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	if _, err := rpmdb.Read(dir); !errors.Is(err, rpmdb.ErrNone) {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := rpmdb.Read(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if err := rpmdb.Update(dir, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("update of nothing: %v", err)
	}
	list := entries(t, 1, 2)
	if err := rpmdb.Write(dir, list); err != nil {
		t.Fatal(err)
	}
	if err := rpmdb.Write(dir, list); !errors.Is(err, fs.ErrExist) {
		t.Errorf("write over: %v", err)
	}
	before := file(t, dir+"/rpmdb.sqlite")
	bad := list[0]
	bad.FileStates = []byte{1}
	if err := rpmdb.Update(dir, nil, []rpmdb.Entry{list[0], bad}); err == nil {
		t.Error("wrong number of file states was taken")
	}
	if got := names(t, dir); got != "p000" {
		t.Errorf("after a failure: %s", got)
	}
	_ = before
	other := t.TempDir()
	if err := rpmdb.Write(other, []rpmdb.Entry{{}}); err == nil {
		t.Error("an entry without header was taken")
	}
	if left, _ := os.ReadDir(other); len(left) != 0 {
		t.Errorf("after a failure there is %v", left)
	}
	for _, name := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("junk"), 300), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := rpmdb.Read(dir); err == nil {
			t.Errorf("%s: junk was read", name)
		}
	}
}

func BenchmarkWrite300(b *testing.B) {
	list := entries(b, 300, 180)
	for b.Loop() {
		if err := rpmdb.Write(b.TempDir(), list); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdateAdd1To300(b *testing.B) { benchmarkUpdate(b, nil) }
func BenchmarkUpdateSwap1Of300(b *testing.B) {
	benchmarkUpdate(b, func(h *rpm.Header) bool { return h.String(rpm.TagName) == "p100" })
}

func benchmarkUpdate(b *testing.B, remove func(*rpm.Header) bool) {
	list := entries(b, 301, 180)
	dir := b.TempDir()
	if err := rpmdb.Write(dir, list[:300]); err != nil {
		b.Fatal(err)
	}
	data := file(b, dir+"/rpmdb.sqlite")
	b.ReportMetric(float64(len(data)), "dbBytes")
	for b.Loop() {
		b.StopTimer()
		if err := os.WriteFile(dir+"/rpmdb.sqlite", data, 0o644); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := rpmdb.Update(dir, remove, list[300:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead300(b *testing.B) {
	dir := b.TempDir()
	if err := rpmdb.Write(dir, entries(b, 300, 180)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := rpmdb.Read(dir); err != nil {
			b.Fatal(err)
		}
	}
}
