// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"grove/internal/deploy"
	"grove/internal/machine"
	"grove/internal/sandbox"
)

// hookSeconds is how long a hook may take.
const hookSeconds = 100

// Phases of a change that hooks are told.
const (
	hookBefore = "before" // the deployment is whole, and becomes current next: a hook that fails prevents it
	hookAfter  = "after"  // it is current: a hook that fails takes it back
)

// hooked is a change that hooks are run for.
type hooked struct {
	guest    *deploy.Guest
	id, from int
	root     string
	image    *sandbox.Image // what is mounted on root for the hooks; nil = the tree lies there
}

// mounts are what hooks see of the tree beside what the host has.
func (h hooked) mounts() []sandbox.HostMount {
	if h.image == nil {
		return nil
	}
	etc := filepath.Join(h.root, "etc")
	return []sandbox.HostMount{{Image: h.image, At: h.root, ReadOnly: true}, {Source: etc, At: etc}}
}

// hooks are the executables of the host's hooks folder, then of its folder for this guest, then of the one in the state
// root, each by name. Names with a dot in front or ~ at the end, and files that are not executable, are no hooks.
func (e Env) hooks(guest string) ([]string, error) {
	dirs := []string{filepath.Join(e.Store.Root(), "hooks", guest+".d")}
	if e.HookDir != "" {
		dirs = append([]string{e.HookDir, filepath.Join(e.HookDir, guest+".d")}, dirs...)
	}
	var out []string
	for _, dir := range dirs {
		ents, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read hooks: %w", err)
		}
		for _, d := range ents {
			path := filepath.Join(dir, d.Name())
			st, err := os.Stat(path)
			if err != nil {
				return nil, fmt.Errorf("read hooks: %w", err)
			}
			if strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~") || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
				continue
			}
			out = append(out, path)
		}
	}
	return out, nil
}

// runHooks runs the hooks one after another until one fails.
func (e Env) runHooks(ctx context.Context, phase string, h hooked) error {
	list, err := e.hooks(h.guest.Name())
	if err != nil {
		return err
	}
	for _, path := range list {
		// timeout(1) ends what the hook started, too.
		_, err := sandbox.HostToolIn(ctx, h.mounts(), nil, "timeout", "--kill-after=5", strconv.Itoa(hookSeconds), "env",
			"GROVE_PHASE="+phase, "GROVE_GUEST="+h.guest.Name(), "GROVE_DEPLOYMENT="+strconv.Itoa(h.id), "GROVE_PREVIOUS="+strconv.Itoa(h.from),
			"GROVE_TREE="+h.root, "GROVE_VAR="+h.guest.VarDir(), "GROVE_ROOT="+e.Store.Root(), path, phase)
		if err != nil {
			return fmt.Errorf("hook %s %s: %w", path, phase, err)
		}
	}
	return nil
}

// checkAfter runs the hooks that judge the deployment that is current now, and goes back where one fails.
func (e Env) checkAfter(ctx context.Context, h hooked) error {
	units, err := activeUnits(ctx, h.guest)
	if err == nil {
		err = restart(ctx, units)
	}
	if err == nil {
		err = e.runHooks(ctx, hookAfter, h)
	}
	if err == nil || h.from == 0 {
		return h.afterJudged(ctx, err)
	}
	return errors.Join(h.afterJudged(ctx, err), restart(context.WithoutCancel(ctx), units))
}

// activeUnits are those running units of this host that were enabled with a restart at each change.
func activeUnits(ctx context.Context, g *deploy.Guest) ([]string, error) {
	units, err := machine.RestartUnits(g.Dir())
	if err != nil || len(units) == 0 || !machine.HasSystemd() {
		return nil, err
	}
	var out []string
	for _, u := range units {
		if _, err := sandbox.HostTool(ctx, nil, "systemctl", "is-active", "--quiet", "--", u); err == nil {
			out = append(out, u)
		}
	}
	return out, nil
}

// restart starts units again; one that does not start is an error.
func restart(ctx context.Context, units []string) error {
	if len(units) == 0 {
		return nil
	}
	if _, err := sandbox.HostTool(ctx, nil, append([]string{"systemctl", "restart", "--"}, units...)...); err != nil {
		return fmt.Errorf("restart %s: %w", strings.Join(units, " "), err)
	}
	return nil
}
