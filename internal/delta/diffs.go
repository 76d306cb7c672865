// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"runtime"
	"sync"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// diff is how one file is made of another.
type diff struct {
	way     way
	matches []match // asChunks
	new     *blob   // asChunks: the new content
	patch   []byte  // asBsdiff, of a small file
	file    *os.File
	length  int64
}

func (d *diff) close() {
	if d.new != nil {
		d.new.free()
	}
	if d.file != nil {
		d.file.Close()
	}
}

// size is how much data it adds to a part.
func (d *diff) size() int64 {
	if d.way == asBsdiff {
		return d.length + 32
	}
	own := int64(len(d.new.data))
	for _, m := range d.matches {
		own -= int64(m.length)
	}
	return own + 32
}

func (d *diff) reader() io.Reader {
	if d.file != nil {
		return io.NewSectionReader(d.file, 0, d.length)
	}
	return bytes.NewReader(d.patch)
}

// diffs makes the differences of many files beside one another, some ahead of where they are asked for, in order.
type diffs struct {
	g       *generator
	files   []*newFile
	results []chan result
	tokens  chan struct{} // one for each difference that is made or waits to be taken
	quit    chan struct{}
	large   sync.Mutex // held while a large one is made: it has all the memory
	wg      sync.WaitGroup
}

type result struct {
	d   *diff
	err error
}

// largeDiff is from what size of both files on a difference is made alone.
const largeDiff = 4 << 20

func newDiffs(g *generator, files []*newFile) *diffs {
	s := &diffs{g: g, files: files, results: make([]chan result, len(files)), tokens: make(chan struct{}, runtime.GOMAXPROCS(0)), quit: make(chan struct{})}
	for i, f := range files {
		if !f.from.IsZero() {
			s.results[i] = make(chan result, 1)
		}
	}
	s.wg.Add(1)
	go s.work()
	return s
}

func (s *diffs) work() {
	defer s.wg.Done()
	for i, f := range s.files {
		if s.results[i] == nil {
			continue
		}
		select {
		case <-s.quit:
			return
		case s.tokens <- struct{}{}:
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			d, err := s.make(f)
			s.results[i] <- result{d, err}
		}()
	}
}

// get waits for the difference of file i. The caller closes it.
func (s *diffs) get(i int) (*diff, error) {
	r := <-s.results[i]
	<-s.tokens
	return r.d, r.err
}

// stop gives up what was not taken.
func (s *diffs) stop() {
	close(s.quit)
	s.wg.Wait()
	for _, c := range s.results {
		if c == nil {
			continue
		}
		select {
		case r := <-c:
			if r.d != nil {
				r.d.close()
			}
		default:
		}
	}
}

// make finds the way for one file.
func (s *diffs) make(f *newFile) (*diff, error) {
	g := s.g
	_, oldSize, err := g.r.FileHeader(f.from)
	if err != nil {
		return nil, err
	}
	both := oldSize + f.size
	mayDiff := !g.o.DisableBsdiff && both <= g.o.MaxBsdiffBytes
	if both > largeDiff {
		s.large.Lock()
		defer s.large.Unlock()
	}
	old, err := load(g.r, f.from)
	if err != nil {
		return nil, err
	}
	defer old.free()
	new, err := load(g.r, f.c)
	if err != nil {
		return nil, err
	}
	if !mayDiff || both > smallBsdiff {
		matches, total := matchChunks(old.data, new.data)
		if total*2 >= len(new.data) && len(matches) > 0 {
			return &diff{way: asChunks, matches: matches, new: new}, nil
		}
	}
	defer new.free()
	if !mayDiff {
		return &diff{way: asWhole}, nil
	}
	return makePatch(g.r, old.data, new.data)
}

// load reads the verified content of a file.
func load(r *repo.Repo, c ostree.Checksum) (*blob, error) {
	_, _, in, err := r.OpenVerified(c)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return newBlob(r, in)
}

// A patch that costs more than this part of the new file is not worth it: the compressor does as well without. Each block has
// three numbers that compress to some bytes.
const (
	worthwhile = 0.85
	blockCost  = 8
)

func makePatch(r *repo.Repo, old, new []byte) (*diff, error) {
	d := &diff{way: asBsdiff}
	var small bytes.Buffer
	var w io.Writer = &small
	var file *bufio.Writer
	if len(new) > inMemory {
		var err error
		if d.file, err = r.TempFile(); err != nil {
			return nil, err
		}
		file = bufio.NewWriterSize(d.file, 256<<10)
		w = file
	}
	c := &counter{w: w}
	stats, err := writePatch(c, old, new, diffWindow)
	if err == nil && file != nil {
		err = file.Flush()
	}
	if err == nil && float64(stats.changed+stats.extra+blockCost*stats.blocks) > worthwhile*float64(len(new)) {
		d.close()
		return &diff{way: asWhole}, nil
	}
	if err != nil {
		d.close()
		return nil, err
	}
	d.patch, d.length = small.Bytes(), c.n
	return d, nil
}
