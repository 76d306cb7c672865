// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/composefs"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// commitFlags are those of `grove repo commit`, named as ostree names them.
type commitFlags struct {
	branch, subject, body, bodyFile, timestamp, parent string
	trees, metadata, variants, bindRefs                []string
	orphan, noBindings, known                          bool
	composefs, parents, bootable, sizes, table         bool
	noFsync, consumes, edit                            bool
	base, statoverride, skipList, pathFilter, fsync    string
	keep, detached                                     []string
	unchanged                                          bool
	o                                                  repo.CommitTreeOptions
	rules                                              repo.CommitRules
	labels                                             labelFlags
	signing                                            signFlags
	uid, gid                                           int
}

func (c *commitFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.branch, "branch", "b", "", "the ref that the commit goes to")
	f.StringVarP(&c.subject, "subject", "s", "", "one line")
	f.StringVarP(&c.body, "body", "m", "", "a longer text")
	f.StringVarP(&c.bodyFile, "body-file", "F", "", "a file with the longer text")
	f.BoolVarP(&c.edit, "editor", "e", false, "write subject and body in an editor: OSTREE_EDITOR, VISUAL or EDITOR")
	f.StringVar(&c.timestamp, "timestamp", "", "@SECONDS or a date, instead of now")
	f.StringVar(&c.parent, "parent", "", "the parent's checksum, or none")
	f.StringArrayVar(&c.trees, "tree", nil, "dir=PATH, tar=FILE (- is standard input) or ref=REF")
	f.StringVar(&c.base, "base", "", "lay the trees over this commit's, which stays as it is")
	f.StringArrayVar(&c.keep, "keep-metadata", nil, "take this key's value over from the parent")
	f.StringArrayVar(&c.detached, "add-detached-metadata-string", nil, "KEY=VALUE, beside the commit")
	f.BoolVar(&c.unchanged, "skip-if-unchanged", false, "make no commit where the parent's tree is the same")
	f.StringArrayVar(&c.metadata, "add-metadata-string", nil, "KEY=VALUE")
	f.StringArrayVar(&c.variants, "add-metadata", nil, "KEY=VALUE, the value in GVariant's text form")
	f.StringArrayVar(&c.bindRefs, "bind-ref", nil, "bind the commit to this ref too")
	f.BoolVar(&c.parents, "tar-autocreate-parents", false, "make directories that a tar archive does not list")
	f.StringVar(&c.pathFilter, "tar-pathname-filter", "", "REGEX,REPLACEMENT: change the names in tar archives")
	f.BoolVar(&c.orphan, "orphan", false, "set no ref")
	f.BoolVar(&c.noBindings, "no-bindings", false, "do not bind the commit to its ref")
	f.BoolVar(&c.bootable, "bootable", false, "say that the tree can be booted, and by which kernel")
	f.IntVar(&c.uid, "owner-uid", -1, "the owner of everything")
	f.IntVar(&c.gid, "owner-gid", -1, "the group of everything")
	f.StringVar(&c.statoverride, "statoverride", "", "a file of MODE PATH (add these bits) and =MODE PATH (set them)")
	f.StringVar(&c.skipList, "skip-list", "", "a file of paths that are left out")
	f.BoolVar(&c.rules.ReadOnlyExecutables, "mode-ro-executables", false, "take the write permission from executable files")
	f.BoolVar(&c.consumes, "consume", false, "delete the directories that were committed, when the commit is on disk")
	f.BoolVar(&c.known, "link-checkout-speedup", false, "trust that a file which is a hard link to an object is that object")
	f.BoolVarP(&c.o.KnownCanonical, "devino-canonical", "I", false, "the same, and no option changes such a file")
	f.BoolVar(&c.composefs, "generate-composefs-metadata", false, "put the digest of the tree's composefs image into the commit")
	f.BoolVar(&c.sizes, "generate-sizes", false, "put the size of each object into the commit (archive repositories only)")
	f.BoolVar(&c.table, "table-output", false, "print what was done as KEY: VALUE lines")
	f.StringVar(&c.fsync, "fsync", "", "false: leave it to the kernel when things come to disk")
	f.BoolVar(&c.noFsync, "disable-fsync", false, "--fsync=false")
	f.BoolVar(&c.o.NoXattrs, "no-xattrs", false, "leave extended attributes out")
	f.BoolVar(&c.o.CanonicalPermissions, "canonical-permissions", false, "owner 0:0, no xattrs, plain modes")
	c.labels.add(f)
	c.signing.add(f, "the commit")
}

// prepare makes sense of the options that need more than a flag.
func (c *commitFlags) prepare(r *repo.Repo) error {
	if c.branch == "" && !c.orphan {
		return usage("commit: say -b BRANCH, or --orphan")
	}
	if c.o.CanonicalPermissions && (c.uid > 0 || c.gid > 0) {
		return usage("commit: --canonical-permissions does not go with an owner other than 0")
	}
	if len(c.trees) == 0 {
		c.trees = []string{"dir=."}
	}
	if err := setFsync(r, c.fsync, c.noFsync); err != nil {
		return err
	}
	c.o.UID, c.o.GID = owner(c.uid), owner(c.gid)
	if c.bodyFile != "" {
		text, err := os.ReadFile(c.bodyFile)
		if err != nil {
			return err
		}
		c.body = string(text)
	}
	if c.statoverride != "" {
		if err := c.rules.ReadStatOverride(c.statoverride); err != nil {
			return err
		}
	}
	if c.skipList != "" {
		if err := c.rules.ReadSkipList(c.skipList); err != nil {
			return err
		}
	}
	if c.rules.Any() {
		c.o.Filter = c.rules.Filter
	}
	return nil
}

// setFsync obeys --fsync=POLICY and --disable-fsync.
func setFsync(r *repo.Repo, policy string, disable bool) error {
	if policy != "" {
		switch policy {
		case "1", "true", "yes":
		case "0", "false", "no", "none":
			disable = true
		default:
			return usage("--fsync=%s: want true or false", policy)
		}
	}
	if disable {
		r.SyncNothing()
	}
	return nil
}

// commit makes the commit and sets its ref.
func (c *commitFlags) commit(cmd *cobra.Command, a *app, r *repo.Repo) error {
	signers, err := c.signing.signers(a)
	if err == nil {
		err = c.prepare(r)
	}
	if err == nil && c.edit {
		c.subject, c.body, err = a.editMessage(c.branch, c.subject, c.body)
	}
	if err != nil {
		return err
	}
	tx, err := r.Begin(cmd.Context())
	if err != nil {
		return err
	}
	defer tx.Abort()
	if c.known || c.o.KnownCanonical {
		if c.o.Known, err = tx.KnownInodes(); err != nil {
			return err
		}
	}
	root, err := c.joined(cmd.Context(), r, tx)
	if err == nil {
		err = c.rules.Unmatched()
	}
	if err != nil {
		return err
	}
	obj, old, err := c.object(a, r, root)
	if err != nil {
		return err
	}
	if c.unchanged && !obj.Parent.IsZero() && old.Tree == root.Tree && old.Meta == root.Meta {
		fmt.Fprintln(a.stdout, obj.Parent)
		return nil
	}
	if obj.Metadata, err = c.meta(r, old); err == nil {
		obj.Metadata, err = c.derived(cmd, tx, root, obj.Metadata)
	}
	if err != nil {
		return err
	}
	beside, err := metaStrings("--add-detached-metadata-string", c.detached)
	if err != nil {
		return err
	}
	sum, err := tx.PutCommit(obj)
	if err == nil {
		err = tx.SignStaged(cmd.Context(), obj, beside, signers)
	}
	if err == nil && !c.orphan {
		err = tx.SetRef(c.branch, sum)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err == nil {
		err = c.consume()
	}
	if err != nil {
		return err
	}
	c.print(a, sum, tx.Stats())
	return nil
}

// object is the commit but for its metadata, and its parent.
func (c *commitFlags) object(a *app, r *repo.Repo, root tree.Root) (obj, old ostree.Commit, err error) {
	obj = ostree.Commit{Subject: c.subject, Body: c.body, Tree: root.Tree, Meta: root.Meta}
	if obj.Timestamp, err = a.now(); err != nil {
		return obj, old, err
	}
	if c.timestamp != "" {
		if obj.Timestamp, err = parseTimestamp(c.timestamp); err != nil {
			return obj, old, err
		}
	}
	if obj.Parent, err = c.parentOf(r); err != nil {
		return obj, old, err
	}
	if !obj.Parent.IsZero() && (c.unchanged || len(c.keep) > 0) {
		old, err = r.Commit(obj.Parent)
	}
	return obj, old, err
}

// derived adds to the metadata what is read from the tree.
func (c *commitFlags) derived(cmd *cobra.Command, tx *repo.Tx, root tree.Root, d gvariant.Dict) (gvariant.Dict, error) {
	if c.bootable {
		release, err := tree.Load(tx, root).KernelRelease()
		if err != nil {
			return d, fmt.Errorf("commit --bootable: %w", err)
		}
		d = append(d, gvariant.Entry{Key: ostree.KeyBootable, Value: gvariant.Bool(true)},
			gvariant.Entry{Key: ostree.KeyLinux, Value: gvariant.String(release)}).InsertionOrder()
	}
	if c.composefs {
		digest, err := composefs.CommitDigest(cmd.Context(), tx, root)
		if err != nil {
			return d, err
		}
		d = append(d, gvariant.Entry{Key: composefs.KeyDigest, Value: gvariant.Bytes(digest[:])}).InsertionOrder()
	}
	if c.sizes {
		sizes, err := tx.SizesValue(root)
		if err != nil {
			return d, err
		}
		if !sizes.IsZero() {
			d = append(d, gvariant.Entry{Key: ostree.KeySizes, Value: sizes})
		}
	}
	return d, nil
}

// print says what was made, as ostree does.
func (c *commitFlags) print(a *app, sum ostree.Checksum, s repo.TxStats) {
	if !c.table {
		fmt.Fprintln(a.stdout, sum)
		return
	}
	fmt.Fprintf(a.stdout, "Commit: %s\nMetadata Total: %d\nMetadata Written: %d\nContent Total: %d\nContent Written: %d\n"+
		"Content Cache Hits: %d\nContent Bytes Written: %d\n",
		sum, s.MetadataTotal, s.MetadataWritten, s.ContentTotal, s.ContentWritten, s.KnownFiles, s.ContentBytes)
}

func rootOf(r *repo.Repo, spec string) (tree.Root, error) {
	sum, err := r.Resolve(spec)
	if err != nil {
		return tree.Root{}, err
	}
	commit, err := r.Commit(sum)
	return tree.Root{Tree: commit.Tree, Meta: commit.Meta}, err
}

// parentOf is the branch's commit so far, unless --parent says otherwise.
func (c *commitFlags) parentOf(r *repo.Repo) (ostree.Checksum, error) {
	if c.parent == "none" || c.parent == "" && c.orphan {
		return ostree.Checksum{}, nil
	}
	if c.parent != "" {
		return ostree.ParseChecksum(c.parent)
	}
	p, err := r.Resolve(c.branch)
	if isNotFound(err) {
		return ostree.Checksum{}, nil
	}
	return p, err
}

// meta is the commit's metadata: what was given, what is kept of the parent old, and what the commit is bound to.
// Source: ostree src/ostree/ot-builtin-commit.c (fill_bindings).
func (c *commitFlags) meta(r *repo.Repo, old ostree.Commit) (gvariant.Dict, error) {
	d, err := metaStrings("--add-metadata-string", c.metadata)
	if err != nil {
		return d, err
	}
	for _, m := range c.variants {
		k, text, ok := strings.Cut(m, "=")
		if !ok {
			return nil, usage("--add-metadata %q: want KEY=VALUE", m)
		}
		v, err := gvariant.Parse(text)
		if err != nil {
			return nil, usage("--add-metadata %s: %v", k, err)
		}
		d = append(d, gvariant.Entry{Key: k, Value: v})
	}
	for _, key := range c.keep {
		value, ok := old.Metadata.Lookup(key)
		if !ok {
			return nil, fmt.Errorf("--keep-metadata=%s: the parent has no such key", key)
		}
		d = append(d, gvariant.Entry{Key: key, Value: value})
	}
	if c.noBindings {
		return d, nil
	}
	refs := slices.Clone(c.bindRefs)
	if c.branch != "" {
		refs = append(refs, c.branch)
	}
	slices.Sort(refs)
	has := d.Has(ostree.KeyCollection)
	d = append(d, gvariant.Entry{Key: ostree.KeyRefBinding, Value: gvariant.Strings(refs)})
	if id := r.CollectionID(); id != "" && !has {
		d = append(d, gvariant.Entry{Key: ostree.KeyCollection, Value: gvariant.String(id)})
	}
	return d, nil
}

// metaStrings reads the KEY=VALUE of an option.
func metaStrings(option string, list []string) (gvariant.Dict, error) {
	var d gvariant.Dict
	for _, m := range list {
		k, v, ok := strings.Cut(m, "=")
		if !ok {
			return nil, usage("%s %q: want KEY=VALUE", option, m)
		}
		d = append(d, gvariant.Entry{Key: k, Value: gvariant.String(v)})
	}
	return d, nil
}
