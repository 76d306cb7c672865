// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/manifest"
	"grove/internal/rpmmd"
)

// moduleOf is the name in a spec of a module: name[:stream][/profile].
func moduleOf(spec string) string {
	if i := strings.IndexAny(spec, ":/"); i >= 0 {
		return spec[:i]
	}
	return spec
}

// modules changes what the manifest says of modules.
func (x Edits) modules(m *manifest.Manifest) error {
	for _, name := range x.ModuleReset {
		if err := resetModule(m, name); err != nil {
			return err
		}
	}
	for _, spec := range x.ModuleEnable {
		name := moduleOf(spec)
		for _, was := range m.Modules.Enable {
			if moduleOf(was) == name && was != spec {
				return fmt.Errorf("module %s is enabled as %s; it has to be reset first: %w", name, was, ErrUnsuited)
			}
		}
		m.Modules.Disable = withoutModule(m.Modules.Disable, name)
		m.Modules.Enable = add(m.Modules.Enable, []string{spec})
	}
	for _, name := range x.ModuleDisable {
		if err := resetModule(m, name); err != nil {
			return err
		}
		m.Modules.Disable = add(m.Modules.Disable, []string{name})
	}
	return nil
}

// resetModule forgets what the manifest says of a module. A request for one of its profiles has to go first.
func resetModule(m *manifest.Manifest, name string) error {
	for _, w := range m.Packages {
		if spec, ok := strings.CutPrefix(w, "@"); ok && spec != name && moduleOf(spec) == name {
			return fmt.Errorf("module %s is asked for by %s; uninstall that first: %w", name, w, ErrUnsuited)
		}
	}
	m.Modules.Enable, m.Modules.Install, m.Modules.Disable = withoutModule(m.Modules.Enable, name), withoutModule(m.Modules.Install, name), withoutModule(m.Modules.Disable, name)
	return nil
}

// withoutModule leaves out the specs of a module.
func withoutModule(specs []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(specs), func(s string) bool { return moduleOf(s) == name })
}

// modulesReset are the modules whose stream does not count any more: those that are named so, and those of which the manifest said
// something and, as it was edited by hand, says it no more.
func modulesReset(cur *deploy.Deployment, m manifest.Manifest, x Edits) ([]string, error) {
	out := slices.Concat(x.ModuleReset, x.ModuleDisable)
	if cur == nil {
		return out, nil
	}
	text, err := cur.Manifest()
	if err != nil {
		return nil, err
	}
	old, err := manifest.Parse(text, "manifest.yaml", compose.HostArch())
	if err != nil {
		return nil, fmt.Errorf("deployment %d: %w", cur.ID, err)
	}
	now := slices.Concat(m.Modules.Enable, m.Modules.Install)
	for _, spec := range slices.Concat(old.Modules.Enable, old.Modules.Install) {
		if !slices.Contains(now, spec) {
			out = append(out, moduleOf(spec))
		}
	}
	return out, nil
}

// streamsStay is true where streams of modules are enabled that the base does not have so: with them even a guest without layers is
// another tree than its base.
func streamsStay(o compose.Options) bool {
	if o.Lock != nil {
		return len(o.Lock.Modules) > 0
	}
	return o.Previous != nil && len(compose.KeptStreams(*o.Previous, o.Modules, o.ResetModules)) > 0
}

// EnableModules makes streams of modules active for a guest. In place of another stream that is enabled only where reset is set.
func EnableModules(ctx context.Context, e Env, name string, specs []string, reset bool, o Options) (Change, error) {
	for _, s := range specs {
		if n := moduleOf(s); n == "" || strings.ContainsAny(s, "/@ ") || strings.HasSuffix(s, ":") {
			return Change{}, fmt.Errorf("module %q: wanted NAME:STREAM or NAME: %w", s, ErrUnsuited)
		}
		if reset {
			o.Edits.ModuleReset = append(o.Edits.ModuleReset, moduleOf(s))
		}
	}
	o.Edits.ModuleEnable = append(o.Edits.ModuleEnable, specs...)
	return Alter(ctx, e, name, o)
}

// Modules lists the modules of a guest's sources; words are names to show alone.
func Modules(ctx context.Context, e Env, name string, words []string) ([]rpmmd.StreamInfo, error) {
	s, err := e.sourcesOf(ctx, name)
	if err != nil {
		return nil, err
	}
	out := rpmmd.ListStreams(s.all, s.state, compose.HostArch())
	if len(words) > 0 {
		out = slices.DeleteFunc(out, func(i rpmmd.StreamInfo) bool { return !slices.Contains(words, i.Module) })
	}
	if len(out) == 0 && s.bad != nil {
		return nil, s.bad
	}
	return out, nil
}
