// SPDX-License-Identifier: Apache-2.0

package rpmdb

// ParseOld reads the bytes of an older format and gives the numbers and blobs of its packages.
func ParseOld(data []byte, bdb bool) (map[uint32]string, error) {
	parse := parseNDB
	if bdb {
		parse = parseBDB
	}
	blobs, err := parse(data)
	out := map[uint32]string{}
	for _, b := range blobs {
		out[b.hnum] = string(b.data)
	}
	return out, err
}

// RichNames is richNames.
func RichNames(dep string) []string { return richNames(dep) }

// Murmur is the hash of ndb keys.
var Murmur = murmur
