// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"

	"github.com/spf13/pflag"

	"grove/internal/label"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/selinux"
	"grove/internal/tree"
)

// labelFlags are the options of `grove repo commit` that give SELinux labels, named as ostree names them.
type labelFlags struct {
	root     string
	fromBase bool
	epoch    int

	policy *selinux.Policy // nil: no labels
}

func (l *labelFlags) add(f *pflag.FlagSet) {
	f.StringVar(&l.root, "selinux-policy", "", "label everything by the policy of this root (may be /)")
	f.BoolVarP(&l.fromBase, "selinux-policy-from-base", "P", false, "label everything by the policy of the first --tree")
	f.IntVar(&l.epoch, "selinux-labeling-epoch", 0, "1: /usr/etc is labelled as /etc, whatever the policy says")
}

// begin reads the policy, knowing the first tree, and makes the options of directories and tars give labels. A root whose
// policy is switched off, or that has none, labels nothing, as with ostree.
func (l *labelFlags) begin(tx *repo.Tx, kind, what string, o *repo.CommitTreeOptions) (err error) {
	if l.epoch != 0 && l.epoch != 1 {
		return usage("--selinux-labeling-epoch=%d: want 0 or 1", l.epoch)
	}
	switch {
	case l.root != "" && l.fromBase:
		return usage("commit: say --selinux-policy or --selinux-policy-from-base, not both")
	case l.root != "":
		l.policy, err = dirPolicy(l.root)
	case !l.fromBase:
		return nil
	case kind == "dir":
		l.policy, err = dirPolicy(what)
	case kind == "ref":
		var root tree.Root
		if root, err = rootOf(tx.Repo(), what); err == nil {
			l.policy, err = label.Policy(tx, tree.Load(tx, root))
		}
	default:
		return usage("commit: --selinux-policy-from-base: the first --tree is a %s, want dir=PATH or ref=REF", kind)
	}
	if errors.Is(err, selinux.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	o.Xattrs = func(path string, st repo.Stat, xs []ostree.Xattr) ([]ostree.Xattr, error) {
		return label.Set(xs, l.options().Of(l.policy, path, st.Mode)), nil
	}
	return nil
}

func (l *labelFlags) options() label.Options { return label.Options{ByPolicyOnly: l.epoch == 0} }

func dirPolicy(dir string) (*selinux.Policy, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return selinux.Load(root.FS())
}
