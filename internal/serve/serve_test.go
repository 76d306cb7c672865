// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/serve"
)

// archive makes a repository with one commit.
func archive(t *testing.T) (*repo.Repo, ostree.Checksum) {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.Archive)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	meta, err := tx.PutDirMeta(ostree.DefaultDirMeta())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := tx.PutDirTree(ostree.DirTree{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := tx.PutCommit(ostree.Commit{Subject: "one", Tree: tree, Meta: meta})
	if err != nil {
		t.Fatal(err)
	}
	tx.SetDetached(c, gvariant.Dict{}.With("k", gvariant.String("v")))
	if err := tx.SetRef("a/b", c); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestHandler(t *testing.T) {
	r, c := archive(t)
	r.Config().Set(`remote "secret"`, "url", "http://user:password@x/")
	if err := r.Config().Save(); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(r.Path(), "secret.trustedkeys.gpg"), []byte("k"), 0o644)
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, []byte("outside"), 0o644)
	os.Symlink(outside, filepath.Join(r.Path(), "refs", "heads", "link"))
	os.Symlink("a/b", filepath.Join(r.Path(), "refs", "heads", "alias"))
	s := httptest.NewServer(serve.Handler(r))
	defer s.Close()
	object := "/objects/" + ostree.ObjectPath(c, ostree.TypeCommit, true)
	for _, tt := range []struct {
		method, path, header string
		code                 int
		body, cache          string
	}{
		{"GET", "/config", "", 200, "[core]\nrepo_version=1\nmode=archive-z2\n", "no-cache"},
		{"GET", "/refs/heads/a/b", "", 200, c.String() + "\n", "no-cache"},
		{"GET", "/refs/heads/alias", "", 200, c.String() + "\n", "no-cache"},
		{"HEAD", "/refs/heads/a/b", "", 200, "", "no-cache"},
		{"GET", object, "", 200, "*", "immutable"},
		{"GET", object, "Range: bytes=0-3", 206, "*", "immutable"},
		{"GET", object, `If-None-Match: "` + c.String() + `.commit"`, 304, "", "immutable"},
		{"GET", object + "meta", "", 200, "*", "no-cache"},
		{"POST", object, "", 405, "*", ""},
		{"GET", "/refs/heads/link", "", 404, "*", ""},
		{"GET", "/refs/heads/a", "", 404, "*", ""},
		{"GET", "/refs/", "", 404, "*", ""},
		{"GET", "/", "", 404, "*", ""},
		{"GET", "/summary", "", 404, "*", ""},
		{"GET", "/secret.trustedkeys.gpg", "", 404, "*", ""},
		{"GET", "/state/x", "", 404, "*", ""},
		{"GET", "/objects/../config", "", 404, "*", ""},
		{"GET", "/objects/%2e%2e/config", "", 404, "*", ""},
		{"GET", "/refs/heads/../../secret.trustedkeys.gpg", "", 404, "*", ""},
		{"GET", "/objects/00/none.commit", "", 404, "*", ""},
		{"GET", "/.lock", "", 404, "*", ""},
	} {
		req, _ := http.NewRequest(tt.method, s.URL+tt.path, nil)
		if k, v, ok := strings.Cut(tt.header, ": "); ok {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.code || tt.body != "*" && string(body) != tt.body || !strings.Contains(resp.Header.Get("Cache-Control"), tt.cache) {
			t.Errorf("%s %s: %d %q %q", tt.method, tt.path, resp.StatusCode, body, resp.Header.Get("Cache-Control"))
		}
		if tt.code == 206 && len(body) != 4 {
			t.Errorf("range: %d bytes", len(body))
		}
	}
}

// TestSizes: what is sent from memory and what is not arrive alike.
func TestSizes(t *testing.T) {
	r, _ := archive(t)
	s := httptest.NewServer(serve.Handler(r))
	defer s.Close()
	content := bytes.Repeat([]byte("0123456789abcde\n"), 10_000)
	for _, size := range []int{0, 1, 5000, 64 << 10, 64<<10 + 1, len(content)} {
		path := filepath.Join(r.Path(), "refs/heads/file")
		if err := os.WriteFile(path, content[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0))
		resp, err := http.Get(s.URL + "/refs/heads/file")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(body, content[:size]) || resp.ContentLength != int64(size) {
			t.Errorf("%d bytes: got %d, announced %d, %v", size, len(body), resp.ContentLength, err)
		}
		head := resp.Header
		if got := head.Get("Last-Modified") + " " + head.Get("Accept-Ranges"); got != "Sun, 09 Sep 2001 01:46:40 GMT bytes" {
			t.Errorf("%d bytes: %s", size, got)
		}
	}
}

func TestRun(t *testing.T) {
	r, c := archive(t)
	ctx, cancel := context.WithCancel(context.Background())
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- serve.Run(ctx, "127.0.0.1:0", r, func(a string) { addr <- a }) }()
	resp, err := http.Get("http://" + <-addr + "/refs/heads/a/b")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != c.String()+"\n" {
		t.Errorf("%q", body)
	}
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	bare, err := repo.Init(filepath.Join(t.TempDir(), "bare"), repo.BareUser)
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Run(context.Background(), "127.0.0.1:0", bare, nil); err == nil || !strings.Contains(err.Error(), "wanted archive") {
		t.Errorf("bare: %v", err)
	}
	if err := serve.Run(context.Background(), "256.0.0.1:x", r, nil); err == nil {
		t.Error(fmt.Errorf("bad address was taken"))
	}
}

// A repository that was put in the place of the one before is what is served from then on.
func TestReplaced(t *testing.T) {
	r, _ := archive(t)
	s := httptest.NewServer(serve.Handler(r))
	defer s.Close()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, _ := get("/refs/heads/a/b"); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	if err := os.Rename(r.Path(), r.Path()+".old"); err != nil {
		t.Fatal(err)
	}
	if code, _ := get("/refs/heads/a/b"); code != http.StatusNotFound {
		t.Errorf("without a repository: status %d", code)
	}
	if err := os.MkdirAll(filepath.Join(r.Path(), "refs/heads/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Path(), "refs/heads/a/b"), []byte("new\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, body := get("/refs/heads/a/b"); code != http.StatusOK || body != "new\n" {
		t.Errorf("status %d, %q", code, body)
	}
}
