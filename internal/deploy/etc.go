// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// Report says what Finish did with /etc and /var. Paths are relative to those, sorted.
type Report struct {
	EtcKept      []string // changed here, the default stayed as it was
	EtcTaken     []string // not changed here, the default changed
	EtcGone      []string // not changed here, and there is no default any more
	EtcConflicts []string // changed here and in the default: what is here stays
	EtcRemoved   []string // removed here, and so from the new default
	EtcMerged    []string // account files merged by entry
	EtcNotes     []string // what a person should know of merged account files
	VarFilled    []string // what /var lacked
}

// ChangeKind is the kind of a change in /etc.
type ChangeKind uint8

const (
	Added ChangeKind = iota
	Removed
	Modified
)

func (k ChangeKind) String() string { return [...]string{"added", "removed", "modified"}[k] }

// Change is one local change in /etc against the deployment's defaults.
type Change struct {
	Path string // relative to /etc
	Kind ChangeKind
}

// threeEtc are the three sides of a merge, each open and listed.
type threeEtc struct {
	old, local, new listing
	oldFiles        files
	localDir, next  dir // next is the new etc, already a copy of the new default
}

// sameNode tells whether two entries are equal by what OSTree compares: kind, mode, owner, link, content.
func sameNode(p string, a, b node, da, db opener) (bool, error) {
	if a.kind != b.kind || a.mode != b.mode && a.kind != kindLink || a.uid != b.uid || a.gid != b.gid || a.link != b.link {
		return false, nil
	}
	if a.kind != kindFile || a.dev == b.dev && a.ino == b.ino {
		return true, nil
	}
	if a.size != b.size {
		return false, nil
	}
	fa, err := da.openPath(p)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := db.openPath(p)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	return sameContent(fa, fb, a.size)
}

// sameContent compares what both give; size is what is expected.
func sameContent(a, b io.Reader, size int64) (bool, error) {
	n := min(size+1, 32<<10) // one more, so that the end comes with the first read
	ba, bb := make([]byte, n), make([]byte, n)
	for {
		na, ea := io.ReadFull(a, ba)
		nb, eb := io.ReadFull(b, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return false, nil
		}
		endA, endB := errors.Is(ea, io.EOF) || errors.Is(ea, io.ErrUnexpectedEOF), errors.Is(eb, io.EOF) || errors.Is(eb, io.ErrUnexpectedEOF)
		switch {
		case ea != nil && !endA:
			return false, ea
		case eb != nil && !endB:
			return false, eb
		case endA || endB:
			return endA == endB, nil
		}
	}
}

// EtcDiff returns what was changed in a deployment's /etc against its defaults, sorted by path. What is below an
// added or removed directory is not listed by itself.
func (s *Store) EtcDiff(d Deployment) ([]Change, error) {
	a, defaults, err := s.defaultsOf(d)
	if err != nil {
		return nil, err
	}
	defer defaults.Close()
	local, err := openDir(filepath.Join(d.Root(), "etc"))
	if err != nil {
		return nil, err
	}
	defer local.Close()
	b, err := list(local)
	if err != nil {
		return nil, err
	}
	fl := &finder{dir: local}
	defer fl.close()
	var out []Change
	for _, p := range paths(a, b) {
		from, had := a[p]
		to, has := b[p]
		parent := path.Dir(p)
		switch {
		case !has:
			if _, ok := b[parent]; ok || parent == "." {
				out = append(out, Change{p, Removed})
			}
		case to.kind == kindOther:
		case !had:
			if _, ok := a[parent]; ok || parent == "." {
				out = append(out, Change{p, Added})
			}
		default:
			same, err := sameNode(p, from, to, defaults, fl)
			if err != nil {
				return nil, err
			}
			if !same {
				out = append(out, Change{p, Modified})
			}
		}
	}
	return out, nil
}

// paths is the sorted union of the listings' paths; a directory comes before what it holds.
func paths(ls ...listing) []string {
	seen := map[string]bool{}
	var out []string
	for _, l := range ls {
		for p := range l {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return strings.ReplaceAll(out[i], "/", "\x00") < strings.ReplaceAll(out[j], "/", "\x00")
	})
	return out
}

// defaultsOfEtc sees to it that the defaults of a checked-out tree lie in /usr/etc. As ostree does it: a tree that has
// only /etc has its defaults there. Without any, /etc holds what was local.
func defaultsOfEtc(root string) error {
	defaults := filepath.Join(root, "usr", "etc")
	if _, err := os.Lstat(defaults); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "usr"), 0o755); err != nil {
		return err
	}
	err := durable.RenameNoSync(filepath.Join(root, "etc"), defaults)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Mkdir(defaults, 0o755)
	}
	return err
}

// makeEtc makes root/etc: a copy of the commit's /usr/etc, with the local changes of the deployment before merged in.
func (s *Store) makeEtc(ctx context.Context, commit ostree.Checksum, root string, from *Deployment, r *Report) error {
	top, err := openDir(root)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := emptyEtc(top); err != nil {
		return err
	}
	if err := s.copyDefaults(ctx, commit, top); err != nil {
		return fmt.Errorf("copy defaults of /etc: %w", err)
	}
	if from == nil {
		return nil
	}
	return s.mergeEtc(top, from, r)
}

// copyDefaults makes etc in top: the commit's defaults, or an empty folder where it has none.
func (s *Store) copyDefaults(ctx context.Context, commit ostree.Checksum, top dir) error {
	t, c, err := s.repo.Tree(commit)
	if err != nil {
		return err
	}
	at, err := placeOfDefaults(t)
	if err != nil {
		return err
	}
	if at == "" {
		d, err := s.copier().directory(nil, top, "etc", node{mode: 0o755})
		d.Close()
		return err
	}
	return s.repo.Checkout(ctx, tree.Root{Tree: c.Tree, Meta: c.Meta}, filepath.Join(top.name, "etc"),
		repo.CheckoutOptions{Copy: true, NoSync: true, UserMode: !s.copier().owners, Subpath: "/" + at})
}

// placeOfDefaults is where a commit's tree has its defaults of /etc, as ostree takes it: usr/etc, or etc, or "" where
// there are none.
func placeOfDefaults(t *tree.Tree) (string, error) {
	for _, at := range []string{"usr/etc", "etc"} {
		if e, ok, err := t.Lookup(at); err != nil || ok && e.Dir {
			return at, err
		}
	}
	return "", nil
}

// emptyEtc makes way for /etc: a tree may bring an empty folder of that name, but not both /etc and /usr/etc filled.
func emptyEtc(top dir) error {
	etc, err := top.sub("etc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the tree has an /etc that is no folder: %w", err)
	}
	names, err := etc.names()
	etc.Close()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("the tree has both /etc (with %s) and /usr/etc", names[0])
	}
	return removeAt(top, "etc")
}

// mergeEtc applies what changed locally in the deployment from to the new etc in top, which holds the new defaults.
func (s *Store) mergeEtc(top dir, from *Deployment, r *Report) (err error) {
	var t threeEtc
	if t.next, err = top.sub("etc"); err != nil {
		return err
	}
	defer t.next.Close()
	if t.localDir, err = openDir(filepath.Join(from.Root(), "etc")); err != nil {
		return err
	}
	defer t.localDir.Close()
	if t.old, t.oldFiles, err = s.defaultsOf(*from); err != nil {
		return err
	}
	defer t.oldFiles.Close()
	if t.local, err = list(t.localDir); err != nil {
		return err
	}
	if t.new, err = list(t.next); err != nil {
		return err
	}
	steps, err := planEtc(t, r)
	if err != nil {
		return err
	}
	c := s.copier()
	if err := c.mergeAccounts(t, r); err != nil {
		return fmt.Errorf("merge accounts: %w", err)
	}
	for _, step := range steps {
		if err := c.apply(t, step); err != nil {
			return fmt.Errorf("merge etc/%s: %w", step.path, err)
		}
	}
	return nil
}
