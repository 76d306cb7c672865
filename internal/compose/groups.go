// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// comps is what all sources say of groups: those with one id are one group.
type comps struct {
	groups map[string]*rpmmd.Group
	envs   map[string]*rpmmd.Environment
}

func gatherComps(sources []*rpmmd.Metadata) comps {
	c := comps{map[string]*rpmmd.Group{}, map[string]*rpmmd.Environment{}}
	for _, md := range sources {
		for _, g := range md.Groups {
			was := c.groups[g.ID]
			if was == nil {
				c.groups[g.ID] = &g
				continue
			}
			was.Mandatory = slices.Concat(was.Mandatory, g.Mandatory)
			was.Default = slices.Concat(was.Default, g.Default)
			was.Optional = slices.Concat(was.Optional, g.Optional)
			was.Conditional = slices.Concat(was.Conditional, g.Conditional)
		}
		for _, e := range md.Environments {
			was := c.envs[e.ID]
			if was == nil {
				c.envs[e.ID] = &e
				continue
			}
			was.Groups = slices.Concat(was.Groups, e.Groups)
			was.DefaultOptions = slices.Concat(was.DefaultOptions, e.DefaultOptions)
		}
	}
	return c
}

// find gives the groups that a name means: of a group or (^name only) of an environment, by id or by what people call it.
//
//	source  dnf dnf/comps.py: an environment's groups, and those of its options that are on by default
func (c comps) find(name string) ([]*rpmmd.Group, bool) {
	id, onlyEnv := strings.CutPrefix(name, "^")
	if g := c.groups[id]; g != nil && !onlyEnv {
		return []*rpmmd.Group{g}, true
	}
	e := c.envs[id]
	for _, key := range slices.Sorted(maps.Keys(c.envs)) {
		if e == nil && c.envs[key].Name == id {
			e = c.envs[key]
		}
	}
	if e != nil {
		var out []*rpmmd.Group
		for _, gid := range slices.Concat(e.Groups, e.DefaultOptions) {
			if g := c.groups[gid]; g != nil {
				out = append(out, g)
			}
		}
		return out, true
	}
	for _, key := range slices.Sorted(maps.Keys(c.groups)) {
		if c.groups[key].Name == id && !onlyEnv {
			return []*rpmmd.Group{c.groups[key]}, true
		}
	}
	return nil, false
}

func (c comps) known() string {
	list := slices.Sorted(maps.Keys(c.groups))
	for _, id := range slices.Sorted(maps.Keys(c.envs)) {
		list = append(list, "^"+id)
	}
	return strings.Join(list, ", ")
}

// group gives the packages of a comps group or environment: mandatory and default ones that some source has. Those that belong to
// it where another package is there wait in b.conditional.
func (b *build) group(name string) ([]string, error) {
	c := gatherComps(b.sources)
	groups, ok := c.find(name)
	if !ok {
		return nil, fmt.Errorf("group %q is in no source (known groups: %s)", name, c.known())
	}
	have := b.available()
	seen := map[string]bool{}
	var there []string
	for _, g := range groups {
		for _, p := range slices.Concat(g.Mandatory, g.Default) {
			if have[p] && !seen[p] {
				seen[p] = true
				there = append(there, p)
			}
		}
		for _, cond := range g.Conditional {
			if have[cond.Name] {
				b.conditional = append(b.conditional, cond)
			}
		}
	}
	return there, nil
}

// available are the names that some source has a package of which is not excluded: a group does without what is.
func (b *build) available() map[string]bool {
	have := map[string]bool{}
	excluded := solve.Excluder(b.m.ExcludePackages)
	for _, md := range b.sources {
		for i := range md.Packages {
			if n := md.Packages[i].NEVRA; len(b.m.ExcludePackages) == 0 || !excluded(n) {
				have[n.Name] = true
			}
		}
	}
	return have
}

// maxConditionalRounds bounds how often what a round brought in may ask for more.
const maxConditionalRounds = 5

// solveConditional asks again with the conditional packages of groups whose condition the plan fulfils.
func (b *build) solveConditional(ctx context.Context, req *solve.Request, plan solve.Plan) (solve.Plan, error) {
	for range maxConditionalRounds {
		if len(b.conditional) == 0 {
			return plan, nil
		}
		there := planned(req, plan)
		var rest []rpmmd.Conditional
		n := len(req.Install)
		for _, c := range b.conditional {
			switch {
			case there[c.Name]:
			case there[c.Requires]:
				req.Install = append(req.Install, c.Name)
			default:
				rest = append(rest, c)
			}
		}
		b.conditional = rest
		if len(req.Install) == n {
			return plan, nil
		}
		var err error
		if plan, err = b.solveWithFiles(ctx, *req); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// planned are the names that a plan leaves installed.
func planned(req *solve.Request, plan solve.Plan) map[string]bool {
	there := map[string]bool{}
	gone := map[int]bool{}
	for _, i := range plan.Remove {
		gone[i] = true
	}
	for i := range req.Installed {
		if !gone[i] {
			there[req.Installed[i].Name] = true
		}
	}
	for _, p := range plan.Install {
		if p.Repo == LocalSource {
			there[req.Local[p.Index].Name] = true
		}
		for _, r := range req.Repos {
			if r.ID == p.Repo {
				there[r.Packages[p.Index].Name] = true
			}
		}
	}
	return there
}
