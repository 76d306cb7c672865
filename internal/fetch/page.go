// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Page is a small document, and by what its server tells versions of it apart.
//
//	units  ModifiedSec since 1970, 0 = not known
type Page struct {
	Data        []byte
	ETag        string // as the server wrote it, quotes and all; "" = not known
	ModifiedSec int64
	Same        bool // the server says that it is what the caller has: Data is nil
}

// GetIfNew is Get for a document of which the caller has a version: with have's ETag or ModifiedSec the server can say that
// nothing changed. A Page without both asks for all of it.
//
//	errors  as Get
func (c *Client) GetIfNew(ctx context.Context, url string, have Page, maxBytes int64) (Page, error) {
	var p Page
	err := c.Retry(ctx, func() (err error) {
		p, err = c.page(ctx, url, have, maxBytes)
		return err
	})
	if err != nil {
		return Page{}, err
	}
	return p, nil
}

// GetOnce is Get without a second try, for use inside Retry: where there are other mirrors, they come first.
func (c *Client) GetOnce(ctx context.Context, url string, maxBytes int64) ([]byte, error) {
	p, err := c.page(ctx, url, Page{}, maxBytes)
	return p.Data, err
}

func (c *Client) page(ctx context.Context, url string, have Page, maxBytes int64) (Page, error) {
	s, err := c.open(ctx, url, rangeFrom{etag: have.ETag, sinceSec: have.ModifiedSec})
	if err != nil {
		return Page{}, err
	}
	defer s.Close()
	p := Page{ETag: s.etag, ModifiedSec: s.modifiedSec, Same: s.same}
	if s.same {
		return p, nil
	}
	if p.Data, err = readAll(s, s.size, maxBytes); err != nil {
		return Page{}, named(url, err)
	}
	return p, nil
}

// named says where an error of reading came from, unless it says so itself.
func named(url string, err error) error {
	if strings.HasPrefix(err.Error(), "fetch ") {
		return err
	}
	return fmt.Errorf("fetch %s: %w", redact(url), err)
}

// readAll reads a body of size bytes, -1 = not known. It holds no more memory than came, but for a small start.
func readAll(r io.Reader, size, maxBytes int64) ([]byte, error) {
	if size > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, maxBytes)
	}
	const trusted = 1 << 20 // a size that is believed before the bytes are there
	var b bytes.Buffer
	if size >= 0 && size <= trusted {
		b.Grow(int(size) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, maxBytes+1))
	if err == nil && n > maxBytes {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxBytes)
	}
	return b.Bytes(), err
}

func modifiedSec(h http.Header) int64 {
	t, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil || t.Unix() < 0 {
		return 0
	}
	return t.Unix()
}

func httpTime(sec int64) string { return time.Unix(sec, 0).UTC().Format(http.TimeFormat) }

// OpenSteady is OpenOnce with a body that does not end when the line breaks: it is asked for again from where it broke, where
// the server can do that and says that it has the same thing still.
func (c *Client) OpenSteady(ctx context.Context, url string) (io.ReadCloser, int64, error) {
	s, err := c.open(ctx, url, rangeFrom{})
	if err != nil {
		return nil, 0, err
	}
	return &steady{c: c, ctx: ctx, url: url, s: s}, s.size, nil
}

// steady is a body that goes on after a break.
type steady struct {
	c       *Client
	ctx     context.Context
	url     string
	s       *stream
	at      int64 // bytes that came
	resumed int64 // value of at when it was last gone on
	runs    int
}

func (b *steady) Read(p []byte) (int, error) {
	n, err := b.s.Read(p)
	b.at += int64(n)
	if err == nil || err == io.EOF || b.at == b.resumed || b.runs == maxRuns || b.s.validator == "" || b.ctx.Err() != nil {
		return n, err
	}
	var next *stream
	again := b.c.Retry(b.ctx, func() (e error) {
		next, e = b.c.open(b.ctx, b.url, rangeFrom{offset: b.at, validator: b.s.validator})
		return e
	})
	if again != nil {
		return n, err
	}
	if next.offset != b.at {
		next.Close()
		return n, err
	}
	b.s.Close()
	b.s, b.resumed, b.runs = next, b.at, b.runs+1
	return n, nil
}

func (b *steady) Close() error { return b.s.Close() }
