// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy is returned when a lock is held elsewhere and the time to wait is over.
var ErrBusy = errors.New("busy")

// lockPoll is the longest pause between two tries for a lock: short enough not to be felt by a person.
const lockPoll = 100 * time.Millisecond

// Lock is a held lock on a file; it ends with Release or with the process.
type Lock struct{ f *os.File }

// File is what holds the lock: a child process that is given it holds the lock too, until it ends.
func (l *Lock) File() *os.File { return l.f }

// Acquire locks the file path, making it if it is missing, exclusively or shared.
//
// The lock is an open file description lock on the whole file, where the kernel has them, else flock: exactly what
// libostree does, so that the same .lock keeps both tools apart. Two Acquire calls of one process exclude each
// other as two processes do.
//
//	units   wait: 0 tries once, negative waits until ctx ends
//	errors  ErrBusy (errors.Is) if the lock is still held elsewhere after wait; ctx's error
//	source  ostree src/libostree/ostree-repo.c, do_repo_lock
func Acquire(ctx context.Context, path string, exclusive bool, wait time.Duration) (*Lock, error) {
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, lockPoll) {
		l, err := tryAcquire(path, exclusive)
		if err == nil || !errors.Is(err, ErrBusy) {
			return l, err
		}
		left := time.Until(deadline)
		if wait >= 0 && left <= 0 {
			return nil, err
		}
		if wait >= 0 {
			pause = min(pause, left)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// tryAcquire opens and locks path once. A file that was deleted or replaced before the lock was had does not count.
func tryAcquire(path string, exclusive bool) (*Lock, error) {
	for {
		f, err := openLock(path, exclusive)
		if err != nil {
			return nil, err
		}
		if err := lockFD(int(f.Fd()), exclusive); err != nil {
			f.Close()
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
				err = ErrBusy
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		held, herr := f.Stat()
		now, nerr := os.Stat(path)
		if herr == nil && nerr == nil && os.SameFile(held, now) {
			return &Lock{f}, nil
		}
		f.Close()
	}
}

// openLock opens the lock file; who may only read it can still share it.
func openLock(path string, exclusive bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil && !exclusive {
		if r, rerr := os.Open(path); rerr == nil {
			return r, nil
		}
	}
	return f, err
}

// lockFD takes the lock without waiting: open file description lock, or flock on kernels without it.
func lockFD(fd int, exclusive bool) error {
	lk := unix.Flock_t{Type: unix.F_RDLCK}
	how := unix.LOCK_SH
	if exclusive {
		lk.Type, how = unix.F_WRLCK, unix.LOCK_EX
	}
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lk)
	if err == unix.EINVAL {
		err = unix.Flock(fd, how|unix.LOCK_NB)
	}
	return err
}

// Release gives the lock back. The file stays. A second call does nothing.
func (l *Lock) Release() error {
	if l == nil || l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// LockDir locks the directory that is open as fd, exclusively and without waiting; the lock ends when the last
// copy of fd is closed. Working directories are marked as in use by it.
//
//	errors  ErrBusy if it is held elsewhere
func LockDir(fd int) error {
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return ErrBusy
	}
	return err
}
