// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

// defaultMinFreePercent is libostree's: a repository that fills its disk leaves that much to others.
const defaultMinFreePercent = 3

// budget counts down the blocks that a transaction may still fill with content.
type budget struct {
	left      atomic.Int64
	blockSize int64
	rule      string // the rule in force, for the message; "" for none
}

// newBudget takes stock as the configuration says.
//
//	source  ostree src/libostree/ostree-repo-commit.c, ostree_repo_prepare_transaction
func (r *Repo) newBudget() (*budget, error) {
	percent, size, err := r.config.minFree()
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(r.objdir(), &st); err != nil {
		return nil, err
	}
	b := &budget{blockSize: max(1, st.Bsize)}
	var reserved uint64
	switch {
	case size > 0:
		reserved, b.rule = size, fmt.Sprintf("min-free-space-size %d MB", size>>20)
	case percent > 0:
		reserved = uint64(float64(st.Blocks) * float64(b.blockSize) * float64(percent) / 100)
		b.rule = fmt.Sprintf("min-free-space-percent %d%%", percent)
	default:
		b.left.Store(math.MaxInt64)
		return b, nil
	}
	free := st.Bavail
	if unix.Geteuid() == 0 {
		free = st.Bfree
	}
	b.left.Store(max(0, int64(free)-int64(reserved/uint64(b.blockSize))))
	return b, nil
}

// minFree reads core.min-free-space-size (bytes) and core.min-free-space-percent; the size goes first.
func (c *Config) minFree() (percent, sizeBytes uint64, err error) {
	size, hasSize := c.Get("core", "min-free-space-size")
	if hasSize {
		if sizeBytes, err = parseSpace(size); err != nil {
			return 0, 0, fmt.Errorf("core.min-free-space-size is %q: %w", size, err)
		}
	}
	text, ok := c.Get("core", "min-free-space-percent")
	switch {
	case ok:
		if percent, err = strconv.ParseUint(text, 10, 32); err == nil && percent > 99 {
			err = strconv.ErrRange
		}
		if err != nil {
			return 0, 0, fmt.Errorf("core.min-free-space-percent is %q: %w", text, err)
		}
	case !hasSize:
		percent = defaultMinFreePercent
	}
	return percent, sizeBytes, nil
}

// parseSpace reads a number with MB, GB or TB, in powers of 1024, as libostree writes it.
func parseSpace(s string) (uint64, error) {
	for unit, shift := range map[string]uint{"MB": 20, "GB": 30, "TB": 40} {
		digits, ok := strings.CutSuffix(s, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err == nil && n > math.MaxInt64>>shift {
			err = strconv.ErrRange
		}
		return n << shift, err
	}
	return 0, fmt.Errorf("want a number with MB, GB or TB")
}

// flushEvery is after how many bytes a transaction begins to bring to disk what it has written, beside its other work,
// so that the sync at its end finds less to do.
const flushEvery = 48 << 20

// flusher brings a file system to disk in the background.
type flusher struct {
	written atomic.Int64
	busy    atomic.Bool
	wg      sync.WaitGroup
}

// wrote notes that n more bytes were written to the file system of path.
func (f *flusher) wrote(n int, path string) {
	if f.written.Add(int64(n)) < flushEvery || !f.busy.CompareAndSwap(false, true) {
		return
	}
	f.written.Store(0)
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		durable.SyncFS(path) // only a head start: the sync that counts reports errors
		f.busy.Store(false)
	}()
}

// take uses up the blocks of sizeBytes.
//
//	errors  unix.ENOSPC when the rule would be broken
func (b *budget) take(sizeBytes int64) error {
	if b.rule == "" {
		return nil
	}
	if b.left.Add(-((sizeBytes + b.blockSize - 1) / b.blockSize)) >= 0 {
		return nil
	}
	return fmt.Errorf("%s would be broken, %d bytes to write: %w", b.rule, sizeBytes, unix.ENOSPC)
}
