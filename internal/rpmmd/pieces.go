// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// A document is read in pieces, which several processors parse at once: each piece ends behind a </package>. An end tag that only looks
// like one (inside of a comment) makes pieces that are refused: what is accepted means the same however it is cut.
const (
	pieceBytes = 512 << 10
	maxPiece   = 256 << 20 // one package, whose 400,000 files may be listed
)

// piece is a part of a document: whole packages, and what stands before the first or behind the last.
type piece struct {
	data        []byte
	offset      int64 // in the document
	first, last bool
}

var packageEnd = []byte("</package>")

// cutter makes pieces of a document. How it is cut depends on its bytes alone.
type cutter struct {
	r      io.Reader
	size   int // of a piece, but for a package that is larger
	rest   []byte
	offset int64
	begun  bool
	ended  bool
	free   chan []byte // buffers that are parsed: nothing points into them any more
}

func (c *cutter) buffer() []byte {
	select {
	case b := <-c.free:
		return b
	default:
		return make([]byte, c.size)
	}
}

// done takes back the buffer of a piece.
func (c *cutter) done(p piece) {
	if cap(p.data) == c.size {
		select {
		case c.free <- p.data[:c.size]:
		default:
		}
	}
}

// next gives a piece; ok is false behind the last.
func (c *cutter) next() (p piece, ok bool, err error) {
	if c.ended {
		return piece{}, false, nil
	}
	buf := c.buffer()
	if len(c.rest) > len(buf) {
		buf = make([]byte, 2*len(c.rest))
	}
	n := copy(buf, c.rest)
	for {
		k, err := io.ReadFull(c.r, buf[n:])
		n += k
		p := piece{offset: c.offset, first: !c.begun}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			p.data, p.last, c.ended = buf[:n], true, true
		case err != nil:
			return piece{}, false, err
		default:
			i := bytes.LastIndex(buf, packageEnd)
			if i < 0 {
				if len(buf) >= maxPiece {
					return piece{}, false, fmt.Errorf("xml at byte %d: a package of more than %d bytes", c.offset, maxPiece)
				}
				buf = append(buf, make([]byte, len(buf))...)
				continue
			}
			p.data = buf[:i+len(packageEnd)]
		}
		c.rest = append(c.rest[:0], buf[len(p.data):n]...)
		c.offset += int64(len(p.data))
		c.begun = true
		return p, true, nil
	}
}

// inPieces parses a document with as many parsers as there are processors, and hands their results over in the order of the document.
// A parser is used by one goroutine at a time.
func inPieces[T any](r io.Reader, size int, newParser func() func(piece) (T, rootNames, error), take func(T) error) error {
	type job struct {
		p    piece
		done chan<- result[T]
	}
	workers := runtime.GOMAXPROCS(0)
	jobs := make(chan job)
	order := make(chan chan result[T], 2*workers)
	stop := make(chan struct{})
	c := cutter{r: r, size: size, free: make(chan []byte, 2*workers)}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(stop)
	for range workers {
		wait.Go(func() {
			parse := newParser()
			for j := range jobs {
				var res result[T]
				res.value, res.root, res.err = parse(j.p)
				c.done(j.p)
				j.done <- res
			}
		})
	}
	wait.Go(func() {
		defer close(order)
		defer close(jobs)
		for {
			p, ok, err := c.next()
			if !ok && err == nil {
				return
			}
			done := make(chan result[T], 1)
			select {
			case order <- done:
			case <-stop:
				return
			}
			if err != nil {
				done <- result[T]{err: err}
				return
			}
			select {
			case jobs <- job{p, done}:
			case <-stop:
				return
			}
		}
	})
	var root rootNames
	for done := range order {
		res := <-done
		if res.err != nil {
			return res.err
		}
		root.begin, root.end = root.begin+res.root.begin, root.end+res.root.end
		if err := take(res.value); err != nil {
			return err
		}
	}
	if root.begin != root.end {
		return fmt.Errorf("xml: <%.40s> ends as </%.40s>", root.begin, root.end)
	}
	return nil
}

type result[T any] struct {
	value T
	root  rootNames
	err   error
}

// rootNames are the full names of the root element where it begins and where it ends, each set by the piece that has that place.
type rootNames struct{ begin, end string }
