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
	for _, m := range choice.Vanished {
		b.warn("%s", vanished(m))
	}
	return choice.Install, nil
}

// vanished says what it means that an enabled stream is nowhere any more.
func vanished(stream string) string {
	return fmt.Sprintf("stream %s is enabled, and no source has it: packages of its module cannot be had before `module reset`", stream)
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
	for _, m := range b.keptStreams() {
		st.Enabled[m.Name] = m.Stream
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

// keptStreams are those that were recorded before and count until they are reset, also when nothing of them is layered any more, as with
// dnf. What the target's own dnf recorded since wins.
func (b *build) keptStreams() []manifest.LockedModule {
	if b.o.Previous == nil {
		return nil
	}
	return KeptStreams(*b.o.Previous, b.o.Modules, b.o.ResetModules)
}

// KeptStreams are the modules of a lock whose streams stay enabled in the next run: those that neither reset names nor the target has
// a record of its own for.
func KeptStreams(l manifest.Lock, target rpmmd.ModuleState, reset []string) (out []manifest.LockedModule) {
	for _, m := range l.Modules {
		if m.Stream != "" && !target.Recorded[m.Name] && !slices.Contains(reset, m.Name) {
			out = append(out, m)
		}
	}
	return out
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
		for _, m := range b.keptStreams() {
			if !slices.ContainsFunc(b.records, func(r rpmmd.ModuleRecord) bool { return r.Name == m.Name }) {
				b.records = append(b.records, rpmmd.ModuleRecord{Name: m.Name, Stream: m.Stream})
			}
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
