// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"grove/internal/delta"
	"grove/internal/repo"
)

func isNotFound(err error) bool { return errors.Is(err, repo.ErrNotFound) }

func (v *repoVerbs) fsck() *cobra.Command {
	return verb("fsck", "check every object", "Exit code 4 where one is damaged or missing.", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		res, err := r.Fsck(cmd.Context(), repo.FsckOptions{})
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
