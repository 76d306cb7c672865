// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// installOnly are capabilities of packages of which several versions may be there together.
//
//	source  dnf.conf(5), installonlypkgs
var installOnly = []string{
	"kernel", "kernel-PAE", "installonlypkg(kernel)", "installonlypkg(kernel-module)", "installonlypkg(vm)", "multiversion(kernel)",
}

// StandsBeside tells whether a package is one of those of which several versions may be there together, as kernels are.
func StandsBeside(m rpm.Meta) bool {
	return slices.ContainsFunc(m.Provides, func(d rpm.Dep) bool { return slices.Contains(installOnly, d.Name) })
}

// What libsolv shall do.
//
//	source  libsolv src/solver.h, SOLVER_*
const (
	selectOne      = 0x01
	selectProvides = 0x03
	selectOneOf    = 0x04
	selectAll      = 0x06

	doInstall        = 0x0100
	doErase          = 0x0200
	doUpdate         = 0x0300
	doMultiversion   = 0x0500
	doLock           = 0x0600
	doAllowUninstall = 0x0b00

	forceBest = 0x00100000

	setEVR  = 0x02000000
	setArch = 0x04000000
)

type jobKind int

const (
	jobInstall jobKind = iota
	jobReplace
	jobRemove
	jobKeep
	jobOther
)

// job is one order to libsolv and the request that it stands for.
type job struct {
	how, what int
	kind      jobKind
	spec      string
	ids       []int // of packages: candidates, or the one that is kept or removed
}

// jobs turns the request into orders; p.satisfied and p.missing come out on the way.
func (p *pool) jobs() ([]job, error) {
	var out []job
	several := p.multiversionJobs()
	replaced, err := p.replaceJobs()
	if err != nil {
		return nil, err
	}
	removed, err := p.removeJobs()
	if err != nil {
		return nil, err
	}
	for _, spec := range p.req.Install {
		j, err := p.installJobs(spec)
		if err != nil {
			return nil, err
		}
		out = append(out, j...)
	}
	for _, f := range p.req.Files {
		j, err := p.fileJobs(f)
		if err != nil {
			return nil, err
		}
		out = append(out, j...)
	}
	out = append(append(append(out, replaced...), removed...), several...)
	if p.req.Upgrade {
		out = append(out, job{how: doUpdate | selectAll, kind: jobOther})
	}
	if p.req.Best {
		for i := range out {
			if j := &out[i]; j.kind == jobInstall || j.how == doUpdate|selectAll {
				j.how |= forceBest
			}
		}
	}
	if p.req.KeepInstalled {
		for id := firstID; id < firstID+len(p.meta) && p.isInstalled(id); id++ {
			if !p.released[id] && p.index(id) < len(p.req.Installed)-p.req.Loose {
				out = append(out, job{how: doLock | selectOne, what: id, kind: jobKeep, ids: []int{id}})
			}
		}
	}
	return out, nil
}

func (p *pool) installJobs(spec string) ([]job, error) {
	m := p.match(spec)
	if m.dep != 0 {
		return []job{{how: doInstall | selectProvides, what: m.dep, kind: jobInstall, spec: spec, ids: p.providers(m.dep)}}, nil
	}
	if strings.HasPrefix(strings.TrimSpace(spec), "(") {
		var prog program
		return nil, prog.rich(strings.TrimSpace(spec))
	}
	if len(m.ids) == 0 {
		if p.req.AllowMissing {
			p.missing = append(p.missing, spec)
			return nil, nil
		}
		return nil, p.unknown(spec, false)
	}
	how := doInstall
	if m.form.arch != "" {
		how |= setArch
	}
	if m.form.version != "" {
		how |= setEVR
	}
	var out []job
	groups := p.groups(m)
	satisfied := true
	for _, ids := range groups {
		if slices.ContainsFunc(ids, func(id int) bool { return p.isInstalled(id) && !p.released[id] }) {
			continue
		}
		satisfied = false
		ids = p.candidates(ids)
		if len(ids) == 0 {
			continue // only released ones match: what removes or replaces them decides
		}
		out = append(out, job{how: how | selectOneOf, what: p.oneOf(ids), kind: jobInstall, spec: spec, ids: ids})
	}
	if satisfied {
		p.satisfied = append(p.satisfied, spec)
	} else if len(out) == 0 {
		return nil, &Unknown{Spec: spec, Why: "only an installed package that is to go is called so"}
	}
	return out, nil
}

// candidates drops the installed ones and, where a package file has the very name, its twins in the sources.
func (p *pool) candidates(ids []int) []int {
	local := map[rpm.NEVRA]bool{}
	for _, id := range ids {
		if p.isLocal(id) {
			local[p.pkg(id).NEVRA] = true
		}
	}
	var out []int
	for _, id := range ids {
		if !p.isInstalled(id) && (p.isLocal(id) || !local[p.pkg(id).NEVRA]) {
			out = append(out, id)
		}
	}
	return out
}

// groups are the packages of which one each is to come in: those of a name, and where the architecture was a glob,
// those of a name and architecture. What makes packages of a plain name obsolete does for them.
//
//	source  dnf dnf/base.py (install), dnf/subject.py (_get_best_selectors)
func (p *pool) groups(m match) [][]int {
	if !isGlob(m.form.name) && !isGlob(m.form.arch) && !m.each {
		if m.form == (pattern{name: m.form.name}) && m.form.name != "" {
			return [][]int{p.withObsoleters(m.ids)}
		}
		return [][]int{m.ids}
	}
	key := func(id int) string {
		if isGlob(m.form.arch) {
			return p.pkg(id).Name + "." + p.pkg(id).Arch
		}
		return p.pkg(id).Name
	}
	sorted := slices.Clone(m.ids)
	slices.SortStableFunc(sorted, func(a, b int) int { return cmp.Or(strings.Compare(key(a), key(b)), cmp.Compare(a, b)) })
	var out [][]int
	for i, id := range sorted {
		if i == 0 || key(id) != key(sorted[i-1]) {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], id)
	}
	for i, ids := range out {
		if m.form == (pattern{name: m.form.name}) {
			out[i] = p.withObsoleters(ids)
		}
	}
	return out
}

// withObsoleters adds the packages that make one of ids obsolete; an installed one fulfils the request.
func (p *pool) withObsoleters(ids []int) []int {
	name := p.pkg(ids[0]).Name
	out := ids
	for _, id := range p.obsoleters(name) {
		if !slices.Contains(ids, id) && slices.ContainsFunc(ids, func(old int) bool { return p.makesObsolete(id, old) }) {
			out = append(out[:len(out):len(out)], id)
		}
	}
	return out
}

// obsoleters are the packages that say they make one of that name obsolete, in whatever version.
func (p *pool) obsoleters(name string) []int {
	if p.byObsolete == nil {
		p.byObsolete = map[string][]int{}
		for i, m := range p.meta {
			for _, d := range m.Obsoletes {
				p.byObsolete[d.Name] = append(p.byObsolete[d.Name], i+firstID)
			}
		}
	}
	return p.byObsolete[name]
}

func (p *pool) makesObsolete(id, old int) bool {
	o := p.pkg(old)
	self := rpm.Dep{Name: o.Name, Flags: rpm.SenseEqual, EVR: o.EVR}
	return p.pkg(id).Name != o.Name && slices.ContainsFunc(p.pkg(id).Obsoletes, self.Intersects)
}

func (p *pool) removeJobs() ([]job, error) {
	var out []job
	for _, spec := range p.req.Remove {
		var found []int
		for _, x := range forms(spec) {
			for _, id := range p.named(x) {
				if p.isInstalled(id) {
					found = append(found, id)
				}
			}
			if len(found) > 0 {
				break
			}
		}
		if len(found) == 0 {
			u := p.unknown(spec, true)
			u.Why = ""
			return nil, fmt.Errorf("remove: %w", &Unknown{Spec: spec, Near: u.Near})
		}
		for _, id := range found {
			p.released[id] = true
			out = append(out, job{how: doErase | selectOne, what: id, kind: jobRemove, spec: spec, ids: []int{id}})
		}
	}
	return out, nil
}
