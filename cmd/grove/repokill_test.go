// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
)

// TestKillPlumbing kills the verbs that write to a repository before each of their durable steps. Each time the refs must
// be old or new, the repository clean for grove and for ostree, its summary one that fits the signatures beside it or that
// has none, and the same verb must succeed when it is run again.
func TestKillPlumbing(t *testing.T) {
	dir := t.TempDir()
	at := func(args ...string) string { return mustGrove(t, filepath.Join(dir, "state"), args...) }
	secret, public, err := sign.GenerateKey(sign.NewKey{Name: "Moss", Time: time.Unix(1e9, 0)})
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.gpg")
	tree := filepath.Join(dir, "tree")
	for name, data := range map[string][]byte{key: secret, tree + "/one": []byte("one"), tree + "/two": bytes.Repeat([]byte("two"), 1000)} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := sign.ParseKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(dir, "seed")
	at("repo", "init", "--repo", seed, "--mode", "archive")
	at("repo", "commit", "--repo", seed, "-b", "a", "--tree=dir="+tree, "--gpg-sign="+key)
	at("repo", "commit", "--repo", seed, "-b", "b", "--tree=dir="+tree)
	if err := os.WriteFile(tree+"/three", []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	at("repo", "summary", "--repo", seed, "-u", "--gpg-sign="+key)
	lost := filepath.Join(dir, "lost") // with commits that no ref names, and a damaged object
	mustCopy(t, seed, lost)
	at("repo", "commit", "--repo", lost, "--orphan", "--tree=dir="+tree)
	hurt := filepath.Join(dir, "hurt")
	mustCopy(t, seed, hurt)
	objects, _ := filepath.Glob(hurt + "/objects/*/*.filez")
	if len(objects) == 0 {
		t.Fatal("no objects")
	}
	if err := os.WriteFile(objects[0], []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	withDelta, empty, carried := filepath.Join(dir, "with-delta"), filepath.Join(dir, "empty"), filepath.Join(dir, "carried")
	mustCopy(t, seed, withDelta)
	at("repo", "static-delta", "generate", "--repo", withDelta, "--empty", "a")
	at("repo", "static-delta", "generate", "--repo", seed, "--empty", "--inline", "--filename", carried, "a")
	at("repo", "init", "--repo", empty, "--mode", "bare-user")
	for _, v := range []struct {
		name, seed string
		args       []string
	}{
		{"commit", seed, []string{"commit", "-b", "a", "--tree=dir=" + tree, "--gpg-sign=" + key, "--timestamp=@7"}},
		{"summary", seed, []string{"summary", "-u", "--gpg-sign=" + key, "-m", "n=1"}},
		{"gpg-sign", seed, []string{"gpg-sign", "b", key}},
		{"gpg-sign --delete", seed, []string{"gpg-sign", "--delete", "a", keyID(t, ring)}},
		{"reset", seed, []string{"reset", "a", "b"}},
		{"refs --delete", seed, []string{"refs", "--delete", "a"}},
		{"prune", lost, []string{"prune", "--refs-only"}},
		{"fsck --delete", hurt, []string{"fsck", "--delete"}},
		{"pull-local", seed, []string{"pull-local", lost, "--untrusted"}},
		{"static-delta generate", withDelta, []string{"static-delta", "generate", "--empty", "--swap-endianness", "a"}},
		{"static-delta reindex", withDelta, []string{"static-delta", "reindex"}},
		{"static-delta apply-offline", empty, []string{"static-delta", "apply-offline", carried}},
	} {
		t.Run(v.name, func(t *testing.T) { killPlumbing(t, v.seed, v.args, ring, v.name == "fsck --delete") })
	}
}

// TestKillPull is TestKillPlumbing for pulls over HTTP: of objects, of deltas, into a mirror.
func TestKillPull(t *testing.T) {
	dir := t.TempDir()
	at := func(args ...string) { mustGrove(t, filepath.Join(dir, "state"), args...) }
	srv, tree := filepath.Join(dir, "srv"), filepath.Join(dir, "tree")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at("repo", "init", "--repo", srv, "--mode", "archive")
	for i, branch := range []string{"b", "a", "a"} {
		write(tree+"/one", strings.Repeat("one ", 500)+fmt.Sprint(i))
		write(tree+"/dir/two", fmt.Sprint("two ", i))
		at("repo", "commit", "--repo", srv, "-b", branch, "--tree=dir="+tree, fmt.Sprintf("--timestamp=@%d", i+1))
	}
	at("repo", "static-delta", "generate", "--repo", srv, "a")
	at("repo", "static-delta", "generate", "--repo", srv, "--empty", "a")
	at("repo", "summary", "--repo", srv, "-u")
	web := httptest.NewServer(http.FileServer(http.Dir(srv)))
	t.Cleanup(web.Close)
	clone := func(name, mode string, pulled ...string) string {
		t.Helper()
		repo := filepath.Join(dir, name)
		at("repo", "init", "--repo", repo, "--mode", mode)
		at("repo", "remote", "add", "--repo", repo, "--no-gpg-verify", "up", web.URL)
		if len(pulled) > 0 {
			at(append([]string{"repo", "pull", "--repo", repo, "up"}, pulled...)...)
		}
		return repo
	}
	first := commitsOf(t, srv)["a"]
	r, err := repo.Open(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := r.Commit(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name, seed string
		args       []string
	}{
		{"pull", clone("empty", "bare-user"), []string{"pull", "up", "a", "--disable-static-deltas"}},
		{"pull of the rest", clone("part", "bare-user", "a", "--subpath=/dir"), []string{"pull", "up", "a"}},
		{"pull by a delta", clone("older", "bare-user", "a@"+c.Parent.String()), []string{"pull", "up", "a", "--require-static-deltas"}},
		{"pull by a delta from nothing", clone("nothing", "bare", "b"), []string{"pull", "up", "a", "--require-static-deltas"}},
		{"pull --mirror", clone("mirror", "archive"), []string{"pull", "--mirror", "up"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			killPlumbing(t, v.seed, v.args, sign.Keyring{}, false)
		})
	}
}

func keyID(t *testing.T, ring sign.Keyring) string {
	t.Helper()
	return ring.Keys()[0].ID
}

func killPlumbing(t *testing.T, seed string, args []string, ring sign.Keyring, damaged bool) {
	dir := t.TempDir()
	target := filepath.Join(dir, "repo")
	words := append([]string{"repo", args[0], "--repo", target}, args[1:]...)
	run := func(fault string) ([]byte, error) {
		return groveAt(filepath.Join(dir, "state"), []string{fault, "SOURCE_DATE_EPOCH=1500000000"}, words...)
	}
	refs := func() map[string]ostree.Checksum { return commitsOf(t, target) }
	mustCopy(t, seed, target)
	before := refs()
	if out, err := run("X=1"); err != nil && !damaged {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
	after := refs()
	removeAll(t, target)
	for n := 1; ; n++ {
		mustCopy(t, seed, target)
		out, err := run(fmt.Sprintf("GROVE_TEST_KILL_AT=%d", n))
		if !killed(err) {
			if n < 3 {
				t.Errorf("only %d steps: %v\n%s", n-1, err, out)
			}
			removeAll(t, target)
			break
		}
		got := refs()
		for name := range union(before, after, got) { // each by itself: they are files
			if c := got[name]; c != before[name] && c != after[name] {
				t.Errorf("step %d: ref %s is %s, neither the old %s nor the new %s", n, name, c, before[name], after[name])
			}
		}
		checkRepo(t, target, ring, damaged, fmt.Sprintf("killed at step %d", n))
		if out, err := run("X=1"); err != nil && !damaged && !strings.Contains(string(out), "signed it already") && !strings.Contains(string(out), "not found") {
			t.Errorf("step %d: again: %v\n%s", n, err, out)
		}
		checkRepo(t, target, ring, damaged, fmt.Sprintf("run again after a kill at step %d", n))
		if got := refs(); args[0] == "pull" && !maps.Equal(got, after) {
			t.Errorf("step %d: after the pull went on the refs are %v, want %v", n, got, after)
		}
		removeAll(t, target)
	}
}

// union has the names of all of them.
func union(all ...map[string]ostree.Checksum) map[string]bool {
	names := map[string]bool{}
	for _, m := range all {
		for name := range m {
			names[name] = true
		}
	}
	return names
}

// commitsOf gives what each ref names.
func commitsOf(t *testing.T, dir string) map[string]ostree.Checksum {
	t.Helper()
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	refs, err := r.Refs("")
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// checkRepo demands that both programs call the repository clean, and that no signature is beside a summary that it is not of.
// One that was damaged before has nothing missing but what is told.
func checkRepo(t *testing.T, dir string, ring sign.Keyring, damaged bool, when string) {
	t.Helper()
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, data, err := r.ReadSummary(); err == nil {
		d, err := r.SummarySignatures()
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
		for _, sig := range ostree.Signatures(d, ostree.KeyGPGSigs) {
			if reports, err := ring.Examine(data, sig); err != nil || !reports[0].Good() {
				t.Errorf("%s: the summary has the signature of another: %v %v", when, reports, err)
			}
		}
	}
	if damaged {
		return
	}
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	if faults, err := delta.Fsck(t.Context(), r); err != nil || len(faults) > 0 {
		t.Errorf("%s: deltas: %v, %v", when, faults, err)
	}
	if _, err := exec.LookPath("ostree"); err == nil {
		if out, err := exec.Command("ostree", "--repo="+dir, "fsck", "-q").CombinedOutput(); err != nil {
			t.Errorf("%s: ostree fsck: %v\n%s", when, err, out)
		}
	}
}
