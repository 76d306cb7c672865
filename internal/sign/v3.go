// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto"
	"crypto/dsa"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// legacySignature is an OpenPGP signature of version 3, as RPM packages up to EL 8 carry.
//
//	shape   3, 5, type, time (4 bytes), key id (8), public key algorithm, digest algorithm, 2 bytes of digest, integers
//	source  RFC 4880 section 5.2.2
type legacySignature struct {
	kind    byte
	madeSec uint32
	keyID   uint64
	algo    packet.PublicKeyAlgorithm
	hash    crypto.Hash
	tag     [2]byte
	values  []*big.Int
	suffix  []byte
}

const legacyFixedBytes = 19

// legacyHashes maps OpenPGP's numbers; MD5 is there to be named in the refusal.
var legacyHashes = map[byte]crypto.Hash{1: crypto.MD5, 2: crypto.SHA1, 8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512, 11: crypto.SHA224}

func parseV3(b []byte) (*legacySignature, error) {
	if len(b) < legacyFixedBytes {
		return nil, errShort
	}
	if b[1] != 5 {
		return nil, fmt.Errorf("signature of version 3: %d bytes hashed, want 5", b[1])
	}
	s := &legacySignature{
		kind: b[2], madeSec: binary.BigEndian.Uint32(b[3:]), keyID: binary.BigEndian.Uint64(b[7:]),
		algo: packet.PublicKeyAlgorithm(b[15]), tag: [2]byte{b[17], b[18]}, suffix: append([]byte(nil), b[2:7]...),
	}
	if s.kind > 1 {
		return nil, fmt.Errorf("signature of type %#02x, want one over a document", s.kind)
	}
	var ok bool
	if s.hash, ok = legacyHashes[b[16]]; !ok {
		return nil, fmt.Errorf("digest algorithm %d is not known", b[16])
	}
	want := 1
	switch s.algo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
	case packet.PubKeyAlgoDSA:
		want = 2
	default:
		return nil, fmt.Errorf("signature of version 3 with algorithm %d", s.algo)
	}
	rest := b[legacyFixedBytes:]
	for range want {
		if len(rest) < 2 {
			return nil, errShort
		}
		n := (int(binary.BigEndian.Uint16(rest)) + 7) / 8
		if len(rest) < 2+n {
			return nil, errShort
		}
		s.values = append(s.values, new(big.Int).SetBytes(rest[2:2+n]))
		rest = rest[2+n:]
	}
	return s, nil
}

func (s *legacySignature) newHash() (hash.Hash, error) {
	if !s.hash.Available() {
		return nil, fmt.Errorf("digest %s is not accepted", s.hash)
	}
	return s.hash.New(), nil
}

func (s *legacySignature) isText() bool        { return s.kind == 1 }
func (s *legacySignature) issuer() string      { return fmt.Sprintf("%016x", s.keyID) }
func (s *legacySignature) made() time.Time     { return time.Unix(int64(s.madeSec), 0).UTC() }
func (s *legacySignature) digest() crypto.Hash { return s.hash }
func (s *legacySignature) policy() error       { return nil }
func (s *legacySignature) expires() time.Time  { return time.Time{} }

func (s *legacySignature) algorithm() packet.PublicKeyAlgorithm { return s.algo }

// issuedBy holds for keys of version 4 only: those of 6 must not make such signatures.
func (s *legacySignature) issuedBy(k *packet.PublicKey) bool {
	return k.Version == 4 && k.KeyId == s.keyID && k.PubKeyAlgo.CanSign()
}

var errMismatch = errors.New("the signature does not fit")

func (s *legacySignature) check(h hash.Hash, k *packet.PublicKey) error {
	h.Write(s.suffix)
	sum := h.Sum(nil)
	if sum[0] != s.tag[0] || sum[1] != s.tag[1] {
		return errMismatch
	}
	switch key := k.PublicKey.(type) {
	case *rsa.PublicKey:
		if len(s.values) != 1 || s.values[0].BitLen() > key.N.BitLen() {
			return errMismatch
		}
		if rsa.VerifyPKCS1v15(key, s.hash, sum, s.values[0].FillBytes(make([]byte, key.Size()))) != nil {
			return errMismatch
		}
		return nil
	case *dsa.PublicKey:
		if len(s.values) != 2 {
			return errMismatch
		}
		if n := (key.Q.BitLen() + 7) / 8; len(sum) > n {
			sum = sum[:n]
		}
		if !dsa.Verify(key, sum, s.values[0], s.values[1]) {
			return errMismatch
		}
		return nil
	}
	return fmt.Errorf("key of algorithm %d, signature of %d", k.PubKeyAlgo, s.algo)
}
