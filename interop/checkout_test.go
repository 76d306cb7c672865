// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// listing is all there is to say of a directory but times and links.
func listing(t *testing.T, dir string) string {
	t.Helper()
	return tool(t, "sh", "-c", `cd "$1" && find . -printf '%p %y %m %U:%G %l ' \( -type f -printf '%s' -o -true \) -printf '\n' | LC_ALL=C sort &&
		find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m - -e hex 2>/dev/null`, "sh", dir)
}

// TestCheckoutOptions: each option of checkout leaves the same tree as ostree's does.
func TestCheckoutOptions(t *testing.T) {
	need(t, "ostree", "getfattr")
	s := newSite(t)
	g := grower{T: t, r: rand.New(rand.NewSource(5)), left: 60}
	tree := s.path("tree")
	g.must(os.Mkdir(tree, 0o755))
	g.dir(tree, 0)
	write(t, tree+"/usr/bin/tool", "tool")
	write(t, tree+"/usr/bin/other", "other")
	write(t, tree+"/usr/share/doc", "doc")
	write(t, tree+"/usr/full", "full")
	g.must(os.Chmod(tree+"/usr/full", 0o4711))
	g.must(os.Chmod(tree+"/usr/share", 0o1777))
	layer := s.path("layer")
	write(t, layer+"/usr/bin/.wh.tool", "")
	write(t, layer+"/usr/bin/new", "new")
	write(t, layer+"/usr/share/.wh..wh..opq", "")
	write(t, layer+"/usr/share/fresh", "fresh")
	write(t, layer+"/usr/bin/other", "changed")
	write(t, layer+"/usr/lib/.ostree-wh.gone", "")
	more := s.path("more")
	write(t, more+"/usr/bin/more", "more")
	write(t, more+"/opt/x", "x")
	plain := s.path("plain")
	write(t, plain+"/usr/bin/tool", "tool")
	write(t, plain+"/usr/bin/wide", "wide")
	g.must(os.Chmod(plain+"/usr/bin", 0o777))
	write(t, s.path("skip"), "/usr/bin/tool\n/usr/share/\n")
	write(t, s.path("many"), "more\x00/\x00plain\x00usr/bin\x00")
	for _, o := range []struct {
		name, branch string
		before       string // what is laid out there first; "" for nothing
		args         []string
	}{
		{"no-options", "tree", "", nil},
		{"force-copy", "tree", "", []string{"-C"}},
		{"require-hardlinks", "tree", "", []string{"-H"}},
		{"user-mode", "tree", "", []string{"-U"}},
		{"user-mode+force-copy", "tree", "", []string{"-U", "-C"}},
		{"subpath", "tree", "", []string{"--subpath=/usr/bin"}},
		{"subpath/file", "tree", "", []string{"--subpath=/usr/bin/tool"}},
		{"subpath/missing", "tree", "", []string{"--subpath=/no/such"}},
		{"allow-noent", "tree", "", []string{"--subpath=/no/such", "--allow-noent"}},
		{"exists", "tree", "more", nil},
		{"union", "layer", "tree", []string{"--union"}},
		{"union-add", "layer", "tree", []string{"--union-add"}},
		{"union-add/same", "tree", "more", []string{"--union-add"}},
		{"union-identical", "more", "plain", []string{"--union-identical", "-H"}},
		{"union-identical/other", "layer", "tree", []string{"--union-identical", "-H"}},
		{"whiteouts", "layer", "tree", []string{"--union", "--whiteouts"}},
		{"whiteouts/union-add", "layer", "tree", []string{"--union-add", "--whiteouts"}},
		{"process-passthrough-whiteouts", "layer", "", []string{"--process-passthrough-whiteouts"}},
		{"skip-list", "tree", "", []string{"--skip-list=" + s.path("skip")}},
		{"bareuseronly-dirs", "tree", "", []string{"-M"}},
		{"disable-cache", "tree", "", []string{"--disable-cache"}},
		{"fsync", "tree", "", []string{"--fsync=false"}},
		{"from-file", "", "", []string{"--union", "--from-file=" + s.path("many")}},
		{"two-unions", "more", "tree", []string{"--union", "--union-add"}},
	} {
		modes := []string{"bare"}
		switch o.name { // which each mode does in its own way
		case "no-options", "force-copy", "user-mode", "union":
			modes = append(modes, "bare-user", "archive")
		}
		for _, mode := range modes {
			peerCase(t, "checkout/"+mode+"/"+o.name+"/same", func(t *testing.T) {
				r := s.path("repo-" + mode)
				if _, err := os.Stat(r); err != nil {
					tool(t, "ostree", "--repo="+r, "init", "--mode="+mode)
					tool(t, "ostree", "--repo="+r, "config", "set", "core.fsync", "false")
					for _, b := range []string{"tree", "layer", "more", "plain"} {
						tool(t, "ostree", "--repo="+r, "commit", "-b", b, "--tree=dir="+s.path(b))
					}
				}
				s.checkedOut(t, r, mode, o.name, o.branch, o.before, o.args)
			})
		}
	}
}

// checkedOut lays one commit out by both and compares.
func (s site) checkedOut(t *testing.T, repo, mode, name, branch, before string, args []string) {
	t.Helper()
	var dests [2]string
	for i, who := range []string{"grove", "ostree"} {
		dests[i] = s.path("out", filepath.FromSlash(mode+"-"+name+"-"+who))
		g := os.MkdirAll(filepath.Dir(dests[i]), 0o755)
		if g != nil {
			t.Fatal(g)
		}
		if before != "" {
			tool(t, "ostree", "--repo="+repo, "checkout", before, dests[i])
		}
	}
	with := func(dest string) []string {
		if branch == "" {
			return append(args[:len(args):len(args)], dest)
		}
		return append(args[:len(args):len(args)], branch, dest)
	}
	out, werr := exec.Command("ostree", append([]string{"--repo=" + repo, "checkout"}, with(dests[1])...)...).CombinedOutput()
	_, text, code := s.try(append([]string{"repo", "checkout", "--repo", repo}, with(dests[0])...)...)
	if (werr == nil) != (code == 0) {
		t.Fatalf("grove: %d %s\nostree: %v %s", code, text, werr, out)
	}
	if werr != nil {
		return
	}
	if _, err := os.Lstat(dests[1]); err != nil {
		if _, err := os.Lstat(dests[0]); err == nil {
			t.Errorf("grove made %s, ostree nothing", dests[0])
		}
		return
	}
	if ours, theirs := listing(t, dests[0]), listing(t, dests[1]); ours != theirs {
		write(t, s.path("ours.txt"), ours)
		write(t, s.path("theirs.txt"), theirs)
		diff, _ := exec.Command("diff", s.path("ours.txt"), s.path("theirs.txt")).Output()
		t.Errorf("< grove, > ostree:\n%.3000s", diff)
	}
}

// Where the file system can, a copy shares the blocks of the object.
func TestCheckoutReflinks(t *testing.T) {
	need(t, "mkfs.xfs", "mount")
	s := newSite(t)
	image, mnt := filepath.Join(t.TempDir(), "image"), t.TempDir()
	tool(t, "truncate", "-s", "400M", image)
	tool(t, "mkfs.xfs", "-q", image)
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		lacking(t, "no loop mounts here: %s", out)
	}
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	write(t, mnt+"/tree/large", string(make([]byte, 32<<20)))
	data := make([]byte, 32<<20)
	rand.New(rand.NewSource(1)).Read(data)
	write(t, mnt+"/tree/noise", string(data))
	s.grove("repo", "init", "--repo", mnt+"/repo", "--mode=bare")
	s.grove("repo", "commit", "--repo", mnt+"/repo", "-b", "x", mnt+"/tree")
	var before, after unix.Statfs_t
	if err := unix.Statfs(mnt, &before); err != nil {
		t.Fatal(err)
	}
	s.grove("repo", "checkout", "--repo", mnt+"/repo", "-C", "x", mnt+"/out")
	if err := unix.Statfs(mnt, &after); err != nil {
		t.Fatal(err)
	}
	if used := (int64(before.Bfree) - int64(after.Bfree)) * after.Bsize; used > 4<<20 {
		t.Errorf("the copies of 64 MiB took %d bytes", used)
	}
	if got := read(t, mnt+"/out/noise"); got != string(data) {
		t.Error("the copy differs")
	}
}
