// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/ostree"
	"grove/internal/repo"
)

func (v *repoVerbs) init() *cobra.Command {
	mode, collection := "bare", ""
	cmd := verb("init [--mode MODE]", "make a repository", "MODE is bare, bare-user, bare-user-only, bare-split-xattrs or archive.", cobra.NoArgs,
		func(*cobra.Command, []string) error {
			m, err := repo.ParseMode(mode)
			if err != nil {
				return usage("%v", err)
			}
			if collection != "" {
				if err := ostree.CheckCollectionID(collection); err != nil {
					return usage("init --collection-id: %v", err)
				}
			}
			if v.dir == "" {
				return usage("say --repo DIR")
			}
			_, err = repo.InitWith(v.dir, m, repo.InitOptions{CollectionID: collection})
			return err
		})
	f := cmd.Flags()
	f.StringVar(&mode, "mode", mode, "how objects are stored")
	f.StringVar(&collection, "collection-id", "", "the collection that the repository's refs belong to")
	return cmd
}

func (v *repoVerbs) config() *cobra.Command {
	group := ""
	cmd := verb("config get|set|unset SECTION.KEY [VALUE]", "read or change the repository's settings", `
SECTION.KEY is such as core.mode; with --group GROUP it is KEY alone, for groups that have a dot in their name.`, cobra.RangeArgs(2, 3),
		func(_ *cobra.Command, args []string) error {
			section, key := group, args[1]
			if group == "" {
				var ok bool
				if section, key, ok = strings.Cut(args[1], "."); !ok || section == "" {
					return usage("config: %q is not SECTION.KEY", args[1])
				}
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			switch {
			case args[0] == "get" && len(args) == 2:
				value, ok := r.Config().Get(section, key)
				if !ok {
					return fmt.Errorf("config: %s is not set", args[1])
				}
				fmt.Fprintln(v.a.stdout, value)
				return nil
			case args[0] == "set" && len(args) == 3:
				return r.Config().Change(section, key, args[2])
			case args[0] == "unset" && len(args) == 2:
				r.Config().Unset(section, key)
				return r.Config().Save()
			}
			return usage("config: say get SECTION.KEY, set SECTION.KEY VALUE or unset SECTION.KEY")
		})
	cmd.Flags().StringVar(&group, "group", "", "the section, apart from the key")
	return cmd
}
