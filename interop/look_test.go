// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// both runs a verb by both programs on one repository and demands the same output and exit code. Of errors only the code counts.
func (s site) both(t *testing.T, repo, verb string, args ...string) {
	t.Helper()
	theirs, terr := exec.Command("ostree", append([]string{verb, "--repo=" + repo}, args...)...).Output()
	ours, text, code := s.try(append([]string{"repo", verb, "--repo", repo}, args...)...)
	if (terr == nil) != (code == 0) {
		t.Errorf("%s %q: ostree %v, grove %d %s", verb, args, terr, code, text)
	}
	if verb == "refs" { // which ostree 2022.7 prints in the order of a hash table
		ours, theirs = sortedLines(ours), []byte(sortedLines(string(theirs)))
	}
	if string(theirs) != ours {
		t.Errorf("%s %q:\nostree: %s\ngrove:  %s", verb, args, theirs, ours)
	}
}

// lookedAt is a repository of two commits with something of everything that the look verbs show.
func lookedAt(t *testing.T, s site) string {
	t.Helper()
	dir, repo := s.path("tree"), s.path("repo")
	for _, d := range []string{"usr/bin", "usr/empty", "usr/gone/deep", "var"} {
		if err := os.MkdirAll(dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"usr/bin/tool": "#!/bin/sh\n", "usr/zz": "zz", "usr/gone/deep/file": "x", "usr/bin/big": strings.Repeat("big", 10_000), "turns": "file"} {
		write(t, dir+"/"+name, text)
	}
	for link, target := range map[string]string{"usr/bin/link": "tool", "usr/abs": "/usr/bin/link", "usr/loop": "loop"} {
		if err := os.Symlink(target, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(dir+"/usr/zz", "user.note", []byte("a\x00b"), 0); err != nil {
		t.Fatal(err)
	}
	tool(t, "ostree", "--repo="+repo, "init", "--mode=archive", "--collection-id=org.example.Main")
	tool(t, "ostree", "--repo="+repo, "commit", "-b", "os/x/main", "-s", "subject", "-m", "body\n\nof lines\n", "--tree=dir="+dir, "--timestamp=@1000000000",
		"--add-metadata-string=version=7", "--add-metadata=n=uint32 5", "--add-detached-metadata-string=beside=yes", "--generate-sizes")
	if err := os.RemoveAll(dir + "/usr/gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/turns"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/turns/into/dir", "now")
	write(t, dir+"/usr/new/a/b", "new")
	write(t, dir+"/usr/zz", "changed")
	if err := unix.Setxattr(dir+"/usr/bin/tool", "user.only", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/var", 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "ostree", "--repo="+repo, "commit", "-b", "os/x/main", "--tree=dir="+dir, "--timestamp=@1100000000")
	tool(t, "ostree", "--repo="+repo, "refs", "--create=os/other", "os/x/main^")
	tool(t, "ostree", "--repo="+repo, "refs", "--create=one", "os/x/main")
	tool(t, "ostree", "--repo="+repo, "summary", "-u")
	return repo
}

// TestLook: what the look verbs print is what ostree prints.
func TestLook(t *testing.T) {
	need(t, "ostree")
	s := newSite(t)
	repo := lookedAt(t, s)
	for _, c := range []struct {
		name string
		runs [][]string
	}{
		{"ls/paths", [][]string{{"os/x/main"}, {"os/x/main", "/usr/bin", "usr/zz", "/"}, {"os/x/main", "/no"}}},
		{"ls/dironly", [][]string{{"-d", "os/x/main", "/usr", "/usr/zz"}}},
		{"ls/recursive", [][]string{{"-R", "os/x/main"}, {"-R", "os/x/main^", "/usr"}}},
		{"ls/checksum", [][]string{{"-R", "-C", "os/x/main"}}},
		{"ls/xattrs", [][]string{{"-R", "-X", "os/x/main"}}},
		{"ls/nul-filenames-only", [][]string{{"-R", "--nul-filenames-only", "os/x/main"}}},
		{"cat/files", [][]string{{"os/x/main", "/usr/zz", "usr/bin/tool"}, {"os/x/main", "/usr"}, {"os/x/main", "/no"}}},
		{"cat/links", [][]string{{"os/x/main", "/usr/bin/link"}}},
		{"log/history", [][]string{{"os/x/main"}, {"os/other"}, {"no/such"}}},
		{"log/raw", [][]string{{"--raw", "os/x/main"}}},
		{"show/raw", [][]string{{"--raw", "os/x/main"}}},
		{"show/print-metadata-key", [][]string{{"--print-metadata-key=n", "os/x/main^"}, {"--print-metadata-key=no", "os/x/main^"}, {"-B", "--print-metadata-key=n", "os/x/main^"}}},
		{"show/print-detached-metadata-key", [][]string{{"--print-detached-metadata-key=beside", "os/x/main^"}}},
		{"show/print-related", [][]string{{"--print-related", "os/x/main"}}},
		{"show/print-sizes", [][]string{{"--print-sizes", "os/x/main^"}, {"--print-sizes", "os/x/main"}}},
		{"show/print-variant-type", [][]string{{"--print-variant-type=(a(s(taya{sv}))a{sv})", s.path("repo", "summary")}}},
		{"refs/all", [][]string{{}}},
		{"refs/prefix", [][]string{{"os"}, {"os/x"}, {"os/x/main"}, {"no"}}},
		{"refs/list", [][]string{{"--list", "os/x"}, {"--list", "one"}}},
		{"refs/collections", [][]string{{"-c"}, {"-c", "org.example.Main"}, {"-c", "org.example.Other"}}},
		{"rev-parse/several", [][]string{{"os/x/main", "one", "os/x/main^"}, {"no"}, {"os/x/main^^"}}},
		{"rev-parse/single", [][]string{{"--single"}}},
		{"diff/commits", [][]string{{"os/x/main^", "os/x/main"}, {"os/x/main", "os/x/main^"}, {"os/x/main"}, {"one", "os/x/main"}}},
		{"diff/stats", [][]string{{"--stats", "os/x/main^", "os/x/main"}, {"--stats", "--fs-diff", "one", "os/other"}}},
		{"diff/directory", [][]string{{"os/x/main", s.path("tree")}, {"--owner-uid=5", "one", s.path("tree")}}},
		{"config/get", [][]string{{"get", "core.mode"}, {"get", "core.no"}, {"--group=core", "get", "repo_version"}}},
	} {
		verb, _, _ := strings.Cut(c.name, "/")
		peerCase(t, c.name+"/same", func(t *testing.T) {
			for _, args := range c.runs {
				s.both(t, repo, verb, args...)
			}
		})
	}
}

// TestRefsByBoth: refs, aliases, configuration and reset made by grove are seen by ostree, and the other way round.
func TestRefsByBoth(t *testing.T) {
	need(t, "ostree")
	s := newSite(t)
	repo := lookedAt(t, s)
	theirs := func(args ...string) string { return tool(t, "ostree", append([]string{"--repo=" + repo}, args...)...) }
	ours := func(verb string, args ...string) string {
		return s.grove(append([]string{"repo", verb, "--repo", repo}, args...)...)
	}
	peerCase(t, "refs/create/ostree-reads-grove", func(t *testing.T) {
		ours("refs", "--create=made", "os/x/main^")
		if got := theirs("rev-parse", "made"); got != theirs("rev-parse", "os/other") {
			t.Errorf("made is %s", got)
		}
		s.fails(1, "repo", "refs", "--repo", repo, "--create=made", "one")
		ours("refs", "--force", "--create=made", "one")
		if got := theirs("rev-parse", "made"); got != theirs("rev-parse", "one") {
			t.Errorf("made is %s after --force", got)
		}
	})
	peerCase(t, "refs/alias/ostree-reads-grove", func(t *testing.T) {
		ours("refs", "-A", "--create=deep/alias", "os/x/main")
		if got := theirs("refs", "-A"); got != "deep/alias -> os/x/main\n" {
			t.Errorf("ostree sees %q", got)
		}
		if got := theirs("rev-parse", "deep/alias"); got != theirs("rev-parse", "one") {
			t.Errorf("the alias is %s", got)
		}
		s.fails(1, "repo", "refs", "--repo", repo, "--delete", "os/x/main")
		ours("refs", "--delete", "deep/alias")
	})
	peerCase(t, "refs/alias/grove-reads-ostree", func(t *testing.T) {
		theirs("refs", "-A", "--create=other/alias", "os/x/main")
		s.both(t, repo, "refs", "-A")
		theirs("refs", "--delete", "other/alias")
	})
	peerCase(t, "refs/delete/ostree-reads-grove", func(t *testing.T) {
		ours("refs", "--delete", "made", "os/other")
		s.both(t, repo, "refs")
		theirs("refs", "--create=os/other", "os/x/main^")
	})
	peerCase(t, "reset/commit/ostree-reads-grove", func(t *testing.T) {
		ours("reset", "os/x/main", "os/x/main^")
		if got := theirs("rev-parse", "os/x/main"); got != theirs("rev-parse", "os/other") {
			t.Errorf("reset to %s", got)
		}
		theirs("reset", "os/x/main", "one")
	})
	peerCase(t, "config/set/ostree-reads-grove", func(t *testing.T) {
		ours("config", "set", "core.min-free-space-size", "1MB")
		ours("config", "--group", "a.b", "set", "key", "value = x")
		if got := theirs("config", "get", "core.min-free-space-size") + theirs("config", "--group=a.b", "get", "key"); got != "1MB\nvalue = x\n" {
			t.Errorf("ostree reads %q", got)
		}
		ours("config", "unset", "core.min-free-space-size")
		s.both(t, repo, "config", "get", "core.min-free-space-size")
		s.fails(1, "repo", "config", "--repo", repo, "set", "core.fsync", "perhaps")
	})
	peerCase(t, "init/modes/ostree-reads-grove", func(t *testing.T) {
		for _, mode := range []string{"bare", "bare-user", "bare-user-only", "archive", "bare-split-xattrs"} {
			s.grove("repo", "init", "--repo", s.path(mode), "--mode="+mode, "--collection-id=org.example.A")
			s.both(t, s.path(mode), "config", "get", "core.mode")
			s.both(t, s.path(mode), "config", "get", "core.collection-id")
			tool(t, "ostree", "--repo="+s.path(mode), "refs")
		}
	})
}

// TestPruneRules: each rule leaves the same commits and objects, prints the same, and leaves what both call sound.
func TestPruneRules(t *testing.T) {
	need(t, "ostree")
	s := newSite(t)
	made := s.path("made")
	tool(t, "ostree", "--repo="+made, "init", "--mode=archive")
	commits := map[string][]string{}
	for i := range 5 {
		for _, branch := range []string{"a", "b/c"} {
			dir := s.path("tree", branch)
			write(t, dir+"/file", fmt.Sprint(branch, i, strings.Repeat("x", i*700)))
			out := tool(t, "ostree", "--repo="+made, "commit", "-b", branch, "--tree=dir="+dir, fmt.Sprintf("--timestamp=@%d", 1_000_000_000+i*86400))
			commits[branch] = append(commits[branch], strings.TrimSpace(out))
		}
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"no-refs-only", nil},
		{"refs-only", []string{"--refs-only"}},
		{"depth", []string{"--refs-only", "--depth=1"}},
		{"no-prune", []string{"--refs-only", "--depth=0", "--no-prune"}},
		{"keep-younger-than", []string{"--keep-younger-than=2001-09-11T00:00:00Z"}},
		{"retain-branch-depth", []string{"--retain-branch-depth=a=1", "--retain-branch-depth=b/c=2"}},
		{"retain-branch-depth+keep-younger-than", []string{"--retain-branch-depth=a=-1", "--keep-younger-than=2001-09-12T00:00:00Z"}},
		{"only-branch", []string{"--only-branch=a", "--depth=0"}},
		{"commit-only", []string{"--refs-only", "--depth=0", "--commit-only"}},
		{"delete-commit", []string{"--delete-commit=" + commits["a"][3]}},
		{"delete-commit-of-a-ref", []string{"--delete-commit=" + commits["a"][4]}},
		{"only-branch-that-is-not-there", []string{"--only-branch=none"}},
		{"tombstones", []string{"--refs-only", "--depth=1"}},
	} {
		peerCase(t, "prune/"+c.name+"/same", func(t *testing.T) {
			ours, theirs := s.path(c.name, "ours"), s.path(c.name, "theirs")
			write(t, s.path(c.name, "x"), "")
			for _, r := range []string{ours, theirs} {
				tool(t, "cp", "-a", made, r)
				if c.name == "tombstones" {
					tool(t, "ostree", "--repo="+r, "config", "set", "core.tombstone-commits", "true")
				}
			}
			want, werr := exec.Command("ostree", append([]string{"prune", "--repo=" + theirs}, c.args...)...).Output()
			got, text, code := s.try(append([]string{"repo", "prune", "--repo", ours}, c.args...)...)
			if got != string(want) || (werr == nil) != (code == 0) {
				t.Errorf("grove: %s%s\nostree: %s%v", got, text, want, werr)
			}
			list := func(r string) string {
				return tool(t, "sh", "-c", "cd "+r+" && find objects deltas state -type f 2>/dev/null | sort; grep tombstone config || true")
			}
			if o, w := list(ours), list(theirs); o != w {
				t.Errorf("left by grove:\n%s\nby ostree:\n%s", o, w)
			}
			tool(t, program, "repo", "fsck", "--repo", theirs)
		})
	}
}
