// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/fetch"
	"grove/internal/rpmmd"
)

// TestBadMirrors: a mirror that fails, lies or hangs is left for the next, for repomd.xml and for what it names.
func TestBadMirrors(t *testing.T) {
	good := repoDir(t, nil)
	older := t.TempDir() // in the middle of an update: a repomd.xml whose files are gone
	writeRepo(t, older, strings.Replace(samplePrimary, "moss", "peat", 1), nil)
	os.Remove(filepath.Join(older, "repodata", "p.xml.gz"))
	files := func(dir string) http.Handler { return http.FileServer(http.Dir(dir)) }
	stop := make(chan struct{})
	handlers := map[string]http.Handler{
		"good":    files(good),
		"missing": http.NotFoundHandler(),
		"failing": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "busy", 503) }),
		"updated": files(older),
		"page": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<!DOCTYPE html><html><body>Please log in<br></body></html>"))
		}),
		"html-primary": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".gz") {
				w.Write(bytes.Repeat([]byte("<html>"), 1000))
				return
			}
			files(good).ServeHTTP(w, r)
		}),
		"truncating": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, err := os.ReadFile(filepath.Join(good, r.URL.Path))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Length", "100000")
			w.Write(data[:len(data)/2])
		}),
		"damaging": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, err := os.ReadFile(filepath.Join(good, r.URL.Path))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			if data = bytes.Clone(data); strings.HasSuffix(r.URL.Path, ".gz") {
				data[len(data)/2] ^= 1
			}
			w.Write(data)
		}),
		"hanging": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}),
		"silent": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}),
	}
	mux := http.NewServeMux()
	for name, h := range handlers {
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, h))
	}
	s := httptest.NewServer(mux)
	defer s.Close()
	defer close(stop)
	client := fetch.New(fetch.Options{RetryDelay: time.Millisecond, Proxy: "none", Tries: 1, HeaderTimeout: 100 * time.Millisecond, StallTimeout: 100 * time.Millisecond})
	for name := range handlers {
		src := rpmmd.Source{ID: "x", BaseURLs: []string{s.URL + "/" + name, s.URL + "/good"}}
		m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: client, CacheDir: t.TempDir()})
		if err != nil || len(m.Packages) != 2 || m.Packages[0].Name != "moss" {
			t.Errorf("%s before good: %v", name, err)
		}
		src.BaseURLs = src.BaseURLs[:1]
		_, err = rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: client, CacheDir: t.TempDir()})
		wrong := map[string]error{"page": rpmmd.ErrMalformed, "damaging": fetch.ErrDigest}[name]
		switch {
		case name == "good":
		case err == nil:
			t.Errorf("%s alone was taken", name)
		case rpmmd.Unavailable(err) != (wrong == nil) || wrong != nil && !errors.Is(err, wrong):
			t.Errorf("%s alone: %v", name, err)
		}
	}
}

// TestStaleRepomd: a repomd.xml of the cache whose files have gone since is asked for again.
func TestStaleRepomd(t *testing.T) {
	dir, cache := repoDir(t, nil), t.TempDir()
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer s.Close()
	src := rpmmd.Source{ID: "wood", BaseURLs: []string{s.URL}, MetadataExpire: time.Hour}
	load := func() (*rpmmd.Metadata, error) {
		return rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: quick(), CacheDir: cache})
	}
	if _, err := load(); err != nil {
		t.Fatal(err)
	}
	parsed, _ := filepath.Glob(filepath.Join(cache, "*", "parsed-*"))
	os.Remove(parsed[0])
	os.RemoveAll(filepath.Join(dir, "repodata"))
	writeRepo(t, dir, strings.Replace(samplePrimary, "moss", "peat", 1), func(s string) string { return strings.Replace(s, "p.xml.gz", "q.xml.gz", 1) })
	os.Rename(filepath.Join(dir, "repodata", "p.xml.gz"), filepath.Join(dir, "repodata", "q.xml.gz"))
	m, err := load()
	if err != nil || m.Packages[0].Name != "peat" {
		t.Errorf("%v %v", m, err)
	}
}

// TestProxyAndPassword: the source's own proxy, with a name and password of its own, and the source's name and password.
func TestProxyAndPassword(t *testing.T) {
	dir := repoDir(t, nil)
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Host+" "+r.Header.Get("Proxy-Authorization")+" "+r.Header.Get("Authorization")+" "+r.UserAgent())
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	defer proxy.Close()
	src, _, err := rpmmd.ParseRepoFile([]byte("[x]\nbaseurl=http://source.example/\nproxy="+proxy.URL+"\nproxy_username=p\nproxy_password=q\nusername=u\npassword=v\nuser_agent=wood\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpmmd.Load(context.Background(), src[0], rpmmd.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	want := "source.example " + basic("p:q") + " " + basic("u:v") + " wood"
	if len(seen) != 3 || seen[0] != want {
		t.Errorf("got %q, want %q", seen, want)
	}
	src[0].Proxy = (&url.URL{Scheme: "http", Host: strings.TrimPrefix(proxy.URL, "http://"), User: url.UserPassword("a", "b")}).String()
	seen = nil
	if _, err := rpmmd.Load(context.Background(), src[0], rpmmd.LoadOptions{}); err != nil || !strings.Contains(seen[0], basic("a:b")) {
		t.Errorf("%v: %q", err, seen)
	}
}

// TestExcludes: every form of a package spec.
func TestExcludes(t *testing.T) {
	dir := repoDir(t, nil)
	for _, tt := range []struct {
		specs string
		kept  string
	}{
		{"moss", "fern"}, {"mos?", "fern"}, {"moss.x86_64", "fern"}, {"moss-1.2", "fern"}, {"moss-1.2-3", "fern"}, {"moss-0:1.2-3", "fern"},
		{"moss-1.2-3.x86_64", "fern"}, {"moss-0:1.2-3.x86_64", "fern"}, {"0:moss-1.2-3.x86_64", "fern"}, {"moss-1.2.x86_64", "fern"},
		{"*.noarch", "moss"}, {"fern-2:5*", "moss"}, {"fern-5-1", "moss"}, {"moss-2", "moss fern"}, {"mos", "moss fern"}, {"moss.noarch", "moss fern"},
		{"fern-1:5-1", "moss fern"}, {"*", ""}, {"mo* fe*", ""},
	} {
		for _, key := range []string{"excludepkgs", "includepkgs"} {
			src, _, err := rpmmd.ParseRepoFile([]byte("[x]\nbaseurl="+dir+"\n"+key+"="+tt.specs+"\n"), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := rpmmd.Load(context.Background(), src[0], rpmmd.LoadOptions{Client: quick()})
			if err != nil {
				t.Fatal(err)
			}
			var kept, other []string
			for _, n := range []string{"moss", "fern"} {
				if strings.Contains(" "+tt.kept+" ", " "+n+" ") {
					kept = append(kept, n)
				} else {
					other = append(other, n)
				}
			}
			if key == "includepkgs" {
				kept = other
			}
			var got []string
			for _, p := range m.Packages {
				got = append(got, p.Name)
			}
			if strings.Join(got, " ") != strings.Join(kept, " ") {
				t.Errorf("%s=%s: got %q, want %q", key, tt.specs, got, kept)
			}
		}
	}
}

// TestNextMirrorFirst: a mirror that fails is asked again only when all others failed too.
func TestNextMirrorFirst(t *testing.T) {
	dir := repoDir(t, nil)
	asked, answers := 0, true
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Error(w, "busy", 500)
	}))
	defer bad.Close()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers {
			answers = true
			http.Error(w, "not yet", 500)
			return
		}
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	defer good.Close()
	for _, want := range []int{1, 2} {
		asked = 0
		_, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "wood", BaseURLs: []string{bad.URL, good.URL}}, rpmmd.LoadOptions{Client: quick()})
		if err != nil || asked != want {
			t.Errorf("asked %d times, wanted %d: %v", asked, want, err)
		}
		answers = false
	}
	_, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "wood", BaseURLs: []string{bad.URL, bad.URL + "/2"}}, rpmmd.LoadOptions{Client: quick()})
	if err == nil || !strings.Contains(err.Error(), "500 Internal Server Error (2 mirrors tried)") {
		t.Error(err)
	}
}
