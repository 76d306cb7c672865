// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"grove/internal/ostree"
)

const (
	defaultParallel = 12
	maxParallel     = 32
	closingParallel = 4 // for servers that close each connection, python's http.server above all
	// maxDirDepth bounds the depth of a tree: deeper paths are longer than PATH_MAX.
	maxDirDepth = 2048
	// maxWaiting is how many files may wait before they go before further directories.
	maxWaiting = 32 << 10
)

// object names one object.
type object struct {
	t ostree.ObjectType
	c ostree.Checksum
}

func (o object) String() string { return "objects/" + ostree.ObjectPath(o.c, o.t, true) }

// root is a commit whose tree is to come. prev, if not nil, is a commit that is whole in the repository.
type root struct {
	v    *verified
	prev *ostree.Commit
}

// job is one object to be looked at. A directory carries what stood at its place in the previous commit, and, where only
// paths of the tree are wanted and it is on the way to some, its path.
type job struct {
	object
	depth int
	old   ostree.Checksum
	path  string // ends in a slash; "" = all of it is wanted
}

// gatherer brings the trees of commits with several workers. Memory: 33 bytes and some for each object that was found, and
// two buffers for each worker.
type gatherer struct {
	p    *puller
	seen map[object]struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	files  []ostree.Checksum
	metas  []ostree.Checksum
	dirs   []job
	active int
	err    error

	batches batches
	large   sync.Mutex // held by who reads a large metadata object: one at a time
}

func newGatherer(p *puller) *gatherer {
	g := &gatherer{p: p, seen: map[object]struct{}{}, batches: batches{r: p.r}}
	g.wake = sync.NewCond(&g.mu)
	return g
}

// run brings everything that the commits need and the repository lacks.
func (g *gatherer) run(ctx context.Context, roots []root) error {
	if len(roots) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i := len(roots) - 1; i >= 0; i-- { // the first on top
		c := roots[i].v.commit
		top := job{object: object{ostree.TypeDirTree, c.Tree}}
		if prev := roots[i].prev; prev != nil {
			top.old = prev.Tree
		}
		if len(g.p.o.Subpaths) > 0 && !g.p.wantsFile("/", "") {
			top.path = "/"
		}
		g.push([]job{{object: object{ostree.TypeDirMeta, c.Meta}}, top})
	}
	stop := context.AfterFunc(ctx, func() { g.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	for range g.p.workers() {
		wg.Go(func() { g.work(ctx, cancel) })
	}
	wg.Wait()
	// also after an error: what came is not to be asked for again
	closed := g.batches.close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return closed
}

func (p *puller) workers() int {
	switch {
	case p.o.Parallel > 0:
		return min(p.o.Parallel, maxParallel)
	case p.rem.local != nil:
		return p.r.Workers() + 1 // one may wait for the disk
	case p.rem.client.ClosesConnections(p.rem.content[0]):
		return closingParallel
	}
	return defaultParallel
}

// push adds jobs that are new. The caller holds no lock.
func (g *gatherer) push(jobs []job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, j := range jobs {
		if j.path == "" { // a directory that is wanted in part may be wanted in other parts elsewhere
			if _, ok := g.seen[j.object]; ok {
				continue
			}
			g.seen[j.object] = struct{}{}
		}
		switch j.t {
		case ostree.TypeFile:
			g.files = append(g.files, j.c)
		case ostree.TypeDirMeta:
			g.metas = append(g.metas, j.c)
		default:
			g.dirs = append(g.dirs, j)
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

// pop waits for a job; false when there will be none. Directories go first, for they lead to more work, unless many files wait.
func (g *gatherer) pop() (job, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && len(g.files)+len(g.metas)+len(g.dirs) == 0 && g.active > 0 {
		g.wake.Wait()
	}
	if g.err != nil {
		return job{}, false
	}
	g.active++
	switch {
	case len(g.files) > maxWaiting || len(g.dirs)+len(g.metas) == 0 && len(g.files) > 0:
		return job{object: object{ostree.TypeFile, last(&g.files)}}, true
	case len(g.dirs) > 0:
		return last(&g.dirs), true
	case len(g.metas) > 0:
		return job{object: object{ostree.TypeDirMeta, last(&g.metas)}}, true
	}
	g.active--
	g.wake.Broadcast()
	return job{}, false
}

// last takes the last element off a list.
func last[T any](list *[]T) T {
	l := *list
	x := l[len(l)-1]
	*list = l[:len(l)-1]
	return x
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
		if g.active--; g.active == 0 {
			g.wake.Broadcast()
		}
		g.mu.Unlock()
	}
}

func (g *gatherer) do(ctx context.Context, j job) error {
	switch {
	case j.t == ostree.TypeDirTree:
		return g.dir(ctx, j)
	case g.p.r.Has(j.t, j.c):
		return nil
	case j.t == ostree.TypeFile:
		return g.file(ctx, j.object)
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
	tree, err := g.dirTree(ctx, j.object)
	if err != nil {
		return err
	}
	var old ostree.DirTree
	if !j.old.IsZero() {
		if old, err = g.p.r.DirTree(j.old); err != nil {
			old = ostree.DirTree{} // then just nothing is known to be there
		}
	}
	g.push(g.children(j, tree, old))
	return nil
}

// dirTree gives a directory, brought first where it is not there.
func (g *gatherer) dirTree(ctx context.Context, o object) (ostree.DirTree, error) {
	if g.p.r.Has(o.t, o.c) {
		return g.p.r.DirTree(o.c)
	}
	data, err := g.meta(ctx, o)
	if err != nil {
		return ostree.DirTree{}, err
	}
	if data == nil { // it was linked
		return g.p.rem.local.DirTree(o.c)
	}
	tree, err := ostree.ParseDirTree(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", o, err)
	}
	return tree, err
}

// children lists what a directory needs besides what the old one at its place had.
func (g *gatherer) children(j job, tree, old ostree.DirTree) []job {
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
		if oldFiles[f.Name] != f.Checksum && g.p.wantsFile(j.path, f.Name) {
			jobs = append(jobs, job{object: object{ostree.TypeFile, f.Checksum}})
		}
	}
	for _, d := range tree.Dirs {
		wanted, path := g.p.wantsDir(j.path, d.Name)
		if !wanted {
			continue
		}
		if oldDirs[d.Name].Meta != d.Meta {
			jobs = append(jobs, job{object: object{ostree.TypeDirMeta, d.Meta}})
		}
		if was := oldDirs[d.Name].Tree; was != d.Tree {
			jobs = append(jobs, job{object: object{ostree.TypeDirTree, d.Tree}, depth: j.depth + 1, old: was, path: path})
		}
	}
	return jobs
}

// meta brings a metadata object and stores it. The bytes are nil where it was linked from the remote's repository.
func (g *gatherer) meta(ctx context.Context, o object) ([]byte, error) {
	b, err := g.batches.take()
	if err != nil {
		return nil, err
	}
	data, n, copied, err := g.p.storeMeta(ctx, b.tx, o)
	if err == nil {
		g.count(n, copied)
	}
	return data, errors.Join(err, g.batches.give(b, max(n, 4096)))
}

// file brings a file object and stores it.
func (g *gatherer) file(ctx context.Context, o object) error {
	b, err := g.batches.take()
	if err != nil {
		return err
	}
	n, copied, err := g.p.storeFile(ctx, b.tx, o)
	if err == nil {
		g.count(n, copied)
	}
	return errors.Join(err, g.batches.give(b, max(n, 4096)))
}

// count notes an object that came.
func (g *gatherer) count(bytes int64, copied bool) {
	p := g.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.ObjectsFetched++
	if copied {
		p.result.ObjectsCopied++
	} else {
		p.result.BytesFetched += bytes
	}
	if p.o.Progress != nil {
		g.mu.Lock()
		found := len(g.seen)
		g.mu.Unlock()
		p.o.Progress(Event{Objects: p.result.ObjectsFetched, Found: max(found, p.result.ObjectsFetched), Bytes: p.result.BytesFetched})
	}
}
