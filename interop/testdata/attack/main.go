// SPDX-License-Identifier: Apache-2.0

// Command attack tries, as root inside a guest, to change /usr or to reach it by another way. It prints a line for each
// try: "held" where the try was refused, "BROKEN" where it went through.
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const victim = "/usr/bin/bash"

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

func main() {
	for _, a := range []struct {
		name string
		try  func() error
	}{
		{"open to write", func() error { return open(victim, syscall.O_WRONLY) }},
		{"open to append", func() error { return open(victim, syscall.O_WRONLY|syscall.O_APPEND) }},
		{"open and truncate", func() error { return open(victim, syscall.O_RDWR|syscall.O_TRUNC) }},
		{"truncate", func() error { return syscall.Truncate(victim, 0) }},
		{"create beside", func() error { return open("/usr/bin/new", syscall.O_CREAT|syscall.O_WRONLY) }},
		{"chmod", func() error { return syscall.Chmod(victim, 0o777) }},
		{"chown", func() error { return syscall.Chown(victim, 1, 1) }},
		{"utimes", func() error { return syscall.UtimesNano(victim, make([]syscall.Timespec, 2)) }},
		{"set xattr", func() error { return syscall.Setxattr(victim, "user.x", []byte("y"), 0) }},
		{"set trusted xattr", func() error { return syscall.Setxattr(victim, "trusted.x", []byte("y"), 0) }},
		{"unlink", func() error { return syscall.Unlink(victim) }},
		{"rename", func() error { return syscall.Rename(victim, "/usr/bin/other") }},
		{"rename out", func() error { return syscall.Rename(victim, "/var/other") }},
		{"hard link inside", func() error { return syscall.Link(victim, "/usr/bin/other") }},
		{"hard link out", func() error { return syscall.Link(victim, "/var/other") }},
		{"hard link out by descriptor", linkByDescriptor},
		{"map shared and write", mapShared},
		{"map, then allow writing", mapThenProtect},
		{"open again by /proc", openByProc},
		{"by /proc/1/root", func() error { return open("/proc/1/root"+victim, syscall.O_WRONLY) }},
		{"file attributes by ioctl", ioctlFlags},
		{"by file handle", byHandle},
		{"remount /usr", func() error { return remount("/usr", 0) }},
		{"remount the root", func() error { return remount("/", 0) }},
		{"remount the bind", func() error { return remount("/", syscall.MS_BIND) }},
		{"bind and write", bindAndWrite},
		{"a namespace of its own", ownNamespace},
		{"make a device", func() error { return syscall.Mknod("/var/disk", syscall.S_IFBLK|0o600, 8<<8) }},
		{"write to the kernel", func() error { return open("/proc/sys/kernel/core_pattern", syscall.O_WRONLY) }},
	} {
		verdict := "BROKEN"
		if err := a.try(); err != nil {
			verdict = "held"
		}
		fmt.Printf("%s: %s\n", verdict, a.name)
	}
}

func open(path string, flags int) error {
	f, err := syscall.Open(path, flags, 0o644)
	if err == nil {
		syscall.Close(f)
	}
	return err
}

func linkByDescriptor() error {
	f, err := unix.Open(victim, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f), unix.AT_FDCWD, "/var/other", unix.AT_SYMLINK_FOLLOW)
}

func mapShared() error {
	f, err := syscall.Open(victim, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(f)
	_, err = syscall.Mmap(f, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return err
}

func mapThenProtect() error {
	f, err := syscall.Open(victim, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(f)
	mem, err := syscall.Mmap(f, 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	return syscall.Mprotect(mem, syscall.PROT_READ|syscall.PROT_WRITE)
}

func openByProc() error {
	f, err := syscall.Open(victim, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(f)
	return open(fmt.Sprintf("/proc/self/fd/%d", f), syscall.O_RDWR)
}

func ioctlFlags() error {
	f, err := syscall.Open(victim, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(f)
	return unix.IoctlSetPointerInt(f, unix.FS_IOC_SETFLAGS, immutable)
}

// byHandle opens a file by its handle, which leads past every mount.
func byHandle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, victim, 0)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/var", "/etc", "/usr"} {
		d, err := unix.Open(dir, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		fd, err := unix.OpenByHandleAt(d, handle, unix.O_RDWR)
		unix.Close(d)
		if err == nil {
			unix.Close(fd)
			return nil
		}
	}
	return errors.New("refused")
}

// remount makes a mount writable, as far as it goes, and writes.
func remount(dir string, flags uintptr) error {
	_ = syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, "")
	return open(victim, syscall.O_WRONLY)
}

func bindAndWrite() error {
	if err := os.MkdirAll("/tmp/bound", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("/usr", "/tmp/bound", "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	_ = syscall.Mount("", "/tmp/bound", "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	return open("/tmp/bound/bin/bash", syscall.O_WRONLY)
}

func ownNamespace() error {
	if err := syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER); err != nil {
		return err
	}
	_ = syscall.Mount("", "/usr", "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	_ = syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	return open(victim, syscall.O_WRONLY)
}
