// SPDX-License-Identifier: Apache-2.0

package solve

import "grove/internal/rpm"

// Raw is a pool as a test of the glue feeds it: no packages left out, any jobs and flags.
type Raw struct {
	p      *pool
	jobs   []job
	system string // name of the repo that is installed
}

// NewRaw gives each list to libsolv as a repo, in this order; installed is the index of the one that is there, or -1.
// poolFlags are pairs of a flag and its value.
func NewRaw(arch string, poolFlags []int, repos []Repo, installed int) (*Raw, error) {
	req := &Request{Arch: arch, Repos: repos}
	p, err := emptyPool(req, poolFlags)
	if err != nil {
		return nil, err
	}
	p.wanted = map[string]bool{}
	for i, r := range repos {
		for _, m := range r.Packages {
			p.archOK[m.Arch] = true
			for _, f := range m.Files {
				p.wanted[f] = true
			}
		}
		at := i
		if i == installed {
			at = fromInstalled
		}
		if err := p.feedRepo(r.ID, at, r.Packages, -r.Priority, -r.Cost); err != nil {
			p.free()
			return nil, err
		}
	}
	p.fed()
	r := &Raw{p: p}
	if installed >= 0 {
		r.system = repos[installed].ID
	}
	return r, nil
}

// Free gives the memory back.
func (r *Raw) Free() { r.p.free() }

// Dep makes a dependency known; 0 = it is malformed.
func (r *Raw) Dep(d rpm.Dep) int { return r.p.depID(d) }

// Rel combines two strings by one of libsolv's relations.
func (r *Raw) Rel(name, other string, flags byte) int {
	var prog program
	prog.text(name)
	prog.text(other)
	prog.rel(flags)
	return r.p.run(prog)
}

// OneOf is a list of packages as what a job is about.
func (r *Raw) OneOf(ids []int) int { return r.p.oneOf(ids) }

// ID finds a package by its repo and full name; 0 = there is none.
func (r *Raw) ID(repo, nevra string) int {
	for i, m := range r.p.meta {
		if m.NEVRA.String() == nevra && r.Repo(i+firstID) == repo {
			return i + firstID
		}
	}
	return 0
}

// Name and Repo say which package an id is, Meta what it has.
func (r *Raw) Name(id int) string    { return r.p.pkg(id).NEVRA.String() }
func (r *Raw) Meta(id int) *rpm.Meta { return r.p.pkg(id) }
func (r *Raw) Repo(id int) string {
	if at := r.p.origin(id); at >= 0 {
		return r.p.req.Repos[at].ID
	}
	return r.system
}

// Match gives the packages that a spec of a request means.
func (r *Raw) Match(spec string) []int { return r.p.match(spec).ids }

// Job adds one order.
func (r *Raw) Job(how, what int) { r.jobs = append(r.jobs, job{how: how, what: what, kind: jobOther}) }

// Solve runs the solver; flags are pairs of a flag and its value.
func (r *Raw) Solve(flags []int) (problems int, err error) { return r.p.solveWith(r.jobs, flags) }

// New and Gone are the packages that come in and that go.
func (r *Raw) New() (ids []int) {
	steps := r.p.steps()
	for i := 0; i+1 < len(steps); i += 2 {
		ids = append(ids, steps[i])
	}
	return ids
}

// Gone are the installed packages that go.
func (r *Raw) Gone() []int { return r.p.removed() }

// Problems gives problem, type, from, to, dep, job for each rule, and Solutions problem, solution, p, rp.
func (r *Raw) Problems() []int     { return r.p.problems() }
func (r *Raw) Solutions() []int    { return r.p.solutions() }
func (r *Raw) Text(dep int) string { return r.p.depText(dep) }
func (r *Raw) Valid(id int) bool   { return r.p.valid(id) }
