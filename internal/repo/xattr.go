// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// xattrTarget reads and writes the xattrs of one file, open or by path.
type xattrTarget struct {
	list func([]byte) (int, error)
	get  func(string, []byte) (int, error)
}

// fdXattrs reads all xattrs of an open file, sorted by name.
func fdXattrs(fd int) ([]ostree.Xattr, error) {
	// nearly all files have none: one call, nothing allocated
	var probe [0]byte
	n, err := unix.Flistxattr(fd, probe[:])
	if n == 0 || err == unix.ENOTSUP {
		return nil, nil
	}
	return readXattrs(xattrTarget{
		list: func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) },
	})
}

// linkXattrs reads all xattrs of dir/name itself, not followed.
func linkXattrs(dir int, name string) ([]ostree.Xattr, error) {
	return pathXattrs(procPath(dir, name))
}

// procPath is dir/name for calls that know no directory descriptors.
func procPath(dir int, name string) string { return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name }

func readXattrs(t xattrTarget) ([]ostree.Xattr, error) {
	names, err := grow(t.list)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	var list []ostree.Xattr
	for _, name := range strings.FieldsFunc(string(names), func(r rune) bool { return r == 0 }) {
		value, err := grow(func(b []byte) (int, error) { return t.get(name, b) })
		if err == unix.ENODATA { // gone meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read xattr %s: %w", name, err)
		}
		list = append(list, ostree.Xattr{Name: name, Value: value})
	}
	slices.SortFunc(list, func(a, b ostree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// grow calls read with a larger buffer until the answer fits.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := read(buf)
		if err == unix.ERANGE && size <= 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n:n], nil
	}
}

// fdXattr reads one xattr of an open file.
func fdXattr(fd int, name string) ([]byte, error) {
	return grow(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
}

// setFDXattrs gives an open file xattrs.
func setFDXattrs(fd int, xs []ostree.Xattr) error {
	for _, x := range xs {
		if err := unix.Fsetxattr(fd, x.Name, x.Value, 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", x.Name, err)
		}
	}
	return nil
}

// setLinkXattrs gives dir/name itself xattrs.
func setLinkXattrs(dir int, name string, xs []ostree.Xattr) error {
	for _, x := range xs {
		if err := unix.Lsetxattr(procPath(dir, name), x.Name, x.Value, 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", x.Name, err)
		}
	}
	return nil
}

// dropEmpty leaves out xattrs without a value: libostree does not see them, and the same tree is to have the same
// checksum.
//
//	source  libglnx glnx-xattrs.c, read_xattr_name_array
func dropEmpty(xs []ostree.Xattr) []ostree.Xattr {
	return slices.DeleteFunc(xs, func(x ostree.Xattr) bool { return len(x.Value) == 0 })
}
