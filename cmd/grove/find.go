// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"grove/internal/guest"
)

func (a *app) why() *cobra.Command {
	return verb("why NAME PKG", "what wants this package", `
PKG is a package of the guest: its name, NEVRA, something it provides, or one of its files. A line a step: from PKG
up to what was asked for, or to the base; by hard requirements alone where they lead there, else by recommendations
too. What else needs PKG follows.

    grove why mail libfoo
    grove why mail /usr/bin/perl`, cobra.ExactArgs(2),
		func(_ *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			chain, err := guest.Why(e, args[0], args[1])
			if err != nil {
				return err
			}
			return a.show(chain, func() {
				for _, r := range chain {
					a.printf("%s: %s\n", r.Package, r.Because)
				}
				if len(chain[0].Also) > 0 {
					a.printf("  also needed by %s\n", strings.Join(chain[0].Also, ", "))
				}
			})
		})
}

func (a *app) search() *cobra.Command {
	var o guest.SearchOptions
	cmd := verb("search NAME WORD...", "look through the packages of a guest's sources", `
Packages that have all words in name or summary, the case folded; else in what they provide, or as the path of a
file of theirs. The best come first: what is called so, name and summary, name, summary. * marks what is installed.

    grove search mail imap server
    grove search mail /usr/bin/dig
    grove search mail 'php-*'`, cobra.MinimumNArgs(2),
		func(cmd *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			found, missed, err := guest.Search(cmd.Context(), e, args[0], args[1:], o)
			if err != nil {
				return err
			}
			if missed != nil {
				a.warn(strings.Split(missed.Error(), "\n"))
			}
			return a.show(found, func() { a.printFound(found, args[1:]) })
		})
	cmd.Flags().BoolVar(&o.All, "all", false, "look into descriptions and URLs too")
	cmd.Flags().BoolVar(&o.Duplicates, "showduplicates", false, "show every version of every source, not only the newest")
	return cmd
}

func (a *app) printFound(found []guest.Found, words []string) {
	if len(found) == 0 {
		a.printf("nothing has %s\n", strings.Join(words, " and "))
		return
	}
	last := ""
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	for _, f := range found {
		if f.Matched != last {
			w.Flush()
			a.printf("%s:\n", f.Matched)
			last = f.Matched
		}
		mark := " "
		if f.Installed {
			mark = "*"
		}
		if !a.quiet {
			fmt.Fprintf(w, "%s %s\t%s\t(%s)\n", mark, f.NEVRA, f.Summary, f.Source)
		}
	}
	w.Flush()
}
