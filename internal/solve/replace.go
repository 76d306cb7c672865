// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"fmt"
	"slices"

	"grove/internal/rpm"
)

// multiversionJobs let packages stand beside others of their name.
func (p *pool) multiversionJobs() []job {
	var out []job
	for _, name := range slices.Concat(installOnly, p.req.InstallOnly) {
		dep := p.depID(rpm.Dep{Name: name})
		ids := p.providers(dep)
		if len(ids) == 0 {
			continue
		}
		for _, id := range ids {
			p.beside[id] = true
		}
		out = append(out, job{how: doMultiversion | selectProvides, what: dep, kind: jobOther})
	}
	return out
}

// fileJobs asks for a package file, or for a newer one where the file does not insist.
func (p *pool) fileJobs(f File) ([]job, error) {
	id := 0
	for at := firstID; at < firstID+len(p.meta); at++ {
		if p.isLocal(at) && p.pkg(at).NEVRA.String() == f.NEVRA {
			id = at
		}
	}
	if id == 0 {
		return nil, p.unknown(f.NEVRA, false)
	}
	own := p.pkg(id)
	ids := []int{id}
	for _, other := range p.byName[own.Name] {
		m := p.pkg(other)
		newer := m.EVR.Compare(own.EVR)
		switch {
		case p.isInstalled(other) && !p.released[other] && newer >= 0 && m.Arch == own.Arch && !p.beside[other]:
			p.satisfied = append(p.satisfied, f.NEVRA)
			return nil, nil
		case f.Newer && newer > 0 && !p.isInstalled(other) && !p.isLocal(other) && m.Arch == own.Arch:
			ids = append(ids, other)
		}
	}
	return []job{{how: doInstall | selectOneOf, what: p.oneOf(ids), kind: jobInstall, spec: f.NEVRA, ids: ids}}, nil
}

func (p *pool) replaceJobs() ([]job, error) {
	var out []job
	for _, r := range p.req.Replace {
		j, err := p.replaceJob(r)
		if err != nil {
			return nil, fmt.Errorf("replace: %w", err)
		}
		out = append(out, j...)
	}
	return out, nil
}

// source is the repo that a package counts as one of.
func (p *pool) source(id int) string {
	if r := p.origin(id); r >= 0 && p.index(id) < len(p.req.Repos[r].Origins) {
		return p.req.Repos[r].Origins[p.index(id)]
	}
	return p.repoName(p.origin(id))
}

// exchange is an installed package, or several that one obsoletes, and what may take their place.
type exchange struct{ old, by []int }

func (p *pool) replaceJob(r Replacement) ([]job, error) {
	m := p.match(r.Spec)
	open := r.From == "" && m.form.version == ""
	var ids []int
	for _, id := range p.candidates(m.ids) {
		if r.From == "" || p.source(id) == r.From {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		if open && slices.ContainsFunc(m.ids, p.isInstalled) {
			p.waiting = append(p.waiting, r.Spec)
			return nil, nil
		}
		u := p.unknown(r.Spec, false)
		if r.From != "" && u.Why == "" {
			u.Why, u.Near = "source "+r.From+" has no such package", nil
		}
		return nil, u
	}
	list := p.exchanges(ids, m.form.arch != "")
	if len(list) == 0 {
		return nil, &Unknown{Spec: r.Spec, Why: "no installed package is called " + p.pkg(ids[0]).Name + " or made obsolete by it"}
	}
	var out []job
	for _, x := range list {
		by := x.by
		if open {
			by = slices.DeleteFunc(slices.Clone(by), func(id int) bool {
				return slices.ContainsFunc(x.old, func(o int) bool {
					return p.pkg(o).Name == p.pkg(id).Name && p.pkg(id).EVR.Compare(p.pkg(o).EVR) <= 0
				})
			})
		}
		if len(by) == 0 {
			continue
		}
		how := doInstall | selectOneOf
		if m.form.version != "" {
			how |= setEVR | setArch
		}
		out = append(out, job{how: how, what: p.oneOf(by), kind: jobReplace, spec: r.Spec, ids: by})
		for _, id := range x.old {
			p.released[id] = true
			j := job{how: doAllowUninstall | selectOne, what: id, kind: jobOther, ids: []int{id}}
			if p.beside[id] { // nothing else would take it away
				j = job{how: doErase | selectOne, what: id, kind: jobRemove, spec: r.Spec, ids: []int{id}}
			}
			out = append(out, j)
		}
	}
	if len(out) == 0 {
		p.waiting = append(p.waiting, r.Spec)
	}
	return out, nil
}

// exchanges pairs candidates with what they take the place of: each installed package of their name by those of its
// architecture, else what they make obsolete. anyArch lets a named architecture take the place of another.
func (p *pool) exchanges(ids []int, anyArch bool) []exchange {
	var out []exchange
	for id := firstID; id < firstID+len(p.meta) && p.isInstalled(id); id++ {
		old := p.pkg(id)
		var same, other []int
		for _, c := range ids {
			switch m := p.pkg(c); {
			case m.Name != old.Name:
			case m.Arch == old.Arch:
				same = append(same, c)
			case anyArch || m.Arch == "noarch" || old.Arch == "noarch":
				other = append(other, c)
			}
		}
		if len(same) == 0 && !slices.ContainsFunc(other, func(c int) bool { return p.installedAs(p.pkg(c)) }) {
			same = other
		}
		if len(same) > 0 {
			out = append(out, exchange{append([]int{id}, p.obsoleted(p.pkg(same[0]))...), same})
		}
	}
	if len(out) > 0 {
		return out
	}
	if old := p.obsoleted(p.pkg(ids[0])); len(old) > 0 {
		return []exchange{{old, ids}}
	}
	return nil
}

func (p *pool) installedAs(m *rpm.Meta) bool {
	return slices.ContainsFunc(p.byName[m.Name], func(id int) bool { return p.isInstalled(id) && p.pkg(id).Arch == m.Arch })
}

// obsoleted are the installed packages of other names that a package makes obsolete.
func (p *pool) obsoleted(m *rpm.Meta) []int {
	var out []int
	for id := firstID; id < firstID+len(p.meta) && p.isInstalled(id); id++ {
		old := p.pkg(id)
		self := rpm.Dep{Name: old.Name, Flags: rpm.SenseEqual, EVR: old.EVR}
		if old.Name != m.Name && slices.ContainsFunc(m.Obsoletes, func(d rpm.Dep) bool { return d.Intersects(self) }) {
			out = append(out, id)
		}
	}
	return out
}
