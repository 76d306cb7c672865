// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// direntBytes is the room for a listing: some 600 names of objects at a time.
const direntBytes = 64 << 10

// direntHeader is the length of the fixed front of a linux_dirent64: inode 8, offset 8, record length 2, type 1.
const direntHeader = 19

// dirent is one entry of a directory as the kernel lists it. kind is a DT_ number, of which 0 says that it is not known. name is
// good until the function returns that it is given to.
type dirent struct {
	name []byte
	ino  uint64
	kind byte
}

// parseDirents calls f for each record that getdents64 returned.
func parseDirents(buf []byte, f func(e dirent)) {
	for len(buf) >= direntHeader {
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length < direntHeader || length > len(buf) {
			return
		}
		name, _, _ := bytes.Cut(buf[direntHeader:length], []byte{0})
		f(dirent{name, binary.NativeEndian.Uint64(buf), buf[18]})
		buf = buf[length:]
	}
}

// eachDirent lists an open directory, . and .. left out, without a stat of each entry.
func eachDirent(fd int, buf []byte, f func(e dirent)) error {
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		parseDirents(buf[:n], func(e dirent) {
			if string(e.name) != "." && string(e.name) != ".." {
				f(e)
			}
		})
	}
}

// plainFileSystems are those whose listings of directories tell the inode numbers that stat tells. An overlay's need not.
var plainFileSystems = map[int64]bool{unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true,
	unix.TMPFS_MAGIC: true, unix.F2FS_SUPER_MAGIC: true}

// listsInodes reports whether the listings of dir, open as fd, and of all below it tell the inode numbers of what is there:
// its file system is of that kind, and nothing is mounted over what it holds.
func listsInodes(fd int, dir string) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil || !plainFileSystems[int64(st.Type)] {
		return false
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return false
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(unescape.Replace(fields[4]), strings.TrimSuffix(abs, "/")+"/") {
			return false
		}
	}
	return true
}
