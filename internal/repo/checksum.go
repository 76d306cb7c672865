// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// ChecksumPath returns the name that the file or symlink at path would have as an object; of a directory that of its dirmeta.
//
//	source  ostree src/libostree/ostree-core.c, ostree_checksum_file_at
func ChecksumPath(path string, ignoreXattrs bool) (ostree.Checksum, error) {
	c, err := checksumPath(path, ignoreXattrs)
	if err != nil {
		return c, fmt.Errorf("checksum %s: %w", path, err)
	}
	return c, nil
}

func checksumPath(path string, ignoreXattrs bool) (c ostree.Checksum, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return c, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		m := ostree.DirMeta{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
		if !ignoreXattrs {
			m.Xattrs, err = pathXattrs(path)
		}
		return m.Checksum(), err
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return c, err
	}
	defer unix.Close(dir)
	return hashAt(dir, filepath.Base(path), func(h *ostree.FileHeader) {
		if ignoreXattrs {
			h.Xattrs = nil
		}
	})
}
