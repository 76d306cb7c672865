// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// keystoreOf makes a keystore with one certificate.
func keystoreOf(msec uint64, tag uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, keystoreMagic)
	b = binary.BigEndian.AppendUint32(b, keystoreVersion)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, "\x00\x02ca"...)
	b = binary.BigEndian.AppendUint64(b, msec)
	b = append(b, "\x00\x05X.509\x00\x00\x00\x03der"...)
	return append(b, keystoreDigest(b)...)
}

func TestSettleKeystore(t *testing.T) {
	a := keystoreOf(12345678, keystoreTrusted)
	if !settleKeystore(a, 7) || !bytes.Equal(a, keystoreOf(7000, keystoreTrusted)) {
		t.Error("the time was not settled")
	}
	damaged := keystoreOf(1, keystoreTrusted)
	damaged[20]++
	for name, data := range map[string][]byte{"empty": nil, "private key": keystoreOf(1, 1), "other password": damaged, "cut": a[:30]} {
		if settleKeystore(bytes.Clone(data), 7) {
			t.Errorf("%s: taken for a keystore of certificates", name)
		}
	}
}

func FuzzSettleKeystore(f *testing.F) {
	f.Add(keystoreOf(1, keystoreTrusted))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 20 { // let the parser see it
			data = append(data[:len(data)-20:len(data)-20], keystoreDigest(data[:len(data)-20])...)
		}
		settleKeystore(data, 1)
	})
}
