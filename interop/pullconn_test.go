// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// connection is one way to reach an upstream.
type connection struct {
	what string
	// set up gives the URL and further words of remote add, words of pull, and what must be so afterwards.
	set  func(t *testing.T, u upstream) (url string, remote, pull []string, after func(t *testing.T))
	bad  bool // the pull must fail
	ours bool // ostree of some builds does otherwise
}

var quietLog = log.New(io.Discard, "", 0)

func nothing(*testing.T) {}

func connections() []connection {
	return []connection{
		{what: "file", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "file://" + u.dir, nil, nil, nothing
		}},
		{what: "file-untrusted", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "file://" + u.dir, nil, []string{"--untrusted"}, nothing
		}},
		{what: "url", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "http://127.0.0.1:1/nothing", nil, []string{"--url=" + serveStatic(t, u.dir).url}, nothing
		}},
		{what: "http-header", set: withHeader},
		{what: "contenturl", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			meta, content := serveStatic(t, u.dir), serveStatic(t, u.dir)
			return meta.url, []string{"--contenturl=" + content.url}, nil, func(t *testing.T) {
				if meta.file.Load() > 0 || content.file.Load() == 0 {
					t.Errorf("%d files from url, %d from contenturl", meta.file.Load(), content.file.Load())
				}
			}
		}},
		{what: "mirrorlist", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "mirrorlist=" + serveText(t, "# mirrors\n"+serveStatic(t, u.dir).url+"\n"), nil, nil, nothing
		}},
		{what: "mirrorlist-contenturl", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			content := serveStatic(t, u.dir)
			list := serveText(t, serveStatic(t, t.TempDir()).url+"\n"+content.url+"\n") // the first mirror is empty
			return serveStatic(t, u.dir).url, []string{"--contenturl=mirrorlist=" + list}, nil, func(t *testing.T) {
				if content.file.Load() == 0 {
					t.Error("nothing came from the mirror")
				}
			}
		}},
		{what: "metalink", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "metalink=" + serveMetalink(t, u, ""), nil, nil, nothing
		}},
		{what: "metalink-wrong-digest", bad: true, set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return "metalink=" + serveMetalink(t, u, strings.Repeat("0", 64)), nil, nil, nothing
		}},
		{what: "proxy", set: withProxy},
		{what: "tls-ca-path", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			s, ca := serveTLS(t, u.dir, nil)
			return s, []string{"--set=tls-ca-path=" + ca}, nil, nothing
		}},
		{what: "tls-unknown-ca", bad: true, set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			s, _ := serveTLS(t, u.dir, nil)
			return s, nil, nil, nothing
		}},
		{what: "tls-permissive", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			s, _ := serveTLS(t, u.dir, nil)
			return s, []string{"--set=tls-permissive=true"}, nil, nothing
		}},
		{what: "tls-client-cert", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			cert, key, pool := clientCert(t)
			s, ca := serveTLS(t, u.dir, pool)
			return s, []string{"--set=tls-ca-path=" + ca, "--set=tls-client-cert-path=" + cert, "--set=tls-client-key-path=" + key}, nil, nothing
		}},
		{what: "tls-client-cert-missing", bad: true, set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			_, _, pool := clientCert(t)
			s, ca := serveTLS(t, u.dir, pool)
			return s, []string{"--set=tls-ca-path=" + ca}, nil, nothing
		}},
		{what: "http2", set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return withProtocol(t, u, 2)
		}},
		{what: "http2-false", ours: true, set: func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
			return withProtocol(t, u, 1, "--set=http2=false")
		}},
		{what: "forbidden-is-missing", set: withServer(func(w http.ResponseWriter, r *http.Request, file string) bool {
			if _, err := os.Stat(file); err == nil {
				return false
			}
			http.Error(w, "AccessDenied", http.StatusForbidden) // an object store says so to those who may not list
			return true
		})},
		{what: "redirect", set: withServer(func(w http.ResponseWriter, r *http.Request, _ string) bool {
			if rest, ok := strings.CutPrefix(r.URL.Path, "/elsewhere/"); ok {
				r.URL.Path = "/" + rest
				return false
			}
			http.Redirect(w, r, "/elsewhere"+r.URL.Path, http.StatusFound)
			return true
		})},
		{what: "no-content-length", set: withServer(func(w http.ResponseWriter, _ *http.Request, file string) bool {
			data, err := os.ReadFile(file)
			if err != nil {
				return false
			}
			for len(data) > 0 {
				n := min(len(data), 1000)
				w.Write(data[:n])
				w.(http.Flusher).Flush() // chunks
				data = data[n:]
			}
			return true
		})},
		{what: "server-error-once", set: withErrorOnce},
	}
}

// withServer serves the upstream; instead answers first, where it wants to, and tells whether it did.
func withServer(instead func(w http.ResponseWriter, r *http.Request, file string) bool) func(*testing.T, upstream) (string, []string, []string, func(*testing.T)) {
	return func(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
		files := http.FileServer(http.Dir(u.dir))
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !instead(w, r, filepath.Join(u.dir, filepath.FromSlash(r.URL.Path))) {
				files.ServeHTTP(w, r)
			}
		}))
		t.Cleanup(s.Close)
		return s.URL, nil, nil, nothing
	}
}

// withErrorOnce answers the first request for each object that way.
func withErrorOnce(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
	var seen sync.Map
	return withServer(func(w http.ResponseWriter, r *http.Request, _ string) bool {
		_, again := seen.LoadOrStore(r.URL.Path, true)
		if again || !strings.HasPrefix(r.URL.Path, "/objects/") {
			return false
		}
		http.Error(w, "busy", http.StatusInternalServerError)
		return true
	})(t, u)
}

func withHeader(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
	files := http.FileServer(http.Dir(u.dir))
	var refused atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "let me in" {
			refused.Add(1)
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, nil, []string{"--http-header=X-Token=let me in"}, func(t *testing.T) {
		if n := refused.Load(); n > 0 {
			t.Errorf("%d requests had no token", n)
		}
	}
}

// withProxy serves the upstream by a name that only the proxy knows.
func withProxy(t *testing.T, u upstream) (string, []string, []string, func(*testing.T)) {
	files := http.FileServer(http.Dir(u.dir))
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "upstream.invalid" {
			asked.Add(1)
			files.ServeHTTP(w, r)
			return
		}
		http.Error(w, "not through the proxy", http.StatusBadGateway)
	}))
	t.Cleanup(s.Close)
	return "http://upstream.invalid", []string{"--set=proxy=" + s.URL}, nil, func(t *testing.T) {
		if asked.Load() == 0 {
			t.Error("the proxy was not asked")
		}
	}
}

func withProtocol(t *testing.T, u upstream, major int, remote ...string) (string, []string, []string, func(*testing.T)) {
	files := http.FileServer(http.Dir(u.dir))
	var other atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != major {
			other.Add(1)
		}
		files.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, append(remote, "--set=tls-ca-path="+caFile(t, s)), nil, func(t *testing.T) {
		if n := other.Load(); n > 0 {
			t.Errorf("%d requests were not HTTP/%d", n, major)
		}
	}
}

func serveText(t *testing.T, text string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }))
	t.Cleanup(s.Close)
	return s.URL + "/list"
}

func serveMetalink(t *testing.T, u upstream, digest string) string {
	t.Helper()
	data := read(t, filepath.Join(u.dir, "summary"))
	if digest == "" {
		digest = fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
	}
	return serveText(t, fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="summary"><size>%d</size>
<verification><hash type="md5">x</hash><hash type="sha256">%s</hash></verification>
<resources maxconnections="1"><url protocol="http" type="http" location="US" preference="100">%s/summary</url></resources></file></files></metalink>`,
		len(data), digest, serveStatic(t, u.dir).url))
}

// serveTLS serves a folder over https; with clients a client certificate of them is asked for. It gives the URL and a file with
// the certificate of the server's authority.
func serveTLS(t *testing.T, dir string, clients *x509.CertPool) (url, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.FileServer(http.Dir(dir)))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quietLog
	if clients != nil {
		s.TLS = &tls.Config{ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, caFile(t, s)
}

func caFile(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return ca
}

func clientCert(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "guest"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

// Every way to an upstream that a remote's settings know, by both programs.
func TestPullConnections(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	for _, k := range connections() {
		for _, d := range []struct {
			c    client
			u    client
			name string
		}{{grove, ostree, weRead}, {ostree, grove, theyRead}} {
			if k.ours && d.c.name != "grove" {
				continue
			}
			peerCase(t, "pull/"+k.what+"/"+d.name, func(t *testing.T) {
				u := pullFrom(t, d.u)
				url, remote, pull, after := k.set(t, u)
				repo := d.c.clone(t, "bare-user", url, remote...)
				out, errs, code := d.c.try(t, repo, append([]string{"pull", "up", "main"}, pull...)...)
				if (code != 0) != k.bad {
					t.Fatalf("exit code %d\n%s%s", code, out, errs)
				}
				if !k.bad {
					after(t)
					if got := strings.TrimSpace(d.c.run(t, repo, "rev-parse", "up:main")); got != u.head() {
						t.Errorf("pulled %s, want %s", got, u.head())
					}
				}
				sound(t, repo)
			})
		}
	}
}

// What is summary in the cache of one program serves the other: it asks only whether there is news.
func TestSummaryCacheShared(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	grove, ostree := clients()
	key := newKeyring(t, "cache")
	for _, d := range []struct {
		first, then client
		name        string
	}{{grove, ostree, theyRead}, {ostree, grove, weRead}} {
		peerCase(t, "summary/cache/"+d.name, func(t *testing.T) {
			u := pullFrom(t, d.first)
			dir := filepath.Join(t.TempDir(), "srv")
			tool(t, "cp", "-a", u.dir, dir)
			tool(t, "ostree", "--repo="+dir, "summary", "-u", "--gpg-sign="+key.id, "--gpg-homedir="+key.home)
			var asked, told atomic.Int64
			files := http.FileServer(http.Dir(dir))
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/summary") {
					asked.Add(1)
					if r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since") != "" {
						told.Add(1)
					}
				}
				files.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			repo := d.first.clone(t, "bare-user", s.URL, "--no-gpg-verify", "--set=gpg-verify-summary=true", "--gpg-import="+key.public)
			d.first.run(t, repo, "pull", "up", "other")
			asked.Store(0)
			d.then.run(t, repo, "pull", "up", "main")
			if asked.Load() != 1 || told.Load() == 0 {
				t.Errorf("%d requests for the summary, %d of them conditional: the cache was not used", asked.Load(), told.Load())
			}
			sound(t, repo)
		})
	}
}
