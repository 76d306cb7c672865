// SPDX-License-Identifier: Apache-2.0

package main

import (
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
		v.pull(), v.pullLocal(), v.a.remote(v.open, false), v.prune(), v.fsck(), v.summary(), v.config(), v.export(), v.reset(), v.staticDelta(), v.gpgSign(), v.sign())
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

func (v *repoVerbs) checkout() *cobra.Command {
	var o repo.CheckoutOptions
	var union, unionAdd, unionIdentical, hardlinks, image, imageNoVerity bool
	cmd := verb("checkout COMMIT DEST", "lay a commit out as a directory", "Files are hard links where the repository's mode allows.", cobra.RangeArgs(1, 2),
		func(cmd *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			c, err := r.Resolve(args[0])
			if err != nil {
				return err
			}
			dest := c.String()
			if len(args) == 2 {
				dest = args[1]
			}
			if hardlinks && (o.Copy || r.Mode() == repo.Archive) {
				return usage("checkout -H: a repository of mode %s has no files to link to", r.Mode())
			}
			switch {
			case union:
				o.Union = repo.UnionOverwrite
			case unionAdd:
				o.Union = repo.UnionAdd
			case unionIdentical:
				o.Union = repo.UnionIdentical
			}
			commit, err := r.Commit(c)
			if err != nil {
				return err
			}
			root := tree.Root{Tree: commit.Tree, Meta: commit.Meta}
			if image || imageNoVerity {
				return writeImage(cmd.Context(), r, root, dest, !imageNoVerity)
			}
			return r.Checkout(cmd.Context(), root, dest, o)
		})
	f := cmd.Flags()
	f.BoolVar(&image, "composefs", false, "DEST becomes a composefs image, with fs-verity digests of the objects")
	f.BoolVar(&imageNoVerity, "composefs-noverity", false, "the same without digests, which need every file read")
	f.BoolVarP(&o.UserMode, "user-mode", "U", false, "do not set owners and xattrs")
	f.BoolVarP(&hardlinks, "require-hardlinks", "H", false, "fail rather than copy")
	f.BoolVarP(&o.Copy, "force-copy", "C", false, "never hard link")
	f.StringVar(&o.Subpath, "subpath", "", "only this path of the tree")
	f.BoolVar(&union, "union", false, "into a directory that exists, replacing files")
	f.BoolVar(&unionAdd, "union-add", false, "into a directory that exists, keeping its files")
	f.BoolVar(&unionIdentical, "union-identical", false, "into a directory that exists; files of both must be equal")
	return cmd
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
