// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"grove/internal/compose"
	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/solve"
)

// Specs are packages as a person names them, sorted by what they are.
type Specs struct {
	Names []string // names, NEVRAs, provides, paths, @groups
	Local []manifest.LocalPackage
	Files []string // the package files of Local

	beside map[string]bool // nevra of those of Local that stand beside other versions
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
		beside, err := compose.StandsBeside(w)
		if err != nil {
			return s, err
		}
		if beside {
			if s.beside == nil {
				s.beside = map[string]bool{}
			}
			s.beside[l.NEVRA] = true
		}
	}
	return s, nil
}

// Edits are changes to what a guest asks for, all made at once.
type Edits struct {
	Install      Specs
	ReplaceFiles bool     // files of Install may take the place of other packages'
	Uninstall    []string // requests, as Uninstall has them
	UninstallAll bool
	Remove       []string // overrides: base packages that go
	Replace      Specs    // overrides: names or versions of sources, and package files
	From         string   // the source that Replace.Names must come from; "" = any
	Reset        []string // overrides that end
	ResetAll     bool
	Exclude      []string // packages that must not come in
	Unexclude    []string
	Weak         *bool    // whether weak dependencies come along from now on
	Lock, Unlock []string // version locks

	ModuleEnable, ModuleDisable []string // name:stream or name; names
	ModuleReset                 []string // names: neither of the two from now on
}

// apply makes the changes: first what ends, then what is new.
func (x Edits) apply(m *manifest.Manifest) error {
	if x.UninstallAll {
		m.Packages, m.LocalPackages, m.ReplaceFiles = nil, nil, nil
	}
	if x.ResetAll {
		m.Overrides = manifest.Overrides{}
	}
	if err := drop(m, x.Uninstall); err != nil {
		return err
	}
	for _, w := range x.Reset {
		if !resetOne(m, w) {
			return fmt.Errorf("package %q is not overridden: %w", w, ErrUnsuited)
		}
	}
	if x.ReplaceFiles {
		if err := x.allowFiles(m); err != nil {
			return err
		}
	}
	m.Packages = add(m.Packages, x.Install.Names)
	for _, l := range x.Install.Local {
		if x.Install.beside[l.NEVRA] {
			m.LocalPackages = append(slices.DeleteFunc(slices.Clone(m.LocalPackages), func(o manifest.LocalPackage) bool { return o.NEVRA == l.NEVRA }), l)
			continue
		}
		m.LocalPackages = replaceLocal(m.LocalPackages, l)
	}
	for _, w := range x.Remove { // the last word on a package counts
		resetOne(m, w)
	}
	for _, w := range x.replaced() {
		m.Overrides.Remove = slices.DeleteFunc(slices.Clone(m.Overrides.Remove), func(r string) bool { name, _ := nameArch(r); return name == w })
	}
	m.Overrides.Remove = add(m.Overrides.Remove, x.Remove)
	for _, n := range x.Replace.Names {
		m.Overrides.Replace = replaceLocal(m.Overrides.Replace, manifest.LocalPackage{NEVRA: n, Repo: x.From})
	}
	for _, l := range x.Replace.Local {
		m.Overrides.Replace = replaceLocal(m.Overrides.Replace, l)
	}
	var err error
	if m.ExcludePackages, err = strike(m.ExcludePackages, x.Unexclude, "excluded"); err != nil {
		return err
	}
	m.ExcludePackages = add(m.ExcludePackages, x.Exclude)
	if m.VersionLocks, err = strike(m.VersionLocks, x.Unlock, "locked"); err != nil {
		return err
	}
	m.VersionLocks = add(m.VersionLocks, x.Lock)
	if err := x.modules(m); err != nil {
		return err
	}
	if x.Weak != nil {
		m.Recommends = x.Weak
	}
	return nil
}

// allowFiles writes down whose files may take the place of others'.
func (x Edits) allowFiles(m *manifest.Manifest) error {
	for _, n := range x.Install.Names {
		if strings.ContainsAny(n, " /*?[(@") {
			return fmt.Errorf("replace files by %q: give a name or a package file (.rpm): %w", n, ErrUnsuited)
		}
		name, _ := nameArch(n)
		m.ReplaceFiles = add(m.ReplaceFiles, []string{name})
	}
	for _, l := range x.Install.Local {
		m.ReplaceFiles = add(m.ReplaceFiles, []string{nevraName(l.NEVRA)})
	}
	return nil
}

// replaced are the names of the packages that Replace is about.
func (x Edits) replaced() []string {
	var out []string
	for _, s := range x.Replace.Names {
		name, _ := nameArch(s)
		out = append(out, name)
	}
	for _, l := range x.Replace.Local {
		out = append(out, nevraName(l.NEVRA))
	}
	return out
}

// files are the package files that the edited manifest names.
func (x Edits) files() []string {
	return append(append([]string{}, x.Install.Files...), x.Replace.Files...)
}

// add puts words at the end of a list that does not have them yet.
func add(list, words []string) []string {
	for _, w := range words {
		if !contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// strike takes words out of a list that must have them.
func strike(list, words []string, are string) ([]string, error) {
	for _, w := range words {
		i := slices.Index(list, w)
		if i < 0 {
			return nil, fmt.Errorf("%q is not %s (these are: %s): %w", w, are, orNothing(list), ErrUnsuited)
		}
		list = slices.Delete(slices.Clone(list), i, i+1)
	}
	return list, nil
}

// Alter makes the changes of o.Edits and nothing else.
func Alter(ctx context.Context, e Env, name string, o Options) (Change, error) {
	return Edit(ctx, e, name, o, func(*manifest.Manifest) error { return nil })
}

// Install adds packages to what the guest asks for.
func Install(ctx context.Context, e Env, name string, s Specs, o Options) (Change, error) {
	o.Edits.Install = s
	return Alter(ctx, e, name, o)
}

// Uninstall takes packages out of what the guest asks for. Each word must be something that was asked for.
func Uninstall(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	o.Edits.Uninstall = words
	return Alter(ctx, e, name, o)
}

// OverrideRemove takes packages of the base out of the guest's tree.
func OverrideRemove(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	o.Edits.Remove = words
	return Alter(ctx, e, name, o)
}

// OverrideReplace puts package files, and packages of sources, in the place of the base's packages of the same names.
func OverrideReplace(ctx context.Context, e Env, name string, s Specs, o Options) (Change, error) {
	for _, n := range s.Names {
		if strings.ContainsAny(n, " /*?[(@") {
			return Change{}, fmt.Errorf("replace by %q: give a name, a version of it, or a package file (.rpm): %w", n, ErrUnsuited)
		}
	}
	o.Edits.Replace = s
	return Alter(ctx, e, name, o)
}

// OverrideReset undoes overrides: of the packages named, or all of them.
func OverrideReset(ctx context.Context, e Env, name string, words []string, o Options) (Change, error) {
	o.Edits.Reset, o.Edits.ResetAll = words, o.Edits.ResetAll || len(words) == 0
	return Alter(ctx, e, name, o)
}

// replaceLocal puts a package into the list, in place of those that mean the same one.
func replaceLocal(list []manifest.LocalPackage, l manifest.LocalPackage) []manifest.LocalPackage {
	name, arch := nameArch(l.NEVRA)
	out := make([]manifest.LocalPackage, 0, len(list)+1)
	for _, have := range list {
		if n, a := nameArch(have.NEVRA); n != name || a != arch && a != "" && arch != "" {
			out = append(out, have)
		}
	}
	return append(out, l)
}

// version is where the version of "name-version" begins, as nearly all versions do.
var version = regexp.MustCompile(`-[0-9]`)

// nameArch is what a full name, or one in part as of a source's package, says of name and architecture; "" = not said.
func nameArch(s string) (name, arch string) {
	if n, err := rpm.ParseNEVRA(s); err == nil {
		return n.Name, n.Arch
	}
	if at := version.FindStringIndex(s); at != nil {
		return s[:at[0]], ""
	}
	if rest, arch, ok := strings.Cut(s, "."); ok && (arch == "noarch" || manifest.BaseArch(arch) != arch || arch == compose.HostArch()) {
		return rest, arch
	}
	return s, ""
}

func nevraName(s string) string {
	n, err := rpm.ParseNEVRA(s)
	if err != nil {
		return s
	}
	return n.Name
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
	return orNothing(all)
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// dropRequest removes what a word means from the requests: the word itself, a local package by name or
// NEVRA, or with wildcards each that matches; paths by patterns of paths only.
func dropRequest(m *manifest.Manifest, w string) bool {
	matches := func(s string) bool {
		return s == w || nevraName(s) == w || s == w+"."+compose.HostArch() || s == w+".noarch" || rpm.Glob(w, s) && solve.IsPath(s) == solve.IsPath(w)
	}
	found := false
	var names []string
	for _, n := range m.Packages {
		if matches(n) {
			found = true
			gone, _ := nameArch(n)
			m.ReplaceFiles = slices.DeleteFunc(slices.Clone(m.ReplaceFiles), func(r string) bool { return r == gone })
			continue
		}
		names = append(names, n)
	}
	var locals []manifest.LocalPackage
	for _, l := range m.LocalPackages {
		if matches(l.NEVRA) || nevraName(l.NEVRA) == w {
			found = true
			m.ReplaceFiles = slices.DeleteFunc(slices.Clone(m.ReplaceFiles), func(r string) bool { return r == nevraName(l.NEVRA) })
			continue
		}
		locals = append(locals, l)
	}
	m.Packages, m.LocalPackages = names, locals
	return found
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
		if name, _ := nameArch(r.NEVRA); r.NEVRA == w || name == w {
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
