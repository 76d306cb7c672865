// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/solve"
)

// A package may be divided: several others make it obsolete. Where it is asked for anew, one of them will do. On a machine that has it,
// dnf's upgrade brings all of them, so an upgrade of layers does too: the solver is asked what it would do in place. The lock
// remembers who came for whom, and they stay together as long as one of them is wanted.

// split is a package that went, and those that came in its place; names.
type split struct {
	old  string
	news []string
	all  bool                  // its packages are in the plan, for the lock to remember
	as   map[string]solve.Pick // what each of them came as by itself; not those that came along with the others
}

// reasonReplaces is the lock's reason for a package that came along with another one, for a third.
const reasonReplaces = "replaces"

// maxSplitRounds bounds how often what a round brought in may bring in more.
const maxSplitRounds = 5

// solveSplits asks again with the other parts of packages that were divided.
func (b *build) solveSplits(ctx context.Context, req *solve.Request, plan solve.Plan) (solve.Plan, error) {
	if b.o.Previous == nil || b.o.Base == nil {
		return plan, nil
	}
	b.splits = splitsOf(*b.o.Previous)
	if err := b.findSplits(*req); err != nil {
		return plan, err
	}
	inherit(b.splits)
	have := b.available()
	for range maxSplitRounds {
		more := b.lacking(req, plan, have)
		if len(more) == 0 {
			return plan, nil
		}
		asked := req.Install
		req.Install = append(slices.Clip(asked), more...)
		next, err := b.solveWithFiles(ctx, *req)
		if conflict := (*solve.Conflict)(nil); errors.As(err, &conflict) {
			req.Install = asked
			b.splits = slices.DeleteFunc(b.splits, func(s split) bool {
				return slices.ContainsFunc(s.news, func(n string) bool { return slices.Contains(more, n) })
			})
			b.warn("%s would come along, in the place of what was divided, and cannot: %v", strings.Join(more, ", "), conflict)
			return plan, nil
		}
		if err != nil {
			return plan, err
		}
		plan = next
	}
	return plan, nil
}

// lacking are the parts that a plan has not and that belong to what it has, or to what was asked for by the old name.
func (b *build) lacking(req *solve.Request, plan solve.Plan, have map[string]bool) (more []string) {
	there, came := planned(req, plan), pickedNames(req, plan)
	for i := range b.splits {
		s := &b.splits[i]
		first := !slices.ContainsFunc(s.news, func(n string) bool { _, ok := came[n]; return ok })
		if first && !slices.Contains(b.m.Packages, s.old) || len(s.news) < 2 {
			continue
		}
		s.all = true
		parts, lacks := []string{}, false
		for _, n := range s.news {
			if p, ok := came[n]; ok { // named too: else another part would do for the old name, and this one would not come
				parts = append(parts, n)
				s.note(n, p)
			} else if have[n] && !there[n] {
				parts, lacks = append(parts, n), true
				s.note(n, solve.Pick{Requested: first, Reason: map[bool]string{true: solve.ReasonRequested, false: reasonReplaces}[first]})
				first = false // it stands for the old name that was asked for
			}
		}
		if lacks {
			more = append(more, parts...)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(more)))
}

// note keeps what a part came as, the first time.
func (s *split) note(name string, p solve.Pick) {
	if _, ok := s.as[name]; !ok {
		if s.as == nil {
			s.as = map[string]solve.Pick{}
		}
		s.as[name] = p
	}
}

// markSplit says of a package that was picked in whose place it came.
func (b *build) markSplit(k *pick) {
	for _, s := range b.splits {
		if !s.all || !slices.Contains(s.news, k.meta.Name) {
			continue
		}
		k.replaces = append(k.replaces, s.old)
		if p, ok := s.as[k.meta.Name]; ok {
			k.requested, k.reason = p.Requested, p.Reason
		}
	}
}

// splitsOf is what a lock remembers.
func splitsOf(l manifest.Lock) (out []split) {
	for _, p := range l.Packages {
		n, err := rpm.ParseNEVRA(p.NEVRA)
		if err != nil {
			continue
		}
		for _, old := range p.Replaces {
			out = addSplit(out, old, n.Name)
		}
	}
	return out
}

func addSplit(list []split, old, name string) []split {
	i := slices.IndexFunc(list, func(s split) bool { return s.old == old })
	if i < 0 {
		return append(list, split{old: old, news: []string{name}})
	}
	if !slices.Contains(list[i].news, name) {
		list[i].news = append(list[i].news, name)
	}
	return list
}

// inherit puts in the place of a part that was divided in its turn what came for it.
func inherit(list []split) {
	heirs := map[string][]string{}
	for _, s := range list {
		heirs[s.old] = s.news
	}
	for i := range list {
		s := &list[i]
		var news []string
		seen := map[string]bool{s.old: true}
		for rest := slices.Clone(s.news); len(rest) > 0; rest = rest[1:] {
			switch n := rest[0]; {
			case seen[n]:
			case len(heirs[n]) > 0:
				seen[n], rest = true, append(rest, heirs[n]...)
			default:
				seen[n], news = true, append(news, n)
			}
		}
		s.news = news
	}
}

// findSplits asks what an upgrade in place would put where layered packages are. Where it would not be possible, the layers' own way
// decides alone.
func (b *build) findSplits(req solve.Request) error {
	if !b.o.Newest {
		return nil
	}
	layers, err := b.layersBefore()
	if err != nil || !b.anyObsolete(layers) {
		return err
	}
	place := solve.Request{
		Arch: req.Arch, Repos: req.Repos, Exclude: req.Exclude, Locks: req.Locks, InstallOnly: req.InstallOnly, NoWeak: true,
		KeepInstalled: true, Upgrade: true, Loose: len(layers),
	}
	gone := map[string]bool{}
	for _, n := range b.o.Previous.Removed {
		gone[n] = true
	}
	for _, m := range req.Installed {
		if !gone[m.NEVRA.String()] {
			place.Installed = append(place.Installed, m)
		}
	}
	base := len(place.Installed)
	place.Installed = append(place.Installed, layers...)
	plan, err := b.o.Solve(place)
	if conflict := (*solve.Conflict)(nil); errors.As(err, &conflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("upgrade in place: %w", err)
	}
	for _, i := range plan.Remove {
		if i < base {
			continue
		}
		for _, p := range plan.Install {
			if m := picked(&place, p); m != nil && obsoletes(m, &place.Installed[i]) {
				b.splits = addSplit(b.splits, place.Installed[i].Name, m.Name)
			}
		}
	}
	return nil
}

// layersBefore are the packages of the run before that the base does not have by now, as far as they are in the package cache.
func (b *build) layersBefore() (out []rpm.Meta, err error) {
	inBase := map[string]bool{}
	for _, h := range b.base.headers {
		inBase[h.NEVRA().Name] = true
	}
	for _, l := range b.o.Previous.Packages {
		n, err := rpm.ParseNEVRA(l.NEVRA)
		if err != nil {
			return nil, fmt.Errorf("lock of the deployment before: %w", err)
		}
		if inBase[n.Name] {
			continue
		}
		res, ok, err := b.cachedLocked(n, l)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		m, err := res.Header.Meta()
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// anyObsolete tells whether a package of the sources makes one of the layers obsolete.
func (b *build) anyObsolete(layers []rpm.Meta) bool {
	byName := map[string]*rpm.Meta{}
	for i := range layers {
		byName[layers[i].Name] = &layers[i]
	}
	for _, md := range b.sources {
		for i := range md.Packages {
			m := &md.Packages[i]
			if slices.ContainsFunc(m.Obsoletes, func(d rpm.Dep) bool { return byName[d.Name] != nil && obsoletes(m, byName[d.Name]) }) {
				return true
			}
		}
	}
	return false
}

func obsoletes(m, old *rpm.Meta) bool {
	self := rpm.Dep{Name: old.Name, Flags: rpm.SenseEqual, EVR: old.EVR}
	return m.Name != old.Name && slices.ContainsFunc(m.Obsoletes, self.Intersects)
}

// picked is the package that a pick means; nil for a local one.
func picked(req *solve.Request, p solve.Pick) *rpm.Meta {
	for i := range req.Repos {
		if r := &req.Repos[i]; r.ID == p.Repo {
			return &r.Packages[p.Index]
		}
	}
	return nil
}

// pickedNames are what a plan brings, by name.
func pickedNames(req *solve.Request, plan solve.Plan) map[string]solve.Pick {
	names := map[string]solve.Pick{}
	for _, p := range plan.Install {
		if m := picked(req, p); m != nil {
			names[m.Name] = p
		}
	}
	return names
}
