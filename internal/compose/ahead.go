// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"

	"grove/internal/durable"
	"grove/internal/tree"
)

// ahead is a checkout of the base that goes on while packages are resolved and fetched: that work keeps one
// core busy, this one the file system.
type ahead struct {
	tree *tree.Tree // what is laid out
	stop context.CancelFunc
	done chan error // gets one value; nil once it was taken
}

// layOutAhead begins the checkout of the base, where Options.Ahead asks for it.
func (b *build) layOutAhead(ctx context.Context, root tree.Root) {
	if !b.o.Ahead || b.o.Checkout == "" {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	b.ahead = ahead{tree: tree.Load(b.o.Repo, root), stop: stop, done: make(chan error, 1)}
	go func() { b.ahead.done <- b.o.Repo.Checkout(ctx, root, b.o.Checkout, checkoutOptions()) }()
}

// aheadResult waits for the checkout of the base; without one it does nothing.
func (b *build) aheadResult() error {
	if b.ahead.done == nil {
		return nil
	}
	err := <-b.ahead.done
	b.ahead.stop()
	b.ahead.done = nil
	if err == nil {
		b.checkedOut = b.ahead.tree
	}
	return err
}

// dropAhead ends a checkout that nobody waits for any more. What it laid out is the caller's to remove.
func (b *build) dropAhead() {
	if b.ahead.done != nil {
		b.ahead.stop()
		<-b.ahead.done
	}
}

// bring makes dest hold the tree of the repo: by what differs from what is checked out there, or as a whole.
func (b *build) bring(ctx context.Context, root tree.Root, dest string) error {
	if dest == b.o.Checkout {
		if err := b.aheadResult(); err != nil {
			return err
		}
		if b.checkedOut != nil {
			return b.o.Repo.UpdateCheckoutWith(ctx, b.checkedOut, tree.Load(b.o.Repo, root), dest, checkoutOptions())
		}
	}
	if err := durable.RemoveAll(dest); err != nil {
		return err
	}
	return b.o.Repo.Checkout(ctx, root, dest, checkoutOptions())
}
