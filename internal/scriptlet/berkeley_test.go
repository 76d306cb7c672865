// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// berkeleyFile is a database as a mail server makes it: two pages with one id, and an entry that tells the time.
func berkeleyFile(order binary.ByteOrder, id byte, when string) []byte {
	const page = 4096
	data := make([]byte, 3*page)
	for _, at := range []int{0, 2 * page} {
		order.PutUint32(data[at+12:], berkeleyHash)
		order.PutUint32(data[at+20:], page)
		copy(data[at+52:], bytes.Repeat([]byte{id}, 20))
	}
	copy(data[page+100:], "\x01"+when+"\x01YP_LAST_MODIFIED\x01@\x00")
	return data
}

func TestBerkeley(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		a, b := berkeleyFile(order, 7, "1700000001"), berkeleyFile(order, 9, "1800000002")
		other := bytes.Clone(a)
		if !settleBerkeley("usr/etc/aliases.db", a, 1234567890) || !settleBerkeley("usr/etc/aliases.db", b, 1234567890) {
			t.Fatalf("%v: not taken for a database", order)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%v: still differ", order)
		}
		if !bytes.Contains(a, []byte("\x011234567890\x01YP_LAST_MODIFIED")) {
			t.Errorf("%v: the time is %q", order, a[4196:4230])
		}
		settleBerkeley("usr/etc/other.db", other, 1234567890)
		if bytes.Equal(a, other) {
			t.Errorf("%v: two databases of one id", order)
		}
	}
	text := bytes.Repeat([]byte("no database\n"), 100)
	withSums := berkeleyFile(binary.LittleEndian, 7, "1700000001")
	withSums[26] = berkeleyChecksum
	for _, data := range [][]byte{nil, text, withSums, text[:80]} {
		before := bytes.Clone(data)
		if settleBerkeley("x", data, 1) || !bytes.Equal(data, before) {
			t.Errorf("%.20q was changed", data)
		}
	}
}
