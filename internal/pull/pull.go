// SPDX-License-Identifier: Apache-2.0

// Package pull brings commits, and all they need, from a remote into a repository.
//
// It reads archive repositories over HTTP and any repository in a folder. It does not use static deltas, collections of peers
// or metalinks. Order is everything: a commit is held against its checksum, the remote's keys, its bindings and the time of the
// commit that it follows before anything else of it is asked for; each object is held against its checksum before it is
// stored; refs move last, together, and only to commits that are whole. What was brought when a pull is cut off stays, and is
// not asked for again.
package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// Options of Pull; the zero value brings whole commits, as the remote's configuration says.
type Options struct {
	URL            string        // instead of the remote's url and contenturl: an URL or an absolute path
	Mirror         bool          // refs are set as the repository's own, not as REMOTE:REF; no refs asked for means all
	CommitOnly     bool          // commits and signatures only; they are marked as partial
	Depth          int           // how many parents of each commit come too; -1 = all that the remote has
	TimestampCheck bool          // refuse a commit older than the one that the ref names now
	Parallel       int           // requests at a time; 0 = 12
	Client         *fetch.Client // nil = made from the remote's tls and proxy keys
	Offline        bool
	KeyDir         string // folder of OpenPGP keys for remotes that have none of their own; "" = /usr/share/ostree/trusted.gpg.d
	Progress       func(Event)
}

// Event tells how far a pull is. Found grows while directories are read.
type Event struct {
	Objects, Found int   // brought, and known to be needed
	Bytes          int64 // as they came over the line
}

// Result tells what a pull brought.
type Result struct {
	Commits        map[string]ostree.Checksum // by the name that was asked for
	ObjectsFetched int
	BytesFetched   int64    // as they came over the line; 0 for a repository on this machine
	VerifiedBy     []string // who signed the commits, for people; empty where the remote asks for no signature
}

// Pull brings refs from a remote of r's configuration. A ref is a name, a checksum, or name@checksum (that commit, as that
// ref). No refs means the remote's branches.
//
//	errors  repo.ErrNotFound, sign.ErrUntrusted, ostree.ErrCorrupt, fetch.ErrOffline; r has then no other refs than before
func Pull(ctx context.Context, r *repo.Repo, remote string, refs []string, o Options) (Result, error) {
	rem, err := openRemote(ctx, r, remote, o)
	if err != nil {
		return Result{}, fmt.Errorf("pull from %s: %w", remote, err)
	}
	defer rem.close()
	p := &puller{r: r, rem: rem, o: o, result: Result{Commits: map[string]ostree.Checksum{}}, tried: map[ostree.Checksum]*verified{}}
	if err := p.run(ctx, refs); err != nil {
		return p.result, fmt.Errorf("pull from %s: %w", remote, err)
	}
	return p.result, nil
}

// RemoteRefs lists what a remote has.
//
//	errors  as Pull; text only where a server has no summary
func RemoteRefs(ctx context.Context, r *repo.Repo, remote string) (map[string]ostree.Checksum, error) {
	return RefsOf(ctx, r, remote, Options{})
}

// RefsOf is RemoteRefs with options.
func RefsOf(ctx context.Context, r *repo.Repo, remote string, o Options) (map[string]ostree.Checksum, error) {
	rem, err := openRemote(ctx, r, remote, o)
	if err != nil {
		return nil, fmt.Errorf("list refs of %s: %w", remote, err)
	}
	defer rem.close()
	refs, err := rem.allRefs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list refs of %s: %w", remote, err)
	}
	return refs, nil
}

// want is one thing that was asked for.
type want struct {
	asked  string // as the caller wrote it
	ref    string // "" for a bare checksum
	commit ostree.Checksum
}

// puller is one call of Pull.
type puller struct {
	r      *repo.Repo
	rem    *remote
	o      Options
	tx     *repo.Tx // the last one: it holds the lock all the time, and sets the refs
	result Result
	tried  map[ostree.Checksum]*verified
}

// verified is a commit that may be brought.
type verified struct {
	sum      ostree.Checksum
	data     []byte
	commit   ostree.Commit
	detached gvariant.Dict
	hasMeta  bool // detached came from the remote
}

func (p *puller) run(ctx context.Context, refs []string) error {
	wants, err := p.resolve(ctx, refs)
	if err != nil {
		return err
	}
	// not ctx: what came until a cancel shall stay
	if p.tx, err = p.r.Begin(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer p.tx.Abort()
	for _, w := range wants {
		v, err := p.admit(ctx, w.commit)
		if err != nil {
			return err
		}
		if err := p.checkAsRef(w, v); err != nil {
			return err
		}
	}
	for _, w := range wants {
		if err := p.history(ctx, w); err != nil {
			return err
		}
		p.result.Commits[w.asked] = w.commit
		if w.ref != "" {
			if err := p.tx.SetRef(p.localName(w.ref), w.commit); err != nil {
				return err
			}
		}
	}
	return p.tx.Commit()
}

func (p *puller) localName(ref string) string {
	if p.o.Mirror || p.rem.name == "" {
		return ref
	}
	return p.rem.name + ":" + ref
}

// resolve gives the commit of each thing asked for.
func (p *puller) resolve(ctx context.Context, refs []string) ([]want, error) {
	if len(refs) == 0 {
		refs = p.rem.conf.Branches
	}
	if len(refs) == 0 && p.o.Mirror {
		all, err := p.rem.allRefs(ctx)
		if err != nil {
			return nil, err
		}
		for name := range all {
			refs = append(refs, name)
		}
		slices.Sort(refs)
	}
	if len(refs) == 0 {
		return nil, errors.New("no ref asked for, and the remote names no branches")
	}
	var wants []want
	seen := map[string]bool{}
	for _, asked := range refs {
		if seen[asked] {
			continue
		}
		seen[asked] = true
		w := want{asked: asked}
		var err error
		if w.commit, err = ostree.ParseChecksum(asked); err == nil {
			wants = append(wants, w)
			continue
		}
		name, sum, fixed := strings.Cut(asked, "@")
		if err := ostree.CheckRefName(name); err != nil {
			return nil, err
		}
		w.ref = name
		if fixed {
			w.commit, err = ostree.ParseChecksum(sum)
		} else {
			w.commit, err = p.rem.resolve(ctx, name)
		}
		if err != nil {
			return nil, fmt.Errorf("ref %q: %w", name, err)
		}
		wants = append(wants, w)
	}
	return wants, nil
}

// history brings a commit and as many parents as are asked for.
func (p *puller) history(ctx context.Context, w want) error {
	c, depth := w.commit, p.o.Depth
	for {
		v, err := p.admit(ctx, c)
		if err != nil {
			if c != w.commit && errors.Is(err, repo.ErrNotFound) {
				return nil // the remote's history ends here
			}
			return err
		}
		if err := p.bring(ctx, w, v); err != nil {
			return err
		}
		if depth == 0 || v.commit.Parent.IsZero() {
			return nil
		}
		if depth > 0 {
			depth--
		}
		c = v.commit.Parent
	}
}

// bring makes one admitted commit whole in r.
func (p *puller) bring(ctx context.Context, w want, v *verified) error {
	have := p.r.Has(ostree.TypeCommit, v.sum)
	whole := have && !p.r.IsPartial(v.sum)
	if !whole {
		if p.o.CommitOnly {
			p.tx.SetPartial(v.sum, true)
		} else {
			if err := p.content(ctx, w, v); err != nil {
				return err
			}
			p.tx.SetPartial(v.sum, false)
		}
	}
	if !have {
		if _, err := p.tx.PutMetadata(ostree.TypeCommit, v.data); err != nil {
			return err
		}
		p.result.ObjectsFetched++
	}
	if v.hasMeta && len(v.detached) > 0 {
		p.tx.SetDetached(v.sum, v.detached)
	}
	return nil
}

// content brings the tree of a commit.
func (p *puller) content(ctx context.Context, w want, v *verified) error {
	if p.rem.local != nil {
		return p.localContent(ctx, v)
	}
	g := &gatherer{r: p.r, rem: p.rem, o: p.o, seen: map[object]bool{}}
	g.objects, g.bytes = p.result.ObjectsFetched, p.result.BytesFetched
	err := g.run(ctx, v.commit, p.previous(w, v))
	p.result.ObjectsFetched, p.result.BytesFetched = g.objects, g.bytes
	if err != nil {
		return fmt.Errorf("commit %s: %w", v.sum, err)
	}
	return nil
}

// previous is a whole commit of r that likely shares much with v: the one that the ref names now, or v's parent.
func (p *puller) previous(w want, v *verified) *ostree.Commit {
	var candidates []ostree.Checksum
	if w.ref != "" {
		if c, err := p.r.Resolve(p.localName(w.ref)); err == nil {
			candidates = append(candidates, c)
		}
	}
	for _, c := range append(candidates, v.commit.Parent) {
		if !c.IsZero() && p.r.Has(ostree.TypeCommit, c) && !p.r.IsPartial(c) {
			if commit, err := p.r.Commit(c); err == nil {
				return &commit
			}
		}
	}
	return nil
}
