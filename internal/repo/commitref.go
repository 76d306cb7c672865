// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// changes reports whether the options may make anything else of a file than what it is.
func (o *CommitTreeOptions) changes() bool {
	return o.UID != nil || o.GID != nil || o.NoXattrs || o.CanonicalPermissions || o.SkipXattr != nil || o.Xattrs != nil || o.Filter != nil
}

// CommitRef stages a tree that is in the repository with what the options make of it; the same tree if they change nothing.
func (r *Repo) CommitRef(ctx context.Context, tx *Tx, root tree.Root, o CommitTreeOptions) (tree.Root, error) {
	if r.mode == BareUserOnly {
		o.CanonicalPermissions = true
	}
	o.NoXattrs = o.NoXattrs || o.CanonicalPermissions || r.set.disableXattrs
	if !o.changes() {
		return root, nil
	}
	c := &refCommit{c: &committer{tx: tx, ctx: ctx, o: o}, seen: map[ostree.Checksum]ostree.Checksum{}}
	meta, _, err := c.meta("", root.Meta)
	if err != nil {
		return root, fmt.Errorf("commit ref: %w", err)
	}
	dir, err := c.dir("", root.Tree, 0)
	if err != nil {
		return root, fmt.Errorf("commit ref: %w", err)
	}
	return tree.Root{Tree: dir, Meta: meta}, nil
}

type refCommit struct {
	c *committer
	// seen remembers what became of a file, where that does not depend on its path.
	seen map[ostree.Checksum]ostree.Checksum
}

// meta stages what becomes of a directory's own metadata; false if the directory is left out.
func (c *refCommit) meta(path string, sum ostree.Checksum) (ostree.Checksum, bool, error) {
	m, err := c.c.tx.DirMeta(sum)
	if err != nil {
		return sum, false, err
	}
	st := unix.Stat_t{Uid: m.UID, Gid: m.GID, Mode: m.Mode}
	s, keep := c.c.stat(path, &st)
	if !keep {
		return sum, false, nil
	}
	xs, err := c.c.xattrs(path, s, func() ([]ostree.Xattr, error) { return slices.Clone(m.Xattrs), nil })
	if err != nil {
		return sum, false, fmt.Errorf("%s: %w", path, err)
	}
	sum, err = c.c.tx.PutDirMeta(ostree.DirMeta{UID: s.UID, GID: s.GID, Mode: s.Mode, Xattrs: xs})
	return sum, true, err
}

func (c *refCommit) dir(path string, sum ostree.Checksum, depth int) (ostree.Checksum, error) {
	if depth > maxDepth {
		return sum, fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt)
	}
	if err := c.c.ctx.Err(); err != nil {
		return sum, err
	}
	old, err := c.c.tx.DirTree(sum)
	if err != nil {
		return sum, err
	}
	var t ostree.DirTree
	for _, f := range old.Files {
		at := join(path, f.Name)
		if f.Checksum, err = c.file(at, f.Checksum); err != nil {
			return sum, fmt.Errorf("%s: %w", at, err)
		}
		if !f.Checksum.IsZero() {
			t.Files = append(t.Files, f)
		}
	}
	for _, d := range old.Dirs {
		at := join(path, d.Name)
		keep := false
		if d.Meta, keep, err = c.meta(at, d.Meta); err != nil {
			return sum, err
		}
		if !keep {
			continue
		}
		if d.Tree, err = c.dir(at, d.Tree, depth+1); err != nil {
			return sum, err
		}
		t.Dirs = append(t.Dirs, d)
	}
	return c.c.tx.PutDirTree(t)
}

// file stages what becomes of a file; zero if it is left out.
func (c *refCommit) file(path string, sum ostree.Checksum) (ostree.Checksum, error) {
	everywhere := c.c.o.Filter == nil && c.c.o.Xattrs == nil
	if got, ok := c.seen[sum]; ok && everywhere {
		return got, nil
	}
	h, size, content, err := c.c.tx.OpenVerified(sum)
	if err != nil {
		return sum, err
	}
	defer content.Close()
	st := unix.Stat_t{Uid: h.UID, Gid: h.GID, Mode: h.Mode, Size: size}
	s, keep := c.c.stat(path, &st)
	if !keep {
		return ostree.Checksum{}, nil
	}
	now := ostree.FileHeader{UID: s.UID, GID: s.GID, Mode: s.Mode, Symlink: h.Symlink}
	if now.Xattrs, err = c.c.xattrs(path, s, func() ([]ostree.Xattr, error) { return slices.Clone(h.Xattrs), nil }); err != nil {
		return sum, err
	}
	got := sum
	if !now.Equal(h) {
		if h.IsSymlink() {
			got, err = c.c.tx.PutFile(now, 0, nil)
		} else {
			got, err = c.c.tx.PutFile(now, size, content)
		}
	}
	if err == nil && everywhere {
		c.seen[sum] = got
	}
	return got, err
}

// SizesValue lists every object that a tree consists of with its size, compressed and not, as ostree.sizes has it. It is
// made for archive repositories only; elsewhere it is the zero Value. The compressed sizes are those of the compressor that
// made the objects, so they, and with them the commit's checksum, differ from libostree's where it was not libostree.
//
//	shape   aay: checksum, the two sizes as varints, type of object
//	source  ostree src/libostree/ostree-repo-commit.c, add_size_index_to_metadata
func (tx *Tx) SizesValue(root tree.Root) (gvariant.Value, error) {
	if tx.r.mode != Archive {
		return gvariant.Value{}, nil
	}
	var list []object
	w := &reach{r: tx.r, source: tx, seen: map[object]bool{}, missing: func(_, _ object, err error) error { return err }}
	if err := w.commit(ostree.Checksum{}, ostree.Commit{Tree: root.Tree, Meta: root.Meta}); err != nil {
		return gvariant.Value{}, err
	}
	for o := range w.seen {
		list = append(list, o)
	}
	slices.SortFunc(list, byName)
	items := make([][]byte, 0, len(list))
	for _, o := range list {
		archived, unpacked := int64(0), int64(0)
		if tx.isStaged(o) {
			var st unix.Stat_t
			if err := unix.Fstatat(tx.stage.fd, stagedName(o), &st, 0); err != nil {
				return gvariant.Value{}, fmt.Errorf("object %s: %w", o, err)
			}
			archived = st.Size
		} else {
			archived = tx.r.storedSize(o)
		}
		unpacked = archived
		if o.t == ostree.TypeFile {
			h, size, err := tx.FileHeader(o.c)
			if err != nil {
				return gvariant.Value{}, err
			}
			if unpacked = size; h.IsSymlink() {
				unpacked = int64(len(h.Symlink))
			}
		}
		item := append([]byte(nil), o.c[:]...)
		item = binary.AppendUvarint(item, uint64(archived))
		item = binary.AppendUvarint(item, uint64(unpacked))
		items = append(items, append(item, byte(o.t)))
	}
	return gvariant.ByteArrays(items), nil
}
