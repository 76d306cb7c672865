// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFile reads a regular file of at most limit bytes. A named pipe that nobody writes to is refused, not waited for.
//
//	errors  fs.ErrNotExist; a file that is too long or no regular one
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: is no regular file", path)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d allowed", path, fi.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: more than %d bytes", path, limit)
	}
	return data, err
}
