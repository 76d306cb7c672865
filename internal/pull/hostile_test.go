// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"bytes"
	"compress/flate"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
)

// endless writes until the client goes.
func endless(w http.ResponseWriter) {
	block := bytes.Repeat([]byte("endless "), 8<<10)
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// bomb is a file object of a gigabyte of zeros in a megabyte, under the name of another.
func bomb() []byte {
	var b bytes.Buffer
	h := ostree.FileHeader{Mode: ostree.DefaultFileMode}
	b.Write(h.ArchivePrefix(1000)) // it claims less
	z, _ := flate.NewWriter(&b, 9)
	zeros := make([]byte, 1<<20)
	for range 64 {
		z.Write(zeros)
	}
	z.Close()
	return b.Bytes()
}

// A server that lies, never ends, or leads elsewhere costs bounded memory and time, and gives one clear error.
func TestHostileServer(t *testing.T) {
	src := initRepo(t, repo.Archive)
	commit(t, src, change{ref: "main", files: map[string]string{"a": "b"}})
	if err := src.WriteSummary(context.Background()); err != nil {
		t.Fatal(err)
	}
	good := serve.Handler(src)
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("secret"), 0o600)
	ends := func(suffix string, do func(w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, suffix) {
				do(w, r)
				return
			}
			good.ServeHTTP(w, r)
		}
	}
	never := func(w http.ResponseWriter, _ *http.Request) { endless(w) }
	slow := func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, "x"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	elsewhere := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "file://"+secret, http.StatusFound) }
	round := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		err  string
	}{
		{"endless summary", ends("/summary", never), "larger than allowed"},
		{"endless commit", ends(".commit", never), "larger than allowed"},
		{"endless signatures", ends(".commitmeta", never), "larger than allowed"},
		{"endless dirtree", ends(".dirtree", never), "larger than allowed"},
		{"endless file", ends(".filez", never), "at most"},
		{"deflate bomb", ends(".filez", func(w http.ResponseWriter, _ *http.Request) { w.Write(bomb()) }), "longer than its size says"},
		{"slow file", ends(".filez", slow), "stalled"},
		{"slow summary", ends("/summary", slow), "stalled"},
		{"redirect to a file", ends(".filez", elsewhere), "file"},
		{"summary redirected to a file", ends("/summary", elsewhere), "file"},
		{"redirects without end", ends(".dirtree", round), "redirects"},
		{"summary of nothing", ends("/summary", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }), "summary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.h)
			defer s.Close()
			r := initRepo(t, repo.BareUser)
			addRemote(t, r, s.URL, nil)
			client := fetch.New(fetch.Options{Tries: 2, RetryDelay: time.Millisecond, Proxy: "none", StallTimeout: 300 * time.Millisecond})
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{Client: client})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret\n") {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 150<<20 {
				t.Errorf("the heap grew by %d MB", grown>>20)
			}
			if refs, _ := r.Refs(""); len(refs) > 0 {
				t.Errorf("refs %v", refs)
			}
			if left, _ := filepath.Glob(filepath.Join(r.Path(), "tmp/grove-*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
