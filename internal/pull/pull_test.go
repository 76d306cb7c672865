// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
	"grove/internal/sign"
	"grove/internal/tree"
)

func needs(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("GROVE_CI") == "1" {
				t.Fatalf("needs %s", tool)
			}
			t.Skipf("needs %s", tool)
		}
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func initRepo(t testing.TB, mode repo.Mode) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), mode)
	if err != nil {
		t.Fatal(err)
	}
	r.Config().Set("core", "fsync", "false")
	if err := r.Config().Save(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if r, err = repo.Open(r.Path()); err != nil {
		t.Fatal(err)
	}
	r.Config().SetRemotesDir("")
	return r
}

// change says what a commit is made of.
type change struct {
	ref      string
	files    map[string]string
	parent   ostree.Checksum
	time     uint64
	bind     []string
	detached func(data []byte) gvariant.Dict
}

func commit(t testing.TB, r *repo.Repo, c change) ostree.Checksum {
	t.Helper()
	tx, err := r.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	e := tree.Empty(ostree.DirMeta{UID: uid, GID: gid, Mode: ostree.DefaultDirMode}).Edit()
	for path, content := range c.files {
		h := ostree.FileHeader{UID: uid, GID: gid, Mode: ostree.DefaultFileMode}
		var sum ostree.Checksum
		if target, ok := strings.CutPrefix(content, "->"); ok {
			h.Mode, h.Symlink = ostree.SymlinkMode, target
			sum, err = tx.PutFile(h, 0, nil)
		} else {
			sum, err = tx.PutFile(h, int64(len(content)), strings.NewReader(content))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := e.PutFile(path, sum); err != nil {
			t.Fatal(err)
		}
	}
	root, err := e.Tree().Write(tx)
	if err != nil {
		t.Fatal(err)
	}
	v := ostree.Commit{Subject: "test", Parent: c.parent, Timestamp: c.time, Tree: root.Tree, Meta: root.Meta}
	if c.bind != nil {
		v.Metadata = v.Metadata.With(ostree.KeyRefBinding, gvariant.Strings(c.bind))
	}
	sum, err := tx.PutCommit(v)
	if err != nil {
		t.Fatal(err)
	}
	if c.detached != nil {
		tx.SetDetached(sum, c.detached(v.Encode()))
	}
	if err := tx.SetRef(c.ref, sum); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return sum
}

func sample() map[string]string {
	files := map[string]string{"usr/bin/moss": "#!/bin/sh\necho moss\n", "usr/bin/link": "->moss", "etc/empty": "", "big": strings.Repeat("0123456789abcdef", 1<<16)}
	for i := range 60 {
		files[fmt.Sprintf("usr/share/d%d/f%d", i%7, i)] = strings.Repeat(fmt.Sprint("text ", i), i)
	}
	return files
}

func addRemote(t testing.TB, r *repo.Repo, url string, options map[string]string) {
	t.Helper()
	if options == nil {
		options = map[string]string{"gpg-verify": "false"}
	}
	if err := r.Config().AddRemote(repo.Remote{Name: "up", URL: url, GPGVerify: true, Options: options}); err != nil {
		t.Fatal(err)
	}
}

func quick() *fetch.Client {
	return fetch.New(fetch.Options{RetryDelay: time.Millisecond, Proxy: "none"})
}

// counting counts the requests for objects.
func counting(h http.Handler, n *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/objects/") && !strings.HasSuffix(r.URL.Path, "meta") {
			n.Add(1)
		}
		h.ServeHTTP(w, r)
	})
}

func check(t testing.TB, r *repo.Repo, ref string, want ostree.Checksum, files map[string]string) {
	t.Helper()
	got, err := r.Resolve(ref)
	if err != nil || got != want {
		t.Fatalf("%s is %s, %v; want %s", ref, got, err, want)
	}
	tr, _, err := r.Tree(got)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = tr.Walk(func(path string, e tree.Entry) error {
		if e.Dir {
			return nil
		}
		n++
		h, _, content, err := r.OpenVerified(e.File)
		if err != nil {
			return err
		}
		defer content.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(content); err != nil {
			return err
		}
		if text := b.String(); text != files[path] && "->"+h.Symlink != files[path] {
			return fmt.Errorf("%s: %d bytes, want %d", path, len(text), len(files[path]))
		}
		return nil
	})
	if err != nil || n != len(files) {
		t.Fatalf("%d files, %v; want %d", n, err, len(files))
	}
}

func modes() []repo.Mode {
	if os.Getuid() == 0 {
		return []repo.Mode{repo.Bare, repo.BareUser, repo.Archive}
	}
	return []repo.Mode{repo.BareUser, repo.Archive}
}

func TestPull(t *testing.T) {
	src := initRepo(t, repo.Archive)
	one := commit(t, src, change{ref: "main", files: sample(), time: 10, bind: []string{"main"}})
	var requests atomic.Int64
	s := httptest.NewServer(counting(serve.Handler(src), &requests))
	defer s.Close()
	for _, mode := range modes() {
		for _, url := range []string{s.URL, s.URL + "/", "file://" + src.Path(), src.Path()} {
			t.Run(mode.String()+" "+url[:5], func(t *testing.T) {
				r := initRepo(t, mode)
				addRemote(t, r, url, nil)
				var last pull.Event
				res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick(), Progress: func(e pull.Event) { last = e }})
				if err != nil {
					t.Fatal(err)
				}
				check(t, r, "up:main", one, sample())
				if res.Commits["main"] != one {
					t.Errorf("%+v", res)
				}
				if strings.HasPrefix(url, "http") && (res.ObjectsFetched < 60 || res.BytesFetched < 3000 || last.Objects == 0 || last.Objects > last.Found) {
					t.Errorf("%+v %+v", res, last)
				}
			})
		}
	}
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	ctx := context.Background()
	requests.Store(0)
	if _, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{}); err != nil {
		t.Fatal(err)
	}
	all := requests.Swap(0)
	if _, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{}); err != nil || requests.Load() != 0 {
		t.Errorf("again: %v, %d requests", err, requests.Load())
	}
	files := sample()
	files["usr/share/d3/new"] = "new"
	two := commit(t, src, change{ref: "main", files: files, time: 20, parent: one})
	requests.Store(0)
	if _, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{TimestampCheck: true}); err != nil || requests.Load() != 6 {
		t.Errorf("one file more: %v, %d requests of %d", err, requests.Load(), all)
	}
	check(t, r, "up:main", two, files)
	if _, err := pull.Pull(ctx, r, "up", []string{"main@" + one.String()}, pull.Options{TimestampCheck: true}); err == nil || !strings.Contains(err.Error(), "a downgrade") {
		t.Errorf("downgrade: %v", err)
	}
	check(t, r, "up:main", two, files)
	if _, err := pull.Pull(ctx, r, "up", []string{"main@" + one.String()}, pull.Options{}); err != nil {
		t.Error(err)
	}
	check(t, r, "up:main", one, sample())
}

func TestPullOptions(t *testing.T) {
	src := initRepo(t, repo.Archive)
	one := commit(t, src, change{ref: "main", files: sample()})
	two := commit(t, src, change{ref: "main", files: map[string]string{"a": "b"}, parent: one})
	three := commit(t, src, change{ref: "main", files: map[string]string{"a": "c"}, parent: two})
	s := httptest.NewServer(serve.Handler(src))
	defer s.Close()
	ctx := context.Background()
	for _, tt := range []struct {
		name     string
		o        pull.Options
		refs     []string
		has      []ostree.Checksum
		lacks    []ostree.Checksum
		ref, err string
	}{
		{"depth 1", pull.Options{Depth: 1}, []string{"main"}, []ostree.Checksum{three, two}, []ostree.Checksum{one}, "up:main", ""},
		{"depth all", pull.Options{Depth: -1}, []string{"main"}, []ostree.Checksum{three, two, one}, nil, "up:main", ""},
		{"checksum", pull.Options{}, []string{two.String()}, []ostree.Checksum{two}, []ostree.Checksum{one, three}, "", ""},
		{"commit only", pull.Options{CommitOnly: true}, []string{"main"}, []ostree.Checksum{three}, []ostree.Checksum{two}, "up:main", ""},
		{"mirror", pull.Options{Mirror: true}, []string{"main"}, []ostree.Checksum{three}, nil, "main", ""},
		{"offline", pull.Options{Offline: true}, []string{"main"}, nil, []ostree.Checksum{three}, "", "offline: would fetch"},
		{"no ref", pull.Options{}, []string{"other"}, nil, []ostree.Checksum{three}, "", `ref "other": not found on the remote`},
		{"no refs", pull.Options{}, nil, nil, nil, "", "no ref asked for"},
		{"bad ref", pull.Options{}, []string{"../x"}, nil, nil, "", "../x"},
		{"url", pull.Options{URL: "http://127.0.0.1:1/"}, []string{"main"}, nil, nil, "", "connection refused"},
		{"no repository", pull.Options{URL: s.URL + "/nowhere"}, []string{"main"}, nil, nil, "", "there is no repository"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, s.URL, nil)
			tt.o.Client = quick()
			_, err := pull.Pull(ctx, r, "up", tt.refs, tt.o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want %q", err, tt.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			for _, c := range tt.has {
				if !r.Has(ostree.TypeCommit, c) || r.IsPartial(c) != tt.o.CommitOnly {
					t.Errorf("lacks %s", c)
				}
			}
			for _, c := range tt.lacks {
				if r.Has(ostree.TypeCommit, c) {
					t.Errorf("has %s", c)
				}
			}
			refs, _ := r.Refs("")
			if _, ok := refs[tt.ref]; tt.ref != "" && !ok || tt.ref == "" && len(refs) > 0 {
				t.Errorf("refs %v", refs)
			}
			if tt.name == "commit only" { // and now the rest
				if _, err := pull.Pull(ctx, r, "up", tt.refs, pull.Options{}); err != nil || r.IsPartial(three) {
					t.Errorf("completing: %v", err)
				}
				check(t, r, "up:main", three, map[string]string{"a": "c"})
			}
		})
	}
	if _, err := pull.Pull(ctx, src, "nobody", []string{"main"}, pull.Options{}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("unknown remote: %v", err)
	}
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	if refs, err := pull.RemoteRefs(ctx, r, "up"); err == nil {
		t.Errorf("refs without a summary: %v", refs)
	}
	bare := initRepo(t, repo.BareUser)
	if _, err := pull.Pull(ctx, bare, "x", nil, pull.Options{}); !errors.Is(err, repo.ErrNotFound) {
		t.Error(err)
	}
}

func TestBindings(t *testing.T) {
	src := initRepo(t, repo.Archive)
	commit(t, src, change{ref: "other", files: map[string]string{"a": "b"}, bind: []string{"main"}})
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, src.Path(), nil)
	_, err := pull.Pull(context.Background(), r, "up", []string{"other"}, pull.Options{})
	if err == nil || !strings.Contains(err.Error(), `bound to the refs ["main"], not to "other"`) {
		t.Errorf("got %v", err)
	}
}

// TestDamage damages each object of a repository in turn, and removes it.
func TestDamage(t *testing.T) {
	src := initRepo(t, repo.Archive)
	commit(t, src, change{ref: "main", files: map[string]string{"a/one": "one", "two": strings.Repeat("two", 50000), "l": "->two"}})
	s := httptest.NewServer(serve.Handler(src))
	defer s.Close()
	objects, _ := filepath.Glob(filepath.Join(src.Path(), "objects", "*", "*"))
	if len(objects) < 7 {
		t.Fatalf("%v", objects)
	}
	for _, path := range objects {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
		for what, bad := range map[string][]byte{
			"flipped": append(append([]byte{}, good[:len(good)/2]...), append([]byte{good[len(good)/2] ^ 4}, good[len(good)/2+1:]...)...),
			"cut":     good[:len(good)-1], "empty": {}, "longer": append(append([]byte{}, good...), 0), "gone": nil,
		} {
			os.Remove(path)
			if bad != nil {
				os.WriteFile(path, bad, 0o644)
			}
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, s.URL, nil)
			_, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick()})
			if what == "longer" && strings.HasSuffix(name, ".filez") && err == nil {
				continue // bytes behind the end of the deflate stream mean nothing
			}
			want := ostree.ErrCorrupt
			if what == "gone" {
				want = repo.ErrNotFound
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), name[:2]) || !strings.Contains(err.Error(), strings.TrimSuffix(name[3:], filepath.Ext(name))) {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %s: several lines: %v", name, what, err)
			}
			if refs, _ := r.Refs(""); len(refs) > 0 {
				t.Errorf("%s %s: refs %v", name, what, refs)
			}
		}
		os.Remove(path)
		os.WriteFile(path, good, 0o644)
	}
}

func TestResume(t *testing.T) {
	src := initRepo(t, repo.Archive)
	one := commit(t, src, change{ref: "main", files: sample()})
	var requests atomic.Int64
	inner := counting(serve.Handler(src), &requests)
	var limit atomic.Int64
	limit.Store(40)
	var broken atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Load() >= limit.Load() {
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(r.URL.Path, ".filez") && broken.Add(1)%5 == 0 { // and some lines break in the middle
			w.Header().Set("Content-Length", "1000000")
			w.Write([]byte("x"))
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))
	defer s.Close()
	r := initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	if _, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick()}); err == nil {
		t.Fatal("came through")
	}
	if refs, _ := r.Refs(""); len(refs) > 0 {
		t.Errorf("refs %v", refs)
	}
	first := requests.Swap(0)
	limit.Store(1 << 30)
	if _, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: quick()}); err != nil {
		t.Fatal(err)
	}
	check(t, r, "up:main", one, sample())
	objects, _ := filepath.Glob(filepath.Join(src.Path(), "objects", "*", "*"))
	if again := requests.Load(); int(first+again) > len(objects)+20 {
		t.Errorf("%d requests, then %d, for %d objects", first, again, len(objects))
	}
	ctx, cancel := context.WithCancel(context.Background())
	r = initRepo(t, repo.BareUser)
	addRemote(t, r, s.URL, nil)
	_, err := pull.Pull(ctx, r, "up", []string{"main"}, pull.Options{Client: quick(), Progress: func(e pull.Event) {
		if e.Objects == 30 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	secret, public, err := sign.GenerateKey(sign.NewKey{Name: "Moss", Email: "moss@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := sign.GenerateKey(sign.NewKey{Name: "Stranger"})
	seed := bytes.Repeat([]byte{7}, 32)
	edPublic, _ := sign.PublicEd25519(seed)
	edKey := base64.StdEncoding.EncodeToString(edPublic)
	src := initRepo(t, repo.Archive)
	files := map[string]string{"a": "b"}
	commit(t, src, change{ref: "plain", files: files})
	commit(t, src, change{ref: "gpg", files: files, time: 1, detached: func(data []byte) gvariant.Dict {
		sig, err := sign.SignDetached(secret, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return ostree.AddSignature(nil, ostree.KeyGPGSigs, sig)
	}})
	commit(t, src, change{ref: "forged", files: files, time: 2, detached: func(data []byte) gvariant.Dict {
		sig, _ := sign.SignDetached(secret, strings.NewReader("something else"))
		return ostree.AddSignature(nil, ostree.KeyGPGSigs, sig)
	}})
	commit(t, src, change{ref: "ed", files: files, time: 3, detached: func(data []byte) gvariant.Dict {
		sig, _ := sign.SignEd25519(seed, data)
		return ostree.AddSignature(nil, ostree.KeySignEd25519, sig)
	}})
	var requests atomic.Int64
	s := httptest.NewServer(counting(serve.Handler(src), &requests))
	defer s.Close()
	gpgOn, edOn := map[string]string{}, map[string]string{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": edKey}
	edOther := map[string]string{"gpg-verify": "false", "sign-verify": "ed25519", "verification-ed25519-key": base64.StdEncoding.EncodeToString(make([]byte, 32))}
	edNone := map[string]string{"gpg-verify": "false", "sign-verify": "ed25519"}
	for _, tt := range []struct {
		ref     string
		options map[string]string
		key     []byte
		err     string
	}{
		{"gpg", gpgOn, public, ""},
		{"gpg", gpgOn, sign.Armor(sign.ArmorPublicKey, public), ""},
		{"gpg", gpgOn, stranger, "key"},
		{"gpg", gpgOn, nil, "the remote has no GPG key"},
		{"plain", gpgOn, public, "no GPG signature"},
		{"forged", gpgOn, public, "key"},
		{"ed", edOn, nil, ""},
		{"ed", edOther, nil, "no ed25519 signature is by a known key"},
		{"ed", edNone, nil, "no ed25519 key"},
		{"gpg", edOn, nil, "no ed25519 signature"},
		{"ed", gpgOn, public, "no GPG signature"},
	} {
		for _, url := range []string{s.URL, src.Path()} {
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, url, tt.options)
			if tt.key != nil {
				os.WriteFile(r.Config().KeyringPath("up"), tt.key, 0o644)
			}
			requests.Store(0)
			res, err := pull.Pull(context.Background(), r, "up", []string{tt.ref}, pull.Options{Client: quick(), KeyDir: t.TempDir()})
			if tt.err == "" {
				if err != nil || len(res.VerifiedBy) != 1 {
					t.Errorf("%s: %v %v", tt.ref, err, res.VerifiedBy)
				}
				continue
			}
			if !errors.Is(err, sign.ErrUntrusted) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %v: got %v, want %q", tt.ref, tt.options, err, tt.err)
			}
			if refs, _ := r.Refs(""); len(refs) > 0 || requests.Load() > 1 {
				t.Errorf("%s: refs %v, %d requests for objects", tt.ref, refs, requests.Load())
			}
		}
	}
}
