// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"encoding/binary"
)

// direntHeader is the length of the fixed front of a linux_dirent64: inode 8, offset 8, record length 2, type 1.
const direntHeader = 19

// parseDirents calls f for each record that getdents64 returned.
func parseDirents(buf []byte, f func(name string, ino uint64)) {
	for len(buf) >= direntHeader {
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length < direntHeader || length > len(buf) {
			return
		}
		name, _, _ := bytes.Cut(buf[direntHeader:length], []byte{0})
		f(string(name), binary.NativeEndian.Uint64(buf))
		buf = buf[length:]
	}
}
