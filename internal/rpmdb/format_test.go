// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpmdb"
)

// formats are what is written, with what this machine's rpm calls its reader.
var formats = map[rpmdb.Format]string{rpmdb.SQLite: "sqlite", rpmdb.NDB: "ndb", rpmdb.BDB: "bdb_ro"}

// written puts packages into databases of every format, and gives their folders.
func written(t *testing.T, entries []rpmdb.Entry) map[rpmdb.Format]string {
	t.Helper()
	out := map[rpmdb.Format]string{}
	for f := range formats {
		dir := t.TempDir()
		if err := rpmdb.WriteAs(dir, f, entries); err != nil {
			t.Fatal(err)
		}
		if got, err := rpmdb.FormatOf(dir); got != f || err != nil {
			t.Errorf("format %q, %v; wanted %q", got, err, f)
		}
		out[f] = dir
	}
	return out
}

func blobs(t *testing.T, dir string) []string {
	t.Helper()
	headers, err := rpmdb.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, h := range headers {
		out = append(out, string(h.Blob()))
	}
	return out
}

// Every format gives back what was put into it, and the same bytes each time.
func TestFormats(t *testing.T) {
	var many []rpmdb.Entry
	for _, n := range []int{0, 1, 300} {
		many = entries(t, n, 40)
		first, second := written(t, many), written(t, many)
		want := blobs(t, first[rpmdb.SQLite])
		if len(want) != n {
			t.Fatalf("%d packages, wanted %d", len(want), n)
		}
		for f, dir := range first {
			if got := blobs(t, dir); !slices.Equal(got, want) {
				t.Errorf("%s of %d: other headers", f, n)
			}
			for _, name := range f.Files() {
				one, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				two, _ := os.ReadFile(filepath.Join(second[f], name))
				if string(one) != string(two) {
					t.Errorf("%s of %d: %s differs between two runs", f, n, name)
				}
			}
			if err := rpmdb.WriteAs(dir, f, many); !os.IsExist(err) {
				t.Errorf("%s: written over another: %v", f, err)
			}
		}
	}
	if err := rpmdb.WriteAs(t.TempDir(), "dbm", nil); err == nil {
		t.Error("dbm was written")
	}
}

// rpm answers the same from every format, through each index, and Berkeley DB's own tools find no fault.
func TestFormatsByPeers(t *testing.T) {
	needRPM(t)
	if shared() == "" {
		t.Skip("needs GROVE_SHARED")
	}
	files, err := filepath.Glob(filepath.Join(shared(), "data/rpms/el7-closure/*.rpm"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var list []rpmdb.Entry
	for i, f := range files {
		p := readPackage(t, f)
		list = append(list, rpmdb.Entry{Header: p.Header, Signature: p.Signature, InstallTime: 1700000000, InstallTID: uint32(1700000000 + i), InstallColor: 3})
	}
	dirs := written(t, list)
	ask := func(f rpmdb.Format, args ...string) string {
		t.Helper()
		cmd := exec.Command("rpm", append([]string{"--dbpath", dirs[f], "--define", "_db_backend " + formats[f], "--nosignature"}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		lines := strings.Split(string(out), "\n")
		slices.Sort(lines)
		if err != nil {
			lines = append(lines, err.Error())
		}
		return strings.Join(lines, "\n")
	}
	questions := [][]string{{"-qa", "--qf", "%{name} %{installtime} %{sigmd5}\n"}, {"-qa", "-l"}, {"-q", "bash", "glibc", "nosuch"}, {"-qf", "/", "/bin/bash", "/usr/bin/ls", "/etc/passwd", "/nosuch"},
		{"-q", "--whatprovides", "/bin/sh", "libc.so.6()(64bit)", "config(setup)", "nosuch"}, {"-q", "--whatrequires", "glibc", "libc.so.6()(64bit)", "/bin/sh"},
		{"-q", "--whatconflicts", "bash"}, {"-q", "--whatobsoletes", "ntsysv"}, {"-q", "--triggeredby", "glibc"}, {"-qg", "System Environment/Base", "System Environment/Libraries"},
		{"-q", "--tid", "1700000003"}, {"-q", "--pkgid", "00"}, {"-qR", "coreutils"}}
	others := []rpmdb.Format{rpmdb.BDB}
	if out, _ := exec.Command("rpm", "--showrc").Output(); strings.Contains(string(out), " ndb") {
		others = append(others, rpmdb.NDB)
	} else {
		t.Log("this rpm knows no ndb: TestNDBIndex reads it")
	}
	for _, q := range questions {
		want := ask(rpmdb.SQLite, q...)
		for _, f := range others {
			if d := cmp.Diff(want, ask(f, q...)); d != "" {
				t.Errorf("%s: rpm %s\n%s", f, strings.Join(q, " "), d)
			}
		}
	}
	if !slices.Contains(others, rpmdb.NDB) {
		delete(dirs, rpmdb.NDB)
	} else if out := ask(rpmdb.NDB, "--verifydb"); strings.TrimSpace(out) != "" {
		t.Errorf("ndb: --verifydb: %s", out)
	}
	for _, q := range [][]string{{"-e", "--nodeps", "--justdb", "--noscripts", "zlib"}, {"-i", "--nodeps", "--justdb", "--noscripts", "--nodigest", files[0], "--force"}} {
		for _, f := range []rpmdb.Format{rpmdb.SQLite, rpmdb.NDB} {
			if dirs[f] == "" {
				continue
			}
			if out := ask(f, q...); strings.Contains(out, "error") || strings.Contains(out, "exit") {
				t.Errorf("%s: rpm %v: %s", f, q, out)
			}
		}
	}
	for _, q := range [][]string{questions[1], {"-q", "zlib"}, {"-q", "--whatrequires", "libc.so.6()(64bit)"}} {
		if dirs[rpmdb.NDB] == "" {
			break
		}
		if d := cmp.Diff(ask(rpmdb.SQLite, q...), ask(rpmdb.NDB, q...)); d != "" {
			t.Errorf("after changes: rpm %v\n%s", q, d)
		}
	}
	verify, err := exec.LookPath("db5.3_verify")
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs db5.3_verify: not found")
		}
		t.Skip("needs db5.3_verify: not found")
	}
	sound := func(when string) {
		t.Helper()
		for _, name := range rpmdb.BDB.Files() {
			// What is out of order on a page is printed, and does not count as a fault.
			if out := run(t, verify, "-q", filepath.Join(dirs[rpmdb.BDB], name)); out != "" {
				t.Errorf("%s: db5.3_verify %s: %.400s", when, name, out)
			}
		}
	}
	sound("as written")
	// Berkeley DB's own code finds its way in it: it replaces what is there, and adds what makes buckets split.
	load := exec.Command("db5.3_load", "-T", "-t", "hash", filepath.Join(dirs[rpmdb.BDB], "Name"))
	var more strings.Builder
	for i := range 600 {
		fmt.Fprintf(&more, "zlib%s\nvalue\n", strings.Repeat("-x", i%40)+fmt.Sprint(i/40))
	}
	load.Stdin = strings.NewReader(more.String())
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("db5.3_load: %v\n%s", err, out)
	}
	sound("after 600 more names")
	if got := strings.TrimSpace(ask(rpmdb.BDB, "-q", "zlib")); !strings.HasPrefix(got, "zlib-") {
		t.Errorf("after 600 more names: rpm -q zlib: %s", got)
	}
}

// TestNDBIndex finds every row of the sqlite indexes in Index.db, as rpm's lib/backend/ndb/rpmidx.c looks for it (that very code
// was run over such files: it finds all of them, and can add to them).
func TestNDBIndex(t *testing.T) {
	dirs := written(t, entries(t, 3, 1100))
	data, err := os.ReadFile(filepath.Join(dirs[rpmdb.NDB], "Index.db"))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	tags := map[string]uint32{"Name": 1000, "Basenames": 1117, "Providename": 1047, "Dirnames": 1118, "Installtid": 1128}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dirs[rpmdb.SQLite], "rpmdb.sqlite")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for table, tag := range tags {
		var idx []byte
		for at := 32; at < 4096; at += 16 {
			if le.Uint32(data[at+4:]) == tag {
				from := le.Uint32(data[at+8:]) * 4096
				idx = data[from : from+le.Uint32(data[at+12:])*4096]
			}
		}
		slots, xmask, end := le.Uint32(idx[12:]), le.Uint32(idx[24:]), le.Uint32(idx[28:])
		keys := idx[64+12*slots:]
		find := func(key []byte, hnum, place uint32) bool {
			hash := rpmdb.Murmur(string(key))
			for h, hop := hash&(slots-1), uint32(7); ; h, hop = (h+hop)&(slots-1), hop+1 {
				x := le.Uint32(idx[64+8*h:])
				if x == 0 {
					return false
				}
				off := x &^ xmask
				if (x^hash)&xmask != 0 || off >= end || keys[off] != byte(len(key)) || string(keys[off+1:off+1+uint32(len(key))]) != string(key) {
					continue
				}
				d, more := le.Uint32(idx[64+8*h+4:]), le.Uint32(idx[64+8*slots+4*h:])
				p, i := d&0xfffff, d>>20
				if d&0x80000000 != 0 {
					p, i = more, d&0x7fffffff
				} else if d&0x40000000 != 0 {
					p, i = d&0xffffff, d>>24&0x3f
				}
				if p == hnum && i == place {
					return true
				}
			}
		}
		rows, err := db.Query("SELECT key, hnum, idx FROM '" + table + "'")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			var key []byte
			var hnum, place uint32
			if err := rows.Scan(&key, &hnum, &place); err != nil {
				t.Fatal(err)
			}
			if n++; !find(key, hnum, place) {
				t.Fatalf("%s: %q of package %d, place %d is not found", table, key, hnum, place)
			}
		}
		rows.Close()
		if n < 3 {
			t.Errorf("%s: %d rows", table, n)
		}
	}
}
