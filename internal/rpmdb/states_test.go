// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"strings"
	"testing"

	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// The states of a package's files change where it lies; the rest of the database stays as it is, and rpm reads both.
func TestSetStates(t *testing.T) {
	dirs := written(t, entries(t, 3, 4))
	path := dirs[rpmdb.SQLite]
	before, err := rpmdb.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	which := -1
	for i, h := range before {
		if files, err := h.Files(); err != nil {
			t.Fatal(err)
		} else if len(files) > 1 {
			which = i
		}
	}
	if which < 0 {
		t.Fatal("no package with files")
	}
	nevra := before[which].NEVRA().String()
	err = rpmdb.Replace(path, func(h *rpm.Header) *rpm.Header {
		if h.NEVRA().String() != nevra {
			return nil
		}
		other, err := rpmdb.SetStates(h, map[int]byte{1: 1})
		if err != nil {
			t.Fatal(err)
		}
		return other
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := rpmdb.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range after {
		if i != which && string(h.Blob()) != string(before[i].Blob()) || h.NEVRA().String() != before[i].NEVRA().String() {
			t.Errorf("package %d changed", i)
		}
	}
	files, err := after[which].Files()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if want := i == 1; (f.State == 1) != want {
			t.Errorf("%s has state %d", f.Path, f.State)
		}
	}
	for _, bad := range []map[int]byte{{-1: 1}, {len(files): 1}} {
		if _, err := rpmdb.SetStates(after[which], bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	plain, err := rpm.ParseHeader(entries(t, 3, 4)[0].Header.Blob())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpmdb.SetStates(plain, map[int]byte{0: 1}); err == nil || !strings.Contains(err.Error(), "without states") {
		t.Errorf("header of a package file: %v", err)
	}
}
