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
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// PruneOptions say what Prune keeps. KeepYoungerThan, BranchDepth and OnlyBranches imply RefsOnly.
type PruneOptions struct {
	// RefsOnly keeps what refs reach; otherwise every commit is kept with all it holds.
	RefsOnly bool
	// Depth is how many parents of each commit are kept with RefsOnly: 0 for none, -1 for all that are there.
	Depth int
	// BranchDepth is Depth for single refs.
	BranchDepth map[string]int
	// KeepYoungerThan, in seconds since 1970, keeps of each ref that is not in BranchDepth the newest commit and those
	// before it as long as they are not older; Depth then does not count. 0 for no such rule.
	KeepYoungerThan uint64
	// OnlyBranches are the refs whose history is cut; that of all others is kept. None: all refs.
	OnlyBranches []string
	// CommitOnly looks at commits and deletes commits, and leaves what they hold.
	CommitOnly bool
	// DeleteCommit is deleted first. It must not be a ref's.
	DeleteCommit ostree.Checksum
	// Keep are further commits to be kept as if a ref named them.
	Keep   []ostree.Checksum
	DryRun bool
}

// PruneResult says what Prune deleted, or would delete. What belongs to an object (a commit's detached metadata, a
// file's xattrs) does not count as an object, as with ostree.
type PruneResult struct {
	Objects    int   // in the repository before
	Deleted    int   // of these
	Commits    int   // of these
	SizeBytes  int64 // length of what was deleted
	FreedBytes int64 // on disk, as far as no other hard link holds it
	Deltas     int   // static deltas to commits that are gone, deleted with them; with DryRun those gone already
}

// Prune deletes the objects that nothing needs, under the exclusive lock. Commits go before what they hold, so that a
// crash leaves no commit without its content. It also deletes static deltas to commits that are gone, and clears what
// dead processes left in tmp/, state/, refs/ and beside config and summary.
//
//	errors  durable.ErrBusy if a transaction is open for longer than core.lock-timeout-secs; an object that can not
//	        be read ends the run before anything is deleted, unless its commit is marked as partial
func (r *Repo) Prune(ctx context.Context, o PruneOptions) (PruneResult, error) {
	lock, err := r.lock(ctx, !o.DryRun)
	if err != nil && (!o.DryRun || errors.Is(err, durable.ErrBusy) || ctx.Err() != nil) {
		return PruneResult{}, fmt.Errorf("prune: %w", err)
	} // who may only read can still look
	err = nil
	defer lock.Release()
	o.RefsOnly = o.RefsOnly || o.KeepYoungerThan > 0 || len(o.BranchDepth) > 0 || len(o.OnlyBranches) > 0
	p := &pruner{r: r, ctx: ctx, o: o, keep: map[object]bool{}}
	if !o.DryRun {
		r.clearLeftovers()
		err = p.deleteCommit()
	}
	if err == nil {
		err = p.mark()
	}
	if err == nil {
		err = p.sweep()
	}
	if err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	gone, err := r.pruneDeltas(nil, o.DryRun) // with DryRun those whose commit is gone already
	p.result.Deltas = len(gone)
	if err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	return p.result, nil
}

// clearLeftovers deletes what processes left that are gone: the exclusive lock says that none is at work. What is not
// grove's own is left until it is core.tmp-expiry-secs old.
func (r *Repo) clearLeftovers() {
	tmp := filepath.Join(r.path, "tmp")
	clearStaging(tmp)
	ents, _ := os.ReadDir(tmp)
	for _, e := range ents {
		fi, err := e.Info()
		if err == nil && e.Name() != "cache" && !strings.HasPrefix(e.Name(), stagingPrefix) && time.Since(fi.ModTime()) > r.set.tmpExpiry {
			os.RemoveAll(filepath.Join(tmp, e.Name()))
		}
	}
	for _, dir := range []string{"refs", "state", "."} {
		filepath.WalkDir(filepath.Join(r.path, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
			case d.IsDir() && dir == "." && path != r.path:
				return fs.SkipDir
			case !d.IsDir() && durable.IsLeftover(d.Name()):
				os.Remove(path)
			}
			return nil
		})
	}
}

type pruner struct {
	r      *Repo
	ctx    context.Context
	o      PruneOptions
	keep   map[object]bool
	result PruneResult
}

// deleteCommit deletes the one commit that is to go. A commit that is deleted by name leaves a tombstone, now and from
// now on, as with ostree.
func (p *pruner) deleteCommit() error {
	c := p.o.DeleteCommit
	if c.IsZero() {
		return nil
	}
	refs, err := p.r.allRefs(nil)
	if err != nil {
		return err
	}
	for name, of := range refs {
		if of == c {
			return fmt.Errorf("commit %s is referenced by %q", c, name)
		}
	}
	if !p.r.hasLocal(object{ostree.TypeCommit, c}) {
		return fmt.Errorf("commit %s: %w", c, ErrNotFound)
	}
	if err := p.r.keepTombstones(); err != nil {
		return err
	}
	if err := p.delete(object{ostree.TypeCommit, c}); err != nil {
		return err
	}
	p.result = PruneResult{} // it was here no more when the counting began
	return nil
}

// root is where a walk through the history begins.
type root struct {
	c       ostree.Checksum
	depth   int
	younger bool // go as far as PruneOptions.KeepYoungerThan says, not depth
}

// mark collects what is to stay.
func (p *pruner) mark() error {
	roots, err := p.roots()
	if err != nil {
		return err
	}
	slices.SortFunc(roots, func(a, b root) int { return a.c.Compare(b.c) })
	w := &reach{r: p.r, seen: p.keep}
	for _, c := range roots {
		if err := p.markHistory(w, c); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruner) roots() ([]root, error) {
	refs, err := p.r.allRefs(nil)
	if err != nil {
		return nil, err
	}
	only := map[string]bool{}
	for _, name := range p.o.OnlyBranches {
		if _, ok := refs[name]; !ok {
			return nil, fmt.Errorf("branch %q: %w", name, ErrNotFound)
		}
		only[name] = true
	}
	var roots []root
	for name, c := range refs {
		depth, ruled := p.o.BranchDepth[name]
		switch {
		case ruled:
			roots = append(roots, root{c: c, depth: depth})
		case len(only) > 0 && !only[name]:
			roots = append(roots, root{c: c, depth: -1})
		default:
			roots = append(roots, root{c: c, depth: p.o.Depth, younger: p.o.KeepYoungerThan > 0})
		}
	}
	for _, c := range p.o.Keep {
		roots = append(roots, root{c: c, depth: p.o.Depth})
	}
	if p.o.RefsOnly {
		return roots, nil
	}
	err = p.r.eachObject(func(o object) error {
		if o.t == ostree.TypeCommit {
			roots = append(roots, root{c: o.c})
		}
		return nil
	}, func(string) error { return nil })
	return roots, err
}

// allRefs returns what every ref names, mirrors included. What can not be read is added to bad, or is an error where bad is nil.
func (r *Repo) allRefs(bad map[string]error) (map[string]ostree.Checksum, error) {
	all := map[string]ostree.Checksum{}
	if err := r.refs("", all, bad); err != nil {
		return nil, err
	}
	collections, err := os.ReadDir(filepath.Join(r.path, "refs/mirrors"))
	if err != nil && !missing(err) {
		return nil, err
	}
	for _, e := range collections {
		if err := r.refsBelow("refs/mirrors/"+e.Name(), "("+e.Name()+") ", "", all, bad); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// markHistory keeps a commit and the parents that go with it. A commit that is not there ends it: histories are often
// cut.
func (p *pruner) markHistory(w *reach, from root) error {
	c := from.c
	for depth := from.depth; ; depth-- {
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
		if from.younger && c != from.c && v.Timestamp < p.o.KeepYoungerThan {
			return nil
		}
		if err := p.markCommit(w, c, v); err != nil {
			return err
		}
		if v.Parent.IsZero() || !from.younger && depth == 0 || from.younger && v.Timestamp < p.o.KeepYoungerThan {
			return nil
		}
		c = v.Parent
	}
}

func (p *pruner) markCommit(w *reach, c ostree.Checksum, v ostree.Commit) error {
	p.keep[object{ostree.TypeCommit, c}] = true
	p.keep[object{ostree.TypeCommitMeta, c}] = true
	if p.o.CommitOnly {
		return nil
	}
	partial := p.r.IsPartial(c)
	w.missing = func(o, of object, err error) error {
		if partial && errors.Is(err, ErrNotFound) {
			return nil
		}
		return fmt.Errorf("%s, needed by %s: %w", o, of, err)
	}
	return w.commit(c, v)
}

// sweep deletes everything else.
func (p *pruner) sweep() error {
	var commits, rest, beside []object
	err := p.r.eachObject(func(o object) error {
		counts := o.t <= ostree.TypeCommit || o.t == ostree.TypePayloadLink
		if p.o.CommitOnly {
			counts = o.t == ostree.TypeCommit
		}
		if counts {
			p.result.Objects++
		}
		switch {
		case p.keep[o] || o.t == ostree.TypeTombstone:
		case o.t == ostree.TypeCommit || o.t == ostree.TypeCommitMeta && p.o.CommitOnly:
			commits = append(commits, o)
		case p.o.CommitOnly:
		case o.t == ostree.TypeFileXattrs:
			beside = append(beside, o)
		case o.t == ostree.TypeFileXattrsLink && p.keep[object{ostree.TypeFile, o.c}]:
		case o.t == ostree.TypePayloadLink && p.keepsPayload(o):
		default:
			rest = append(rest, o)
		}
		return p.ctx.Err()
	}, func(string) error { return nil })
	if err != nil {
		return err
	}
	if err := p.deleteAll(commits); err != nil {
		return err
	}
	if len(commits) > 0 && !p.o.DryRun && p.r.set.fsync {
		if err := durable.SyncFS(p.r.path); err != nil {
			return err
		}
	}
	if err := p.deleteAll(rest); err != nil {
		return err
	}
	return p.deleteLonely(beside)
}

// keepsPayload reports whether the file that a payload link names stays, and is of a size that links are made for.
func (p *pruner) keepsPayload(o object) bool {
	c, err := p.r.payloadTarget(o.c)
	if err != nil || !p.keep[object{ostree.TypeFile, c}] {
		return false
	}
	var st unix.Stat_t
	err = unix.Fstatat(p.r.objdir(), p.r.objectPath(object{ostree.TypeFile, c}), &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && uint64(st.Size) >= p.r.set.payloadBytes
}

func (p *pruner) deleteAll(list []object) error {
	for _, o := range list {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.delete(o); err != nil {
			return err
		}
	}
	return nil
}

// deleteLonely deletes the xattrs that no file's link shares any more. A trial run deletes no links, so it knows none.
func (p *pruner) deleteLonely(list []object) error {
	for _, o := range list {
		var st unix.Stat_t
		if err := unix.Fstatat(p.r.objdir(), p.r.objectPath(o), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("object %s: %w", o, err)
		}
		if st.Nlink > 1 {
			continue
		}
		if err := p.delete(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruner) delete(o object) error {
	name := p.r.objectPath(o)
	var st unix.Stat_t
	if err := unix.Fstatat(p.r.objdir(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("object %s: %w", o, err)
	}
	if o.t <= ostree.TypeCommit || o.t == ostree.TypePayloadLink {
		p.result.Deleted++
		p.result.SizeBytes += st.Size
	}
	if o.t == ostree.TypeCommit {
		p.result.Commits++
	}
	if st.Nlink == 1 {
		p.result.FreedBytes += st.Blocks * 512
	}
	if p.o.DryRun {
		return nil
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
	return nil
}

// tombstone leaves a note that a commit was deleted, where the configuration asks for that.
//
//	source  ostree src/libostree/ostree-repo.c, write_tombstone
func (p *pruner) tombstone(o object) error {
	if o.t != ostree.TypeCommit || !p.r.set.tombstones {
		return nil
	}
	return p.r.writeFile(p.r.ObjectPath(ostree.TypeTombstone, o.c), tombstoneOf(o.c))
}

// tombstoneOf is the content of a tombstone: an a{sv} with the commit's checksum as a string of bytes.
func tombstoneOf(c ostree.Checksum) []byte {
	return gvariant.Dict{{Key: "commit", Value: gvariant.Bytes([]byte(c.String() + "\x00"))}}.Encode()
}
