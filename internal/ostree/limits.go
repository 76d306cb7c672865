// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits on what is read. Bytes from outside are held against them before anything is allocated.
const (
	// MaxMetadataSizeBytes is the largest metadata object; libostree has the same limit.
	MaxMetadataSizeBytes = 128 << 20
	// MaxFileHeaderSizeBytes is the largest header of a file object. Linux allows 64 KiB of xattr names and 64 KiB for
	// each value, and file systems far less.
	MaxFileHeaderSizeBytes = 4 << 20
	// MaxNameLen is the longest name of a directory entry in bytes (Linux NAME_MAX).
	MaxNameLen = 255
	// MaxSymlinkLen is the longest target of a symlink in bytes (Linux PATH_MAX without the NUL).
	MaxSymlinkLen = 4095
	// MaxXattrs is how many xattrs one file may have: more names do not fit into Linux's 64 KiB list.
	MaxXattrs = 1 << 14
	// MaxXattrNameLen is the longest name of an xattr in bytes (Linux XATTR_NAME_MAX).
	MaxXattrNameLen = 255
	// MaxRefLen is the longest name of a ref in bytes: it is a path below refs/.
	MaxRefLen = 1024
)

// File type and permission bits of a mode, as in stat(2).
const (
	ModeType    = 0o170000
	ModePerm    = 0o007777
	ModeRegular = 0o100000
	ModeDir     = 0o040000
	ModeSymlink = 0o120000

	// DefaultDirMode is the mode of a directory that nobody described: rwxr-xr-x.
	DefaultDirMode = ModeDir | 0o755
	// DefaultFileMode is the mode of a file that nobody described: rw-r--r--.
	DefaultFileMode = ModeRegular | 0o644
	// SymlinkMode is the mode of every symlink.
	SymlinkMode = ModeSymlink | 0o777
)

// CheckName fails unless name can be an entry of a directory: UTF-8, not empty, at most MaxNameLen bytes, not "." or
// "..", without slash and NUL.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty")
	case len(name) > MaxNameLen:
		return fmt.Errorf("name %.40q… has %d bytes, at most %d allowed", name, len(name), MaxNameLen)
	case name == "." || name == "..":
		return fmt.Errorf("name %q is reserved", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("name %q has a slash", name)
	case strings.Contains(name, "\x00"):
		return fmt.Errorf("name %q has a NUL", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	return nil
}

// Xattr is one extended attribute. Name is without NUL.
type Xattr struct {
	Name  string
	Value []byte
}

// SortXattrs returns a copy of xs in the order of their names' bytes, which is how new objects are to be written.
//
// The encoders keep the order that they are given: libostree before 2024 wrote xattrs in the order in which the file
// system listed them, and such objects must keep their checksum.
func SortXattrs(xs []Xattr) []Xattr {
	if len(xs) == 0 {
		return nil
	}
	out := slices.Clone(xs)
	slices.SortStableFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// EqualXattrs reports whether both lists hold the same xattrs in the same order.
func EqualXattrs(a, b []Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

func checkXattrs(xs []Xattr) error {
	if len(xs) > MaxXattrs {
		return fmt.Errorf("%d xattrs, at most %d allowed", len(xs), MaxXattrs)
	}
	var seen map[string]bool
	if len(xs) > 1 {
		seen = make(map[string]bool, len(xs))
	}
	for _, x := range xs {
		switch {
		case x.Name == "" || len(x.Name) > MaxXattrNameLen:
			return fmt.Errorf("xattr name %.40q has %d bytes, wanted 1 to %d", x.Name, len(x.Name), MaxXattrNameLen)
		case strings.Contains(x.Name, "\x00"):
			return fmt.Errorf("xattr name %q has a NUL", x.Name)
		case seen[x.Name]:
			return fmt.Errorf("xattr %q is there twice", x.Name)
		}
		if seen != nil {
			seen[x.Name] = true
		}
	}
	return nil
}
