// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// copy lays out a file with an inode of its own.
func (c *checkout) copy(dir int, path, name string, sum ostree.Checksum) error {
	open := c.r.OpenFile
	if c.r.mode == Archive { // what passes through our hands anyway is verified
		open = c.r.OpenVerified
	}
	h, size, content, err := open(sum)
	if err != nil {
		return err
	}
	defer content.Close()
	if c.o.Xattrs != nil {
		h.Xattrs = c.o.Xattrs(path, h.Mode, h.Xattrs)
	}
	if h.IsSymlink() {
		return c.symlink(dir, name, h)
	}
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err = pour(fd, content, size); err == nil {
		err = c.dressFile(fd, h)
	}
	return errors.Join(err, unix.Close(fd))
}

// pour copies content to fd: by sharing blocks or within the kernel where it comes from a plain file.
func pour(fd int, content io.Reader, size int64) error {
	if s, ok := content.(*sized); ok {
		if in, ok := s.r.(*fdReader); ok && size > 0 {
			if unix.IoctlFileClone(fd, in.fd) == nil {
				return nil
			}
			if done, err := copyRange(fd, in.fd, size); done || err != nil {
				return err
			}
		}
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{fdSink(fd)}, struct{ io.Reader }{content}, make([]byte, min(max(size, 512), 1<<20)))
	return err
}

// copyRange copies size bytes with copy_file_range; false, with nothing copied, where that does not work.
func copyRange(to, from int, size int64) (bool, error) {
	for left := size; left > 0; {
		n, err := unix.CopyFileRange(from, nil, to, nil, int(min(left, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && left == size:
			return false, nil
		case err != nil:
			return false, err
		case n == 0 && left == size: // some file systems answer so instead of with an error
			return false, nil
		case n == 0:
			return false, fmt.Errorf("content is %d bytes shorter than its size: %w", left, ostree.ErrCorrupt)
		}
		left -= int64(n)
	}
	return true, nil
}

type fdSink int

func (f fdSink) Write(p []byte) (int, error) { return len(p), writeAll(int(f), p) }

// dressFile gives a file of its own the owner, xattrs, mode and time.
func (c *checkout) dressFile(fd int, h ostree.FileHeader) error {
	mode := h.Mode & ostree.ModePerm
	if c.o.UserMode {
		mode = mode&^(unix.S_ISUID|unix.S_ISGID) | unix.S_IRUSR // the owner must be able to read it
	} else if c.r.mode != BareUserOnly {
		if err := unix.Fchown(fd, int(h.UID), int(h.GID)); err != nil {
			return fmt.Errorf("set owner %d:%d: %w", h.UID, h.GID, err)
		}
		if err := setFDXattrs(fd, h.Xattrs); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	return zeroTime(fd)
}

func (c *checkout) symlink(dir int, name string, h ostree.FileHeader) error {
	if err := unix.Symlinkat(h.Symlink, dir, name); err != nil {
		return err
	}
	if c.o.UserMode || c.r.mode == BareUserOnly {
		return nil
	}
	if err := unix.Fchownat(dir, name, int(h.UID), int(h.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", h.UID, h.GID, err)
	}
	return setLinkXattrs(dir, name, h.Xattrs)
}

// hashAt returns the name that the file or symlink dir/name would have as an object. change, if not nil, may alter the
// header before.
func hashAt(dir int, name string, change func(*ostree.FileHeader)) (ostree.Checksum, error) {
	h, fd, err := headerAt(dir, name)
	if err != nil {
		return ostree.Checksum{}, err
	}
	if change != nil {
		change(&h)
	}
	if fd < 0 {
		c, _, err := h.Sum(nil)
		return c, err
	}
	defer unix.Close(fd)
	c, _, err := h.Sum(&fdReader{fd})
	return c, err
}

// headerAt reads everything about the file or symlink dir/name but its content; fd is open for that, or -1 for a
// symlink.
func headerAt(dir int, name string) (h ostree.FileHeader, fd int, err error) {
	fd, err = openAt(dir, name)
	var st unix.Stat_t
	if err == unix.ELOOP {
		if err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return h, -1, err
		}
		h = ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
		if h.Symlink, err = readlinkAt(dir, name); err == nil {
			h.Xattrs, err = linkXattrs(dir, name)
		}
		return h, -1, err
	}
	if err != nil {
		return h, -1, err
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("mode %#o is neither regular file nor symlink", st.Mode)
	}
	if err == nil {
		h = ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
		h.Xattrs, err = fdXattrs(fd)
	}
	if err != nil {
		unix.Close(fd)
		return h, -1, err
	}
	h.Xattrs = dropEmpty(h.Xattrs)
	return h, fd, nil
}
