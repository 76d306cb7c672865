// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
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
	branch, subject, body, timestamp, parent string
	trees, metadata, bindRefs                []string
	orphan, noBindings, known                bool
	composefs, parents                       bool
	base                                     string
	keep, detached                           []string
	unchanged                                bool
	o                                        repo.CommitTreeOptions
	labels                                   labelFlags
	signing                                  signFlags
	uid, gid                                 int
}

func (c *commitFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.branch, "branch", "b", "", "the ref that the commit goes to")
	f.StringVarP(&c.subject, "subject", "s", "", "one line")
	f.StringVarP(&c.body, "body", "m", "", "a longer text")
	f.StringVar(&c.timestamp, "timestamp", "", "@SECONDS or a date, instead of now")
	f.StringVar(&c.parent, "parent", "", "the parent's checksum, or none")
	f.StringArrayVar(&c.trees, "tree", nil, "dir=PATH, tar=FILE (- is standard input) or ref=REF")
	f.StringVar(&c.base, "base", "", "lay the trees over this commit's")
	f.StringArrayVar(&c.keep, "keep-metadata", nil, "take this key's value over from the parent")
	f.StringArrayVar(&c.detached, "add-detached-metadata-string", nil, "KEY=VALUE, beside the commit")
	f.BoolVar(&c.unchanged, "skip-if-unchanged", false, "make no commit where the parent's tree is the same")
	f.StringArrayVar(&c.metadata, "add-metadata-string", nil, "KEY=VALUE")
	f.StringArrayVar(&c.bindRefs, "bind-ref", nil, "bind the commit to this ref too")
	f.BoolVar(&c.parents, "tar-autocreate-parents", false, "make directories that a tar archive does not list")
	f.BoolVar(&c.orphan, "orphan", false, "set no ref")
	f.BoolVar(&c.noBindings, "no-bindings", false, "do not bind the commit to its ref")
	f.IntVar(&c.uid, "owner-uid", -1, "the owner of everything")
	f.IntVar(&c.gid, "owner-gid", -1, "the group of everything")
	f.BoolVar(&c.known, "link-checkout-speedup", false, "trust that a file which is a hard link to an object is that object")
	f.BoolVar(&c.composefs, "generate-composefs-metadata", false, "put the digest of the tree's composefs image into the commit")
	f.BoolVar(&c.o.NoXattrs, "no-xattrs", false, "leave extended attributes out")
	f.BoolVar(&c.o.CanonicalPermissions, "canonical-permissions", false, "owner 0:0, no xattrs, plain modes")
	c.labels.add(f)
	c.signing.add(f, "the commit")
}

// commit makes the commit and sets its ref.
func (c *commitFlags) commit(cmd *cobra.Command, a *app, r *repo.Repo) (ostree.Checksum, error) {
	signers, err := c.signing.signers(a)
	if err != nil {
		return ostree.Checksum{}, err
	}
	if c.branch == "" && !c.orphan {
		return ostree.Checksum{}, usage("commit: say -b BRANCH, or --orphan")
	}
	if len(c.trees) == 0 {
		c.trees = []string{"dir=."}
	}
	if c.base != "" {
		c.trees = append([]string{"ref=" + c.base}, c.trees...)
	}
	if c.uid >= 0 {
		uid := uint32(c.uid)
		c.o.UID = &uid
	}
	if c.gid >= 0 {
		gid := uint32(c.gid)
		c.o.GID = &gid
	}
	if c.known {
		known, err := r.KnownInodes()
		if err != nil {
			return ostree.Checksum{}, err
		}
		c.o.Known = known
	}
	tx, err := r.Begin(cmd.Context())
	if err != nil {
		return ostree.Checksum{}, err
	}
	defer tx.Abort()
	root, err := c.joined(cmd, r, tx)
	if err != nil {
		return ostree.Checksum{}, err
	}
	obj := ostree.Commit{Subject: c.subject, Body: c.body, Tree: root.Tree, Meta: root.Meta}
	if obj.Timestamp, err = a.now(); err != nil {
		return ostree.Checksum{}, err
	}
	if c.timestamp != "" {
		if obj.Timestamp, err = parseTimestamp(c.timestamp); err != nil {
			return ostree.Checksum{}, err
		}
	}
	if obj.Parent, err = c.parentOf(r); err != nil {
		return ostree.Checksum{}, err
	}
	var old ostree.Commit
	if !obj.Parent.IsZero() && (c.unchanged || len(c.keep) > 0) {
		if old, err = r.Commit(obj.Parent); err != nil {
			return ostree.Checksum{}, err
		}
		if c.unchanged && old.Tree == root.Tree && old.Meta == root.Meta {
			return obj.Parent, nil
		}
	}
	if obj.Metadata, err = c.meta(); err != nil {
		return ostree.Checksum{}, err
	}
	for _, key := range c.keep {
		value, ok := old.Metadata.Lookup(key)
		if !ok {
			return ostree.Checksum{}, fmt.Errorf("--keep-metadata=%s: the parent has no such key", key)
		}
		obj.Metadata = obj.Metadata.With(key, value)
	}
	beside, err := metaStrings("--add-detached-metadata-string", c.detached)
	if err != nil {
		return ostree.Checksum{}, err
	}
	if c.composefs {
		digest, err := composefs.CommitDigest(cmd.Context(), tx, root)
		if err != nil {
			return ostree.Checksum{}, err
		}
		obj.Metadata = append(obj.Metadata, gvariant.Entry{Key: composefs.KeyDigest, Value: gvariant.Bytes(digest[:])})
	}
	sum, err := tx.PutCommit(obj)
	if err != nil {
		return sum, err
	}
	if err := tx.SignStaged(cmd.Context(), obj, beside, signers); err != nil {
		return sum, err
	}
	if !c.orphan {
		if err := tx.SetRef(c.branch, sum); err != nil {
			return sum, err
		}
	}
	return sum, tx.Commit()
}

// joined lays the trees over one another.
func (c *commitFlags) joined(cmd *cobra.Command, r *repo.Repo, tx *repo.Tx) (tree.Root, error) {
	var all *tree.Tree
	var last tree.Root
	for i, spec := range c.trees {
		kind, what, ok := strings.Cut(spec, "=")
		var err error
		if i == 0 {
			if err = c.labels.begin(tx, kind, what, &c.o); err != nil {
				return last, err
			}
		}
		switch {
		case ok && kind == "dir":
			last, err = r.CommitTree(cmd.Context(), tx, what, c.o)
		case ok && kind == "ref":
			if last, err = rootOf(r, what); err == nil {
				last, err = c.labels.ref(cmd.Context(), tx, last)
			}
		case ok && kind == "tar":
			var in io.ReadCloser
			if in, err = c.openTar(what); err == nil {
				last, err = r.CommitTar(cmd.Context(), tx, in, repo.TarOptions{CommitTreeOptions: c.o, AutocreateParents: c.parents})
				in.Close()
			}
		default:
			err = usage("--tree=%s: want dir=PATH, tar=FILE or ref=REF", spec)
		}
		if err != nil {
			return last, err
		}
		t := tree.Load(tx, last)
		if all == nil {
			all = t
			continue
		}
		if all, err = tree.Merge(all, t, tree.MergeOptions{Replace: true, DirMeta: func(_ string, _, layer ostree.DirMeta) ostree.DirMeta { return layer }}); err != nil {
			return last, err
		}
	}
	if len(c.trees) == 1 {
		return last, nil
	}
	return all.Write(tx)
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

// meta is the commit's metadata: the strings given, and the refs it is bound to.
// Source: ostree src/ostree/ot-builtin-commit.c (fill_bindings).
func (c *commitFlags) meta() (gvariant.Dict, error) {
	d, err := metaStrings("--add-metadata-string", c.metadata)
	if err != nil || c.noBindings {
		return d, err
	}
	refs := map[string]bool{}
	for _, b := range append([]string{c.branch}, c.bindRefs...) {
		if b != "" {
			refs[b] = true
		}
	}
	return append(d, gvariant.Entry{Key: "ostree.ref-binding", Value: gvariant.Strings(sortedKeys(refs))}), nil
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
