// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay is an overlay mount in the making. Its folders are named through descriptors: their paths may hold any
// character and any length, and fsconfig takes 255 bytes a value.
type overlay struct {
	source      string // for the table of mounts; "" = "composefs"
	lower       []int  // the topmost first
	data        []int  // folders below all that only redirects lead to
	upper, work int    // 0 = nothing can be written
	userXattr   bool
	readOnly    bool
	verity      bool
}

func (o *overlay) close() {
	for _, fd := range append(append(o.lower, o.data...), o.upper, o.work) {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

func (o *overlay) addLower(dir string) error {
	fd, err := openDirPath(dir)
	if err == nil {
		o.lower = append(o.lower, fd)
	}
	return err
}

// options are those of the mount, in order. Redirects in images lead to the objects; where something can be written, there
// are none: what the upper folder has is to be whole by itself.
//
//	source  linux Documentation/filesystems/overlayfs.rst
func (o *overlay) options() [][2]string {
	var lower strings.Builder
	for i, fd := range o.lower {
		if i > 0 {
			lower.WriteByte(':')
		}
		lower.WriteString(fdPath(fd))
	}
	for _, fd := range o.data {
		lower.WriteString("::" + fdPath(fd))
	}
	list := [][2]string{{"lowerdir", lower.String()}}
	switch {
	case o.upper != 0:
		list = append(list, [][2]string{{"upperdir", fdPath(o.upper)}, {"workdir", fdPath(o.work)}, {"index", "off"},
			{"metacopy", "off"}, {"redirect_dir", "nofollow"}, {"volatile", ""}}...)
	case len(o.data) > 0:
		list = append(list, [2]string{"metacopy", "on"}, [2]string{"redirect_dir", "on"})
	}
	if o.verity {
		list = append(list, [2]string{"verity", "require"})
	}
	if o.userXattr {
		list = append(list, [2]string{"userxattr", ""})
	}
	if o.readOnly {
		list = append(list, [2]string{"ro", ""})
	}
	return list
}

// mount gives the detached mount.
func (o *overlay) mount() (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open overlay: %w", err)
	}
	defer unix.Close(fs)
	source := o.source
	if source == "" {
		source = "composefs"
	}
	_ = unix.FsconfigSetString(fs, "source", source) // only for people and for whoever asks what is in use
	for _, opt := range o.options() {
		if opt[1] == "" {
			err = unix.FsconfigSetFlag(fs, opt[0])
		} else {
			err = unix.FsconfigSetString(fs, opt[0], opt[1])
		}
		if err != nil {
			return -1, fmt.Errorf("overlay option %s=%s: %w", opt[0], opt[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	attrs := unix.MOUNT_ATTR_NODEV
	if o.readOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
}

// rootOverlay gives the overlay that a Spec with Upper asks for.
func rootOverlay(s Spec) (int, error) {
	// An overlay that was unmounted, not lost in a crash, is whole: the mark would only forbid to mount it again.
	_ = os.RemoveAll(s.Work + "/work/incompat")
	o := overlay{source: "overlay", userXattr: s.Rootless}
	defer o.close()
	for _, dir := range s.Lowers {
		if err := o.addLower(dir); err != nil {
			return -1, err
		}
	}
	var err error
	if s.Image != nil { // an overlay of its own below: in one with an upper folder, images above images lead nowhere
		var fd int
		if fd, err = s.Image.openBy(true); err == nil {
			o.lower = append(o.lower, fd)
		}
	} else {
		err = o.addLower(s.Root)
	}
	if err != nil {
		return -1, err
	}
	if o.upper, err = openDirPath(s.Upper); err != nil {
		o.upper = 0
		return -1, err
	}
	if o.work, err = openDirPath(s.Work); err != nil {
		o.work = 0
		return -1, err
	}
	fd, err := o.mount()
	var st unix.Statfs_t
	if err != nil && unix.Statfs(s.Upper, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return -1, fmt.Errorf("%s lies on an overlay, as containers have it, and no other overlay can write there; keep the state root on another file system, such as a volume: %w", s.Upper, err)
	}
	if err != nil {
		return -1, fmt.Errorf("make overlay of %s: %w", s.Root, err)
	}
	return fd, nil
}
