// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"grove/internal/fetch"
)

func TestGetIfNew(t *testing.T) {
	var full atomic.Int64
	modified := time.Unix(1_700_000_000, 0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tagged" {
			w.Header().Set("Etag", `"v1"`)
		}
		full.Add(1)
		http.ServeContent(w, r, "", modified, strings.NewReader("content"))
	}))
	defer s.Close()
	c := fetch.New(fetch.Options{Proxy: "none"})
	ctx := context.Background()
	for _, path := range []string{"/tagged", "/dated"} {
		p, err := c.GetIfNew(ctx, s.URL+path, fetch.Page{}, 100)
		if err != nil || string(p.Data) != "content" || p.Same || p.ModifiedSec != modified.Unix() || (p.ETag != "") != (path == "/tagged") {
			t.Fatalf("%s: %+v %v", path, p, err)
		}
		again, err := c.GetIfNew(ctx, s.URL+path, p, 100)
		if err != nil || !again.Same || again.Data != nil || again.ETag != p.ETag {
			t.Errorf("%s again: %+v %v", path, again, err)
		}
		p.ETag, p.ModifiedSec = `"v0"`, 1
		if news, err := c.GetIfNew(ctx, s.URL+path, p, 100); err != nil || string(news.Data) != "content" {
			t.Errorf("%s, an older one: %+v %v", path, news, err)
		}
		if _, err := c.GetIfNew(ctx, s.URL+path, fetch.Page{}, 3); !errors.Is(err, fetch.ErrTooLarge) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A body whose line breaks goes on where it broke; one that changed meanwhile, or whose server knows no ranges, does not.
func TestOpenSteady(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	for _, tt := range []struct {
		name   string
		tag    func(n int64) string
		ranges bool
		whole  bool
	}{
		{"goes on", func(int64) string { return `"same"` }, true, true},
		{"changed", func(n int64) string { return `"` + string(rune('a'+n)) + `"` }, true, false},
		{"no ranges", func(int64) string { return `"same"` }, false, false},
		{"no tag", func(int64) string { return "" }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				i := n.Add(1)
				if tag := tt.tag(i); tag != "" {
					w.Header().Set("Etag", tag)
				}
				if !tt.ranges {
					r.Header.Del("Range")
				}
				http.ServeContent(&cutShort{ResponseWriter: w, left: 70_000}, r, "", time.Time{}, bytes.NewReader(content))
			}))
			defer s.Close()
			c := fetch.New(fetch.Options{Proxy: "none", RetryDelay: time.Millisecond})
			body, size, err := c.OpenSteady(context.Background(), s.URL)
			if err != nil || size != int64(len(content)) {
				t.Fatal(size, err)
			}
			defer body.Close()
			got, err := io.ReadAll(body)
			if tt.whole && (err != nil || !bytes.Equal(got, content) || n.Load() < 3) {
				t.Errorf("%d bytes in %d requests, %v", len(got), n.Load(), err)
			}
			if !tt.whole && (err == nil || !bytes.HasPrefix(content, got)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// cutShort cuts the line after so many bytes.
type cutShort struct {
	http.ResponseWriter
	left int
}

func (b *cutShort) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.ResponseWriter.Write(p[:b.left])
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func TestHeadersAndCookies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Token")+"|"+r.Header.Get("Cookie"))
	}))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cookies.txt")
	os.WriteFile(file, []byte("# Netscape HTTP Cookie File\nother.example\tFALSE\t/\tFALSE\t0\tno\tno\n"+u.Hostname()+"\tFALSE\t/\tFALSE\t0\tsession\tmoss\n"+
		u.Hostname()+"\tFALSE\t/\tFALSE\t1\told\tgone\nbroken line\n"), 0o600)
	for name, want := range map[string]string{file: "a|session=moss", file + ".missing": "a|"} {
		c := fetch.New(fetch.Options{Proxy: "none", Headers: [][2]string{{"X-Token", "a"}}, CookieFile: name})
		if got, err := c.Get(context.Background(), s.URL, 100); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}
