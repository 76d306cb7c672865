// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each option of pull-local, by both programs, from what the other made.
func TestPullLocalLikeOstree(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	cases := []struct {
		what, mode       string
		args             []string
		commits, partial int
		ref              string
		damage, fails    bool
	}{
		{what: "all-refs", args: nil, commits: 4, ref: "main"},
		{what: "archive", mode: "archive", args: []string{"main"}, commits: 1, ref: "main"},
		{what: "bare", mode: "bare", args: []string{"main"}, commits: 1, ref: "main"},
		{what: "remote", args: []string{"--remote=up", "main"}, commits: 1, ref: "up:main"},
		{what: "depth", args: []string{"--depth=-1", "main"}, commits: 3, ref: "main"},
		{what: "commit-metadata-only", args: []string{"--commit-metadata-only", "main"}, commits: 1, partial: 1, ref: "main"},
		{what: "bareuseronly-files-refused", args: []string{"--bareuseronly-files", "odd"}, fails: true},
		{what: "per-object-fsync", args: []string{"--per-object-fsync", "main"}, commits: 1, ref: "main"},
		{what: "disable-fsync", args: []string{"--disable-fsync", "main"}, commits: 1, ref: "main"},
		{what: "untrusted", mode: "archive", args: []string{"--untrusted", "main"}, commits: 1, ref: "main"},
		{what: "untrusted-damaged", mode: "archive", args: []string{"--untrusted", "main"}, damage: true, fails: true},
	}
	for _, k := range cases {
		mode := k.mode
		if mode == "" {
			mode = "bare-user"
		}
		for _, d := range []struct {
			c, made client
			name    string
		}{{grove, ostree, weRead}, {ostree, grove, theyRead}} {
			peerCase(t, "pull-local/"+k.what+"/"+d.name, func(t *testing.T) {
				u := pullFrom(t, d.made)
				src := u.dir
				if k.damage {
					src = filepath.Join(t.TempDir(), "damaged")
					tool(t, "cp", "-a", u.dir, src)
					file := glob(t, filepath.Join(src, "objects/*/*.filez"))[0]
					data := []byte(read(t, file))
					data[len(data)-1] ^= 0x55
					if err := os.WriteFile(file, data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				repo := d.c.clone(t, mode, "")
				out, errs, code := d.c.try(t, repo, append([]string{"pull-local", src}, k.args...)...)
				if (code != 0) != k.fails {
					t.Fatalf("exit code %d\n%s%s", code, out, errs)
				}
				sound(t, repo)
				if k.fails {
					return
				}
				if n := len(glob(t, filepath.Join(repo, "objects/*/*.commit"))); n != k.commits {
					t.Errorf("%d commits, want %d", n, k.commits)
				}
				if n := len(glob(t, filepath.Join(repo, "state/*.commitpartial"))); n != k.partial {
					t.Errorf("%d partial commits, want %d", n, k.partial)
				}
				if got := strings.TrimSpace(d.c.run(t, repo, "rev-parse", k.ref)); got != u.head() {
					t.Errorf("%s is %s, want %s", k.ref, got, u.head())
				}
			})
		}
	}
}
