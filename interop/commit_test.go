// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// committed is what TestCommitOptions commits from: two directories and archives of them, and in each pair of repositories the
// branches base and other.
type committed struct {
	site
	one, two, layer, list string
}

func (c *committed) prepare(t *testing.T) {
	t.Helper()
	c.one, c.two = c.path("one"), c.path("two")
	for _, dir := range []string{c.one, c.two} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g := grower{T: t, r: rand.New(rand.NewSource(20261128)), left: 80}
	g.dir(c.one, 0)
	for _, dir := range []string{c.one, c.two} {
		write(t, dir+"/usr/bin/tool", "tool of "+filepath.Base(dir))
		write(t, dir+"/usr/lib/modules/6.1.0/vmlinuz", "kernel")
		write(t, dir+"/usr/share/plain", "plain")
		g.must(os.Chmod(dir+"/usr/bin/tool", 0o755))
	}
	write(t, c.two+"/usr/new/file", "only in two")
	g.must(os.Symlink("tool", c.two+"/usr/bin/link"))
	g.must(os.Link(c.two+"/usr/bin/tool", c.two+"/usr/bin/twin"))
	g.must(os.Chmod(c.two+"/usr/share", 0o700))
	g.must(os.Lchown(c.two+"/usr/new", 3, 4))
	write(t, c.path("statoverride"), "2048 /usr/bin/tool\n=256 /usr/share/plain\n=448 /usr/lib\n512 /usr/new\n")
	labels := c.path("policy/etc/selinux/targeted")
	write(t, c.path("policy/etc/selinux/config"), "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
	write(t, labels+"/policy/policy.33", "not read, but for its checksum")
	write(t, labels+"/contexts/files/file_contexts", "/\tsystem_u:object_r:root_t:s0\n/.*\tsystem_u:object_r:default_t:s0\n/usr(/.*)?\tsystem_u:object_r:usr_t:s0\n"+
		"/usr/bin(/.*)?\tsystem_u:object_r:bin_t:s0\n/usr/bin/t[a-z]+l\t--\tsystem_u:object_r:tool_exec_t:s0\n/usr/bin/.*\t-l\tsystem_u:object_r:link_t:s0\n/usr/lib/modules(/.*)?\t<<none>>\n"+
		"/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n")
	write(t, labels+"/contexts/files/file_contexts.subs_dist", "/usr/new /usr/bin\n")
	write(t, c.path("policy/usr/new/tool"), "tool")
	write(t, c.path("skip"), "/usr/share/plain\n/usr/new\n")
	tool(t, "tar", "--format=pax", "--sort=name", "--numeric-owner", "--xattrs", "-cf", c.path("two.tar"), "-C", c.two, ".")
	tool(t, "tar", "--format=pax", "--numeric-owner", "-cf", c.path("part.tar"), "-C", c.two, "usr/new/file", "usr/bin/twin")
	tool(t, "tar", "--format=pax", "--numeric-owner", "--owner=7", "--group=8", "-cf", c.path("lone.tar"), "-C", c.two, "usr/share/plain")
}

// run commits by both into a pair of repositories of one mode and demands one checksum.
func (c *committed) run(t *testing.T, mode string, args []string) {
	t.Helper()
	ours, theirs := c.path("pairs", mode, "ours"), c.path("pairs", mode, "theirs")
	if _, err := os.Stat(ours); err != nil {
		write(t, c.path("pairs", mode, "x"), "")
		for _, r := range []string{ours, theirs} {
			tool(t, "ostree", "--repo="+r, "init", "--mode="+mode, "--collection-id=org.example.C")
			tool(t, "ostree", "--repo="+r, "config", "set", "core.fsync", "false")
			tool(t, "ostree", "--repo="+r, "commit", "-b", "base", "--tree=dir="+c.one, "--timestamp=@5", "--add-metadata-string=kept=yes")
			tool(t, "ostree", "--repo="+r, "commit", "-b", "other", "--tree=dir="+c.two, "--timestamp=@6")
		}
	}
	args = append([]string{"--timestamp=@1000000000", "-s", "subject"}, args...)
	want, werr := exec.Command("ostree", append([]string{"--repo=" + theirs, "commit"}, args...)...).CombinedOutput()
	got, text, code := c.try(append([]string{"repo", "commit", "--repo", ours}, args...)...)
	if (werr == nil) != (code == 0) {
		t.Fatalf("%s %q: grove %d %s\nostree %s %v", mode, args, code, text, want, werr)
	}
	if werr == nil && got != string(want) {
		t.Errorf("%s %q:\ngrove  %sostree %s%s", mode, args, got, want, c.between(t, ours, strings.TrimSpace(got), theirs, strings.TrimSpace(string(want))))
	}
	if werr == nil {
		tool(t, "ostree", "--repo="+ours, "fsck", "-q")
	}
}

// between shows where two commits differ, if both are there.
func (c *committed) between(t *testing.T, ours, a, theirs, b string) string {
	if len(a) != 64 || len(b) != 64 {
		return ""
	}
	one := tool(t, "ostree", "--repo="+ours, "ls", "-R", "-C", "-X", a) + tool(t, "ostree", "--repo="+ours, "show", "--raw", a)
	two := tool(t, "ostree", "--repo="+theirs, "ls", "-R", "-C", "-X", b) + tool(t, "ostree", "--repo="+theirs, "show", "--raw", b)
	x, y := strings.Split(one, "\n"), strings.Split(two, "\n")
	var first, last string // a directory's own line differs where something in it does: the last one tells more
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			if last = x[i] + "\n" + y[i]; first == "" {
				first = last
			}
		}
		if x[i] != y[i] && !strings.HasPrefix(x[i], "d") {
			break
		}
	}
	if first != "" {
		return "first difference:\n" + first + "\nfirst of a file:\n" + last
	}
	return ""
}

// TestCommitOptions: each option of commit gives the checksum that ostree gives, in bare and in archive.
func TestCommitOptions(t *testing.T) {
	need(t, "ostree")
	c := &committed{site: newSite(t)}
	c.prepare(t)
	dir, tar := "--tree=dir=", "--tree=tar="+c.path("two.tar")
	for _, o := range []struct {
		name string
		args []string
	}{
		{"several-dirs", []string{"-b", "x", dir + c.one, dir + c.two}},
		{"several-kinds", []string{"-b", "x", "--tree=ref=other", dir + c.one, tar}},
		{"file-over-directory", []string{"-b", "x", dir + c.two, "--tree=tar=" + c.path("two.tar"), dir + c.path("clash")}},
		{"ref", []string{"-b", "x", "--tree=ref=base"}},
		{"ref+owner", []string{"-b", "x", "--tree=ref=base", "--owner-uid=4", "--owner-gid=5"}},
		{"ref+no-xattrs", []string{"-b", "x", "--tree=ref=base", "--no-xattrs"}},
		{"ref+canonical-permissions", []string{"-b", "x", "--tree=ref=base", "--canonical-permissions"}},
		{"ref+skip-list", []string{"-b", "x", "--tree=ref=other", "--skip-list=" + c.path("skip")}},
		{"base", []string{"-b", "x", "--base=base", dir + c.two, "--owner-uid=9"}},
		{"statoverride/dir", []string{"-b", "x", dir + c.two, "--statoverride=" + c.path("statoverride")}},
		{"statoverride/tar", []string{"-b", "x", tar, "--statoverride=" + c.path("statoverride")}},
		{"statoverride/ref", []string{"-b", "x", "--tree=ref=other", "--statoverride=" + c.path("statoverride")}},
		{"statoverride/unmatched", []string{"-b", "x", dir + c.one, "--statoverride=" + c.path("statoverride")}},
		{"skip-list/dir", []string{"-b", "x", dir + c.two, "--skip-list=" + c.path("skip")}},
		{"skip-list/tar", []string{"-b", "x", tar, "--skip-list=" + c.path("skip")}},
		{"skip-list/unmatched", []string{"-b", "x", dir + c.one, "--skip-list=" + c.path("skip")}},
		{"mode-ro-executables", []string{"-b", "x", dir + c.one, "--mode-ro-executables"}},
		{"owner+canonical-permissions", []string{"-b", "x", dir + c.one, "--canonical-permissions", "--owner-uid=0"}},
		{"owner-against-canonical-permissions", []string{"-b", "x", dir + c.one, "--canonical-permissions", "--owner-uid=1"}},
		{"tar", []string{"-b", "x", tar}},
		{"tar-without-parents", []string{"-b", "x", "--tree=tar=" + c.path("part.tar")}},
		{"tar-autocreate-parents", []string{"-b", "x", "--tree=tar=" + c.path("part.tar"), "--tar-autocreate-parents"}},
		{"tar-autocreate-parents/owner", []string{"-b", "x", "--tree=tar=" + c.path("lone.tar"), "--tar-autocreate-parents"}},
		{"tar-over-a-tree", []string{"-b", "x", "--tree=ref=other", "--tree=tar=" + c.path("part.tar")}},
		{"tar-pathname-filter", []string{"-b", "x", tar, `--tar-pathname-filter=^usr/(share|new)(.*)$,usr/\1\2`, "--tar-autocreate-parents"}},
		{"tar-pathname-filter/moved", []string{"-b", "x", tar, `--tar-pathname-filter=^usr/new,usr/lib/new`}},
		{"orphan", []string{"--orphan", dir + c.one}},
		{"parent", []string{"-b", "y", dir + c.one, "--parent=none"}},
		{"no-bindings", []string{"-b", "x", dir + c.one, "--no-bindings"}},
		{"bind-ref", []string{"-b", "x", dir + c.one, "--bind-ref=b", "--bind-ref=a", "--bind-ref=x"}},
		{"bootable", []string{"-b", "x", dir + c.one, "--bootable", "--add-metadata-string=version=1", "--add-metadata-string=zz=2"}},
		{"body", []string{"-b", "x", dir + c.one, "-m", "a body\nof two lines\n"}},
		{"body-file", []string{"-b", "x", dir + c.one, "-F", c.path("skip")}},
		{"add-metadata", []string{"-b", "x", dir + c.one, "--add-metadata=a=uint32 5", "--add-metadata=b=[('x', 1)]", "--add-metadata=c={'k': <true>}"}},
		{"add-metadata-string", []string{"-b", "x", dir + c.one, "--add-metadata-string=a=b=c", "--add-metadata-string=ostree.collection-binding=org.example.Q"}},
		{"keep-metadata", []string{"-b", "base", dir + c.one, "--keep-metadata=kept"}},
		{"keep-metadata/missing", []string{"-b", "base", dir + c.one, "--keep-metadata=no"}},
		{"skip-if-unchanged", []string{"-b", "other", dir + c.two, "--skip-if-unchanged"}},
		{"add-detached-metadata-string", []string{"-b", "x", dir + c.one, "--add-detached-metadata-string=a=b"}},
		{"fsync", []string{"-b", "x", dir + c.one, "--fsync=false"}},
		{"timestamp", []string{"-b", "x", dir + c.one, "--timestamp=2001-02-03T04:05:06Z"}},
		{"timestamp/wrong", []string{"-b", "x", dir + c.one, "--timestamp=@x"}},
		// Of files with xattrs: before 2024.10 ostree puts the label behind them, since then where its name belongs.
		{"selinux-policy", []string{"-b", "x", dir + c.two, "--selinux-policy=" + c.path("policy")}},
		{"selinux-policy/no-policy", []string{"-b", "x", dir + c.two, "--selinux-policy=" + c.path("nowhere")}},
		{"selinux-policy+owner", []string{"-b", "x", dir + c.two, dir + c.path("policy"), "--owner-uid=3", "--selinux-policy=" + c.path("policy")}},
		{"selinux-policy+tar", []string{"-b", "x", tar, "--selinux-policy=" + c.path("policy")}},
		{"selinux-policy-from-base", []string{"-b", "x", dir + c.path("policy"), "-P"}},
		{"table-output", []string{"-b", "t", dir + c.two, "--table-output"}},
	} {
		modes := []string{"bare"}
		if strings.HasPrefix(o.name, "ref") || strings.HasPrefix(o.name, "several") || o.name == "tar" {
			modes = append(modes, "archive")
		}
		peerCase(t, "commit/"+o.name+"/same", func(t *testing.T) {
			if o.name == "file-over-directory" {
				write(t, c.path("clash", "usr"), "a file")
			}
			for _, mode := range modes {
				c.run(t, mode, o.args)
			}
		})
	}
}

// TestCommitOfCheckout: what is a hard link to an object is that object, unless an option makes something else of it.
func TestCommitOfCheckout(t *testing.T) {
	need(t, "ostree")
	for _, o := range []struct {
		name string
		args []string
	}{
		{"link-checkout-speedup", []string{"--link-checkout-speedup"}},
		{"link-checkout-speedup+owner", []string{"--link-checkout-speedup", "--owner-uid=6", "--owner-gid=7"}},
		{"link-checkout-speedup+no-xattrs", []string{"--link-checkout-speedup", "--no-xattrs"}},
		{"devino-canonical", []string{"-I"}},
		{"devino-canonical+owner", []string{"-I", "--owner-uid=6"}},
		{"consume", []string{"--consume"}},
	} {
		peerCase(t, "commit/"+o.name+"/same", func(t *testing.T) {
			s := newSite(t)
			g := grower{T: t, r: rand.New(rand.NewSource(7)), left: 60}
			g.must(os.Mkdir(s.path("tree"), 0o755))
			g.dir(s.path("tree"), 0)
			for _, mode := range []string{"bare", "bare-user"} {
				var sums [2]string
				for i, who := range []string{"grove", "ostree"} {
					r, out := s.path(mode+who), s.path(mode+who+".out")
					tool(t, "ostree", "--repo="+r, "init", "--mode="+mode)
					tool(t, "ostree", "--repo="+r, "config", "set", "core.fsync", "false")
					tool(t, "ostree", "--repo="+r, "commit", "-b", "x", "--tree=dir="+s.path("tree"), "--timestamp=@5")
					how := []string{"checkout", "-H", "x", out}
					if mode == "bare-user" {
						how = []string{"checkout", "-U", "-H", "x", out}
					}
					tool(t, "ostree", append([]string{"--repo=" + r}, how...)...)
					args := append([]string{"--timestamp=@6", "-b", "x", "--tree=dir=" + out}, o.args...)
					if who == "grove" {
						sums[i] = tool(t, program, append([]string{"repo", "commit", "--repo", r}, args...)...)
					} else {
						sums[i] = tool(t, "ostree", append([]string{"--repo=" + r, "commit"}, args...)...)
					}
					if _, err := os.Stat(out); (err == nil) == (o.name == "consume") {
						t.Errorf("%s %s: the directory: %v", mode, who, err)
					}
				}
				if sums[0] != sums[1] {
					t.Errorf("%s: grove %sostree %s", mode, sums[0], sums[1])
				}
			}
		})
	}
}
