// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Repositories of each mode that one has filled, looked at, checked out, copied and checked by the other.
func TestModesBothWays(t *testing.T) {
	need(t, "ostree")
	dir := filepath.Join(t.TempDir(), "tree")
	g := grower{T: t, r: rand.New(rand.NewSource(11)), left: 40}
	g.must(os.Mkdir(dir, 0o755))
	g.dir(dir, 0)
	grove, _ := clients()
	for _, d := range roles() {
		for _, mode := range []string{"bare", "bare-user", "bare-user-only", "archive", "bare-split-xattrs"} {
			if mode == "bare-split-xattrs" && d.maker.name == "ostree" {
				continue // ostree 2022.7 does not write it: "Not allowed due to repo mode"
			}
			peerCase(t, "init/"+mode+"/"+d.direction, func(t *testing.T) {
				repo := d.maker.clone(t, mode, "")
				args := []string{"commit", "-b", "x", "--tree=dir=" + dir, "--timestamp=@5"}
				if mode == "bare-user-only" {
					args = append(args, "--canonical-permissions")
				}
				c := strings.TrimSpace(d.maker.run(t, repo, args...))
				if got := strings.TrimSpace(d.reader.run(t, repo, "rev-parse", "x")); got != c {
					t.Errorf("x is %s, want %s", got, c)
				}
				ls := []string{"ls", "-R", "-C", "-X", "x"}
				if a, b := d.maker.run(t, repo, ls...), d.reader.run(t, repo, ls...); a != b {
					t.Errorf("%s lists\n%s\n%s\n%s", d.maker.name, a, d.reader.name, b)
				}
				out := filepath.Join(t.TempDir(), "out")
				d.reader.run(t, repo, "checkout", "-U", "x", out)
				if diff := grove.run(t, repo, "diff", "--no-xattrs", "--owner-uid=0", "--owner-gid=0", "x", out); strings.Contains(diff, "A ") || strings.Contains(diff, "D ") {
					t.Errorf("checked out: %s", diff)
				}
				copied := d.reader.clone(t, "archive", "")
				d.reader.run(t, copied, "pull-local", repo, "x")
				sound(t, copied)
				sound(t, repo)
			})
		}
	}
}

// calls counts what a program asks of the kernel.
func (c client) calls(t *testing.T, repo, names string, args ...string) int {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	traced := client{c.name, append([]string{"strace", "-f", "-qq", "-o", log, "-e", "trace=" + names}, c.argv...)}
	traced.run(t, repo, args...)
	n := 0
	for _, name := range strings.Split(names, ",") {
		n += strings.Count(read(t, log), " "+name+"(") // strace tells of some others too
	}
	return n
}

// useSome sees to it that more than one percent of the file system is in use while the test runs.
func useSome(t *testing.T, dir string) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Bavail < fs.Blocks/100*98 {
		return
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "room"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Blocks/50)*fs.Bsize); err != nil {
		t.Fatal(err)
	}
}

// What the configuration says both obey.
func TestConfigLikeOstree(t *testing.T) {
	need(t, "ostree", "strace")
	dir := small(t, t.TempDir(), "usr/etc")
	grove, ostree := clients()
	commit := []string{"commit", "-b", "x", "--tree=dir=" + dir, "--timestamp=@5"}
	useSome(t, dir)
	with := func(t *testing.T, c client, key, value string) string {
		t.Helper()
		repo := c.clone(t, "archive", "")
		c.run(t, repo, "config", "set", key, value)
		return repo
	}
	for _, k := range []struct {
		what, key, value string
		refused          bool
	}{
		{"min-free-space-size", "core.min-free-space-size", "100TB", true}, {"min-free-space-size-small", "core.min-free-space-size", "1MB", false},
		{"min-free-space-percent", "core.min-free-space-percent", "99", true}, {"min-free-space-off", "core.min-free-space-percent", "0", false},
	} {
		peerCase(t, "config/"+k.what+"/"+sameResult, func(t *testing.T) {
			for _, c := range []client{grove, ostree} {
				out, errs, code := c.try(t, with(t, c, k.key, k.value), commit...)
				if (code != 0) != k.refused || k.refused && !strings.Contains(errs, "min-free-space") {
					t.Errorf("%s: exit code %d: %s%s", c.name, code, out, errs)
				}
			}
		})
	}
	const syncs = "fsync,fdatasync,syncfs"
	peerCase(t, "config/fsync/"+sameResult, func(t *testing.T) {
		for _, c := range []client{grove, ostree} {
			repo := with(t, c, "core.fsync", "false")
			for _, verb := range [][]string{commit, {"refs", "--create=second", "x"}, {"summary", "-u"}, {"refs", "--delete", "second"}} {
				// ostree syncs a summary where there was none before
				if n := c.calls(t, repo, syncs, verb...); n > 0 && !(c.name == "ostree" && verb[0] == "summary") {
					t.Errorf("%s %s syncs %d times where fsync=false", c.name, verb[0], n)
				}
			}
			if n := c.calls(t, with(t, c, "core.fsync", "true"), syncs, commit...); n == 0 {
				t.Errorf("%s syncs nothing where fsync=true", c.name)
			}
		}
	})
	peerCase(t, "config/per-object-fsync/"+sameResult, func(t *testing.T) {
		for _, c := range []client{grove, ostree} {
			repo := with(t, c, "core.fsync", "true")
			c.run(t, repo, "config", "set", "core.per-object-fsync", "true")
			if n := c.calls(t, repo, "fsync,fdatasync", commit...); n < len(glob(t, filepath.Join(repo, "objects/*/*.filez"))) {
				t.Errorf("%s syncs %d files", c.name, n)
			}
		}
	})
	peerCase(t, "config/lock-timeout-secs/"+sameResult, func(t *testing.T) {
		for _, c := range []client{grove, ostree} {
			repo := with(t, c, "core.lock-timeout-secs", "1")
			c.run(t, repo, commit...)
			lock, err := os.OpenFile(filepath.Join(repo, ".lock"), os.O_RDWR|os.O_CREATE, 0o660)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			if err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				t.Fatal(err)
			}
			if out, errs, code := c.try(t, repo, commit...); code == 0 || !strings.Contains(strings.ToLower(errs), "lock") {
				t.Errorf("%s: exit code %d: %s%s", c.name, code, out, errs)
			}
			lock.Close()
			c.run(t, repo, commit...)
		}
	})
	for _, d := range roles() {
		peerCase(t, "config/parent/"+d.direction, func(t *testing.T) {
			parent := d.maker.clone(t, "bare-user", "http://127.0.0.1:1/inherited")
			c := strings.TrimSpace(d.maker.run(t, parent, commit...))
			child := d.maker.clone(t, "bare-user", "")
			d.maker.run(t, child, "config", "set", "core.parent", parent)
			if out := d.reader.run(t, child, "cat", c, "/usr/lib/os-release"); out != read(t, filepath.Join(dir, "usr/lib/os-release")) {
				t.Errorf("os-release is %q", out)
			}
			out := filepath.Join(t.TempDir(), "out")
			d.reader.run(t, child, "checkout", "-U", c, out)
			if urls := d.reader.run(t, child, "remote", "list", "-u"); !strings.Contains(urls, "inherited") {
				t.Errorf("remotes: %q", urls)
			}
			if n := len(glob(t, filepath.Join(child, "objects/*/*"))); n != 0 {
				t.Errorf("%d objects were copied", n)
			}
		})
		peerCase(t, "config/unknown-keys/"+d.direction, func(t *testing.T) {
			repo := d.maker.clone(t, "archive", "")
			text := read(t, filepath.Join(repo, "config")) + "x-later=a;b\n\n[later]\nkey=v w\n"
			write(t, filepath.Join(repo, "config"), text)
			d.maker.run(t, repo, "config", "set", "core.tombstone-commits", "true")
			d.maker.run(t, repo, "remote", "add", "--no-gpg-verify", "up", "http://127.0.0.1:1/")
			for _, kv := range [][3]string{{"core", "x-later", "a;b"}, {"later", "key", "v w"}, {"core", "tombstone-commits", "true"}} {
				if got := d.reader.run(t, repo, "config", "get", kv[0]+"."+kv[1]); got != kv[2]+"\n" {
					t.Errorf("%s.%s is %q", kv[0], kv[1], got)
				}
			}
		})
		peerCase(t, "config/unset/"+d.direction, func(t *testing.T) {
			repo := with(t, d.maker, "core.lock-timeout-secs", "7")
			d.maker.run(t, repo, "config", "unset", "core.lock-timeout-secs")
			if out, _, code := d.reader.try(t, repo, "config", "get", "core.lock-timeout-secs"); code == 0 {
				t.Errorf("still %q", out)
			}
		})
	}
}

// The host's remotes are those of its own repository, and of no other.
func TestHostRemotes(t *testing.T) {
	need(t, "ostree", "bwrap")
	u := pullFrom(t, client{name: "ostree"})
	dir := t.TempDir()
	grove, ostree := clients()
	write(t, filepath.Join(dir, "ostree/there"), "")
	ostree.run(t, filepath.Join(dir, "ostree/repo"), "init", "--mode=bare-user")
	ostree.run(t, filepath.Join(dir, "other"), "init", "--mode=bare-user")
	write(t, filepath.Join(dir, "etc/remotes.d/site.conf"), "[remote \"site\"]\nurl=file://"+u.dir+"\ngpg-verify=false\n")
	box := []string{"bwrap", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin",
		"--bind", "/dev/shm", "/dev/shm", "--bind", "/tmp", "/tmp", "--bind", filepath.Join(dir, "ostree"), "/ostree", "--ro-bind", filepath.Join(dir, "etc"), "/etc/ostree",
		"--bind", dir, dir, "--ro-bind", scratch, scratch, "--proc", "/proc"}
	inside := func(c client) client { return client{c.name, append(append([]string{}, box...), c.argv...)} }
	peerCase(t, "remote/remotes.d/"+sameResult, func(t *testing.T) {
		for _, c := range []client{inside(ostree), inside(grove)} {
			if got := c.run(t, "/ostree/repo", "remote", "list", "-u"); strings.Join(strings.Fields(got), " ") != "site file://"+u.dir {
				t.Errorf("%s has the remotes %q", c.name, got)
			}
			if got := c.run(t, filepath.Join(dir, "other"), "remote", "list"); got != "" {
				t.Errorf("%s has remotes in another repository: %q", c.name, got)
			}
			c.run(t, "/ostree/repo", "pull", "site", "main")
			sound(t, filepath.Join(dir, "ostree/repo"))
			c.run(t, "/ostree/repo", "refs", "--delete", "site:main")
			c.run(t, "/ostree/repo", "prune", "--refs-only")
		}
	})
}

// listed is what a tar archive has, in an order of its own.
func listed(t *testing.T, file string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(tool(t, "tar", "--numeric-owner", "--full-time", "-tvPf", file)) {
		f := strings.Fields(line)
		lines = append(lines, strings.ReplaceAll(strings.Join(f, " "), " ./", " "))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// What one exports has the same in it, and the other makes the same tree of it.
func TestExport(t *testing.T) {
	need(t, "ostree")
	dir := small(t, t.TempDir(), "usr/etc")
	write(t, filepath.Join(dir, "usr/bin/su"), "su")
	for path, mode := range map[string]os.FileMode{"usr/bin/su": 0o4755, "var": 0o1777, "usr/etc/plain.conf": 0o600} {
		if err := unix.Chmod(filepath.Join(dir, path), uint32(mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("su", filepath.Join(dir, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(filepath.Join(dir, "usr/bin/link"), 5, 6); err != nil {
		t.Fatal(err)
	}
	grove, ostree := clients()
	repo := ostree.clone(t, "archive", "")
	ostree.run(t, repo, "commit", "-b", "x", "--tree=dir="+dir, "--timestamp=@1000000000")
	for what, args := range map[string][]string{"tar": nil, "subpath": {"--subpath=/usr"}, "prefix": {"--prefix=top/"}, "no-xattrs": {"--no-xattrs"}} {
		peerCase(t, "export/"+what+"/"+sameResult, func(t *testing.T) {
			ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
			grove.run(t, repo, append([]string{"export", "-o", ours, "x"}, args...)...)
			ostree.run(t, repo, append([]string{"export", "-o", theirs, "x"}, args...)...)
			if a, b := listed(t, ours), listed(t, theirs); a != b || a == "" {
				t.Errorf("grove has\n%s\nostree\n%s", a, b)
			}
		})
	}
	for _, d := range roles() {
		peerCase(t, "export/commit-again/"+d.direction, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tar")
			d.maker.run(t, repo, "export", "-o", file, "x")
			d.reader.run(t, repo, "commit", "-b", "again", "--tree=tar="+file, "--no-bindings", "--timestamp=@5")
			if diff := d.reader.run(t, repo, "diff", "x", "again"); diff != "" {
				t.Errorf("the tree became another: %s", diff)
			}
		})
		peerCase(t, "reset/commit/"+d.direction, func(t *testing.T) {
			first := d.maker.run(t, repo, "rev-parse", "x")
			d.maker.run(t, repo, "commit", "-b", "x", "-s", "later", "--tree=ref=x")
			d.maker.run(t, repo, "reset", "x", "x^")
			if got := d.reader.run(t, repo, "rev-parse", "x"); got != first {
				t.Errorf("reset to %s, want %s", got, first)
			}
		})
		peerCase(t, "commit/generate-sizes/"+d.direction, func(t *testing.T) {
			repo := d.maker.clone(t, "archive", "")
			d.maker.run(t, repo, "commit", "-b", "x", "--generate-sizes", "--tree=dir="+dir)
			if a, b := d.maker.run(t, repo, "show", "--print-sizes", "x"), d.reader.run(t, repo, "show", "--print-sizes", "x"); a != b || !strings.Contains(a, "Compressed size") {
				t.Errorf("%s: %s%s: %s", d.maker.name, a, d.reader.name, b)
			}
		})
	}
}

// A signed summary that says when it ends: shown by both; grove refuses it after that, ostree 2022.7 does not look.
func TestSummaryExpires(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	key := newKeyring(t, "summary")
	dir := small(t, t.TempDir(), "usr/etc")
	for _, d := range roles() {
		repo := d.maker.clone(t, "archive", "")
		d.maker.run(t, repo, "commit", "-b", "x", "--tree=dir="+dir)
		end := func(t *testing.T, at time.Time) {
			t.Helper()
			// The value stands in the summary as it is given; the number of a date is big endian there.
			n := uint64(at.Unix())
			text := fmt.Sprintf("ostree.summary.expires=uint64 %d", n>>56|n>>40&0xff00|n>>24&0xff0000|n>>8&0xff000000|n<<8&0xff00000000|n<<24&0xff0000000000|n<<40&0xff000000000000|n<<56)
			d.maker.run(t, repo, "summary", "-u", "--add-metadata="+text, "--gpg-sign="+key.id, "--gpg-homedir="+key.home)
		}
		pull := func(t *testing.T) (string, int) {
			t.Helper()
			to := d.reader.clone(t, "bare-user", "file://"+repo, "--set=gpg-verify=false", "--set=gpg-verify-summary=true", "--gpg-import="+key.public)
			_, errs, code := d.reader.try(t, to, "pull", "up", "x")
			return errs, code
		}
		peerCase(t, "summary/expires/"+d.direction, func(t *testing.T) {
			end(t, time.Now().Add(time.Hour))
			if errs, code := pull(t); code != 0 {
				t.Errorf("before its end: %s", errs)
			}
			a, b := d.maker.run(t, repo, "summary", "--view"), d.reader.run(t, repo, "summary", "--view")
			a, _, _ = strings.Cut(a, "\n\nFound") // grove also shows who signed it
			b, _, _ = strings.Cut(b, "\n\nFound")
			if strings.TrimSpace(a) != strings.TrimSpace(b) || !strings.Contains(a, "Expires (ostree.summary.expires): 2") {
				t.Errorf("%s shows\n%s%s\n%s", d.maker.name, a, d.reader.name, b)
			}
			end(t, time.Now().Add(-time.Hour))
			if errs, code := pull(t); d.reader.name == "grove" && code != 4 || d.reader.name == "ostree" && code != 0 {
				t.Errorf("after its end: %d %s", code, errs)
			}
		})
	}
}
