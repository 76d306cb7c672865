// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// ObjectType says what an object is. The numbers are OSTree's, as static deltas store them.
//
//	source  ostree src/libostree/ostree-core.h, OstreeObjectType
type ObjectType uint8

// The types of objects, and of the files beside them that libostree treats like objects.
const (
	TypeFile           ObjectType = 1 // a regular file or symlink, with its owner, mode and xattrs
	TypeDirTree        ObjectType = 2 // what a directory holds
	TypeDirMeta        ObjectType = 3 // a directory's own owner, mode and xattrs
	TypeCommit         ObjectType = 4
	TypeTombstone      ObjectType = 5 // stands for a commit that was deleted
	TypeCommitMeta     ObjectType = 6 // a commit's detached metadata; may change, so it is named by the commit
	TypePayloadLink    ObjectType = 7 // content checksum -> file object
	TypeFileXattrs     ObjectType = 8 // bare-split-xattrs: a list of xattrs
	TypeFileXattrsLink ObjectType = 9 // bare-split-xattrs: file object -> its xattrs
)

// typeNames are the file name extensions, indexed by type.
var typeNames = [...]string{1: "file", 2: "dirtree", 3: "dirmeta", 4: "commit", 5: "tombstone-commit",
	6: "commitmeta", 7: "payload-link", 8: "file-xattrs", 9: "file-xattrs-link"}

// String returns the extension of the object's file name in a bare repository, such as "dirtree".
func (t ObjectType) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("type-%d", uint8(t))
	}
	return typeNames[t]
}

// IsMeta reports whether objects of this type are metadata: small, and named by the checksum of their bytes.
func (t ObjectType) IsMeta() bool {
	return t == TypeDirTree || t == TypeDirMeta || t == TypeCommit || t == TypeTombstone || t == TypeCommitMeta
}

// ParseObjectType reads an extension, with or without the z that archive repositories add to "file".
func ParseObjectType(s string) (ObjectType, error) {
	if s == "filez" {
		return TypeFile, nil
	}
	for i, n := range typeNames {
		if n != "" && n == s {
			return ObjectType(i), nil
		}
	}
	return 0, fmt.Errorf("parse object type %q: unknown", s)
}

// ObjectPath returns where an object lies below objects/: "xx/yyyy….dirtree". In an archive repository a file object
// has the extension filez.
//
//	source  ostree-core.c, _ostree_loose_path
func ObjectPath(c Checksum, t ObjectType, archive bool) string {
	var room [96]byte
	path := hex.AppendEncode(room[:0], c[:1])
	path = hex.AppendEncode(append(path, '/'), c[1:])
	path = append(append(path, '.'), t.String()...)
	if archive && t == TypeFile {
		path = append(path, 'z')
	}
	return string(path)
}

// ParseObjectPath reads what ObjectPath wrote. archive is true for the extension filez.
func ParseObjectPath(path string) (c Checksum, t ObjectType, archive bool, err error) {
	stem, ext, _ := strings.Cut(path, ".")
	if len(stem) != 65 || stem[2] != '/' {
		return c, 0, false, fmt.Errorf("parse object path %.80q: wanted xx/yyyy….type", path)
	}
	if c, err = ParseChecksum(stem[:2] + stem[3:]); err != nil {
		return c, 0, false, err
	}
	t, err = ParseObjectType(ext)
	return c, t, ext == "filez", err
}
