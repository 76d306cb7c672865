// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TreeMark begins what the table of mounts says of a deployment's tree.
const TreeMark = "grove:"

// Mounted is a mount as this process sees it.
type Mounted struct {
	Type   string // of the file system
	Source string // what was mounted, as whoever did it called it
}

// MountedOn tells what is mounted on a folder, the topmost of several; false where the folder is no mount's top.
//
//	errors  fs.ErrNotExist
//	source  linux Documentation/filesystems/proc.rst (mountinfo)
func MountedOn(dir string) (Mounted, bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return Mounted{}, false, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return Mounted{}, false, nil
	}
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return Mounted{}, false, err
	}
	m, ok := findMount(string(table), st.Mnt_id)
	if !ok {
		return m, false, fmt.Errorf("mount %d on %s: not in the table of mounts", st.Mnt_id, dir)
	}
	return m, true, nil
}

func findMount(table string, id uint64) (Mounted, bool) {
	for _, line := range strings.Split(table, "\n") {
		number, _, _ := strings.Cut(line, " ")
		if n, err := strconv.ParseUint(number, 10, 64); err != nil || n != id {
			continue
		}
		_, after, _ := strings.Cut(line, " - ")
		kind, after, _ := strings.Cut(after, " ")
		source, _, _ := strings.Cut(after, " ")
		return Mounted{Type: kind, Source: Unescape(source)}, true
	}
	return Mounted{}, false
}

// Unescape undoes what the kernel does to blanks and their like in its tables of mounts: \040 and three digits more.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
