// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncFile brings the data and the attributes of f to disk.
func SyncFile(f *os.File) error {
	if err := step("sync", f.Name()); err != nil {
		return err
	}
	return f.Sync()
}

// SyncDir brings the entries of the directory path to disk.
func SyncDir(path string) error {
	if err := step("syncdir", path); err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// SyncDirFD is SyncDir for a directory that the caller holds open; name is for messages.
func SyncDirFD(fd int, name string) error {
	if err := step("syncdir", name); err != nil {
		return err
	}
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// SyncDataFD brings the data of a file that the caller holds open to disk; name is for messages.
func SyncDataFD(fd int, name string) error {
	if err := step("sync", name); err != nil {
		return err
	}
	if err := unix.Fdatasync(fd); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// SyncFS brings everything on the file system of path to disk (syncfs).
func SyncFS(path string) error {
	if err := step("syncfs", path); err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", path, err)
	}
	return nil
}

// syncParents syncs the directories of both paths, once if they are one.
func syncParents(oldpath, newpath string) error {
	if err := SyncDir(filepath.Dir(newpath)); err != nil {
		return err
	}
	if filepath.Dir(oldpath) == filepath.Dir(newpath) {
		return nil
	}
	return SyncDir(filepath.Dir(oldpath))
}
