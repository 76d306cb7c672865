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

	json   bool
	listed []entryJSON
}

// entryJSON is what a tree has at a path, as --json shows it.
type entryJSON struct {
	Path   string            `json:"path"`
	Kind   string            `json:"kind"` // file, dir, symlink
	Mode   string            `json:"mode"` // such as 0755
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Bytes  int64             `json:"bytes"`
	Target string            `json:"target,omitempty"` // of a symlink
	Sum    string            `json:"checksum"`         // of a file's object, of a directory's dirtree
	Meta   string            `json:"meta,omitempty"`   // of a directory's dirmeta
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // values in base64
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
			l.r, l.w, l.json, l.listed = r, bufio.NewWriter(v.a.stdout), v.a.json, []entryJSON{}
			for _, p := range paths {
				if err := l.argument(t, strings.Trim(path.Clean("/"+p), "/")); err != nil {
					return fmt.Errorf("ls %s: %w", p, err)
				}
			}
			if !v.a.json {
				return l.w.Flush()
			}
			return v.a.show(l.listed, nil)
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
	if l.nul && !l.json {
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
	if l.json {
		l.listed = append(l.listed, entryOf(p, kind, mode, uid, gid, size, strings.TrimPrefix(tail, " -> "), strings.Fields(sums), xs))
		return nil
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

// entryOf makes of a line's parts what --json shows; sums are one of a file, two of a directory.
func entryOf(p, kind string, mode, uid, gid uint32, size int64, target string, sums []string, xs []ostree.Xattr) entryJSON {
	e := entryJSON{Path: p, Kind: map[string]string{"-": "file", "d": "dir", "l": "symlink"}[kind], Mode: fmt.Sprintf("%04o", mode&0o7777),
		UID: uid, GID: gid, Bytes: size, Target: target, Sum: sums[0]}
	if len(sums) > 1 {
		e.Meta = sums[1]
	}
	for _, x := range xs {
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[x.Name] = x.Value
	}
	return e
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
		list := []logJSON{}
		for first := true; !c.IsZero(); first = false {
			if !first && !r.Has(ostree.TypeCommit, c) {
				if !v.a.json {
					fmt.Fprintln(v.a.stdout, "<< History beyond this commit not fetched >>")
				}
				break
			}
			commit, err := r.Commit(c)
			if err != nil {
				return err
			}
			switch {
			case v.a.json:
				list = append(list, logJSON{showJSON: commitJSON(c, commit, nil)})
			case raw:
				err = printRaw(v.a.stdout, c, commit)
			default:
				printCommit(v.a.stdout, c, commit)
			}
			if err != nil {
				return err
			}
			c = commit.Parent
		}
		return v.a.show(list, func() {})
	})
	cmd.Flags().BoolVar(&raw, "raw", false, "show each commit as a value in GVariant's text form")
	return cmd
}

// logJSON is a commit as `repo log --json` lists it: as show does, without looking who signed it.
type logJSON struct {
	showJSON
	Signatures *struct{} `json:"signatures,omitempty"`
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
			return v.a.show([]refJSON{{Commit: c.String()}}, func() { fmt.Fprintln(v.a.stdout, c) })
		}
		list := []refJSON{}
		for _, name := range args {
			c, err := r.Resolve(name)
			if err != nil {
				return err
			}
			if list = append(list, refJSON{Ref: name, Commit: c.String()}); !v.a.json {
				fmt.Fprintln(v.a.stdout, c)
			}
		}
		return v.a.show(list, func() {})
	})
	cmd.Flags().BoolVarP(&single, "single", "S", false, "the repository's one commit; an error if there is another")
	return cmd
}
