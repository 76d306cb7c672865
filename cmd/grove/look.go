// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/deploy"
	"grove/internal/guest"
)

// printChange says what a change did, packages first.
func (a *app) printChange(c guest.Change) {
	switch {
	case c.Unchanged && c.Staged != 0:
		a.printf("%s: nothing newer than deployment %d, which is staged; grove finalize %s makes it current\n", c.Guest, c.Staged, c.Guest)
		return
	case c.Unchanged:
		a.printf("%s: nothing to do, deployment %d stays\n", c.Guest, c.From)
		for _, s := range c.Satisfied {
			a.printf("  %s is part of the base already\n", s)
		}
		for _, s := range c.Waiting {
			a.printf("  the override of %s waits: no source has a newer one than the base\n", s)
		}
		return
	case c.DryRun:
		a.printf("%s: would change as follows; nothing was done\n", c.Guest)
	}
	a.printPackages(c.Packages)
	for _, s := range c.Satisfied {
		a.printf("  (%s is part of the base already)\n", s)
	}
	for _, s := range c.Waiting {
		a.printf("  (the override of %s waits: no source has a newer one than the base)\n", s)
	}
	for _, p := range c.Newer {
		a.printf("  (newer: %s; grove upgrade %s takes it)\n", p, c.Guest)
	}
	a.printAdvisories(c.Advisories)
	a.printEtc(c.Etc)
	if c.DryRun {
		return
	}
	if c.Staged != 0 {
		a.printf("%s: deployment %d is staged, %s; grove finalize %s makes it current\n", c.Guest, c.Staged, c.Commit[:12], c.Guest)
		return
	}
	if c.From == 0 {
		a.printf("%s: deployment %d is current, %d packages", c.Guest, c.To, c.Installed)
	} else {
		a.printf("%s: deployment %d is current (was %d; grove rollback %s %d leads back)", c.Guest, c.To, c.From, c.Guest, c.From)
	}
	a.printf(", %s\n", c.Commit[:12])
}

// printAdvisories shows why packages are newer, security first.
func (a *app) printAdvisories(list []guest.Advisory) {
	for _, v := range list {
		a.printf("  ! %s %s", v.ID, v.Type)
		if v.Severity != "" {
			a.printf(" %s", v.Severity)
		}
		a.printf(": %s", strings.Join(v.Packages, " "))
		if len(v.CVEs) > 0 {
			a.printf(" (%s)", strings.Join(v.CVEs, " "))
		}
		a.printf("\n")
	}
}

// printEtc names what the merge of /etc met; what was changed here and is as before is only counted.
func (a *app) printEtc(r guest.EtcReport) {
	for _, side := range []struct {
		paths      []string
		what, more string
	}{{r.Taken, "the new default", "new defaults"}, {r.Gone, "gone with the default", "gone with their defaults"}} {
		for i, p := range side.paths {
			if i == etcShown && len(side.paths) > i+1 {
				a.printf("  /etc: %d more %s (--json names them)\n", len(side.paths)-i, side.more)
				break
			}
			a.printf("  /etc/%s: %s\n", p, side.what)
		}
	}
	if n := len(r.Kept); n > 0 {
		a.printf("  /etc: %d changed here and kept\n", n)
	}
	for _, p := range r.Conflicts {
		a.printf("  /etc/%s: changed here and by the packages; yours stays (the new default: /usr/etc/%s)\n", p, p)
	}
}

func (a *app) printPackages(d guest.PackageDiff) {
	if n := len(d.Added); n > maxShown {
		a.printf("  %d packages added\n", n)
	} else {
		for _, p := range d.Added {
			a.printf("  + %s\n", p)
		}
	}
	for _, p := range d.Removed {
		a.printf("  - %s\n", p)
	}
	for _, p := range d.Upgraded {
		a.printf("  ^ %s %s -> %s\n", p.Name, p.From, p.To)
	}
	for _, p := range d.Downgraded {
		a.printf("  v %s %s -> %s\n", p.Name, p.From, p.To)
	}
}

// etcShown is how many files of /etc that nobody had changed are named of each sort.
const etcShown = 10

// maxShown is how many added packages are listed one by one: a new guest has hundreds.
const maxShown = 60

func (a *app) list() *cobra.Command {
	return verb("list", "the guests of this host", "Each guest with its base and its current deployment.", cobra.NoArgs,
		func(*cobra.Command, []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			all, err := guest.List(e)
			if err != nil {
				return err
			}
			return a.show(all, func() {
				w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tBASE\tVERSION\tDEPLOYMENT\tKEPT\tPACKAGES\tLAYERED")
				for _, s := range all {
					if s.Damaged != "" {
						fmt.Fprintf(w, "%s\t%s\t-\t-\t%d\t-\tdamaged: %s\n", s.Name, orDash(s.Base.Ref), len(s.Deployments), s.Damaged)
					}
					for _, d := range s.Deployments {
						note := ""
						if d.Damaged != "" {
							note = " (damaged)"
						}
						if d.Current {
							fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d%s\n", s.Name, orDash(s.Base.Ref), orDash(d.Version), d.ID, len(s.Deployments), d.Packages, len(d.Layered), note)
						}
					}
				}
				w.Flush()
			})
		})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) status() *cobra.Command {
	return verb("status [NAME]", "what a guest is made of, and its deployments", `
With --json: name, base {ref, commit, version}, requested [], deployments [{id, commit, version, created,
current, pinned, running, packages, layered [], kind, why, sealed, bytes {unique, shared}, damaged}], the newest first. unique is what gc would free with this
deployment alone, shared what others hold too; damaged says why a deployment
can not be used as it is, and is left out where it can.`, cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				all, err := guest.List(e)
				if err != nil {
					return err
				}
				if err := guest.Measure(cmd.Context(), e, all); err != nil {
					return err
				}
				return a.show(all, func() {
					for i, s := range all {
						if i > 0 {
							a.printf("\n")
						}
						a.printStatus(s)
					}
				})
			}
			s, err := guest.StatusOf(e, args[0])
			if err != nil {
				return err
			}
			if err := guest.Measure(cmd.Context(), e, []guest.Status{s}); err != nil {
				return err
			}
			return a.show(s, func() { a.printStatus(s) })
		})
}

// kindText says how a deployment lies on disk, and why.
func kindText(d guest.Deployment) string {
	text := d.Kind
	if d.Why != "" {
		text += " (" + d.Why + ")"
	}
	if d.Kind != string(deploy.Composefs) {
		return text
	}
	if d.Sealed {
		return text + ", the kernel verifies its files (fs-verity)"
	}
	return text + ", its files are not sealed (no fs-verity here)"
}

func (a *app) printStatus(s guest.Status) {
	a.printf("%s\n  base       %s\n", s.Name, strings.TrimSpace(s.Base.Ref+" "+s.Base.Version))
	if len(s.Requested) > 0 {
		a.printf("  requested  %s\n", strings.Join(s.Requested, " "))
	}
	if len(s.Local) > 0 {
		a.printf("  local      %s\n", strings.Join(s.Local, " "))
	}
	if len(s.Removed) > 0 {
		a.printf("  removed    %s\n", strings.Join(s.Removed, " "))
	}
	for _, r := range s.Overrides {
		a.printf("  replaced   %s\n", r)
	}
	if len(s.Excluded) > 0 {
		a.printf("  excluded   %s\n", strings.Join(s.Excluded, " "))
	}
	if len(s.VersionLocks) > 0 {
		a.printf("  locked     %s\n", strings.Join(s.VersionLocks, " "))
	}
	if len(s.ReplaceFiles) > 0 {
		a.printf("  replaces files of others: %s\n", strings.Join(s.ReplaceFiles, " "))
	}
	if s.NoWeakDeps {
		a.printf("  weak deps  not installed\n")
	}
	if s.Damaged != "" {
		a.printf("  damaged    %s\n", s.Damaged)
	}
	for _, d := range s.Deployments {
		mark := " "
		if d.Current {
			mark = "*"
		}
		var notes []string
		if d.Pinned {
			notes = append(notes, "pinned")
		}
		if d.Staged {
			notes = append(notes, "staged")
		}
		if d.Running {
			notes = append(notes, "running")
		}
		note := ""
		if len(notes) > 0 {
			note = " (" + strings.Join(notes, ", ") + ")"
		}
		bytes := ""
		if d.Bytes != nil {
			bytes = fmt.Sprintf("%s own, %s shared, ", size(d.Bytes.Unique), size(d.Bytes.Shared))
		}
		a.printf("%s %3d  %s  %s  %s  %s%d packages, %d layered%s\n", mark, d.ID, d.Created.Local().Format("2006-01-02 15:04"), d.Commit[:12],
			orDash(d.Version), bytes, d.Packages, len(d.Layered), note)
		if text := kindText(d); text != "" {
			a.printf("       %s\n", text)
		}
		if d.Damaged != "" {
			a.printf("         damaged: %s\n", d.Damaged)
		}
		if d.Unjudged {
			a.printf("         its hooks did not get to their end: the next change runs them again, or grove finalize %s\n", s.Name)
		}
		if d.Current {
			for _, l := range d.Layered {
				a.printf("         + %s\n", l)
			}
		}
	}
}

func (a *app) history() *cobra.Command {
	return verb("history NAME", "a guest's deployments and what each changed", "From the newest to the oldest that is kept, each with what it changed in the one that it was made from.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			h, err := guest.History(e, args[0])
			if err != nil {
				return err
			}
			return a.show(h, func() {
				for i, d := range h {
					note := ""
					if i+1 < len(h) && d.Against != h[i+1].ID {
						note += fmt.Sprintf(" (made from %d)", d.Against)
					}
					if d.Current {
						note += " (current)"
					}
					a.printf("%d  %s  %s%s\n", d.ID, d.Created.Local().Format("2006-01-02 15:04"), strings.TrimSpace(d.BaseRef+" "+d.Version), note)
					a.printPackages(d.Changes)
				}
			})
		})
}

func (a *app) log() *cobra.Command {
	var ref string
	cmd := verb("log NAME [ID] | log --compose REF", "what the scriptlets of a deployment or a compose ran and printed", `
A line for each scriptlet that ran when the deployment was made, with the reason where it failed, and what it printed.
Without a number: of the current deployment. With --compose: of the last grove compose of that ref with this state
root, also where it failed.`, nil,
		func(_ *cobra.Command, args []string) error {
			if ref != "" && len(args) == 0 {
				return a.logOfCompose(ref)
			}
			if ref != "" || len(args) == 0 || len(args) > 2 {
				return usage("log: say NAME [ID], or --compose REF")
			}
			ids, err := numbers(args[1:])
			if err != nil {
				return err
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			l, err := guest.Log(e, args[0], append(ids, 0)[0])
			if err != nil {
				return err
			}
			return a.show(l, func() {
				if l.Text == "" {
					a.printf("%s: deployment %d was made without scriptlets\n", l.Guest, l.Deployment)
				}
				a.printf("%s", l.Text)
			})
		})
	cmd.Flags().StringVar(&ref, "compose", "", "the ref of a compose")
	return cmd
}

func (a *app) logOfCompose(ref string) error {
	e, err := a.guestEnv()
	if err != nil {
		return err
	}
	l, err := guest.LogOfCompose(e, ref)
	if err != nil {
		return err
	}
	return a.show(l, func() { a.printf("%s", l.Text) })
}

func (a *app) diff() *cobra.Command {
	var packagesOnly, logs bool
	cmd := verb("diff NAME [ID [ID]]", "what differs between two deployments, packages then files", `
Without numbers: the current deployment against the one before it, or against its base where it is the first.
With one: that deployment against the current one. With two: the first against the second.`, cobra.RangeArgs(1, 3),
		func(_ *cobra.Command, args []string) error {
			ids, err := numbers(args[1:])
			if err != nil {
				return err
			}
			from, to := 0, 0
			if len(ids) > 0 {
				from = ids[0]
			}
			if len(ids) > 1 {
				to = ids[1]
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			d, err := guest.Compare(e, args[0], from, to, packagesOnly)
			if err != nil {
				return err
			}
			if logs {
				if err := d.AddChangelogs(e); err != nil {
					return err
				}
			}
			return a.show(d, func() { a.printDiff(d) })
		})
	cmd.Flags().BoolVar(&packagesOnly, "packages", false, "only the packages")
	cmd.Flags().BoolVar(&logs, "changelogs", false, "also what the changelogs of upgraded and downgraded packages say")
	return cmd
}

func (a *app) printDiff(d guest.Diff) {
	from := "base"
	if d.From != 0 {
		from = strconv.Itoa(d.From)
	}
	a.printf("%s: %s -> %d\n", d.Guest, from, d.To)
	a.printPackages(d.Packages)
	for _, l := range d.Changelogs {
		a.printf("  %s\n", l.Package)
		for _, c := range l.Entries {
			a.printf("    %s %s\n      %s\n", time.Unix(c.Time, 0).UTC().Format("2006-01-02"), c.Name, strings.ReplaceAll(c.Text, "\n", "\n      "))
		}
	}
	for _, f := range d.Files {
		a.printf("  %-8s %s\n", f.Kind, f.Path)
	}
	for _, f := range d.Etc {
		a.printf("  %-8s %s (by hand)\n", f.Kind, f.Path)
	}
}

func numbers(args []string) ([]int, error) {
	var out []int
	for _, s := range args {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, usage("deployment %q: not a number from 1 up", s)
		}
		out = append(out, n)
	}
	return out, nil
}
