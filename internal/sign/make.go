// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	stded25519 "crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// NewKey says what GenerateKey makes. The zero value gives a fresh key without a name, made now.
//
//	shape   Seed 32 bytes: the same NewKey with a Seed and a Time gives the same key, byte for byte. Only for keys that guard nothing
type NewKey struct {
	Name, Email string
	Seed        []byte
	Time        time.Time
}

// GenerateKey makes an ed25519 signing key (version 4, algorithm EdDSA, which rpm 4.17 and gpg 2.2 know).
//
//	shape   both binary; Armor turns them into text
func GenerateKey(n NewKey) (secret, public []byte, err error) {
	at := n.Time
	if at.IsZero() {
		at = time.Now()
	}
	at = at.Truncate(time.Second)
	cfg := makeConfig(at)
	seed := n.Seed
	if seed == nil {
		seed = make([]byte, stded25519.SeedSize)
		if _, err := rand.Read(seed); err != nil {
			return nil, nil, err
		}
	}
	if len(seed) != stded25519.SeedSize {
		return nil, nil, fmt.Errorf("generate key: seed of %d bytes, want %d", len(seed), stded25519.SeedSize)
	}
	key, err := edKey(seed, cfg)
	if err != nil {
		return nil, nil, err
	}
	priv := packet.NewEdDSAPrivateKey(at, key)
	e := &openpgp.Entity{PrimaryKey: &priv.PublicKey, PrivateKey: priv, Identities: map[string]*openpgp.Identity{}}
	if err := e.AddUserId(n.Name, "", n.Email, cfg); err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	for _, id := range e.Identities {
		self := id.SelfCertifications[0].Packet
		self.FlagsValid, self.FlagCertify, self.FlagSign = true, true, true
		if err := self.SignUserId(id.Name, e.PrimaryKey, priv, cfg); err != nil {
			return nil, nil, fmt.Errorf("generate key: %w", err)
		}
	}
	var sec, pub bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&sec, cfg); err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	if err := e.Serialize(&pub); err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	return sec.Bytes(), pub.Bytes(), nil
}

// edKey makes the library's form of an ed25519 key from a seed. Only the library can name the curve, so it makes a
// key of its own whose curve is taken.
func edKey(seed []byte, cfg *packet.Config) (*eddsa.PrivateKey, error) {
	other, err := openpgp.NewEntity("x", "", "", cfg)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	model, ok := other.PrivateKey.PrivateKey.(*eddsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("internal error: key of type %T", other.PrivateKey.PrivateKey)
	}
	key := eddsa.NewPrivateKey(*eddsa.NewPublicKey(model.GetCurve()))
	if err := key.UnmarshalByteSecret(bytes.Clone(seed)); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	public := stded25519.NewKeyFromSeed(seed).Public().(stded25519.PublicKey)
	const native = 0x40 // says that the point follows in the curve's own form
	if err := key.UnmarshalPoint(append([]byte{native}, public...)); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func makeConfig(at time.Time) *packet.Config {
	random := false // or each signature would carry a random notation
	return &packet.Config{
		Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		NonDeterministicSignaturesViaNotation: &random, RejectPublicKeyAlgorithms: map[packet.PublicKeyAlgorithm]bool{},
	}
}

// SignDetached makes a binary OpenPGP signature over data, now. secretKey is binary or armored, without passphrase.
//
//	errors  text only
func SignDetached(secretKey []byte, data io.Reader) ([]byte, error) {
	return SignDetachedAt(secretKey, data, time.Now())
}

// SignDetachedAt is SignDetached with the time that the signature names: the same input gives the same bytes for
// ed25519 and RSA keys.
func SignDetachedAt(secretKey []byte, data io.Reader, at time.Time) ([]byte, error) {
	e, err := parseSecret(secretKey)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := openpgp.DetachSign(&out, []*openpgp.Entity{e}, data, makeConfig(at)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return out.Bytes(), nil
}

// PackageSigner gives a function that signs bytes with the key, in the shape that makers of RPM packages ask for.
//
//	errors  text only, if the key cannot be read
func PackageSigner(secretKey []byte, at time.Time) (func([]byte) ([]byte, error), error) {
	if _, err := parseSecret(secretKey); err != nil {
		return nil, err
	}
	return func(b []byte) ([]byte, error) { return SignDetachedAt(secretKey, bytes.NewReader(b), at) }, nil
}

func parseSecret(secretKey []byte) (*openpgp.Entity, error) {
	blocks, err := dearmor(secretKey)
	if err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	}
	for _, b := range blocks {
		entities, err := openpgp.ReadKeyRing(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("read secret key: %w", err)
		}
		for _, e := range entities {
			if e.PrivateKey != nil {
				return e, nil
			}
		}
	}
	return nil, errors.New("read secret key: no secret part in it")
}

// Kinds of armor.
const (
	ArmorPublicKey = "PUBLIC KEY BLOCK"
	ArmorSecretKey = "PRIVATE KEY BLOCK"
	ArmorSignature = "SIGNATURE"
)

// Armor gives data as text of the kind, with the checksum that gpg and rpm expect.
//
//	source  RFC 4880 section 6
func Armor(kind string, data []byte) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s-----\n\n", armorBegin, kind)
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	b.WriteString(text + "\n")
	sum := binary.BigEndian.AppendUint32(nil, crc24(data))
	fmt.Fprintf(&b, "=%s\n%s%s-----\n", base64.StdEncoding.EncodeToString(sum[1:]), armorEnd, kind)
	return []byte(b.String())
}

func crc24(data []byte) uint32 {
	crc := uint32(0xb704ce)
	for _, c := range data {
		crc ^= uint32(c) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return crc & 0xffffff
}
