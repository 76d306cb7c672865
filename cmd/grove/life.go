// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/deploy"
	"grove/internal/guest"
	"grove/internal/manifest"
)

// changeFlags are those of every verb that changes a guest.
type changeFlags struct {
	dryRun     bool
	noGPGCheck bool
	refresh    bool
	repoFiles  []string
	lock       string
	edits      editFlags
	deploy     string
}

func (c *changeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&c.dryRun, "dry-run", "n", false, "say what would be done; change nothing")
	f.BoolVar(&c.noGPGCheck, "no-gpg-check", false, "use packages without checking their signatures")
	f.BoolVar(&c.refresh, "refresh", false, "ask the sources for new metadata first")
	f.StringArrayVar(&c.repoFiles, "repo-file", nil, "a .repo file that this guest is to use from now on beside its own")
	f.StringVar(&c.deploy, "deploy", "", "how deployments lie on disk from this one on: composefs, checkout or auto (default: as asked for before, else as config.json of the state root says)")
	f.StringVar(&c.lock, "lock", "", "make exactly what this lock says")
}

func (c *changeFlags) options() (guest.Options, error) {
	o := guest.Options{DryRun: c.dryRun, Refresh: c.refresh, RepoFiles: c.repoFiles, Unprotect: c.edits.unprotect}
	o.Edits = c.edits.edits()
	if c.deploy != "" {
		kind, err := deploy.ParseKind(c.deploy)
		if err != nil {
			return o, usage("--%v", err)
		}
		o.Deploy = kind
	}
	if c.lock != "" {
		text, err := os.ReadFile(c.lock)
		if err != nil {
			return o, err
		}
		l, err := manifest.ParseLock(text)
		if err != nil {
			return o, fmt.Errorf("%s: %w", c.lock, err)
		}
		o.Lock = &l
	}
	return o, nil
}

// change runs one change of a guest and prints what came of it.
func (a *app) change(ctx context.Context, flags *changeFlags, f func(guest.Env, guest.Options) (guest.Change, error)) error {
	e, err := a.guestEnv()
	if err != nil {
		return err
	}
	e.NoGPGCheck = flags.noGPGCheck
	o, err := flags.options()
	if err != nil {
		return err
	}
	if err := a.alsoAsked(ctx, flags, &o.Edits); err != nil {
		return err
	}
	c, err := f(e, o)
	if err != nil {
		return guestError{err, c.Guest, flags.repoFiles}
	}
	a.warn(c.Warnings)
	return a.show(c, func() { a.printChange(c) })
}

func (a *app) create() *cobra.Command {
	var flags changeFlags
	var packages []string
	var file string
	cmd := verb("create NAME [REMOTE:]REF [--install PKG]...", "make a guest on a base", `
With --manifest FILE the guest is what the file says, its base too; grove apply changes it by the file later.
Pulls the base's newest commit (unless --offline), layers the packages given with --install on it,
and makes the guest's first deployment. NAME is a machine name: letters, digits, - and . On an OSTree host the base
host:booted is the host's own commit, read from its repository; upgrade then follows the host.

    grove create mail el7:centos/7/x86_64/minimal
    grove create web fedora:fedora/40/x86_64/silverblue --install nginx --install php-fpm
    grove create tools host:booted --install gcc                     the commit that this host was booted from`,
		cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
			if err := deploy.ValidName(args[0]); err != nil {
				return usage("create: %v", err)
			}
			if file != "" {
				if len(args) > 1 || len(packages) > 0 {
					return usage("create: --manifest says base and packages; give neither beside it")
				}
				m, err := loadManifest(file)
				if err != nil {
					return err
				}
				return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
					return guest.Create(cmd.Context(), e, args[0], guest.CreateOptions{Options: o, Manifest: &m})
				})
			}
			if len(args) < 2 {
				return usage("create %s: say [REMOTE:]REF, or --manifest FILE", args[0])
			}
			specs, err := a.specs(cmd.Context(), packages)
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				o.Edits.Install = specs
				return guest.Create(cmd.Context(), e, args[0], guest.CreateOptions{Options: o, Base: args[1]})
			})
		})
	cmd.Flags().StringVar(&file, "manifest", "", "make the guest what this file says")
	cmd.Flags().StringArrayVar(&packages, "install", nil, "a package to layer: name, NEVRA, provide, path, @group, .rpm file or URL")
	flags.add(cmd)
	flags.edits.addSolving(cmd)
	flags.edits.addReplaceFiles(cmd)
	return cmd
}

func (a *app) install() *cobra.Command {
	var flags changeFlags
	cmd := verb("install NAME PKG... [--uninstall PKG]...", "layer packages on a guest", `
PKG is a name, NEVRA, glob, provide such as /usr/bin/x, @group, local .rpm file, or URL of one.
The base's packages stay as they are; what the packages need comes along, from the guest's own sources
(/etc/yum.repos.d in the guest, and what --repo-file added). The guest gets a new deployment, made current
at once; what runs in the old one keeps it until it ends. A package file stays with the guest; grove upgrade
takes a newer package of its name from a source, where one is there, and never an older one.

    grove install mail postfix /usr/bin/dig
    grove install mail nginx --uninstall httpd                       both in one change
    grove install mail ./local-tool-1.0-1.x86_64.rpm --no-gpg-check`,
		cobra.MinimumNArgs(2), func(cmd *cobra.Command, args []string) error {
			specs, err := a.specs(cmd.Context(), args[1:])
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				return guest.Install(cmd.Context(), e, args[0], specs, o)
			})
		})
	flags.add(cmd)
	flags.edits.addUninstall(cmd)
	flags.edits.addSolving(cmd)
	flags.edits.addReplaceFiles(cmd)
	return cmd
}

func (a *app) uninstall() *cobra.Command {
	var flags changeFlags
	cmd := verb("uninstall NAME PKG...|--all [--install PKG]...", "take layered packages away", `
PKG is what was asked for with install (see grove status), or a glob of it. What only it needed goes too.
To take a package of the base away, use grove override remove.`,
		cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
			if flags.edits.uninstallAll == (len(args) > 1) {
				return usage("uninstall %s: name packages, or say --all", args[0])
			}
			return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				return guest.Uninstall(cmd.Context(), e, args[0], args[1:], o)
			})
		})
	flags.add(cmd)
	flags.edits.addInstall(cmd)
	flags.edits.addSolving(cmd)
	cmd.Flags().BoolVar(&flags.edits.uninstallAll, "all", false, "everything that was asked for")
	return cmd
}

func (a *app) upgrade() *cobra.Command {
	var flags changeFlags
	var all, check, preview, exit77, stage bool
	cmd := verb("upgrade NAME...|--all", "bring guests to the newest base and packages", `
Pulls the newest commit of the guest's base, solves its layers anew against it, merges /etc, keeps /var,
and makes the result current. --check and --preview only say what would come. --stage makes the deployment
but leaves the current one current until grove finalize NAME; status shows it as staged. Hooks in
/etc/grove/hooks, /etc/grove/hooks/NAME.d and hooks/NAME.d of the state root can prevent the change or take it back (see the manual).`,
		nil, func(cmd *cobra.Command, args []string) error {
			flags.dryRun = flags.dryRun || check || preview
			names, err := a.guestNames(args, all)
			if err != nil {
				return err
			}
			changed := false
			var failed someFailed
			for _, name := range names {
				err := a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
					o.Stage = stage
					c, err := guest.Upgrade(cmd.Context(), e, name, o)
					changed = changed || !c.Unchanged
					return c, err
				})
				if err != nil && len(names) > 1 && cmd.Context().Err() == nil { // one that fails does not keep the others from it
					a.clearLine()
					fmt.Fprintf(a.stderr, "%s: not upgraded: %v\n", name, err)
					failed = failed.add(name, err)
					continue
				}
				if err != nil {
					return err
				}
			}
			if len(failed.names) > 0 {
				return failed
			}
			if exit77 && !changed {
				return exitError(exitUnchanged)
			}
			return nil
		})
	flags.add(cmd)
	flags.edits.addInstall(cmd)
	flags.edits.addUninstall(cmd)
	flags.edits.addSolving(cmd)
	cmd.Flags().BoolVar(&stage, "stage", false, "make the deployment, to be made current later")
	cmd.Flags().BoolVar(&all, "all", false, "every guest of the state root")
	cmd.Flags().BoolVar(&check, "check", false, "only say whether there is something newer")
	cmd.Flags().BoolVar(&preview, "preview", false, "only show which packages would change, and the advisories for them")
	cmd.Flags().BoolVar(&exit77, "unchanged-exit-77", false, "exit with 77 where nothing changed")
	return cmd
}

// someFailed says that something was done for some guests only; each error was printed. It is the first of them.
type someFailed struct {
	first error
	names []string
}

func (f someFailed) add(name string, err error) someFailed {
	if f.first == nil {
		f.first = err
	}
	f.names = append(f.names, name)
	return f
}

func (f someFailed) Error() string {
	return "failed for " + strings.Join(f.names, ", ") + " as said above; done for the others"
}

func (f someFailed) Unwrap() error { return f.first }

// guestNames are the guests that a verb is for.
func (a *app) guestNames(args []string, all bool) ([]string, error) {
	if all == (len(args) > 0) {
		return nil, usage("name guests, or say --all")
	}
	if !all {
		return args, nil
	}
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	return s.Guests()
}

func (a *app) rebase() *cobra.Command {
	var flags changeFlags
	cmd := verb("rebase NAME [REMOTE:]REF", "put a guest on another base", `
The guest's layers, /etc changes and /var come along; grove rollback leads back.`,
		cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				return guest.Rebase(cmd.Context(), e, args[0], args[1], o)
			})
		})
	flags.add(cmd)
	flags.edits.addInstall(cmd)
	flags.edits.addUninstall(cmd)
	flags.edits.addSolving(cmd)
	return cmd
}

func (a *app) apply() *cobra.Command {
	var flags changeFlags
	var exit77 bool
	cmd := verb("apply NAME MANIFEST", "make a guest what a manifest says", `
MANIFEST is a YAML file with base: and packages: (grove status --json and the guest's manifest.yaml show
the words). A guest that does not exist is created; one that is so already is left alone.
--dry-run shows what would change; with --unchanged-exit-77 the exit code tells whether anything does.`,
		cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
			m, err := loadManifest(args[1])
			if err != nil {
				return err
			}
			unchanged := false
			err = a.change(cmd.Context(), &flags, func(e guest.Env, o guest.Options) (guest.Change, error) {
				c, err := guest.Apply(cmd.Context(), e, args[0], m, o)
				unchanged = c.Unchanged
				return c, err
			})
			if err == nil && exit77 && unchanged {
				return exitError(exitUnchanged)
			}
			return err
		})
	flags.add(cmd)
	cmd.Flags().BoolVar(&exit77, "unchanged-exit-77", false, "exit with 77 where nothing changed")
	return cmd
}

// loadManifest reads a manifest and what it includes from the folder it lies in.
func loadManifest(path string) (manifest.Manifest, error) {
	if _, err := os.Stat(path); err != nil { // else told without its folder
		return manifest.Manifest{}, fmt.Errorf("open manifest: %w", err)
	}
	return manifest.Load(os.DirFS(filepath.Dir(path)), filepath.Base(path), hostArch())
}
