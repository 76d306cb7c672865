// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"grove/internal/delta"
	"grove/internal/repo"
)

func isNotFound(err error) bool { return errors.Is(err, repo.ErrNotFound) }

func (v *repoVerbs) fsck() *cobra.Command {
	var o repo.FsckOptions
	var all bool
	cmd := verb("fsck [--delete] [--verify-bindings] [--verify-back-refs] [--add-tombstones]", "check every object", `
Each object against its checksum, that nothing is missing that a commit needs, and each ref. Every fault is told, not only the
first; with -q nothing else is. Exit code 4 where there is one, or where commits are partial because --delete took what they need.`, cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			res, err := r.Fsck(cmd.Context(), o)
			if err == nil {
				var deltas []repo.Fault
				deltas, err = delta.Fsck(cmd.Context(), r)
				res.Faults = append(res.Faults, deltas...)
			}
			if err != nil {
				return err
			}
			err = v.a.show(fsckView(res), func() {
				for _, f := range res.Faults {
					fmt.Fprintln(v.a.stdout, f)
				}
				for _, c := range res.Tombstones {
					v.a.printf("Adding tombstone for commit %s\n", c)
				}
				if res.Partial > 0 {
					v.a.printf("%s not verified\n", counted(res.Partial, "partial commit"))
				}
				if res.Lost > 0 {
					fmt.Fprintf(v.a.stdout, "%s for damaged objects that were deleted; pull again\n", counted(res.Lost, "partial commit"))
				}
				v.a.printf("%d objects, %d commits: %d faults\n", res.Objects, res.Commits, len(res.Faults))
			})
			if err == nil && len(res.Faults)+res.Lost > 0 {
				return exitError(exitUntrusted)
			}
			return err
		})
	f := cmd.Flags()
	f.BoolVar(&o.Delete, "delete", false, "delete damaged objects, and mark the commits that need them as partial")
	f.BoolVarP(&all, "all", "a", true, "tell all faults, which is always so")
	f.BoolVar(&o.VerifyBindings, "verify-bindings", false, "each ref must name a commit that is bound to it, if to any")
	f.BoolVar(&o.VerifyBackRefs, "verify-back-refs", false, "also, the refs to which a commit is bound must name it")
	f.BoolVar(&o.AddTombstones, "add-tombstones", false, "note of missing parents that they were deleted")
	f.BoolVar(&o.Quick, "quick", false, "do not read the content of files")
	return cmd
}
