// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"grove/internal/rpm"
)

// drift is a base package that is there in a version that somebody cannot use, while a source has one that they can.
type drift struct{ old, fit, by, dep int } // by needs dep, which fit has

// Limits of the search for ways out: each round asks the solver once more.
const (
	maxOverrideRounds = 4
	maxFits           = 2
	maxFitTries       = 4
)

// drifts finds the base packages that stand in the way of newer, or older, ones of their own name.
func (p *pool) drifts(faults []fault) []drift {
	var out []drift
	note := func(old, fit int, asked fault) {
		if !slices.ContainsFunc(out, func(d drift) bool { return d.old == old }) {
			out = append(out, drift{old, fit, asked.from, asked.dep})
		}
	}
	for _, f := range faults {
		if f.kind != ruleRequires && f.kind != ruleNothingProvides || f.dep == 0 {
			continue
		}
		for _, old := range p.nearly(f.dep) { // the base has the capability, in another version
			if fit := p.best(f.dep, p.pkg(old).Name); fit != 0 {
				note(old, fit, f)
			}
		}
		for _, g := range faults { // or under another name, as libraries do
			old, fit := g.from, g.to
			if p.valid(fit) && p.isInstalled(fit) {
				old, fit = fit, old
			}
			if !p.valid(old) || !p.valid(fit) || !p.isInstalled(old) || p.isInstalled(fit) || p.pkg(old).Name != p.pkg(fit).Name {
				continue
			}
			if slices.Contains(p.providers(f.dep), fit) {
				note(old, fit, f)
			}
		}
	}
	return out
}

// nearly are the installed packages that stay and have a capability of that name in a version that does not do.
func (p *pool) nearly(dep int) []int {
	d, ok := versionedDep(p.depText(dep))
	if !ok {
		return nil
	}
	var out []int
	for id := firstID; id < firstID+len(p.meta) && p.isInstalled(id); id++ {
		if !p.released[id] && p.other(id, d) != (rpm.Dep{}) {
			out = append(out, id)
		}
	}
	return out
}

// other is what a package has under a capability's name that is not what is asked for.
func (p *pool) other(id int, d rpm.Dep) rpm.Dep {
	m := p.pkg(id)
	self := rpm.Dep{Name: m.Name, Flags: rpm.SenseEqual, EVR: m.EVR}
	for _, have := range append([]rpm.Dep{self}, m.Provides...) {
		if have.Name == d.Name && !have.Intersects(d) {
			return have
		}
	}
	return rpm.Dep{}
}

// best is the newest package of a name, not installed, that has a capability; 0 = there is none.
func (p *pool) best(dep int, name string) int {
	best := 0
	for _, id := range p.providers(dep) {
		if p.isInstalled(id) || p.pkg(id).Name != name {
			continue
		}
		if best == 0 || p.pkg(id).EVR.Compare(p.pkg(best).EVR) > 0 {
			best = id
		}
	}
	return best
}

// inPlaceOf are the packages of sources that were asked for while the base has another version of them: of several the newest.
func (p *pool) inPlaceOf(faults []fault, direct map[string]bool) []int {
	best := map[int]int{} // by the installed one
	for _, f := range faults {
		if !isAsked(f) || f.job.kind != jobInstall {
			continue
		}
		for _, g := range faults {
			for _, pair := range [][2]int{{g.from, g.to}, {g.to, g.from}} {
				asked, old := pair[0], pair[1]
				if g.kind == ruleSameName && slices.Contains(f.job.ids, asked) && p.valid(old) && p.isInstalled(old) && !p.isLocal(asked) {
					direct[f.job.spec] = true
					if was := best[old]; was == 0 || p.pkg(asked).EVR.Compare(p.pkg(was).EVR) > 0 {
						best[old] = asked
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Values(best))
}

// newest is the newest package of the repos that has an installed one's name and architecture; 0 = there is none.
func (p *pool) newest(installed int) int {
	best := 0
	for _, id := range p.byName[p.pkg(installed).Name] {
		if p.isInstalled(id) || p.pkg(id).Arch != p.pkg(installed).Arch {
			continue
		}
		if best == 0 || p.pkg(id).EVR.Compare(p.pkg(best).EVR) > 0 {
			best = id
		}
	}
	return best
}

// tooOld says in which direction a base package misses what another has.
func (p *pool) tooOld(old, fit int) string {
	if p.pkg(old).EVR.Compare(p.pkg(fit).EVR) > 0 {
		return "too new"
	}
	return "too old"
}

func (p *pool) driftText(d drift) string {
	return fmt.Sprintf("%s needs %s, which %s has; %s is %s for it", p.name(d.by), p.depText(d.dep), p.name(d.fit), p.name(d.old), p.tooOld(d.old, d.fit))
}

// findWays looks for what makes an impossible request possible: base packages to replace, and versions that fit the
// base. Each was tried.
func (p *pool) findWays(c *Conflict, all map[int][]fault) {
	if !p.req.KeepInstalled {
		return
	}
	direct := map[string]bool{} // requests for another version of a base package itself
	for _, n := range slices.Sorted(maps.Keys(all)) {
		for _, d := range p.drifts(all[n]) {
			c.override = append(c.override, p.pkg(d.fit).NEVRA.String())
		}
		for _, id := range p.inPlaceOf(all[n], direct) {
			c.override = append(c.override, p.pkg(id).NEVRA.String())
		}
		for _, f := range all[n] { // what depends on the exact version of something moves along with it
			if f.kind != ruleRequires || !p.valid(f.from) || !p.isInstalled(f.from) || !p.trying {
				continue
			}
			if id := p.newest(f.from); id != 0 {
				c.override = append(c.override, p.pkg(id).NEVRA.String())
			}
		}
	}
	if p.trying || len(c.override) == 0 {
		return
	}
	c.Drift = true
	for _, n := range slices.Sorted(maps.Keys(all)) {
		for _, f := range all[n] {
			if f.job != nil && f.job.kind == jobInstall && !direct[f.job.spec] && slices.Contains(p.req.Install, f.job.spec) && !slices.Contains(c.Asked, f.job.spec) {
				c.Asked = append(c.Asked, f.job.spec)
			}
		}
	}
	c.Override = p.overrides(c.override)
	c.Fits = p.fits()
}

// overrides adds to what is to be replaced what then stands in the way, until the request is possible; nil = it never is.
func (p *pool) overrides(first []string) []string {
	list := slices.Compact(slices.Sorted(slices.Values(first)))
	for range maxOverrideRounds {
		req := *p.req
		req.Replace = slices.Clone(p.req.Replace)
		for _, n := range list {
			req.Replace = append(req.Replace, Replacement{Spec: n})
		}
		_, err := try(&req)
		if err == nil {
			return list
		}
		var c *Conflict
		if !errors.As(err, &c) {
			return nil
		}
		before := len(list)
		for _, n := range c.override {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
		if len(list) == before {
			return nil
		}
	}
	return nil
}

// fits are other versions of packages that were asked for by version, which go in as the base is.
func (p *pool) fits() []string {
	var out []string
	tries := 0
	for i, spec := range p.req.Install {
		m := p.match(spec)
		if m.form.version == "" {
			continue // of a name alone the solver has tried every version
		}
		others := slices.DeleteFunc(slices.Clone(p.byName[m.form.name]), func(id int) bool { return p.isInstalled(id) || slices.Contains(m.ids, id) })
		slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(p.pkg(b).EVR.Compare(p.pkg(a).EVR), 0) })
		for _, id := range others {
			if tries++; tries > maxFitTries || len(out) == maxFits {
				return out
			}
			req := *p.req
			req.Install = slices.Clone(p.req.Install)
			req.Install[i] = p.pkg(id).NEVRA.String()
			if _, err := try(&req); err == nil && !slices.Contains(out, req.Install[i]) {
				out = append(out, req.Install[i])
			}
		}
	}
	return out
}

// try solves without looking for ways out of a conflict.
func try(req *Request) (Plan, error) {
	p, err := newPool(req)
	if err != nil {
		return Plan{}, err
	}
	defer p.free()
	p.trying = true
	return p.answer()
}
