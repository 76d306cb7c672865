// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/tree"
)

// modulesDir is where dnf keeps what it knows of modules.
const modulesDir = "usr/etc/dnf/modules.d/"

// isModule tells whether a request @NAME means a module: it names a stream or a profile, or there is no such group.
func (b *build) isModule(want string) bool {
	spec, ok := strings.CutPrefix(want, "@")
	if !ok || strings.HasPrefix(spec, "^") {
		return false
	}
	if _, isGroup := gatherComps(b.sources).find(spec); isGroup {
		return false
	}
	if strings.ContainsAny(spec, ":/") {
		return true
	}
	for _, md := range b.sources {
		if slices.ContainsFunc(md.Modules, func(m rpmmd.Module) bool { return m.Name == spec }) {
			return true
		}
	}
	return false
}

// modules leaves of the sources what the active streams admit, and gives the packages of the profiles that are asked for.
func (b *build) modules(wants []string) ([]string, error) {
	st := b.moduleState()
	st.Install = slices.Clone(b.m.Modules.Install)
	for _, w := range wants {
		if b.isModule(w) {
			st.Install = append(st.Install, strings.TrimPrefix(w, "@"))
		}
	}
	choice, err := rpmmd.ApplyModules(b.sources, st, b.o.Arch)
	if err != nil {
		return nil, err
	}
	b.choice = choice
	return choice.Install, nil
}

// moduleState is what counts before any request: what the target says, what was recorded before, and what the manifest says.
func (b *build) moduleState() rpmmd.ModuleState {
	st := b.o.Modules
	st.Enabled, st.Disabled = maps.Clone(st.Enabled), maps.Clone(st.Disabled)
	if st.Enabled == nil {
		st.Enabled = map[string]string{}
	}
	if st.Disabled == nil {
		st.Disabled = map[string]bool{}
	}
	if b.o.Previous != nil { // a stream that packages came from stays, as with dnf
		for _, m := range b.o.Previous.Modules {
			if m.Stream != "" && !st.Recorded[m.Name] && !slices.Contains(b.o.ResetModules, m.Name) {
				st.Enabled[m.Name] = m.Stream
			}
		}
	}
	for _, spec := range b.m.Modules.Enable {
		name, _, _ := strings.Cut(spec, ":")
		delete(st.Disabled, name)
	}
	for _, name := range b.m.Modules.Disable {
		delete(st.Enabled, name)
		st.Disabled[name] = true
	}
	if p := b.m.PlatformModule; p != "" {
		st.Platform = strings.TrimPrefix(p, "platform:")
	}
	st.Enable = b.m.Modules.Enable
	return st
}

// recordModules finds out what the tree is to say of modules, from the lock or from what was picked.
func (b *build) recordModules() error {
	if b.o.Lock != nil {
		for _, m := range b.o.Lock.Modules {
			b.records = append(b.records, rpmmd.ModuleRecord{Name: m.Name, Stream: m.Stream, Profiles: m.Profiles, Disabled: m.Disabled})
		}
	} else {
		if b.choice != nil {
			var picked []rpm.Meta
			for _, p := range b.picks {
				picked = append(picked, p.meta)
			}
			b.records = b.choice.Records(picked)
		}
		for _, name := range b.m.Modules.Disable {
			b.records = append(b.records, rpmmd.ModuleRecord{Name: name, Disabled: true})
		}
		slices.SortFunc(b.records, func(x, y rpmmd.ModuleRecord) int { return strings.Compare(x.Name, y.Name) })
	}
	for _, r := range b.records {
		if err := r.Check(); err != nil {
			return err
		}
	}
	return nil
}

// lockedModules is b.records as the lock has them.
func (b *build) lockedModules() (out []manifest.LockedModule) {
	for _, r := range b.records {
		out = append(out, manifest.LockedModule{Name: r.Name, Stream: r.Stream, Profiles: r.Profiles, Disabled: r.Disabled})
	}
	return out
}

// moduleFiles writes the records where the tree does not say the same already. Profiles that a base has stay.
func (b *build) moduleFiles(edit *tree.Editor) error {
	for _, r := range b.records {
		path := modulesDir + r.Name + ".module"
		data, _, err := b.readTreeFile(b.tree, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old, err := rpmmd.ReadModuleRecord(data, r.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if old.Stream == r.Stream {
			r.Profiles = slices.Compact(slices.Sorted(slices.Values(slices.Concat(old.Profiles, r.Profiles))))
		}
		if text := r.Encode(); string(text) != string(data) {
			if err := b.putText(edit, path, text); err != nil {
				return err
			}
		}
	}
	return nil
}
