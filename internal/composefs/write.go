// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"strings"

	"grove/internal/ostree"
)

// Magic numbers and formats.
//
//	source  containers/composefs libcomposefs/lcfs-erofs.h; linux fs/erofs/erofs_fs.h
const (
	imageMagic    = 0xd078629a
	imageVersion  = 1
	flagACL       = 1
	superMagic    = 0xe0f5e1e2
	featureMtime  = 0x2
	featureFilter = 0x4

	layoutPlain  = 0
	layoutInline = 2
	layoutChunk  = 4

	noBlock = 0xffffffff // a chunk that has no data of its own
)

// emitter writes an image from front to back.
type emitter struct {
	m    *image
	w    *bufio.Writer
	pos  int64
	next int64 // where the data of the next inode with whole blocks goes
	buf  []byte
	err  error
}

// emit writes the image.
func (m *image) emit(w io.Writer) (sizeBytes int64, err error) {
	e := &emitter{m: m, w: bufio.NewWriterSize(w, 1<<18)}
	dataStart := roundUp(m.inodesEnd+m.sharedSize, blockSize)
	e.next = dataStart
	e.header(dataStart)
	for _, n := range m.nodes {
		e.inode(n)
	}
	e.align(slotBytes)
	e.at(m.inodesEnd, "xattrs")
	for _, x := range m.shared {
		e.xattr(x)
	}
	e.align(blockSize)
	e.at(dataStart, "data")
	for _, n := range m.nodes {
		e.data(n)
	}
	e.at(dataStart+m.dataBlocks*blockSize, "end")
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.pos, e.err
}

// at holds the writer against the layout.
func (e *emitter) at(want int64, what string) {
	if e.err == nil && e.pos != want {
		e.err = fmt.Errorf("write image: %s at byte %d, want %d", what, e.pos, want)
	}
}

func (e *emitter) write(b []byte) {
	if e.err == nil {
		var n int
		n, e.err = e.w.Write(b)
		e.pos += int64(n)
	}
}

func (e *emitter) text(s string) {
	if e.err == nil {
		var n int
		n, e.err = e.w.WriteString(s)
		e.pos += int64(n)
	}
}

var zeros [blockSize]byte

func (e *emitter) zero(n int64) {
	for ; n > 0; n -= blockSize {
		e.write(zeros[:min(n, blockSize)])
	}
}

func (e *emitter) align(to int64) { e.zero(roundUp(e.pos, to) - e.pos) }

// header writes what composefs and EROFS read first.
func (e *emitter) header(dataStart int64) {
	m := e.m
	le := binary.LittleEndian
	h := make([]byte, superOffset+superBytes)
	le.PutUint32(h[0:], imageMagic)
	le.PutUint32(h[4:], imageVersion)
	if m.hasACL {
		le.PutUint32(h[8:], flagACL)
	}
	le.PutUint32(h[12:], m.version)
	s := h[superOffset:]
	le.PutUint32(s[0:], superMagic)
	le.PutUint32(s[8:], featureMtime|featureFilter)
	s[12] = blockBits
	le.PutUint16(s[14:], uint16(m.nodes[0].nid))
	le.PutUint64(s[16:], uint64(len(m.nodes)))
	le.PutUint64(s[24:], uint64(m.minSec))
	le.PutUint32(s[32:], m.minNsec)
	le.PutUint32(s[36:], uint32(dataStart/blockSize+m.dataBlocks))
	le.PutUint32(s[44:], uint32(m.inodesEnd/blockSize)) // shared xattrs start in the block in which the inodes end
	e.write(h)
}

// inode writes one inode with its xattrs and its tail.
func (e *emitter) inode(n *node) {
	e.zero(int64(n.padBytes))
	if n.plain {
		e.plain(n)
		return
	}
	layout := uint16(layoutPlain)
	var place uint32 // first block, device number or chunk size, whichever the inode has
	switch {
	case n.redirected():
		layout = layoutChunk
		chunkBits, _ := chunks(n.sizeBytes)
		place = uint32(chunkBits - blockBits)
	case n.tailBytes > 0:
		layout = layoutInline
	}
	if n.blocks > 0 {
		if layout != layoutChunk {
			place = uint32(e.next / blockSize)
		}
		e.next += int64(n.blocks) * blockSize
	} else if t := n.mode & typeMask; t == typeChar || t == typeBlock {
		place = n.rdev
	}
	e.buf = appendHead(e.buf[:0], n, layout, place)
	e.write(e.buf)
	e.inodeXattrs(n)
	if n.tailBytes == 0 {
		return
	}
	switch {
	case n.isDir():
		e.dirents(n, false)
	case n.isLink():
		e.text(n.target)
	case n.redirected():
		for range n.tailBytes / 4 {
			e.write([]byte{0xff, 0xff, 0xff, 0xff})
		}
	default:
		e.write(n.content)
	}
}

func appendHead(b []byte, n *node, layout uint16, place uint32) []byte {
	le := binary.LittleEndian
	icount := uint16(0)
	if n.xattrBytes > 0 {
		icount = uint16((n.xattrBytes-xattrHeader)/4 + 1)
	}
	format := layout << 1
	if !n.compact {
		format |= 1
	}
	b = le.AppendUint16(b, format)
	b = le.AppendUint16(b, icount)
	b = le.AppendUint16(b, uint16(n.mode))
	if n.compact {
		b = le.AppendUint16(b, uint16(n.nlink))
		b = le.AppendUint32(b, uint32(n.dataSize()))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, place)
		b = le.AppendUint32(b, n.index)
		b = le.AppendUint16(b, uint16(n.uid))
		b = le.AppendUint16(b, uint16(n.gid))
		b = le.AppendUint32(b, 0)
	} else {
		b = le.AppendUint16(b, 0)
		b = le.AppendUint64(b, n.dataSize())
		b = le.AppendUint32(b, place)
		b = le.AppendUint32(b, n.index)
		b = le.AppendUint32(b, n.uid)
		b = le.AppendUint32(b, n.gid)
		b = le.AppendUint64(b, uint64(n.mtimeSec))
		b = le.AppendUint32(b, n.mtimeNsec)
		b = le.AppendUint32(b, n.nlink)
		b = append(b, zeros[:16]...)
	}
	return b
}

// The attributes of a plain file.
const (
	redirectBytes      = len("/ab/") + 62 + len(".file")
	plainMetaBytes     = (xattrEntry + len("overlay.metacopy") + 3) / 4 * 4
	plainRedirectBytes = (xattrEntry + len("overlay.redirect") + redirectBytes + 3) / 4 * 4
)

var plainFilter = nameFilter([]xattr{{name: metacopyXattr}, {name: redirectXattr}})

// appendRedirect appends what overlayfs finds an object by.
func appendRedirect(b []byte, c ostree.Checksum) []byte {
	b = hex.AppendEncode(append(b, '/'), c[:1])
	return append(hex.AppendEncode(append(b, '/'), c[1:]), ".file"...)
}

// plain writes a plain file as inode writes others.
func (e *emitter) plain(n *node) {
	le := binary.LittleEndian
	chunkBits, _ := chunks(n.sizeBytes)
	b := appendHead(e.buf[:0], n, layoutChunk, uint32(chunkBits-blockBits))
	b = le.AppendUint32(b, plainFilter)
	count := len(b)
	b = append(b, zeros[:xattrHeader-4]...)
	if e.m.metacopy >= 0 {
		b[count]++
		b = le.AppendUint32(b, e.m.sharedAt(e.m.metacopy))
	}
	if n.shares {
		b[count]++
		b = le.AppendUint32(b, e.m.sharedAt(e.m.redirects[n.sum]))
	}
	if e.m.metacopy < 0 {
		b = appendXattrHead(b, metacopyXattr, 0)
		b = append(b, zeros[:plainMetaBytes-xattrEntry-len("overlay.metacopy")]...)
	}
	if !n.shares {
		b = appendXattrHead(b, redirectXattr, redirectBytes)
		b = appendRedirect(b, n.sum)
		b = append(b, zeros[:plainRedirectBytes-xattrEntry-len("overlay.redirect")-redirectBytes]...)
	}
	for range n.tailBytes / 4 {
		b = le.AppendUint32(b, noBlock)
	}
	e.buf = b
	e.write(b)
	e.next += int64(n.blocks) * blockSize
}

// sharedAt is how an inode says where a shared attribute is.
func (m *image) sharedAt(offset int64) uint32 { return uint32((m.inodesEnd%blockSize + offset) / 4) }

func appendXattrHead(b []byte, name string, valueBytes int) []byte {
	index, suffix := nameIndex(name)
	b = append(b, byte(len(suffix)), index, byte(valueBytes), byte(valueBytes>>8))
	return append(b, suffix...)
}

func (e *emitter) inodeXattrs(n *node) {
	if n.xattrBytes == 0 {
		return
	}
	le := binary.LittleEndian
	start := e.pos
	var b [xattrHeader]byte
	le.PutUint32(b[0:], nameFilter(n.xattrs))
	for _, x := range n.xattrs {
		if x.shared >= 0 {
			b[4]++
		}
	}
	e.write(b[:])
	for _, x := range n.xattrs {
		if x.shared >= 0 {
			var at [4]byte
			le.PutUint32(at[:], e.m.sharedAt(x.shared))
			e.write(at[:])
		}
	}
	for _, x := range n.xattrs {
		if x.shared < 0 {
			e.xattr(x)
		}
	}
	e.zero(int64(n.xattrBytes) - (e.pos - start))
}

func (e *emitter) xattr(x xattr) {
	start := e.pos
	e.buf = appendXattrHead(e.buf[:0], x.name, len(x.value))
	e.write(e.buf)
	e.text(x.value)
	e.zero(entrySize(x) - (e.pos - start))
}

// data writes the whole blocks of an inode.
func (e *emitter) data(n *node) {
	switch {
	case n.blocks == 0:
	case n.isDir():
		e.dirents(n, true)
	case n.isLink():
		e.text(n.target)
		e.align(blockSize)
	case n.redirected():
		for range blockSize / 4 {
			e.write([]byte{0xff, 0xff, 0xff, 0xff})
		}
	default:
		e.write(n.content)
		e.align(blockSize)
	}
}

// dirent is one name in a directory.
type dirent struct {
	name string
	n    *node
}

// dirents yields the names of a directory in order, "." and ".." among them.
func (n *node) dirents() iter.Seq[dirent] {
	return func(yield func(dirent) bool) {
		up := n.parent
		if up == nil {
			up = n
		}
		dots := []dirent{{".", n}, {"..", up}}
		for _, c := range n.children {
			for len(dots) > 0 && dots[0].name < c.name {
				if !yield(dots[0]) {
					return
				}
				dots = dots[1:]
			}
			if !yield(dirent{c.name, c.inode()}) {
				return
			}
		}
		for _, d := range dots {
			if !yield(d) {
				return
			}
		}
	}
}

// dirents writes the entries that are in whole blocks, or those of the tail.
func (e *emitter) dirents(n *node, wholeBlocks bool) {
	var group []dirent
	size, written := 0, uint32(0)
	for d := range n.dirents() {
		length := direntBytes + len(d.name)
		if size+length > blockSize {
			if wholeBlocks {
				e.direntGroup(group)
				e.align(blockSize)
			}
			written++
			group, size = group[:0], 0
		}
		group = append(group, d)
		size += length
	}
	last := written < n.blocks // the rest fills a block too
	switch {
	case last && wholeBlocks:
		e.direntGroup(group)
		e.align(blockSize)
	case !last && !wholeBlocks:
		e.direntGroup(group)
	}
}

func (e *emitter) direntGroup(group []dirent) {
	le := binary.LittleEndian
	offset := len(group) * direntBytes
	b := e.buf[:0]
	for _, d := range group {
		b = le.AppendUint64(b, d.n.nid)
		b = le.AppendUint16(b, uint16(offset))
		b = append(b, fileType(d.n.mode), 0)
		offset += len(d.name)
	}
	for _, d := range group {
		b = append(b, d.name...)
	}
	e.buf = b
	e.write(b)
}

// fileType is how a directory entry tells what it names.
func fileType(mode uint32) byte {
	switch mode & typeMask {
	case typeRegular:
		return 1
	case typeDir:
		return 2
	case typeChar:
		return 3
	case typeBlock:
		return 4
	case typeFIFO:
		return 5
	case typeSocket:
		return 6
	case typeLink:
		return 7
	}
	return 0
}

// nameIndex splits an attribute's name into the number for its prefix and the rest.
func nameIndex(name string) (index byte, suffix string) {
	for _, p := range []struct {
		prefix string
		index  byte
	}{{"user.", 1}, {aclAccess, 2}, {aclDefault, 3}, {"trusted.", 4}, {"security.", 6}} {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok {
			return p.index, rest
		}
	}
	return 0, name
}

// filterSeed is where the hash of names for the filter starts.
const filterSeed = 0x25bbe08f

// nameFilter has a bit cleared for each attribute that is there, so that the kernel need not look for one that is not.
func nameFilter(list []xattr) uint32 {
	filter := uint32(0xffffffff)
	for _, x := range list {
		index, suffix := nameIndex(x.name)
		filter &^= 1 << (xxh32([]byte(suffix), filterSeed+uint32(index)) & 31)
	}
	return filter
}
