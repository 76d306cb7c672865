// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
	"grove/internal/sign"
	"grove/internal/trust"
)

// deltaWorld is an archive with two commits, the files of the second, and deltas to it.
type deltaWorld struct {
	src      *repo.Repo
	one, two ostree.Checksum
	files    map[string]string
}

func makeDelta(t testing.TB, r *repo.Repo, from, to ostree.Checksum, o delta.GenerateOptions) {
	t.Helper()
	if _, err := delta.Generate(context.Background(), r, ostree.DeltaName{From: from, To: to}, o); err != nil {
		t.Fatal(err)
	}
}

func newDeltaWorld(t testing.TB) deltaWorld {
	t.Helper()
	w := deltaWorld{src: initRepo(t, repo.Archive), files: sample()}
	for i := range 20 {
		w.files["usr/lib/lib"+string(rune('a'+i))] = strings.Repeat("library ", 500) + string(rune('a'+i))
	}
	w.one = commit(t, w.src, change{ref: "main", files: w.files, time: 10})
	for name, text := range w.files {
		if strings.HasPrefix(name, "usr/lib/") {
			w.files[name] = text + " is newer"
		}
	}
	w.two = commit(t, w.src, change{ref: "main", files: w.files, time: 20, parent: w.one})
	makeDelta(t, w.src, w.one, w.two, delta.GenerateOptions{})
	makeDelta(t, w.src, ostree.Checksum{}, w.two, delta.GenerateOptions{})
	if err := w.src.WriteSummary(context.Background()); err != nil {
		t.Fatal(err)
	}
	return w
}

// client is a repository that has the first commit.
func (w deltaWorld) client(t testing.TB, url string, mode repo.Mode, options map[string]string) *repo.Repo {
	t.Helper()
	r := initRepo(t, mode)
	addRemote(t, r, url, options)
	if _, err := pull.Local(context.Background(), r, w.src.Path(), "", []string{w.one.String()}, pull.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := r.SetRef("up:main", w.one); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDeltas(t *testing.T) {
	w := newDeltaWorld(t)
	var objects atomic.Int64
	ours := httptest.NewServer(counting(serve.Handler(w.src), &objects))
	defer ours.Close()
	static := httptest.NewServer(counting(http.FileServer(http.Dir(w.src.Path())), &objects))
	defer static.Close()
	ctx := context.Background()
	for _, c := range []struct {
		name, url string
		use       pull.DeltaUse
		empty     bool // the client has nothing
		parts     int
		objects   int64 // requests at most
	}{
		{"served by grove", ours.URL, pull.DeltasWhereGood, false, 1, 1},
		{"static server", static.URL, pull.DeltasWhereGood, false, 1, 1},
		{"from nothing", ours.URL, pull.DeltasWhereGood, true, 1, 1},
		{"required", ours.URL, pull.DeltasAlways, false, 1, 1},
		{"never", ours.URL, pull.DeltasNever, false, 0, 100},
		{"a folder", w.src.Path(), pull.DeltasWhereGood, false, 0, 0},
		{"a folder, required", "file://" + w.src.Path(), pull.DeltasAlways, false, 1, 0},
	} {
		for _, mode := range modes() {
			r := w.client(t, c.url, mode, nil)
			if c.empty {
				r = initRepo(t, mode)
				addRemote(t, r, c.url, nil)
			}
			objects.Store(0)
			res, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick(), Deltas: c.use})
			if err != nil || res.DeltaParts != c.parts || objects.Load() > c.objects || len(res.Warnings) > 0 {
				t.Errorf("%s, %v: %+v, %v; %d objects asked for", c.name, mode, res, err, objects.Load())
			}
			check(t, r, "up:main", w.two, w.files)
			if err := r.Check(ctx); err != nil {
				t.Errorf("%s, %v: %v", c.name, mode, err)
			}
		}
	}
}

// Of a part whose objects are mostly here, the others come as objects.
func TestDeltasWhereTheySaveNothing(t *testing.T) {
	w := newDeltaWorld(t)
	s := httptest.NewServer(serve.Handler(w.src))
	defer s.Close()
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	ctx := context.Background()
	if _, err := pull.Local(ctx, r, w.src.Path(), "", []string{w.one.String()}, pull.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := w.src.DeleteDelta(ctx, ostree.DeltaName{From: w.one, To: w.two}); err != nil {
		t.Fatal(err)
	}
	if err := w.src.WriteSummary(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick()})
	if err != nil || res.DeltaParts != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	check(t, r, "up:main", w.two, w.files)
}

// A delta that is broken or lies is left alone, or fails where it is required; nothing of it lands.
func TestBrokenDeltas(t *testing.T) {
	w := newDeltaWorld(t)
	ctx := context.Background()
	n := ostree.DeltaName{From: w.one, To: w.two}
	other := ostree.DeltaName{To: w.two}
	read := func(n ostree.DeltaName, file string) []byte {
		data, err := os.ReadFile(filepath.Join(w.src.DeltaDir(n), file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	superblock, part := read(n, "superblock"), read(n, "0")
	bent := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 0x10
		return b
	}
	for name, files := range map[string]map[string][]byte{
		"superblock bent":    {"superblock": bent(superblock, 40)},
		"superblock cut":     {"superblock": superblock[:len(superblock)/2]},
		"no superblock":      {"superblock": nil},
		"another superblock": {"superblock": read(other, "superblock")},
		"part bent":          {"0": bent(part, len(part)/2)},
		"part cut":           {"0": part[:len(part)-1]},
		"part longer":        {"0": append(bytes.Clone(part), 0)},
		"another part":       {"0": read(other, "0")},
		"no part":            {"0": nil},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			for file, data := range files {
				if req.URL.Path == "/"+n.Dir()+"/"+file {
					if data == nil {
						http.NotFound(rw, req)
					} else {
						rw.Write(data)
					}
					return
				}
			}
			serve.Handler(w.src).ServeHTTP(rw, req)
		}))
		r := w.client(t, s.URL, repo.BareUser, nil)
		_, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick(), Deltas: pull.DeltasAlways})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s, required: %v", name, err)
		}
		if c, _ := r.Resolve("up:main"); c != w.one {
			t.Errorf("%s, required: the ref moved", name)
		}
		if err := r.Check(ctx); err != nil {
			t.Errorf("%s, required: %v", name, err)
		}
		res, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick()})
		if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "static deltas are not used") {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		check(t, r, "up:main", w.two, w.files)
		s.Close()
	}
}

// A commit that no delta leads to is an error where deltas are required.
func TestNoDelta(t *testing.T) {
	w := newDeltaWorld(t)
	s := httptest.NewServer(serve.Handler(w.src))
	defer s.Close()
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	_, err := pull.Pull(context.Background(), r, "up", []string{w.one.String()}, pull.Options{Client: quick(), Deltas: pull.DeltasAlways})
	if err == nil || !strings.Contains(err.Error(), "the remote has none to "+w.one.String()) {
		t.Error(err)
	}
	if _, err := pull.PlanDeltas(context.Background(), r, "up", []string{w.one.String()}, pull.Options{Client: quick()}); err == nil {
		t.Error("a plan without a delta")
	}
	plans, err := pull.PlanDeltas(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick()})
	if err != nil || len(plans) != 1 || plans[0].Parts != 1 || plans[0].PartsHere != 0 || plans[0].SizeBytes == 0 {
		t.Errorf("%+v, %v", plans, err)
	}
	if r.Has(ostree.TypeCommit, w.two) {
		t.Error("a plan brought the commit")
	}
}

// A remote may have no objects beside its deltas, and large files beside what its deltas make.
func TestDeltaOnlyRemote(t *testing.T) {
	w := newDeltaWorld(t)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/objects/") {
			http.NotFound(rw, req)
			return
		}
		serve.Handler(w.src).ServeHTTP(rw, req)
	}))
	defer s.Close()
	for _, empty := range []bool{true, false} {
		r := w.client(t, s.URL, repo.BareUser, nil)
		if empty {
			r = initRepo(t, repo.BareUser)
			addRemote(t, r, s.URL, nil)
		}
		if _, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick()}); err != nil {
			t.Error(err)
			continue
		}
		check(t, r, "up:main", w.two, w.files)
	}
}

func TestDeltaFallbacks(t *testing.T) {
	w := newDeltaWorld(t)
	makeDelta(t, w.src, ostree.Checksum{}, w.two, delta.GenerateOptions{MinFallbackBytes: 1 << 19})
	if err := w.src.WriteSummary(context.Background()); err != nil {
		t.Fatal(err)
	}
	var objects atomic.Int64
	s := httptest.NewServer(counting(serve.Handler(w.src), &objects))
	defer s.Close()
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick(), Deltas: pull.DeltasAlways})
	if err != nil || res.DeltaParts != 1 || objects.Load() != 2 {
		t.Errorf("%+v, %v, %d objects", res, err, objects.Load())
	}
	check(t, r, "up:main", w.two, w.files)
}

// A signed delta must be signed by a key of the remote, where it asks for signatures.
func TestSignedDeltas(t *testing.T) {
	w := newDeltaWorld(t)
	ctx := context.Background()
	secret := func(seed byte) (trust.Keys, string) {
		s := bytes.Repeat([]byte{seed}, 32)
		public, err := sign.PublicEd25519(s)
		if err != nil {
			t.Fatal(err)
		}
		return trust.Keys{Sign: []string{base64.StdEncoding.EncodeToString(append(s, public...))}}, base64.StdEncoding.EncodeToString(public)
	}
	good, public := secret(1)
	bad, _ := secret(2)
	signers, err := good.Signers()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.src.SignCommit(ctx, w.two, signers); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(serve.Handler(w.src))
	defer s.Close()
	for _, k := range []trust.Keys{good, bad} {
		with, err := k.Signers()
		if err != nil {
			t.Fatal(err)
		}
		makeDelta(t, w.src, w.one, w.two, delta.GenerateOptions{Signers: with})
		if err := w.src.WriteSummary(ctx); err != nil {
			t.Fatal(err)
		}
		isBad := &k == &bad || k.Sign[0] == bad.Sign[0]
		options := map[string]string{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": public}
		r := w.client(t, s.URL, repo.BareUser, options)
		_, err = pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick(), Deltas: pull.DeltasAlways})
		if isBad != errors.Is(err, sign.ErrUntrusted) || !isBad && err != nil {
			t.Errorf("bad %v, required: %v", isBad, err)
		}
		r = w.client(t, s.URL, repo.BareUser, options)
		res, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick()})
		if err != nil || isBad != (res.DeltaParts == 0) {
			t.Errorf("bad %v: %+v, %v", isBad, res, err)
		}
		check(t, r, "up:main", w.two, w.files)
	}
}

// Deltas of machines of both byte orders, from before they said so, of ostree's own tests.
func TestOldDeltas(t *testing.T) {
	for _, name := range []string{"little", "big"} {
		folder := filepath.Join(unpackShared(t, "pre-endian-deltas-repo-"+name+".tar.xz"), "pre-endian-deltas-repo")
		s := httptest.NewServer(http.FileServer(http.Dir(folder)))
		defer s.Close()
		src, err := repo.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		// the big endian one was turned around after its summary was made
		if err := src.WriteSummary(context.Background()); err != nil {
			t.Fatal(err)
		}
		two, err := src.Resolve("main")
		if err != nil {
			t.Fatal(err)
		}
		one, err := src.Resolve("main^")
		if err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{s.URL, folder} {
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, url, nil)
			if _, err := pull.Local(context.Background(), r, src.Path(), "", []string{one.String()}, pull.Options{}); err != nil {
				t.Fatal(err)
			}
			res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick(), Deltas: pull.DeltasAlways})
			if err != nil || res.Commits["main"] != two || res.DeltaParts != 1 {
				t.Errorf("%s from %s: %+v, %v", name, url[:4], res, err)
			}
			if err := r.Check(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}
