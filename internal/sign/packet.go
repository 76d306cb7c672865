// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Limits of what is read. The largest signatures in use (SLH-DSA) have 50 kB; the largest keyrings of distributions
// have some hundred keys with third-party signatures.
const (
	maxSignatureBytes   = 1 << 20
	maxSignaturePackets = 32
	maxKeyringBytes     = 64 << 20
)

const armorBegin, armorEnd = "-----BEGIN PGP ", "-----END PGP "

// dearmor gives the binary content of every armored block in text, or data itself if there is no armor.
//
//	source  RFC 9580 section 6.2; the checksum is not looked at, as the RFC asks
func dearmor(data []byte) ([][]byte, error) {
	if !bytes.Contains(data, []byte(armorBegin)) {
		return [][]byte{data}, nil
	}
	var out [][]byte
	var body strings.Builder
	const outside, head, inside = 0, 1, 2
	state := outside
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, armorBegin):
			body.Reset()
			state = head
		case state == outside:
		case strings.HasPrefix(line, armorEnd):
			block, err := base64.StdEncoding.DecodeString(body.String())
			if err != nil {
				return nil, fmt.Errorf("armor: %w", err)
			}
			out = append(out, block)
			state = outside
		case state == head && line == "":
			state = inside
		case state == head && !strings.Contains(line, ":"):
			state = inside // some tools leave out the empty line
			body.WriteString(line)
		case state == inside && !strings.HasPrefix(line, "="):
			body.WriteString(line)
		}
	}
	if state != outside || len(out) == 0 {
		return nil, errors.New("armor: no end")
	}
	return out, nil
}

type rawPacket struct {
	tag  byte
	body []byte
	all  []byte // with its head
}

// splitPackets takes a sequence of packets apart. Partial lengths, which no signature has, are refused.
//
//	source  RFC 9580 section 4.2
func splitPackets(data []byte) ([]rawPacket, error) { return splitUpTo(data, maxSignaturePackets) }

func splitUpTo(data []byte, most int) ([]rawPacket, error) {
	var out []rawPacket
	for len(data) > 0 {
		if len(out) == most {
			return nil, fmt.Errorf("more than %d packets", most)
		}
		tag, head, length, err := packetHead(data)
		if err != nil {
			return nil, err
		}
		if length > len(data)-head {
			return nil, fmt.Errorf("packet of %d bytes, %d are left", length, len(data)-head)
		}
		out = append(out, rawPacket{tag, data[head : head+length], data[:head+length]})
		data = data[head+length:]
	}
	return out, nil
}

var errShort = errors.New("packet is cut off")

func packetHead(b []byte) (tag byte, head, length int, err error) {
	if b[0]&0x80 == 0 {
		return 0, 0, 0, fmt.Errorf("packet begins with byte %#02x", b[0])
	}
	if len(b) < 2 {
		return 0, 0, 0, errShort
	}
	if b[0]&0x40 == 0 { // the old form
		tag, kind := b[0]>>2&0x0f, b[0]&3
		if kind == 3 {
			return tag, 1, len(b) - 1, nil
		}
		n := 1 << kind
		if len(b) < 1+n {
			return 0, 0, 0, errShort
		}
		for _, c := range b[1 : 1+n] {
			length = length<<8 | int(c)
		}
		return tag, 1 + n, length, nil
	}
	tag = b[0] & 0x3f
	switch {
	case b[1] < 192:
		return tag, 2, int(b[1]), nil
	case b[1] < 224:
		if len(b) < 3 {
			return 0, 0, 0, errShort
		}
		return tag, 3, (int(b[1])-192)<<8 + int(b[2]) + 192, nil
	case b[1] == 255:
		if len(b) < 6 {
			return 0, 0, 0, errShort
		}
		return tag, 6, int(binary.BigEndian.Uint32(b[2:])), nil
	}
	return 0, 0, 0, errors.New("packet of partial length")
}
