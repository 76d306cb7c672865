// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// unpack merges the packages' trees over the base, as values: the cost follows the packages.
func unpack(ctx context.Context, b *build) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	before := b.tree
	b.keepBase, b.beside = map[string]bool{}, map[string]string{}
	if err := b.dropRemoved(); err != nil {
		return err
	}
	for i := range b.packages {
		p := &b.packages[i]
		t, err := b.settle(p)
		if err != nil {
			return fmt.Errorf("package %s: %w", p.meta.NEVRA, err)
		}
		merged, err := tree.Merge(b.tree, t, tree.MergeOptions{OnConflict: func(path string, base, layer tree.Entry) (tree.Decision, error) {
			return b.decide(path, base, layer, i), nil
		}})
		if err != nil {
			return fmt.Errorf("package %s: %w", p.meta.NEVRA, b.explain(err, i))
		}
		b.tree = merged
	}
	if err := b.settleConfig(before); err != nil {
		return err
	}
	if len(b.removed) > 0 {
		if err := b.leaveForScripts(before); err != nil {
			return err
		}
	}
	if err := b.removeFrom(); err != nil {
		return err
	}
	if err := b.ostreeLayers(); err != nil {
		return err
	}
	// Scriptlets already find the links at the top: what they write to /root belongs into /var.
	edit := b.tree.Edit()
	if err := b.alternativesLink(edit); err != nil {
		return err
	}
	if b.o.Base == nil {
		if err := b.topLevel(edit); err != nil {
			return err
		}
	}
	b.tree = edit.Tree()
	return nil
}

// alternativesLink leads the tools that manage /etc/alternatives to their state, where a package has a place for it.
func (b *build) alternativesLink(edit *tree.Editor) error {
	if _, ok, err := b.tree.Lookup(importer.AlternativesState); err != nil || !ok {
		return err
	}
	if _, ok, err := b.tree.Lookup(importer.AlternativesLink); err != nil || ok {
		return err
	}
	return b.putLink(edit, importer.AlternativesLink, "../../etc/alternatives-state")
}

// begin opens the transaction and takes the base's tree, or an empty one; once.
func (b *build) begin(ctx context.Context) (err error) {
	if b.tx != nil {
		return nil
	}
	if b.tx, err = b.o.Repo.Begin(ctx); err != nil {
		return err
	}
	if b.tree = b.base.tree; b.tree == nil {
		b.tree = tree.Empty(dirMeta(0o755))
	}
	return nil
}

// dirMeta is a directory's metadata as packages have it where they say nothing.
func dirMeta(mode uint32) ostree.DirMeta { return ostree.DirMeta{Mode: 0o040000 | mode} }

// decide is the answer for a path that a package and the tree so far do not agree on: that of compareFiles.
func (b *build) decide(p string, base, layer tree.Entry, pkg int) tree.Decision {
	winner, known := b.winner[p]
	switch {
	case b.keepBase[p]:
		return tree.KeepBase
	case !known || base.Dir != layer.Dir:
		return tree.Refuse
	case winner == pkg:
		return tree.TakeLayer
	}
	return tree.KeepBase
}

// explain says who has what is in the way: something that is a directory here and a file there, or a file of a base
// that is not made of packages.
func (b *build) explain(err error, pkg int) error {
	all := tree.Conflicts(err)
	if len(all) == 0 {
		return err
	}
	c, more := all[0], ""
	if len(all) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(all)-1)
	}
	what := "file"
	if c.Base.Dir {
		what = "directory"
	}
	for _, p := range b.packages[:pkg] {
		if i, ok := slices.BinarySearch(p.Paths, c.Path); ok || i < len(p.Paths) && strings.HasPrefix(p.Paths[i], c.Path+"/") {
			return fmt.Errorf("/%s conflicts with the %s of package %s%s", visible(c.Path), what, p.meta.NEVRA, more)
		}
	}
	for _, h := range b.remaining() {
		found := false
		if ferr := b.eachPath(h, func(at string, _ rpm.File) { found = found || at == c.Path }); ferr == nil && found {
			return fmt.Errorf("/%s conflicts with the %s of the base's package %s%s", visible(c.Path), what, h.NEVRA(), more)
		}
	}
	return fmt.Errorf("/%s conflicts with a %s that the base has and no package of it owns%s", visible(c.Path), what, more)
}

// visible is a tree path as it is seen in the guest.
func visible(p string) string {
	if rest, ok := strings.CutPrefix(p, "usr/etc/"); ok {
		return "etc/" + rest
	}
	if rest, ok := strings.CutPrefix(p, "usr/share/factory/var/"); ok {
		return "var/" + rest
	}
	return p
}

func isAccountFile(p string) bool {
	for _, f := range accountFiles {
		if f.path == p {
			return true
		}
	}
	return p == "usr/etc/subuid" || p == "usr/etc/subgid"
}

// dropEmptyDirs removes those of the directories that hold nothing any more, the deepest first.
func (b *build) dropEmptyDirs(dirs []string) error {
	sort.Sort(sort.Reverse(sort.StringSlice(dirs)))
	for _, d := range dirs {
		entries, err := b.tree.ReadDir(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || len(entries) > 0 {
			continue
		}
		edit := b.tree.Edit()
		if err := edit.Remove(d); err != nil {
			return err
		}
		b.tree = edit.Tree()
	}
	return nil
}

// eachPath gives each file of a package that has a place in the tree, and where that is.
func (b *build) eachPath(h *rpm.Header, f func(string, rpm.File)) error {
	files, err := h.Files()
	if err != nil {
		return fmt.Errorf("files of %s: %w", h.NEVRA(), err)
	}
	for _, file := range files {
		if mapped, ok := importer.MapPath(file.Path); ok {
			at, err := b.places.file(mapped)
			if err != nil {
				return fmt.Errorf("files of %s: %w", h.NEVRA(), err)
			}
			f(at, file)
		}
	}
	return nil
}

// removeFrom does what `remove-from-packages` asks: regular expressions over the paths of one package.
func (b *build) removeFrom() error {
	for _, rule := range b.m.RemoveFromPackages {
		if len(rule) < 2 {
			return fmt.Errorf("remove-from-packages: %q names no files", strings.Join(rule, " "))
		}
		edit := b.tree.Edit()
		name, err := regexp.Compile("^(?:" + rule[0] + ")$")
		if err != nil {
			return fmt.Errorf("remove-from-packages: %w", err)
		}
		for _, p := range b.packages {
			if !name.MatchString(p.meta.Name) {
				continue
			}
			for _, pattern := range rule[1:] {
				re, err := regexp.Compile("^(?:" + pattern + ")$")
				if err != nil {
					return fmt.Errorf("remove-from-packages: %s: %w", rule[0], err)
				}
				for _, f := range p.Paths {
					if re.MatchString("/"+visible(f)) || re.MatchString("/"+f) {
						_ = edit.Remove(path.Clean(f)) // another rule may have taken it already
					}
				}
			}
		}
		b.tree = edit.Tree()
	}
	return nil
}
