// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// eraseMain removes the files of a package that goes, directories after what they hold.
func eraseMain(_ []string, stdin []byte) int {
	var files []Erase
	if err := gob.NewDecoder(bytes.NewReader(stdin)).Decode(&files); err != nil {
		return complain(err)
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := erase(files[i]); err != nil {
			return complain(fmt.Errorf("remove %s: %w", files[i].Path, err))
		}
	}
	return 0
}

// erase removes one file. What is not there, or is another kind of thing by now, is not the package's.
func erase(f Erase) error {
	dir, name := path.Split("/" + strings.TrimPrefix(f.Path, "/"))
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	at, err := unix.Openat2(unix.AT_FDCWD, dir, &how)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if f.Config {
		if changed, err := changedConfig(at, name, f); err != nil {
			return err
		} else if changed {
			fmt.Printf("warning: /%s saved as /%s.rpmsave\n", f.Path, f.Path)
			_ = unix.Unlinkat(at, name+".rpmsave", 0) // of an earlier removal; most trees have none
			if err := unix.Linkat(at, name, at, name+".rpmsave", 0); err != nil {
				return err
			}
		}
	}
	flags := 0
	if f.Dir {
		flags = unix.AT_REMOVEDIR
	}
	switch err := unix.Unlinkat(at, name, flags); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR),
		errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return nil
	default:
		return err
	}
}

// changedConfig says whether a file or link is another than the package gave it.
func changedConfig(at int, name string, want Erase) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, nil // nothing to save
	}
	if target := make([]byte, unix.PathMax); st.Mode&unix.S_IFMT == unix.S_IFLNK {
		n, err := unix.Readlinkat(at, name, target)
		return err == nil && string(target[:n]) != want.LinkTo, err
	}
	if want.LinkTo != "" || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return true, nil
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	same, err := want.Digest.Matches(f)
	return !same, err
}
