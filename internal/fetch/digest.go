// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// NewHash returns the hash that rpm-md, metalinks and headers call algo: md5, sha or sha1, sha224, sha256, sha384, sha512.
// The weak ones are no proof against an attacker, only against accidents: what trusts them must be signed besides.
func NewHash(algo string) (hash.Hash, error) {
	switch strings.ToLower(algo) {
	case "md5":
		return md5.New(), nil
	case "sha", "sha1":
		return sha1.New(), nil
	case "sha224":
		return sha256.New224(), nil
	case "sha256":
		return sha256.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("digest algorithm %q is not known", algo)
}

// parseDigest reads "sha256:hex"; "" is no digest, a nil hash.
func parseDigest(s string) (hash.Hash, []byte, error) {
	if s == "" {
		return nil, nil, nil
	}
	algo, text, ok := strings.Cut(s, ":")
	if !ok {
		return nil, nil, fmt.Errorf("parse digest %q: no algorithm before a colon", s)
	}
	h, err := NewHash(algo)
	if err != nil {
		return nil, nil, err
	}
	want, err := hex.DecodeString(text)
	if err != nil || len(want) != h.Size() {
		return nil, nil, fmt.Errorf("parse digest %q: not %d hex digits", s, 2*h.Size())
	}
	return h, want, nil
}
