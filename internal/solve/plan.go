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
