// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grove/internal/fetch"
)

func client(o fetch.Options) *fetch.Client {
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Millisecond
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 300 * time.Millisecond
	}
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = 300 * time.Millisecond
	}
	o.Proxy = "none"
	return fetch.New(o)
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func TestGet(t *testing.T) {
	var flaky atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, r *http.Request) {
		if flaky.Add(1) < 3 {
			http.Error(w, "busy", http.StatusBadGateway)
			return
		}
		io.WriteString(w, "at last")
	})
	mux.HandleFunc("/always500", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 500) })
	mux.HandleFunc("/later", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "0")
		http.Error(w, "", 503)
	})
	mux.HandleFunc("/forbidden", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 403) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5000")
		w.Write(make([]byte, 5000))
	})
	mux.HandleFunc("/bigstream", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 10; i++ {
			w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/stall", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", 302) })
	mux.HandleFunc("/gz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "raw bytes")
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f %1"), []byte("file"), 0o644)
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	dead, _ := net.Listen("tcp", "127.0.0.1:0")
	deadURL := "http://" + dead.Addr().String()
	dead.Close()

	c := client(fetch.Options{})
	for _, tt := range []struct{ url, want, err string }{
		{s.URL + "/ok", "hello", ""},
		{s.URL + "/flaky", "at last", ""},
		{s.URL + "/gz", "raw bytes", ""},
		{s.URL + "/always500", "", "server says 500"},
		{s.URL + "/later", "", "server says 503"},
		{s.URL + "/forbidden", "", "server says 403"},
		{s.URL + "/none", "", "not found (404"},
		{s.URL + "/big", "", "larger than allowed: 5000 bytes, at most 1000"},
		{s.URL + "/bigstream", "", "larger than allowed: more than 1000 bytes"},
		{s.URL + "/cut", "", "unexpected EOF"},
		{s.URL + "/hang", "", "timeout"},
		{s.URL + "/stall", "", "stalled"},
		{s.URL + "/loop", "", "more than 10 redirects"},
		{deadURL, "", "connection refused"},
		{"file://" + dir + "/f%20%251", "file", ""},
		{"file://" + dir + "/none", "", "not found"},
		{"file://" + dir, "", "not a regular file"},
		{"file://" + dir + "/fifo", "", "not a regular file"},
		{"file://host/x", "", "names no host"},
		{"ftp://x/y", "", `scheme "ftp"`},
		{"http://user:secret@" + strings.TrimPrefix(deadURL, "http://"), "", "user:xxxxx@"},
		{"http://[bad", "", "parse URL"},
	} {
		got, err := c.Get(context.Background(), tt.url, 1000)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %q, %v; want error %q", tt.url, got, err, tt.err)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.url, got, err, tt.want)
		}
	}
	if _, err := c.Get(context.Background(), s.URL+"/none", 10); !errors.Is(err, fetch.ErrNotFound) {
		t.Errorf("404: %v", err)
	}
	if c.ClosesConnections(s.URL) {
		t.Error("connections are kept")
	}
	closing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") }))
	defer closing.Close()
	if _, err := c.Get(context.Background(), closing.URL, 10); err != nil || !c.ClosesConnections(closing.URL+"/x") {
		t.Errorf("closing server: %v", err)
	}
	off := client(fetch.Options{Offline: true})
	_, err := off.Get(context.Background(), s.URL+"/ok", 10)
	if !errors.Is(err, fetch.ErrOffline) || err.Error() != "offline: would fetch "+s.URL+"/ok" {
		t.Errorf("offline: %v", err)
	}
	if _, err := off.Get(context.Background(), "file://"+dir+"/f%20%251", 10); err != nil {
		t.Errorf("offline file: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, s.URL+"/hang", 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancel: %v", err)
	}
}

func TestTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer plain.Close()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, 302)
			return
		}
		u, p, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s", u, p)
	}))
	s.Config.ErrorLog = nil
	defer s.Close()
	if _, err := client(fetch.Options{}).Get(context.Background(), s.URL, 10); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown certificate: %v", err)
	}
	c := client(fetch.Options{TLS: fetch.TLS{Insecure: true}, Username: "me", Password: "pw"})
	if got, err := c.Get(context.Background(), s.URL, 10); err != nil || string(got) != "me pw" {
		t.Errorf("insecure: %q %v", got, err)
	}
	if _, err := c.Get(context.Background(), s.URL+"/down", 10); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("redirect to http: %v", err)
	}
	host := strings.TrimPrefix(s.URL, "https://")
	for _, tt := range []struct{ host, want string }{{"elsewhere", " "}, {"http://" + host, " "}, {s.URL, "me pw"}, {host, "me pw"}} {
		c = client(fetch.Options{TLS: fetch.TLS{Insecure: true}, Username: "me", Password: "pw", AuthHosts: []string{tt.host}})
		if got, err := c.Get(context.Background(), s.URL, 10); err != nil || string(got) != tt.want {
			t.Errorf("password for %s: sent %q %v, want %q", tt.host, got, err, tt.want)
		}
	}
	if _, err := client(fetch.Options{TLS: fetch.TLS{CAFile: "/none"}}).Get(context.Background(), s.URL, 10); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("missing CA file: %v", err)
	}
}

// breaking serves data but cuts each answer after step bytes.
func breaking(data []byte, step int, ranges *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(&cutter{ResponseWriter: w, left: step}, r, "x", time.Time{}, bytes.NewReader(data))
	})
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left <= 0 {
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	c.left -= n
	if n < len(p) {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func (c *cutter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

func TestDownload(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	var ranges atomic.Int32
	cut := httptest.NewServer(breaking(data, 10000, &ranges))
	defer cut.Close()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(data) }))
	defer good.Close()
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, len(data))) }))
	defer wrong.Close()
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(data[:100]) }))
	defer short.Close()
	local := filepath.Join(t.TempDir(), "local")
	os.WriteFile(local, data, 0o600)

	size := int64(len(data))
	for _, tt := range []struct {
		name string
		d    fetch.Download
		err  string
		is   error
	}{
		{"plain", fetch.Download{URLs: []string{good.URL}, SizeBytes: size, Digest: digest(data)}, "", nil},
		{"without digest", fetch.Download{URLs: []string{good.URL}, MaxBytes: size}, "", nil},
		{"breaking off", fetch.Download{URLs: []string{cut.URL}, SizeBytes: size, Digest: digest(data)}, "", nil},
		{"breaking off without digest", fetch.Download{URLs: []string{cut.URL}, MaxBytes: size}, "", nil},
		{"mirrors", fetch.Download{URLs: []string{none.URL, wrong.URL, short.URL, "http://127.0.0.1:1/", good.URL}, SizeBytes: size, Digest: digest(data)}, "", nil},
		{"file", fetch.Download{URLs: []string{"file://" + local}, MaxBytes: size, Digest: digest(data)}, "", nil},
		{"all wrong", fetch.Download{URLs: []string{wrong.URL, none.URL}, SizeBytes: size, Digest: digest(data)}, "wrong digest", fetch.ErrDigest},
		{"all missing", fetch.Download{URLs: []string{none.URL, none.URL}, SizeBytes: size}, "2 mirrors tried", fetch.ErrNotFound},
		{"too large", fetch.Download{URLs: []string{good.URL}, MaxBytes: 100}, "larger than allowed", fetch.ErrTooLarge},
		{"wrong size", fetch.Download{URLs: []string{short.URL}, SizeBytes: size}, "server has 100 bytes, wanted 65536", nil},
		{"no limit", fetch.Download{URLs: []string{good.URL}}, "no size limit", nil},
		{"bad digest", fetch.Download{URLs: []string{good.URL}, Digest: "sha256:00"}, "not 64 hex digits", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.d.Dest = filepath.Join(dir, "sub", "f")
			var last int64
			tt.d.Progress = func(done, total int64) { last = done }
			err := client(fetch.Options{}).Download(context.Background(), tt.d)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || (tt.is != nil && !errors.Is(err, tt.is)) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				if _, err := os.Stat(tt.d.Dest); err == nil {
					t.Fatal("a file stands there after an error")
				}
			} else {
				got, e := os.ReadFile(tt.d.Dest)
				if err != nil || e != nil || !bytes.Equal(got, data) || last != size {
					t.Fatalf("got %d bytes, %v, %v; progress %d", len(got), err, e, last)
				}
			}
			parts, _ := filepath.Glob(filepath.Join(dir, "sub", ".*.part"))
			if len(parts) > 0 {
				t.Errorf("left %v", parts)
			}
		})
	}
	if ranges.Load() < 10 {
		t.Errorf("only %d range requests", ranges.Load())
	}
}

func TestDownloadResumesInNextProcess(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	var ranges atomic.Int32
	s := httptest.NewServer(breaking(data, 10000, &ranges))
	defer s.Close()
	dest := filepath.Join(t.TempDir(), "f")
	d := fetch.Download{URLs: []string{s.URL}, Dest: dest, SizeBytes: int64(len(data)), Digest: digest(data)}
	ctx, cancel := context.WithCancel(context.Background())
	d.Progress = func(done, total int64) {
		if done > 20000 {
			cancel()
		}
	}
	if err := client(fetch.Options{}).Download(ctx, d); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first := int64(-1)
	d.Progress = func(done, total int64) {
		if first < 0 {
			first = done
		}
	}
	if err := client(fetch.Options{}).Download(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	if first < 20000 {
		t.Errorf("began again at %d", first)
	}
	// a part that is wrong is thrown away, and a good destination is not asked for again
	parts := filepath.Join(filepath.Dir(dest), ".f."+strings.TrimPrefix(digest(data), "sha256:")[:16]+".0.part")
	os.Remove(dest)
	os.WriteFile(parts, []byte("rubbish"), 0o644)
	if err := client(fetch.Options{}).Download(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := client(fetch.Options{}).Download(context.Background(), d); err != nil {
		t.Errorf("good destination: %v", err)
	}
}
