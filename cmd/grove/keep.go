// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"grove/internal/deploy"
	"grove/internal/guest"
)

func (a *app) rollback() *cobra.Command {
	return verb("rollback NAME [ID]", "make an older deployment current again", `
Without ID: the one that the current was made from. The old deployment comes back with its own /etc; /var stays.`, cobra.RangeArgs(1, 2),
		func(cmd *cobra.Command, args []string) error {
			ids, err := numbers(args[1:])
			if err != nil {
				return err
			}
			id := 0
			if len(ids) > 0 {
				id = ids[0]
			}
			return a.change(cmd.Context(), &changeFlags{}, func(e guest.Env, _ guest.Options) (guest.Change, error) {
				return guest.Rollback(cmd.Context(), e, args[0], id)
			})
		})
}

func (a *app) finalize() *cobra.Command {
	return verb("finalize NAME", "make the staged deployment current", `
For what grove upgrade --stage made. /etc is merged now, from what the current deployment has by now. Where the
guest was changed since, what was staged counts no more, and is to be staged again.`, cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), &changeFlags{}, func(e guest.Env, _ guest.Options) (guest.Change, error) {
				return guest.Finalize(cmd.Context(), e, args[0])
			})
		})
}

func (a *app) pin() *cobra.Command { return a.pinVerb("pin", "keep a deployment from gc", true) }
func (a *app) unpin() *cobra.Command {
	return a.pinVerb("unpin", "let gc take a deployment again", false)
}

func (a *app) pinVerb(name, short string, on bool) *cobra.Command {
	return verb(name+" NAME [ID]", short, "Without ID: the current one.", cobra.RangeArgs(1, 2),
		func(cmd *cobra.Command, args []string) error {
			ids, err := numbers(args[1:])
			if err != nil {
				return err
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			id, err := guest.Pin(cmd.Context(), e, args[0], append(ids, 0)[0], on)
			if err != nil {
				return err
			}
			a.printf("%s: deployment %d is %sned\n", args[0], id, name)
			return nil
		})
}

func (a *app) delete() *cobra.Command {
	var yes bool
	cmd := verb("delete NAME [ID...]", "remove a guest, its deployments and its /var", `
Says what would be lost and asks first; --yes answers. What no other guest needs is freed by the next grove gc. With ID: only these
deployments, which must be neither current nor running; a damaged one goes this way.`, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			ids, err := numbers(args[1:])
			if err != nil {
				return err
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			if len(ids) > 0 {
				return a.deleteDeployments(cmd.Context(), e, args[0], ids, yes)
			}
			loss, err := guest.LossOf(e, args[0])
			if err != nil {
				return err
			}
			what := fmt.Sprintf("%d deployments (%d pinned) and its /var of %s", loss.Deployments, loss.Pinned, size(loss.VarBytes))
			if !yes {
				if err := a.confirm(fmt.Sprintf("delete guest %s, its %s?", args[0], what)); err != nil {
					return err
				}
			}
			if err := guest.Delete(cmd.Context(), e, args[0]); err != nil {
				return err
			}
			return a.show(loss, func() { a.printf("  - %s\n%s: deleted\n", what, args[0]) })
		})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) deleteDeployments(ctx context.Context, e guest.Env, name string, ids []int, yes bool) error {
	if !yes {
		if err := a.confirm(fmt.Sprintf("delete deployments %v of guest %s?", ids, name)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := guest.DeleteDeployment(ctx, e, name, id); err != nil {
			return err
		}
		a.printf("%s: deployment %d is deleted\n", name, id)
	}
	return nil
}

// confirm asks a question on the terminal.
func (a *app) confirm(question string) error {
	if a.stdin == nil || !term.IsTerminal(int(a.stdin.Fd())) {
		return usage("%s say --yes", question)
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil {
		return err
	}
	if w := strings.ToLower(strings.TrimSpace(answer)); w != "y" && w != "yes" {
		return fmt.Errorf("not done: the answer was no")
	}
	return nil
}

func (a *app) gc() *cobra.Command {
	var keep, days int
	var dry bool
	cmd := verb("gc", "free what no guest needs", `
Keeps of every guest the current deployment, pinned and running ones, the one that a rollback leads to and
N - 1 more of the newest, and those made within D days; then removes from the repo what nothing refers to: old
commits, packages of the cache that no kept deployment was made from. N and D are those of the options, else what
grove retention says, else 1 and 0. --keep 0 keeps not even the one that a rollback leads to.`,
		cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			if keep < 0 || days < 0 {
				return usage("gc: --keep and --keep-days want a number from 0 up")
			}
			o := deploy.GCOptions{Keep: keep, KeepDays: days, DryRun: dry}
			if keep == 0 && cmd.Flags().Changed("keep") {
				o.Keep = -1 // deploy's word for none; its 0 is what the rule says
			}
			if days == 0 && cmd.Flags().Changed("keep-days") {
				o.KeepDays = -1
			}
			rep, err := guest.GC(cmd.Context(), e, o)
			if err != nil {
				return err
			}
			return a.show(gcView(rep), func() {
				done := [2]string{"removed", "freed"}
				if dry {
					done = [2]string{"would be removed", "would be freed at least"}
				}
				for _, d := range rep.Deployments {
					if n, ok := rep.Frees[d]; ok {
						a.printf("deployment %s %s, %s\n", d, done[0], size(n))
					} else {
						a.printf("deployment %s %s\n", d, done[0])
					}
				}
				a.printf("%d objects %s, %s\n", rep.Objects, done[1], size(rep.Bytes))
			})
		})
	cmd.Flags().IntVar(&keep, "keep", 0, "how many deployments to keep beside the current one (default: the rule's, else 1)")
	cmd.Flags().IntVar(&days, "keep-days", 0, "keep deployments made within so many days (default: the rule's)")
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "only say what would go")
	return cmd
}

func (a *app) fsck() *cobra.Command {
	return verb("fsck", "check every object, ref and guest", "Exit code 4 where something is damaged.", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			rep, err := guest.Fsck(cmd.Context(), e)
			if err != nil {
				return err
			}
			if err := a.show(rep, func() {
				for _, f := range rep.Faults {
					a.printf("%s\n", f)
				}
				a.printf("%d objects, %d guests: %d faults\n", rep.Objects, rep.Guests, len(rep.Faults))
			}); err != nil {
				return err
			}
			if len(rep.Faults) > 0 {
				return exitError(exitUntrusted)
			}
			return nil
		})
}

// size writes bytes for people.
func size(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/unit/unit)
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/unit/unit/unit)
	}
}
