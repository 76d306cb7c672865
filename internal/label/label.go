// SPDX-License-Identifier: Apache-2.0

// Package label puts SELinux labels on trees: the xattr security.selinux, as the policy that a tree brings along says.
//
// It does not decide whether a tree is to be labelled, and sets no xattr on any file system: a label is part of a file
// object or of a directory's metadata, and a checkout by root sets it as it sets every xattr. Labelling is a function of trees: what
// is equal to a tree that is labelled already is not read.
package label

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/selinux"
	"grove/internal/tree"
)

// Xattr is the name of the attribute that holds a label; its value ends with a NUL.
const Xattr = "security.selinux"

// Set returns xattrs with the label in place of any that is there, sorted by name. "" leaves them as they are, as OSTree
// does for a path that the policy has no label for.
//
// OSTree appends the label whatever stands behind it, which makes an object that its own fsck refuses in a bare repo if there is an xattr whose name
// sorts after security.selinux; here it is sorted in.
func Set(xs []ostree.Xattr, label string) []ostree.Xattr {
	if label == "" {
		return xs
	}
	out := slices.DeleteFunc(slices.Clone(xs), func(x ostree.Xattr) bool { return x.Name == Xattr })
	at, _ := slices.BinarySearchFunc(out, Xattr, func(x ostree.Xattr, name string) int { return strings.Compare(x.Name, name) })
	return slices.Insert(out, at, ostree.Xattr{Name: Xattr, Value: append([]byte(label), 0)})
}

// Get is the label among xattrs, without the NUL; "" if there is none.
func Get(xs []ostree.Xattr) string {
	for _, x := range xs {
		if x.Name == Xattr {
			return strings.TrimSuffix(string(x.Value), "\x00")
		}
	}
	return ""
}

// Options say which paths are labelled and how.
type Options struct {
	Base *tree.Tree // labelled already: what is equal to it stays as it is; nil = label everything
	// ByPolicyOnly leaves it to the policy's own substitutions to label /usr/etc as /etc; else it always is, and
	// /usr/share/factory/var as /var: each has the label that a deployment's copy of it needs.
	// Source: ostree commit --selinux-labeling-epoch=0.
	ByPolicyOnly bool
}

// Of is the label of a path of a tree ("" is its root), "" if it is to have none.
func (o Options) Of(p *selinux.Policy, path string, mode uint32) string {
	path = "/" + path
	for _, away := range []struct{ prefix, top string }{{"/usr", "/etc"}, {"/usr/share/factory", "/var"}} {
		rest, ok := strings.CutPrefix(path, away.prefix+away.top)
		if ok && !o.ByPolicyOnly && (rest == "" || rest[0] == '/') {
			path = away.top + rest
			break
		}
	}
	label, _ := p.Label(path, mode)
	return label
}

// Policy reads the policy that a tree is configured for.
//
//	errors  selinux.ErrNone
func Policy(tx *repo.Tx, t *tree.Tree) (*selinux.Policy, error) { return selinux.Load(treeFS{tx, t}) }

// SamePolicy tells whether two trees have the same configuration and policy files, so that what they share is labelled alike.
func SamePolicy(a, b *tree.Tree) (bool, error) {
	for _, dir := range []string{"etc/selinux", "usr/etc/selinux"} {
		var roots [2]tree.Root
		for i, t := range []*tree.Tree{a, b} {
			if _, ok, err := t.Lookup(dir); err != nil || !ok {
				if err != nil {
					return false, err
				}
				continue
			}
			sub, err := t.Sub(dir)
			if err != nil {
				return false, err
			}
			if roots[i], err = tree.Hash(sub); err != nil {
				return false, err
			}
		}
		if roots[0].Tree != roots[1].Tree {
			return false, nil
		}
	}
	return true, nil
}

// file is one file that gets a label; two paths may share one.
type file struct {
	from  ostree.Checksum
	label string
}

// Tree returns the tree with the policy's labels. New file objects are staged; the directories are written when the tree is.
func Tree(ctx context.Context, tx *repo.Tx, t *tree.Tree, p *selinux.Policy, o Options) (*tree.Tree, error) {
	edit := t.Edit()
	paths := map[file][]string{}
	var todo []file
	visit := func(path string, e tree.Entry) error {
		if e.Dir {
			label := o.Of(p, path, e.Meta.Mode)
			if label != "" && Get(e.Meta.Xattrs) != label {
				e.Meta.Xattrs = Set(e.Meta.Xattrs, label)
				return edit.PutDir(path, e.Meta)
			}
			return nil
		}
		h, _, err := tx.FileHeader(e.File)
		if err != nil {
			return err
		}
		f := file{e.File, o.Of(p, path, h.Mode)}
		if f.label == "" || Get(h.Xattrs) == f.label {
			return nil
		}
		if paths[f] == nil {
			todo = append(todo, f)
		}
		paths[f] = append(paths[f], path)
		return nil
	}
	if err := each(t, o.Base, visit); err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	sums, err := relabel(ctx, tx, todo)
	if err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	for i, f := range todo {
		for _, path := range paths[f] {
			if err := edit.PutFile(path, sums[i]); err != nil {
				return nil, fmt.Errorf("label: %w", err)
			}
		}
	}
	return edit.Tree(), edit.Err()
}

// each visits every path of t that is not the same in base.
func each(t, base *tree.Tree, visit func(path string, e tree.Entry) error) error {
	if base == nil {
		return t.Walk(visit)
	}
	changes, err := tree.Diff(base, t)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Kind == tree.Removed {
			continue
		}
		if err := visit(c.Path, c.New); err != nil {
			return err
		}
	}
	return nil
}

// relabel stages each file with its new label, and returns the new checksums in order.
func relabel(ctx context.Context, tx *repo.Tx, todo []file) ([]ostree.Checksum, error) {
	sums := make([]ostree.Checksum, len(todo))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range todo {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			h, size, content, err := tx.OpenVerified(f.from)
			if err != nil {
				return err
			}
			h.Xattrs = Set(h.Xattrs, f.label)
			if h.IsSymlink() || content == nil {
				sums[i], err = tx.PutFile(h, 0, nil)
				return err
			}
			defer content.Close()
			sums[i], err = tx.PutFile(h, size, content)
			return err
		})
	}
	return sums, g.Wait()
}

// treeFS shows a tree's directories and regular files to selinux.Load. Symlinks are not followed.
type treeFS struct {
	tx *repo.Tx
	t  *tree.Tree
}

// Open is fs.FS's.
func (f treeFS) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	e, ok, err := f.t.Lookup(name)
	if err != nil {
		return fail(err)
	}
	if !ok {
		return fail(fs.ErrNotExist)
	}
	if e.Dir {
		return treeFile{io.NopCloser(strings.NewReader(""))}, nil
	}
	h, _, content, err := f.tx.OpenFile(e.File)
	if err != nil {
		return fail(err)
	}
	if h.IsSymlink() || content == nil {
		return fail(fmt.Errorf("a symlink to %q, want a file", h.Symlink))
	}
	return treeFile{content}, nil
}

// treeFile is an open file; a directory has no content.
type treeFile struct{ io.ReadCloser }

// Stat is fs.File's; there is nothing to say but that the file exists.
func (f treeFile) Stat() (fs.FileInfo, error) { return nil, nil }
