// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// StatFile is FileHeader without opening the file, where the repository keeps files as they are (mode bare): two calls of
// the kernel for each instead of four.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) StatFile(c ostree.Checksum) (ostree.FileHeader, int64, error) {
	if r.mode != Bare || r.flat {
		return r.FileHeader(c)
	}
	path := r.ObjectPath(ostree.TypeFile, c)
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case err == unix.ENOENT && r.parent != nil:
		return r.parent.StatFile(c)
	case err == unix.ENOENT:
		return ostree.FileHeader{}, 0, fmt.Errorf("file %s: %w", c, ErrLost)
	case err != nil:
		return ostree.FileHeader{}, 0, fmt.Errorf("file %s: %w", c, err)
	}
	h := ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	size := st.Size
	if h.IsSymlink() {
		size = 0
		if h.Symlink, err = readlinkAt(unix.AT_FDCWD, path); err != nil {
			return h, 0, fmt.Errorf("file %s: %w", c, err)
		}
	}
	if h.Xattrs, err = pathXattrs(path); err != nil {
		return h, 0, fmt.Errorf("file %s: %w", c, err)
	}
	if err := h.Check(); err != nil {
		return h, 0, fmt.Errorf("file %s: %w: %w", c, err, ostree.ErrCorrupt)
	}
	return h, size, nil
}

// pathXattrs reads all xattrs of the file itself, sorted by name.
func pathXattrs(path string) ([]ostree.Xattr, error) {
	var probe [0]byte
	n, err := unix.Llistxattr(path, probe[:])
	if n == 0 && err == nil || err == unix.ENOTSUP {
		return nil, nil
	}
	return readXattrs(xattrTarget{
		list: func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) },
	})
}

// ObjectDirs are the folders in which a mount finds the files of this repository and its parents by ostree.ObjectPath.
//
//	errors  a repository of another mode than bare has no such files
func (r *Repo) ObjectDirs() ([]string, error) {
	var out []string
	for p := r; p != nil; p = p.parent {
		if p.mode != Bare {
			return nil, fmt.Errorf("repository %s has mode %s, which keeps files otherwise than a tree has them", p.path, p.mode)
		}
		out = append(out, p.path+"/objects")
	}
	return out, nil
}

// statBatch is how many objects a worker of StatFiles takes at a time.
const statBatch = 256

// StatFiles is StatFile of many objects. put is called for each, from several goroutines at once.
//
//	errors  ErrNotFound, ostree.ErrCorrupt, ctx.Err()
func (r *Repo) StatFiles(ctx context.Context, sums []ostree.Checksum, put func(i int, h ostree.FileHeader, sizeBytes int64)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, min(r.workers, len(sums)/statBatch+1))
	for w := range errs {
		wg.Go(func() {
			stat := r.StatFile
			if r.mode == Bare && !r.flat && len(sums) > statBatch && r.enterObjects() {
				stat = r.statHere
			}
			for errs[w] == nil {
				end := int(next.Add(statBatch))
				if end-statBatch >= len(sums) {
					return
				}
				errs[w] = ctx.Err()
				for i := end - statBatch; i < min(end, len(sums)) && errs[w] == nil; i++ {
					h, size, err := stat(sums[i])
					if err == nil {
						put(i, h, size)
					}
					errs[w] = err
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// enterObjects makes objects/ the working directory of this goroutine's thread alone, which ends with the goroutine: from
// there the kernel has two names to look up for an object instead of a whole path.
func (r *Repo) enterObjects() bool {
	runtime.LockOSThread() // for good
	return unix.Unshare(unix.CLONE_FS) == nil && unix.Fchdir(r.objdir()) == nil
}

// statHere is StatFile in objects/: what is anything but an ordinary file, without xattrs, StatFile looks at.
func (r *Repo) statHere(c ostree.Checksum) (ostree.FileHeader, int64, error) {
	name := ostree.ObjectPath(c, ostree.TypeFile, false)
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return r.StatFile(c)
	}
	var probe [0]byte
	if n, err := unix.Llistxattr(name, probe[:]); n != 0 || err != nil {
		return r.StatFile(c)
	}
	h := ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if err := h.Check(); err != nil {
		return h, 0, fmt.Errorf("file %s: %w: %w", c, err, ostree.ErrCorrupt)
	}
	return h, st.Size, nil
}
