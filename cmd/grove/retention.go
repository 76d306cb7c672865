// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"grove/internal/deploy"
	"grove/internal/guest"
)

func (a *app) retention() *cobra.Command {
	var keep, days int
	cmd := verb("retention [NAME]", "which deployments gc keeps, for all guests or one", `
Sets what grove gc keeps beside the current, pinned and running deployments: the newest N, the one that a
rollback leads to first, and those made within D days. A guest's own rule comes before that of all guests, and
the options of gc before both; 0 takes a rule back. Without options: shows the rule.

    grove retention --keep 3 --keep-days 30
    grove retention mail --keep 10`,
		cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
			if err := (deploy.Rule{Keep: keep, KeepDays: days}).Check(); err != nil {
				return usage("retention: %v", err)
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			name, who := "", "all guests"
			if len(args) > 0 {
				name, who = args[0], args[0]
			}
			setKeep, setDays := cmd.Flags().Changed("keep"), cmd.Flags().Changed("keep-days")
			var r deploy.Rule
			if setKeep || setDays {
				r, err = guest.SetRule(cmd.Context(), e, name, func(r *deploy.Rule) {
					if setKeep {
						r.Keep = keep
					}
					if setDays {
						r.KeepDays = days
					}
				})
			} else {
				r, err = guest.RuleOf(e, name)
			}
			if err != nil {
				return err
			}
			return a.show(map[string]int{"keep": r.Keep, "keep_days": r.KeepDays}, func() { a.printRule(who, r) })
		})
	cmd.Flags().IntVar(&keep, "keep", 0, "how many deployments beside the current one")
	cmd.Flags().IntVar(&days, "keep-days", 0, "deployments made within so many days")
	return cmd
}

func (a *app) printRule(who string, r deploy.Rule) {
	switch {
	case r == (deploy.Rule{}):
		a.printf("%s: no rule\n", who)
	case r.Keep == 0:
		a.printf("%s: keep for %d days\n", who, r.KeepDays)
	case r.KeepDays == 0:
		a.printf("%s: keep %d beside the current\n", who, r.Keep)
	default:
		a.printf("%s: keep %d beside the current, and those of %d days\n", who, r.Keep, r.KeepDays)
	}
}
