// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"path"
	"strings"

	"grove/internal/compose"
	"grove/internal/manifest"
	"grove/internal/rpm"
)

// Specs are packages as a person names them, sorted by what they are.
type Specs struct {
	Names []string // names, NEVRAs, provides, paths, @groups
	Local []manifest.LocalPackage
	Files []string // the package files of Local
	Drop  []string // what is no longer asked for, as Uninstall has it
}

// ParseSpecs tells package files from names: a word that ends in .rpm names a file here. What a URL names has been
// downloaded by the caller.
func ParseSpecs(words []string) (Specs, error) {
	var s Specs
	for _, w := range words {
		if !strings.HasSuffix(w, ".rpm") {
			if strings.TrimSpace(w) != w || w == "" || strings.ContainsAny(w, "\t\n") {
				return s, fmt.Errorf("package %q: not a name", w)
			}
			s.Names = append(s.Names, w)
			continue
		}
		l, err := compose.InspectLocal(w)
		if err != nil {
			return s, err
		}
		s.Local, s.Files = append(s.Local, l), append(s.Files, w)
	}
	return s, nil
}

// Install adds packages to what the guest asks for; those of Drop go in the same change.
func Install(ctx context.Context, e Env, name string, s Specs, o Options) (Change, error) {
	o.LocalFiles = append(o.LocalFiles, s.Files...)
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error {
		if err := drop(m, s.Drop); err != nil {
			return err
		}
		for _, n := range s.Names {
			if !contains(m.Packages, n) {
				m.Packages = append(m.Packages, n)
			}
		}
		for _, l := range s.Local {
			m.LocalPackages = replaceLocal(m.LocalPackages, l)
		}
		return nil
	})
}

// replaceLocal puts a local package into the list, in place of one of the same name.
func replaceLocal(list []manifest.LocalPackage, l manifest.LocalPackage) []manifest.LocalPackage {
	name := nevraName(l.NEVRA)
	out := make([]manifest.LocalPackage, 0, len(list)+1)
	for _, have := range list {
		if nevraName(have.NEVRA) != name {
			out = append(out, have)
		}
	}
	return append(out, l)
}

func nevraName(s string) string {
	n, err := rpm.ParseNEVRA(s)
	if err != nil {
		return s
	}
	return n.Name
}

// Uninstall takes packages out of what the guest asks for. Each word must be something that was asked for.
func Uninstall(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error { return drop(m, words) })
}

func drop(m *manifest.Manifest, words []string) error {
	for _, w := range words {
		if !dropRequest(m, w) {
			return fmt.Errorf("package %q was not asked for (asked for: %s): %w", w, asked(*m), ErrUnsuited)
		}
	}
	return nil
}

func asked(m manifest.Manifest) string {
	all := append([]string{}, m.Packages...)
	for _, l := range m.LocalPackages {
		all = append(all, l.NEVRA)
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// dropRequest removes what a word means from the requests: the word itself, a local package by name or
// NEVRA, or with wildcards each that matches.
func dropRequest(m *manifest.Manifest, w string) bool {
	matches := func(s string) bool {
		if s == w || nevraName(s) == w || s == w+"."+compose.HostArch() || s == w+".noarch" {
			return true
		}
		ok, err := path.Match(w, s)
		return err == nil && ok
	}
	found := false
	var names []string
	for _, n := range m.Packages {
		if matches(n) {
			found = true
			continue
		}
		names = append(names, n)
	}
	var locals []manifest.LocalPackage
	for _, l := range m.LocalPackages {
		if matches(l.NEVRA) || nevraName(l.NEVRA) == w {
			found = true
			continue
		}
		locals = append(locals, l)
	}
	m.Packages, m.LocalPackages = names, locals
	return found
}

// OverrideRemove takes packages of the base out of the guest's tree.
func OverrideRemove(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error {
		for _, w := range words {
			if !contains(m.Overrides.Remove, w) {
				m.Overrides.Remove = append(m.Overrides.Remove, w)
			}
		}
		return nil
	})
}

// OverrideReplace puts package files in the place of the base's packages of the same names.
func OverrideReplace(ctx context.Context, e Env, name string, s Specs, o Options) (Change, error) {
	if len(s.Names) > 0 {
		return Change{}, fmt.Errorf("replace by %q: give package files (.rpm): %w", strings.Join(s.Names, " "), ErrUnsuited)
	}
	o.LocalFiles = append(o.LocalFiles, s.Files...)
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error {
		for _, l := range s.Local {
			m.Overrides.Replace = replaceLocal(m.Overrides.Replace, l)
		}
		return nil
	})
}

// OverrideReset undoes overrides: of the packages named, or all of them.
func OverrideReset(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error {
		if len(words) == 0 {
			m.Overrides = manifest.Overrides{}
			return nil
		}
		for _, w := range words {
			if !resetOne(m, w) {
				return fmt.Errorf("package %q is not overridden: %w", w, ErrUnsuited)
			}
		}
		return nil
	})
}

func resetOne(m *manifest.Manifest, w string) bool {
	found := false
	var remove []string
	for _, r := range m.Overrides.Remove {
		if r == w || nevraName(r) == w {
			found = true
			continue
		}
		remove = append(remove, r)
	}
	var replace []manifest.LocalPackage
	for _, r := range m.Overrides.Replace {
		if r.NEVRA == w || nevraName(r.NEVRA) == w {
			found = true
			continue
		}
		replace = append(replace, r)
	}
	m.Overrides.Remove, m.Overrides.Replace = remove, replace
	return found
}

// Pin keeps a deployment from gc, or lets it go; id 0 is the current one.
func Pin(ctx context.Context, e Env, name string, id int, pinned bool) (int, error) {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return 0, err
	}
	defer release()
	d, err := pickDeployment(g, id)
	if err != nil {
		return 0, err
	}
	return d.ID, g.Pin(d.ID, pinned)
}
