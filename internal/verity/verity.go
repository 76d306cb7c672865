// SPDX-License-Identifier: Apache-2.0

// Package verity seals files with fs-verity and asks the kernel what it measures of them.
//
// It does not compute digests itself (composefs does) and decides nothing. A sealed file can never be written again, only
// deleted; the kernel holds each block that is read of it against the digest.
//
//	source  linux Documentation/filesystems/fsverity.rst
package verity

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnsupported says that kernel or file system know no fs-verity, or have it switched off.
var ErrUnsupported = errors.New("no fs-verity here")

// What sealing uses: SHA-256 over blocks of 4096 bytes, no salt, no signature.
const (
	sha256    = 1
	blockSize = 4096
	digestLen = 32
)

// Seal makes a regular file one that never changes. One that is sealed already is left as it is.
//
//	errors  ErrUnsupported; fs.ErrNotExist; text where somebody has the file open for writing
func Seal(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: sha256, Block_size: blockSize}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
		switch errno {
		case 0, unix.EEXIST:
			return nil
		case unix.EINTR:
			continue
		}
		return fmt.Errorf("seal %s: %w", path, reason(errno))
	}
}

// digest is struct fsverity_digest with room for a SHA-256.
type digest struct {
	algorithm, size uint16
	value           [digestLen]byte
}

// Measure gives the digest of a sealed file; nil where it is not sealed.
//
//	errors  ErrUnsupported
func Measure(f *os.File) ([]byte, error) {
	d := digest{size: digestLen}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_MEASURE_VERITY, uintptr(unsafe.Pointer(&d)))
	switch {
	case errno == unix.ENODATA:
		return nil, nil
	case errno != 0:
		return nil, fmt.Errorf("measure %s: %w", f.Name(), reason(errno))
	case d.algorithm != sha256 || d.size != digestLen:
		return nil, fmt.Errorf("measure %s: sealed with hash %d of %d bytes, want SHA-256", f.Name(), d.algorithm, d.size)
	}
	return d.value[:], nil
}

// reason gives the kernel's ways to say no one name.
func reason(errno unix.Errno) error {
	switch errno {
	case unix.ENOTTY, unix.EOPNOTSUPP, unix.ENOSYS:
		return fmt.Errorf("%w: %w", ErrUnsupported, errno)
	}
	return errno
}
