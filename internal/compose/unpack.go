// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
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
	if err := b.dropRemoved(); err != nil {
		return err
	}
	owner := map[string]int{} // path -> index of the package whose file it is
	for i, p := range b.packages {
		t := tree.Load(b.o.Repo, p.Root)
		merged, err := tree.Merge(b.tree, t, tree.MergeOptions{OnConflict: func(path string, base, layer tree.Entry) (tree.Decision, error) {
			return b.conflict(path, owner, i)
		}})
		if err != nil {
			return fmt.Errorf("package %s: %w", p.meta.NEVRA, b.explain(err, owner))
		}
		b.tree = merged
		if b.o.Base == nil || len(b.packages) > 1 {
			for _, f := range p.Paths {
				if _, taken := owner[f]; !taken {
					owner[f] = i
				}
			}
		}
	}
	if len(b.removed) > 0 {
		if err := b.settleConfig(before); err != nil {
			return err
		}
		if err := b.leaveForScripts(before); err != nil {
			return err
		}
	}
	if err := b.removeFrom(); err != nil {
		return err
	}
	return b.ostreeLayers()
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

// conflict decides between two files of one path. rpm lets the 64-bit program win where packages of two
// word sizes bring one; anything else is a conflict between packages.
func (b *build) conflict(p string, owner map[string]int, layer int) (tree.Decision, error) {
	if b.keepBase[p] {
		return tree.KeepBase, nil
	}
	is := colour(b.packages[layer].Header, p)
	if is == 0 {
		return tree.Refuse, nil
	}
	was := uint32(0)
	if i, ok := owner[p]; ok {
		was = colour(b.packages[i].Header, p)
	} else {
		for _, h := range b.remaining() {
			was |= colour(h, p)
		}
	}
	switch {
	case was&colour64 != 0 && is == colour32:
		return tree.KeepBase, nil
	case was == colour32 && is == colour64:
		return tree.TakeLayer, nil
	}
	return tree.Refuse, nil
}

// Colours of ELF files. Source: rpm, build/rpmfc.h (RPMFC_ELF32, RPMFC_ELF64).
const (
	colour32 = 1
	colour64 = 2
)

// colour is the word size of a package's file in the tree; 0 = it has none.
func colour(h *rpm.Header, p string) uint32 {
	var c uint32
	_ = eachPath(h, func(at string, f rpm.File) { // the header was read when the package was imported
		if at == p {
			c = f.Color
		}
	})
	return c
}

// explain names the package on the other side of a conflict.
func (b *build) explain(err error, owner map[string]int) error {
	all := tree.Conflicts(err)
	if len(all) == 0 {
		return err
	}
	c, more := all[0], ""
	if len(all) > 1 {
		more = fmt.Sprintf(" (and %d more files)", len(all)-1)
	}
	if i, ok := owner[c.Path]; ok {
		return fmt.Errorf("file /%s conflicts with the one of package %s%s", visible(c.Path), b.packages[i].meta.NEVRA, more)
	}
	for _, h := range b.remaining() {
		files, ferr := h.Files()
		if ferr != nil {
			continue
		}
		for _, f := range files {
			if mapped, ok := importer.MapPath(f.Path); ok && mapped == c.Path {
				return fmt.Errorf("file /%s conflicts with the one of the base's package %s%s", visible(c.Path), h.NEVRA(), more)
			}
		}
	}
	return fmt.Errorf("file /%s conflicts with one that the base has and no package of it owns%s", visible(c.Path), more)
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

func eachPath(h *rpm.Header, f func(string, rpm.File)) error {
	files, err := h.Files()
	if err != nil {
		return fmt.Errorf("files of %s: %w", h.NEVRA(), err)
	}
	for _, file := range files {
		if p, ok := importer.MapPath(file.Path); ok {
			f(p, file)
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
