// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The three variables below are the one state of this package: fault injection must reach every durable step of a
// process, however deep, without each function between carrying it.
var (
	steps  atomic.Int64
	killAt atomic.Int64
	hook   atomic.Pointer[func(step int64, op, path string) error]
)

// SetHook makes f run before each durable step; an error of f makes that step fail. nil removes it. For tests.
//
//	shape  step counts from 1 over the life of the process; op is create, rename, symlink, mkdir, remove, sync,
//	       syncdir or syncfs; path is what the step is about (relative where the step is)
func SetHook(f func(step int64, op, path string) error) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// KillAt makes the process kill itself (SIGKILL) before durable step n, counted from 1; 0 never. For kill tests:
// the program passes the number in GROVE_TEST_KILL_AT here.
func KillAt(n int64) { killAt.Store(n) }

// Steps returns how many durable steps this process has begun.
func Steps() int64 { return steps.Load() }

// step counts a durable step and lets the hook or the kill number have its way.
func step(op, path string) error {
	n := steps.Add(1)
	if k := killAt.Load(); k != 0 && n == k {
		unix.Kill(unix.Getpid(), unix.SIGKILL)
		select {} // the signal ends the process
	}
	if f := hook.Load(); f != nil {
		if err := (*f)(n, op, path); err != nil {
			return fmt.Errorf("%s %s: %w", op, path, err)
		}
	}
	return nil
}
