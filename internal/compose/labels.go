// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"os"

	"grove/internal/label"
	"grove/internal/selinux"
)

// labels gives the tree the labels of the policy that is in it. Of a labelled base only what is new is labelled, unless the layers
// changed the policy; a base without labels stays without, and so do its layers.
func labels(ctx context.Context, b *build) error {
	if !b.m.WantSELinux() {
		return nil
	}
	var o label.Options
	if b.o.Base != nil {
		e, ok, err := b.base.tree.Lookup("usr")
		if err != nil || !ok || label.Get(e.Meta.Xattrs) == "" {
			return err
		}
		same, err := label.SamePolicy(b.base.tree, b.tree)
		if err != nil {
			return err
		}
		if same {
			o.Base = b.base.tree
		}
	}
	p, err := label.Policy(b.tx, b.tree)
	if errors.Is(err, selinux.ErrNone) {
		b.warn("selinux: nothing is labelled: %v; say `selinux: false`, or add a policy", err)
		return nil
	}
	if err != nil {
		return err
	}
	labelled, err := label.Tree(ctx, b.tx, b.tree, p, o)
	if err != nil {
		return err
	}
	b.tree = labelled
	if b.o.Checkout != "" && os.Geteuid() != 0 {
		b.warn("selinux: the labels are in the commit; only root can set them on files, so the deployment has none")
	}
	return nil
}
