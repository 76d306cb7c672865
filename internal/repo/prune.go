// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// PruneOptions say what Prune keeps.
type PruneOptions struct {
	// RefsOnly keeps what refs reach; otherwise every commit is kept with all it holds.
	RefsOnly bool
	// Depth is how many parents of each commit are kept with RefsOnly: 0 for none, -1 for all that are there.
	Depth int
	// Keep are further commits to be kept as if a ref named them.
	Keep   []ostree.Checksum
	DryRun bool
}

// PruneResult says what Prune deleted, or would delete.
type PruneResult struct {
	Objects    int   // in the repository before
	Deleted    int   // of these
	Commits    int   // of these
	FreedBytes int64 // on disk, as far as no other hard link holds it
	Deltas     int   // static deltas to commits that are gone, deleted with them; with DryRun those gone already
}

// Prune deletes the objects that nothing needs, under the exclusive lock. Commits go before what they hold, so that a
// crash leaves no commit without its content. It also clears what dead processes left in tmp/ and refs/.
//
//	errors  durable.ErrBusy if a transaction is open for longer than core.lock-timeout-secs; an object that can not
//	        be read ends the run before anything is deleted, unless its commit is marked as partial
func (r *Repo) Prune(ctx context.Context, o PruneOptions) (PruneResult, error) {
	lock, err := r.lock(ctx, true)
	if err != nil {
		return PruneResult{}, fmt.Errorf("prune: %w", err)
	}
	defer lock.Release()
	if !o.DryRun {
		r.clearLeftovers()
	}
	p := &pruner{r: r, ctx: ctx, o: o, keep: map[object]bool{}}
	if err := p.mark(); err != nil {
		return PruneResult{}, fmt.Errorf("prune: %w", err)
	}
	if err := p.sweep(); err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	gone, err := r.pruneDeltas(nil, o.DryRun) // with DryRun those whose commit is gone already
	p.result.Deltas = len(gone)
	if err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	return p.result, nil
}

// clearLeftovers deletes what processes left that are gone: the exclusive lock says that none is at work.
func (r *Repo) clearLeftovers() {
	clearStaging(filepath.Join(r.path, "tmp"))
	filepath.WalkDir(filepath.Join(r.path, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && durable.IsLeftover(d.Name()) {
			os.Remove(path)
		}
		return nil
	})
}

type pruner struct {
	r      *Repo
	ctx    context.Context
	o      PruneOptions
	keep   map[object]bool
	result PruneResult
}

// mark collects what is to stay.
func (p *pruner) mark() error {
	roots := map[ostree.Checksum]int{} // commit -> depth
	add := func(c ostree.Checksum, depth int) {
		if old, ok := roots[c]; !ok || depth < 0 || old >= 0 && depth > old {
			roots[c] = depth
		}
	}
	refs, err := p.r.allRefs()
	if err != nil {
		return err
	}
	for _, c := range refs {
		add(c, p.o.Depth)
	}
	for _, c := range p.o.Keep {
		add(c, p.o.Depth)
	}
	if !p.o.RefsOnly {
		err := p.r.eachObject(func(o object) error {
			if o.t == ostree.TypeCommit {
				add(o.c, 0)
			}
			return nil
		}, func(string) error { return nil })
		if err != nil {
			return err
		}
	}
	w := &reach{r: p.r, seen: p.keep}
	list := make([]ostree.Checksum, 0, len(roots))
	for c := range roots {
		list = append(list, c)
	}
	slices.SortFunc(list, ostree.Checksum.Compare)
	for _, c := range list {
		if err := p.markHistory(w, c, roots[c]); err != nil {
			return err
		}
	}
	return nil
}

// allRefs returns what every ref names, mirrors included.
func (r *Repo) allRefs() (map[string]ostree.Checksum, error) {
	all, err := r.Refs("")
	if err != nil {
		return nil, err
	}
	collections, err := os.ReadDir(filepath.Join(r.path, "refs/mirrors"))
	if err != nil && !missing(err) {
		return nil, err
	}
	for _, e := range collections {
		if err := r.refsBelow("refs/mirrors/"+e.Name(), "("+e.Name()+") ", "", all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// markHistory keeps a commit and depth of its parents. A commit that is not there ends it: histories are often cut.
func (p *pruner) markHistory(w *reach, c ostree.Checksum, depth int) error {
	for ; ; depth-- {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		v, err := p.r.Commit(c)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		p.keep[object{ostree.TypeCommit, c}] = true
		p.keep[object{ostree.TypeCommitMeta, c}] = true
		partial := p.r.IsPartial(c)
		w.missing = func(o, of object, err error) error {
			if partial && errors.Is(err, ErrNotFound) {
				return nil
			}
			return fmt.Errorf("%s, needed by %s: %w", o, of, err)
		}
		if err := w.commit(c, v); err != nil {
			return err
		}
		if v.Parent.IsZero() || depth == 0 {
			return nil
		}
		c = v.Parent
	}
}

// sweep deletes everything else.
func (p *pruner) sweep() error {
	var commits, rest []object
	err := p.r.eachObject(func(o object) error {
		p.result.Objects++
		switch {
		case p.keep[o] || o.t == ostree.TypeTombstone || o.t > ostree.TypeCommitMeta:
		case o.t == ostree.TypeCommit:
			commits = append(commits, o)
		default:
			rest = append(rest, o)
		}
		return p.ctx.Err()
	}, func(string) error { return nil })
	if err != nil {
		return err
	}
	p.result.Commits = len(commits)
	if len(commits) > 0 {
		if err := p.deleteAll(commits); err != nil {
			return err
		}
		if !p.o.DryRun && p.r.fsync {
			if err := durable.SyncFS(p.r.path); err != nil {
				return err
			}
		}
	}
	return p.deleteAll(rest)
}

func (p *pruner) deleteAll(list []object) error {
	for _, o := range list {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		name := p.r.objectPath(o)
		var st unix.Stat_t
		if err := unix.Fstatat(p.r.objdir(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("object %s: %w", o, err)
		}
		p.result.Deleted++
		if st.Nlink == 1 {
			p.result.FreedBytes += st.Blocks * 512
		}
		if p.o.DryRun {
			continue
		}
		if err := p.tombstone(o); err != nil {
			return err
		}
		p.r.forget(o)
		if err := durable.UnlinkAt(durable.At{Dir: p.r.objdir(), Name: name}); err != nil {
			return fmt.Errorf("delete object %s: %w", o, err)
		}
		if o.t == ostree.TypeCommit {
			os.Remove(p.r.partialPath(o.c)) // a mark without its commit means nothing
		}
	}
	return nil
}

// tombstone leaves a note that a commit was deleted, where the configuration asks for that.
//
//	source  ostree src/libostree/ostree-repo.c, write_tombstone
func (p *pruner) tombstone(o object) error {
	if o.t != ostree.TypeCommit || !p.r.config.boolean("core", "tombstone-commits", false) {
		return nil
	}
	return durable.WriteFile(p.r.ObjectPath(ostree.TypeTombstone, o.c), tombstoneOf(o.c), 0o644)
}

// tombstoneOf is the content of a tombstone: an a{sv} with the commit's checksum as a string of bytes.
func tombstoneOf(c ostree.Checksum) []byte {
	return gvariant.Dict{{Key: "commit", Value: gvariant.Bytes([]byte(c.String() + "\x00"))}}.Encode()
}
