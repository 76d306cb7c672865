// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// ModuleRecord is what dnf keeps of a module in /etc/dnf/modules.d.
//
//	shape   Stream "" = none chosen; Profiles: those that were installed
type ModuleRecord struct {
	Name, Stream string
	Profiles     []string
	Disabled     bool
}

func recordOf(sec section) ModuleRecord {
	r := ModuleRecord{Name: sec.name}
	state := ""
	for _, e := range sec.entries {
		switch e.key {
		case "stream":
			r.Stream = e.value
		case "profiles":
			r.Profiles = list(e.value)
		case "state":
			state = e.value
		}
	}
	r.Disabled = state == "disabled"
	if state != "enabled" && state != "installed" && state != "1" {
		r.Stream = ""
	}
	return r
}

// ReadModuleRecord reads the record of a module from the text of its file; the zero value where it says nothing of it.
func ReadModuleRecord(data []byte, name string) (ModuleRecord, error) {
	sections, err := parseINI(data)
	if err != nil {
		return ModuleRecord{}, err
	}
	for _, sec := range sections {
		if sec.name == name {
			return recordOf(sec), nil
		}
	}
	return ModuleRecord{}, nil
}

// Encode gives the text of the module's file as dnf writes it.
//
//	source  libdnf libdnf/module/ModulePackageContainer.cpp, ModulePersistor
func (r ModuleRecord) Encode() []byte {
	state := ""
	switch {
	case r.Disabled:
		state = "disabled"
	case r.Stream != "":
		state = "enabled"
	}
	return fmt.Appendf(nil, "[%s]\nname=%s\nstream=%s\nprofiles=%s\nstate=%s\n", r.Name, r.Name, r.Stream, strings.Join(r.Profiles, ", "), state)
}

// Check refuses names that a server chose so that they would lead elsewhere, or say something else, in the file of a record.
func (r ModuleRecord) Check() error {
	for _, s := range append([]string{r.Name, r.Stream}, r.Profiles...) {
		if len(s) > 200 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("/,[]=#;", c) }) {
			return fmt.Errorf("module %q: the name %q is none that can be recorded", r.Name, s)
		}
	}
	if r.Name == "" || r.Name[0] == '.' {
		return fmt.Errorf("module %q: the name cannot be recorded", r.Name)
	}
	return nil
}

// ModuleChoice is which streams of modules are active.
type ModuleChoice struct {
	Install  []string // packages of the profiles that were asked for
	Vanished []string // module:stream of those enabled before that no source has any more; others of the module are there

	asked    []string // modules that were asked for by name
	builds   map[string][]*Module
	profiles map[string][]string // module -> profiles that were asked for
	active   map[string]*Module
}

// Records gives what dnf would record once these packages are installed: the streams that were asked for, those that one of the packages
// is of, and all that these require. Sorted by name.
//
//	source  dnf dnf/base.py, resolve: set_modules_enabled_by_pkgset
func (c *ModuleChoice) Records(installed []rpm.Meta) []ModuleRecord {
	there := map[string]bool{}
	for i := range installed {
		there[artifactName(&installed[i])] = true
	}
	found := map[string]bool{}
	for _, name := range c.asked {
		c.withRequired(name, found)
	}
	for name, m := range c.active {
		if slices.ContainsFunc(m.Artifacts, func(a string) bool { return there[a] }) {
			c.withRequired(name, found)
		}
	}
	var out []ModuleRecord
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, ModuleRecord{Name: name, Stream: c.active[name].Stream, Profiles: slices.Sorted(slices.Values(c.profiles[name]))})
	}
	return out
}

// Left tells whether p is of a stream that gave way to another one which was asked for by name.
func (c *ModuleChoice) Left(p *rpm.Meta) bool {
	id, left := artifactName(p), false
	for _, name := range c.asked {
		for key, builds := range c.builds {
			if module, stream, _ := strings.Cut(key, ":"); module == name && slices.ContainsFunc(builds, func(m *Module) bool { return slices.Contains(m.Artifacts, id) }) {
				if m := c.active[name]; m == nil || stream == m.Stream {
					return false
				}
				left = true
			}
		}
	}
	return left
}

func (c *ModuleChoice) withRequired(name string, found map[string]bool) {
	m := c.active[name]
	if m == nil || found[name] {
		return
	}
	found[name] = true
	for _, alternative := range m.Requires {
		fits := true
		for need, streams := range alternative {
			fits = fits && (need == "platform" || c.active[need] != nil && admits(streams, c.active[need].Stream))
		}
		if !fits {
			continue
		}
		for need := range alternative {
			c.withRequired(need, found)
		}
		return
	}
}

// StreamInfo is one stream of a module, for people.
type StreamInfo struct {
	Module   string   `json:"module"`
	Stream   string   `json:"stream"`
	Default  bool     `json:"default,omitempty"`  // the one that counts unless somebody chooses
	Enabled  bool     `json:"enabled,omitempty"`  // somebody chose it
	Disabled bool     `json:"disabled,omitempty"` // the module is
	Active   bool     `json:"active,omitempty"`   // its packages are there
	Profiles []string `json:"profiles"`           // sorted
	Defaults []string `json:"default_profiles,omitempty"`
}

// ListStreams gives the streams of all modules, by name and then the newest first. It changes nothing of the sources.
func ListStreams(sources []*Metadata, st ModuleState, arch string) []StreamInfo {
	s := newStreams(sources, st, arch)
	if s.st.Platform == "" {
		s.st.Platform = platformOf(sources)
	}
	_ = s.activate(maps.Clone(st.Enabled)) // what cannot be is not active
	out := []StreamInfo{}
	for _, name := range s.names {
		for _, stream := range s.candidates(name, nil, nil) {
			m := s.builds[name+":"+stream][0]
			a := s.active[name]
			out = append(out, StreamInfo{
				Module: name, Stream: stream, Default: s.defaults[name] == stream, Enabled: st.Enabled[name] == stream, Disabled: st.Disabled[name],
				Active: a != nil && a.Stream == stream, Profiles: slices.Sorted(maps.Keys(m.Profiles)), Defaults: s.profiles[name+":"+stream],
			})
		}
	}
	return out
}
