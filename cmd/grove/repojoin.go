// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// joined lays the trees over one another, as ostree does: files take the place of files, the last directory's metadata counts,
// and a file never becomes a directory or the reverse.
func (c *commitFlags) joined(ctx context.Context, r *repo.Repo, tx *repo.Tx) (tree.Root, error) {
	var all *tree.Tree
	if c.base != "" {
		root, err := rootOf(r, c.base)
		if err != nil {
			return root, err
		}
		if err := c.labels.begin(tx, "ref", c.base, &c.o); err != nil {
			return root, err
		}
		all = tree.Load(tx, root)
	}
	for i, spec := range c.trees {
		kind, what, ok := strings.Cut(spec, "=")
		if !ok || kind != "dir" && kind != "tar" && kind != "ref" {
			return tree.Root{}, usage("--tree=%s: want dir=PATH, tar=FILE or ref=REF", spec)
		}
		if i == 0 && c.base == "" {
			if err := c.labels.begin(tx, kind, what, &c.o); err != nil {
				return tree.Root{}, err
			}
		}
		var err error
		if kind == "tar" {
			all, err = c.tar(ctx, r, tx, what, all)
		} else {
			all, err = c.over(ctx, r, tx, kind, what, all)
		}
		if err != nil {
			return tree.Root{}, err
		}
	}
	return all.Write(tx)
}

// tar lays an archive over a tree.
func (c *commitFlags) tar(ctx context.Context, r *repo.Repo, tx *repo.Tx, what string, base *tree.Tree) (*tree.Tree, error) {
	o := repo.TarOptions{CommitTreeOptions: c.o, AutocreateParents: c.parents, Base: base}
	if c.rules.Any() {
		o.Filter = c.rules.FilterTar
	}
	var err error
	if o.Rename, err = pathFilter(c.pathFilter); err != nil {
		return nil, err
	}
	in, err := c.openTar(what)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	root, err := r.CommitTar(ctx, tx, in, o)
	if err != nil {
		return nil, err
	}
	return tree.Load(tx, root), nil
}

// over lays a directory or a commit over a tree.
func (c *commitFlags) over(ctx context.Context, r *repo.Repo, tx *repo.Tx, kind, what string, base *tree.Tree) (*tree.Tree, error) {
	var root tree.Root
	var err error
	if kind == "dir" {
		root, err = r.CommitTree(ctx, tx, what, c.o)
	} else if root, err = rootOf(r, what); err == nil {
		root, err = r.CommitRef(ctx, tx, root, c.o)
	}
	if err != nil {
		return nil, err
	}
	top := tree.Load(tx, root)
	if base == nil {
		return top, nil
	}
	o := tree.MergeOptions{Replace: true, DirMeta: func(_ string, _, layer ostree.DirMeta) ostree.DirMeta { return layer }}
	return tree.Merge(base, top, o)
}

// backReference is how GLib's replacements name a group: \1 or \g<name>.
var backReference = regexp.MustCompile(`\\(?:([0-9]+)|g<([^>]*)>)`)

// pathFilter reads --tar-pathname-filter=REGEX,REPLACEMENT; nil for none.
func pathFilter(spec string) (func(string) string, error) {
	if spec == "" {
		return nil, nil
	}
	expr, to, ok := strings.Cut(spec, ",")
	if !ok {
		return nil, usage("--tar-pathname-filter=%s: want REGEX,REPLACEMENT", spec)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, usage("--tar-pathname-filter: %v", err)
	}
	to = backReference.ReplaceAllString(strings.ReplaceAll(to, "$", "$$"), "$${$1$2}")
	return func(name string) string { return re.ReplaceAllString(name, to) }, nil
}

// consume deletes the directories that were committed; of "." what it holds.
func (c *commitFlags) consume() error {
	if !c.consumes {
		return nil
	}
	for _, spec := range c.trees {
		dir, ok := strings.CutPrefix(spec, "dir=")
		if !ok {
			continue
		}
		if dir != "." {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("commit --consume: %w", err)
			}
			continue
		}
		ents, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("commit --consume: %w", err)
		}
		for _, e := range ents {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("commit --consume: %w", err)
			}
		}
	}
	return nil
}

// openTar opens what --tree=tar= names; "-" is standard input.
func (c *commitFlags) openTar(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(name)
}
