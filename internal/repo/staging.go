// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

// stagingPrefix begins the name of a transaction's folder in tmp/. It is not libostree's own prefix: libostree takes
// over folders of that name from dead processes and publishes what lies in them, and ours may hold half an object.
// libostree deletes ours too, when they are a day old.
const stagingPrefix = "grove-staging-"

// hexDigits name the 256 folders of objects/.
const hexDigits = "0123456789abcdef"

// staging is the folder in which a transaction collects its objects.
type staging struct {
	path  string
	dir   *os.File // holds the lock
	fd    int
	umask uint32 // mode bits that new files do not get
	uid   uint32 // owner that new files get
	grp   uint32 // group that new files get
}

// newStaging clears what dead processes left and makes a folder of our own.
func (r *Repo) newStaging() (*staging, error) {
	tmp := filepath.Join(r.path, "tmp")
	if err := durable.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	clearStaging(tmp)
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // for people only
	pattern := stagingPrefix + strings.TrimSpace(string(boot)) + "-"
	for {
		path, err := os.MkdirTemp(tmp, pattern)
		if err != nil {
			return nil, err
		}
		s, err := lockStaging(path)
		if errors.Is(err, durable.ErrBusy) || errors.Is(err, unix.ENOENT) { // somebody who clears up was faster
			continue
		}
		if err != nil {
			return nil, err
		}
		return s, s.probe()
	}
}

// lockStaging marks the folder as in use.
func lockStaging(path string) (*staging, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := durable.LockDir(int(dir.Fd())); err != nil {
		dir.Close()
		return nil, err
	}
	if _, err := os.Lstat(path); err != nil {
		dir.Close()
		return nil, err
	}
	return &staging{path: path, dir: dir, fd: int(dir.Fd())}, nil
}

// probe finds out what mode and group new files get here, so that most need not be told.
func (s *staging) probe() error {
	fd, err := unix.Openat(s.fd, "probe", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o777)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	s.umask, s.uid, s.grp = ^st.Mode&0o777, st.Uid, st.Gid
	return unix.Unlinkat(s.fd, "probe", 0)
}

// clearStaging deletes the folders of transactions whose process is gone. What another holds, or is cleared by
// another meanwhile, is left alone; nothing depends on success.
func clearStaging(tmp string) {
	ents, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range ents {
		if !strings.HasPrefix(e.Name(), stagingPrefix) && !durable.IsLeftover(e.Name()) {
			continue
		}
		path := filepath.Join(tmp, e.Name())
		if !e.IsDir() {
			os.Remove(path)
			continue
		}
		if s, err := lockStaging(path); err == nil {
			os.RemoveAll(path)
			s.dir.Close()
		}
	}
}

// stagedName is where an object lies in the staging folder. All lie in one folder: with a folder for each two digits, as
// objects/ has them, ext4 took 280 us to make a file instead of 33, for it looks for an inode near each folder.
func stagedName(o object) string { return o.String() }

// remove deletes the folder and gives the lock back.
func (s *staging) remove() error {
	return errors.Join(os.RemoveAll(s.path), s.dir.Close())
}
