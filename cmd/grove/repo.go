// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// repoVerbs carries what the plumbing verbs share.
type repoVerbs struct {
	a   *app
	dir string
}

// open opens --repo, or the state root's repository.
func (v *repoVerbs) open() (*repo.Repo, error) { return v.a.openRepo(v.dir) }

func (a *app) repo() *cobra.Command {
	v := &repoVerbs{a: a}
	cmd := &cobra.Command{Use: "repo", Short: "plumbing: an OSTree repository, with ostree's option names", Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return usage("say a verb; grove repo --help lists them") }}
	cmd.PersistentFlags().StringVar(&v.dir, "repo", "", "the repository (default: the state root's)")
	cmd.AddCommand(v.init(), v.commit(), v.checkout(), v.ls(), v.cat(), v.diff(), v.log(), v.show(), v.refs(), v.revParse(),
		v.pull(), v.pullLocal(), v.a.remote(v.open, false), v.prune(), v.fsck(), v.summary(), v.config(), v.export(), v.reset(), v.staticDelta(), v.gpgSign(), v.sign(), v.checksum())
	return cmd
}

func (v *repoVerbs) commit() *cobra.Command {
	var o commitFlags
	cmd := verb("commit -b BRANCH [--tree=dir=PATH|tar=FILE|ref=REF]... [PATH]", "commit a directory, an archive or other commits", `
Prints the commit's checksum. Several --tree are laid over one another, the last on top.`, cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				o.trees = append(o.trees, "dir="+args[0])
			}
			return o.commit(cmd, v.a, r)
		})
	o.add(cmd)
	return cmd
}

func (v *repoVerbs) checksum() *cobra.Command {
	var ignoreXattrs bool
	cmd := verb("checksum PATH", "the checksum that a file has as an object", "Of what lies on this machine: no repository is asked.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			c, err := repo.ChecksumPath(args[0], ignoreXattrs)
			if err != nil {
				return err
			}
			return v.a.show(checksumJSON{args[0], c.String()}, func() { fmt.Fprintln(v.a.stdout, c) })
		})
	cmd.Flags().BoolVar(&ignoreXattrs, "ignore-xattrs", false, "as if there were no extended attributes")
	return cmd
}

type checksumJSON struct {
	Path     string `json:"path"`
	Checksum string `json:"checksum"`
}

// at opens the tree of a refspec.
func (v *repoVerbs) at(spec string) (*repo.Repo, *tree.Tree, ostree.Commit, ostree.Checksum, error) {
	r, err := v.open()
	if err != nil {
		return nil, nil, ostree.Commit{}, ostree.Checksum{}, err
	}
	c, err := r.Resolve(spec)
	if err != nil {
		return nil, nil, ostree.Commit{}, c, err
	}
	t, commit, err := r.Tree(c)
	return r, t, commit, c, err
}
