// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sameOptions are sets of options of `commit` that both programs have.
var sameOptions = [][]string{
	nil,
	{"--owner-uid=7", "--owner-gid=2147483647"},
	{"--no-xattrs"},
	{"--canonical-permissions"},
	{"--no-xattrs", "--owner-uid=0", "--owner-gid=0"},
}

// TestSameChecksum makes trees of all that a tree may hold and demands the same commit checksum of both programs, for every mode of a repository
// and the options that change what is committed; each fsck finds the other's repository clean. GROVE_SEED tries other trees.
func TestSameChecksum(t *testing.T) {
	need(t, "ostree")
	seed := sameSeed(t, 20261123)
	const bound = 10 * time.Second
	began := time.Now()
	for round := range int64(4) {
		if round >= 2 && time.Since(began) > bound { // of two trees one is tried with all options
			t.Logf("%d trees in %v; the rest is left out", round, bound)
			break
		}
		t.Run(fmt.Sprint("seed", seed+round), func(t *testing.T) { sameChecksum(t, seed+round) })
	}
}

// sameSeed is GROVE_SEED, or else the given one.
func sameSeed(t *testing.T, otherwise int64) int64 {
	s := os.Getenv("GROVE_SEED")
	if s == "" {
		return otherwise
	}
	seed, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func sameChecksum(t *testing.T, seed int64) {
	s := newSite(t)
	g := grower{T: t, r: rand.New(rand.NewSource(seed)), left: 400}
	dir := s.path("tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g.dir(dir, 0)
	g.deep(dir)
	if seed%4 == 0 {
		g.wide(dir)
	}
	for m, mode := range []string{"bare", "bare-user", "bare-user-only", "archive"} {
		ours, theirs := s.path("ours-"+mode), s.path("theirs-"+mode)
		s.grove("repo", "init", "--repo", ours, "--mode", mode)
		tool(t, "ostree", "--repo="+theirs, "init", "--mode="+mode)
		for _, r := range []string{ours, theirs} {
			tool(t, "ostree", "--repo="+r, "config", "set", "core.fsync", "false")
		}
		for i, options := range sameOptions {
			if seed%2 == 1 && (i+m)%2 == 1 {
				continue // every other tree is tried with half of them
			}
			branch := fmt.Sprint("b", i)
			stamp := g.r.Int63n(1 << 33)
			args := append([]string{"-b", branch, "-s", "subject", "--tree=dir=" + dir}, options...)
			peerCase(t, "commit/"+mode+"/"+sameName(options)+"/same", func(t *testing.T) {
				want := tool(t, "ostree", append([]string{"--repo=" + theirs, "commit", fmt.Sprintf("--timestamp=@%d", stamp)}, args...)...)
				got := s.with(t).grove(append([]string{"repo", "commit", "--repo", ours, fmt.Sprintf("--timestamp=@%d", stamp)}, args...)...)
				if got != want {
					t.Errorf("seed %d, mode %s, %v: %.12s, ostree %.12s\n%s", seed, mode, options, got, want, s.firstDifference(ours, theirs, branch))
				}
			})
		}
		if !t.Failed() {
			peerCase(t, "fsck/"+mode+"/ostree-reads-grove", func(t *testing.T) { tool(t, "ostree", "--repo="+ours, "fsck", "-q") })
			peerCase(t, "fsck/"+mode+"/grove-reads-ostree", func(t *testing.T) { s.with(t).grove("repo", "fsck", "--repo", theirs) })
		}
	}
}

// sameName is a set of options as the table has it.
func sameName(options []string) string {
	if len(options) == 0 {
		return "no-options"
	}
	var names []string
	for _, o := range options {
		name, _, _ := strings.Cut(strings.TrimLeft(o, "-"), "=")
		names = append(names, name)
	}
	return strings.Join(names, "+")
}

// firstDifference shows the first path at which two repositories' trees differ.
func (s site) firstDifference(ours, theirs, branch string) string {
	one := strings.Split(tool(s.t, "ostree", "--repo="+ours, "ls", "-R", "-C", "-X", branch), "\n")
	two := strings.Split(tool(s.t, "ostree", "--repo="+theirs, "ls", "-R", "-C", "-X", branch), "\n")
	last := ""
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			last = fmt.Sprintf("ours:   %.2000q\ntheirs: %.2000q", one[i], two[i])
		}
	}
	return last
}

// grower makes a tree of whatever a tree may hold. The same seed makes the same tree.
type grower struct {
	*testing.T
	r     *rand.Rand
	left  int      // entries still to be made
	files []string // regular files so far, to be linked to
	few   int      // how many xattrs an entry has at most; 0 = any number, less = none
	fixed bool     // names are such that Unicode's normal form of them is what they are
}

func (g *grower) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// runes are where names take theirs from: control characters, ASCII, and one to four bytes of UTF-8 from all over Unicode.
var runes = [][2]rune{{1, 0x1f}, {' ', '~'}, {' ', '~'}, {'a', 'z'}, {'a', 'z'}, {0x7f, 0x9f}, {0xa0, 0x17f}, {0x300, 0x36f}, {0x5d0, 0x5ea},
	{0x2000, 0x206f}, {0x4e00, 0x9fff}, {0xe000, 0xffff}, {0x1f300, 0x1f64f}, {0x10fff0, 0x10ffff}}

// name is a legal file name that the folder does not have.
func (g *grower) name(dir string) string {
	for {
		var b strings.Builder
		n := 1 + g.r.Intn(12)
		if g.r.Intn(20) == 0 {
			n = 255
		}
		for range n {
			span := runes[g.r.Intn(len(runes))]
			if g.fixed && (span[0] == 0x300 || span[0] == 0x2000 || span[0] == 0xe000) {
				continue
			}
			c := span[0] + rune(g.r.Intn(int(span[1]-span[0])+1))
			if b.Len()+len(string(c)) > 255 {
				break
			}
			if c != '/' {
				b.WriteRune(c)
			}
		}
		name := b.String()
		if name == "" || name == "." || name == ".." {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) && filepath.Join(dir, name) == dir+"/"+name {
			return dir + "/" + name
		}
	}
}

func (g *grower) dir(dir string, depth int) {
	for n := 3 + g.r.Intn(25); n > 0 && g.left > 0; n-- {
		g.left--
		path := g.name(dir)
		switch k := g.r.Intn(20); {
		case k < 4 && depth < 8:
			g.must(os.Mkdir(path, 0o755))
			g.dir(path, depth+1)
			g.dress(path, true)
		case k < 7:
			g.link(path)
		case k < 9 && len(g.files) > 0:
			g.must(os.Link(g.files[g.r.Intn(len(g.files))], path))
		default:
			g.file(path)
		}
	}
}

func (g *grower) file(path string) {
	size := []int{0, 0, 1, g.r.Intn(200), 4095 + g.r.Intn(3), g.r.Intn(100_000)}[g.r.Intn(6)]
	data := make([]byte, size)
	if g.r.Intn(2) == 0 {
		g.r.Read(data)
	}
	g.must(os.WriteFile(path, data, 0o600))
	g.files = append(g.files, path)
	g.dress(path, false)
}

// link makes a symlink to anywhere, of up to the 4,095 bytes that Linux takes.
func (g *grower) link(path string) {
	target := []string{"a", "/", "..", "./x//y/", "/etc/\u00e9t\u00e9", " ", "line\nline", strings.Repeat("x/", 2047) + "y"}[g.r.Intn(8)]
	g.must(os.Symlink(target, path))
	if g.r.Intn(3) == 0 {
		g.must(os.Lchown(path, g.id(), g.id()))
	}
	if g.r.Intn(6) == 0 && g.few >= 0 {
		g.must(unix.Lsetxattr(path, "trusted.link", []byte("l"), 0))
	}
}

func (g *grower) id() int { return []int{0, 1, 1000, 65534, 1 << 30, 1<<32 - 2}[g.r.Intn(6)] }

// dress gives an owner, any mode, and extended attributes in any order. chown takes away what chmod and setxattr give, so it comes first.
func (g *grower) dress(path string, dir bool) {
	if g.r.Intn(3) == 0 {
		g.must(os.Lchown(path, g.id(), g.id()))
	}
	xattrs := map[string][]byte{
		"user.empty": nil, "user.note": []byte("text"), "user.\u00fcml": {0, 1, 255}, "trusted.a": {0}, "trusted.b": make([]byte, 2000),
		"security.other": []byte("s"), "user.Z": []byte("upper"), "security.selinux": []byte("u:r:t:s0\x00"),
	}
	if !dir {
		xattrs["security.capability"] = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	names := []string{"user.empty", "user.note", "user.\u00fcml", "trusted.a", "trusted.b", "security.other", "user.Z", "security.selinux", "security.capability"}
	if g.r.Intn(3) == 0 && g.few >= 0 {
		g.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		n := 1 + g.r.Intn(len(names)-1)
		if g.few > 0 {
			n = min(n, g.few)
			delete(xattrs, "user.empty") // which ostree takes from an archive, and not from a directory
		}
		for _, name := range names[:n] {
			if value, ok := xattrs[name]; ok {
				g.must(unix.Lsetxattr(path, name, value, 0))
			}
		}
	}
	mode := []uint32{0o755, 0o644, 0, 0o7777, 0o4755, 0o2755, 0o1777, 0o111, uint32(g.r.Intn(0o10000))}[g.r.Intn(9)]
	g.must(unix.Chmod(path, mode))
}

// deep makes a folder in a folder, as deep as both programs can be asked for in a moment.
func (g *grower) deep(dir string) {
	path := g.name(dir)
	for range 100 {
		g.must(os.Mkdir(path, 0o755))
		path += "/d"
	}
	g.file(path)
}

// wide makes a folder of many files.
func (g *grower) wide(dir string) {
	path := g.name(dir)
	g.must(os.Mkdir(path, 0o755))
	for i := range 1200 {
		g.must(os.WriteFile(fmt.Sprintf("%s/%d", path, i), []byte{byte(i)}, 0o644))
	}
}

// TestSameRefusals: what a tree can not hold is refused by both programs.
func TestSameRefusals(t *testing.T) {
	need(t, "ostree")
	for what, make := range map[string]func(path string) error{
		"a name that is no UTF-8": func(path string) error { return os.WriteFile(path+"\xff", nil, 0o644) },
		"a device":                func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, 0x103) },
		"a fifo":                  func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a socket":                func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t)
			if err := os.Mkdir(s.path("tree"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := make(s.path("tree", "x")); err != nil {
				t.Fatal(err)
			}
			s.grove("repo", "init", "--repo", s.path("repo"), "--mode", "bare")
			s.fails(1, "repo", "commit", "--repo", s.path("repo"), "-b", "x", "--tree=dir="+s.path("tree"))
			if out, err := exec.Command("ostree", "--repo="+s.path("repo"), "commit", "-b", "x", s.path("tree")).CombinedOutput(); err == nil {
				t.Errorf("ostree takes it: %s", out)
			}
		})
	}
}
