// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// resolve gives the commit of each thing asked for.
func (p *puller) resolve(ctx context.Context, refs []string) ([]*want, error) {
	if len(refs) == 0 {
		refs = p.rem.conf.Branches
	}
	if len(refs) == 0 && (p.o.Mirror || p.rem.plain) {
		return p.resolveAll(ctx)
	}
	if len(refs) == 0 {
		return nil, errNoRefs
	}
	var wants []*want
	seen := map[string]bool{}
	for _, asked := range refs {
		if seen[asked] {
			continue
		}
		seen[asked] = true
		w, err := p.rem.want(ctx, asked)
		if err != nil {
			return nil, err
		}
		wants = append(wants, w)
	}
	return wants, nil
}

// resolveAll takes every ref of the remote, those of other collections that its summary lists too.
func (p *puller) resolveAll(ctx context.Context) ([]*want, error) {
	all, err := p.rem.allRefs(ctx)
	if err != nil {
		return nil, err
	}
	var wants []*want
	for name, c := range all {
		wants = append(wants, &want{asked: name, ref: name, commit: c, collection: p.rem.collection})
	}
	if p.rem.summary != nil {
		others, err := ostree.CollectionMap(p.rem.summary.Metadata)
		if err != nil {
			return nil, fmt.Errorf("summary: %w", err)
		}
		for id, refs := range others {
			for _, ref := range refs {
				wants = append(wants, &want{asked: id + " " + ref.Name, ref: ref.Name, commit: ref.Commit, collection: id})
			}
		}
	}
	slices.SortFunc(wants, func(a, b *want) int { return strings.Compare(a.asked, b.asked) })
	return wants, nil
}

// want finds out which commit is meant by what was asked for.
func (rem *remote) want(ctx context.Context, asked string) (*want, error) {
	w := &want{asked: asked}
	var err error
	if w.commit, err = ostree.ParseChecksum(asked); err == nil {
		return w, nil
	}
	name, sum, fixed := strings.Cut(asked, "@")
	if rem.plain && !fixed {
		return w, rem.plainWant(w)
	}
	if err := ostree.CheckRefName(name); err != nil {
		return nil, err
	}
	w.ref = name
	if fixed {
		w.commit, err = ostree.ParseChecksum(sum)
	} else {
		w.commit, err = rem.resolve(ctx, name)
		w.collection = rem.collection
	}
	if err != nil {
		return nil, fmt.Errorf("ref %q: %w", name, err)
	}
	return w, nil
}

// plainWant resolves a name as the repository itself does: also a remote's ref there, and a part of a checksum.
func (rem *remote) plainWant(w *want) (err error) {
	if w.commit, err = rem.local.Resolve(w.asked); err != nil {
		return err
	}
	if _, ref, err := ostree.ParseRefspec(w.asked); err == nil {
		if _, err := rem.local.LookupRef(w.asked); err == nil {
			w.ref = ref
		}
	}
	return nil
}

// resolve gives the commit of a ref: from the summary where there is one.
func (rem *remote) resolve(ctx context.Context, ref string) (ostree.Checksum, error) {
	if rem.local != nil && !rem.policy.WantsSummary() {
		all, err := rem.local.Refs("")
		if err != nil {
			return ostree.Checksum{}, err
		}
		c, ok := all[ref]
		if !ok {
			return c, fmt.Errorf("%w in %s", repo.ErrNotFound, rem.local.Path())
		}
		return c, nil
	}
	if err := rem.readSummary(ctx); err != nil {
		return ostree.Checksum{}, err
	}
	if rem.summary != nil {
		if s, ok := rem.summary.Lookup(ref); ok {
			return s.Commit, nil
		}
		if rem.policy.WantsSummary() {
			return ostree.Checksum{}, fmt.Errorf("%w in the summary", repo.ErrNotFound)
		}
	}
	if err := rem.checkMode(ctx); err != nil {
		return ostree.Checksum{}, err
	}
	data, err := rem.get(ctx, rem.meta, "refs/heads/"+ref, maxSmall)
	if errors.Is(err, fetch.ErrNotFound) {
		return ostree.Checksum{}, fmt.Errorf("%w on the remote", repo.ErrNotFound)
	}
	if err != nil {
		return ostree.Checksum{}, err
	}
	return ostree.ParseChecksum(strings.TrimSpace(string(data)))
}

// allRefs lists the remote's own refs.
func (rem *remote) allRefs(ctx context.Context) (map[string]ostree.Checksum, error) {
	refs := map[string]ostree.Checksum{}
	if rem.local != nil && !rem.policy.WantsSummary() {
		all, err := rem.local.Refs("")
		for name, c := range all {
			if !strings.Contains(name, ":") {
				refs[name] = c
			}
		}
		return refs, err
	}
	if err := rem.readSummary(ctx); err != nil {
		return nil, err
	}
	if rem.summary == nil {
		if err := rem.checkMode(ctx); err != nil {
			return nil, err
		}
		return nil, errors.New("the remote has no summary, so its refs cannot be listed")
	}
	for _, s := range rem.summary.Refs {
		refs[s.Name] = s.Commit
	}
	return refs, nil
}
