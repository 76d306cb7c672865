// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"

	"grove/internal/gvariant"
)

const xattrType = "(ayay)"

var (
	dirMetaType = gvariant.MustType("(uuua(ayay))")
	xattrsType  = gvariant.MustType("a(ayay)")
)

// DirMeta describes a directory itself, not what it holds.
//
//	shape   GVariant (uuua(ayay)): uid, gid, mode, then xattrs as (name with final NUL, value)
//	units   the three numbers are 32-bit big-endian; mode carries the type bits (0o040000)
//	name    sha256 of the encoded bytes; file objects/xx/yyyy….dirmeta
//	source  ostree src/libostree/ostree-core.h, OSTREE_DIRMETA_GVARIANT_FORMAT
type DirMeta struct {
	UID, GID, Mode uint32
	Xattrs         []Xattr
}

// DefaultDirMeta is what a directory gets that nobody described: 0755, root's, no xattrs.
func DefaultDirMeta() DirMeta { return DirMeta{Mode: DefaultDirMode} }

// IsDefault reports whether m is the plain DefaultDirMeta.
func (m DirMeta) IsDefault() bool { return m.Equal(DefaultDirMeta()) }

// Equal reports whether both encode to the same bytes.
func (m DirMeta) Equal(n DirMeta) bool {
	return m.UID == n.UID && m.GID == n.GID && m.Mode == n.Mode && EqualXattrs(m.Xattrs, n.Xattrs)
}

// Check fails unless m can be written and read back: directory type bits, nothing above them, sound xattrs.
func (m DirMeta) Check() error {
	if m.Mode&ModeType != ModeDir || m.Mode&^(ModeType|ModePerm) != 0 {
		return fmt.Errorf("mode %#o is no directory's", m.Mode)
	}
	return checkXattrs(m.Xattrs)
}

// Encode returns the object's bytes. The xattrs keep their order; see SortXattrs.
func (m DirMeta) Encode() []byte {
	return gvariant.Encode(metaValue(m.UID, m.GID, m.Mode, m.Xattrs))
}

// Checksum returns the object's name.
func (m DirMeta) Checksum() Checksum { return SumBytes(m.Encode()) }

// ParseDirMeta reads a dirmeta object. Xattrs need not be sorted: libostree before 2024 did not sort them.
//
//	errors  ErrCorrupt
func ParseDirMeta(data []byte) (DirMeta, error) {
	uid, gid, mode, xattrs, err := parseMeta(data)
	if err != nil {
		return DirMeta{}, corrupt("dirmeta: %w", err)
	}
	m := DirMeta{uid, gid, mode, xattrs}
	if err := m.Check(); err != nil {
		return DirMeta{}, corrupt("dirmeta: %w", err)
	}
	return m, nil
}

func metaValue(uid, gid, mode uint32, xs []Xattr) gvariant.Value {
	return gvariant.Tuple(be32(uid), be32(gid), be32(mode), xattrsValue(xs))
}

func parseMeta(data []byte) (uid, gid, mode uint32, xattrs []Xattr, err error) {
	v, err := dirMetaType.Decode(data)
	if err != nil {
		return 0, 0, 0, nil, err
	}
	xattrs, err = parseXattrs(v.Index(3))
	return from32(v.Index(0)), from32(v.Index(1)), from32(v.Index(2)), xattrs, err
}

// EncodeXattrs returns a list of xattrs as an a(ayay), the content of a file-xattrs object.
func EncodeXattrs(xs []Xattr) []byte { return gvariant.Encode(xattrsValue(xs)) }

// ParseXattrs reads what EncodeXattrs wrote.
//
//	errors  ErrCorrupt
func ParseXattrs(data []byte) ([]Xattr, error) {
	v, err := xattrsType.Decode(data)
	if err != nil {
		return nil, corrupt("xattrs: %w", err)
	}
	xs, err := parseXattrs(v)
	if err == nil {
		err = checkXattrs(xs)
	}
	if err != nil {
		return nil, corrupt("xattrs: %w", err)
	}
	return xs, nil
}

func xattrsValue(xs []Xattr) gvariant.Value {
	items := make([]gvariant.Value, len(xs))
	for i, x := range xs {
		items[i] = gvariant.Tuple(gvariant.Bytes(append([]byte(x.Name), 0)), gvariant.Bytes(x.Value))
	}
	return gvariant.Array(xattrType, items...)
}

func parseXattrs(v gvariant.Value) ([]Xattr, error) {
	n := v.Len()
	if n == 0 {
		return nil, nil
	}
	if n > MaxXattrs {
		return nil, fmt.Errorf("%d xattrs, at most %d allowed", n, MaxXattrs)
	}
	xs := make([]Xattr, n)
	for i := range xs {
		name := v.Index(i).Index(0).Bytes()
		if len(name) < 2 || name[len(name)-1] != 0 {
			return nil, fmt.Errorf("xattr %d: name %q does not end with NUL", i, name)
		}
		value := v.Index(i).Index(1).Bytes()
		xs[i] = Xattr{string(name[:len(name)-1]), append([]byte{}, value...)}
	}
	return xs, nil
}

// be32 is a number as OSTree's structures hold it.
func be32(n uint32) gvariant.Value { return gvariant.Uint32(gvariant.Swap32(n)) }

func be64(n uint64) gvariant.Value { return gvariant.Uint64(gvariant.Swap64(n)) }

func from32(v gvariant.Value) uint32 { return gvariant.Swap32(uint32(v.Uint())) }

func from64(v gvariant.Value) uint64 { return gvariant.Swap64(v.Uint()) }
