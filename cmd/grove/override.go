// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/guest"
)

// editFlags are changes to what a guest asks for that ride along with another one.
type editFlags struct {
	install, uninstall []string
	remove, replace    []string
	exclude, unexclude []string
	uninstallAll       bool
	resetAll           bool
	from               string
	weak               bool
	weakGiven          func() bool // nil: the verb does not have it
	unprotect          bool
	replaceFiles       bool
}

func (f *editFlags) addInstall(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.install, "install", nil, "layer this in the same change")
}

func (f *editFlags) addUninstall(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.uninstall, "uninstall", nil, "take this layered package away in the same change")
}

// addReplaceFiles adds the flag of verbs that install.
func (f *editFlags) addReplaceFiles(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.replaceFiles, "force-replacefiles", false, "let the files of these packages take the place of other packages' files, from now on")
}

// addSolving adds what steers the choice of packages. Each is kept with the guest.
func (f *editFlags) addSolving(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.exclude, "exclude", "x", nil, "never let this package in, from now on: name, name.arch, NEVRA or glob")
	fs.StringArrayVar(&f.unexclude, "unexclude", nil, "end such an exclusion")
	fs.BoolVar(&f.weak, "install-weak-deps", true, "whether recommended packages come along, from now on")
	fs.BoolVar(&f.unprotect, "allow-protected", false, "let packages go that the guest's protected.d lists")
	f.weakGiven = func() bool { return fs.Changed("install-weak-deps") }
}

// edits are those that name no packages to find.
func (f *editFlags) edits() guest.Edits {
	x := guest.Edits{
		Uninstall: f.uninstall, UninstallAll: f.uninstallAll, ResetAll: f.resetAll, Remove: f.remove,
		Exclude: f.exclude, Unexclude: f.unexclude, ReplaceFiles: f.replaceFiles, From: strings.TrimPrefix(f.from, "repo="),
	}
	if f.weakGiven != nil && f.weakGiven() {
		x.Weak = &f.weak
	}
	return x
}

// alsoAsked finds the packages that --install and --replace name.
func (a *app) alsoAsked(ctx context.Context, flags *changeFlags, x *guest.Edits) (err error) {
	if x.Install, err = a.specs(ctx, flags.edits.install); err != nil {
		return err
	}
	x.Replace, err = a.specs(ctx, flags.edits.replace)
	return err
}

func (a *app) override() *cobra.Command {
	cmd := &cobra.Command{Use: "override", Short: "remove or replace packages of the base", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error { return usage("say override remove, replace or reset") }}
	cmd.AddCommand(a.overrideRemove(), a.overrideReplace(), a.overrideReset())
	return cmd
}

// overriding is a verb of override: flags that all of them have, and one change.
func (a *app) overriding(use, short, long string, args cobra.PositionalArgs, flags *changeFlags,
	do func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error)) *cobra.Command {
	cmd := verb(use, short, long, args, func(cmd *cobra.Command, args []string) error {
		return a.change(cmd.Context(), flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
			return do(cmd.Context(), e, args[0], args[1:], o)
		})
	})
	flags.add(cmd)
	flags.edits.addInstall(cmd)
	flags.edits.addUninstall(cmd)
	flags.edits.addSolving(cmd)
	return cmd
}

func (a *app) overrideRemove() *cobra.Command {
	var flags changeFlags
	cmd := a.overriding("remove NAME PKG... [--replace PKG]... [--install PKG]...", "take packages of the base out of the guest", `
PKG is a package of the base: name, name.arch or NEVRA. It stays out, whatever the base brings, until override reset.
Where others of the base need it, take those out too, or give what serves them instead with --install, in one call.
A package that a file in the guest's /etc/dnf/protected.d names goes only with --allow-protected.

    grove override remove mail nano
    grove override remove mail vim-minimal --install vim-enhanced`,
		cobra.MinimumNArgs(2), &flags, guest.OverrideRemove)
	cmd.Flags().StringArrayVar(&flags.edits.replace, "replace", nil, "exchange this package in the same change")
	return cmd
}

func (a *app) overrideReplace() *cobra.Command {
	var flags changeFlags
	cmd := a.overriding("replace NAME PKG... [--from repo=SOURCE] [--remove PKG]... [--install PKG]...", "put other packages in the place of the base's", `
PKG is a name, NEVRA or part of one, of the guest's sources, or a local .rpm file or URL. By name alone it is the
newest that a source has, at each upgrade anew; while the base has that one or a newer, the override waits. A
version, --from or a file says exactly which it is, older ones too, and stays until override reset.

    grove override replace mail openssl openssl-libs
    grove override replace mail openssl-libs --install postfix         the newer library, and what needs it
    grove override replace mail kernel-6.1.9-1.x86_64
    grove override replace mail vim-minimal --from repo=updates-testing
    grove override replace mail ./bash-5.2.26-1.x86_64.rpm`,
		cobra.MinimumNArgs(2), &flags, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			specs, err := a.specs(ctx, words)
			if err != nil {
				return guest.Change{}, err
			}
			if len(specs.Names) == 0 && o.Edits.From != "" {
				return guest.Change{}, usage("override replace: --from goes with names of packages")
			}
			return guest.OverrideReplace(ctx, e, name, specs, o)
		})
	cmd.Flags().StringVar(&flags.edits.from, "from", "", "the source that the packages named must come from: repo=SOURCE")
	cmd.Flags().StringArrayVar(&flags.edits.remove, "remove", nil, "take this package of the base out in the same change")
	cmd.Flags().Bool("experimental", false, "accepted, as rpm-ostree asks for it")
	_ = cmd.Flags().MarkHidden("experimental")
	return cmd
}

func (a *app) overrideReset() *cobra.Command {
	var flags changeFlags
	cmd := a.overriding("reset NAME [PKG...|--all]", "undo overrides: of these packages, or all", `
The packages are again as the base has them.`,
		cobra.MinimumNArgs(1), &flags, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			if o.Edits.ResetAll && len(words) > 0 {
				return guest.Change{}, usage("override reset %s: name packages, or say --all", name)
			}
			return guest.OverrideReset(ctx, e, name, words, o)
		})
	cmd.Flags().BoolVarP(&flags.edits.resetAll, "all", "a", false, "every override")
	return cmd
}

func (a *app) versionlock() *cobra.Command {
	cmd := &cobra.Command{Use: "versionlock", Short: "keep packages at a version", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say versionlock add, exclude, delete, list or clear")
		}}
	for _, v := range []struct {
		use, short, long string
		exclude          bool
	}{
		{"add NAME PKG...", "keep packages at the version that the guest has", `
PKG is a package of the guest (name, name.arch or a glob), or name-version in full or in part, globs allowed.
Upgrades then leave it at that version. A base that brings another version of it is refused until the lock goes,
or the locked version takes its place (override replace).

    grove versionlock add mail postfix
    grove versionlock add mail 'openssl-3.0.*'`, false},
		{"exclude NAME PKG...", "shun the version that the guest has, or the one named", `
PKG is as for versionlock add.

    grove versionlock exclude mail postfix-3.9`, true},
	} {
		var flags changeFlags
		sub := verb(v.use, v.short, v.long, cobra.MinimumNArgs(2), func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				locks, err := guest.LocksFor(e, args[0], args[1:], v.exclude)
				if err != nil {
					return guest.Change{}, err
				}
				o.Edits.Lock = locks
				c, err := guest.Alter(cmd.Context(), e, args[0], o)
				if err == nil && !a.json {
					a.printf("locked: %s\n", strings.Join(locks, " "))
				}
				return c, err
			})
		})
		flags.add(sub)
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(a.versionlockDelete(), a.versionlockClear(), a.versionlockList())
	return cmd
}

func (a *app) versionlockDelete() *cobra.Command {
	var flags changeFlags
	cmd := verb("delete NAME PKG...", "take locks off", `
PKG is the name of a locked package, or a lock as versionlock list shows it.`, cobra.MinimumNArgs(2), func(cmd *cobra.Command, args []string) error {
		return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
			locks, err := guest.LocksOf(e, args[0], args[1:])
			if err != nil {
				return guest.Change{}, err
			}
			o.Edits.Unlock = locks
			return guest.Alter(cmd.Context(), e, args[0], o)
		})
	})
	flags.add(cmd)
	return cmd
}

func (a *app) versionlockClear() *cobra.Command {
	var flags changeFlags
	cmd := verb("clear NAME", "take all locks off", "Upgrades take the newest of everything again.", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
			locks, err := guest.LocksOf(e, args[0], nil)
			if err != nil {
				return guest.Change{}, err
			}
			o.Edits.Unlock = locks
			return guest.Alter(cmd.Context(), e, args[0], o)
		})
	})
	flags.add(cmd)
	return cmd
}

func (a *app) versionlockList() *cobra.Command {
	return verb("list NAME", "the locks of a guest", "One a line; ! begins one that shuns versions.", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		locks, err := guest.LocksOf(e, args[0], nil)
		if err != nil {
			return err
		}
		return a.show(locks, func() {
			for _, l := range locks {
				a.printf("%s\n", l)
			}
		})
	})
}

// specs tells names from package files; URLs are downloaded into the cache first.
func (a *app) specs(ctx context.Context, words []string) (guest.Specs, error) {
	s, err := a.store()
	if err != nil {
		return guest.Specs{}, err
	}
	for i, w := range words {
		if !strings.Contains(w, "://") {
			continue
		}
		if words[i], err = guest.Download(ctx, s, a.client(), w); err != nil {
			return guest.Specs{}, err
		}
	}
	return guest.ParseSpecs(words)
}
