// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// FileOpener is where files come from: a Repo, or a Tx that has staged some.
type FileOpener interface {
	OpenFile(c ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error)
}

// WithoutXattrs leaves those changes that are not of extended attributes alone. Files come from src.
func WithoutXattrs(src FileOpener, changes []tree.Change) ([]tree.Change, error) {
	var kept []tree.Change
	for _, c := range changes {
		same := false
		switch {
		case c.Kind == tree.MetaChanged:
			a, b := c.Old.Meta, c.New.Meta
			a.Xattrs, b.Xattrs = nil, nil
			same = a.Equal(b)
		case c.Kind == tree.Modified && !c.Old.Dir && !c.New.Dir:
			a, err := sumWithoutXattrs(src, c.Old.File)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Path, err)
			}
			b, err := sumWithoutXattrs(src, c.New.File)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Path, err)
			}
			same = a == b
		}
		if !same {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

func sumWithoutXattrs(src FileOpener, c ostree.Checksum) (ostree.Checksum, error) {
	h, _, content, err := src.OpenFile(c)
	if err != nil {
		return c, err
	}
	defer content.Close()
	h.Xattrs = nil
	sum, _, err := h.Sum(content)
	return sum, err
}

// Common says what two commits share.
type Common struct {
	A, B, Both int   // objects of each, and of both
	SizeBytes  int64 // of the files that hold what is in both
}

// Compare counts the objects of two commits, without their parents.
//
//	source  ostree src/ostree/ot-builtin-diff.c
func (r *Repo) Compare(ctx context.Context, a, b ostree.Checksum) (Common, error) {
	var c Common
	inA := map[object]bool{}
	if err := r.Reach(ctx, []ostree.Checksum{a}, func(t ostree.ObjectType, s ostree.Checksum) { inA[object{t, s}] = true }); err != nil {
		return c, err
	}
	c.A = len(inA)
	err := r.Reach(ctx, []ostree.Checksum{b}, func(t ostree.ObjectType, s ostree.Checksum) {
		c.B++
		if o := (object{t, s}); inA[o] {
			c.Both++
			c.SizeBytes += r.storedSize(o)
		}
	})
	return c, err
}

// storedSize is the length of the file that holds an object, in bytes; 0 if there is none.
func (r *Repo) storedSize(o object) int64 {
	p, err := r.locate(o)
	if err != nil {
		return 0
	}
	var st unix.Stat_t
	if unix.Fstatat(p.objdir(), p.objectPath(o), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Size
}
