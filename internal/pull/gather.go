// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
)

const (
	defaultParallel = 12
	maxParallel     = 32
	closingParallel = 4 // for servers that close each connection, python's http.server above all
	// After so many bytes or so long, what has come is made durable, so that a kill costs no more than that.
	batchBytes = 256 << 20
	batchTime  = 30 * time.Second
	// maxDirDepth bounds the depth of a tree: deeper paths are longer than PATH_MAX.
	maxDirDepth = 2048
	drainBytes  = 4 << 10
)

// object names one object.
type object struct {
	t ostree.ObjectType
	c ostree.Checksum
}

func (o object) String() string { return "objects/" + ostree.ObjectPath(o.c, o.t, true) }

// job is one object to be looked at. A directory carries what stood at its place in the previous commit.
type job struct {
	object
	depth int
	old   ostree.Checksum
}

// gatherer brings the tree of one commit with several workers. Memory: 33 bytes and some for each object that was found, and
// one buffer for each worker.
type gatherer struct {
	r    *repo.Repo
	rem  *remote
	o    Options
	seen map[object]bool

	mu     sync.Mutex
	wake   *sync.Cond
	stack  []job
	active int
	err    error

	batches batches
	objects int
	found   int
	bytes   int64
	counted atomic.Int64
}

// run brings everything that the commit needs and r lacks. prev, if not nil, is a commit that is whole in r.
func (g *gatherer) run(ctx context.Context, c ostree.Commit, prev *ostree.Commit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.wake = sync.NewCond(&g.mu)
	g.batches = batches{r: g.r}
	root := job{object: object{ostree.TypeDirTree, c.Tree}}
	if prev != nil {
		root.old = prev.Tree
	}
	g.push(job{object: object{ostree.TypeDirMeta, c.Meta}}, root)
	stop := context.AfterFunc(ctx, func() { g.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	for range g.workers() {
		wg.Go(func() { g.work(ctx, cancel) })
	}
	wg.Wait()
	g.bytes += g.counted.Load()
	// also after an error: what came is not to be asked for again
	closed := g.batches.close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return closed
}

func (g *gatherer) workers() int {
	switch {
	case g.o.Parallel > 0:
		return min(g.o.Parallel, maxParallel)
	case g.rem.client.ClosesConnections(g.rem.content[0]):
		return closingParallel
	}
	return defaultParallel
}

// push adds jobs that are new. The caller holds no lock.
func (g *gatherer) push(jobs ...job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, j := range jobs {
		if !g.seen[j.object] {
			g.seen[j.object] = true
			g.stack = append(g.stack, j)
		}
	}
	g.wake.Broadcast()
}

func (g *gatherer) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.wake.Broadcast()
}

// pop waits for a job; false when there will be none.
func (g *gatherer) pop() (job, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && len(g.stack) == 0 && g.active > 0 {
		g.wake.Wait()
	}
	if g.err != nil || len(g.stack) == 0 {
		g.wake.Broadcast()
		return job{}, false
	}
	j := g.stack[len(g.stack)-1]
	g.stack = g.stack[:len(g.stack)-1]
	g.active++
	return j, true
}

func (g *gatherer) work(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		j, ok := g.pop()
		if !ok {
			return
		}
		err := g.do(ctx, j)
		if err != nil {
			g.fail(err)
			cancel(err)
		}
		g.mu.Lock()
		if g.active--; g.active == 0 && len(g.stack) == 0 {
			g.wake.Broadcast()
		}
		g.mu.Unlock()
	}
}

func (g *gatherer) do(ctx context.Context, j job) error {
	if j.t == ostree.TypeDirTree {
		return g.dir(ctx, j)
	}
	if g.r.Has(j.t, j.c) {
		return nil
	}
	if j.t == ostree.TypeFile {
		return g.count(g.file(ctx, j.object))
	}
	_, err := g.meta(ctx, j.object)
	return err
}

// dir makes sure of a directory and finds what it needs. Where the previous commit has the same directory, nothing is needed.
func (g *gatherer) dir(ctx context.Context, j job) error {
	if j.c == j.old {
		return nil
	}
	if j.depth > maxDirDepth {
		return fmt.Errorf("%s: directories nested deeper than %d", j.object, maxDirDepth)
	}
	var tree, old ostree.DirTree
	var err error
	if g.r.Has(j.t, j.c) {
		tree, err = g.r.DirTree(j.c)
	} else {
		var data []byte
		if data, err = g.meta(ctx, j.object); err == nil {
			if tree, err = ostree.ParseDirTree(data); err != nil {
				err = fmt.Errorf("%s: %w", j.object, err)
			}
		}
	}
	if err != nil {
		return err
	}
	if !j.old.IsZero() {
		if old, err = g.r.DirTree(j.old); err != nil {
			old = ostree.DirTree{} // then just nothing is known to be there
		}
	}
	g.push(children(tree, old, j.depth+1)...)
	return nil
}

// children lists what a directory needs besides what the old one at its place had. Directories come last, so that they are
// taken first: they lead to more work.
func children(tree, old ostree.DirTree, depth int) []job {
	oldFiles := make(map[string]ostree.Checksum, len(old.Files))
	for _, f := range old.Files {
		oldFiles[f.Name] = f.Checksum
	}
	oldDirs := make(map[string]ostree.TreeDir, len(old.Dirs))
	for _, d := range old.Dirs {
		oldDirs[d.Name] = d
	}
	jobs := make([]job, 0, len(tree.Files)+2*len(tree.Dirs))
	for _, f := range tree.Files {
		if oldFiles[f.Name] != f.Checksum {
			jobs = append(jobs, job{object: object{ostree.TypeFile, f.Checksum}})
		}
	}
	for _, d := range tree.Dirs {
		if oldDirs[d.Name].Meta != d.Meta {
			jobs = append(jobs, job{object: object{ostree.TypeDirMeta, d.Meta}})
		}
	}
	for _, d := range tree.Dirs {
		if was := oldDirs[d.Name].Tree; was != d.Tree {
			jobs = append(jobs, job{object: object{ostree.TypeDirTree, d.Tree}, depth: depth, old: was})
		}
	}
	return jobs
}

// meta brings a metadata object and stores it.
func (g *gatherer) meta(ctx context.Context, o object) ([]byte, error) {
	data, err := g.rem.metadata(ctx, o)
	if err != nil {
		return nil, err
	}
	b, err := g.batches.take()
	if err != nil {
		return nil, err
	}
	_, err = b.tx.PutMetadata(o.t, data)
	return data, g.count(int64(len(data)), errors.Join(err, g.batches.give(b, int64(len(data)))))
}

// count notes an object that came.
func (g *gatherer) count(bytes int64, err error) error {
	if err != nil {
		return err
	}
	all := g.counted.Add(bytes)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.objects++
	if g.o.Progress != nil {
		g.o.Progress(Event{Objects: g.objects, Found: len(g.seen), Bytes: g.bytes + all})
	}
	return nil
}

// metadata brings a metadata object and holds it against its name.
func (rem *remote) metadata(ctx context.Context, o object) ([]byte, error) {
	data, err := rem.get(ctx, rem.content, o.String(), ostree.MaxMetadataSizeBytes)
	if err != nil {
		return nil, missing(o, err)
	}
	if got := ostree.SumBytes(data); got != o.c {
		return nil, fmt.Errorf("%s: it has checksum %s: %w", o, got, ostree.ErrCorrupt)
	}
	return data, nil
}

func missing(o object, err error) error {
	if errors.Is(err, fetch.ErrNotFound) {
		return fmt.Errorf("%s: %w on the remote: %w", o, repo.ErrNotFound, err)
	}
	return err
}

// file brings a file object and stores it. It returns how many bytes came.
func (g *gatherer) file(ctx context.Context, o object) (int64, error) {
	b, err := g.batches.take()
	if err != nil {
		return 0, err
	}
	var n int64
	err = each(g.rem.content, func(base string) error {
		return g.rem.client.Retry(ctx, func() (err error) {
			n, err = g.fileOnce(ctx, b.tx, base, o)
			return err
		})
	})
	return n, errors.Join(missing(o, err), g.batches.give(b, n))
}

func (g *gatherer) fileOnce(ctx context.Context, tx *repo.Tx, base string, o object) (int64, error) {
	body, _, err := g.rem.client.OpenOnce(ctx, base+o.String())
	if err != nil {
		return 0, err
	}
	in := &netBody{ReadCloser: body}
	h, size, content, err := repo.InflateFile(in)
	if err == nil {
		err = tx.PutFileAs(o.c, h, size, content)
		content.Close()
	}
	switch {
	case in.err != nil:
		return in.count, in.err // the line broke: whatever the reader made of it, another try may help
	case errors.Is(err, ostree.ErrCorrupt), errors.Is(err, io.ErrUnexpectedEOF):
		return in.count, fetch.Lasting(fmt.Errorf("%s%s: %w", base, o, corrupt(err)))
	}
	return in.count, fetch.Lasting(err)
}

func corrupt(err error) error {
	if errors.Is(err, ostree.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ostree.ErrCorrupt, err)
}

// netBody remembers what went wrong on the line, and reads the last bytes so that the connection can be used again.
type netBody struct {
	io.ReadCloser
	count int64
	err   error
	eof   bool
}

func (b *netBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count += int64(n)
	if err == io.EOF {
		b.eof = true
	} else if err != nil {
		b.err = err
	}
	return n, err
}

func (b *netBody) Close() error {
	if !b.eof && b.err == nil {
		io.CopyN(io.Discard, b.ReadCloser, drainBytes)
	}
	return b.ReadCloser.Close()
}

// batches are the transactions that objects are stored in: a new one is begun when one is full, and each commits when the last
// worker gives it back.
type batches struct {
	r *repo.Repo

	mu      sync.Mutex
	current *batch
}

type batch struct {
	tx    *repo.Tx
	users int
	bytes int64
	since time.Time
	old   bool
}

// take gives the current batch to a worker.
func (b *batches) take() (*batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		tx, err := b.r.Begin(context.Background())
		if err != nil {
			return nil, err
		}
		b.current = &batch{tx: tx, since: time.Now()}
	}
	b.current.users++
	return b.current, nil
}

// give takes it back, with how many bytes were put into it.
func (b *batches) give(t *batch, bytes int64) error {
	b.mu.Lock()
	t.users--
	t.bytes += bytes
	if !t.old && (t.bytes > batchBytes || time.Since(t.since) > batchTime) {
		t.old, b.current = true, nil
	}
	last := t.old && t.users == 0
	b.mu.Unlock()
	if !last {
		return nil
	}
	return t.tx.Commit()
}

// close commits what is open. No worker is at work any more.
func (b *batches) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		return nil
	}
	return b.current.tx.Commit()
}
