// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/label"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/selinux"
	"grove/internal/tree"
)

// checkoutFlags are those of `grove repo checkout`, named as ostree names them.
type checkoutFlags struct {
	o                                         repo.CheckoutOptions
	union, unionAdd, unionIdentical           bool
	image, imageNoVerity                      bool
	allowNoent, noCache, noFsync, fromStdin   bool
	fromFile, skipList, policy, prefix, fsync string
}

func (v *repoVerbs) checkout() *cobra.Command {
	var c checkoutFlags
	cmd := verb("checkout COMMIT [DEST]", "lay a commit out as a directory", `
Files are hard links where the repository's mode allows. With --from-file or --from-stdin only DEST is said: many trees are laid out
there, named by pairs of a COMMIT and a path in it, each ended by a NUL.`, cobra.RangeArgs(1, 2),
		func(cmd *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if err := c.prepare(r); err != nil {
				return err
			}
			if c.fromFile != "" || c.fromStdin {
				return c.many(cmd.Context(), r, args[0])
			}
			return c.one(cmd.Context(), r, args[0], args[len(args)-1])
		})
	f := cmd.Flags()
	f.BoolVar(&c.image, "composefs", false, "DEST becomes a composefs image, with fs-verity digests of the objects")
	f.BoolVar(&c.imageNoVerity, "composefs-noverity", false, "the same without digests, which need every file read")
	f.BoolVarP(&c.o.UserMode, "user-mode", "U", false, "do not set owners and xattrs")
	f.BoolVarP(&c.o.RequireLinks, "require-hardlinks", "H", false, "fail rather than copy")
	f.BoolVarP(&c.o.Copy, "force-copy", "C", false, "never hard link; blocks are shared where the file system can")
	f.BoolVarP(&c.o.CopyEmpty, "force-copy-zerosized", "z", false, "never hard link empty files")
	f.BoolVarP(&c.o.PlainDirs, "bareuseronly-dirs", "M", false, "take from directories the permissions outside of 0775")
	f.StringVar(&c.o.Subpath, "subpath", "", "only this path of the tree")
	f.BoolVar(&c.allowNoent, "allow-noent", false, "do nothing where the tree has no --subpath")
	f.BoolVar(&c.union, "union", false, "into a directory that exists, replacing files")
	f.BoolVar(&c.unionAdd, "union-add", false, "into a directory that exists, keeping its files")
	f.BoolVar(&c.unionIdentical, "union-identical", false, "into a directory that exists; files of both must be equal")
	f.BoolVar(&c.o.Whiteouts, "whiteouts", false, "obey .wh.NAME and .wh..wh..opq, as layers of containers have them")
	f.BoolVar(&c.o.PassthroughWhiteouts, "process-passthrough-whiteouts", false, "make overlayfs whiteouts of files named .ostree-wh.NAME")
	f.StringVar(&c.skipList, "skip-list", "", "a file of paths that are left out")
	f.StringVar(&c.fromFile, "from-file", "", "many checkouts, named by this file")
	f.BoolVar(&c.fromStdin, "from-stdin", false, "many checkouts, named by standard input")
	f.StringVar(&c.policy, "selinux-policy", "", "label files by the policy of this root; implies --force-copy")
	f.StringVar(&c.prefix, "selinux-prefix", "", "where the policy is to think that the tree lies")
	f.StringVar(&c.fsync, "fsync", "", "false: leave it to the kernel when things come to disk")
	f.BoolVar(&c.noFsync, "disable-fsync", false, "--fsync=false")
	f.BoolVar(&c.noCache, "disable-cache", false, "for ostree's sake: grove keeps no cache of unpacked objects")
	return cmd
}

// prepare makes sense of the options that need more than a flag.
func (c *checkoutFlags) prepare(r *repo.Repo) error {
	unions := 0
	for mode, on := range map[repo.UnionMode]bool{repo.UnionOverwrite: c.union, repo.UnionAdd: c.unionAdd, repo.UnionIdentical: c.unionIdentical} {
		if on {
			c.o.Union = mode
			unions++
		}
	}
	switch {
	case unions > 1:
		return usage("checkout: say one of --union, --union-add and --union-identical")
	case c.prefix != "" && c.policy == "":
		return usage("checkout: --selinux-prefix goes with --selinux-policy")
	case c.o.RequireLinks && (c.o.Copy || c.policy != ""):
		return usage("checkout: --require-hardlinks does not go with copies")
	case c.o.RequireLinks && !canLink(r.Mode(), c.o.UserMode):
		return usage("checkout -H: a repository of mode %s has no files to link to (user mode: %v)", r.Mode(), c.o.UserMode)
	}
	if err := setFsync(r, c.fsync, c.noFsync); err != nil {
		return err
	}
	c.o.NoSync = c.noFsync || c.fsync != "" && c.fsync != "1" && c.fsync != "true" && c.fsync != "yes"
	if c.skipList != "" {
		skip, err := repo.ReadSkipList(c.skipList)
		if err != nil {
			return err
		}
		c.o.Skip = func(p string) bool { return skip["/"+p] || skip["/"+p+"/"] }
	}
	if c.policy == "" {
		return nil
	}
	c.o.Copy = true
	policy, err := dirPolicy(c.policy)
	if errors.Is(err, selinux.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	prefix := c.prefix
	if prefix == "" {
		prefix = c.o.Subpath
	}
	c.o.Xattrs = func(p string, mode uint32, xs []ostree.Xattr) []ostree.Xattr {
		return label.Set(xs, label.Options{ByPolicyOnly: true}.Of(policy, path.Join("/", prefix, p), mode))
	}
	return nil
}

// canLink reports whether a checkout's files can be hard links to the objects.
func canLink(m repo.Mode, user bool) bool {
	switch m {
	case repo.Bare, repo.BareSplitXattrs:
		return !user
	case repo.BareUser:
		return user
	}
	return m == repo.BareUserOnly
}

// one lays one commit out.
func (c *checkoutFlags) one(ctx context.Context, r *repo.Repo, spec, dest string) error {
	root, err := rootOf(r, spec)
	if err != nil {
		return err
	}
	if c.image || c.imageNoVerity {
		return writeImage(ctx, r, root, dest, !c.imageNoVerity)
	}
	return c.layOut(ctx, r, root, dest, c.o)
}

func (c *checkoutFlags) layOut(ctx context.Context, r *repo.Repo, root tree.Root, dest string, o repo.CheckoutOptions) error {
	if c.allowNoent && o.Subpath != "" {
		if _, ok, err := tree.Load(r, root).Lookup(strings.Trim(path.Clean("/"+o.Subpath), "/")); err != nil || !ok {
			return err
		}
	}
	return r.Checkout(ctx, root, dest, o)
}

// maxCheckoutList bounds what names many checkouts.
const maxCheckoutList = 64 << 20

// many lays out what a list of COMMIT NUL PATH NUL names, all in one place.
func (c *checkoutFlags) many(ctx context.Context, r *repo.Repo, dest string) error {
	in := io.Reader(os.Stdin)
	if !c.fromStdin {
		f, err := os.Open(c.fromFile)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxCheckoutList+1))
	if err != nil {
		return err
	}
	if len(data) > maxCheckoutList {
		return usage("checkout: the list has more than %d bytes", maxCheckoutList)
	}
	words := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	for ; len(words) > 0 && words[0] != ""; words = words[min(2, len(words)):] {
		o := c.o
		if o.Subpath = ""; len(words) > 1 {
			o.Subpath = words[1]
		}
		root, err := rootOf(r, words[0])
		if err != nil {
			return err
		}
		if err := c.layOut(ctx, r, root, dest, o); err != nil {
			return err
		}
	}
	return nil
}
