// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/manifest"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var lock = manifest.Lock{
	Version: manifest.LockVersion,
	Arch:    "x86_64",
	Base:    manifest.LockedBase{Ref: "el7:centos/7", Commit: hex64, Version: "7.1"},
	Packages: []manifest.LockedPackage{
		{NEVRA: "a<b-1:2-3.x86_64", Source: "el7", Location: "Packages/a.rpm", Digest: "sha256:" + hex64, SizeBytes: 12, Requested: true},
		{NEVRA: "c-1-1.noarch", Source: "@commandline", Digest: "sha256:" + hex64},
	},
	Removed:   []string{"nano-1-1.x86_64"},
	Users:     []string{"web:x:990:990::/srv:/sbin/nologin"},
	Groups:    []string{"web:x:990:"},
	Inputs:    "abc",
	Timestamp: 1700000000,
}

func TestLock(t *testing.T) {
	for _, l := range []manifest.Lock{lock, {Version: 1, Packages: []manifest.LockedPackage{}}} {
		back, err := manifest.ParseLock(l.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(l, back); d != "" {
			t.Error(d)
		}
	}
	if !strings.Contains(string(lock.Encode()), `"nevra": "a<b-1:2-3.x86_64"`) {
		t.Errorf("escaped:\n%s", lock.Encode())
	}
}

func TestLockRefuses(t *testing.T) {
	good := string(lock.Encode())
	for _, c := range []struct{ old, new, want string }{
		{`"version": 1`, `"version": 2`, "parse lock: got version 2, wanted 1"},
		{`"version": 1`, `"v": 1`, "parse lock: no version: not a lock of grove"},
		{`"arch"`, `"arcs"`, `parse lock: json: unknown field "arcs"`},
		{"sha256:0", "sha256:G", "parse lock: package 0: a<b-1:2-3.x86_64: got digest"},
		{"c-1-1.noarch", "c/1-1.noarch", "parse lock: package 1: got nevra"},
		{`"web:x:990:"`, `"web\n"`, "parse lock: got \"web\\n\", wanted one line"},
		{`"` + hex64 + `"`, `"x"`, "parse lock: base: got ref"},
		{`1700000000`, `-1`, "parse lock: timestamp: got -1"},
		{"\n}\n", "\n} {}", "parse lock: invalid character '{' after top-level value"},
	} {
		_, err := manifest.ParseLock([]byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s -> %s: got %v, want %s", c.old, c.new, err, c.want)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(lock.Encode())
	f.Add([]byte(`{"version":1,"packages":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := manifest.ParseLock(data)
		if err != nil {
			return
		}
		again, err := manifest.ParseLock(l.Encode())
		if err != nil || string(again.Encode()) != string(l.Encode()) {
			t.Fatalf("%v\n%s", err, l.Encode())
		}
	})
}
