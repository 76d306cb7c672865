// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// pruneFlags are those of `grove repo prune`, named as ostree names them.
type pruneFlags struct {
	o               repo.PruneOptions
	younger, delete string
	branchDepth     []string
	deltasOnly      bool
}

func (v *repoVerbs) prune() *cobra.Command {
	var p pruneFlags
	cmd := verb("prune", "delete objects that nothing needs", `
Every commit is kept with all it holds, but with --refs-only, or a rule about branches or age, only what refs reach.`, cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if err := p.options(); err != nil {
				return err
			}
			if p.deltasOnly {
				_, err := r.PruneDeltas(cmd.Context(), &p.o.DeleteCommit, false)
				return err
			}
			res, err := r.Prune(cmd.Context(), p.o)
			if err != nil {
				return err
			}
			return v.a.show(pruneView(res), func() { p.print(v.a, res) })
		})
	f := cmd.Flags()
	f.BoolVar(&p.o.RefsOnly, "refs-only", false, "only what refs reach is kept")
	f.IntVar(&p.o.Depth, "depth", -1, "how many parents of each ref to keep; -1 = all")
	f.BoolVar(&p.o.DryRun, "no-prune", false, "only say what would be deleted")
	f.StringVar(&p.younger, "keep-younger-than", "", "of each ref the newest commit and those since DATE")
	f.StringArrayVar(&p.branchDepth, "retain-branch-depth", nil, "BRANCH=DEPTH: --depth for one branch")
	f.StringArrayVar(&p.o.OnlyBranches, "only-branch", nil, "cut the history of this branch, keep that of others")
	f.StringVar(&p.delete, "delete-commit", "", "delete this commit first; it must not be a ref's")
	f.BoolVar(&p.deltasOnly, "static-deltas-only", false, "delete the static deltas to --delete-commit and nothing else")
	f.BoolVar(&p.o.CommitOnly, "commit-only", false, "delete commits only, not what they hold")
	return cmd
}

// options makes sense of the options that are text.
func (p *pruneFlags) options() (err error) {
	if p.delete != "" {
		if p.o.DryRun {
			return usage("prune: --delete-commit does not go with --no-prune")
		}
		if p.o.DeleteCommit, err = ostree.ParseChecksum(p.delete); err != nil {
			return usage("prune --delete-commit: %v", err)
		}
	} else if p.deltasOnly {
		return usage("prune --static-deltas-only: say --delete-commit too")
	}
	if p.younger != "" {
		if p.o.KeepYoungerThan, err = parseTimestamp(p.younger); err != nil {
			return err
		}
		p.o.KeepYoungerThan = max(1, p.o.KeepYoungerThan) // since 1970 is a rule too
	}
	for _, rule := range p.branchDepth {
		branch, text, ok := strings.Cut(rule, "=")
		depth, err := strconv.Atoi(text)
		if !ok || err != nil {
			return usage("prune --retain-branch-depth=%s: want BRANCH=DEPTH", rule)
		}
		if p.o.BranchDepth == nil {
			p.o.BranchDepth = map[string]int{}
		}
		p.o.BranchDepth[branch] = depth
	}
	return nil
}

// print says what ostree's prune says.
func (p *pruneFlags) print(a *app, res repo.PruneResult) {
	only := ""
	if p.o.CommitOnly {
		only = " (commit only)"
	}
	a.printf("Total%s objects: %d\n", only, res.Objects)
	switch {
	case res.Deleted == 0:
		a.printf("No unreachable objects\n")
	case p.o.DryRun:
		a.printf("Would delete: %d objects, freeing %s\n", res.Deleted, decimalSize(res.SizeBytes))
	default:
		a.printf("Deleted %d objects, %s freed\n", res.Deleted, decimalSize(res.SizeBytes))
	}
}
