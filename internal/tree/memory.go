// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"io/fs"
	"sync"

	"grove/internal/ostree"
)

// Memory keeps directory objects in memory: a Source and a Sink. The zero value is empty and ready; it may be used by
// many goroutines.
type Memory struct {
	mu    sync.Mutex
	trees map[ostree.Checksum]ostree.DirTree
	metas map[ostree.Checksum]ostree.DirMeta
	stats MemoryStats
}

// MemoryStats counts calls, for tests that demand that something was not opened or not written.
type MemoryStats struct{ TreesRead, MetasRead, TreesPut, MetasPut int }

// DirTree returns the object of that name.
//
//	errors  fs.ErrNotExist
func (m *Memory) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.TreesRead++
	t, ok := m.trees[c]
	if !ok {
		return t, fmt.Errorf("dirtree %s: %w", c, fs.ErrNotExist)
	}
	return t, nil
}

// DirMeta returns the object of that name.
//
//	errors  fs.ErrNotExist
func (m *Memory) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.MetasRead++
	d, ok := m.metas[c]
	if !ok {
		return d, fmt.Errorf("dirmeta %s: %w", c, fs.ErrNotExist)
	}
	return d, nil
}

// PutDirTree keeps the object, which the caller must not change afterwards.
func (m *Memory) PutDirTree(t ostree.DirTree) (ostree.Checksum, error) {
	if err := t.Check(); err != nil {
		return ostree.Checksum{}, err
	}
	sum := t.Checksum()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trees == nil {
		m.trees = map[ostree.Checksum]ostree.DirTree{}
	}
	m.trees[sum] = t
	m.stats.TreesPut++
	return sum, nil
}

// PutDirMeta keeps the object, which the caller must not change afterwards.
func (m *Memory) PutDirMeta(d ostree.DirMeta) (ostree.Checksum, error) {
	if err := d.Check(); err != nil {
		return ostree.Checksum{}, err
	}
	sum := d.Checksum()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.metas == nil {
		m.metas = map[ostree.Checksum]ostree.DirMeta{}
	}
	m.metas[sum] = d
	m.stats.MetasPut++
	return sum, nil
}

// Stats returns the counts so far and begins anew.
func (m *Memory) Stats() MemoryStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	m.stats = MemoryStats{}
	return s
}
