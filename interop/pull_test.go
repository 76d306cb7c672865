// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// client is grove or ostree, which take the same words here.
type client struct {
	name string
	argv []string
}

func clients() (grove, ostree client) {
	return client{"grove", []string{program, "repo"}}, client{"ostree", []string{"ostree"}}
}

func (c client) try(t *testing.T, repo string, args ...string) (out, errs string, code int) {
	t.Helper()
	words := append(append(slices.Clone(c.argv), "--repo="+repo), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(environ(), "GROVE_ROOT=/nonexistent/state")
	return capture(t, cmd)
}

func (c client) run(t *testing.T, repo string, args ...string) string {
	t.Helper()
	out, errs, code := c.try(t, repo, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", c.name, strings.Join(args, " "), code, errs, out)
	}
	return out
}

// clone is a new repository of a mode, with a remote "up" if there is a url.
func (c client) clone(t *testing.T, mode, url string, remoteArgs ...string) string {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "repo")
	c.run(t, repo, "init", "--mode="+mode)
	write(t, filepath.Join(repo, "config"), strings.Replace(read(t, filepath.Join(repo, "config")), "[core]\n", "[core]\nfsync=false\n", 1))
	if url != "" {
		if !slices.ContainsFunc(remoteArgs, func(a string) bool { return strings.Contains(a, "gpg") || strings.Contains(a, "sign") }) {
			remoteArgs = append(remoteArgs, "--no-gpg-verify")
		}
		c.run(t, repo, append([]string{"remote", "add", "up", url}, remoteArgs...)...)
	}
	return repo
}

// upstream is an archive repository with the branches main (three commits), other, and odd (a setuid file).
type upstream struct {
	dir     string
	history []string // of main, the oldest first
	made    client
}

func (u upstream) head() string { return u.history[len(u.history)-1] }

var (
	upstreams     map[string]upstream
	upstreamsOnce sync.Once
)

// pullFrom gives the same content committed by each of both programs. Tests must not change it.
func pullFrom(t *testing.T, by client) upstream {
	t.Helper()
	upstreamsOnce.Do(func() {
		upstreams = map[string]upstream{}
		g, o := clients()
		for _, c := range []client{g, o} {
			upstreams[c.name] = makeUpstream(t, c)
		}
	})
	if upstreams[by.name].dir == "" {
		t.Fatal("the upstreams could not be made")
	}
	return upstreams[by.name]
}

func makeUpstream(t *testing.T, c client) upstream {
	u := upstream{dir: filepath.Join(scratch, "upstream-"+c.name), made: c}
	tree := filepath.Join(scratch, "upstream-tree-"+c.name)
	c.run(t, u.dir, "init", "--mode=archive")
	for i := range 40 {
		write(t, filepath.Join(tree, fmt.Sprintf("usr/share/d%d/f%d", i%5, i)), strings.Repeat(fmt.Sprintf("text %d\n", i), i*i))
	}
	write(t, filepath.Join(tree, "usr/lib/os-release"), "ID=moss\n")
	write(t, filepath.Join(tree, "usr/bin/large"), strings.Repeat("large file ", 300_000))
	if err := os.Symlink("large", filepath.Join(tree, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		write(t, filepath.Join(tree, "etc/release"), fmt.Sprintf("release %d\n", i))
		write(t, filepath.Join(tree, fmt.Sprintf("etc/only%d", i)), fmt.Sprint(i))
		out := c.run(t, u.dir, "commit", "-b", "main", "-s", fmt.Sprint("commit ", i), fmt.Sprintf("--timestamp=@%d", 1_700_000_000+i),
			"--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--bind-ref=alias", "--add-metadata-string=version="+fmt.Sprint(i), "--tree=dir="+tree)
		u.history = append(u.history, strings.TrimSpace(out))
	}
	c.run(t, u.dir, "commit", "-b", "other", "-s", "other", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--timestamp=@1700000000", "--tree=dir="+filepath.Join(tree, "etc"))
	odd := filepath.Join(scratch, "upstream-odd-"+c.name)
	write(t, filepath.Join(odd, "bin/su"), "su")
	if err := os.Chmod(filepath.Join(odd, "bin/su"), 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	c.run(t, u.dir, "commit", "-b", "odd", "-s", "odd", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--timestamp=@1700000000", "--tree=dir="+odd)
	c.run(t, u.dir, "commit", "-b", "old", "-s", "at its end", "--timestamp=@1700000000", "--no-xattrs", "--owner-uid=0", "--owner-gid=0",
		"--bind-ref=old", "--add-metadata-string=ostree.endoflife=nobody looks after it", "--add-metadata-string=ostree.endoflife-rebase=main", "--tree=dir="+odd)
	c.run(t, u.dir, "summary", "-u")
	return u
}

// static serves a folder as any web server does, and counts requests by the end of the path.
type static struct {
	url  string
	file atomic.Int64 // requests for file objects
	all  atomic.Int64
}

func serveStatic(t *testing.T, dir string) *static {
	t.Helper()
	s := &static{}
	files := http.FileServer(http.Dir(dir))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.all.Add(1)
		if strings.HasSuffix(r.URL.Path, ".filez") {
			s.file.Add(1)
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

// holdings lists what a repository has: objects, refs, marks of partial commits, and the summary's sum.
func holdings(t *testing.T, repo string) string {
	t.Helper()
	var lines []string
	for _, top := range []string{"objects", "refs", "state", "summary"} {
		err := filepath.WalkDir(filepath.Join(repo, top), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			line, _ := filepath.Rel(repo, path)
			if top == "refs" || top == "summary" {
				line += " " + strings.TrimSpace(read(t, path))
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// sound demands that both programs find a repository whole.
func sound(t *testing.T, repo string) {
	t.Helper()
	g, o := clients()
	for _, c := range []client{g, o} {
		if out, errs, code := c.try(t, repo, "fsck"); code != 0 {
			t.Errorf("%s fsck: %s%s", c.name, out, errs)
		}
	}
}

// pullCase is one use of pull: its words, and how it ends.
type pullCase struct {
	what    string
	mode    string
	remote  []string // of remote add
	before  []string // a pull before it
	args    []string // of pull; {head}, {first} and {cache} stand for a commit and a repository
	prepare func(t *testing.T, c client, repo string, u upstream)
	fails   string // what the error of grove says
	commits int    // that the clone has then
	partial int    // of these
	lacks   string // a path of main's tree whose file is not there
	has     string
}

func pullCases() []pullCase {
	return []pullCase{
		{what: "bare", mode: "bare", args: []string{"up", "main"}, commits: 1},
		{what: "bare-user", mode: "bare-user", args: []string{"up", "main"}, commits: 1},
		{what: "bare-user-only", mode: "bare-user-only", args: []string{"up", "main"}, commits: 1},
		{what: "archive", mode: "archive", args: []string{"up", "main"}, commits: 1},
		{what: "refspec", args: []string{"up:main"}, commits: 1},
		{what: "depth", args: []string{"up", "main", "--depth=1"}, commits: 2},
		{what: "depth-all", args: []string{"up", "main", "--depth=-1"}, commits: 3},
		{what: "depth-later", before: []string{"up", "main"}, args: []string{"up", "main", "--depth=2"}, commits: 3},
		{what: "several-refs", args: []string{"up", "main", "other"}, commits: 2},
		{what: "branches", remote: []string{"main", "other"}, args: []string{"up"}, commits: 2},
		{what: "no-refs", args: []string{"up"}, fails: "no ref asked for"},
		{what: "no-such-ref", args: []string{"up", "nothing"}, fails: "not found"},
		{what: "checksum", args: []string{"up", "{first}"}, commits: 1},
		{what: "ref-at-commit", args: []string{"up", "main@{first}"}, commits: 1},
		{what: "subpath", args: []string{"up", "main", "--subpath=/etc"}, commits: 1, partial: 1, has: "/etc/release", lacks: "/usr/lib/os-release"},
		{what: "subpath-several", args: []string{"up", "main", "--subpath=/usr/lib", "--subpath=/usr/share/d1"}, commits: 1, partial: 1, has: "/usr/share/d1/f1", lacks: "/etc/release"},
		{what: "subpath-of-file", args: []string{"up", "main", "--subpath=/usr/lib/os-release"}, commits: 1, partial: 1, has: "/usr/lib/os-release", lacks: "/etc/release"},
		{what: "subpath-then-all", before: []string{"up", "main", "--subpath=/etc"}, args: []string{"up", "main"}, commits: 1, has: "/usr/lib/os-release"},
		{what: "commit-metadata-only", args: []string{"up", "main", "--commit-metadata-only"}, commits: 1, partial: 1},
		{what: "commit-metadata-then-all", before: []string{"up", "main", "--commit-metadata-only", "--depth=1"}, args: []string{"up", "main"}, commits: 2, partial: 1, has: "/etc/release"},
		{what: "mirror", mode: "archive", args: []string{"--mirror", "up"}, commits: 4},
		{what: "mirror-one-ref", mode: "archive", args: []string{"--mirror", "up", "main"}, commits: 1},
		{what: "mirror-depth", mode: "archive", args: []string{"--mirror", "--depth=-1", "up"}, commits: 6},
		{what: "bareuseronly-files", mode: "bare-user-only", args: []string{"up", "main", "--bareuseronly-files"}, commits: 1},
		{what: "bareuseronly-files-refused", mode: "bare-user", args: []string{"up", "odd", "--bareuseronly-files"}, fails: "beyond 0775", commits: 1, partial: 1},
		{what: "per-object-fsync", args: []string{"up", "main", "--per-object-fsync"}, commits: 1},
		{what: "disable-fsync", args: []string{"up", "main", "--disable-fsync"}, commits: 1},
		{what: "untrusted", args: []string{"up", "main", "--untrusted"}, commits: 1},
		{what: "http-trusted", mode: "archive", args: []string{"--mirror", "up", "main", "--http-trusted"}, commits: 1},
		{what: "update-frequency", args: []string{"up", "main", "--update-frequency=100"}, commits: 1},
		{what: "network-retries", args: []string{"up", "main", "--network-retries=1"}, commits: 1},
		{what: "timestamp-check", before: []string{"up", "main@{first}"}, args: []string{"up", "main", "--timestamp-check"}, commits: 2},
		{what: "timestamp-check-refused", before: []string{"up", "main"}, args: []string{"up", "main@{first}", "-T"}, fails: "a downgrade"},
		{what: "timestamp-check-from-rev", before: []string{"up", "main@{first}"}, args: []string{"up", "main", "--timestamp-check-from-rev={first}"}, commits: 2},
		{what: "timestamp-check-from-rev-refused", before: []string{"up", "main"}, args: []string{"up", "main@{first}", "--timestamp-check-from-rev={head}"}, fails: "a downgrade"},
		{what: "localcache-repo", args: []string{"up", "main", "--localcache-repo={cache}"}, commits: 1},
		{what: "cache-dir", args: []string{"up", "main", "--cache-dir={cache}/elsewhere"}, commits: 1},
		{what: "end-of-life", args: []string{"up", "old"}, commits: 1},
		{what: "ref-binding", args: []string{"up", "alias"}, prepare: addAlias("alias"), commits: 1},
		{what: "ref-binding-refused", args: []string{"up", "wrong"}, prepare: addAlias("wrong"), fails: `not to "wrong"`},
		{what: "disable-verify-bindings", args: []string{"up", "wrong", "--disable-verify-bindings"}, prepare: addAlias("wrong"), commits: 1},
		{what: "collection-binding-refused", remote: []string{"--collection-id=org.example.Moss"}, args: []string{"up", "main"}, fails: "bound to collection"},
		{what: "unconfigured-state", remote: []string{"--set=unconfigured-state=register first"}, args: []string{"up", "main"}, fails: "register first"},
		{what: "custom-backend", remote: []string{"--custom-backend=other"}, args: []string{"up", "main"}, fails: "custom-backend"},
		{what: "http2-off", remote: []string{"--set=http2=false"}, args: []string{"up", "main"}, commits: 1},
	}
}

// addAlias gives the upstream another name for main. It changes a copy: the URL of the remote is set to that.
func addAlias(name string) func(t *testing.T, c client, repo string, u upstream) {
	return func(t *testing.T, c client, repo string, u upstream) {
		dir := filepath.Join(t.TempDir(), "copy")
		tool(t, "cp", "-a", u.dir, dir)
		write(t, filepath.Join(dir, "refs/heads", name), u.head()+"\n")
		u.made.run(t, dir, "summary", "-u")
		c.run(t, repo, "config", "set", `remote "up".url`, serveStatic(t, dir).url)
	}
}

// words fills in what the arguments stand for.
func (u upstream) words(t *testing.T, args []string) []string {
	t.Helper()
	cache := filepath.Join(t.TempDir(), "cache")
	out := make([]string, len(args))
	for i, a := range args {
		if strings.Contains(a, "={cache}") && !strings.Contains(a, "elsewhere") {
			g, _ := clients()
			g.run(t, cache, "init", "--mode=bare-user")
			g.run(t, cache, "pull-local", u.dir, "main")
		} else if strings.Contains(a, "elsewhere") {
			if err := os.MkdirAll(filepath.Join(cache, "elsewhere"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		out[i] = strings.NewReplacer("{head}", u.head(), "{first}", u.history[0], "{cache}", cache).Replace(a)
	}
	return out
}

// pullOnce runs a case with one client from one upstream, and gives the clone.
func (k pullCase) pullOnce(t *testing.T, c client, u upstream) string {
	t.Helper()
	mode := k.mode
	if mode == "" {
		mode = "bare-user"
	}
	s := serveStatic(t, u.dir)
	repo := c.clone(t, mode, s.url, k.remote...)
	if k.prepare != nil {
		k.prepare(t, c, repo, u)
	}
	if k.before != nil {
		c.run(t, repo, append([]string{"pull"}, u.words(t, k.before)...)...)
	}
	out, errs, code := c.try(t, repo, append([]string{"pull"}, u.words(t, k.args)...)...)
	if (code != 0) != (k.fails != "") {
		t.Fatalf("%s pull: exit code %d\n%s%s", c.name, code, out, errs)
	}
	if c.name == "grove" && k.fails != "" && !strings.Contains(errs, k.fails) {
		t.Errorf("grove says %q, want %q", errs, k.fails)
	}
	if k.what == "end-of-life" && c.name == "grove" && !strings.Contains(errs, "nobody looks after it; main takes its place") {
		t.Errorf("the end of life is not told: %s", errs)
	}
	if k.what == "localcache-repo" && s.file.Load() > 0 {
		t.Errorf("%d files were fetched that the cache has", s.file.Load())
	}
	k.check(t, repo, u)
	return repo
}

func (k pullCase) check(t *testing.T, repo string, u upstream) {
	t.Helper()
	if k.commits > 0 && k.fails == "" {
		if n := len(glob(t, filepath.Join(repo, "objects/*/*.commit"))); n != k.commits {
			t.Errorf("%d commits, want %d", n, k.commits)
		}
		if n := len(glob(t, filepath.Join(repo, "state/*.commitpartial"))); n != k.partial {
			t.Errorf("%d partial commits, want %d", n, k.partial)
		}
	}
	ref := "up:main"
	if k.has != "" {
		tool(t, "ostree", "--repo="+repo, "cat", ref, k.has)
		tool(t, program, "repo", "--repo="+repo, "cat", ref, k.has)
	}
	if k.lacks != "" {
		for _, argv := range [][]string{{"ostree", "--repo=" + repo, "cat", ref, k.lacks}, {program, "repo", "--repo=" + repo, "cat", ref, k.lacks}} {
			if out, _, code := capture(t, exec.Command(argv[0], argv[1:]...)); code == 0 {
				t.Errorf("%s: %s is there: %q", argv[0], k.lacks, out)
			}
		}
	}
	sound(t, repo)
}

// Each option of pull, by both programs, from what the other made; and both have the same then.
func TestPullLikeOstree(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	for _, k := range pullCases() {
		var ours string
		peerCase(t, "pull/"+k.what+"/grove-reads-ostree", func(t *testing.T) { ours = holdings(t, k.pullOnce(t, grove, pullFrom(t, ostree))) })
		peerCase(t, "pull/"+k.what+"/ostree-reads-grove", func(t *testing.T) { k.pullOnce(t, ostree, pullFrom(t, grove)) })
		if k.fails != "" {
			continue
		}
		peerCase(t, "pull/"+k.what+"/same", func(t *testing.T) {
			if theirs := holdings(t, k.pullOnce(t, ostree, pullFrom(t, ostree))); ours != theirs {
				t.Errorf("grove has\n%s\nostree has\n%s", ours, theirs)
			}
		})
	}
}
