// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/delta"
	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/fixture"
	"grove/internal/mirror"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/rpmmd"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// upstream is an archive repository behind a web server.
type upstream struct {
	r    *repo.Repo
	url  string
	down bool
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "up"), repo.Archive)
	ok(t, err)
	u := &upstream{r: r}
	files := http.FileServer(http.Dir(r.Path()))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if u.down {
			http.Error(w, "gone", http.StatusNotFound)
			return
		}
		req.Header.Del("If-Modified-Since") // whose seconds are too coarse for a test
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { web.Close(); r.Close() })
	u.url = web.URL
	return u
}

// commit sets ref to a new commit of one file, on top of the one before.
func (u *upstream) commit(t *testing.T, ref, text string, stamp uint64) ostree.Checksum {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte(text), 20_000), 0o644))
	ctx := context.Background()
	tx, err := u.r.Begin(ctx)
	ok(t, err)
	defer tx.Abort()
	root, err := u.r.CommitTree(ctx, tx, dir, repo.CommitTreeOptions{})
	ok(t, err)
	v := ostree.Commit{Tree: root.Tree, Meta: root.Meta, Timestamp: stamp}
	if c, err := u.r.Resolve(ref); err == nil {
		v.Parent = c
	}
	c, err := tx.PutCommit(v)
	ok(t, err)
	ok(t, tx.SetRef(ref, c))
	ok(t, tx.Commit())
	return c
}

func (u *upstream) summary(t *testing.T) {
	t.Helper()
	ok(t, u.r.UpdateSummary(context.Background(), repo.SummaryOptions{}))
}

// update demands that all upstreams could be mirrored.
func update(t *testing.T, dir string, o mirror.Options) map[string]mirror.Done {
	t.Helper()
	all, err := mirror.Update(context.Background(), dir, o)
	ok(t, err)
	out := map[string]mirror.Done{}
	for _, d := range all {
		ok(t, d.Err)
		out[d.Name] = d
	}
	return out
}

func open(t *testing.T, path string) *repo.Repo {
	t.Helper()
	r, err := repo.Open(path)
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	ok(t, err)
	y, err := os.ReadFile(b)
	ok(t, err)
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// A mirror of all refs has the upstream's summary; one of some refs has its own; nothing comes twice; --prune lets go of old
// commits; one upstream that is gone does not keep another from its update.
func TestRepositories(t *testing.T) {
	dir, u, v := t.TempDir(), newUpstream(t), newUpstream(t)
	first := u.commit(t, "main", "one", 1)
	u.commit(t, "other", "x", 1)
	u.summary(t)
	v.commit(t, "main", "v", 1)
	v.summary(t)
	ok(t, mirror.AddRepo(dir, repo.Remote{Name: "all", URL: u.url}, nil, false))
	ok(t, mirror.AddRepo(dir, repo.Remote{Name: "some", URL: u.url, Branches: []string{"main"}}, nil, false))
	ok(t, mirror.AddRepo(dir, repo.Remote{Name: "v", URL: v.url}, nil, false))
	if err := mirror.AddRepo(dir, repo.Remote{Name: "all", URL: u.url}, nil, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("added twice: %v", err)
	}
	if err := mirror.AddRepo(dir, repo.Remote{Name: "../x", URL: u.url}, nil, false); err == nil {
		t.Error("a name that leaves the folder")
	}
	list, err := mirror.List(dir, rpmmd.Vars{})
	if err != nil || len(list) != 3 || list[0].Name != "all" || list[0].URL != u.url || list[1].Branches[0] != "main" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if d := update(t, dir, mirror.Options{}); d["all"].Fetched == 0 || d["some"].Fetched == 0 || d["v"].Fetched == 0 {
		t.Errorf("%+v", d)
	}
	all, some := open(t, filepath.Join(dir, "ostree/all")), open(t, filepath.Join(dir, "ostree/some"))
	sameFile(t, u.r.Path()+"/summary", all.Path()+"/summary")
	if s, _, err := some.ReadSummary(); err != nil || len(s.Refs) != 1 || s.Refs[0].Name != "main" || s.Refs[0].Commit != first {
		t.Errorf("summary of some: %+v, %v", s, err)
	}
	if d := update(t, dir, mirror.Options{}); d["all"].Fetched != 0 || d["some"].Fetched != 0 {
		t.Errorf("fetched again: %+v", d)
	}

	second := u.commit(t, "main", "two", 2)
	u.summary(t)
	v.down = true
	done, err := mirror.Update(context.Background(), dir, mirror.Options{Prune: true})
	ok(t, err)
	for _, d := range done {
		if (d.Err != nil) != (d.Name == "v") {
			t.Errorf("%s: %v", d.Name, d.Err)
		}
	}
	for _, r := range []*repo.Repo{all, some} {
		if c, err := r.Resolve("main"); err != nil || c != second || r.Has(ostree.TypeCommit, first) {
			t.Errorf("%s: main is %s (%v); the commit before is there: %v", r.Path(), c, err, r.Has(ostree.TypeCommit, first))
		}
		ok(t, r.Check(context.Background()))
	}
	if _, err := mirror.Update(context.Background(), dir, mirror.Options{Names: []string{"none"}}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("an unknown name: %v", err)
	}
	lock, err := durable.Acquire(context.Background(), filepath.Join(dir, ".lock"), true, 0)
	ok(t, err)
	if _, err := mirror.Update(context.Background(), dir, mirror.Options{}); !errors.Is(err, durable.ErrBusy) {
		t.Errorf("beside another update: %v", err)
	}
	lock.Release()
}

// Static deltas are mirrored where that was asked for: byte for byte, so that a client of the mirror uses them.
func TestDeltas(t *testing.T) {
	ctx := context.Background()
	for _, local := range []bool{false, true} {
		t.Run(fmt.Sprint("local ", local), func(t *testing.T) {
			dir, u := t.TempDir(), newUpstream(t)
			one := u.commit(t, "main", strings.Repeat("one", 100), 1)
			two := u.commit(t, "main", strings.Repeat("two", 100), 2)
			names := []ostree.DeltaName{{To: two}, {From: one, To: two}, {To: one}}
			for i, n := range names {
				_, err := delta.Generate(ctx, u.r, n, delta.GenerateOptions{Inline: i == 1, MinFallbackBytes: -1})
				ok(t, err)
			}
			u.summary(t)
			url := u.url
			if local {
				url = "file://" + u.r.Path()
			}
			ok(t, mirror.AddRepo(dir, repo.Remote{Name: "with", URL: url, Options: map[string]string{mirror.DeltasKey: "true"}}, nil, false))
			ok(t, mirror.AddRepo(dir, repo.Remote{Name: "without", URL: url}, nil, false))
			update(t, dir, mirror.Options{})
			with, without := open(t, filepath.Join(dir, "ostree/with")), open(t, filepath.Join(dir, "ostree/without"))
			for i, n := range names {
				if with.HasDelta(n) != (i < 2) || without.HasDelta(n) {
					t.Errorf("delta %s: with %v, without %v", n, with.HasDelta(n), without.HasDelta(n))
				}
			}
			sameFile(t, u.r.Path()+"/summary", with.Path()+"/summary")
			sameFile(t, filepath.Join(u.r.DeltaDir(names[0]), "0"), filepath.Join(with.DeltaDir(names[0]), "0"))
			sameFile(t, filepath.Join(u.r.DeltaDir(names[1]), "superblock"), filepath.Join(with.DeltaDir(names[1]), "superblock"))
			faults, err := delta.Fsck(ctx, with)
			if err != nil || len(faults) > 0 {
				t.Errorf("fsck: %v, %v", faults, err)
			}
			if d := update(t, dir, mirror.Options{}); d["with"].Fetched != 0 || len(d["with"].Warnings) > 0 {
				t.Errorf("copied again: %+v", d)
			}
			web := httptest.NewServer(http.FileServer(http.Dir(with.Path())))
			defer web.Close()
			client, err := repo.Init(filepath.Join(t.TempDir(), "client"), repo.BareUser)
			ok(t, err)
			defer client.Close()
			ok(t, client.Config().AddRemote(repo.Remote{Name: "m", URL: web.URL}))
			res, err := pull.Pull(ctx, client, "m", []string{"main"}, pull.Options{Deltas: pull.DeltasAlways})
			if err != nil || res.DeltaParts == 0 {
				t.Errorf("pulled by a delta: %+v, %v", res, err)
			}
			// the commit goes, and its deltas with it
			u.commit(t, "main", "three", 3)
			u.summary(t)
			update(t, dir, mirror.Options{Prune: true})
			if left, err := with.Deltas(); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A delta that is not what the summary says is left out, with a warning; what it leads to is mirrored all the same.
func TestDamagedDelta(t *testing.T) {
	ctx := context.Background()
	for _, file := range []string{"superblock", "0"} {
		t.Run(file, func(t *testing.T) {
			dir, u := t.TempDir(), newUpstream(t)
			c := u.commit(t, "main", strings.Repeat("one", 100), 1)
			n := ostree.DeltaName{To: c}
			_, err := delta.Generate(ctx, u.r, n, delta.GenerateOptions{MinFallbackBytes: -1})
			ok(t, err)
			u.summary(t)
			path := filepath.Join(u.r.DeltaDir(n), file)
			data, err := os.ReadFile(path)
			ok(t, err)
			data[len(data)/2] ^= 1
			ok(t, os.WriteFile(path, data, 0o644))
			ok(t, mirror.AddRepo(dir, repo.Remote{Name: "m", URL: u.url, Options: map[string]string{mirror.DeltasKey: "true"}}, nil, false))
			d := update(t, dir, mirror.Options{})["m"]
			if len(d.Warnings) != 1 || !strings.Contains(d.Warnings[0], "checksum") {
				t.Errorf("warnings: %q", d.Warnings)
			}
			r := open(t, filepath.Join(dir, "ostree/m"))
			if got, err := r.Resolve("main"); err != nil || got != c || r.HasDelta(n) {
				t.Errorf("main is %s, %v; the delta is there: %v", got, err, r.HasDelta(n))
			}
			ok(t, r.Check(ctx))
		})
	}
}

// A source is mirrored byte for byte, what is damaged there is refused, and what it no longer has goes with Prune.
func TestSources(t *testing.T) {
	w, err := fixture.Make(t.TempDir(), fixture.Options{Minimal: true})
	ok(t, err)
	dir := t.TempDir()
	o := mirror.Options{Client: fetch.New(fetch.Options{}), Vars: rpmmd.NewVars("1", w.Arch)}
	ok(t, mirror.AddSources(dir, w.RepoFile, o.Vars))
	kept, err := filepath.Glob(filepath.Join(dir, "sources.d/*"))
	ok(t, err)
	if st, err := os.Stat(kept[0]); err != nil || st.Mode().Perm() != 0o600 { // it may hold a password, and a web server hands the folder out
		t.Errorf("%v has mode %v, %v", kept, st.Mode(), err)
	}
	bad := filepath.Join(t.TempDir(), "none.repo")
	ok(t, os.WriteFile(bad, []byte("[x]\nbaseurl=file:///x\nenabled=0\n"), 0o644))
	if err := mirror.AddSources(dir, bad, o.Vars); err == nil {
		t.Error("a file without an enabled source was taken")
	}
	d := update(t, dir, o)["copse"]
	if d.Fetched < 10 || d.Kind != "rpm" {
		t.Errorf("%+v", d)
	}
	copied := filepath.Join(dir, "rpm/copse")
	ok(t, filepath.WalkDir(w.Base, func(path string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(w.Base, path); err == nil && !e.IsDir() {
			sameFile(t, path, filepath.Join(copied, rel))
		}
		return err
	}))
	left := []string{filepath.Join(copied, "Packages/old-1-1.noarch.rpm"), filepath.Join(copied, "repodata/.grove-tmp-7")}
	for _, path := range left {
		ok(t, os.WriteFile(path, []byte("x"), 0o644))
	}
	o.Prune = true
	if d := update(t, dir, o)["copse"]; d.Fetched != 0 || d.Removed != 1 {
		t.Errorf("%+v", d)
	}
	for _, path := range left {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	// One package of the source is damaged: it is not taken, and clients keep the state that they have.
	packages, err := filepath.Glob(w.Base + "/Packages/hello-1*.rpm")
	if err != nil || len(packages) == 0 {
		t.Fatalf("no package: %v", err)
	}
	data, err := os.ReadFile(packages[0])
	ok(t, err)
	data[len(data)/2] ^= 1
	ok(t, os.WriteFile(packages[0], data, 0o644))
	ok(t, os.Remove(filepath.Join(copied, "Packages", filepath.Base(packages[0]))))
	all, err := mirror.Update(context.Background(), dir, o)
	ok(t, err)
	if all[0].Err == nil {
		t.Error("a damaged package was mirrored")
	}
}
