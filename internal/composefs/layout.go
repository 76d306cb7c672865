// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"grove/internal/ostree"
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
	sharedBytes   = 4 // what tells where a shared one is
)

// image is a tree on its way to bytes.
type image struct {
	nodes      []*node // inodes in breadth-first order
	shared     []xattr // in the order of their offsets
	sharedSize int64
	metacopy   int64                     // of plain files: where that attribute is among the shared ones, or -1
	redirects  map[ostree.Checksum]int64 // of plain files: where those are that several have
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
		if len(n.xattrs) == 0 {
			continue
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
	u := users{by: map[[2]string]int32{}}
	objects, plain := u.plain(m.nodes)
	meta := int32(-1)
	if plain > 0 {
		meta = u.add(xattr{name: metacopyXattr}, plain)
	}
	for _, n := range m.nodes {
		for i := range n.xattrs {
			n.xattrs[i].use = u.add(n.xattrs[i], 1)
		}
	}
	m.placeShared(u.list)
	m.metacopy, m.redirects = -1, make(map[ostree.Checksum]int64, len(objects))
	if plain > 0 && u.list[meta].count > 1 {
		m.metacopy = u.list[meta].offset
	}
	for sum, at := range objects {
		m.redirects[sum] = u.list[at].offset
	}
	for _, n := range m.nodes {
		taken := 0
		for i := range n.xattrs {
			x := &n.xattrs[i]
			x.shared = -1
			if u := &u.list[x.use]; u.count > 1 && taken < maxShared {
				x.shared = u.offset
				taken++
			}
		}
	}
}

// users counts who has which attribute.
type users struct {
	list []use
	by   map[[2]string]int32 // by name and value
}

func (u *users) add(x xattr, count int) int32 {
	at, ok := u.by[[2]string{x.name, x.value}]
	if !ok {
		at = int32(len(u.list))
		u.by[[2]string{x.name, x.value}] = at
		u.list = append(u.list, use{x: x})
	}
	u.list[at].count += count
	return at
}

// plain counts the plain files, and adds the redirects to objects that several of them have.
func (u *users) plain(nodes []*node) (shared map[ostree.Checksum]int32, count int) {
	first := make(map[ostree.Checksum]*node, len(nodes))
	shared = map[ostree.Checksum]int32{}
	for _, n := range nodes {
		if !n.plain {
			continue
		}
		count++
		other := first[n.sum]
		if other == nil {
			first[n.sum] = n
			continue
		}
		uses := 1
		if !other.shares {
			other.shares, uses = true, 2
		}
		n.shares = true
		shared[n.sum] = u.add(xattr{name: redirectXattr, value: string(appendRedirect(nil, n.sum))}, uses)
	}
	return shared, count
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
func (m *image) xattrSize(n *node) uint32 {
	size := xattrHeader
	switch {
	case n.plain:
		size += plainMetaBytes + plainRedirectBytes
		if m.metacopy >= 0 {
			size += sharedBytes - plainMetaBytes
		}
		if n.shares {
			size += sharedBytes - plainRedirectBytes
		}
	case len(n.xattrs) == 0:
		return 0
	}
	for _, x := range n.xattrs {
		if x.shared >= 0 {
			size += sharedBytes
		} else {
			size += int(entrySize(x))
		}
	}
	return uint32(roundUp(int64(size), 4))
}

// place gives each inode its position.
func (m *image) place() {
	pos := int64(superOffset + superBytes)
	for _, n := range m.nodes {
		n.measure()
		n.compact = m.fitsCompact(n)
		n.xattrBytes = m.xattrSize(n)
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
