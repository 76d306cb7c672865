// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// What lies in a guest's root was made by the guest: links that lead out of it, pipes that nobody writes to, devices.
// So a path is resolved as the guest itself would, and nothing but a regular file is opened.

// openIn opens an existing regular file or directory of a root. Links lead within the root.
//
//	errors  fs.ErrNotExist; text for any other kind of file
func openIn(root, name string, wantDir bool) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, name, &how)
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) { // somebody renamed on the way
		fd, err = unix.Openat2(dir, name, &how)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if wantDir && kind != unix.S_IFDIR {
		return nil, fmt.Errorf("open %s: not a directory", name)
	}
	if !wantDir && kind != unix.S_IFREG {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// readIn reads a regular file of a root that has at most maxBytes.
//
//	errors  fs.ErrNotExist; text for any other kind of file, and for a larger one
func readIn(root, name string, maxBytes int64) ([]byte, error) {
	f, err := openIn(root, name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && int64(len(data)) > maxBytes {
		err = fmt.Errorf("read %s: more than %d bytes", name, maxBytes)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// linkIn is the target of a symbolic link in a root, "" where there is none. Links on the way to it are followed.
func linkIn(root, name string) string {
	r, err := os.OpenRoot(root)
	if err != nil {
		return ""
	}
	defer r.Close()
	target, err := r.Readlink(name)
	if err != nil {
		return ""
	}
	return target
}
