// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"encoding/binary"

	"grove/internal/gvariant"
)

// ObjectSize says how large one object of a commit's tree is.
//
//	shape   ay: the 32 bytes of the checksum, two varints, and since 2020 a byte for the type
//	units   bytes, as an archive repository keeps it and as it is
//	source  ostree src/libostree/ostree-core.c, read_sizes_entry
type ObjectSize struct {
	Checksum                     Checksum
	Type                         ObjectType // 0 where the commit does not say
	ArchivedBytes, UnpackedBytes uint64
}

// Sizes returns what a commit says of the sizes of its objects; ok is false if it says nothing.
//
//	errors  ErrCorrupt
func (c Commit) Sizes() (list []ObjectSize, ok bool, err error) {
	v, ok := c.Metadata.Lookup(KeySizes)
	if !ok {
		return nil, false, nil
	}
	if v.Type() != "aay" {
		return nil, true, corrupt("%s: type %s, wanted aay", KeySizes, v.Type())
	}
	list = make([]ObjectSize, v.Len())
	for i := range list {
		if list[i], err = sizeFrom(v.Index(i)); err != nil {
			return nil, true, err
		}
	}
	return list, true, nil
}

func sizeFrom(v gvariant.Value) (s ObjectSize, err error) {
	data := v.Bytes()
	if len(data) < len(s.Checksum) {
		return s, corrupt("%s: an entry of %d bytes", KeySizes, len(data))
	}
	copy(s.Checksum[:], data)
	data = data[len(s.Checksum):]
	for _, n := range []*uint64{&s.ArchivedBytes, &s.UnpackedBytes} {
		value, used := binary.Uvarint(data)
		if used <= 0 {
			return s, corrupt("%s: the sizes of %s are no numbers", KeySizes, s.Checksum)
		}
		*n, data = value, data[used:]
	}
	switch len(data) {
	case 0:
	case 1:
		s.Type = ObjectType(data[0])
	default:
		return s, corrupt("%s: the entry of %s has %d bytes too many", KeySizes, s.Checksum, len(data)-1)
	}
	return s, nil
}
