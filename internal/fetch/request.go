// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// rangeFrom asks for a body from an offset on; the validator is an entity tag or a date for If-Range. Or, at offset 0, for
// a body that is not the one with that tag or that time.
type rangeFrom struct {
	offset    int64
	validator string
	etag      string
	sinceSec  int64
}

// stream is an open body.
type stream struct {
	io.ReadCloser
	size      int64  // of what is still to come; -1 unknown
	offset    int64  // where the body begins: 0 where the server did not honour the range
	validator string // strong entity tag, else Last-Modified, else ""

	etag        string
	modifiedSec int64
	same        bool // there is no body: what the caller has is up to date
}

// open asks once.
func (c *Client) open(ctx context.Context, rawURL string, from rangeFrom) (*stream, error) {
	if c.err != nil {
		return nil, permanent(c.err)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, permanent(fmt.Errorf("parse URL %q: %w", redact(rawURL), errors.Unwrap(err)))
	}
	switch u.Scheme {
	case "file":
		return openFile(u, from)
	case "http", "https":
	default:
		return nil, permanent(fmt.Errorf("fetch %s: scheme %q is not http, https or file", u.Redacted(), u.Scheme))
	}
	if c.o.Offline {
		return nil, permanent(fmt.Errorf("%w: would fetch %s", ErrOffline, u.Redacted()))
	}
	s, err := c.request(ctx, u, from)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = permanent(fmt.Errorf("fetch %s: %w", u.Redacted(), cause))
		}
		return nil, err
	}
	return s, nil
}

// PathOf returns the path that a file URL names.
func PathOf(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "file" {
		return "", fmt.Errorf("parse URL %q: not a file URL", redact(rawURL))
	}
	return pathOf(u)
}

func pathOf(u *url.URL) (string, error) {
	if u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("open %s: a file URL names no host (three slashes: file:///path)", u.Redacted())
	}
	if !strings.HasPrefix(u.Path, "/") {
		return "", fmt.Errorf("open %s: a file URL needs an absolute path", u.Redacted())
	}
	return u.Path, nil
}

func openFile(u *url.URL, from rangeFrom) (*stream, error) {
	path, err := pathOf(u)
	if err != nil {
		return nil, permanent(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo has nobody wait
	if errors.Is(err, fs.ErrNotExist) {
		return nil, permanent(fmt.Errorf("open %s: %w", path, ErrNotFound))
	}
	if err != nil {
		return nil, permanent(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, permanent(err)
	}
	s := &stream{ReadCloser: f, size: info.Size(), validator: info.ModTime().UTC().Format(http.TimeFormat)}
	if from.offset > 0 && from.offset <= s.size && (from.validator == "" || from.validator == s.validator) {
		if _, err := f.Seek(from.offset, io.SeekStart); err != nil {
			f.Close()
			return nil, permanent(err)
		}
		s.offset, s.size = from.offset, s.size-from.offset
	}
	return s, nil
}

func (c *Client) request(ctx context.Context, u *url.URL, from rangeFrom) (*stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, permanent(fmt.Errorf("fetch %s: %w", u.Redacted(), err))
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	for _, h := range c.o.Headers {
		req.Header.Set(h[0], h[1])
		if http.CanonicalHeaderKey(h[0]) == "Host" {
			req.Host = h[1]
		}
	}
	if from.etag != "" {
		req.Header.Set("If-None-Match", from.etag)
	} else if from.sinceSec > 0 {
		req.Header.Set("If-Modified-Since", httpTime(from.sinceSec))
	}
	if c.o.Username != "" && u.User == nil && c.authFor(u) {
		req.SetBasicAuth(c.o.Username, c.o.Password)
	}
	if from.offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from.offset, 10)+"-")
		if from.validator != "" {
			req.Header.Set("If-Range", from.validator)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cancel(nil)
		return nil, requestError(u, err)
	}
	if resp.StatusCode == http.StatusNotModified && (from.etag != "" || from.sinceSec > 0) {
		resp.Body.Close()
		cancel(nil)
		return &stream{ReadCloser: http.NoBody, same: true, etag: from.etag, modifiedSec: from.sinceSec}, nil
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		err := c.statusError(u, resp)
		io.CopyN(io.Discard, resp.Body, maxErrorBody)
		resp.Body.Close()
		cancel(nil)
		return nil, err
	}
	if resp.Close {
		c.closing.Store(u.Host, true)
	}
	s := &stream{size: resp.ContentLength, validator: validator(resp.Header), etag: resp.Header.Get("Etag"), modifiedSec: modifiedSec(resp.Header)}
	if resp.StatusCode == http.StatusPartialContent {
		start, ok := contentRangeStart(resp.Header.Get("Content-Range"))
		if !ok || start != from.offset || from.offset == 0 {
			resp.Body.Close()
			cancel(nil)
			return nil, permanent(fmt.Errorf("fetch %s: server sent range %q, wanted bytes from %d", u.Redacted(), resp.Header.Get("Content-Range"), from.offset))
		}
		s.offset = start
	}
	s.ReadCloser = watch(resp.Body, cancel, c.o, u)
	return s, nil
}

func (c *Client) authFor(u *url.URL) bool {
	return len(c.o.AuthHosts) == 0 || slices.Contains(c.o.AuthHosts, u.Host) || slices.Contains(c.o.AuthHosts, u.Scheme+"://"+u.Host)
}

func validator(h http.Header) string {
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRangeStart reads "bytes 5-9/10".
func contentRangeStart(s string) (int64, bool) {
	s, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, false
	}
	first, _, ok := strings.Cut(s, "-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(first, 10, 64)
	return n, err == nil && n >= 0
}

// watched is a body that ends in an error when it stalls.
type watched struct {
	body   io.ReadCloser
	count  atomic.Int64
	cancel context.CancelCauseFunc
	timer  *time.Timer
	url    *url.URL
	stall  atomic.Bool
	window time.Duration
	least  int64
}

// watch cancels the request when fewer bytes come in a window than the options demand.
func watch(body io.ReadCloser, cancel context.CancelCauseFunc, o Options, url *url.URL) io.ReadCloser {
	w := &watched{body: body, cancel: cancel, url: url, window: o.StallTimeout, least: o.StallBytes}
	var last int64
	ready := make(chan struct{})
	w.timer = time.AfterFunc(w.window, func() {
		<-ready
		now := w.count.Load()
		if now-last < w.least {
			w.stall.Store(true)
			cancel(nil)
			return
		}
		last = now
		w.timer.Reset(w.window)
	})
	close(ready)
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	w.count.Add(int64(n))
	if err != nil && err != io.EOF {
		if w.stall.Load() {
			err = fmt.Errorf("stalled: fewer than %d bytes in %v", w.least, w.window)
		}
		err = fmt.Errorf("fetch %s: %w", w.url.Redacted(), err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.body.Close()
	w.cancel(nil)
	return err
}
