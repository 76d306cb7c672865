// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// A Berkeley DB file carries an id made of inode, device and time, so that an environment can tell its databases apart.
// Mail servers make such files in scriptlets (/etc/aliases.db) and note in them when they were made. Two runs of the
// same scriptlet would never give the same file.
//
//	shape   pages; the first is a meta page: magic at 12, page size at 20, flags at 26, id of 20 bytes at 52. Other
//	        pages may have the id in the same place, as meta pages or in space that they do not use
//	units   numbers in the byte order of the machine that made the file; the magic tells it
//	source  Berkeley DB, dbinc/db_page.h (struct _dbmeta33, H_KEYDATA)
const (
	berkeleyHash     = 0x00061561
	berkeleyBtree    = 0x00053162
	berkeleyChecksum = 1 // flag: pages carry checksums, which then would have to be made anew
	berkeleyMeta     = 72
	berkeleyLimit    = 64 << 20 // maps of a mail server as a package ships them have some KiB
)

// settleBerkeley gives the database an id that follows from its path alone, and its note of when it was made the time
// sec; false when data is no such file.
func settleBerkeley(path string, data []byte, sec int64) bool {
	order := berkeleyOrder(data)
	if order == nil || data[26]&berkeleyChecksum != 0 {
		return false
	}
	page := int(order.Uint32(data[20:]))
	if page < 512 || page > 64<<10 || page&(page-1) != 0 {
		return false
	}
	old := bytes.Clone(data[52:berkeleyMeta])
	id := sha1.Sum([]byte(path)) // not zero: two databases of one id in one environment would be taken for one
	for at := 0; at+berkeleyMeta <= len(data); at += page {
		if bytes.Equal(data[at+52:at+berkeleyMeta], old) {
			copy(data[at+52:], id[:])
		}
	}
	settleLastModified(data, sec)
	return true
}

// berkeleyOrder tells the byte order by the magic number; nil = another kind of file.
func berkeleyOrder(data []byte) binary.ByteOrder {
	if len(data) < berkeleyMeta {
		return nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if m := order.Uint32(data[12:]); m == berkeleyHash || m == berkeleyBtree {
			return order
		}
	}
	return nil
}

// settleLastModified changes the entry that NIS wants of a map: its value, ten digits, lies right before its key.
// Source: Postfix, src/postalias/postalias.c (YP_LAST_MODIFIED).
func settleLastModified(data []byte, sec int64) {
	const digits = 10
	key := []byte("\x01YP_LAST_MODIFIED")
	text := fmt.Sprintf("%0*d", digits, sec)
	for at := 0; len(text) == digits; {
		i := bytes.Index(data[at:], key)
		if i < 0 {
			return
		}
		at += i
		if at > digits && data[at-digits-1] == 1 && len(bytes.Trim(data[at-digits:at], "0123456789")) == 0 {
			copy(data[at-digits:], text)
		}
		at += len(key)
	}
}

// berkeley reads f if it is a Berkeley DB file, and settles it; nil if it is something else.
func (c *collector) berkeley(path string, f *os.File) ([]byte, error) {
	var head [berkeleyMeta]byte
	if n, err := f.ReadAt(head[:], 0); n < len(head) {
		if err == io.EOF {
			err = nil
		}
		return nil, err
	}
	if berkeleyOrder(head[:]) == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, 0, berkeleyLimit+1), berkeleyLimit+1))
	if err != nil || len(data) > berkeleyLimit || !settleBerkeley(path, data, c.o.SourceDate) {
		return nil, err
	}
	return data, nil
}
