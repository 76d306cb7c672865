// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/repo"
	"grove/internal/tree"
)

// diffFlags are those of `grove repo diff`.
type diffFlags struct {
	stats, files, noXattrs bool
	uid, gid               int

	shown diffJSON
}

// diffJSON is what --json shows of a difference: paths, and with --stats how many objects each commit has and both have.
type diffJSON struct {
	Files   []fileChangeJSON `json:"files"`
	Objects *objectsJSON     `json:"objects,omitempty"`
}

type fileChangeJSON struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // added, removed, modified
}

type objectsJSON struct {
	From  int   `json:"from"`
	To    int   `json:"to"`
	Both  int   `json:"both"`
	Bytes int64 `json:"bytes"` // of those that both have
}

func (v *repoVerbs) diff() *cobra.Command {
	var o diffFlags
	cmd := verb("diff COMMIT|DIR [COMMIT|DIR]", "what differs between two trees", `
A added, D removed, M modified, as ostree prints it. A directory begins with / or ./. One COMMIT alone is held against its parent.`,
		cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				args = []string{args[0] + "^", args[0]}
			}
			o.shown.Files = []fileChangeJSON{}
			if o.files || !o.stats {
				if err := o.diff(cmd.Context(), v.a, r, args); err != nil {
					return err
				}
			}
			if o.stats {
				if err := o.count(cmd.Context(), v.a, r, args); err != nil {
					return err
				}
			}
			return v.a.show(o.shown, func() {})
		})
	f := cmd.Flags()
	f.BoolVar(&o.stats, "stats", false, "count the objects of two commits, and those that both have")
	f.BoolVar(&o.files, "fs-diff", false, "with --stats: the paths too")
	f.BoolVar(&o.noXattrs, "no-xattrs", false, "a change of extended attributes is none")
	f.IntVar(&o.uid, "owner-uid", -1, "the owner of what a DIR holds")
	f.IntVar(&o.gid, "owner-gid", -1, "the group of what a DIR holds")
	return cmd
}

func isDirArg(arg string) bool { return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") }

// diff prints the paths. A directory is read into a transaction that is thrown away.
func (o *diffFlags) diff(ctx context.Context, a *app, r *repo.Repo, args []string) error {
	var trees [2]*tree.Tree
	var files repo.FileOpener = r
	for i, arg := range args {
		if !isDirArg(arg) {
			c, err := r.Resolve(arg)
			if err != nil {
				return err
			}
			if trees[i], _, err = r.Tree(c); err != nil {
				return err
			}
			continue
		}
		tx, ok := files.(*repo.Tx)
		if !ok {
			var err error
			if tx, err = r.Begin(ctx); err != nil {
				return err
			}
			defer tx.Abort()
			files = tx
		}
		root, err := r.CommitTree(ctx, tx, arg, repo.CommitTreeOptions{UID: owner(o.uid), GID: owner(o.gid)})
		if err != nil {
			return err
		}
		trees[i] = tree.Load(tx, root)
	}
	changes, err := tree.Diff(trees[0], trees[1])
	if err == nil && (o.noXattrs || r.Mode() == repo.BareUserOnly) {
		changes, err = repo.WithoutXattrs(files, changes)
	}
	if err != nil {
		return err
	}
	report := tree.NewReport(changes)
	from, to := slashOf(args[0]), slashOf(args[1])
	for _, part := range []struct {
		letter, kind, slash string
		changes             []tree.Change
	}{{"M", "modified", from, report.Modified}, {"D", "removed", from, report.Removed}, {"A", "added", to, report.Added}} {
		for _, c := range part.changes {
			if a.json {
				o.shown.Files = append(o.shown.Files, fileChangeJSON{part.slash + c.Path, part.kind})
				continue
			}
			fmt.Fprintf(a.stdout, "%s    %s%s\n", part.letter, part.slash, c.Path)
		}
	}
	return nil
}

// slashOf begins the paths of a commit; those of a directory are relative to it.
func slashOf(arg string) string {
	if isDirArg(arg) {
		return ""
	}
	return "/"
}

// owner is an id given by option; nil for none.
func owner(id int) *uint32 {
	if id < 0 {
		return nil
	}
	n := uint32(id)
	return &n
}

func (o *diffFlags) count(ctx context.Context, a *app, r *repo.Repo, args []string) error {
	one, err := r.Resolve(args[0])
	if err != nil {
		return err
	}
	two, err := r.Resolve(args[1])
	if err != nil {
		return err
	}
	c, err := r.Compare(ctx, one, two)
	if err != nil {
		return err
	}
	if o.shown.Objects = (&objectsJSON{c.A, c.B, c.Both, c.SizeBytes}); a.json {
		return nil
	}
	a.printf("[A] Object Count: %d\n[B] Object Count: %d\nCommon Object Count: %d\nCommon Object Size: %s\n", c.A, c.B, c.Both, decimalSize(c.SizeBytes))
	return nil
}

// decimalSize is a size as GLib's g_format_size writes it, for what scripts read from ostree.
func decimalSize(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	v := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if v /= 1000; v < 1000 {
			return fmt.Sprintf("%.1f\u00a0%s", v, unit)
		}
	}
	return fmt.Sprintf("%.1f\u00a0EB", v/1000)
}
