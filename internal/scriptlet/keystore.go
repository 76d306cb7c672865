// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"io"
	"os"
)

// A Java keystore notes for each certificate when it was put in, and ends with a digest over it all. Distributions make
// one of their trusted certificates in a scriptlet (update-ca-trust: /etc/pki/ca-trust/extracted/java/cacerts), all
// with the password of every Java. It would differ with every run.
//
//	shape   magic, version 2, count; each entry: tag 2, alias (length as 16 bits, text), time in ms as 64 bits,
//	        kind of certificate (as the alias), length as 32 bits, certificate; then SHA-1 over password, salt and all before it
//	units   all numbers big-endian
//	source  OpenJDK, sun.security.provider.JavaKeyStore (its comments on the format)
const (
	keystoreMagic   = 0xfeedfeed
	keystoreVersion = 2
	keystoreTrusted = 2
	keystoreLimit   = 16 << 20 // the whole web's certificates take 200 KiB
)

const (
	keystorePassword = "\x00c\x00h\x00a\x00n\x00g\x00e\x00i\x00t" // UTF-16
	keystoreSalt     = "Mighty Aphrodite"
)

func keystoreDigest(body []byte) []byte {
	h := sha1.New()
	io.WriteString(h, keystorePassword+keystoreSalt)
	h.Write(body)
	return h.Sum(nil)
}

// settleKeystore gives every certificate of a keystore the same time, in seconds; false when data is none of that kind.
func settleKeystore(data []byte, sec int64) bool {
	const head = 12
	end := len(data) - sha1.Size
	if end < head || binary.BigEndian.Uint32(data) != keystoreMagic || binary.BigEndian.Uint32(data[4:]) != keystoreVersion ||
		!bytes.Equal(keystoreDigest(data[:end]), data[end:]) {
		return false
	}
	var times []int
	at := head
	for range binary.BigEndian.Uint32(data[8:]) {
		if end-at < 6 || binary.BigEndian.Uint32(data[at:]) != keystoreTrusted {
			return false // a private key: not made by a distribution
		}
		at += 6 + int(binary.BigEndian.Uint16(data[at+4:])) // tag, alias
		times = append(times, at)
		if end-at < 10 {
			return false
		}
		at += 10 + int(binary.BigEndian.Uint16(data[at+8:])) // time, kind
		if end-at < 4 {
			return false
		}
		size := binary.BigEndian.Uint32(data[at:])
		if int64(size) > int64(end-at-4) {
			return false
		}
		at += 4 + int(size)
	}
	if at != end {
		return false
	}
	for _, t := range times {
		binary.BigEndian.PutUint64(data[t:], uint64(sec)*1000)
	}
	copy(data[end:], keystoreDigest(data[:end]))
	return true
}

// keystore reads f if it is a keystore, and gives it the times of the source date; nil if it is something else.
func (c *collector) keystore(f *os.File) ([]byte, error) {
	var magic [4]byte
	if n, err := f.ReadAt(magic[:], 0); n < 4 {
		if err == io.EOF {
			err = nil
		}
		return nil, err
	}
	if binary.BigEndian.Uint32(magic[:]) != keystoreMagic {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, 0, keystoreLimit+1), keystoreLimit+1))
	if err != nil || len(data) > keystoreLimit || !settleKeystore(data, c.o.SourceDate) {
		return nil, err
	}
	return data, nil
}
