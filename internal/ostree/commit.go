// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"

	"grove/internal/gvariant"
)

const relatedType = "(say)"

var commitType = gvariant.MustType("(a{sv}aya(say)sstayay)")

// Keys of a commit's metadata that OSTree itself knows.
const (
	KeyVersion      = "version"                   // s: for people
	KeyRefBinding   = "ostree.ref-binding"        // as: the refs that may point here
	KeyCollection   = "ostree.collection-binding" // s
	KeyArchitecture = "ostree.architecture"       // s
	KeyEndOfLife    = "ostree.endoflife"          // s: why nobody should use this any more
	KeyEOLRebase    = "ostree.endoflife-rebase"   // s: the ref to use instead
	KeySourceTitle  = "ostree.source-title"       // s
	KeyBootable     = "ostree.bootable"           // b
	KeyLinux        = "ostree.linux"              // s
	KeySizes        = "ostree.sizes"              // aay: size of each object of the tree
)

// Commit is a tree with its history and whatever its maker wrote about it.
//
//	shape   GVariant (a{sv}aya(say)sstayay): metadata, parent, related, subject, body, timestamp, root dirtree,
//	        root dirmeta
//	units   Timestamp in seconds since 1970, UTC, 64-bit big-endian; a parent is 0 or 32 bytes
//	name    sha256 of the encoded bytes; file objects/xx/yyyy….commit
//	source  ostree src/libostree/ostree-core.h, OSTREE_COMMIT_GVARIANT_FORMAT
type Commit struct {
	Metadata      gvariant.Dict
	Parent        Checksum // zero: none
	Related       []TreeFile
	Subject, Body string
	Timestamp     uint64
	Tree, Meta    Checksum
}

// Encode returns the object's bytes. Subject and body are text: see gvariant.String for what is no text.
func (c Commit) Encode() []byte {
	var parent []byte
	if !c.Parent.IsZero() {
		parent = c.Parent[:]
	}
	related := make([]gvariant.Value, len(c.Related))
	for i, r := range c.Related {
		related[i] = gvariant.Tuple(gvariant.String(r.Name), gvariant.Bytes(r.Checksum[:]))
	}
	return gvariant.Encode(gvariant.Tuple(c.Metadata.Value(), gvariant.Bytes(parent),
		gvariant.Array(relatedType, related...), gvariant.String(c.Subject), gvariant.String(c.Body),
		be64(c.Timestamp), gvariant.Bytes(c.Tree[:]), gvariant.Bytes(c.Meta[:])))
}

// Checksum returns the object's name.
func (c Commit) Checksum() Checksum { return SumBytes(c.Encode()) }

// Version returns the metadata's "version", or "".
func (c Commit) Version() string {
	s, _ := c.Metadata.Str(KeyVersion)
	return s
}

// RefBinding returns the refs that the commit says it belongs to, and false if it says nothing.
func (c Commit) RefBinding() ([]string, bool) { return c.Metadata.Strings(KeyRefBinding) }

// ParseCommit reads a commit object. data must not be changed afterwards: the metadata refers to it.
//
//	errors  ErrCorrupt
func ParseCommit(data []byte) (Commit, error) {
	v, err := commitType.Decode(data)
	if err != nil {
		return Commit{}, corrupt("commit: %w", err)
	}
	c := Commit{Subject: v.Index(3).Str(), Body: v.Index(4).Str(), Timestamp: from64(v.Index(5))}
	c.Metadata, _ = v.Index(0).Dict()
	if p := v.Index(1).Bytes(); len(p) > 0 {
		if c.Parent, err = ChecksumFromBytes(p); err != nil {
			return Commit{}, corrupt("commit: parent: %w", err)
		}
		if c.Parent.IsZero() { // it could not be told from none
			return Commit{}, corrupt("commit: parent is all zeros")
		}
	}
	if c.Related, err = relatedFrom(v.Index(2)); err != nil {
		return Commit{}, corrupt("commit: %w", err)
	}
	if c.Tree, err = ChecksumFromBytes(v.Index(6).Bytes()); err != nil {
		return Commit{}, corrupt("commit: tree: %w", err)
	}
	if c.Meta, err = ChecksumFromBytes(v.Index(7).Bytes()); err != nil {
		return Commit{}, corrupt("commit: meta: %w", err)
	}
	return c, nil
}

func relatedFrom(v gvariant.Value) ([]TreeFile, error) {
	var out []TreeFile
	for i := 0; i < v.Len(); i++ {
		e := v.Index(i)
		sum, err := ChecksumFromBytes(e.Index(1).Bytes())
		if err != nil {
			return nil, fmt.Errorf("related %d: %w", i, err)
		}
		out = append(out, TreeFile{e.Index(0).Str(), sum})
	}
	return out, nil
}
