// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openImage gives a detached, read-only mount of an EROFS image. Where the kernel does not mount a file by itself
// (before Linux 6.12, or on a file system such as tmpfs), a loop device carries it, which the kernel lets go together
// with the mount.
func openImage(file string) (int, error) {
	mfd, err := openErofs(file)
	if err == nil || !errors.Is(err, unix.ENOTBLK) {
		return mfd, err
	}
	dev, err := loopDevice(file)
	if err != nil {
		return -1, err
	}
	defer dev.Close()
	return openErofs(dev.Name())
}

func openErofs(source string) (int, error) {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open erofs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", source); err != nil {
		return -1, fmt.Errorf("erofs source %s: %w", source, err)
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return -1, fmt.Errorf("erofs read-only: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount image %s: %w", source, err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
}

// loopTries is how often another process may take the free device before us.
const loopTries = 64

// loopDevice makes file a read-only block device. It goes away when neither the result nor a mount uses it.
func loopDevice(file string) (*os.File, error) {
	back, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("find a loop device for %s: %w", file, err)
	}
	defer control.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a loop device for %s: %w", file, err)
		}
		dev, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd()), Size: 4096}
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if err != unix.EBUSY {
			return nil, fmt.Errorf("configure loop device %d for %s: %w", n, file, err)
		}
	}
	return nil, fmt.Errorf("find a loop device for %s: %d were taken by others", file, loopTries)
}

// Image is a composefs: EROFS images, the topmost first, whose files are in the folder Objects.
type Image struct {
	Files   []string
	Objects string
}

// open gives a detached mount of the composefs.
func (m Image) open() (int, error) {
	if os.Geteuid() != 0 {
		return -1, fmt.Errorf("mount %s: %w", m.Files[0], ErrNotPermitted)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open overlay: %w", err)
	}
	defer unix.Close(fs)
	var layers []int
	defer func() {
		for _, fd := range layers {
			unix.Close(fd)
		}
	}()
	lower := ""
	for _, file := range m.Files {
		fd, err := openImage(file)
		if err != nil {
			return -1, err
		}
		layers = append(layers, fd)
		lower += "/proc/self/fd/" + strconv.Itoa(fd) + ":"
	}
	data, err := unix.Open(m.Objects, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open objects %s: %w", m.Objects, err)
	}
	layers = append(layers, data)
	lower += ":/proc/self/fd/" + strconv.Itoa(data)
	for _, o := range [][2]string{{"lowerdir", lower}, {"metacopy", "on"}, {"redirect_dir", "on"}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("overlay option %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return -1, fmt.Errorf("overlay read-only: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount composefs %s: %w", m.Files[0], err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
}
