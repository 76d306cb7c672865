// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"grove/internal/compose"
	"grove/internal/guest"
	"grove/internal/repo"
	"grove/internal/serve"
)

func hostArch() string { return compose.HostArch() }

func (a *app) compose() *cobra.Command {
	var o guest.ComposeOptions
	var signing signFlags
	cmd := verb("compose MANIFEST [--repo DIR] [--write-lock FILE] [--lock FILE]", "make a base tree from RPM packages", `
MANIFEST is a treefile as rpm-ostree has it (grove help manifest lists the keys); the .repo files in its
folder define its sources. The tree is committed to DIR, which is made as an archive repository where there
is none, ready for grove serve or any static web server.

    grove compose el7.yaml --repo srv --write-lock el7.lock.json
    grove compose el7.yaml --repo srv --lock el7.lock.json          exactly the same again
    grove compose el7.yaml --repo srv --gpg-sign=/root/key.gpg      commit and summary signed`,
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			o.Manifest = args[0]
			if o.Signers, err = signing.signers(a); err != nil {
				return err
			}
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
	signing.add(f, "commit and summary")
	return cmd
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
