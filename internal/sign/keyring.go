// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Keyring is a set of certificates that the caller trusts. The zero value is an empty one. It is safe for concurrent use.
type Keyring struct {
	certs []*cert

	// Legacy accepts what was good enough before 2010: SHA-1 as digest of what is signed, DSA and RSA keys below 2048 bits.
	Legacy bool

	// Current also asks that the key is neither revoked nor expired today, as gpg and so OSTree do; else what counts is the
	// day of the signature, as for packages, which are signed once.
	Current bool
}

// cert is one certificate; the mutex guards what the library remembers inside about self-signatures it has checked.
type cert struct {
	mu     sync.Mutex
	entity *openpgp.Entity
	binary []byte
}

// Key describes one certificate for people.
//
//	shape   Fingerprint, ID and Subkeys (ids) lower-case hex
//	units   CreatedSec, ExpiresSec since 1970, 0 = never expires
type Key struct {
	Fingerprint, ID        string
	UserIDs, Subkeys       []string
	CreatedSec, ExpiresSec int64
	Revoked                bool
}

// ParseKeyring reads certificates, armored (also several blocks with text between) or binary. What cannot be read as a
// key, or is of a kind that cannot verify anything, is left out.
//
//	errors  text only, if a piece of data has no usable key at all
func ParseKeyring(data ...[]byte) (Keyring, error) {
	var k Keyring
	for _, d := range data {
		if len(d) > maxKeyringBytes {
			return Keyring{}, fmt.Errorf("keyring of %d bytes, limit %d", len(d), maxKeyringBytes)
		}
		blocks, err := dearmor(d)
		if err != nil {
			return Keyring{}, fmt.Errorf("read key: %w", err)
		}
		before := len(k.certs)
		var last error = errors.New("no key in it")
		for _, b := range blocks {
			entities, err := openpgp.ReadKeyRing(bytes.NewReader(b))
			if err != nil {
				last = err
				continue
			}
			for _, e := range entities {
				c, err := certOf(e)
				if err != nil {
					last = err
					continue
				}
				k.certs = append(k.certs, c)
			}
		}
		if len(k.certs) == before {
			return Keyring{}, fmt.Errorf("no OpenPGP key: %w", last)
		}
	}
	return k.unique(), nil
}

// unique makes one certificate of those of one fingerprint. What cannot be put together stays beside the others.
func (k Keyring) unique() Keyring {
	groups, seen := map[string][]*cert{}, map[string]bool{}
	var order []string
	for _, c := range k.certs {
		key := string(c.entity.PrimaryKey.Fingerprint)
		if groups[key] == nil {
			order = append(order, key)
		}
		if !seen[string(c.binary)] {
			seen[string(c.binary)] = true
			groups[key] = append(groups[key], c)
		}
	}
	k.certs = nil
	for _, key := range order {
		group := groups[key]
		if len(group) > 1 {
			if one, err := join(group); err == nil {
				group = []*cert{one}
			}
		}
		k.certs = append(k.certs, group...)
	}
	return k
}

// Merge gives the union of both, with one certificate for each fingerprint; Legacy if one of them is, Current too.
func (k Keyring) Merge(o Keyring) Keyring {
	return Keyring{certs: slices.Concat(k.certs, o.certs), Legacy: k.Legacy || o.Legacy, Current: k.Current || o.Current}.unique()
}

// Len gives the number of certificates.
func (k Keyring) Len() int { return len(k.certs) }

// Encode gives all certificates in binary form, as gpg reads it from a .gpg file, without secret parts.
func (k Keyring) Encode() []byte {
	var out []byte
	for _, c := range k.certs {
		out = append(out, c.binary...)
	}
	return out
}

// Keys describes all certificates, in the order in which they were read.
func (k Keyring) Keys() []Key {
	out := make([]Key, 0, len(k.certs))
	for _, c := range k.certs {
		out = append(out, c.describe())
	}
	return out
}

func (c *cert) describe() Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entity
	key := Key{
		Fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint), ID: keyID(e.PrimaryKey),
		CreatedSec: e.PrimaryKey.CreationTime.Unix(),
	}
	for name := range e.Identities {
		key.UserIDs = append(key.UserIDs, name)
	}
	slices.Sort(key.UserIDs)
	for _, s := range e.Subkeys {
		key.Subkeys = append(key.Subkeys, keyID(s.PublicKey))
	}
	newest := c.newestSelfSignature()
	key.Revoked = e.Revoked(newest)
	if self, err := e.PrimarySelfSignature(newest, config()); err == nil && self.KeyLifetimeSecs != nil && *self.KeyLifetimeSecs != 0 {
		key.ExpiresSec = key.CreatedSec + int64(*self.KeyLifetimeSecs)
	}
	return key
}

// newestSelfSignature gives the time of the last thing the owner said about the primary key.
func (c *cert) newestSelfSignature() time.Time {
	newest := c.entity.PrimaryKey.CreationTime
	consider := func(sigs []*packet.VerifiableSignature) {
		for _, s := range sigs {
			if s.Packet.CreationTime.After(newest) {
				newest = s.Packet.CreationTime
			}
		}
	}
	for _, id := range c.entity.Identities {
		consider(id.SelfCertifications)
	}
	consider(c.entity.DirectSignatures)
	consider(c.entity.Revocations)
	return newest
}

func (c *cert) userID() string {
	if _, id := c.entity.PrimaryIdentity(c.newestSelfSignature(), config()); id != nil {
		return id.Name
	}
	return ""
}

func keyID(k *packet.PublicKey) string { return fmt.Sprintf("%016x", k.KeyId) }

// config holds the rules for self-signatures. DSA and SHA-1 are in the keys of distributions that live on, so they
// are not refused there; what a message may use is decided in checkStrength.
func config() *packet.Config {
	return &packet.Config{
		RejectPublicKeyAlgorithms: map[packet.PublicKeyAlgorithm]bool{packet.PubKeyAlgoElGamal: true},
		MinRSABits:                minRSABitsLegacy,
	}
}
