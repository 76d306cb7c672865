// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/delta"
	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// DeltaUse says whether static deltas are used.
type DeltaUse uint8

// The ways to use deltas.
const (
	DeltasWhereGood DeltaUse = iota // over HTTP, where they save bytes
	DeltasNever                     // objects only
	DeltasAlways                    // a commit that no delta leads to is an error; from a folder, too
)

const (
	// maxSuperblock bounds what is brought of one: it may hold all parts. It lies on disk, not in memory.
	maxSuperblock = 8 << 30
	maxDeltaIndex = 16 << 20
	// deltaPartsAtATime is how many parts are brought and unpacked beside one another.
	deltaPartsAtATime = 2
)

// openDelta is a delta of the remote whose superblock is here.
type openDelta struct {
	*delta.Superblock
	file *os.File      // nil for one of a folder
	here *delta.File   // of a folder
	size atomic.Int64  // what came over the line
	used atomic.Uint32 // parts
}

func (d *openDelta) close() {
	if d.here != nil {
		d.here.Close()
	}
	if d.file != nil {
		d.file.Close()
	}
}

// useDelta brings, of what the commit needs, what a delta makes of it. What that leaves out comes as objects after it. prev is
// a commit that is whole in r, or nil; asked says that it is not only some commit's parent.
func (p *puller) useDelta(ctx context.Context, v *verified, prev *ostree.Commit, asked bool) error {
	must := p.o.Deltas == DeltasAlways && asked
	if p.o.Deltas == DeltasNever || len(p.o.Subpaths) > 0 || !must && (p.rem.local != nil || p.o.Mirror) {
		return nil
	}
	err := p.tryDelta(ctx, v.sum, prev, must)
	if err == nil || must || ctx.Err() != nil || errors.Is(err, unix.ENOSPC) {
		return err
	}
	p.rem.warnings = append(p.rem.warnings, "static deltas are not used: "+err.Error())
	return nil
}

func (p *puller) tryDelta(ctx context.Context, to ostree.Checksum, prev *ostree.Commit, must bool) error {
	if err := p.rem.readSummary(ctx); err != nil {
		return err
	}
	d, err := p.findDelta(ctx, to, prev == nil || must)
	if err == nil && d == nil && must {
		err = noDelta(to)
	}
	if err != nil || d == nil {
		return err
	}
	defer d.close()
	err = p.applyDelta(ctx, d, must)
	p.mu.Lock()
	p.result.BytesFetched += d.size.Load()
	p.result.DeltaParts += int(d.used.Load())
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("delta %s: %w", d.Name, err)
	}
	return nil
}

func noDelta(to ostree.Checksum) error {
	return fmt.Errorf("static deltas are required, and the remote has none to %s that begins at a commit which is here", to)
}

// commitFromDelta gives the commit object and what stands beside it as a delta's superblock has them, for a remote that keeps
// no objects beside its deltas.
func (p *puller) commitFromDelta(ctx context.Context, to ostree.Checksum) ([]byte, gvariant.Dict, error) {
	d, err := p.findDelta(ctx, to, true)
	if err != nil || d == nil {
		return nil, nil, err
	}
	defer d.close()
	return d.Commit, d.Detached, nil
}

// applyDelta brings the parts that are worth it.
func (p *puller) applyDelta(ctx context.Context, d *openDelta, all bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deltaPartsAtATime)
	for i, part := range d.Parts {
		missing := part.Missing(p.r)
		if missing == 0 || !all && !worth(part, missing) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return p.deltaPart(ctx, d, i) })
	}
	return g.Wait()
}

// Each object that is asked for by itself costs its request and answer; and content becomes about half as large as filez.
const (
	requestBytes  = 400
	filezFraction = 0.5
)

// worth tells whether a part is smaller than the objects of it that are missing. One that stands in the superblock is here
// already.
func worth(part delta.Part, missing int) bool {
	if part.Inline() {
		return true
	}
	share := float64(missing) / float64(part.Objects.Len())
	objects := share*float64(part.UsizeBytes)*filezFraction + float64(missing)*requestBytes
	if missing == part.Objects.Len() {
		objects *= 2 // it does not pay to doubt the one who made the delta
	}
	return float64(part.SizeBytes) <= objects
}

// deltaPart brings one part and stores what it makes. That is on disk when it returns, so that a pull which is cut off goes on
// behind it.
func (p *puller) deltaPart(ctx context.Context, d *openDelta, i int) error {
	tx, err := p.r.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	part := d.Parts[i]
	switch {
	case part.Inline():
		err = d.ApplyPart(ctx, tx, i, nil)
	case d.here != nil:
		var in io.ReadCloser
		if in, err = d.here.OpenPart(i); err == nil {
			err = d.ApplyPart(ctx, tx, i, in)
			in.Close()
		}
	default:
		path := d.Name.Dir() + "/" + strconv.Itoa(i)
		err = p.rem.stream(ctx, path, int64(part.SizeBytes), &d.size, func(in io.Reader) error {
			return d.ApplyPart(ctx, tx, i, in)
		})
	}
	if err != nil {
		return err
	}
	d.used.Add(1)
	return tx.Commit()
}

// stream brings a file of the remote's content, of at most limit bytes, through f, which is called again when the line breaks.
func (rem *remote) stream(ctx context.Context, path string, limit int64, count *atomic.Int64, f func(in io.Reader) error) error {
	if rem.local != nil {
		in, err := os.Open(filepath.Join(rem.local.Path(), path))
		if err != nil {
			return err
		}
		defer in.Close()
		return f(io.LimitReader(in, limit+1))
	}
	return each(rem.content, func(base string) error {
		return rem.client.Retry(ctx, func() error {
			body, _, err := rem.client.OpenSteady(ctx, base+path)
			if err != nil {
				return err
			}
			in := &netBody{ReadCloser: body}
			err = f(io.LimitReader(in, limit+1))
			in.Close()
			count.Add(in.count)
			if in.err != nil {
				return in.err
			}
			return fetch.Lasting(err)
		})
	})
}

// findDelta brings the superblock of the delta to a commit that has the least to do; nil if there is none.
//
// scratch says that one which begins at nothing will do.
func (p *puller) findDelta(ctx context.Context, to ostree.Checksum, scratch bool) (*openDelta, error) {
	list, err := p.rem.deltasTo(ctx, to)
	if err != nil {
		return nil, err
	}
	best, ok := p.bestDelta(list, to)
	if !ok || best.Name.From.IsZero() && !scratch {
		return nil, nil
	}
	var d *openDelta
	if p.rem.local != nil {
		here, err := delta.OpenIn(p.rem.local, best.Name)
		if err != nil {
			return nil, err
		}
		d = &openDelta{Superblock: here.Superblock, here: here}
	} else if d, err = p.fetchSuperblock(ctx, best); err != nil {
		return nil, fmt.Errorf("delta %s: %w", best.Name, err)
	}
	if d.Signed && p.rem.policy.Sign {
		if _, err := d.Verify(p.rem.policy); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

// bestDelta chooses the delta that begins at the newest commit which is here, else the one that begins at nothing.
//
//	source  ostree src/libostree/ostree-repo-pull.c, get_best_static_delta_start_for
func (p *puller) bestDelta(list []ostree.DeltaDigest, to ostree.Checksum) (best ostree.DeltaDigest, ok bool) {
	newest := uint64(0)
	var scratch *ostree.DeltaDigest
	for i, d := range list {
		if d.Name.To != to {
			continue
		}
		if d.Name.From.IsZero() {
			scratch = &list[i]
			continue
		}
		if !p.r.Has(ostree.TypeCommit, d.Name.From) || p.r.IsPartial(d.Name.From) {
			continue
		}
		c, err := p.r.Commit(d.Name.From)
		if err == nil && (!ok || c.Timestamp > newest) {
			best, newest, ok = d, c.Timestamp, true
		}
	}
	if !ok && scratch != nil {
		return *scratch, true
	}
	return best, ok
}

// deltasTo lists what deltas the remote has, those to a commit at least: as its summary says or, where that says nothing of
// deltas or was not read, as their index does.
func (rem *remote) deltasTo(ctx context.Context, to ostree.Checksum) ([]ostree.DeltaDigest, error) {
	if rem.local != nil {
		names, err := rem.local.Deltas()
		list := make([]ostree.DeltaDigest, len(names))
		for i, n := range names {
			list[i].Name = n
		}
		return list, err
	}
	if rem.summary != nil {
		list, err := ostree.DeltaDigests(rem.summary.Metadata)
		indexed, _ := rem.summary.Metadata.Bool(ostree.SummaryIndexedDeltas)
		if err != nil || len(list) > 0 || !indexed {
			return list, err
		}
	}
	data, err := rem.get(ctx, rem.content, ostree.DeltaIndexPath(to), maxDeltaIndex)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("delta index: %w", err)
	}
	return ostree.ParseDeltaIndex(data)
}

// fetchSuperblock brings a superblock into a file without a name, and holds it against its checksum.
func (p *puller) fetchSuperblock(ctx context.Context, want ostree.DeltaDigest) (*openDelta, error) {
	f, err := p.r.TempFile()
	if err != nil {
		return nil, err
	}
	d := &openDelta{file: f}
	if err := p.readSuperblock(ctx, d, want); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// readSuperblock brings the superblock into d's file.
func (p *puller) readSuperblock(ctx context.Context, d *openDelta, want ostree.DeltaDigest) error {
	return p.rem.stream(ctx, want.Name.Dir()+"/superblock", maxSuperblock, &d.size, func(in io.Reader) error {
		got, n, err := copyInto(d.file, in)
		if err != nil {
			return err
		}
		if got != want.Superblock {
			return fmt.Errorf("superblock has checksum %s, wanted %s: %w", got, want.Superblock, ostree.ErrCorrupt)
		}
		if d.Superblock, err = delta.Read(d.file, n); err == nil && d.Name != want.Name {
			err = fmt.Errorf("its superblock is that of %s: %w", d.Name, ostree.ErrCorrupt)
		}
		return err
	})
}

// DeltaPlan is what a pull with DeltasAlways would bring of one commit.
//
//	units   bytes; those of what is here already are counted in both the total and the part that is here
type DeltaPlan struct {
	Delta                      ostree.DeltaName
	Parts, PartsHere           int // fallbacks included
	SizeBytes, SizeHere, Usize uint64
}

// PlanDeltas tells what a pull of refs with DeltasAlways would bring, without bringing more than the superblocks.
//
//	errors  as Pull; a commit that no delta leads to
func PlanDeltas(ctx context.Context, r *repo.Repo, remote string, refs []string, o Options) ([]DeltaPlan, error) {
	rem, err := openRemote(ctx, r, remote, o)
	if err != nil {
		return nil, fmt.Errorf("plan pull from %s: %w", remote, err)
	}
	defer rem.close()
	p := &puller{r: r, rem: rem, o: o, tried: map[ostree.Checksum]*verified{}}
	wants, err := p.resolve(ctx, refs)
	var plans []DeltaPlan
	for _, w := range wants {
		if r.Has(ostree.TypeCommit, w.commit) && !r.IsPartial(w.commit) {
			continue
		}
		var plan DeltaPlan
		if plan, err = p.planDelta(ctx, w.commit); err != nil {
			break
		}
		plans = append(plans, plan)
	}
	if err != nil {
		return nil, fmt.Errorf("plan pull from %s: %w", remote, err)
	}
	return plans, nil
}

func (p *puller) planDelta(ctx context.Context, to ostree.Checksum) (plan DeltaPlan, err error) {
	if err := p.rem.readSummary(ctx); err != nil {
		return plan, err
	}
	d, err := p.findDelta(ctx, to, true)
	if err == nil && d == nil {
		err = noDelta(to)
	}
	if err != nil {
		return plan, err
	}
	defer d.close()
	plan.Delta = d.Name
	add := func(here bool, size, usize uint64) {
		plan.Parts++
		plan.SizeBytes += size
		plan.Usize += usize
		if here {
			plan.PartsHere++
			plan.SizeHere += size
		}
	}
	for _, part := range d.Parts {
		add(part.Missing(p.r) == 0, part.SizeBytes, part.UsizeBytes)
	}
	for _, f := range d.Fallbacks {
		add(p.r.Has(f.Type, f.Checksum), f.SizeBytes, f.UsizeBytes)
	}
	return plan, nil
}
