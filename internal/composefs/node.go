// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"

	"grove/internal/ostree"
)

// What overlayfs reads. An attribute that the tree itself has below overlayPrefix is escaped by a second "overlay.".
//
//	source  linux Documentation/filesystems/overlayfs.rst
const (
	overlayPrefix = "trusted.overlay."
	escapePrefix  = overlayPrefix + "overlay."
	metacopyXattr = overlayPrefix + "metacopy"
	redirectXattr = overlayPrefix + "redirect"
	opaqueXattr   = overlayPrefix + "opaque"

	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// File types of a mode.
const (
	typeMask    = 0o170000
	typeFIFO    = 0o010000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeRegular = 0o100000
	typeLink    = 0o120000
	typeSocket  = 0o140000
)

// Limits of what is written: those of Linux and of EROFS' fields.
const (
	maxName       = 255
	maxTarget     = 4095
	maxXattrName  = 255
	maxXattrValue = 65535
	// maxInline is how much content an image may hold itself: half a block, so that it always stays behind its inode.
	maxInline = blockSize / 2
)

// node is one inode, or a name for one (link). There is one for each path of a tree, hence what few have is apart.
type node struct {
	*rare
	name       string
	sum        ostree.Checksum // of a plain one: the object
	mode       uint32          // with type bits
	uid, gid   uint32
	nlink      uint32
	sizeBytes  uint64 // of a regular file
	xattrs     []xattr
	parent     *node
	children   []*node // sorted by name
	nid        uint64
	index      uint32 // in breadth-first order
	blocks     uint32 // whole blocks of data
	tailBytes  uint32 // data behind the inode
	padBytes   uint32 // before the inode
	xattrBytes uint32
	compact    bool
	hides      bool // a whiteout of a layer, which overlayfs is to heed
	// plain is a file whose content is in the object sum, with the two attributes that say so, which are in no list, and
	// no others: nearly all of a tree are.
	plain bool
	// shares says of a plain one that other inodes are redirected to the same object.
	shares bool
}

// rare is what few nodes have.
type rare struct {
	rdev      uint32
	mtimeNsec uint32
	mtimeSec  int64
	target    string // of a symlink
	object    string // of a regular file that is not plain: its content's path below the objects' folder, after a slash
	content   []byte // of a regular file that is held in the image
	digest    []byte // fs-verity digest of the object, or nil
	link      *node  // the inode that this name is another name of
}

// none is what a node has of rare things until it has one; only grow makes one that may be written.
var none = &rare{}

func (n *node) grow() *rare {
	if n.rare == none {
		n.rare = &rare{}
	}
	return n.rare
}

type xattr struct {
	name   string
	value  string
	shared int64 // byte offset among the shared ones, or -1
	use    int32 // while those are looked for: which one it is
}

func (n *node) isDir() bool     { return n.mode&typeMask == typeDir }
func (n *node) isRegular() bool { return n.mode&typeMask == typeRegular }
func (n *node) isLink() bool    { return n.mode&typeMask == typeLink }

// redirected reports whether the content is in an object.
func (n *node) redirected() bool {
	return n.plain || n.isRegular() && n.sizeBytes > 0 && n.content == nil
}

// inode returns what a name stands for.
func (n *node) inode() *node {
	if n.link != nil {
		return n.link
	}
	return n
}

// setXattr sets an attribute in the place of one of that name. The order is made by finish.
func (n *node) setXattr(name, value string) {
	for i := range n.xattrs {
		if n.xattrs[i].name == name {
			n.xattrs[i].value = value
			return
		}
	}
	n.xattrs = append(n.xattrs, xattr{name: name, value: value, shared: -1})
}

func (n *node) child(name string) *node {
	i := sort.Search(len(n.children), func(i int) bool { return n.children[i].name >= name })
	if i < len(n.children) && n.children[i].name == name {
		return n.children[i]
	}
	return nil
}

// check refuses what an image has no room for.
func (n *node) check() error {
	switch {
	case len(n.name) > maxName:
		return fmt.Errorf("name of %d bytes: an image has room for %d", len(n.name), maxName)
	case n.isLink() && (n.target == "" || len(n.target) > maxTarget):
		return fmt.Errorf("symlink target of %d bytes: want 1 to %d", len(n.target), maxTarget)
	case len(n.content) > maxInline:
		return fmt.Errorf("inline content of %d bytes: an image holds %d", len(n.content), maxInline)
	case n.content != nil && uint64(len(n.content)) != n.sizeBytes:
		return fmt.Errorf("inline content of %d bytes: the file has %d", len(n.content), n.sizeBytes)
	}
	for _, x := range n.xattrs {
		if len(x.name) > maxXattrName || len(x.value) > maxXattrValue {
			return fmt.Errorf("xattr %.40q of %d bytes: an image has room for %d", x.name, len(x.value), maxXattrValue)
		}
	}
	return nil
}

// addXattrs takes those of a tree over.
func (n *node) addXattrs(list []ostree.Xattr) {
	for _, x := range list {
		n.xattrs = append(n.xattrs, xattr{name: x.Name, value: string(x.Value), shared: -1})
	}
}

// overlay gives an inode the attributes that overlayfs reads, and escapes those that the tree had for itself.
func (n *node) overlay() {
	if n.plain {
		return
	}
	for i := range n.xattrs {
		if rest, ok := bytes.CutPrefix([]byte(n.xattrs[i].name), []byte(overlayPrefix)); ok {
			n.xattrs[i].name = escapePrefix + string(rest)
		}
	}
	if !n.redirected() {
		return
	}
	meta := ""
	if n.digest != nil {
		meta = string([]byte{0, byte(4 + len(n.digest)), 0, verityAlgorithm}) + string(n.digest) // version, length, flags, algorithm
	}
	n.setXattr(metacopyXattr, meta)
	if n.object != "" {
		n.setXattr(redirectXattr, n.object)
	}
}

// escapeWhiteout turns a whiteout that the tree itself has into a regular file which says so to an overlayfs inside.
func (n *node) escapeWhiteout() {
	n.mode = n.mode&^typeMask | typeRegular
	n.sizeBytes = 0
	n.setXattr(escapePrefix+"whiteout", "")
	n.setXattr("user.overlay.whiteout", "")
	p := n.parent
	p.setXattr(escapePrefix+"whiteouts", "")
	p.setXattr("user.overlay.whiteouts", "")
	p.setXattr(escapePrefix+"opaque", "x")
	p.setXattr("user.overlay.opaque", "x")
}

const hexDigits = "0123456789abcdef"

// hideObjects adds whiteouts for the 256 folders of objects, so that they stay hidden where the objects' folder is an
// ordinary lower layer of the overlay.
func (n *node) hideObjects() {
	label, labelled := "", false
	for _, x := range n.xattrs {
		if x.name == "security.selinux" {
			label, labelled = x.value, true
		}
	}
	var more []*node
	for i := range 256 {
		name := string([]byte{hexDigits[i>>4], hexDigits[i&15]})
		if n.child(name) != nil {
			continue
		}
		w := &node{rare: &rare{mtimeSec: n.mtimeSec, mtimeNsec: n.mtimeNsec}, name: name, mode: typeChar | 0o644, uid: n.uid, gid: n.gid, nlink: 1, parent: n}
		if labelled {
			w.setXattr("security.selinux", label)
		}
		more = append(more, w)
	}
	n.children = append(n.children, more...)
	sortNodes(n.children)
}

func sortNodes(list []*node) {
	slices.SortFunc(list, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}
