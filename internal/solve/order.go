// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"cmp"
	"slices"

	"grove/internal/rpm"
)

// ordered puts the new packages into an order that follows from themselves and from what stays installed alone.
// libsolv breaks ties by where a package came from: the same packages, one of them kept from the run before, would
// go in another way round, and what is made of them (an rpmdb, ids of users) would differ.
func ordered(req *Request, plan Plan) Plan {
	if len(plan.Install) < 2 {
		return plan
	}
	sorted := make([]int, len(plan.Install)) // indexes into plan.Install
	metas := make([]rpm.Meta, len(plan.Install))
	for i, p := range plan.Install {
		sorted[i], metas[i] = i, req.meta(p)
	}
	slices.SortFunc(sorted, func(a, b int) int {
		if c := cmp.Compare(metas[a].NEVRA.String(), metas[b].NEVRA.String()); c != 0 {
			return c
		}
		return cmp.Compare(metas[a].Digest.Hex, metas[b].Digest.Hex)
	})
	again := Request{Arch: req.Arch, Installed: withoutIndexes(req.Installed, plan.Remove), KeepInstalled: true, NoWeak: true}
	source := Repo{ID: "@plan"}
	for _, i := range sorted {
		source.Packages = append(source.Packages, metas[i])
		again.Install = append(again.Install, metas[i].NEVRA.String())
	}
	again.Repos = []Repo{source}
	steps, err := orderOf(&again)
	if err != nil || len(steps) != len(sorted) {
		return plan // two versions of one name, kernels: such a plan is rare, and its own order is as good
	}
	out := make([]Pick, len(sorted))
	for at, s := range steps {
		out[at] = plan.Install[sorted[s]]
	}
	plan.Install = out
	return plan
}

// orderOf solves a request of one source and gives the indexes of the packages chosen, in rpm's order.
func orderOf(req *Request) ([]int, error) {
	p, err := newPool(req)
	if err != nil {
		return nil, err
	}
	defer p.free()
	jobs, err := p.jobs()
	if err != nil {
		return nil, err
	}
	if n, err := p.solve(jobs); err != nil || n > 0 {
		return nil, err
	}
	var out []int
	steps := p.steps()
	for i := 0; i+1 < len(steps); i += 2 {
		out = append(out, p.index(steps[i]))
	}
	return out, nil
}

// meta is the package that a pick means.
func (req *Request) meta(p Pick) rpm.Meta {
	for _, r := range req.Repos {
		if r.ID == p.Repo {
			return r.Packages[p.Index]
		}
	}
	return req.Local[p.Index]
}

func withoutIndexes(list []rpm.Meta, gone []int) []rpm.Meta {
	out := make([]rpm.Meta, 0, len(list))
	for i, m := range list {
		if !slices.Contains(gone, i) {
			out = append(out, m)
		}
	}
	return out
}
