// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// ImportObject stages an object of another repository: by a hard link where both have the same mode and lie on one
// file system, else by copying or converting, and then its checksum is verified.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (tx *Tx) ImportObject(src *Repo, t ostree.ObjectType, c ostree.Checksum) error {
	return tx.importObject(src, object{t, c}, ImportOptions{})
}

// ImportOptions say how ImportObjectWith treats the other repository.
type ImportOptions struct {
	Verify bool // make no hard links, and hold everything against its name
	// Check, if not nil, is asked about the header of each file before it is stored.
	Check func(h ostree.FileHeader) error
}

// ImportObjectWith is ImportObject with options.
func (tx *Tx) ImportObjectWith(src *Repo, t ostree.ObjectType, c ostree.Checksum, o ImportOptions) error {
	return tx.importObject(src, object{t, c}, o)
}

func (tx *Tx) importObject(src *Repo, o object, opt ImportOptions) error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	from, err := src.locate(o)
	if err != nil {
		return err
	}
	if opt.Check != nil && o.t == ostree.TypeFile {
		h, _, err := from.FileHeader(o.c)
		if err == nil {
			err = opt.Check(h)
		}
		if err != nil {
			return fmt.Errorf("object %s: %w", o, err)
		}
	}
	if !opt.Verify && (o.t.IsMeta() || from.mode == tx.r.mode) {
		if done, err := tx.link(from, o); done || err != nil {
			return err
		}
	}
	if o.t != ostree.TypeFile {
		data, err := from.Metadata(o.t, o.c)
		if err != nil {
			return err
		}
		return tx.putMetadata(o, data)
	}
	if tx.has(o) {
		return nil
	}
	if from.mode == Archive {
		fd, _, err := from.openRegular(o)
		if err != nil {
			return err
		}
		in := &fdReader{fd}
		return errors.Join(tx.PutPacked(o.c, in, nil), in.Close())
	}
	h, size, content, err := from.OpenFile(o.c)
	if err != nil {
		return err
	}
	return errors.Join(tx.PutFileAs(o.c, h, size, content), content.Close())
}

// has reports whether o needs not be written: it is staged or in the repository itself.
func (tx *Tx) has(o object) bool {
	tx.mu.Lock()
	s := tx.objects[o]
	tx.mu.Unlock()
	return s == staged || s == present || s == 0 && tx.r.hasLocal(o)
}

// link stages o as a hard link; false if that is not possible here.
func (tx *Tx) link(from *Repo, o object) (bool, error) {
	mine, err := tx.claim(o)
	if !mine || err != nil {
		return true, err
	}
	// a link to anything but a regular file (or a symlink object) would be taken over with its damage
	var st unix.Stat_t
	name := from.objectPath(o)
	err = unix.Fstatat(from.objdir(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK && o.t == ostree.TypeFile && from.mode != BareUser && from.mode != Archive
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG && !isLink {
		err = fmt.Errorf("mode %#o is no regular file's: %w", st.Mode, ostree.ErrCorrupt)
	}
	if err == nil {
		err = unix.Linkat(from.objdir(), name, tx.stage.fd, stagedName(o), 0)
		if err == unix.EXDEV || err == unix.EPERM || err == unix.EMLINK || err == unix.EACCES {
			tx.mark(o, 0)
			return false, nil
		}
	}
	if err = tx.settle(o, err); err != nil || o.t != ostree.TypeFile || tx.r.mode != BareSplitXattrs {
		return true, err
	}
	xs, err := from.splitXattrs(o.c)
	if err == nil {
		err = tx.putSplitXattrs(o.c, xs)
	}
	return true, err
}
