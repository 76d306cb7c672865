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

// grown is a tree of a seed and what the options of a commit can name in it.
type grown struct {
	site
	r     *rand.Rand
	tree  string
	layer string // another tree, to be laid over it
	plain string // a tree without xattrs: before 2024.10 ostree writes a label behind them, not where its name belongs
	// lone has one xattr an entry: before 2024.10 ostree leaves them in the order of an archive. Its names are in normal form C,
	// to which libarchive brings them under ostree's hands; grove keeps the bytes.
	lone       string
	tar        string // of lone, hard links and xattrs in it
	overrides  string // a file for --statoverride
	skips      string // a file for --skip-list
	policy     string // a root with an SELinux policy
	seed       int64
	speakables []string // paths of files of each tree that the line of a file can name
}

func newGrown(t *testing.T, seed int64) *grown {
	g := &grown{site: newSite(t), r: rand.New(rand.NewSource(seed)), seed: seed}
	for i, dir := range []*string{&g.tree, &g.layer, &g.plain, &g.lone} {
		*dir = g.path(fmt.Sprint("tree", i))
		if err := os.Mkdir(*dir, 0o755); err != nil {
			t.Fatal(err)
		}
		w := grower{T: t, r: rand.New(rand.NewSource(seed + int64(i))), left: 80, few: []int{0, 0, -1, 1}[i], fixed: i == 3}
		w.dir(*dir, 0)
		// paths that all have, so that trees join below them
		write(t, filepath.Join(*dir, "usr/share/common/file"), fmt.Sprint("in tree ", i))
		write(t, filepath.Join(*dir, "usr/bin", fmt.Sprint("tool", i)), "tool")
		w.must(os.Chmod(filepath.Join(*dir, "usr/bin", fmt.Sprint("tool", i)), 0o755))
		w.must(os.Chmod(filepath.Join(*dir, "usr/share"), os.FileMode(0o755-0o11*i)))
		for j := range 12 {
			path := filepath.Join(*dir, "usr/lib", fmt.Sprint("d", j%3), fmt.Sprint("named", j))
			w.must(os.MkdirAll(filepath.Dir(path), 0o755))
			w.file(path)
		}
	}
	g.tar = g.path("tree.tar")
	tool(t, "tar", "--format=pax", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-cf", g.tar, "-C", g.lone, ".")
	for j := range 12 {
		g.speakables = append(g.speakables, fmt.Sprintf("/usr/lib/d%d/named%d", j%3, j))
	}
	g.overrides, g.skips, g.policy = g.path("overrides"), g.path("skips"), g.path("policy")
	var lines []string
	for i, p := range g.pick(8) {
		lines = append(lines, fmt.Sprintf("%s%d %s", []string{"", "="}[i%2], g.r.Intn(0o10000), p))
	}
	write(t, g.overrides, strings.Join(lines, "\n")+"\n")
	write(t, g.skips, strings.Join(g.pick(5), "\n")+"\n")
	labels := filepath.Join(g.policy, "etc/selinux/targeted")
	write(t, filepath.Join(g.policy, "etc/selinux/config"), "SELINUXTYPE=targeted\n")
	write(t, labels+"/policy/policy.33", "only its checksum is looked at")
	write(t, labels+"/contexts/files/file_contexts", "/.*\tsystem_u:object_r:default_t:s0\n/\tsystem_u:object_r:root_t:s0\n/usr(/.*)?\tsystem_u:object_r:usr_t:s0\n"+
		"/usr/bin/tool[0-9]\t--\tsystem_u:object_r:tool_t:s0\n/.*/[a-m][^/]*\t-l\tsystem_u:object_r:link_t:s0\n/[n-z].*\t-d\t<<none>>\n")
	return g
}

// pick chooses n of the paths.
func (g *grown) pick(n int) []string {
	var out []string
	for _, i := range g.r.Perm(len(g.speakables))[:n] {
		out = append(out, g.speakables[i])
	}
	return out
}

// TestSameOptions: what joins, filters and changes trees gives the same checksums over trees of all that a tree may hold.
func TestSameOptions(t *testing.T) {
	need(t, "ostree")
	t.Setenv("LC_ALL", "C.UTF-8") // by which libarchive reads the names in archives
	grove, ostree := clients()
	for n, modes := range [][]string{{"bare", "archive"}, {"bare-user", "archive"}} {
		g := newGrown(t, sameSeed(t, 20261128)+int64(n))
		dir, layer, plain, tar := "--tree=dir="+g.tree, "--tree=dir="+g.layer, "--tree=dir="+g.plain, "--tree=tar="+g.tar
		for i, k := range []struct {
			what string
			args []string
		}{
			{"tar", []string{tar}},
			{"tar+owner", []string{tar, "--owner-uid=3", "--owner-gid=4"}},
			{"tar+canonical-permissions", []string{tar, "--canonical-permissions"}},
			{"tar+no-xattrs+statoverride", []string{tar, "--no-xattrs", "--statoverride=" + g.overrides}},
			{"tar+skip-list", []string{tar, "--skip-list=" + g.skips}},
			{"several-dirs", []string{dir, layer, plain}},
			{"dir+ref", []string{layer, "--tree=ref=one"}},
			{"ref+dir+owner", []string{"--tree=ref=one", layer, "--owner-uid=9"}},
			{"base+dir", []string{"--base=one", layer}},
			{"base+tar+canonical-permissions", []string{"--base=two", tar, "--canonical-permissions"}},
			{"dir+tar", []string{plain, tar}},
			{"statoverride", []string{dir, "--statoverride=" + g.overrides}},
			{"statoverride+skip-list+owner", []string{dir, layer, "--statoverride=" + g.overrides, "--skip-list=" + g.skips, "--owner-gid=7"}},
			{"skip-list+ref", []string{"--tree=ref=one", "--skip-list=" + g.skips, "--no-xattrs"}},
			{"mode-ro-executables", []string{dir, layer, "--mode-ro-executables"}},
			{"canonical-permissions+no-xattrs", []string{dir, plain, "--canonical-permissions", "--no-xattrs"}},
			{"selinux-policy", []string{plain, "--selinux-policy=" + g.policy}},
			{"selinux-policy+owner+statoverride", []string{plain, "--selinux-policy=" + g.policy, "--owner-uid=0", "--owner-gid=0", "--mode-ro-executables"}},
		} {
			peerCase(t, "commit/random-trees/"+k.what+"/"+sameResult, func(t *testing.T) {
				mode := modes[i%len(modes)]
				var sums, repos [2]string
				branch := strings.ReplaceAll(k.what, "+", "_")
				for j, c := range []client{grove, ostree} {
					repos[j] = g.path(mode + c.name)
					if _, err := os.Stat(repos[j]); err != nil {
						c.run(t, repos[j], "init", "--mode="+mode)
						c.run(t, repos[j], "config", "set", "core.fsync", "false")
						c.run(t, repos[j], "commit", "-b", "one", "--timestamp=@5", dir)
						c.run(t, repos[j], "commit", "-b", "two", "--timestamp=@6", layer, "--owner-uid=2")
					}
					out, errs, code := c.try(t, repos[j], append([]string{"commit", "-b", branch, "--parent=none", "--timestamp=@7"}, k.args...)...)
					if sums[j] = out; code != 0 {
						t.Fatalf("seed %d, %s: %s: %.300s", g.seed, mode, c.name, errs)
					}
				}
				if sums[0] != sums[1] {
					t.Errorf("seed %d, %s: grove %q, ostree %q\n%s", g.seed, mode, sums[0], sums[1], g.with(t).firstDifference(repos[0], repos[1], branch))
				}
			})
		}
		for _, mode := range modes {
			ostree.run(t, g.path(mode+"grove"), "fsck", "-q")
			grove.run(t, g.path(mode+"ostree"), "fsck")
		}
	}
}
