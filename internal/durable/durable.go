// SPDX-License-Identifier: Apache-2.0

// Package durable changes files so that whatever kills the process or the machine leaves the old state or the new.
//
// It does not decide what is written or where; it is the one package that renames, swaps links and syncs.
//
// Invariants: a path that is replaced is at every moment whole, old or new. Functions without NoSync in their
// name have their effect on disk when they return. Every durable step has a number (Steps), so that a test can
// fail or kill at each of them in turn. Names of things that a kill can leave behind satisfy IsLeftover.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tmpPrefix and trashPrefix begin the names of files being written and of trees being deleted. The leading dot
// keeps them from being taken for a ref or a deployment.
const (
	tmpPrefix   = ".grove-tmp-"
	trashPrefix = ".grove-trash-"
)

// IsLeftover tells whether name (one path element) is of the kind that this package makes for the time of a
// change, so that a later run may delete it when nobody else can be at work there.
func IsLeftover(name string) bool {
	return strings.HasPrefix(name, tmpPrefix) || strings.HasPrefix(name, trashPrefix)
}

// WriteFile makes path hold data: written beside, synced, renamed over path, directory synced.
//
//	shape   perm is set exactly, whatever the umask
//	errors  of the operating system; path is then untouched
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFileNoSync is WriteFile for those who leave it to the kernel when a change comes to disk: a reader sees the old or the
// new, and a kill leaves one of them; after a crash of the machine the file may be empty.
func WriteFileNoSync(path string, data []byte, perm fs.FileMode) error {
	tmp, err := writeTemp(path, perm, false, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	if err := RenameNoSync(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// Write is WriteFile of what f writes.
//
//	errors  those of f, and of the operating system; path is then untouched
func Write(path string, perm fs.FileMode, f func(io.Writer) error) error {
	tmp, err := writeTemp(path, perm, true, f)
	if err != nil {
		return err
	}
	if err := Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// writeTemp makes a new file beside path of what fill writes, syncs it, and returns its name.
func writeTemp(path string, perm fs.FileMode, sync bool, fill func(io.Writer) error) (string, error) {
	if err := step("create", path); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), tmpPrefix)
	if err != nil {
		return "", err
	}
	err = fill(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil && sync {
		err = SyncFile(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return f.Name(), nil
}

// Rename moves oldpath to newpath, replacing a file there, and syncs both directories.
func Rename(oldpath, newpath string) error {
	if err := RenameNoSync(oldpath, newpath); err != nil {
		return err
	}
	return syncParents(oldpath, newpath)
}

// RenameNoSync is Rename for batches: the caller syncs (SyncFS, SyncDir) when all are done.
func RenameNoSync(oldpath, newpath string) error {
	if err := step("rename", newpath); err != nil {
		return err
	}
	return os.Rename(oldpath, newpath)
}

// RenameNoReplace moves oldpath to newpath unless newpath exists. It does not sync.
//
//	errors  fs.ErrExist if newpath exists
func RenameNoReplace(oldpath, newpath string) error {
	if err := step("rename", newpath); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, oldpath, unix.AT_FDCWD, newpath, unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldpath, New: newpath, Err: err}
	}
	return nil
}

// At names a file by a directory that the caller holds open and a path below it.
type At struct {
	Dir  int    // file descriptor of a directory
	Name string // relative path
}

// RenameAt moves from to to, both relative to open directories. With keep an existing file at to stays and from
// is removed (what content-addressed objects want: an object in place keeps its inode). It does not sync.
func RenameAt(from, to At, keep bool) error {
	if err := step("rename", to.Name); err != nil {
		return err
	}
	var err error
	if keep {
		err = unix.Renameat2(from.Dir, from.Name, to.Dir, to.Name, unix.RENAME_NOREPLACE)
		switch {
		case err == unix.EEXIST:
			return unix.Unlinkat(from.Dir, from.Name, 0)
		case err == unix.EINVAL || err == unix.ENOSYS: // file systems without NOREPLACE (NFS)
			err = unix.Renameat(from.Dir, from.Name, to.Dir, to.Name)
		}
	} else {
		err = unix.Renameat(from.Dir, from.Name, to.Dir, to.Name)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from.Name, New: to.Name, Err: err}
	}
	return nil
}

// Swap makes link a symbolic link to target so that a reader sees the old or the new target, never none.
// The change is on disk when Swap returns.
//
//	errors  fs.ErrNotExist if the directory of link is missing; link is then untouched
func Swap(link, target string) error {
	if err := step("symlink", link); err != nil {
		return err
	}
	tmp, err := tempLink(link, target)
	if err != nil {
		return err
	}
	if err := Rename(tmp, link); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// tempLink makes a symbolic link to target under a fresh name beside link.
func tempLink(link, target string) (string, error) {
	for try := 0; ; try++ {
		tmp, err := freshName(filepath.Dir(link), tmpPrefix)
		if err != nil {
			return "", err
		}
		if err = os.Symlink(target, tmp); err == nil || !errors.Is(err, fs.ErrExist) || try == 100 {
			return tmp, err
		}
	}
}

// Symlink makes link a symbolic link to target: plain creation in a tree that is being built. It does not sync.
//
//	errors  fs.ErrExist if link exists
func Symlink(target, link string) error {
	if err := step("symlink", link); err != nil {
		return err
	}
	return os.Symlink(target, link)
}

// MkdirAll makes the directory path with its missing parents, each synced into its parent.
func MkdirAll(path string, perm fs.FileMode) error {
	fi, err := os.Stat(path)
	if err == nil {
		if fi.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := step("mkdir", path); err != nil {
		return err
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// RemoveAll deletes path and all below it. It first renames path to a trash name beside it, so that a kill leaves
// no half tree under the real name (IsLeftover recognises the trash). A missing path is no error.
func RemoveAll(path string) error {
	trash, err := freshName(filepath.Dir(path), trashPrefix)
	if err != nil {
		return err
	}
	if err := RenameNoReplace(path, trash); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := step("remove", trash); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

// Remove deletes one file or empty directory, durably.
//
//	errors  fs.ErrNotExist if there is none
func Remove(path string) error {
	if err := RemoveNoSync(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// RemoveNoSync is Remove without the sync.
func RemoveNoSync(path string) error {
	if err := step("remove", path); err != nil {
		return err
	}
	return os.Remove(path)
}

// UnlinkAt deletes a file relative to an open directory. It does not sync.
func UnlinkAt(at At) error {
	if err := step("remove", at.Name); err != nil {
		return err
	}
	if err := unix.Unlinkat(at.Dir, at.Name, 0); err != nil {
		return &os.PathError{Op: "remove", Path: at.Name, Err: err}
	}
	return nil
}

// freshName returns an unused name below dir; that nobody takes it meanwhile is for the caller's creation to find.
func freshName(dir, prefix string) (string, error) {
	var b [8]byte
	if _, err := unix.Getrandom(b[:], 0); err != nil {
		return "", err
	}
	return filepath.Join(dir, fmt.Sprintf("%s%x", prefix, b)), nil
}

// SwapDir puts the folder newpath where path is, so that a reader sees all of the old folder or all of the new one. What
// stood at path, if anything did, is at newpath then. It does not sync.
func SwapDir(newpath, path string) error {
	if err := step("rename", path); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, newpath, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if err == unix.ENOENT {
		err = unix.Renameat2(unix.AT_FDCWD, newpath, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return &os.LinkError{Op: "swap", Old: newpath, New: path, Err: err}
	}
	return nil
}
