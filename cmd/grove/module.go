// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"grove/internal/guest"
)

func (a *app) module() *cobra.Command {
	cmd := &cobra.Command{Use: "module", Short: "streams of modules: versions that a source offers side by side", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say module list, enable, disable, reset, switch-to, install or uninstall")
		}}
	for _, v := range []struct {
		use, short, long string
		do               func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error)
	}{
		{"enable NAME MODULE[:STREAM]...", "choose streams", `
Packages of the stream are there from now on, those of other streams of the module are not. Without STREAM it is the
default one. Nothing is installed. A module of which another stream is enabled has to be reset first, or switched.

    grove module enable web nodejs:20`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			return guest.EnableModules(ctx, e, name, words, false, o)
		}},
		{"switch-to NAME MODULE:STREAM...", "choose other streams in place of those enabled", `
What is layered of the module comes from the new stream.

    grove module switch-to web nodejs:22`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			return guest.EnableModules(ctx, e, name, words, true, o)
		}},
		{"disable NAME MODULE...", "no stream of these modules", `
Their packages are not there, whichever stream they are of.`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			o.Edits.ModuleDisable = words
			return guest.Alter(ctx, e, name, o)
		}},
		{"reset NAME MODULE...", "undo enable and disable", `
The default stream counts again. Packages that are layered stay as they are as long as they can.`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			o.Edits.ModuleReset = words
			return guest.Alter(ctx, e, name, o)
		}},
		{"install NAME MODULE[:STREAM][/PROFILE]...", "choose streams, and layer the packages of a profile", `
Without PROFILE those of the stream's default profiles. The same as grove install NAME @MODULE:STREAM/PROFILE.

    grove module install web nodejs:20/minimal`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			o.Edits.Install.Names = append(o.Edits.Install.Names, at(words)...)
			return guest.Alter(ctx, e, name, o)
		}},
		{"uninstall NAME MODULE[:STREAM][/PROFILE]...", "take the packages of a profile away again", `
As it was given to install.`, func(ctx context.Context, e guest.Env, name string, words []string, o guest.Options) (guest.Change, error) {
			o.Edits.Uninstall = append(o.Edits.Uninstall, at(words)...)
			return guest.Alter(ctx, e, name, o)
		}},
	} {
		var flags changeFlags
		cmd.AddCommand(a.overriding(v.use, v.short, v.long, cobra.MinimumNArgs(2), &flags, v.do))
	}
	cmd.AddCommand(a.moduleList())
	return cmd
}

// at are requests for modules, as install has them.
func at(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = "@" + strings.TrimPrefix(w, "@")
	}
	return out
}

func (a *app) moduleList() *cobra.Command {
	return verb("list NAME [MODULE...]", "the modules of a guest's sources", `
A line for each stream, with its profiles. [d] default, [e] enabled, [a] active since another or no choice leads
there, [x] disabled.`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		all, err := guest.Modules(cmd.Context(), e, args[0], args[1:])
		if err != nil {
			return err
		}
		return a.show(all, func() {
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			for _, s := range all {
				var marks []string
				for _, m := range []struct {
					on   bool
					mark string
				}{{s.Default, "[d]"}, {s.Enabled, "[e]"}, {s.Active && !s.Enabled && !s.Default, "[a]"}, {s.Disabled, "[x]"}} {
					if m.on {
						marks = append(marks, m.mark)
					}
				}
				profiles := slices.Clone(s.Profiles)
				for i, p := range profiles {
					if slices.Contains(s.Defaults, p) {
						profiles[i] += " [d]"
					}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Module, s.Stream, strings.Join(marks, ""), strings.Join(profiles, ", "))
			}
			w.Flush()
		})
	})
}
