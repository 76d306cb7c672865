// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"runtime/debug"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"grove/internal/rpm"
)

// slab holds the dependencies and file names of packages whose texts lie in a mapped file, outside of the heap: the collector
// would only look through 60 MB of pointers, none of which leads to anything that it could free. Nothing in a slab may point into
// the heap, so it is sealed once it is full: a write to it then ends the process instead of hiding a pointer. It stays for as long as the
// process lives, as the file does. The zero slab is on the heap.
type slab struct {
	off    bool
	blocks [][]byte
}

func (s *slab) deps(n int) []rpm.Dep { return slabOf[rpm.Dep](s, n) }
func (s *slab) names(n int) []string { return slabOf[string](s, n) }

func slabOf[T any](s *slab, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if !s.off || size < hugePage {
		return make([]T, n)
	}
	block, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]T, n)
	}
	unix.Madvise(block, unix.MADV_HUGEPAGE)
	s.blocks = append(s.blocks, block)
	return unsafe.Slice((*T)(unsafe.Pointer(&block[0])), n)
}

const hugePage = 2 << 20

// huge asks for large pages under a list that was just made and is about to be filled: a page fault for each 4 KiB costs more than filling it.
func huge[T any](list []T) []T {
	var zero T
	if len(list) == 0 {
		return list
	}
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), len(list)*int(unsafe.Sizeof(zero)))
	from := -uintptr(unsafe.Pointer(&list[0])) % hugePage
	if to := (uintptr(len(mem)) - min(from, uintptr(len(mem)))) / hugePage * hugePage; to > 0 {
		unix.Madvise(mem[from:from+to], unix.MADV_HUGEPAGE)
	}
	return list
}

// seal is called when all is written.
func (s *slab) seal() error {
	for _, b := range s.blocks {
		if err := unix.Mprotect(b, unix.PROT_READ); err != nil {
			return err
		}
	}
	return nil
}

// free gives the memory back, where what is in it turned out to be of no use.
func (s *slab) free() {
	for _, b := range s.blocks {
		unix.Munmap(b)
	}
	s.blocks = nil
}

// calm keeps the collector from running until its result is called, for work that keeps all that it allocates: there is nothing to
// collect, and looking for it takes a quarter of the time.
func calm() func() {
	collector.Lock()
	defer collector.Unlock()
	if collector.calm++; collector.calm == 1 {
		collector.percent = debug.SetGCPercent(-1)
	}
	return func() {
		collector.Lock()
		defer collector.Unlock()
		if collector.calm--; collector.calm == 0 {
			debug.SetGCPercent(collector.percent)
		}
	}
}

// collector is what calm has set; the setting is the process's, so this is too.
var collector struct {
	sync.Mutex
	calm, percent int
}
