// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// FsckOptions change what Fsck does.
type FsckOptions struct {
	// Quick does not read files' content: only names, metadata and what commits need.
	Quick bool
	// Delete deletes damaged objects, and marks the commits that need them, or miss others, as partial, so that a
	// pull brings them again.
	Delete bool
	// VerifyBindings demands that each ref names a commit that is bound to it, where it is bound to any; VerifyBackRefs also
	// that the refs to which a commit is bound name it.
	VerifyBindings, VerifyBackRefs bool
	// AddTombstones notes of each missing parent of a commit that it was deleted.
	AddTombstones bool
}

// Fault is one thing that is wrong.
type Fault struct {
	Object string // such as "abcd….file"; a ref's name for a ref; a path below objects/ for what is no object
	Err    error
}

// String says what is wrong with what.
func (f Fault) String() string { return f.Object + ": " + f.Err.Error() }

// FsckResult is what Fsck found.
type FsckResult struct {
	Objects, Commits, Partial int
	// Lost counts the partial commits that are so because Fsck, with Delete, deleted what they need; a pull brings it back.
	Lost       int
	Faults     []Fault           // sorted by Object
	Tombstones []ostree.Checksum // that were made
}

// Fsck verifies every object against its name, that each commit's content is there, and that each ref names a commit.
// What it finds is in the result; the error is for a check that could not be done.
func (r *Repo) Fsck(ctx context.Context, o FsckOptions) (FsckResult, error) {
	alone := o.Delete || o.AddTombstones
	lock, err := r.lock(ctx, alone)
	if err != nil && (alone || errors.Is(err, durable.ErrBusy)) {
		return FsckResult{}, fmt.Errorf("fsck: %w", err)
	} // who may only read can still look
	defer lock.Release()
	f := &fsck{r: r.uncached(), cached: r, o: o, faulty: map[object]bool{}, had: map[object]bool{}}
	if err := f.objects(ctx); err != nil {
		return f.result, fmt.Errorf("fsck: %w", err)
	}
	if err := f.commits(ctx); err != nil {
		return f.result, fmt.Errorf("fsck: %w", err)
	}
	if err := f.refs(); err != nil {
		return f.result, fmt.Errorf("fsck: %w", err)
	}
	if o.AddTombstones {
		if err := f.tombstones(); err != nil {
			return f.result, fmt.Errorf("fsck: %w", err)
		}
	}
	slices.SortStableFunc(f.result.Faults, func(a, b Fault) int { return strings.Compare(a.Object, b.Object) })
	return f.result, nil
}

type fsck struct {
	r      *Repo // without what is remembered
	cached *Repo
	o      FsckOptions
	bufs   sync.Pool // *[]byte, for content
	mu     sync.Mutex
	faulty map[object]bool
	had    map[object]bool // all objects that were listed
	list   []object        // all commits
	result FsckResult
}

func (f *fsck) fault(name string, err error) {
	f.mu.Lock()
	f.result.Faults = append(f.result.Faults, Fault{name, err})
	f.mu.Unlock()
}

// objects verifies every object by itself.
func (f *fsck) objects(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.r.workers + 1)
	var batch []object
	flush := func() {
		list := batch
		batch = nil
		g.Go(func() error { return f.verifyAll(ctx, list) })
	}
	err := f.r.eachObject(func(o object) error {
		f.result.Objects++
		f.had[o] = true
		if o.t == ostree.TypeCommit {
			f.list = append(f.list, o)
		}
		if batch = append(batch, o); len(batch) == fileBatch {
			flush()
		}
		return ctx.Err()
	}, func(name string) error {
		f.fault(name, fmt.Errorf("is no object's name"))
		return nil
	})
	flush()
	return errors.Join(err, g.Wait())
}

func (f *fsck) verifyAll(ctx context.Context, list []object) error {
	buf, ok := f.bufs.Get().(*[]byte)
	if !ok {
		b := make([]byte, 256<<10)
		buf = &b
	}
	defer f.bufs.Put(buf)
	for _, o := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f.r.verify(o, f.o.Quick, *buf)
		if err == nil || errors.Is(err, ErrNotFound) { // gone meanwhile: commits tells whether it is missed
			continue
		}
		for _, o := range f.r.parts(o) {
			f.fault(o.String(), err)
			f.mu.Lock()
			f.faulty[o] = true
			f.mu.Unlock()
			if f.o.Delete {
				f.cached.forget(o)
				err := durable.UnlinkAt(durable.At{Dir: f.r.objdir(), Name: f.r.objectPath(o)})
				if err != nil && !(o.t == ostree.TypeFileXattrsLink && missing(err)) {
					return fmt.Errorf("delete object %s: %w", o, err)
				}
			}
		}
	}
	return nil
}

// verify reads one object and holds it against its name.
func (r *Repo) verify(o object, quick bool, buf []byte) error {
	switch o.t {
	case ostree.TypeFile:
		return r.verifyFile(o.c, quick, buf)
	case ostree.TypeCommitMeta:
		_, err := r.Detached(o.c)
		return err
	case ostree.TypeCommit:
		_, err := r.Commit(o.c)
		return err
	case ostree.TypeDirTree:
		data, err := r.Metadata(o.t, o.c)
		if err == nil {
			_, err = ostree.ParseDirTree(data)
		}
		return err
	case ostree.TypeDirMeta:
		data, err := r.Metadata(o.t, o.c)
		if err == nil {
			_, err = ostree.ParseDirMeta(data)
		}
		return err
	}
	if o.t == ostree.TypeFileXattrs {
		data, err := r.Metadata(o.t, o.c)
		if err == nil {
			_, err = ostree.ParseXattrs(data)
		}
		return err
	}
	return nil // a tombstone, or one of libostree's links between objects, which hold nothing
}

func (r *Repo) verifyFile(c ostree.Checksum, quick bool, buf []byte) error {
	h, _, content, err := r.OpenFile(c)
	if err != nil {
		return err
	}
	defer content.Close()
	if quick {
		return nil
	}
	hash := ostree.NewFileHasher(h)
	if _, err := io.CopyBuffer(hash, struct{ io.Reader }{content}, buf); err != nil {
		return err
	}
	if got := hash.Sum(); got != c {
		return fmt.Errorf("header and content have checksum %s: %w", got, ostree.ErrCorrupt)
	}
	return nil
}

// commits verifies that what each commit needs is there. Partial ones need nothing.
func (f *fsck) commits(ctx context.Context) error {
	told := map[object]bool{}
	w := &reach{r: f.r, seen: map[object]bool{}, has: f.has}
	w.missing = func(m, of object, err error) error {
		if !f.faulty[m] && !told[m] {
			told[m] = true
			f.fault(m.String(), fmt.Errorf("needed by %s: %w", of, err))
		}
		return ctx.Err()
	}
	var whole []object
	for _, o := range f.list {
		f.result.Commits++
		if f.r.IsPartial(o.c) {
			f.result.Partial++
			if f.r.markedByFsck(o.c) {
				f.result.Lost++
			}
			continue
		}
		v, err := f.r.Commit(o.c)
		if err != nil {
			continue // has been told
		}
		whole = append(whole, o)
		if err := w.commit(o.c, v); err != nil {
			return err
		}
	}
	if f.o.Delete && len(f.result.Faults) > 0 {
		return f.markBroken(whole)
	}
	return nil
}

// has reports whether a file object is there and sound.
func (f *fsck) has(o object) bool {
	return f.had[o] && !(f.o.Delete && f.faulty[o]) || f.r.parent != nil && f.r.parent.Has(o.t, o.c)
}

// markBroken marks as partial those commits that miss something. Each is looked at by itself.
func (f *fsck) markBroken(commits []object) error {
	for _, o := range commits {
		v, err := f.r.Commit(o.c)
		if err != nil {
			continue
		}
		errBroken := errors.New("broken")
		w := &reach{r: f.r, seen: map[object]bool{}, has: f.has}
		w.missing = func(object, object, error) error { return errBroken }
		if w.commit(o.c, v) == nil {
			continue
		}
		if err := f.r.writeFile(f.r.partialPath(o.c), []byte(fsckMark)); err != nil {
			return err
		}
	}
	return nil
}

// Check states all invariants of a repository that nobody writes to, for tests: Fsck has no fault, no object is
// half written, nothing but the next run's to clear lies about, and whatever could be left is recognised as such.
func (r *Repo) Check(ctx context.Context) error {
	result, err := r.Fsck(ctx, FsckOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range result.Faults {
		errs = append(errs, fmt.Errorf("%s: %w", f.Object, f.Err))
	}
	ents, err := os.ReadDir(filepath.Join(r.path, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range ents {
		name := e.Name()
		if name != "cache" && !strings.HasPrefix(name, stagingPrefix) && !durable.IsLeftover(name) &&
			!strings.HasPrefix(name, "staging-") {
			errs = append(errs, fmt.Errorf("tmp/%s: nobody would clear it", name))
		}
	}
	top, err := os.ReadDir(r.path)
	if err != nil {
		return err
	}
	for _, e := range top {
		if e.Type()&os.ModeSymlink != 0 {
			errs = append(errs, fmt.Errorf("%s: is a symlink", e.Name()))
		}
	}
	return errors.Join(errs...)
}
