// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
	"unicode/utf8"

	"grove/internal/gvariant"
)

var (
	fileHeaderType    = gvariant.MustType("(uuuusa(ayay))")
	archiveHeaderType = gvariant.MustType("(tuuuusa(ayay))")
)

// lengthWordSize: the big-endian length of the header, then four zero bytes.
const lengthWordSize = 8

// FileHeader is everything about a file or symlink but its content.
//
//	shape   GVariant (uuuusa(ayay)): uid, gid, mode, rdev, symlink target, xattrs; before it the length of that as
//	        32-bit big-endian and four zero bytes
//	units   the four numbers are 32-bit big-endian; mode carries the type bits (regular or symlink); rdev is 0
//	name    sha256 of length word, header and content; file objects/xx/yyyy….file or .filez
//	source  ostree src/libostree/ostree-core.c, file_header_new and write_file_header_update_checksum
type FileHeader struct {
	UID, GID, Mode uint32
	Symlink        string // target; empty for a regular file
	Xattrs         []Xattr
}

// IsSymlink reports whether the type bits say symlink.
func (h FileHeader) IsSymlink() bool { return h.Mode&ModeType == ModeSymlink }

// Equal reports whether both encode to the same bytes.
func (h FileHeader) Equal(g FileHeader) bool {
	return h.UID == g.UID && h.GID == g.GID && h.Mode == g.Mode && h.Symlink == g.Symlink &&
		EqualXattrs(h.Xattrs, g.Xattrs)
}

// Check fails unless h can be written and read back: a regular file, or a symlink with a sound target.
func (h FileHeader) Check() error {
	if h.Mode&^(ModeType|ModePerm) != 0 {
		return fmt.Errorf("mode %#o has bits above the type", h.Mode)
	}
	switch h.Mode & ModeType {
	case ModeRegular:
		if h.Symlink != "" {
			return fmt.Errorf("regular file has the symlink target %.80q", h.Symlink)
		}
	case ModeSymlink:
		if err := checkTarget(h.Symlink); err != nil {
			return err
		}
	default:
		return fmt.Errorf("mode %#o is neither regular file nor symlink", h.Mode)
	}
	return checkXattrs(h.Xattrs)
}

func checkTarget(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("symlink has no target")
	case len(s) > MaxSymlinkLen:
		return fmt.Errorf("symlink target has %d bytes, at most %d allowed", len(s), MaxSymlinkLen)
	case bytes.IndexByte([]byte(s), 0) >= 0:
		return fmt.Errorf("symlink target %q has a NUL", s)
	case !utf8.ValidString(s):
		return fmt.Errorf("symlink target %q is not UTF-8", s)
	}
	return nil
}

// Prefix returns what is hashed before the content: length word, padding, header.
func (h FileHeader) Prefix() []byte {
	return withLength(gvariant.Encode(gvariant.Tuple(h.fields()...)))
}

// ArchivePrefix returns what stands before the raw deflate stream in a filez object: the same as Prefix, with the
// uncompressed size as a first field (64-bit big-endian).
func (h FileHeader) ArchivePrefix(sizeBytes uint64) []byte {
	fields := append([]gvariant.Value{be64(sizeBytes)}, h.fields()...)
	return withLength(gvariant.Encode(gvariant.Tuple(fields...)))
}

func (h FileHeader) fields() []gvariant.Value {
	return []gvariant.Value{be32(h.UID), be32(h.GID), be32(h.Mode), be32(0), gvariant.String(h.Symlink),
		xattrsValue(h.Xattrs)}
}

func withLength(header []byte) []byte {
	out := make([]byte, lengthWordSize, lengthWordSize+len(header))
	binary.BigEndian.PutUint32(out, uint32(len(header)))
	return append(out, header...)
}

// Sum returns the name of the file object with this content, and the content's size in bytes. For a symlink content is
// nil or empty.
func (h FileHeader) Sum(content io.Reader) (Checksum, int64, error) {
	fh := NewFileHasher(h)
	if content != nil {
		if _, err := io.Copy(fh, content); err != nil {
			return Checksum{}, 0, err
		}
	}
	return fh.Sum(), fh.SizeBytes(), nil
}

// FileHasher computes the name of a file object while its content is written to it.
type FileHasher struct {
	h    hash.Hash
	size int64
}

// NewFileHasher returns a hasher that has taken in h's Prefix.
func NewFileHasher(h FileHeader) *FileHasher {
	fh := &FileHasher{h: sha256.New()}
	fh.h.Write(h.Prefix())
	return fh
}

// Write takes in content. It never fails.
func (fh *FileHasher) Write(p []byte) (int, error) {
	fh.size += int64(len(p))
	return fh.h.Write(p)
}

// SizeBytes returns how much content was written.
func (fh *FileHasher) SizeBytes() int64 { return fh.size }

// Sum returns the name of the object with the content so far.
func (fh *FileHasher) Sum() Checksum {
	var c Checksum
	fh.h.Sum(c[:0])
	return c
}

// ReadArchiveHeader reads the front of a filez object. r then stands at the raw deflate stream; sizeBytes is what that
// must inflate to. Nothing is read beyond the header.
//
//	errors  ErrCorrupt, io.ErrUnexpectedEOF
func ReadArchiveHeader(r io.Reader) (h FileHeader, sizeBytes uint64, err error) {
	data, err := readHeader(r)
	if err != nil {
		return FileHeader{}, 0, fmt.Errorf("filez header: %w", err)
	}
	v, err := archiveHeaderType.Decode(data)
	if err != nil {
		return FileHeader{}, 0, corrupt("filez header: %w", err)
	}
	sizeBytes = from64(v.Index(0))
	if sizeBytes > math.MaxInt64 {
		return FileHeader{}, 0, corrupt("filez header: size %d is beyond any file", sizeBytes)
	}
	if h, err = headerFrom(v, 1); err != nil {
		return FileHeader{}, 0, corrupt("filez header: %w", err)
	}
	if h.IsSymlink() && sizeBytes != 0 {
		return FileHeader{}, 0, corrupt("filez header: symlink has size %d", sizeBytes)
	}
	return h, sizeBytes, nil
}

// ReadFileHeader reads the front of a file object's stream as it is hashed (see Prefix), which static deltas and
// bare content streams carry. r then stands at the content.
//
//	errors  ErrCorrupt, io.ErrUnexpectedEOF
func ReadFileHeader(r io.Reader) (FileHeader, error) {
	data, err := readHeader(r)
	if err != nil {
		return FileHeader{}, fmt.Errorf("file header: %w", err)
	}
	v, err := fileHeaderType.Decode(data)
	if err != nil {
		return FileHeader{}, corrupt("file header: %w", err)
	}
	h, err := headerFrom(v, 0)
	if err != nil {
		return FileHeader{}, corrupt("file header: %w", err)
	}
	return h, nil
}

// readHeader reads the length word and as many bytes as it says, and allocates no more than really come.
func readHeader(r io.Reader) ([]byte, error) {
	var word [lengthWordSize]byte
	if _, err := io.ReadFull(r, word[:]); err != nil {
		return nil, noEOF(err)
	}
	n := binary.BigEndian.Uint32(word[:4])
	if n > MaxFileHeaderSizeBytes {
		return nil, corrupt("%d bytes, at most %d allowed", n, MaxFileHeaderSizeBytes)
	}
	if [4]byte(word[4:]) != [4]byte{} {
		return nil, corrupt("padding after the length is % x, wanted zeros", word[4:])
	}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, noEOF(err)
	}
	return buf.Bytes(), nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// headerFrom takes the six fields of a header from member i of v on.
func headerFrom(v gvariant.Value, i int) (h FileHeader, err error) {
	h.UID, h.GID, h.Mode = from32(v.Index(i)), from32(v.Index(i+1)), from32(v.Index(i+2))
	if rdev := from32(v.Index(i + 3)); rdev != 0 {
		return FileHeader{}, fmt.Errorf("rdev is %d, wanted 0", rdev)
	}
	h.Symlink = v.Index(i + 4).Str()
	if h.Xattrs, err = parseXattrs(v.Index(i + 5)); err != nil {
		return FileHeader{}, err
	}
	if err := h.Check(); err != nil {
		return FileHeader{}, err
	}
	return h, nil
}

// UserMetaXattr is the xattr in which a bare-user repository keeps a file's true owner, mode and xattrs.
const UserMetaXattr = "user.ostreemeta"

// EncodeUserMeta returns the value of UserMetaXattr for h. A symlink's target is not in it: it is the content of the
// regular file that stands for the link.
//
//	shape   GVariant (uuua(ayay)), as in DirMeta
func EncodeUserMeta(h FileHeader) []byte {
	return gvariant.Encode(metaValue(h.UID, h.GID, h.Mode, h.Xattrs))
}

// ParseUserMeta reads the value of UserMetaXattr. The caller fills in Symlink where the type bits say so, and then
// calls Check.
//
//	errors  ErrCorrupt
func ParseUserMeta(data []byte) (FileHeader, error) {
	uid, gid, mode, xattrs, err := parseMeta(data)
	if err == nil {
		err = checkXattrs(xattrs)
	}
	if t := mode & ModeType; err == nil && (mode&^(ModeType|ModePerm) != 0 || t != ModeRegular && t != ModeSymlink) {
		err = fmt.Errorf("mode %#o is neither regular file nor symlink", mode)
	}
	if err != nil {
		return FileHeader{}, corrupt("%s: %w", UserMetaXattr, err)
	}
	return FileHeader{UID: uid, GID: gid, Mode: mode, Xattrs: xattrs}, nil
}
