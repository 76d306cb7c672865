// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// copyDeltas brings the static deltas that lead to the commits that were asked for, as files, and indexes them. One that cannot be
// had is told: clients take objects instead.
func (p *puller) copyDeltas(ctx context.Context, wants []*want) error {
	if err := p.rem.readSummary(ctx); err != nil {
		return err
	}
	done := map[ostree.Checksum]bool{}
	for _, w := range wants {
		if done[w.commit] {
			continue
		}
		done[w.commit] = true
		list, err := p.rem.deltasTo(ctx, w.commit)
		if err != nil {
			return fmt.Errorf("static deltas to %s: %w", w.commit, err)
		}
		for _, d := range list {
			if d.Name.To != w.commit {
				continue
			}
			if err := p.copyMissing(ctx, d); err != nil {
				if ctx.Err() != nil || errors.Is(err, unix.ENOSPC) {
					return err
				}
				p.rem.warnings = append(p.rem.warnings, "a static delta is not mirrored: "+err.Error())
			}
		}
		if err := p.r.ReindexDeltas(ctx, &w.commit); err != nil {
			return err
		}
	}
	return nil
}

// copyMissing copies a delta unless it is here already.
func (p *puller) copyMissing(ctx context.Context, d ostree.DeltaDigest) (err error) {
	if p.rem.local != nil { // which lists names only
		if d.Superblock, err = p.rem.local.DeltaDigest(d.Name); err != nil {
			return err
		}
	}
	if p.r.HasDelta(d.Name) {
		if have, err := p.r.DeltaDigest(d.Name); err == nil && have == d.Superblock {
			return nil
		}
	}
	if err := p.copyDelta(ctx, d); err != nil {
		return fmt.Errorf("delta %s: %w", d.Name, err)
	}
	return nil
}

// copyDelta copies a delta, each file of which is held against its checksum.
func (p *puller) copyDelta(ctx context.Context, want ostree.DeltaDigest) error {
	n, err := p.r.BeginDelta(ctx)
	if err != nil {
		return err
	}
	defer n.Abort()
	var size atomic.Int64
	f, err := createIn(n, "superblock")
	if err != nil {
		return err
	}
	d := &openDelta{file: f}
	defer d.close()
	if err := p.readSuperblock(ctx, d, want); err != nil {
		return err
	}
	if d.Signed && p.rem.policy.Sign {
		if _, err := d.Verify(p.rem.policy); err != nil {
			return err
		}
	}
	for i, part := range d.Parts {
		if part.Inline() {
			continue
		}
		f, err := createIn(n, strconv.Itoa(i))
		if err != nil {
			return err
		}
		err = p.rem.stream(ctx, want.Name.Dir()+"/"+strconv.Itoa(i), int64(part.SizeBytes), &size, func(in io.Reader) error {
			got, _, err := copyInto(f, in)
			if err == nil && got != part.Checksum {
				err = fmt.Errorf("part %d has checksum %s, wanted %s: %w", i, got, part.Checksum, ostree.ErrCorrupt)
			}
			return err
		})
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if err := n.Publish(want.Name); err != nil {
		return err
	}
	p.result.DeltasCopied++
	if p.rem.local == nil {
		p.result.BytesFetched += d.size.Load() + size.Load()
	}
	return nil
}

func createIn(n *repo.NewDelta, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(n.Path(), name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
}

// copyInto makes in the content of f, and gives its checksum and length.
func copyInto(f *os.File, in io.Reader) (ostree.Checksum, int64, error) {
	if err := f.Truncate(0); err != nil {
		return ostree.Checksum{}, 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.NewOffsetWriter(f, 0), io.TeeReader(in, sum))
	return ostree.Checksum(sum.Sum(nil)), n, err
}
