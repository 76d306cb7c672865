// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
)

// TestKillMirror kills the first update of a mirror, of an OSTree repository and an RPM source, before steps spread over
// all it takes. Each time what a summary or a repomd.xml names is there, and the update that follows brings the rest.
func TestKillMirror(t *testing.T) {
	w := copse(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	at := func(args ...string) { mustGrove(t, state, args...) }
	srv, tree, seed := filepath.Join(dir, "srv"), filepath.Join(dir, "tree"), filepath.Join(dir, "seed")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	at("repo", "init", "--repo", srv, "--mode", "archive")
	for i, branch := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(tree, "file"), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
		at("repo", "commit", "--repo", srv, "-b", branch, "--tree=dir="+tree)
	}
	at("repo", "static-delta", "generate", "--repo", srv, "--empty", "a")
	at("repo", "summary", "--repo", srv, "-u")
	web := httptest.NewServer(http.FileServer(http.Dir(srv)))
	t.Cleanup(web.Close)
	at("mirror", "add", seed, "up", web.URL, "--no-gpg-verify", "--static-deltas")
	at("mirror", "add-sources", seed, w.RepoFile)

	whole, counter := filepath.Join(dir, "whole"), filepath.Join(dir, "steps")
	mustCopy(t, seed, whole)
	if out, err := groveAt(state, []string{"GROVE_TEST_STEPS=" + counter}, "mirror", "update", whole); err != nil {
		t.Fatalf("update: %v\n%s", err, out)
	}
	text, err := os.ReadFile(counter)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := strconv.Atoi(string(text))
	if err != nil || steps < 10 {
		t.Fatalf("%q durable steps", text)
	}
	want := filesOf(t, whole)
	for _, n := range append(spread(steps), 3, 5, 8, 12) {
		target, when := filepath.Join(dir, "mirror"), fmt.Sprintf("killed at step %d of %d", n, steps)
		mustCopy(t, seed, target)
		out, err := groveAt(state, []string{fmt.Sprintf("GROVE_TEST_KILL_AT=%d", n)}, "mirror", "update", target)
		if !killed(err) && n < steps-steps/10-2 { // steps of parallel work can vary a little from run to run
			t.Errorf("%s: not killed: %v\n%s", when, err, out)
		}
		checkMirror(t, target, want, when)
		if out, err := groveAt(state, nil, "mirror", "update", "--prune", target); err != nil {
			t.Errorf("%s: again: %v\n%s", when, err, out)
		}
		if got := filesOf(t, target); !slices.Equal(got, want) {
			t.Errorf("%s, and updated again: too much: %v; missing: %v", when, without(got, want), without(want, got))
		}
		checkMirror(t, target, want, when+", and updated again")
		removeAll(t, target)
	}
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// filesOf lists what clients are given: not locks, caches and what a killed program leaves for the next to clear.
func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, dir+"/")
		if err == nil && e.IsDir() && (rel == "cache" || strings.HasSuffix(rel, "/tmp") || strings.HasPrefix(e.Name(), ".grove-")) {
			return fs.SkipDir
		}
		if err == nil && !e.IsDir() && !strings.HasSuffix(rel, ".lock") {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkMirror demands that whatever a client can find named is there.
func checkMirror(t *testing.T, dir string, whole []string, when string) {
	t.Helper()
	path := filepath.Join(dir, "ostree/up")
	checkRepo(t, path, sign.Keyring{}, false, when)
	r, err := repo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	switch s, _, err := r.ReadSummary(); {
	case errors.Is(err, repo.ErrNotFound):
	case err != nil:
		t.Errorf("%s: %v", when, err)
	default:
		for _, ref := range s.Refs {
			if !r.Has(ostree.TypeCommit, ref.Commit) || r.IsPartial(ref.Commit) {
				t.Errorf("%s: the summary has %s, and not all of its commit is there", when, ref.Name)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "rpm/copse/repodata/repomd.xml")); err != nil {
		return
	}
	have := filesOf(t, dir)
	for _, f := range whole {
		if strings.HasPrefix(f, "rpm/copse/") && !strings.HasSuffix(f, "repomd.xml.asc") && !slices.Contains(have, f) {
			t.Errorf("%s: repomd.xml is there, and %s is not", when, f)
		}
	}
}
