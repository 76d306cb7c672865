// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// newPolicy reads what signatures the remote's commits and summary must bear.
func newPolicy(r *repo.Repo, conf repo.Remote, keyDir string) (trust.Policy, error) {
	t := r.TrustOf(conf)
	if keyDir != "" {
		t.Host.GPGDirs = []string{keyDir}
	}
	return trust.NewPolicy(t)
}

// admit brings a commit object and its signatures, and verifies both. A commit is admitted once.
func (p *puller) admit(ctx context.Context, sum ostree.Checksum) (*verified, error) {
	if v := p.tried[sum]; v != nil {
		return v, nil
	}
	v := &verified{sum: sum}
	if err := p.readCommit(ctx, v); err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	marks, err := p.rem.policy.Commit(v.data, v.detached)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	for _, m := range marks {
		if s := m.String(); !slices.Contains(p.result.VerifiedBy, s) {
			p.result.VerifiedBy = append(p.result.VerifiedBy, s)
		}
	}
	p.tried[sum] = v
	return v, nil
}

func (p *puller) readCommit(ctx context.Context, v *verified) (err error) {
	switch {
	case p.r.Has(ostree.TypeCommit, v.sum):
		v.data, err = p.r.Metadata(ostree.TypeCommit, v.sum)
	case p.rem.local != nil:
		v.data, err = p.rem.local.Metadata(ostree.TypeCommit, v.sum)
	default:
		v.data, err = p.rem.metadata(ctx, object{ostree.TypeCommit, v.sum})
		p.result.BytesFetched += int64(len(v.data))
	}
	if err != nil {
		return err
	}
	if v.commit, err = ostree.ParseCommit(v.data); err != nil {
		return err
	}
	if p.rem.local != nil {
		v.detached, err = p.rem.local.Detached(v.sum)
	} else {
		v.detached, err = p.rem.detached(ctx, v.sum)
	}
	if err != nil {
		return err
	}
	if v.hasMeta = len(v.detached) > 0; !v.hasMeta && p.r.Has(ostree.TypeCommit, v.sum) {
		v.detached, err = p.r.Detached(v.sum)
	}
	return err
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

// checkAsRef holds a commit against the name that it is asked for by.
func (p *puller) checkAsRef(w want, v *verified) error {
	if w.ref == "" {
		return nil
	}
	if bound, ok := v.commit.RefBinding(); ok && !slices.Contains(bound, w.ref) {
		return fmt.Errorf("commit %s: it is bound to the refs %q, not to %q", v.sum, bound, w.ref)
	}
	if want := p.rem.conf.CollectionID; want != "" {
		if got, _ := v.commit.Metadata.Str(ostree.KeyCollection); got != want {
			return fmt.Errorf("commit %s: it is bound to collection %q, wanted %q", v.sum, got, want)
		}
	}
	if !p.o.TimestampCheck {
		return nil
	}
	old, err := p.r.Resolve(p.localName(w.ref))
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := p.r.Commit(old)
	if err != nil {
		return err
	}
	if v.commit.Timestamp < now.Timestamp {
		return fmt.Errorf("commit %s: it is older (%d) than the one that %s names now (%d): a downgrade", v.sum, v.commit.Timestamp, w.ref, now.Timestamp)
	}
	return nil
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
