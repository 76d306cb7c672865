// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// Kinds of rules that a problem is made of.
//
//	source  libsolv src/rules.h, SolverRuleinfo
const (
	ruleNotInstallable  = 0x101
	ruleNothingProvides = 0x102
	ruleRequires        = 0x103
	ruleSelfConflict    = 0x104
	ruleConflicts       = 0x105
	ruleSameName        = 0x106
	ruleObsoletes       = 0x107
	ruleImplicitObs     = 0x108
	ruleInstalledObs    = 0x109
	ruleUpdate          = 0x200
	ruleJob             = 0x400
	ruleJobNothing      = 0x401
	ruleInfArch         = 0x600
	ruleBest            = 0x900
	ruleYumObs          = 0xa00
)

// Elements of solutions that name no package.
const solutionJob = 0

// At most so many lines: more than that nobody reads.
const (
	maxDetails   = 12
	maxSolutions = 6
	maxHaves     = 3
)

// fault is one rule of a problem.
type fault struct {
	problem, kind, from, to, dep int
	job                          *job
}

// explain turns the solver's problems into a Conflict.
func (p *pool) explain(jobs []job) *Conflict {
	raw := p.problems()
	byProblem := map[int][]fault{}
	var order []int
	for i := 0; i+5 < len(raw); i += 6 {
		f := fault{raw[i], raw[i+1], raw[i+2], raw[i+3], raw[i+4], nil}
		if at := (raw[i+5] - 1) / 2; raw[i+5] > 0 && at < len(jobs) {
			f.job = &jobs[at]
		}
		if byProblem[f.problem] == nil {
			order = append(order, f.problem)
		}
		byProblem[f.problem] = append(byProblem[f.problem], f)
	}
	ways := p.solutions()
	c := &Conflict{}
	for _, n := range order {
		c.Problems = append(c.Problems, p.problem(byProblem[n], p.waysOut(n, ways, jobs, byProblem[n])))
	}
	p.findWays(c, byProblem)
	if len(c.Problems) == 0 {
		c.Problems = []Problem{{Text: "The request has no answer."}}
	}
	return c
}

func (p *pool) problem(faults []fault, ways []string) Problem {
	faults = p.chain(faults)
	cause := p.cause(faults)
	text := p.faultText(cause)
	if p.req.KeepInstalled && !isMissing(cause) {
		if d := p.drifts(faults); len(d) > 0 {
			text = p.driftText(d[0])
		}
	}
	out := Problem{Text: p.subject(faults) + text + ".", Solutions: ways}
	for _, asked := range []bool{true, false} { // the request first, then the chain; the cause is said already
		for _, f := range faults {
			line := p.faultText(f)
			if isAsked(f) == asked && line != "" && line != text && !slices.Contains(out.Details, line) {
				out.Details = append(out.Details, line)
			}
		}
	}
	for _, f := range faults {
		if f.kind == ruleRequires || f.kind == ruleNothingProvides {
			for _, line := range p.others(f.dep) {
				if !slices.Contains(out.Details, line) {
					out.Details = append(out.Details, line)
				}
			}
		}
	}
	if n := len(out.Details) - maxDetails; n > 0 {
		out.Details = append(out.Details[:maxDetails:maxDetails], fmt.Sprintf("and %d more", n))
	}
	if cause.kind == ruleNothingProvides {
		out.Solutions = append(out.Solutions, p.missingWays(cause)...)
	}
	return out
}

// isMissing is true where nobody has what is needed, or the base has it in a version that does not do: this says it all.
func isMissing(f fault) bool { return f.kind == ruleNothingProvides || f.kind == ruleRequires }

func isAsked(f fault) bool {
	return f.kind == ruleJob && f.job != nil && (f.job.kind == jobInstall || f.job.kind == jobReplace)
}

// subject says which request fails.
func (p *pool) subject(faults []fault) string {
	for _, kind := range []jobKind{jobInstall, jobReplace, jobRemove} {
		for _, f := range faults {
			if f.job == nil || f.job.kind != kind {
				continue
			}
			switch kind {
			case jobRemove:
				return fmt.Sprintf("%s cannot be removed: ", p.name(f.job.ids[0]))
			case jobReplace:
				return fmt.Sprintf("%q cannot be put in place of the installed one: ", f.job.spec)
			}
			return fmt.Sprintf("%q cannot be installed: ", f.job.spec)
		}
	}
	return "The packages do not fit together: "
}

// chain orders the faults from the request to what it stumbles over.
func (p *pool) chain(faults []fault) []fault {
	var queue []int
	for _, f := range faults {
		if f.job != nil && f.job.kind != jobKeep && f.job.kind != jobOther {
			queue = append(queue, f.job.ids...)
		}
	}
	var out []fault
	used := make([]bool, len(faults))
	seen := map[int]bool{}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if seen[id] {
			continue
		}
		seen[id] = true
		for i, f := range faults {
			if used[i] || f.from != id || f.kind == ruleJob {
				continue
			}
			used[i] = true
			out = append(out, f)
			if f.kind == ruleRequires {
				queue = append(queue, p.providers(f.dep)...)
			}
		}
	}
	for i, f := range faults {
		if !used[i] {
			out = append(out, f)
		}
	}
	return out
}

// cause picks the fault that says most to a person.
func (p *pool) cause(faults []fault) fault {
	weight := func(f fault) int {
		base := f.dep != 0 && len(p.haves(f.dep)) > 0
		switch f.kind {
		case ruleRequires:
			if base {
				return 9
			}
			return 3
		case ruleNothingProvides:
			if base {
				return 10
			}
			return 8
		case ruleConflicts, ruleObsoletes, ruleInstalledObs, ruleSelfConflict, ruleYumObs:
			return 7
		case ruleSameName, ruleImplicitObs:
			return 6
		case ruleNotInstallable, ruleInfArch, ruleJobNothing:
			return 5
		case ruleJob:
			if f.job != nil && f.job.kind == jobKeep {
				return 2
			}
			return 0
		}
		return 1
	}
	best := faults[0]
	for _, f := range faults[1:] {
		if weight(f) > weight(best) {
			best = f
		}
	}
	return best
}

// name is a package as a person knows it.
func (p *pool) name(id int) string {
	if !p.valid(id) {
		return "the system"
	}
	s := p.pkg(id).NEVRA.String()
	if p.isInstalled(id) {
		return "the base's " + s
	}
	return s
}

// has ends a sentence about a capability that stands in the way.
func (p *pool) has(id int) string {
	if p.valid(id) && p.isInstalled(id) {
		return "and the base has " + p.pkg(id).NEVRA.String()
	}
	return "which " + p.name(id) + " provides"
}

func (p *pool) faultText(f fault) string {
	dep := p.depText(f.dep)
	switch f.kind {
	case ruleNotInstallable:
		return fmt.Sprintf("%s does not run on %s", p.name(f.from), p.req.Arch)
	case ruleNothingProvides:
		if has := p.haves(f.dep); len(has) > 0 {
			return fmt.Sprintf("%s needs %s, for which %s", p.name(f.from), dep, strings.Join(has, ", "))
		}
		return fmt.Sprintf("%s needs %s, which nothing provides", p.name(f.from), dep)
	case ruleRequires:
		s := fmt.Sprintf("%s needs %s", p.name(f.from), dep)
		if has := p.haves(f.dep); len(has) > 0 {
			s += ", for which " + strings.Join(has, ", ")
		}
		return s
	case ruleSelfConflict:
		return fmt.Sprintf("%s conflicts with %s, which it provides itself", p.name(f.from), dep)
	case ruleConflicts:
		return fmt.Sprintf("%s conflicts with %s, %s", p.name(f.from), dep, p.has(f.to))
	case ruleSameName:
		if p.valid(f.to) && p.isInstalled(f.to) {
			return fmt.Sprintf("%s would take the place of %s", p.name(f.from), p.name(f.to))
		}
		return fmt.Sprintf("%s and %s cannot be there together", p.name(f.from), p.name(f.to))
	case ruleObsoletes, ruleInstalledObs, ruleYumObs:
		return fmt.Sprintf("%s obsoletes %s, %s", p.name(f.from), dep, p.has(f.to))
	case ruleImplicitObs:
		return fmt.Sprintf("%s takes the place of %s", p.name(f.from), p.name(f.to))
	case ruleUpdate:
		return fmt.Sprintf("%s has to stay", p.name(f.from))
	case ruleInfArch:
		return fmt.Sprintf("%s is for a lesser architecture than another of its name", p.name(f.from))
	case ruleBest:
		return "only the best version will do (best=True in dnf.conf)"
	case ruleJobNothing:
		return fmt.Sprintf("nothing provides %s", dep)
	case ruleJob:
		return jobText(p, f.job)
	}
	return ""
}

func jobText(p *pool, j *job) string {
	switch {
	case j == nil:
		return ""
	case j.kind == jobKeep:
		return p.name(j.ids[0]) + " is kept as it is"
	case j.kind == jobRemove:
		return p.name(j.ids[0]) + " is to be removed"
	case len(j.ids) > 0 && (j.kind == jobInstall || j.kind == jobReplace):
		return fmt.Sprintf("asked for: %s (%s)", j.spec, p.few(j.ids))
	}
	return ""
}

// few names some of several packages.
func (p *pool) few(ids []int) string {
	var names []string
	seen := map[string]bool{}
	for _, id := range ids { // two sources may have the same package
		if n := p.name(id); !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	if n := len(names) - maxHaves; n > 0 {
		names = append(names[:maxHaves], fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, ", ")
}

// haves tells which installed packages have a capability in a version that does not do.
func (p *pool) haves(dep int) []string {
	d, ok := versionedDep(p.depText(dep))
	if !ok {
		return nil
	}
	var out []string
	for _, id := range p.nearly(dep) {
		m, have := p.pkg(id), p.other(id, d)
		text := p.name(id)
		if have.Name != m.Name {
			text += " with " + have.String()
		}
		too := "too old"
		if d.Flags&rpm.SenseGreater == 0 && have.EVR.Compare(d.EVR) > 0 {
			too = "too new"
		}
		if text += " is " + too; len(out) < maxHaves {
			out = append(out, text)
		}
	}
	return out
}

// others names packages that would have a capability, but cannot be used or have another version.
func (p *pool) others(dep int) []string {
	text := p.depText(dep)
	d, ok := versionedDep(text)
	if !ok {
		d = rpm.Dep{Name: text}
	}
	var out []string
	for _, l := range p.out {
		if provides(l.meta, d) && len(out) < maxHaves {
			out = append(out, fmt.Sprintf("%s of %s would provide %s, but %s", l.meta.NEVRA, p.repoName(l.repo), text, l.why))
		}
	}
	if len(p.providers(dep)) > 0 || !ok {
		return out
	}
	for i, m := range p.meta {
		for _, have := range m.Provides {
			if have.Name == d.Name && !p.isInstalled(i+firstID) && len(out) < maxHaves {
				out = append(out, fmt.Sprintf("%s has only %s", m.NEVRA, have))
			}
		}
	}
	return out
}

func provides(m *rpm.Meta, d rpm.Dep) bool {
	self := rpm.Dep{Name: m.Name, Flags: rpm.SenseEqual, EVR: m.EVR}
	return self.Intersects(d) || slices.ContainsFunc(m.Provides, d.Intersects) || slices.Contains(m.Files, d.Name)
}

func (p *pool) missingWays(f fault) []string {
	for _, l := range p.out {
		if l.why == "it is excluded" && provides(l.meta, rpm.Dep{Name: strings.Fields(p.depText(f.dep))[0]}) {
			return []string{"do not exclude " + l.meta.Name}
		}
	}
	return []string{"add a source that has " + p.depText(f.dep)}
}

// waysOut words libsolv's proposals for one problem.
func (p *pool) waysOut(problem int, raw []int, jobs []job, faults []fault) []string {
	texts := map[int][]string{}
	var order []int
	for i := 0; i+3 < len(raw); i += 4 {
		if raw[i] != problem {
			continue
		}
		n := raw[i+1]
		if texts[n] == nil {
			order = append(order, n)
		}
		if t := p.wayOut(raw[i+2], raw[i+3], jobs, faults); t != "" && !slices.Contains(texts[n], t) {
			texts[n] = append(texts[n], t)
		}
	}
	var out []string
	for _, n := range order {
		t := strings.Join(texts[n], " and ")
		if t != "" && !slices.Contains(out, t) && len(out) < maxSolutions {
			out = append(out, t)
		}
	}
	return out
}

func (p *pool) wayOut(what, rp int, jobs []job, faults []fault) string {
	if what == solutionJob {
		at := (rp - 1) / 2
		if rp <= 0 || at >= len(jobs) {
			return ""
		}
		switch j := jobs[at]; j.kind {
		case jobInstall:
			return fmt.Sprintf("do not ask for %q", j.spec)
		case jobReplace:
			return fmt.Sprintf("do not replace by %q", j.spec)
		case jobRemove:
			return "keep " + p.name(j.ids[0])
		case jobKeep:
			return p.letGo(j.ids[0], faults)
		}
		return ""
	}
	switch {
	case p.valid(what) && p.valid(rp):
		return fmt.Sprintf("let %s take the place of %s (override replace)", p.name(rp), p.name(what))
	case p.valid(what) && p.isInstalled(what):
		return fmt.Sprintf("take %s out (override remove)", p.name(what))
	case what < 0 && p.valid(rp):
		return fmt.Sprintf("admit %s", p.name(rp))
	}
	return ""
}

// letGo is how an installed package can change: by one that stands in the same problem, if there is one.
func (p *pool) letGo(id int, faults []fault) string {
	for _, f := range faults {
		for _, other := range []int{f.from, f.to} {
			if p.valid(other) && !p.isInstalled(other) && p.pkg(other).Name == p.pkg(id).Name {
				return fmt.Sprintf("let %s take the place of %s (override replace)", p.name(other), p.name(id))
			}
		}
	}
	return fmt.Sprintf("replace or take out %s (override)", p.name(id))
}
