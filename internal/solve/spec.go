// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"slices"
	"strings"

	"grove/internal/rpm"
)

// pattern is one reading of a spec: each part a glob, "" = any.
type pattern struct {
	name, epoch, version, release, arch string
}

func (x pattern) matches(n rpm.NEVRA) bool {
	return glob(x.name, n.Name) && (x.arch == "" || glob(x.arch, n.Arch)) &&
		(x.version == "" || glob(x.version, n.Version)) && (x.release == "" || glob(x.release, n.Release)) &&
		(x.epoch == "" || strings.TrimLeft(x.epoch, "0") == strings.TrimLeft(n.Epoch, "0"))
}

func isGlob(s string) bool { return rpm.IsGlob(s) }

func glob(pat, s string) bool {
	if !isGlob(pat) {
		return pat == s
	}
	return rpm.Glob(pat, s)
}

// forms are the ways to read a spec, in the order in which dnf tries them.
//
//	source  libdnf hy-subject: NEVRA, NA, NAME, NEVR, NEV
func forms(spec string) []pattern {
	var out []pattern
	add := func(x pattern, ok bool) {
		if ok && x.name != "" {
			out = append(out, x)
		}
	}
	rest, arch, hasArch := cutLast(spec, '.')
	hasArch = hasArch && arch != "" && !strings.Contains(arch, "-")
	if hasArch {
		x, ok := nameVersionRelease(rest)
		x.arch = arch
		add(x, ok)
		add(pattern{name: rest, arch: arch}, true)
	}
	add(pattern{name: spec}, true)
	add(nameVersionRelease(spec))
	if name, version, ok := cutLast(spec, '-'); ok {
		x := pattern{name: name}
		x.epoch, x.version = cutEpoch(version)
		add(x, x.version != "")
	}
	return out
}

func nameVersionRelease(s string) (pattern, bool) {
	rest, release, ok := cutLast(s, '-')
	name, version, ok2 := cutLast(rest, '-')
	x := pattern{name: name, release: release}
	x.epoch, x.version = cutEpoch(version)
	if e, n := cutEpoch(name); e != "" { // the order of older tools: epoch:name-version-release
		x.epoch, x.name = e, n
	}
	return x, ok && ok2 && x.version != "" && release != ""
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func cutEpoch(s string) (epoch, rest string) {
	e, rest, ok := strings.Cut(s, ":")
	if !ok || e == "" || strings.Trim(e, "0123456789") != "" {
		return "", s
	}
	return e, rest
}

// named are the packages that a pattern fits, rising.
func (p *pool) named(x pattern) []int {
	var out []int
	pick := func(ids []int) {
		for _, id := range ids {
			if x.matches(p.pkg(id).NEVRA) {
				out = append(out, id)
			}
		}
	}
	if !isGlob(x.name) {
		pick(p.byName[x.name])
		return out
	}
	for name, ids := range p.byName {
		if glob(x.name, name) {
			pick(ids)
		}
	}
	slices.Sort(out)
	return out
}

// match is what a spec stands for.
type match struct {
	form pattern // zero for capabilities
	ids  []int   // rising
	dep  int     // for a rich dependency, instead of ids
	each bool    // of each name among ids a package is meant, not one of all
}

// match resolves a spec; no ids and no dep = nobody has it.
func (p *pool) match(spec string) match {
	spec = strings.TrimSpace(spec)
	if strings.HasPrefix(spec, "(") {
		return match{dep: p.depID(rpm.Dep{Name: spec})}
	}
	if d, ok := versionedDep(spec); ok {
		return match{ids: p.providers(p.depID(d))}
	}
	if IsPath(spec) {
		return match{ids: p.owners(spec)}
	}
	for _, x := range forms(spec) {
		if ids := p.named(x); len(ids) > 0 {
			return match{form: x, ids: ids}
		}
	}
	if isGlob(spec) {
		return match{ids: p.providing(spec), each: true}
	}
	return match{ids: p.providers(p.depID(rpm.Dep{Name: spec}))}
}

// IsPath tells whether a spec names a file.
//
//	source  dnf dnf/util.py, is_file_pattern; libdnf, hy_is_file_pattern
func IsPath(spec string) bool { return strings.HasPrefix(spec, "/") || strings.HasPrefix(spec, "*/") }

// PathGlobs are the specs that are patterns of files: reason to load file lists before Solve.
func PathGlobs(specs []string) []string {
	var out []string
	for _, s := range specs {
		if IsPath(s) && isGlob(s) {
			out = append(out, s)
		}
	}
	return out
}

// providing are the packages that provide what fits a pattern.
func (p *pool) providing(spec string) []int {
	var out []int
	for i, m := range p.meta {
		if slices.ContainsFunc(m.Provides, func(d rpm.Dep) bool { return glob(spec, d.Name) }) {
			out = append(out, i+firstID)
		}
	}
	return out
}

// owners are the packages that have a file, by provide or by list.
func (p *pool) owners(spec string) []int {
	if !isGlob(spec) {
		return p.providers(p.depID(rpm.Dep{Name: spec}))
	}
	out := p.providing(spec)
	for path := range p.wanted { // what dependencies name comes before what is only a file, as with dnf
		if glob(spec, path) {
			out = append(out, p.providers(p.depID(rpm.Dep{Name: path}))...)
		}
	}
	if len(out) > 0 {
		slices.Sort(out)
		return slices.Compact(out)
	}
	for i, m := range p.meta {
		if slices.ContainsFunc(m.Files, func(f string) bool { return glob(spec, f) }) {
			out = append(out, i+firstID)
		}
	}
	return out
}

// versionedDep reads "name op version".
func versionedDep(spec string) (rpm.Dep, bool) {
	f := strings.Fields(spec)
	if len(f) != 3 {
		return rpm.Dep{}, false
	}
	d := rpm.Dep{Name: f[0], EVR: rpm.ParseEVR(f[2])}
	switch f[1] {
	case "<":
		d.Flags = rpm.SenseLess
	case "<=", "=<":
		d.Flags = rpm.SenseLess | rpm.SenseEqual
	case "=", "==":
		d.Flags = rpm.SenseEqual
	case ">=", "=>":
		d.Flags = rpm.SenseGreater | rpm.SenseEqual
	case ">":
		d.Flags = rpm.SenseGreater
	default:
		return rpm.Dep{}, false
	}
	return d, true
}

// unknown describes a spec that nobody has.
func (p *pool) unknown(spec string, installed bool) *Unknown {
	u := &Unknown{Spec: spec}
	for _, x := range forms(spec) {
		for _, l := range p.out {
			if x.matches(l.meta.NEVRA) && u.Why == "" {
				u.Why = l.meta.NEVRA.String() + " of " + p.repoName(l.repo) + " cannot be used: " + l.why
			}
		}
	}
	names := make([]string, 0, len(p.byName))
	for name, ids := range p.byName {
		if !installed || p.isInstalled(ids[0]) {
			names = append(names, name)
		}
	}
	if u.Why == "" {
		u.Near = near(spec, names)
	}
	return u
}
