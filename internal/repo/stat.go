// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// StatFile is FileHeader without opening the file, where the repository keeps files as they are (mode bare): two calls of
// the kernel for each instead of four.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) StatFile(c ostree.Checksum) (ostree.FileHeader, int64, error) {
	if r.mode != Bare || r.flat {
		return r.FileHeader(c)
	}
	path := r.ObjectPath(ostree.TypeFile, c)
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case err == unix.ENOENT && r.parent != nil:
		return r.parent.StatFile(c)
	case err == unix.ENOENT:
		return ostree.FileHeader{}, 0, fmt.Errorf("file %s: %w", c, ErrNotFound)
	case err != nil:
		return ostree.FileHeader{}, 0, fmt.Errorf("file %s: %w", c, err)
	}
	h := ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	size := st.Size
	if h.IsSymlink() {
		size = 0
		if h.Symlink, err = readlinkAt(unix.AT_FDCWD, path); err != nil {
			return h, 0, fmt.Errorf("file %s: %w", c, err)
		}
	}
	if h.Xattrs, err = pathXattrs(path); err != nil {
		return h, 0, fmt.Errorf("file %s: %w", c, err)
	}
	if err := h.Check(); err != nil {
		return h, 0, fmt.Errorf("file %s: %w: %w", c, err, ostree.ErrCorrupt)
	}
	return h, size, nil
}

// pathXattrs reads all xattrs of the file itself, sorted by name.
func pathXattrs(path string) ([]ostree.Xattr, error) {
	var probe [0]byte
	n, err := unix.Llistxattr(path, probe[:])
	if n == 0 && err == nil || err == unix.ENOTSUP {
		return nil, nil
	}
	return readXattrs(xattrTarget{
		list: func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) },
	})
}

// ObjectDirs are the folders in which a mount finds the files of this repository and its parents by ostree.ObjectPath.
//
//	errors  a repository of another mode than bare has no such files
func (r *Repo) ObjectDirs() ([]string, error) {
	var out []string
	for p := r; p != nil; p = p.parent {
		if p.mode != Bare {
			return nil, fmt.Errorf("repository %s has mode %s, which keeps files otherwise than a tree has them", p.path, p.mode)
		}
		out = append(out, p.path+"/objects")
	}
	return out, nil
}
