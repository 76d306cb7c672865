// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"grove/internal/durable"
	"grove/internal/repo"
)

// packageRefs is where the package cache keeps its refs.
const packageRefs = "grove/pkg/"

// GCOptions of GC; the zero value keeps what a rollback needs and all cached packages.
type GCOptions struct {
	Keep     int       // how many of the newest, beside the current, pinned and running ones, stay; 0 = as the guest's rule says, negative = none
	KeepDays int       // those made within so many days before Now stay; 0 = as the guest's rule says, negative = none for that
	Now      time.Time // the caller's clock
	DryRun   bool
	Wait     time.Duration // for the store's lock

	// KeepRef tells which refs of the package cache (grove/pkg/...) stay; nil = all. gone are the deployments, as
	// NAME/ID, that went, or with DryRun would have gone, before it is asked.
	KeepRef func(ref string, gone map[string]bool) bool
}

// GCReport says what went, or with DryRun would go.
type GCReport struct {
	Deployments []string // NAME/ID
	Refs        []string // of the package cache
	Objects     int      // deleted; with DryRun only those that no ref holds already
	Bytes       int64    // of these, and of what was the removed deployments' own

	Frees map[string]int64 // bytes that each of the deployments frees, those that went before it being gone; nil where that can not be told
}

// GC removes deployments that nothing keeps, package refs that nobody wants, and then all objects that no ref holds. It keeps
// everybody else out meanwhile. A running deployment always stays.
//
//	errors  durable.ErrBusy if somebody is at work
func (s *Store) GC(ctx context.Context, o GCOptions) (GCReport, error) {
	var r GCReport
	lock, err := s.Lock(ctx, true, o.Wait)
	if err != nil {
		return r, err
	}
	defer lock.Release()
	if !o.DryRun {
		if err := s.clear(); err != nil {
			return r, fmt.Errorf("clear leftovers: %w", err)
		}
	}
	names, err := s.Guests()
	if err != nil {
		return r, err
	}
	if err := s.removeSurplus(ctx, names, o, &r); err != nil {
		return r, err
	}
	if !o.DryRun {
		s.sweepCache()
		freed, err := s.images.Sweep()
		if err != nil {
			return r, err
		}
		r.Bytes += freed
	}
	if err := s.gcRefs(o, &r); err != nil {
		return r, err
	}
	return r, s.prune(ctx, o, &r)
}

// removeSurplus removes the deployments that nothing keeps. What each frees is found out first.
func (s *Store) removeSurplus(ctx context.Context, names []string, o GCOptions, r *GCReport) error {
	type one struct {
		g  *Guest
		id int
	}
	var list []one
	var labels []string
	for _, name := range names {
		g := s.guest(name)
		rule, err := s.ruleFor(name, o)
		if err != nil {
			return err
		}
		surplus, err := g.surplus(rule, o.Now)
		if err != nil {
			return err
		}
		for _, id := range surplus {
			list = append(list, one{g, id})
			labels = append(labels, fmt.Sprintf("%s/%d", name, id))
		}
	}
	if len(list) == 0 {
		return nil
	}
	if frees, err := s.frees(ctx, labels); err == nil { // else objects are damaged, and the prune says which
		r.Frees = frees
	}
	for i, d := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		own := r.Frees[labels[i]]
		if !o.DryRun {
			own = s.folderBytes(labels[i])
			if err := d.g.remove(d.id); err != nil {
				return err
			}
		}
		r.Bytes += own
		r.Deployments = append(r.Deployments, labels[i])
	}
	return nil
}

// surplus are the numbers of the deployments that may go, rising. The first to be kept is the one that a rollback
// leads to.
func (g *Guest) surplus(rule Rule, now time.Time) ([]int, error) {
	keep := rule.Keep
	wanted := keep > 0
	all, err := g.Deployments()
	if err != nil {
		return nil, err
	}
	origin := rollbackTarget(all)
	if origin != 0 && keep > 0 {
		keep--
	}
	var out []int
	for i := len(all) - 1; i >= 0; i-- {
		d := all[i]
		switch {
		case d.Current, d.Pinned, d.Running(), d.Staged && !d.Stale, d.ID == origin && origin != 0 && wanted:
		case d.Damaged != "": // perhaps it was pinned; delete NAME ID takes it
		case keep > 0:
			keep--
		case rule.young(d, now):
		default:
			out = append(out, d.ID)
		}
	}
	sort.Ints(out)
	return out, nil
}

// rollbackTarget is where a rollback without a number leads: the deployment that the current one was made from, if it
// is kept, else the newest older one; 0 = none. all is sorted by number.
func rollbackTarget(all []Deployment) int {
	older, from := 0, 0
	for _, d := range all {
		if d.Current {
			from = d.From
		}
	}
	for _, d := range all {
		if d.Current {
			break
		}
		if d.Damaged != "" || d.Staged {
			continue
		}
		if older = d.ID; older == from {
			return older
		}
	}
	return older
}

// RollbackTarget is the number of the deployment that a rollback leads to; 0 = there is none.
func (g *Guest) RollbackTarget() (int, error) {
	all, err := g.Deployments()
	return rollbackTarget(all), err
}

// staleAfter is how long ago a half-written file of the cache must have been touched last, so that nobody is writing it
// any more: metadata is fetched without the store's lock.
const staleAfter = time.Hour

// sweepCache deletes half-written files that killed processes left in the cache.
func (s *Store) sweepCache() {
	_ = filepath.WalkDir(s.CacheDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !durable.IsLeftover(d.Name()) {
			return nil // what cannot be read now is there for the next time
		}
		if info, err := d.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(path)
		}
		return nil
	})
}

func (s *Store) gcRefs(o GCOptions, r *GCReport) error {
	if o.KeepRef == nil {
		return nil
	}
	refs, err := s.repo.Refs("")
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, d := range r.Deployments {
		gone[d] = true
	}
	for _, ref := range sortedKeys(refs) {
		if !strings.HasPrefix(ref, packageRefs) || o.KeepRef(ref, gone) {
			continue
		}
		if !o.DryRun {
			if err := s.repo.DeleteRef(ref); err != nil {
				return err
			}
		}
		r.Refs = append(r.Refs, ref)
	}
	return nil
}

// prune removes the objects that no ref holds. Histories go: a guest needs the commits it names, not their parents.
func (s *Store) prune(ctx context.Context, o GCOptions, r *GCReport) error {
	p, err := s.repo.Prune(ctx, repo.PruneOptions{RefsOnly: true, DryRun: o.DryRun})
	r.Objects, r.Bytes = p.Deleted, r.Bytes+p.FreedBytes
	return err
}
