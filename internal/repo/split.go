// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// In mode bare-split-xattrs a file object is a file with its owner and mode but without xattrs. They are in an object
// of their own, file-xattrs, named by its bytes; file-xattrs-link, a hard link to it, is named as the file object is.
// A file object without that link is not there.
//
//	source  ostree src/libostree/ostree-repo.c, _ostree_repo_read_xattrs_file_link

// splitXattrs reads the xattrs of a file object.
//
//	errors  ostree.ErrCorrupt, also if they are missing
func (r *Repo) splitXattrs(c ostree.Checksum) ([]ostree.Xattr, error) {
	p := &Repo{path: r.path, mode: r.mode, objects: r.objects, flat: r.flat} // they lie where the file lies, in no parent
	data, err := p.raw(object{ostree.TypeFileXattrsLink, c})
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("its xattrs (%s) are missing: %w", ostree.TypeFileXattrsLink, ostree.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return ostree.ParseXattrs(data)
}

// splitPlain reports whether a file object has no xattrs, so that a hard link to it is the file.
func (r *Repo) splitPlain(c ostree.Checksum) bool {
	var st unix.Stat_t
	err := unix.Fstatat(r.objdir(), r.objectPath(object{ostree.TypeFileXattrsLink, c}), &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Size == 0
}

// putSplitXattrs stages the xattrs of the file object c.
func (tx *Tx) putSplitXattrs(c ostree.Checksum, xs []ostree.Xattr) error {
	tx.splitMu.Lock()
	defer tx.splitMu.Unlock()
	data := ostree.EncodeXattrs(xs)
	so, lo := object{ostree.TypeFileXattrs, ostree.SumBytes(data)}, object{ostree.TypeFileXattrsLink, c}
	if err := tx.putMetadata(so, data); err != nil {
		return err
	}
	mine, err := tx.claim(lo)
	if !mine {
		return err
	}
	if err == nil {
		err = tx.linkSplit(so, lo)
		if err == unix.EMLINK {
			err = tx.writePlain(stagedName(lo), data)
		}
	}
	return tx.settle(lo, err)
}

// linkSplit stages lo as a hard link to so, which is staged or in the repository.
func (tx *Tx) linkSplit(so, lo object) error {
	if tx.isStaged(so) {
		return unix.Linkat(tx.stage.fd, stagedName(so), tx.stage.fd, stagedName(lo), 0)
	}
	return unix.Linkat(tx.r.objdir(), tx.r.objectPath(so), tx.stage.fd, stagedName(lo), 0)
}

// parts are an object and what belongs to it, which of a file object in mode bare-split-xattrs are its xattrs: which of
// the two is damaged can not be told.
func (r *Repo) parts(o object) []object {
	if r.mode == BareSplitXattrs && o.t == ostree.TypeFile {
		return []object{o, {ostree.TypeFileXattrsLink, o.c}}
	}
	return []object{o}
}
