// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deltaSource is an archive with two commits of the ref main; their difference has something for each operation of a delta.
func deltaSource(t *testing.T, c client) (repo string, one, two string) {
	t.Helper()
	repo, tree := filepath.Join(t.TempDir(), "repo"), t.TempDir()
	c.run(t, repo, "init", "--mode=archive")
	r := rand.New(rand.NewSource(1))
	noise := make([]byte, 50_000)
	r.Read(noise)
	table := strings.Builder{}
	for i := range 120_000 {
		fmt.Fprintln(&table, i*i)
	}
	commit := func(i int) string {
		write(t, filepath.Join(tree, "usr/lib/noise"), string(append([]byte(fmt.Sprint("version ", i)), noise...)))
		write(t, filepath.Join(tree, "usr/lib/table"), table.String()[i*1000:])
		write(t, filepath.Join(tree, "usr/share/note"), fmt.Sprint("note ", i))
		os.Remove(filepath.Join(tree, "usr/lib/link"))
		if err := os.Symlink(fmt.Sprint(i), filepath.Join(tree, "usr/lib/link")); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			write(t, filepath.Join(tree, "usr/lib/new"), strings.Repeat(fmt.Sprint("new in ", i, "\n"), 150_000))
		}
		return strings.TrimSpace(c.run(t, repo, "commit", "-b", "main", "-s", fmt.Sprint(i), fmt.Sprintf("--timestamp=@%d", 1000+i), "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--tree=dir="+tree))
	}
	one, two = commit(0), commit(1)
	return repo, one, two
}

// What one makes a delta of, with each option, the other pulls, and nothing but the delta; then both call the result clean.
func TestDeltasBothWays(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	for _, d := range []struct {
		maker, reader client
		direction     string
	}{{grove, ostree, theyRead}, {ostree, grove, weRead}} {
		src, one, two := deltaSource(t, d.maker)
		s := serveStatic(t, src)
		for _, c := range []struct {
			what string
			args []string
		}{
			{"from", []string{"--from=" + one}}, {"inline", []string{"--inline"}}, {"max-chunk-size", []string{"--max-chunk-size=1"}},
			{"disable-bsdiff", []string{"--disable-bsdiff"}}, {"max-bsdiff-size", []string{"--max-bsdiff-size=1"}},
			{"set-endianness", []string{"--set-endianness=B"}}, {"swap-endianness", []string{"--swap-endianness"}},
			{"min-fallback-size", []string{"--min-fallback-size=1"}}, {"empty", []string{"--empty"}},
		} {
			peerCase(t, "static-delta-generate/"+c.what+"/"+d.direction, func(t *testing.T) {
				if err := os.RemoveAll(filepath.Join(src, "deltas")); err != nil {
					t.Fatal(err)
				}
				d.maker.run(t, src, append([]string{"static-delta", "generate", "main"}, c.args...)...)
				d.maker.run(t, src, "summary", "-u")
				dest := d.reader.clone(t, "bare", s.url)
				if c.what != "empty" {
					d.reader.run(t, dest, "pull", "--disable-static-deltas", "up", "main@"+one)
				}
				if out := d.reader.run(t, dest, "pull", "--dry-run", "--require-static-deltas", "up", "main"); !strings.Contains(out, "Delta update: 0/") {
					t.Errorf("dry run: %s", out)
				}
				d.reader.run(t, dest, "pull", "--require-static-deltas", "up", "main")
				if got := strings.TrimSpace(d.reader.run(t, dest, "rev-parse", "up:main")); got != two {
					t.Errorf("pulled %s, wanted %s", got, two)
				}
				for _, by := range []client{grove, ostree} {
					by.run(t, dest, "fsck")
				}
			})
		}
	}
}

// A delta in one file or folder is carried; both list, show and index what the other made, and say the same of it.
func TestDeltasOffline(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	for _, d := range []struct {
		maker, reader client
		direction     string
	}{{grove, ostree, theyRead}, {ostree, grove, weRead}} {
		src, _, two := deltaSource(t, d.maker)
		peerCase(t, "static-delta-apply-offline/filename/"+d.direction, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "main.delta")
			d.maker.run(t, src, "static-delta", "generate", "--empty", "--inline", "--min-fallback-size=0", "--filename="+file, "main")
			dest := d.reader.clone(t, "bare-user", "")
			d.reader.run(t, dest, "static-delta", "apply-offline", file)
			for _, by := range []client{grove, ostree} {
				by.run(t, dest, "fsck")
				by.run(t, dest, "ls", "-R", two)
			}
		})
		d.maker.run(t, src, "static-delta", "generate", "main")
		d.maker.run(t, src, "static-delta", "reindex")
		for _, verb := range []string{"list", "indexes"} {
			peerCase(t, "static-delta-"+verb+"/made-by-"+d.maker.name+"/"+sameResult, func(t *testing.T) {
				if a, b := grove.run(t, src, "static-delta", verb), ostree.run(t, src, "static-delta", verb); a != b {
					t.Errorf("grove %q, ostree %q", a, b)
				}
			})
		}
		peerCase(t, "static-delta-show/made-by-"+d.maker.name+"/"+sameResult, func(t *testing.T) {
			name := strings.TrimSpace(grove.run(t, src, "static-delta", "list"))
			a, b := grove.run(t, src, "static-delta", "show", name), ostree.run(t, src, "static-delta", "show", name)
			for i, want := range strings.Split(b, "\n") { // sizes for people are in other units
				want, _, _ = strings.Cut(want, " (")
				if got := strings.Split(a+strings.Repeat("\n", i+1), "\n")[i]; !strings.HasPrefix(got, want) {
					t.Errorf("line %d: grove %q, ostree %q", i+1, got, want)
				}
			}
		})
	}
}
