// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// lister prints entries as `ostree ls` does.
type lister struct {
	r                                         *repo.Repo
	w                                         *bufio.Writer
	dirOnly, recursive, checksum, xattrs, nul bool
}

func (v *repoVerbs) ls() *cobra.Command {
	var l lister
	cmd := verb("ls COMMIT [PATH]...", "list directories of a tree", "Type and mode, owner, group, size and name, as ostree prints them.", cobra.MinimumNArgs(1),
		func(_ *cobra.Command, args []string) error {
			r, t, _, _, err := v.at(args[0])
			if err != nil {
				return err
			}
			paths := args[1:]
			if len(paths) == 0 {
				paths = []string{"/"}
			}
			l.r, l.w = r, bufio.NewWriter(v.a.stdout)
			for _, p := range paths {
				if err := l.argument(t, strings.Trim(path.Clean("/"+p), "/")); err != nil {
					return fmt.Errorf("ls %s: %w", p, err)
				}
			}
			return l.w.Flush()
		})
	f := cmd.Flags()
	f.BoolVarP(&l.dirOnly, "dironly", "d", false, "directories themselves, not what they hold")
	f.BoolVarP(&l.recursive, "recursive", "R", false, "directories below it too")
	f.BoolVarP(&l.checksum, "checksum", "C", false, "show checksums: of a directory that of what it holds and its own")
	f.BoolVarP(&l.xattrs, "xattrs", "X", false, "show extended attributes")
	f.BoolVar(&l.nul, "nul-filenames-only", false, "only names, each with a NUL after it")
	return cmd
}

func (l *lister) argument(t *tree.Tree, p string) error {
	e, ok, err := t.Lookup(p)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no such path in the tree")
	}
	var root tree.Root
	if e.Dir {
		sub, err := t.Sub(p)
		if err != nil {
			return err
		}
		if root, err = tree.Hash(sub); err != nil {
			return err
		}
	}
	if err := l.entry("/"+p, e, root.Tree, root.Meta); err != nil || !e.Dir || l.dirOnly && !l.recursive {
		return err
	}
	return l.below("/"+p, root.Tree, l.recursive)
}

// below lists a directory, files before directories, as ostree has them.
func (l *lister) below(p string, dir ostree.Checksum, recurse bool) error {
	d, err := l.r.DirTree(dir)
	if err != nil {
		return err
	}
	for _, f := range d.Files {
		if err := l.entry(path.Join(p, f.Name), tree.Entry{Name: f.Name, File: f.Checksum}, f.Checksum, f.Checksum); err != nil {
			return err
		}
	}
	for _, s := range d.Dirs {
		m, err := l.r.DirMeta(s.Meta)
		if err != nil {
			return err
		}
		at := path.Join(p, s.Name)
		if err := l.entry(at, tree.Entry{Name: s.Name, Dir: true, Meta: m}, s.Tree, s.Meta); err != nil {
			return err
		}
		if recurse {
			if err := l.below(at, s.Tree, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry prints one line. content and own are a directory's two checksums.
func (l *lister) entry(p string, e tree.Entry, content, own ostree.Checksum) error {
	if l.nul {
		_, err := l.w.WriteString(p + "\x00")
		return err
	}
	kind, mode, uid, gid, xs, size, sums, tail := "d", e.Meta.Mode, e.Meta.UID, e.Meta.GID, e.Meta.Xattrs, int64(0), fmt.Sprintf("%s %s ", content, own), ""
	if !e.Dir {
		h, n, err := l.r.FileHeader(e.File)
		if err != nil {
			return err
		}
		kind, mode, uid, gid, xs, size, sums = "-", h.Mode, h.UID, h.GID, h.Xattrs, n, e.File.String()+" "
		if h.IsSymlink() {
			kind, tail = "l", " -> "+h.Symlink
		}
	}
	if !l.checksum {
		sums = ""
	}
	attrs := ""
	if l.xattrs {
		attrs = "{ " + xattrsText(xs) + " } "
	}
	_, err := fmt.Fprintf(l.w, "%s%05o %d %d %6d %s%s%s%s\n", kind, mode&0o7777, uid, gid, size, sums, attrs, p, tail)
	return err
}

// xattrsText is a list of attributes in GVariant's text form.
func xattrsText(xs []ostree.Xattr) string {
	v, err := gvariant.Decode("a(ayay)", ostree.EncodeXattrs(xs))
	if err != nil {
		return err.Error()
	}
	return v.String()
}

func (v *repoVerbs) cat() *cobra.Command {
	return verb("cat COMMIT PATH...", "write files of a tree to standard output", "Symbolic links are followed within the tree.", cobra.MinimumNArgs(2),
		func(_ *cobra.Command, args []string) error {
			r, t, _, _, err := v.at(args[0])
			if err != nil {
				return err
			}
			for _, p := range args[1:] {
				if err := catFile(v.a.stdout, r, t, p); err != nil {
					return fmt.Errorf("cat %s: %w", p, err)
				}
			}
			return nil
		})
}

func catFile(w io.Writer, r *repo.Repo, t *tree.Tree, p string) error {
	c, err := r.FollowFile(t, p)
	if err != nil {
		return err
	}
	_, _, content, err := r.OpenVerified(c)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}

func (v *repoVerbs) log() *cobra.Command {
	var raw bool
	cmd := verb("log REF", "a commit and its parents", "As far as they are here.", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		c, err := r.Resolve(args[0])
		if err != nil {
			return err
		}
		for first := true; !c.IsZero(); first = false {
			if !first && !r.Has(ostree.TypeCommit, c) {
				fmt.Fprintln(v.a.stdout, "<< History beyond this commit not fetched >>")
				return nil
			}
			commit, err := r.Commit(c)
			if err != nil {
				return err
			}
			if raw {
				err = printRaw(v.a.stdout, c, commit)
			} else {
				printCommit(v.a.stdout, c, commit)
			}
			if err != nil {
				return err
			}
			c = commit.Parent
		}
		return nil
	})
	cmd.Flags().BoolVar(&raw, "raw", false, "show each commit as a value in GVariant's text form")
	return cmd
}

// printRaw prints a commit as `ostree log --raw` does.
func printRaw(w io.Writer, c ostree.Checksum, commit ostree.Commit) error {
	value, err := gvariant.Decode("(a{sv}aya(say)sstayay)", commit.Encode())
	if err == nil {
		_, err = fmt.Fprintf(w, "commit %s\n%s\n", c, value.ByteSwap())
	}
	return err
}

func (v *repoVerbs) revParse() *cobra.Command {
	var single bool
	cmd := verb("rev-parse REF...|--single", "the checksums that refs name", "REF^ is its parent.", cobra.ArbitraryArgs, func(_ *cobra.Command, args []string) error {
		if single == (len(args) > 0) {
			return usage("rev-parse: say a REF, or --single and none")
		}
		r, err := v.open()
		if err != nil {
			return err
		}
		if single {
			c, err := r.SingleCommit()
			if err != nil {
				return err
			}
			fmt.Fprintln(v.a.stdout, c)
			return nil
		}
		for _, name := range args {
			c, err := r.Resolve(name)
			if err != nil {
				return err
			}
			fmt.Fprintln(v.a.stdout, c)
		}
		return nil
	})
	cmd.Flags().BoolVarP(&single, "single", "S", false, "the repository's one commit; an error if there is another")
	return cmd
}
