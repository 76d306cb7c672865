// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"strings"

	"grove/internal/rpm"
)

// filter leaves out what the source's own lists exclude.
func (s Source) filter(all []rpm.Meta) []rpm.Meta {
	if len(s.ExcludePkgs) == 0 && len(s.IncludePkgs) == 0 {
		return all
	}
	exclude, include := newSpecs(s.ExcludePkgs), newSpecs(s.IncludePkgs)
	var kept []rpm.Meta
	for _, p := range all {
		if (len(s.IncludePkgs) == 0 || include.match(&p)) && !exclude.match(&p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// specs are package specs of .repo files: names and globs in the forms that dnf takes (see match).
type specs struct {
	names map[string]bool // those without a glob, in whatever form
	globs []string
}

func newSpecs(list []string) specs {
	s := specs{names: map[string]bool{}}
	for _, spec := range list {
		if strings.ContainsAny(spec, "*?[\\") {
			s.globs = append(s.globs, spec)
		} else {
			s.names[spec] = true
		}
	}
	return s
}

// match tells whether one of the specs means p.
//
//	source  dnf(8), "specifying packages": name, name.arch, name-[epoch:]version, with -release, with .arch; epoch first or not
func (s specs) match(p *rpm.Meta) bool {
	if s.names[p.Name] || s.names[p.Name+"."+p.Arch] {
		return true
	}
	if len(s.globs) == 0 && !s.begins(p.Name) {
		return false
	}
	vr := p.Version + "-" + p.Release
	epoch := p.Epoch
	if epoch == "" {
		epoch = "0"
	}
	forms := []string{p.Name, p.Name + "." + p.Arch}
	for _, evr := range []string{p.Version, vr, epoch + ":" + p.Version, epoch + ":" + vr} {
		forms = append(forms, p.Name+"-"+evr, p.Name+"-"+evr+"."+p.Arch)
	}
	forms = append(forms, epoch+":"+p.Name+"-"+vr+"."+p.Arch)
	for _, f := range forms {
		if s.names[f] {
			return true
		}
		for _, g := range s.globs {
			if rpm.Glob(g, f) {
				return true
			}
		}
	}
	return false
}

// begins tells whether a spec can go on with a version.
func (s specs) begins(name string) bool {
	for n := range s.names {
		if strings.HasPrefix(n, name+"-") || strings.Contains(n, ":") {
			return true
		}
	}
	return false
}
