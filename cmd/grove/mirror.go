// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"grove/internal/mirror"
	"grove/internal/pull"
	"grove/internal/rpmmd"
)

const mirrorHelp = `
DIR holds the copies. OSTree repositories are in DIR/ostree/NAME: any web server, or grove serve, hands them out, and remotes of this
machine can name them as file://. RPM sources are in DIR/rpm/ID, for baseurl=file://DIR/rpm/ID. Signed summaries, commits, repomd.xml
and packages stay byte for byte what they are upstream, so clients verify them by the same keys.

    grove mirror add /srv/mirror fedora https://example.org/repo stable --gpg-key KEY
    grove mirror add-sources /srv/mirror base.repo
    grove mirror update /srv/mirror                     from a timer, as often as you like
    grove mirror list /srv/mirror`

func (a *app) mirror() *cobra.Command {
	cmd := &cobra.Command{Use: "mirror", Short: "keep copies of upstreams, for when the network is gone", Long: mirrorHelp[1:], Args: groupArgs,
		RunE: func(*cobra.Command, []string) error { return usage("say mirror add, add-sources, update or list") }}
	cmd.AddCommand(a.mirrorAdd(), a.mirrorAddSources(), a.mirrorUpdate(), a.mirrorList())
	return cmd
}

func (a *app) mirrorAdd() *cobra.Command {
	var o remoteFlags
	var deltas bool
	cmd := verb("add DIR NAME [metalink=|mirrorlist=]URL [REF]... --gpg-key FILE | --sign-verify KEY | --no-gpg-verify", "mirror an OSTree remote", `
All its refs, or those named. What is mirrored is verified as a pull is. Nothing is fetched yet: mirror update does that.`, cobra.MinimumNArgs(3),
		func(_ *cobra.Command, args []string) error {
			if !o.vouched() {
				return usage("mirror %s: say --gpg-key FILE or --sign-verify KEY, or --no-gpg-verify to accept unsigned commits", args[1])
			}
			remote, err := o.remote(args[1:], true)
			if err != nil {
				return err
			}
			if deltas {
				remote.Options[mirror.DeltasKey] = "true"
			}
			keys, err := pull.ReadKeys(o.keys)
			if err != nil {
				return err
			}
			return mirror.AddRepo(args[0], remote, keys, o.force)
		})
	o.add(cmd)
	cmd.Flags().BoolVar(&deltas, "static-deltas", false, "mirror the static deltas to its refs too")
	return cmd
}

func (a *app) mirrorAddSources() *cobra.Command {
	var vars varFlags
	cmd := verb("add-sources DIR FILE.repo...", "mirror the RPM sources of .repo files", "Those that are enabled, with all their packages. Nothing is fetched yet: mirror update does that.", cobra.MinimumNArgs(2),
		func(_ *cobra.Command, args []string) error {
			for _, path := range args[1:] {
				if err := mirror.AddSources(args[0], path, vars.vars()); err != nil {
					return err
				}
			}
			return nil
		})
	vars.add(cmd)
	return cmd
}

// varFlags are what the variables of .repo files stand for.
type varFlags struct{ releasever, arch string }

func (v *varFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.releasever, "releasever", "", "what $releasever stands for in .repo files")
	cmd.Flags().StringVar(&v.arch, "arch", hostArch(), "what $arch stands for in them")
}

func (v *varFlags) vars() rpmmd.Vars { return rpmmd.NewVars(v.releasever, v.arch) }

type mirrorJSON struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"` // ostree or rpm
	URL      string   `json:"url"`
	Path     string   `json:"path"`
	Branches []string `json:"branches,omitempty"`
}

func (a *app) mirrorList() *cobra.Command {
	var vars varFlags
	cmd := verb("list DIR", "what a folder mirrors", "Name, kind, upstream and place.", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		all, err := mirror.List(args[0], vars.vars())
		if err != nil {
			return err
		}
		out := []mirrorJSON{}
		for _, u := range all {
			out = append(out, mirrorJSON{u.Name, u.Kind, u.URL, u.Path, u.Branches})
		}
		return a.show(out, func() {
			for _, u := range out {
				a.printf("%s  %s  %s  %s\n", u.Name, u.Kind, u.URL, u.Path)
			}
		})
	})
	vars.add(cmd)
	return cmd
}

type mirroredJSON struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	Path       string   `json:"path"`
	Fetched    int      `json:"fetched"` // objects and static deltas, or packages and metadata files
	Bytes      int64    `json:"bytes"`
	Removed    int      `json:"removed"`
	VerifiedBy []string `json:"verified_by,omitempty"`
	Error      string   `json:"error,omitempty"`
}

func (a *app) mirrorUpdate() *cobra.Command {
	var o mirror.Options
	var vars varFlags
	cmd := verb("update DIR [NAME]...", "bring mirrors up to date", `
What is there already is not fetched again, also after a break. One upstream that fails does not keep the others from it; the exit
code then says so. A client sees the old state or the new. As a timer:

    [Service]
    Type=oneshot
    ExecStart=/usr/bin/grove mirror update /srv/mirror

    [Timer]
    OnCalendar=hourly
    RandomizedDelaySec=10min`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		o.Names, o.Client, o.Offline, o.Vars, o.Wait = args[1:], a.client(), a.offline, vars.vars(), a.wait
		all, err := mirror.Update(cmd.Context(), args[0], o)
		out := []mirroredJSON{}
		var failed []error
		for _, d := range all {
			j := mirroredJSON{Name: d.Name, Kind: d.Kind, Path: d.Path, Fetched: d.Fetched, Bytes: d.Bytes, Removed: d.Removed, VerifiedBy: d.Signed}
			for _, w := range d.Warnings {
				a.warn([]string{"mirror " + d.Name + ": " + w})
			}
			if d.Err != nil {
				j.Error = d.Err.Error()
				failed = append(failed, fmt.Errorf("mirror %s: %w", d.Name, d.Err))
			}
			out = append(out, j)
		}
		shown := a.show(out, func() {
			for _, d := range out {
				if d.Error == "" {
					a.printf("%s: %d fetched, %s; %d removed\n", d.Name, d.Fetched, size(d.Bytes), d.Removed)
				}
			}
		})
		if err == nil && len(failed) > 0 {
			for _, e := range failed[1:] {
				a.warn([]string{e.Error()})
			}
			err = failed[0]
		}
		return errors.Join(err, shown)
	})
	f := cmd.Flags()
	f.IntVar(&o.Depth, "depth", 0, "how many parents of each commit; -1 = all")
	f.BoolVar(&o.Prune, "prune", false, "remove commits that no ref, and packages that no source names any more")
	vars.add(cmd)
	return cmd
}
