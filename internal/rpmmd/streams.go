// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// ModuleState is what a system says of modules.
//
//	shape   Platform "el8", "" = not known; Enabled: module -> stream; Recorded: those that there is a file for, whatever it says;
//	        Enable: specs name[:stream]; Install: specs name[:stream][/profile]
//	source  dnf's modules.d/*.module; rpm-ostree's treefile key `modules`
type ModuleState struct {
	Platform string
	Enabled  map[string]string
	Disabled map[string]bool
	Recorded map[string]bool
	Enable   []string
	Install  []string
}

// Read adds what one of dnf's modules.d/NAME.module says.
//
//	source  libdnf libdnf/module/ModulePackageContainer.cpp: a section per module with stream= and state=enabled|disabled|default
func (s *ModuleState) Read(data []byte) error {
	sections, err := parseINI(data)
	if err != nil {
		return err
	}
	for _, sec := range sections {
		r := recordOf(sec)
		set(&s.Recorded, r.Name, true)
		switch {
		case r.Stream != "" && !r.Disabled:
			set(&s.Enabled, r.Name, r.Stream)
		case r.Disabled:
			set(&s.Disabled, r.Name, true)
		}
	}
	return nil
}

func set[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// ApplyModules leaves of the sources' packages those that the active streams of modules admit, as dnf does, and says which these are:
//
//   - the stream that was enabled is active, else the module's default stream if what it requires can be had, unless the module is disabled;
//     a stream makes those active that it requires;
//   - packages of a stream that is not active are not there;
//   - a package with the name of one of an active stream, or that provides that name, is not there either, from whatever source, unless it
//     is one of an active stream or its source has module_hotfixes.
//
// source: libdnf libdnf/dnf-sack.cpp (dnf_sack_filter_modules_v2), libdnf/module/ModulePackageContainer.cpp
func ApplyModules(sources []*Metadata, st ModuleState, arch string) (*ModuleChoice, error) {
	s := newStreams(sources, st, arch)
	choice := &ModuleChoice{profiles: map[string][]string{}, builds: s.builds}
	if len(s.builds) == 0 && len(st.Install)+len(st.Enable) == 0 {
		return choice, nil
	}
	if s.st.Platform == "" {
		s.st.Platform = platformOf(sources)
	}
	enabled := maps.Clone(st.Enabled)
	if enabled == nil {
		enabled = map[string]string{}
	}
	for _, spec := range slices.Concat(st.Enable, st.Install) {
		if err := s.want(spec, enabled); err != nil {
			return nil, err
		}
	}
	if err := s.activate(enabled); err != nil {
		return nil, err
	}
	choice.active, choice.Vanished = s.active, s.vanished
	for _, spec := range st.Enable {
		name, _, _ := splitModule(spec)
		choice.asked = append(choice.asked, name)
	}
	for _, spec := range st.Install {
		profiles, err := s.profilesOf(spec)
		if err != nil {
			return nil, err
		}
		name, _, _ := splitModule(spec)
		choice.asked = append(choice.asked, name)
		for _, p := range profiles {
			choice.Install = append(choice.Install, s.active[name].Profiles[p]...)
			if !slices.Contains(choice.profiles[name], p) {
				choice.profiles[name] = append(choice.profiles[name], p)
			}
		}
	}
	s.filter(sources)
	return choice, nil
}

func newStreams(sources []*Metadata, st ModuleState, arch string) *streams {
	s := &streams{st: st, arch: BaseArch(arch), builds: map[string][]*Module{}, defaults: map[string]string{}, profiles: map[string][]string{}, active: map[string]*Module{}}
	s.collect(sources)
	return s
}

// streams decides which are active.
type streams struct {
	st       ModuleState
	arch     string
	builds   map[string][]*Module // by module:stream, the newest first
	defaults map[string]string    // module -> stream, "" where the sources do not agree
	profiles map[string][]string  // by module:stream: the default ones
	active   map[string]*Module   // by module
	names    []string             // of all modules
	vanished []string             // module:stream, enabled before and in no source
}

func (s *streams) collect(sources []*Metadata) {
	modules := map[string]bool{}
	for _, md := range sources {
		for i := range md.Modules {
			m := &md.Modules[i]
			if m.Arch != "" && m.Arch != s.arch && m.Arch != "noarch" {
				continue
			}
			s.builds[m.Name+":"+m.Stream] = append(s.builds[m.Name+":"+m.Stream], m)
			modules[m.Name] = true
		}
		for _, d := range md.ModuleDefaults {
			if was, ok := s.defaults[d.Module]; ok && was != d.Stream && d.Stream != "" {
				s.defaults[d.Module] = ""
			} else if !ok {
				s.defaults[d.Module] = d.Stream
			}
			for stream, p := range d.Profiles {
				s.profiles[d.Module+":"+stream] = p
			}
		}
	}
	for _, list := range s.builds {
		slices.SortStableFunc(list, func(a, b *Module) int { return cmp.Compare(b.Version, a.Version) })
	}
	s.names = slices.Sorted(maps.Keys(modules))
}

// platformOf finds the platform in what a source's release package provides.
func platformOf(sources []*Metadata) string {
	for _, md := range sources {
		for i := range md.Packages {
			for _, d := range md.Packages[i].Provides {
				if p, ok := strings.CutPrefix(d.Name, "base-module(platform:"); ok {
					return strings.TrimSuffix(p, ")")
				}
			}
		}
	}
	return ""
}

// platformName is the platform in "platform:NAME".
func platformName(s string) string { return strings.TrimPrefix(s, "platform:") }

// splitModule takes name[:stream][/profile] apart.
func splitModule(spec string) (name, stream, profile string) {
	name, profile, _ = strings.Cut(spec, "/")
	name, stream, _ = strings.Cut(name, ":")
	return name, stream, profile
}

// want enables what a spec asks for.
func (s *streams) want(spec string, enabled map[string]string) error {
	name, stream, _ := splitModule(spec)
	if stream == "" {
		if stream = enabled[name]; stream == "" {
			stream = s.defaults[name]
		}
	}
	if stream == "" {
		return fmt.Errorf("module %q: no stream is enabled or the default; there are %s", name, s.streamsOf(name))
	}
	if was := enabled[name]; was != "" && was != stream && len(s.builds[name+":"+stream]) > 0 {
		return fmt.Errorf("module %q: stream %s is asked for, and %s is enabled; it has to be reset first", name, stream, was)
	}
	enabled[name] = stream
	return nil
}

func (s *streams) streamsOf(name string) string {
	var list []string
	for key := range s.builds {
		if rest, ok := strings.CutPrefix(key, name+":"); ok {
			list = append(list, rest)
		}
	}
	if len(list) == 0 {
		return "none"
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// activate makes the enabled streams active, and then the default ones as far as that is possible.
func (s *streams) activate(enabled map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(enabled)) {
		if s.st.Disabled[name] && s.st.Enabled[name] == "" {
			return fmt.Errorf("module %q is disabled", name)
		}
		if len(s.builds[name+":"+enabled[name]]) == 0 {
			if s.enabledBefore(name, enabled[name]) { // then no stream of it is active
				if s.streamsOf(name) != "none" { // else its source is not there today
					s.vanished = append(s.vanished, name+":"+enabled[name])
				}
				continue
			}
			return fmt.Errorf("module %q has no stream %s; there are %s", name, enabled[name], s.streamsOf(name))
		}
		if why := s.try(name, enabled[name], enabled, 0); why != "" {
			return fmt.Errorf("module %s:%s: %s", name, enabled[name], why)
		}
	}
	for _, name := range s.names {
		stream := s.defaults[name]
		if stream == "" || s.st.Disabled[name] || s.active[name] != nil || enabled[name] != "" {
			continue
		}
		before := maps.Clone(s.active)
		if s.try(name, stream, enabled, 0) != "" {
			s.active = before
		}
	}
	return nil
}

// enabledBefore is true for a stream that counts because it was enabled once, and that nobody asks for now.
func (s *streams) enabledBefore(name, stream string) bool {
	return s.st.Enabled[name] == stream && !slices.ContainsFunc(slices.Concat(s.st.Enable, s.st.Install), func(spec string) bool {
		n, _, _ := splitModule(spec)
		return n == name
	})
}

// maxModuleChain bounds how far modules that require others are followed.
const maxModuleChain = 50

// try makes a stream active with all that it requires, or says why it cannot be; then what it made active is to be taken back.
func (s *streams) try(name, stream string, enabled map[string]string, depth int) (why string) {
	if m := s.active[name]; m != nil {
		if m.Stream == stream {
			return ""
		}
		return fmt.Sprintf("stream %s of module %s is active already", m.Stream, name)
	}
	if want := enabled[name]; want != "" && want != stream {
		return fmt.Sprintf("stream %s of module %s is enabled", want, name)
	}
	if s.st.Disabled[name] && enabled[name] == "" {
		return fmt.Sprintf("module %s is disabled", name)
	}
	if depth > maxModuleChain {
		return "requires too many others"
	}
	why = fmt.Sprintf("no source has stream %s of module %s", stream, name)
	for _, m := range s.builds[name+":"+stream] {
		before := maps.Clone(s.active)
		s.active[name] = m
		if why = s.needs(m, enabled, depth); why == "" {
			return ""
		}
		s.active = before
	}
	return why
}

// needs satisfies one of the alternatives that a build requires.
func (s *streams) needs(m *Module, enabled map[string]string, depth int) (why string) {
	if len(m.Requires) == 0 {
		return ""
	}
	for _, alternative := range m.Requires {
		before := maps.Clone(s.active)
		why = ""
		for _, name := range slices.Sorted(maps.Keys(alternative)) {
			if why = s.need(name, alternative[name], enabled, depth); why != "" {
				break
			}
		}
		if why == "" {
			return ""
		}
		s.active = before
	}
	return why
}

func (s *streams) need(name string, fit []string, enabled map[string]string, depth int) (why string) {
	if name == "platform" {
		if s.st.Platform != "" && admits(fit, s.st.Platform) {
			return ""
		}
		return fmt.Sprintf("it requires platform %s, and this is %q", strings.Join(fit, " or "), s.st.Platform)
	}
	if m := s.active[name]; m != nil {
		if admits(fit, m.Stream) {
			return ""
		}
		return fmt.Sprintf("it requires %s:%s, and stream %s is active", name, strings.Join(fit, "|"), m.Stream)
	}
	why = fmt.Sprintf("it requires module %s:%s", name, strings.Join(fit, "|"))
	for _, stream := range s.candidates(name, fit, enabled) {
		if why = s.try(name, stream, enabled, depth+1); why == "" {
			return ""
		}
	}
	return why
}

// candidates are the streams of a module that fit: the enabled one alone, or the default first and then by name.
func (s *streams) candidates(name string, fit []string, enabled map[string]string) []string {
	if stream := enabled[name]; stream != "" {
		if admits(fit, stream) {
			return []string{stream}
		}
		return nil
	}
	var list []string
	for key := range s.builds {
		if stream, ok := strings.CutPrefix(key, name+":"); ok && admits(fit, stream) {
			list = append(list, stream)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if d := s.defaults[name]; a == d || b == d {
			return cmp.Compare(boolRank(a != d), boolRank(b != d))
		}
		return rpm.Vercmp(b, a)
	})
	return list
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// admits tells whether a list of streams has this one: none is all, "-x" all but x.
func admits(fit []string, stream string) bool {
	positive := false
	for _, f := range fit {
		not, negative := strings.CutPrefix(f, "-")
		if f == stream {
			return true
		}
		if negative && not == stream {
			return false
		}
		positive = positive || !negative
	}
	return !positive
}

// profilesOf gives the profile that a spec names, or the default ones; all of them are there.
func (s *streams) profilesOf(spec string) ([]string, error) {
	name, _, profile := splitModule(spec)
	m := s.active[name]
	if m == nil {
		return nil, fmt.Errorf("module %q is in no source", name)
	}
	profiles := s.profiles[name+":"+m.Stream]
	if profile != "" {
		profiles = []string{profile}
	} else if len(profiles) == 0 && len(m.Profiles) == 1 {
		profiles = slices.Collect(maps.Keys(m.Profiles))
	} else if len(profiles) == 0 {
		return nil, fmt.Errorf("module %s:%s has no default profile; there are %s", name, m.Stream, strings.Join(slices.Sorted(maps.Keys(m.Profiles)), ", "))
	}
	for _, p := range profiles {
		if _, ok := m.Profiles[p]; !ok {
			return nil, fmt.Errorf("module %s:%s has no profile %q; there are %s", name, m.Stream, p, strings.Join(slices.Sorted(maps.Keys(m.Profiles)), ", "))
		}
	}
	return profiles, nil
}

// filter takes the packages away that are not to be seen.
func (s *streams) filter(sources []*Metadata) {
	include, exclude, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, list := range s.builds {
		for _, m := range list {
			set := exclude
			if a := s.active[m.Name]; a != nil && a.Stream == m.Stream && a.Context == m.Context { // its older versions too
				set = include
			}
			for _, a := range m.Artifacts {
				set[a] = true
			}
		}
	}
	for a := range include {
		if n, err := rpm.ParseNEVRA(a); err == nil {
			names[n.Name] = true
		}
	}
	for _, m := range s.active {
		for _, n := range m.Demodularized {
			delete(names, n)
		}
	}
	hides := func(p *rpm.Meta) bool {
		if id := artifactName(p); include[id] {
			return false
		} else if exclude[id] {
			return true
		}
		return names[p.Name] || slices.ContainsFunc(p.Provides, func(d rpm.Dep) bool { return names[d.Name] })
	}
	for _, md := range sources {
		if md.Source.ModuleHotfixes {
			continue
		}
		kept := make([]rpm.Meta, 0, len(md.Packages))
		for i := range md.Packages {
			if p := &md.Packages[i]; !hides(p) {
				kept = append(kept, *p)
			}
		}
		md.Packages = kept
	}
}

// artifactName writes a package as modules do: with its epoch always.
func artifactName(p *rpm.Meta) string {
	epoch := p.Epoch
	if epoch == "" {
		epoch = "0"
	}
	return p.Name + "-" + epoch + ":" + p.Version + "-" + p.Release + "." + p.Arch
}

// binaries leaves source packages out, and writes every epoch.
func binaries(artifacts []string) []string {
	var out []string
	for _, a := range artifacts {
		n, err := rpm.ParseNEVRA(a)
		if err != nil || n.Arch == "src" || n.Arch == "nosrc" {
			continue
		}
		out = append(out, artifactName(&rpm.Meta{NEVRA: n}))
	}
	return out
}
