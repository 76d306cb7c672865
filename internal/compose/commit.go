// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// Keys of the commit's metadata that are grove's own.
const (
	KeyInputs   = "grove.inputs"   // s: hash of all that the commit was made from
	KeyPackages = "grove.packages" // as: nevra of each package that this commit adds to its base
	KeyBase     = "grove.base"     // s: checksum of the base commit, of layered ones
	KeyUsers    = "grove.users"    // as: passwd lines that packages made
	KeyGroups   = "grove.groups"   // as: group lines that packages made
)

// layOut puts the tree as it is now into dest.
func (b *build) layOut(ctx context.Context, dest string) error {
	root, err := b.tree.Write(b.tx)
	if err != nil {
		return err
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	if err := b.bring(ctx, root, dest); err != nil {
		return err
	}
	b.checkedOut = b.tree
	return nil
}

// flush makes the objects so far part of the repo, so that they can be linked, and begins the next transaction.
func (b *build) flush(ctx context.Context) error {
	if err := b.tx.Commit(); err != nil {
		return err
	}
	tx, err := b.o.Repo.Begin(ctx)
	b.tx = tx
	return err
}

// commit writes the tree and its commit object, and brings the checkout up to it.
func commit(ctx context.Context, b *build) error {
	root, err := b.tree.Write(b.tx)
	if err != nil {
		return err
	}
	l := b.lock()
	version := b.version()
	l.CommitVersion = version
	if !b.o.Parent.IsZero() {
		l.Parent = b.o.Parent.String()
	}
	if b.installedNow == nil { // no stage was to be made
		b.listInstalled()
	}
	c := ostree.Commit{Metadata: b.metadata(version), Timestamp: b.stamp, Tree: root.Tree, Meta: root.Meta, Parent: b.o.Parent}
	sum, err := b.tx.PutCommit(c)
	if err != nil {
		return err
	}
	if b.o.Base == nil || !b.o.Repo.IsPartial(b.o.Base.Commit) {
		b.tx.SetPartial(sum, false) // all of it was just made, or is the base's
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	if b.o.Checkout != "" {
		if err := b.bring(ctx, root, b.o.Checkout); err != nil {
			return fmt.Errorf("check out: %w", err)
		}
	}
	b.result.Commit, b.result.Root, b.result.Lock = sum, root, l
	for _, p := range b.packages {
		b.result.Layered = append(b.result.Layered, p.meta.NEVRA)
	}
	return nil
}

// metadata is the commit's, in the order of its keys.
func (b *build) metadata(version string) gvariant.Dict {
	var d gvariant.Dict
	add := func(key string, v gvariant.Value) { d = append(d, gvariant.Entry{Key: key, Value: v}) }
	if b.o.Base != nil {
		add(KeyBase, gvariant.String(b.o.Base.Commit.String()))
	}
	add(KeyGroups, gvariant.Strings(b.groups))
	add(KeyInputs, gvariant.String(b.inputs))
	var names []string
	for _, p := range b.packages {
		names = append(names, p.meta.NEVRA.String())
	}
	add(KeyPackages, gvariant.Strings(names))
	if b.o.Base == nil {
		add(KeySources, gvariant.Strings(b.usedSources()))
	}
	if b.o.Base != nil && onlyPackages(b.m) {
		add(KeyState, gvariant.String(b.state(len(b.stages), b.users, b.groups)))
	}
	if len(b.installedNow) > 0 {
		add(KeyInstalled, pkglist(b.installedNow))
	}
	add(KeyUsers, gvariant.Strings(b.users))
	if b.o.Ref != "" {
		add("ostree.ref-binding", gvariant.Strings([]string{b.o.Ref}))
	}
	if version != "" {
		add("version", gvariant.String(version))
	}
	for _, k := range sortedKeys(b.m.Metadata) {
		if _, own := d.Lookup(k); !own { // what grove says of the commit is not to be overruled
			add(k, variant(b.m.Metadata[k]))
		}
	}
	slices.SortFunc(d, func(x, y gvariant.Entry) int { return strings.Compare(x.Key, y.Key) })
	return d
}

// variant is a value of the manifest's `add-commit-metadata`.
func variant(v any) gvariant.Value {
	switch v := v.(type) {
	case bool:
		return gvariant.Bool(v)
	case int64:
		return gvariant.Int64(v)
	case float64:
		return gvariant.Double(v)
	case []any:
		items := make([]gvariant.Value, len(v))
		for i, x := range v {
			items[i] = gvariant.Variant(variant(x))
		}
		return gvariant.Array("v", items...)
	case map[string]any:
		var d gvariant.Dict
		for _, k := range sortedKeys(v) {
			d = append(d, gvariant.Entry{Key: k, Value: variant(v[k])})
		}
		return d.Value()
	default:
		return gvariant.String(fmt.Sprint(v))
	}
}

// version is the commit's version: the lock's, the base's, or what `automatic-version-prefix` gives. A date
// in it is that of the newest package, so that the same packages give the same version on any day.
func (b *build) version() string {
	if b.o.Lock != nil {
		return b.o.Lock.CommitVersion
	}
	if v, ok := b.m.Metadata["version"].(string); ok && v != "" {
		return v
	}
	if b.o.Base != nil {
		return b.base.version
	}
	return expandDate(b.m.AutomaticVersionPrefix, time.Unix(int64(b.stamp), 0).UTC())
}

// expandDate replaces <date:FORMAT> in a version prefix. Source: rpm-ostree docs/treefile.md (automatic-version-prefix).
func expandDate(prefix string, t time.Time) string {
	before, rest, ok := strings.Cut(prefix, "<date:")
	if !ok {
		return prefix
	}
	format, after, ok := strings.Cut(rest, ">")
	if !ok {
		return prefix
	}
	out := strings.NewReplacer("%Y", t.Format("2006"), "%m", t.Format("01"), "%d", t.Format("02"), "%y", t.Format("06"),
		"%H", t.Format("15"), "%M", t.Format("04"), "%S", t.Format("05"), "%j", fmt.Sprintf("%03d", t.YearDay()), "%%", "%").Replace(format)
	return before + out + after
}

// checkoutOptions are those of every root that grove lays out: /etc's defaults are own copies, so that
// nothing that edits them reaches the repo.
func checkoutOptions() repo.CheckoutOptions {
	return repo.CheckoutOptions{CopyPrefixes: []string{"usr/etc"}, NoSync: true, UserMode: os.Geteuid() != 0}
}

// CheckOut lays out a tree that needs no layers.
func CheckOut(ctx context.Context, r *repo.Repo, root tree.Root, dest string) error {
	return r.Checkout(ctx, root, dest, checkoutOptions())
}

// Inputs is the hash of all that a commit was made from, "" where grove did not make it.
func Inputs(c ostree.Commit) string {
	if v, ok := c.Metadata.Lookup(KeyInputs); ok && v.Type() == "s" {
		return v.Str()
	}
	return ""
}

// LockedIDs are the account lines that a commit's packages made.
func LockedIDs(c ostree.Commit) (users, groups []string) {
	if v, ok := c.Metadata.Lookup(KeyUsers); ok && v.Type() == "as" {
		users = v.Strings()
	}
	if v, ok := c.Metadata.Lookup(KeyGroups); ok && v.Type() == "as" {
		groups = v.Strings()
	}
	return users, groups
}

// usedSources are the ids of the sources that the picked packages come from, sorted.
func (b *build) usedSources() []string {
	ids := map[string]bool{}
	for _, p := range b.picks {
		ids[p.source] = true
	}
	return sortedKeys(ids)
}

// Packages are the NEVRAs of what a commit adds to its base, or to nothing; none where grove did not make it.
func Packages(c ostree.Commit) []string {
	if v, ok := c.Metadata.Lookup(KeyPackages); ok && v.Type() == "as" {
		return v.Strings()
	}
	return nil
}
