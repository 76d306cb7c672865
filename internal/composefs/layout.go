// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Sizes of EROFS' structures in bytes.
//
//	source  linux fs/erofs/erofs_fs.h
const (
	blockSize     = 4096
	blockBits     = 12
	slotBytes     = 32 // inodes start at a multiple of it
	superOffset   = 1024
	superBytes    = 128
	compactBytes  = 32
	extendedBytes = 64
	direntBytes   = 12
	xattrHeader   = 12 // of the xattrs of an inode
	xattrEntry    = 4  // before name and value of one
	maxChunkBits  = 31 // chunks are at most 2^31 blocks
	maxShared     = 0x80
)

// image is a tree on its way to bytes.
type image struct {
	nodes      []*node // inodes in breadth-first order
	shared     []xattr // in the order of their offsets
	sharedSize int64
	inodesEnd  int64
	dataBlocks int64
	minSec     int64
	minNsec    uint32
	hasACL     bool
	version    uint32
}

// newImage prepares the tree below root and places everything in it.
func newImage(root *node, canonical bool) (*image, error) {
	m := &image{}
	if err := m.prepare(root); err != nil {
		return nil, err
	}
	root.setXattr(opaqueXattr, "y")
	if canonical {
		root.hideObjects()
	}
	m.order(root)
	m.share()
	m.place()
	return m, nil
}

// prepare gives each inode its overlayfs attributes.
func (m *image) prepare(n *node) error {
	if err := n.check(); err != nil {
		return fmt.Errorf("%s: %w", path(n), err)
	}
	n.overlay()
	// A whiteout that the tree itself brings along; those of a Layer are made by layerNode and marked.
	if n.mode&typeMask == typeChar && n.rdev == 0 && !n.hides && n.parent != nil {
		n.escapeWhiteout()
		m.version = 1
	}
	for _, c := range n.children {
		if c.link == nil {
			if err := m.prepare(c); err != nil {
				return err
			}
		} else if err := c.check(); err != nil {
			return fmt.Errorf("%s: %w", path(c), err)
		}
	}
	return nil
}

func path(n *node) string {
	if n.parent == nil {
		return "/"
	}
	return strings.TrimSuffix(path(n.parent), "/") + "/" + n.name
}

// order numbers the inodes breadth first.
func (m *image) order(root *node) {
	m.minSec, m.minNsec = root.mtimeSec, root.mtimeNsec
	m.nodes = append(m.nodes, root)
	for i := 0; i < len(m.nodes); i++ {
		n := m.nodes[i]
		n.index = uint32(i)
		if n.isDir() {
			n.nlink = 2
		}
		for _, c := range n.children {
			if c.isDir() && c.link == nil {
				n.nlink++
			}
			if c.link == nil {
				m.nodes = append(m.nodes, c)
			}
		}
		if n.mtimeSec < m.minSec || n.mtimeSec == m.minSec && n.mtimeNsec < m.minNsec {
			m.minSec, m.minNsec = n.mtimeSec, n.mtimeNsec
		}
		slices.SortFunc(n.xattrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
		for _, x := range n.xattrs {
			m.hasACL = m.hasACL || x.name == aclAccess || x.name == aclDefault
		}
	}
}

// share finds the attributes that several inodes have. Their order is that of names, then lengths, then values, all
// descending.
func (m *image) share() {
	uses := make([]use, 0, len(m.nodes))
	redirects := make(map[string]int32, len(m.nodes)) // by value, of nearly all nodes
	others := map[[2]string]int32{}                   // by name and value
	for _, n := range m.nodes {
		for i := range n.xattrs {
			x := &n.xattrs[i]
			var at int32
			var ok bool
			if x.name == redirectXattr {
				if at, ok = redirects[x.value]; !ok {
					at = int32(len(uses))
					redirects[x.value] = at
				}
			} else if at, ok = others[[2]string{x.name, x.value}]; !ok {
				at = int32(len(uses))
				others[[2]string{x.name, x.value}] = at
			}
			if !ok {
				uses = append(uses, use{x: *x})
			}
			uses[at].count++
			x.use = at
		}
	}
	m.placeShared(uses)
	for _, n := range m.nodes {
		taken := 0
		for i := range n.xattrs {
			x := &n.xattrs[i]
			x.shared = -1
			if u := &uses[x.use]; u.count > 1 && taken < maxShared {
				x.shared = u.offset
				taken++
			}
		}
	}
}

// use is an attribute and how many inodes have it.
type use struct {
	x      xattr
	count  int
	offset int64
}

func (m *image) placeShared(uses []use) {
	var list []*use
	for i := range uses {
		if uses[i].count > 1 {
			list = append(list, &uses[i])
		}
	}
	slices.SortFunc(list, func(a, b *use) int {
		if c := strings.Compare(b.x.name, a.x.name); c != 0 {
			return c
		}
		if c := len(b.x.value) - len(a.x.value); c != 0 {
			return c
		}
		return strings.Compare(b.x.value, a.x.value)
	})
	for _, u := range list {
		u.offset = m.sharedSize
		m.shared = append(m.shared, u.x)
		m.sharedSize += entrySize(u.x)
	}
}

// entrySize is what one attribute takes, padded to four bytes.
func entrySize(x xattr) int64 {
	_, suffix := nameIndex(x.name)
	return roundUp(int64(xattrEntry+len(suffix)+len(x.value)), 4)
}

// xattrSize is what the attributes of n take behind its inode.
func xattrSize(n *node) uint32 {
	if len(n.xattrs) == 0 {
		return 0
	}
	size := int64(xattrHeader)
	for _, x := range n.xattrs {
		if x.shared >= 0 {
			size += 4
		} else {
			size += entrySize(x)
		}
	}
	return uint32(roundUp(size, 4))
}

// place gives each inode its position.
func (m *image) place() {
	pos := int64(superOffset + superBytes)
	for _, n := range m.nodes {
		n.measure()
		n.compact = m.fitsCompact(n)
		n.xattrBytes = xattrSize(n)
		start := roundUp(pos, slotBytes)
		head := int64(extendedBytes)
		if n.compact {
			head = compactBytes
		}
		start += n.pad(start, head+int64(n.xattrBytes))
		n.padBytes = uint32(start - pos)
		n.nid = uint64(start / slotBytes)
		m.dataBlocks += int64(n.blocks)
		pos = start + head + int64(n.xattrBytes) + int64(n.tailBytes)
	}
	m.inodesEnd = roundUp(pos, slotBytes)
}

// measure says how much data an inode has, in whole blocks and behind the inode.
func (n *node) measure() {
	n.blocks, n.tailBytes = 0, 0
	switch {
	case n.isDir():
		size := 0
		for d := range n.dirents() {
			length := direntBytes + len(d.name)
			if size+length > blockSize {
				n.blocks++
				size = 0
			}
			size += length
		}
		if size > blockSize/2 { // more than half a block is not put behind an inode
			n.blocks++
			size = 0
		}
		n.tailBytes = uint32(size)
	case n.isLink():
		n.tailBytes = uint32(len(n.target))
	case n.redirected():
		_, count := chunks(n.sizeBytes)
		n.tailBytes = 4 * uint32(count)
	case n.isRegular():
		n.tailBytes = uint32(len(n.content))
	}
}

// chunks returns the chunk size (as log2 of bytes) and number that stand for content that is elsewhere.
func chunks(sizeBytes uint64) (chunkBits uint, count uint64) {
	chunkBits = uint(bits.Len64(sizeBytes - 1))
	chunkBits = min(max(chunkBits, blockBits), maxChunkBits+blockBits)
	return chunkBits, (sizeBytes + 1<<chunkBits - 1) >> chunkBits
}

// pad returns how far an inode at start has to move so that its tail does not cross from one block to the next. A tail
// for which there is no such place becomes a block. headBytes are the inode and its xattrs.
func (n *node) pad(start, headBytes int64) int64 {
	total := headBytes + int64(n.tailBytes)
	if n.isLink() {
		// An inode and its target stay in one block together.
		crosses := start/blockSize != (start+total-1)/blockSize
		if total/blockSize > 0 {
			n.blocks, n.tailBytes = n.blocks+1, 0
		}
		if crosses {
			return roundUp(start, blockSize) - start
		}
		return 0
	}
	room := blockSize - (start+headBytes)%blockSize
	if room >= int64(n.tailBytes) {
		return 0
	}
	extra := roundUp(room, slotBytes)
	if int64(n.tailBytes) <= blockSize-(start+headBytes+extra)%blockSize {
		return extra
	}
	n.blocks, n.tailBytes = n.blocks+1, 0
	return roundUp(start, blockSize) - start
}

// fitsCompact reports whether 32 bytes have room for what the inode says.
func (m *image) fitsCompact(n *node) bool {
	if n.mtimeSec != m.minSec || n.mtimeNsec != m.minNsec {
		return false
	}
	if n.nlink > math.MaxUint16 || n.uid > math.MaxUint16 || n.gid > math.MaxUint16 {
		return false
	}
	return n.dataSize() <= math.MaxUint32
}

// dataSize is the size field of an inode.
func (n *node) dataSize() uint64 {
	switch {
	case n.isDir():
		return uint64(n.blocks)*blockSize + uint64(n.tailBytes)
	case n.isRegular():
		return n.sizeBytes
	case n.isLink():
		return uint64(len(n.target))
	}
	return 0
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
