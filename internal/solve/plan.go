// SPDX-License-Identifier: Apache-2.0

package solve

import "slices"

// Why a package was chosen.
//
//	source  libsolv src/solver.h, SOLVER_REASON_*
const (
	reasonResolveJob = 3
	reasonWeakDep    = 7
)

// plan reads the solver's answer.
func (p *pool) plan(jobs []job) Plan {
	plan := Plan{Satisfied: p.satisfied, Missing: p.missing, Waiting: p.waiting}
	position := map[int]int{} // id -> index into plan.Install
	reason := map[int]int{}
	steps := p.steps()
	for i := 0; i+1 < len(steps); i += 2 {
		id := steps[i]
		position[id], reason[id] = i/2, steps[i+1]
		plan.Install = append(plan.Install, Pick{Repo: p.repoName(p.origin(id)), Index: p.index(id), Reason: ReasonDependency})
	}
	gone := map[string]bool{}
	for _, id := range p.removed() {
		plan.Remove = append(plan.Remove, p.index(id))
		gone[p.pkg(id).Name] = true
	}
	slices.Sort(plan.Remove)
	for id, at := range position {
		switch {
		case reason[id] == reasonWeakDep:
			plan.Install[at].Reason = ReasonWeak
		case p.req.Upgrade && gone[p.pkg(id).Name]:
			plan.Install[at].Reason = ReasonUpgrade
		}
	}
	for _, j := range jobs {
		if j.kind != jobInstall && j.kind != jobReplace {
			continue
		}
		if id := fulfilled(j.ids, position, reason); id != 0 {
			pick := &plan.Install[position[id]]
			pick.Requested, pick.Reason = true, ReasonRequested
		}
	}
	p.addNeeds(&plan, position)
	return plan
}

// fulfilled is the package by which a job came true: the one chosen for it, else the first that came in.
func fulfilled(ids []int, position, reason map[int]int) int {
	first := 0
	for _, id := range ids {
		if _, ok := position[id]; !ok {
			continue
		}
		if reason[id] == reasonResolveJob {
			return id
		}
		if first == 0 {
			first = id
		}
	}
	return first
}

func (p *pool) addNeeds(plan *Plan, position map[int]int) {
	needs := p.needs()
	text := map[int]string{}
	for i := 0; i+3 < len(needs); i += 4 {
		id, by, dep, weak := needs[i], needs[i+1], needs[i+2], needs[i+3]
		if _, ok := text[dep]; !ok {
			text[dep] = p.depText(dep)
		}
		pick := &plan.Install[position[id]]
		n := Need{By: position[by], Dep: text[dep], Weak: weak != 0}
		if len(pick.NeededBy) < maxNeeds && !slices.Contains(pick.NeededBy, n) {
			pick.NeededBy = append(pick.NeededBy, n)
		}
	}
}

// Why gives the shortest chain from a request to a package of a plan: indexes into plan.Install, the requested
// package first. It is empty for one that only an installed package's weak dependency brought in.
func Why(plan Plan, index int) []int {
	if index < 0 || index >= len(plan.Install) {
		return nil
	}
	next := map[int]int{index: -1} // towards index
	queue := []int{index}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if plan.Install[at].Requested {
			var chain []int
			for ; at >= 0; at = next[at] {
				chain = append(chain, at)
			}
			return chain
		}
		for _, n := range plan.Install[at].NeededBy {
			if _, seen := next[n.By]; !seen && n.By >= 0 && n.By < len(plan.Install) {
				next[n.By] = at
				queue = append(queue, n.By)
			}
		}
	}
	return nil
}
