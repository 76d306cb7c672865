// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"grove/internal/durable"
)

// hostDirWait is how long another grove may take to write its few files into a folder of the host.
const hostDirWait = 10 * time.Second

// holdDirs locks the folders of the host that the files lie in, so that no other grove writes there, and removes what a
// killed one left half-written. Folders that do not exist are left alone.
//
//	errors  durable.ErrBusy
func holdDirs(files []HostFile) (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, d := range held {
			_ = d.Close()
		}
	}
	var dirs []string
	for _, f := range files {
		dirs = append(dirs, filepath.Dir(f.Path))
	}
	slices.Sort(dirs) // one order for all
	for _, dir := range slices.Compact(dirs) {
		d, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, d)
		if err := lockSoon(d); err != nil {
			release()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if err := sweep(d); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

func lockSoon(d *os.File) error {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := durable.LockDir(int(d.Fd()))
		if !errors.Is(err, durable.ErrBusy) || time.Since(began) > hostDirWait {
			return err
		}
	}
}

// sweep removes files of an interrupted write.
func sweep(d *os.File) error {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !durable.IsLeftover(name) {
			continue
		}
		if err := os.Remove(filepath.Join(d.Name(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
