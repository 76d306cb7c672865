// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// Layers of containers say by the names of files what of the layers below is gone.
//
//	source  ostree src/libostree/ostree-repo-checkout.c
const (
	whiteoutPrefix    = ".wh."         // .wh.NAME: NAME is gone
	opaqueWhiteout    = ".wh..wh..opq" // what the directory held is gone
	quotedWhiteout    = ".ostree-wh."  // .ostree-wh.NAME: NAME is an overlayfs whiteout
	whiteoutDevice    = 0              // its device number
	maxWhiteoutTrials = 2
)

// removeAt deletes name in the open directory dir with all below it. Nothing is no error.
func removeAt(dir int, name string) error {
	if err := ostree.CheckName(name); err != nil {
		return err
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}

// clearOpaque empties the place of a directory that hides what was there.
func (c *checkout) clearOpaque(parent int, name string, t ostree.DirTree) error {
	if !c.o.Whiteouts {
		return nil
	}
	for _, f := range t.Files {
		if f.Name == opaqueWhiteout {
			return removeAt(parent, name)
		}
	}
	return nil
}

// whiteout does what the name of a file asks for; false if it is a file like others.
func (c *checkout) whiteout(dir int, f ostree.TreeFile) (bool, error) {
	plain, isPlain := strings.CutPrefix(f.Name, whiteoutPrefix)
	quoted, isQuoted := strings.CutPrefix(f.Name, quotedWhiteout)
	isPlain, isQuoted = isPlain && c.o.Whiteouts, isQuoted && c.o.PassthroughWhiteouts
	if !isPlain && !isQuoted {
		return false, nil
	}
	h, _, err := c.r.FileHeader(f.Checksum)
	if err != nil || h.IsSymlink() {
		return false, err
	}
	if isPlain {
		if plain == "" {
			return true, fmt.Errorf("a whiteout of nothing")
		}
		return true, removeAt(dir, plain)
	}
	if quoted == "" {
		return true, fmt.Errorf("an overlayfs whiteout of nothing")
	}
	return true, c.makeWhiteout(dir, quoted, h)
}

// makeWhiteout makes the device that overlayfs takes for a whiteout.
func (c *checkout) makeWhiteout(dir int, name string, h ostree.FileHeader) error {
	mode := h.Mode & ostree.ModePerm
	for trial := 1; ; trial++ {
		err := unix.Mknodat(dir, name, unix.S_IFCHR|mode, whiteoutDevice)
		if err == nil {
			break
		}
		switch {
		case err == unix.EEXIST && c.o.Union == UnionAdd:
			return nil
		case err == unix.EEXIST && c.o.Union == UnionOverwrite && trial < maxWhiteoutTrials:
			if err := unix.Unlinkat(dir, name, 0); err != nil {
				return err
			}
		case err == unix.EEXIST && c.o.Union == UnionIdentical:
			return c.sameWhiteout(dir, name, h)
		default:
			return fmt.Errorf("make overlayfs whiteout: %w", err)
		}
	}
	if c.o.UserMode {
		return nil
	}
	if err := setLinkXattrs(dir, name, h.Xattrs); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, int(h.UID), int(h.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", h.UID, h.GID, err)
	}
	return unix.Fchmodat(dir, name, mode, 0)
}

// sameWhiteout fails unless what is there is the same whiteout.
func (c *checkout) sameWhiteout(dir int, name string, h ostree.FileHeader) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	same := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == whiteoutDevice
	if !c.o.UserMode {
		same = same && st.Uid == h.UID && st.Gid == h.GID && st.Mode&ostree.ModePerm == h.Mode&ostree.ModePerm
	}
	if !same {
		return fmt.Errorf("is something else than the checkout's whiteout: %w", unix.EEXIST)
	}
	return nil
}
