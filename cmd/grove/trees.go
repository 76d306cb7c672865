// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/compose"
	"grove/internal/guest"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
)

func hostArch() string { return compose.HostArch() }

func (a *app) compose() *cobra.Command {
	var o guest.ComposeOptions
	cmd := verb("compose MANIFEST [--repo DIR] [--write-lock FILE] [--lock FILE]", "make a base tree from RPM packages", `
MANIFEST is a treefile as rpm-ostree has it (grove help manifest lists the keys); the .repo files in its
folder define its sources. The tree is committed to DIR, which is made as an archive repository where there
is none, ready for grove serve or any static web server.

    grove compose el7.yaml --repo srv --write-lock el7.lock.json
    grove compose el7.yaml --repo srv --lock el7.lock.json          exactly the same again`,
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			o.Manifest = args[0]
			res, err := guest.Compose(cmd.Context(), e, o)
			if err != nil {
				return err
			}
			a.warn(res.Warnings)
			return a.show(res, func() {
				if res.Unchanged {
					a.printf("%s: nothing changed, %s\n", res.Ref, res.Commit[:12])
					return
				}
				a.printf("%s: %d packages, %s\n", res.Ref, res.Packages, res.Commit)
			})
		})
	f := cmd.Flags()
	f.StringVar(&o.Repo, "repo", "", "the repository to commit to (default: the state root's)")
	f.StringVar(&o.WriteLock, "write-lock", "", "write down what was chosen")
	f.StringVar(&o.Lock, "lock", "", "make exactly what this lock says")
	f.BoolVar(&o.NoGPGCheck, "no-gpg-check", false, "use packages without checking their signatures")
	f.BoolVar(&o.Refresh, "refresh", false, "ask the sources for new metadata first")
	f.BoolVar(&o.Force, "force", false, "make it again even where nothing changed")
	return cmd
}

func (a *app) remote() *cobra.Command {
	cmd := &cobra.Command{Use: "remote", Short: "where bases are pulled from", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error { return usage("say remote add, delete, list or refs") }}
	cmd.AddCommand(a.remoteAdd(), a.remoteDelete(), a.remoteList(), a.remoteRefs())
	return cmd
}

func (a *app) remoteAdd() *cobra.Command {
	var keys []string
	var noVerify, force bool
	cmd := verb("add NAME URL --gpg-key FILE | --no-gpg-verify", "add a remote", `
URL is http://, https:// or file://, of an OSTree repository. Its commits must be signed by a key of FILE;
--no-gpg-verify accepts them unsigned.`, cobra.ExactArgs(2), func(_ *cobra.Command, args []string) error {
		if len(keys) == 0 && !noVerify {
			return usage("remote %s: say --gpg-key FILE, or --no-gpg-verify to accept unsigned commits", args[0])
		}
		s, err := a.store()
		if err != nil {
			return err
		}
		var ring []byte
		for _, k := range keys {
			data, err := os.ReadFile(k)
			if err != nil {
				return err
			}
			ring = append(ring, data...)
		}
		return guest.AddRemote(s, repo.Remote{Name: args[0], URL: args[1], GPGVerify: !noVerify}, ring, force)
	})
	cmd.Flags().StringArrayVar(&keys, "gpg-key", nil, "a file of OpenPGP keys that vouch for the remote's commits")
	cmd.Flags().StringArrayVar(&keys, "gpg-import", nil, "the same, by ostree's name")
	cmd.Flags().BoolVar(&noVerify, "no-gpg-verify", false, "accept unsigned commits")
	cmd.Flags().BoolVar(&force, "force", false, "replace a remote of this name")
	return cmd
}

func (a *app) remoteDelete() *cobra.Command {
	return verb("delete NAME", "remove a remote", "Guests on it stay; they cannot be upgraded until it is back.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			s, err := a.store()
			if err != nil {
				return err
			}
			return s.Repo().Config().DeleteRemote(args[0])
		})
}

func (a *app) remoteList() *cobra.Command {
	return verb("list", "the remotes", "Name, URL, and whether commits must be signed.", cobra.NoArgs, func(*cobra.Command, []string) error {
		s, err := a.store()
		if err != nil {
			return err
		}
		list, err := guest.Remotes(s)
		if err != nil {
			return err
		}
		return a.show(remotesView(list), func() {
			for _, r := range list {
				trust := "signed by its keys"
				if !r.GPGVerify {
					trust = "not verified"
				}
				a.printf("%s  %s  (%s)\n", r.Name, r.URL, trust)
			}
		})
	})
}

func (a *app) remoteRefs() *cobra.Command {
	return verb("refs NAME", "the refs that a remote offers", "Asks the remote.", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		s, err := a.store()
		if err != nil {
			return err
		}
		refs, err := pull.RefsOf(cmd.Context(), s.Repo(), args[0], pull.Options{Offline: a.offline})
		if err != nil {
			return err
		}
		return a.show(refs, func() {
			for _, name := range sortedKeys(refs) {
				a.printf("%s:%s\n", args[0], name)
			}
		})
	})
}

func (a *app) pull() *cobra.Command {
	return verb("pull REMOTE:REF...", "bring commits from a remote into the state root", `
Verified as the remote's settings say; what is there already is not fetched again.`, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			for _, spec := range args {
				if !strings.Contains(spec, ":") {
					return usage("pull %s: say REMOTE:REF", spec)
				}
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			for _, spec := range args {
				c, err := e.ResolveBase(cmd.Context(), spec)
				if err != nil {
					return err
				}
				a.printf("%s %s\n", spec, c)
			}
			return nil
		})
}

func (a *app) serve() *cobra.Command {
	var dir, addr string
	cmd := verb("serve [--repo DIR] [--listen ADDR]", "hand out a repository over HTTP", `
Read-only, until stopped. DIR is an archive repository, such as grove compose --repo makes; without it the
state root's own repository is served.`, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		r, err := a.openRepo(dir)
		if err != nil {
			return err
		}
		return serve.Run(cmd.Context(), addr, r, func(at string) { a.printf("serving %s at http://%s\n", r.Path(), at) })
	})
	cmd.Flags().StringVar(&dir, "repo", "", "the repository")
	cmd.Flags().StringVar(&addr, "listen", "127.0.0.1:8080", "address and port")
	return cmd
}

// openRepo opens the repository of --repo, or the state root's.
func (a *app) openRepo(dir string) (*repo.Repo, error) {
	if dir != "" {
		return repo.Open(dir)
	}
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	return s.Repo(), nil
}

func sortedKeys[V any](m map[string]V) []string {
	return guest.SortedKeys(m)
}
