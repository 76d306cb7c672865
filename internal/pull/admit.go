// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// verified is a commit that may be brought.
type verified struct {
	sum      ostree.Checksum
	data     []byte        // nil when it is stored
	detached gvariant.Dict // nil then
	commit   ostree.Commit // without what is long: metadata, subject and body
	claims   claims
	fresh    bool // detached came from the remote and is not what r has
	whole    bool // r has it with all it needs
	gathered bool // its tree is on the way
}

// claims is what a commit says about the names it goes by.
type claims struct {
	isBound     bool
	bound       []string
	collection  string
	eol, rebase string
	atEnd       bool
}

func claimsOf(c ostree.Commit) claims {
	var s claims
	s.bound, s.isBound = c.RefBinding()
	s.collection, _ = c.Metadata.Str(ostree.KeyCollection)
	var ended, moved bool
	s.eol, ended = c.Metadata.Str(ostree.KeyEndOfLife)
	s.rebase, moved = c.Metadata.Str(ostree.KeyEOLRebase)
	s.atEnd = ended || moved
	for i, b := range s.bound {
		s.bound[i] = strings.Clone(b)
	}
	s.collection, s.eol, s.rebase = strings.Clone(s.collection), strings.Clone(s.eol), strings.Clone(s.rebase)
	return s
}

// admitAll verifies the commits that were asked for, all before anything else is brought, then the parents that come too, and
// stores them, each marked as partial.
func (p *puller) admitAll(ctx context.Context, wants []*want) error {
	p.early = &earlyTx{r: p.r}
	defer p.early.abort()
	err := p.forEach(ctx, wants, func(ctx context.Context, w *want) error {
		v, err := p.admit(ctx, w.commit)
		if err != nil {
			return err
		}
		if err := p.checkAsRef(w, v); err != nil {
			return err
		}
		p.noteEndOfLife(w, v)
		w.chain = append(w.chain, v)
		return p.keep(v)
	})
	if err == nil {
		err = p.forEach(ctx, wants, p.history)
	}
	if err != nil {
		return err
	}
	return p.early.commit()
}

// forEach does something for each want, several at a time.
func (p *puller) forEach(ctx context.Context, wants []*want, do func(context.Context, *want) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.workers())
	for _, w := range wants {
		g.Go(func() error { return do(ctx, w) })
	}
	return g.Wait()
}

// history admits as many parents of a commit as are asked for.
func (p *puller) history(ctx context.Context, w *want) error {
	parent := w.chain[0].commit.Parent
	for depth := p.o.Depth; depth != 0 && !parent.IsZero(); depth-- {
		v, err := p.admit(ctx, parent)
		if errors.Is(err, repo.ErrNotFound) {
			return p.endOfHistory(ctx, parent)
		}
		if err == nil {
			err = p.keep(v)
		}
		if err != nil {
			return err
		}
		w.chain = append(w.chain, v)
		parent = v.commit.Parent
	}
	return nil
}

// endOfHistory is where the remote has no more parents. It need not say why.
func (p *puller) endOfHistory(ctx context.Context, c ostree.Checksum) error {
	deleted, err := p.rem.tombstone(ctx, c)
	if err == nil && deleted {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rem.warnings = append(p.rem.warnings, fmt.Sprintf("commit %s was deleted on the remote: the history ends before it", c))
	}
	return nil
}

// admit brings a commit object and its signatures, and verifies both. A commit is admitted once.
func (p *puller) admit(ctx context.Context, sum ostree.Checksum) (*verified, error) {
	p.mu.Lock()
	v := p.tried[sum]
	p.mu.Unlock()
	if v != nil {
		return v, nil
	}
	v = &verified{sum: sum}
	if err := p.readCommit(ctx, v); err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	marks, err := p.rem.policy.Commit(v.data, v.detached)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteSigners(marks)
	if other := p.tried[sum]; other != nil {
		return other, nil
	}
	p.tried[sum] = v
	return v, nil
}

func (p *puller) readCommit(ctx context.Context, v *verified) (err error) {
	have := p.r.Has(ostree.TypeCommit, v.sum)
	switch {
	case have:
		v.data, err = p.r.Metadata(ostree.TypeCommit, v.sum)
	case p.rem.local != nil:
		v.data, err = p.rem.local.Metadata(ostree.TypeCommit, v.sum)
		if err == nil && p.rem.local.IsPartial(v.sum) && !p.o.CommitOnly && len(p.o.Subpaths) == 0 {
			err = errors.New("it is only partly there")
		}
	default:
		v.data, err = p.rem.metadata(ctx, object{ostree.TypeCommit, v.sum})
		if errors.Is(err, repo.ErrNotFound) && p.o.Deltas != DeltasNever {
			data, beside, derr := p.commitFromDelta(ctx, v.sum)
			if derr == nil && data != nil {
				v.data, v.detached, err = data, beside, nil
			}
		}
		p.mu.Lock()
		p.result.BytesFetched += int64(len(v.data))
		p.mu.Unlock()
	}
	if err != nil {
		return err
	}
	c, err := ostree.ParseCommit(v.data)
	if err != nil {
		return err
	}
	v.claims = claimsOf(c)
	v.commit = ostree.Commit{Parent: c.Parent, Timestamp: c.Timestamp, Tree: c.Tree, Meta: c.Meta}
	v.whole = have && !p.r.IsPartial(v.sum)
	if p.rem.local != nil {
		v.detached, err = p.rem.local.Detached(v.sum)
	} else {
		err = p.remoteDetached(ctx, v)
	}
	if err != nil || !have {
		v.fresh = len(v.detached) > 0
		return err
	}
	mine, err := p.r.Detached(v.sum)
	v.fresh = len(v.detached) > 0 && (err != nil || !bytes.Equal(mine.Encode(), v.detached.Encode()))
	if len(v.detached) == 0 {
		v.detached = mine
		return err
	}
	return nil
}

// remoteDetached brings what stands beside a commit; where nothing does, what came with the commit stays.
func (p *puller) remoteDetached(ctx context.Context, v *verified) error {
	d, err := p.rem.detached(ctx, v.sum)
	if err == nil && len(d) > 0 {
		v.detached = d
	}
	return err
}

// keep stores an admitted commit, and lets go of what only verifying needed.
func (p *puller) keep(v *verified) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.data == nil {
		return nil
	}
	stored, err := p.early.put(v)
	if stored {
		p.result.ObjectsFetched++
		if p.rem.local != nil {
			p.result.ObjectsCopied++
		}
	}
	v.data, v.detached = nil, nil
	return err
}

// earlyTx stores commits as partial before their content comes, so that neither prune nor a kill undoes what came.
type earlyTx struct {
	r       *repo.Repo
	tx      *repo.Tx
	bytes   int
	commits int
}

// After so many bytes or commits they are made durable: detached metadata is held in memory until then.
const (
	earlyBytes   = 8 << 20
	earlyCommits = 256
)

// put stores what is new of a commit. It reports whether the commit itself was. The caller holds the puller's lock.
func (e *earlyTx) put(v *verified) (bool, error) {
	have := e.r.Has(ostree.TypeCommit, v.sum)
	if have && !v.fresh {
		return false, nil
	}
	if e.tx == nil {
		var err error
		if e.tx, err = e.r.Begin(context.Background()); err != nil {
			return false, err
		}
	}
	if !have {
		e.tx.SetPartial(v.sum, true)
		if _, err := e.tx.PutMetadata(ostree.TypeCommit, v.data); err != nil {
			return false, err
		}
	}
	if v.fresh {
		e.tx.SetDetached(v.sum, v.detached)
	}
	e.commits++
	if e.bytes += len(v.data) + len(v.detached.Encode()); e.bytes < earlyBytes && e.commits < earlyCommits {
		return !have, nil
	}
	return !have, e.commit()
}

func (e *earlyTx) commit() error {
	if e.tx == nil {
		return nil
	}
	tx := e.tx
	e.tx, e.bytes, e.commits = nil, 0, 0
	return tx.Commit()
}

func (e *earlyTx) abort() {
	if e.tx != nil {
		e.tx.Abort()
	}
}

// detached brings a commit's signatures; none is no error.
func (rem *remote) detached(ctx context.Context, sum ostree.Checksum) (gvariant.Dict, error) {
	data, err := rem.get(ctx, rem.meta, "objects/"+ostree.ObjectPath(sum, ostree.TypeCommitMeta, true), maxCommitMeta)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ostree.ParseDetached(data)
}

// tombstone tells whether the remote says that it deleted a commit.
func (rem *remote) tombstone(ctx context.Context, sum ostree.Checksum) (bool, error) {
	if rem.local != nil {
		return rem.local.Has(ostree.TypeTombstone, sum), nil
	}
	if err := rem.checkMode(ctx); err != nil || !rem.tombstones {
		return false, err
	}
	_, err := rem.get(ctx, rem.content, object{ostree.TypeTombstone, sum}.String(), maxSmall)
	if errors.Is(err, fetch.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// checkAsRef holds a commit against the name that it is asked for by, and against the time of another.
func (p *puller) checkAsRef(w *want, v *verified) error {
	if err := p.checkBinding(w, v); err != nil {
		return err
	}
	if p.o.TimestampFrom != "" {
		c, err := p.r.Resolve(p.o.TimestampFrom)
		if err == nil {
			err = p.notOlder(v, c, p.o.TimestampFrom+" is")
		}
		if err != nil {
			return err
		}
	}
	if !p.o.TimestampCheck || w.ref == "" {
		return nil
	}
	old, err := p.current(w)
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.notOlder(v, old, "the one that "+w.ref+" names now")
}

func (p *puller) checkBinding(w *want, v *verified) error {
	if p.o.AnyBinding {
		return nil
	}
	c := v.claims
	if c.isBound && w.ref != "" && !slices.Contains(c.bound, w.ref) {
		return fmt.Errorf("commit %s: it is bound to the refs %q, not to %q", v.sum, c.bound, w.ref)
	}
	if want := p.rem.conf.CollectionID; want != "" && c.collection != want {
		return fmt.Errorf("commit %s: it is bound to collection %q, wanted %q", v.sum, c.collection, want)
	}
	return nil
}

// notOlder refuses a commit that was made before another.
func (p *puller) notOlder(v *verified, than ostree.Checksum, name string) error {
	old, err := p.r.Commit(than)
	if err != nil {
		return err
	}
	if v.commit.Timestamp < old.Timestamp {
		return fmt.Errorf("commit %s: it is older (%d) than %s (%d): a downgrade", v.sum, v.commit.Timestamp, name, old.Timestamp)
	}
	return nil
}

// noteEndOfLife takes down what a commit says about its ref's end.
func (p *puller) noteEndOfLife(w *want, v *verified) {
	if !v.claims.atEnd {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.EndOfLife = append(p.result.EndOfLife, EndOfLife{w.asked, v.claims.eol, v.claims.rebase})
}
