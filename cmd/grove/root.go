// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/manifest"
)

// version of the program.
const version = "0.1"

const rootHelp = `
grove keeps guest operating systems: Linux root trees made of an OSTree base plus layered RPM packages.
A guest is changed atomically, rolled back at will, and run on this host, which is never touched.

    grove remote add el7 http://mirror/el7 --gpg-key KEY     where bases come from
    grove create mail el7:centos/7/x86_64/minimal            a guest on such a base
    grove install mail postfix                               layer packages on it
    grove run mail -- postconf -d                            run a command in it
    grove upgrade mail ; grove rollback mail                 forward, and back

` + exitTable

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use: "grove", Short: "keep guest operating systems", Long: rootHelp[1:], Version: version,
		SilenceErrors: true, SilenceUsage: true, SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					return usage("unknown verb %q; near it: %s", args[0], strings.Join(near, ", "))
				}
				return usage("unknown verb %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err.Error()} })
	f := root.PersistentFlags()
	f.StringVar(&a.root, "root", "", "the state root (default $GROVE_ROOT, else /var/lib/grove)")
	f.BoolVar(&a.json, "json", false, "print JSON where something is shown")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only what was asked for, and errors")
	f.BoolVar(&a.offline, "offline", false, "use no network: caches and local files only")
	f.DurationVar(&a.wait, "wait", 0, "how long to wait while another grove is at work, such as 10m")
	root.AddGroup(
		&cobra.Group{ID: "life", Title: "A guest's life:"}, &cobra.Group{ID: "look", Title: "Looking:"},
		&cobra.Group{ID: "run", Title: "Running:"}, &cobra.Group{ID: "trees", Title: "Trees:"}, &cobra.Group{ID: "store", Title: "The store:"},
	)
	for _, g := range []struct {
		id    string
		verbs []*cobra.Command
	}{
		{"life", []*cobra.Command{a.create(), a.install(), a.uninstall(), a.override(), a.module(), a.versionlock(), a.upgrade(), a.rebase(), a.apply(), a.rollback(), a.finalize(), a.pin(), a.unpin(), a.delete()}},
		{"look", []*cobra.Command{a.list(), a.status(), a.diff(), a.history(), a.log(), a.why(), a.search()}},
		{"run", []*cobra.Command{a.runVerb(), a.shell(), a.boot(), a.mount(), a.umount(), a.enable(), a.disable(), a.service()}},
		{"trees", []*cobra.Command{a.compose(), a.remote(a.stateRepo, true), a.pull(), a.mirror(), a.serve()}},
		{"store", []*cobra.Command{a.gc(), a.retention(), a.fsck(), a.repo()}},
	} {
		for _, v := range g.verbs {
			v.GroupID = g.id
			root.AddCommand(v)
		}
	}
	root.AddCommand(&cobra.Command{Use: "manifest", Short: "the keys of a manifest", Long: manifest.Reference()})
	return root
}
