// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxIdle        = 32               // connections to one host that wait for the next request
	idleTimeout    = 60 * time.Second // after which such a connection is not used again
	readBuffer     = 64 << 10
	maxHeader      = 256 << 10 // of an answer
	maxProvisional = 5         // answers of the kind 1xx before the real one
)

// plainTransport makes the GET requests of plain http without a proxy itself, on connections that it keeps; all else is next's.
// The library hands each request to two goroutines and back, which costs more than the request where objects are small.
type plainTransport struct {
	next    *http.Transport
	dialer  net.Dialer
	timeout time.Duration // of an answer's header

	mu   sync.Mutex
	idle map[string][]*plainConn
}

func newPlainTransport(next *http.Transport, o Options) *plainTransport {
	return &plainTransport{
		next: next, dialer: net.Dialer{Timeout: o.DialTimeout, KeepAlive: 30 * time.Second}, timeout: o.HeaderTimeout,
		idle: map[string][]*plainConn{},
	}
}

func (t *plainTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.takes(req) {
		return t.next.RoundTrip(req)
	}
	port := req.URL.Port()
	if port == "" {
		port = "80"
	}
	addr := net.JoinHostPort(req.URL.Hostname(), port)
	for {
		c, err := t.conn(req.Context(), addr)
		if err != nil {
			return nil, err
		}
		resp, err := c.ask(req)
		if err == nil {
			return resp, nil
		}
		c.Close()
		if !c.used || req.Context().Err() != nil {
			return nil, err
		}
		// the server closed it while it was idle, or sent what nobody asked for: a new one will tell
	}
}

func (t *plainTransport) takes(req *http.Request) bool {
	if req.URL.Scheme != "http" || req.URL.Host == "" || req.Method != http.MethodGet || req.Body != nil {
		return false
	}
	for _, b := range []byte(req.URL.Host) {
		if b >= 0x80 {
			return false
		}
	}
	if t.next.Proxy == nil {
		return true
	}
	proxy, err := t.next.Proxy(req)
	return proxy == nil && err == nil
}

// conn takes a connection that waits, the last first, or makes one.
func (t *plainTransport) conn(ctx context.Context, addr string) (*plainConn, error) {
	t.mu.Lock()
	list := t.idle[addr]
	if n := len(list); n > 0 && time.Since(list[n-1].since) < idleTimeout {
		c := list[n-1]
		t.idle[addr] = list[:n-1]
		t.mu.Unlock()
		c.used = true
		return c, nil
	}
	delete(t.idle, addr)
	t.mu.Unlock()
	closeAll(list)
	conn, err := t.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &plainConn{Conn: conn, t: t, addr: addr}
	c.in = bufio.NewReaderSize(c, readBuffer)
	c.out = bufio.NewWriter(conn)
	return c, nil
}

// keep takes a connection back that can be used again.
func (t *plainTransport) keep(c *plainConn) {
	c.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle[c.addr]) >= maxIdle {
		c.Close()
		return
	}
	t.idle[c.addr] = append(t.idle[c.addr], c)
}

// CloseIdleConnections is what http.Client asks of a transport.
func (t *plainTransport) CloseIdleConnections() {
	t.mu.Lock()
	idle := t.idle
	t.idle = map[string][]*plainConn{}
	t.mu.Unlock()
	for _, list := range idle {
		closeAll(list)
	}
	t.next.CloseIdleConnections()
}

func closeAll(list []*plainConn) {
	for _, c := range slices.Backward(list) {
		c.Close()
	}
}

// plainConn is a connection on which one request is made after the other.
type plainConn struct {
	net.Conn
	t     *plainTransport
	addr  string
	in    *bufio.Reader
	out   *bufio.Writer
	limit int64 // bytes that may still be read; less than 0 = no limit
	used  bool  // for a request before
	since time.Time
}

var errLongHeader = errors.New("the header of the answer is too long")

// Read is for in.
func (c *plainConn) Read(p []byte) (int, error) {
	if c.limit == 0 {
		return 0, errLongHeader
	}
	if c.limit > 0 && int64(len(p)) > c.limit {
		p = p[:c.limit]
	}
	n, err := c.Conn.Read(p)
	if c.limit > 0 {
		c.limit -= int64(n)
	}
	return n, err
}

// ask sends a request and reads the header of the answer. The answer's body gives the connection back.
func (c *plainConn) ask(req *http.Request) (*http.Response, error) {
	b := &plainBody{c: c}
	b.stop = context.AfterFunc(req.Context(), func() { c.Close() })
	resp, err := c.exchange(req)
	if err != nil {
		if !b.stop() && req.Context().Err() != nil {
			err = context.Cause(req.Context())
		}
		return nil, err
	}
	// after an answer without a body one that came nonetheless would be taken for the next answer
	b.reuse = !resp.Close && (resp.ContentLength != 0 || resp.StatusCode == http.StatusOK) && resp.StatusCode != http.StatusNotModified
	b.body, resp.Body = resp.Body, b
	if resp.ContentLength == 0 {
		b.finish(true)
	}
	return resp, nil
}

func (c *plainConn) exchange(req *http.Request) (*http.Response, error) {
	if err := c.SetDeadline(time.Now().Add(c.t.timeout)); err != nil {
		return nil, err
	}
	if err := req.Write(c.out); err != nil {
		return nil, err
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	c.limit = maxHeader
	if _, err := c.in.Peek(1); err != nil {
		return nil, err // io.EOF, where the parser would speak of an unexpected one
	}
	for range maxProvisional {
		resp, err := http.ReadResponse(c.in, req)
		if err != nil && c.limit == 0 {
			err = errLongHeader
		}
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 {
			c.limit = -1
			return resp, c.SetDeadline(time.Time{}) // from here on watch looks at the time
		}
	}
	return nil, errors.New("the server goes on without an answer")
}

// plainBody is the body of an answer.
type plainBody struct {
	c     *plainConn
	body  io.Reader
	stop  func() bool
	reuse bool
	done  bool
}

func (b *plainBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.finish(err == io.EOF)
	}
	return n, err
}

// finish gives the connection back, or closes it.
func (b *plainBody) finish(whole bool) {
	b.done = true
	if b.stop() && whole && b.reuse && b.c.in.Buffered() == 0 {
		b.c.t.keep(b.c)
		return
	}
	b.c.Close()
}

func (b *plainBody) Close() error {
	if !b.done {
		b.finish(false)
	}
	return nil
}
