// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/repo"
)

func isNotFound(err error) bool { return errors.Is(err, repo.ErrNotFound) }

func (v *repoVerbs) prune() *cobra.Command {
	var o repo.PruneOptions
	cmd := verb("prune", "delete objects that no ref needs", "Commits without a ref go too with --refs-only.", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			res, err := r.Prune(cmd.Context(), o)
			if err != nil {
				return err
			}
			return v.a.show(pruneView(res), func() {
				v.a.printf("Total objects: %d\nDeleted %d objects, %s freed\n", res.Objects, res.Deleted, size(res.FreedBytes))
			})
		})
	cmd.Flags().BoolVar(&o.RefsOnly, "refs-only", false, "only what refs reach is kept")
	cmd.Flags().IntVar(&o.Depth, "depth", -1, "how many parents of each ref to keep; -1 = all")
	cmd.Flags().BoolVar(&o.DryRun, "no-prune", false, "only say what would be deleted")
	return cmd
}

func (v *repoVerbs) fsck() *cobra.Command {
	return verb("fsck", "check every object", "Exit code 4 where one is damaged or missing.", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		res, err := r.Fsck(cmd.Context(), repo.FsckOptions{})
		if err != nil {
			return err
		}
		err = v.a.show(fsckView(res), func() {
			for _, f := range res.Faults {
				v.a.printf("%s\n", f)
			}
			v.a.printf("%d objects, %d commits: %d faults\n", res.Objects, res.Commits, len(res.Faults))
		})
		if err == nil && len(res.Faults) > 0 {
			return exitError(exitUntrusted)
		}
		return err
	})
}

func (v *repoVerbs) config() *cobra.Command {
	return verb("config get|set|unset SECTION.KEY [VALUE]", "read or change the repository's settings", "SECTION.KEY is such as core.mode.", cobra.RangeArgs(2, 3),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			i := strings.LastIndexByte(args[1], '.')
			if i < 1 {
				return usage("config: %q is not SECTION.KEY", args[1])
			}
			section, key := args[1][:i], args[1][i+1:]
			switch {
			case args[0] == "get" && len(args) == 2:
				value, ok := r.Config().Get(section, key)
				if !ok {
					return fmt.Errorf("config: %s is not set", args[1])
				}
				fmt.Fprintln(v.a.stdout, value)
				return nil
			case args[0] == "set" && len(args) == 3:
				if err := r.Config().Set(section, key, args[2]); err != nil {
					return err
				}
				return r.Config().Save()
			case args[0] == "unset" && len(args) == 2:
				r.Config().Unset(section, key)
				return r.Config().Save()
			}
			return usage("config: say get SECTION.KEY, set SECTION.KEY VALUE or unset SECTION.KEY")
		})
}
