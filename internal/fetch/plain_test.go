// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"grove/internal/fetch"
)

// talker is a server that answers the n-th request of its life, on whichever connection, with what answer says: the bytes, and
// whether the connection is closed after them.
func talker(t *testing.T, answer func(n int, path string) (text string, closes bool)) (url string, connections *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = &atomic.Int32{}
	var requests atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					text, closes := answer(int(requests.Add(1)), req.URL.Path)
					io.WriteString(c, text)
					if closes {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), connections
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestConnections(t *testing.T) {
	const none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		what   string
		answer func(n int, path string) (string, bool)
		want   string // of three requests
		conns  int32
	}{
		{"one after the other", func(n int, p string) (string, bool) { return ok(p), false }, "/1 /2 /3", 1},
		{"in chunks", func(n int, p string) (string, bool) {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n" + p + "\r\n0\r\n\r\n", false
		}, "/1 /2 /3", 1},
		{"to the end", func(n int, p string) (string, bool) { return "HTTP/1.0 200 OK\r\n\r\n" + p, true }, "/1 /2 /3", 3},
		{"closed as announced", func(n int, p string) (string, bool) {
			return strings.Replace(ok(p), "\r\n", "\r\nConnection: close\r\n", 1), true
		}, "/1 /2 /3", 3},
		{"closed without a word", func(n int, p string) (string, bool) { return ok(p), n == 1 }, "/1 /2 /3", 2},
		{"more than was announced", func(n int, p string) (string, bool) { return ok(p) + ok("wrong"), false }, "/1 /2 /3", 3},
		{"nothing, with a body", func(n int, p string) (string, bool) {
			if n == 1 {
				return none + ok("wrong"), false
			}
			return ok(p), false
		}, "not found /2 /3", 2},
		{"early words", func(n int, p string) (string, bool) {
			return "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(p), false
		}, "/1 /2 /3", 1},
		{"early words only", func(n int, p string) (string, bool) {
			return strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9) + ok(p), false
		}, "without an answer without an answer without an answer", 3},
		{"a header without end", func(n int, p string) (string, bool) {
			return "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100_000), true
		}, "too long too long too long", 3},
		{"no answer", func(n int, p string) (string, bool) { return "", true }, "closed the connection closed the connection closed the connection", 3},
	} {
		t.Run(tt.what, func(t *testing.T) {
			url, conns := talker(t, tt.answer)
			c := client(fetch.Options{Tries: 1, StallTimeout: 10 * time.Second, HeaderTimeout: 10 * time.Second})
			defer c.Close()
			var got []string
			for i := range 3 {
				data, err := c.Get(context.Background(), fmt.Sprintf("%s/%d", url, i+1), 100)
				word := string(data)
				if err != nil {
					word = err.Error()
					for _, known := range []string{"not found", "without an answer", "too long", "closed the connection"} {
						if strings.Contains(err.Error(), known) {
							word = known
						}
					}
				}
				got = append(got, word)
			}
			if s := strings.Join(got, " "); s != tt.want || conns.Load() != tt.conns {
				t.Errorf("got %q on %d connections, wanted %q on %d", s, conns.Load(), tt.want, tt.conns)
			}
		})
	}
}

// TestHalfRead: a body that is not read to its end leaves nothing to the next request; a cancel ends what waits.
func TestHalfRead(t *testing.T) {
	url, conns := talker(t, func(n int, path string) (string, bool) {
		if path == "/waits" {
			return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", false
		}
		return ok(path + strings.Repeat("x", 200_000)), false
	})
	c := client(fetch.Options{StallTimeout: 10 * time.Second, HeaderTimeout: 10 * time.Second})
	defer c.Close()
	for i := range 2 {
		body, size, err := c.Open(context.Background(), fmt.Sprintf("%s/%d", url, i))
		if err != nil || size != 200_002 {
			t.Fatal(size, err)
		}
		var head [2]byte
		if _, err := io.ReadFull(body, head[:]); err != nil || string(head[:]) != fmt.Sprintf("/%d", i) {
			t.Errorf("%q, %v", head, err)
		}
		body.Close()
		body.Close()
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	body, _, err := c.Open(ctx, url+"/waits")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	time.AfterFunc(20*time.Millisecond, func() { cancel(enough) })
	if _, err := io.ReadAll(body); err == nil {
		t.Error("the end of a cancelled body is no error")
	}
}
