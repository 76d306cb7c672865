// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ErrDigest says that content differs from the digest that the header, or the signature header, gives for it.
var ErrDigest = errors.New("digest mismatch")

// digestNames maps OpenPGP's numbers of digest algorithms, which headers use.
//
//	source  RFC 9580 section 9.5
var digestNames = map[uint32]string{1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224", 12: "sha3-256", 14: "sha3-512"}

func newHash(algo string) (hash.Hash, error) {
	switch algo {
	case "md5":
		return md5.New(), nil
	case "sha1":
		return sha1.New(), nil
	case "sha224":
		return sha256.New224(), nil
	case "sha256":
		return sha256.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha512":
		return sha512.New(), nil
	case "sha3-256":
		return sha3.New256(), nil
	case "sha3-512":
		return sha3.New512(), nil
	}
	return nil, fmt.Errorf("digest algorithm %q is not known", algo)
}

func checkSum(what string, h hash.Hash, want string) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.ToLower(want) {
		return fmt.Errorf("%s: %w: got %s, want %s", what, ErrDigest, got, want)
	}
	return nil
}

// payloadDigest gives the digest that the main header holds of the payload as it lies in the file; zero if there is none.
//
//	source  rpm docs/manual/format_v4.md and format_v6.md
func (h *Header) payloadDigest() (Digest, error) {
	if v := h.String(TagPayloadDigest); v != "" {
		algo, err := h.DigestAlgo(TagPayloadDigestAlgo)
		return Digest{algo, v}, err
	}
	if v := h.String(TagPayloadSHA512); v != "" {
		return Digest{"sha512", v}, nil
	}
	if v := h.String(TagPayloadSHA3_256); v != "" {
		return Digest{"sha3-256", v}, nil
	}
	return Digest{}, nil
}

// Matches says whether the content has this digest.
//
//	errors  the reader's; an algorithm that is not known
func (d Digest) Matches(r io.Reader) (bool, error) {
	h, err := newHash(d.Algo)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(h, r); err != nil {
		return false, err
	}
	return strings.EqualFold(hex.EncodeToString(h.Sum(nil)), d.Hex), nil
}
