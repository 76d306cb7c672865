// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // the digests that signatures may name
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Smallest keys, in bits, for what is signed today and with Keyring.Legacy.
const (
	minRSABits       = 2048
	minRSABitsLegacy = 1023 // a key "of 1024 bits" may have a product of one bit less
)

// attempt is one signature packet tried against one key of one certificate.
type attempt struct {
	cert *cert
	key  *packet.PublicKey
	sub  *openpgp.Subkey // nil: the primary key itself
	hash hash.Hash
	sum  io.Writer // hash, or what canonicalizes text in front of it
	sig  detached
}

// detached is a signature packet of any version.
type detached interface {
	newHash() (hash.Hash, error)
	isText() bool
	issuedBy(*packet.PublicKey) bool
	issuer() string
	algorithm() packet.PublicKeyAlgorithm
	made() time.Time
	expires() time.Time // zero: never
	digest() crypto.Hash
	check(hash.Hash, *packet.PublicKey) error
	policy() error
}

// Verify tells who signed the bytes of signed. sig is binary or armored and may hold several signatures: one good one
// is enough. signed is read once, whatever the number of keys.
//
//	errors  ErrUntrusted, as *BadSignatureError, *DistrustedKeyError or *UnknownKeyError (the gravest of them); or signed's own
func (k Keyring) Verify(signed io.Reader, sig []byte) (Signer, error) {
	sigs, err := parseSignatures(sig)
	if err != nil {
		return Signer{}, &BadSignatureError{Reason: "read signature: " + err.Error()}
	}
	var attempts []*attempt
	var writers []io.Writer
	var verdict error
	for _, s := range sigs {
		found, err := k.attempts(s)
		if err != nil {
			verdict = graver(verdict, err)
		}
		attempts = append(attempts, found...)
	}
	for _, a := range attempts {
		writers = append(writers, a.sum)
	}
	if len(attempts) > 0 {
		if _, err := io.Copy(io.MultiWriter(writers...), signed); err != nil {
			return Signer{}, err
		}
	}
	for _, a := range attempts {
		if err := a.judge(k); err != nil {
			verdict = graver(verdict, err)
			continue
		}
		a.cert.mu.Lock()
		defer a.cert.mu.Unlock()
		return Signer{
			Fingerprint: hex.EncodeToString(a.cert.entity.PrimaryKey.Fingerprint), KeyID: keyID(a.key),
			UserID: a.cert.userID(), Time: a.sig.made(),
		}, nil
	}
	return Signer{}, verdict
}

// VerifyFunc gives Verify in the shape that the rpm package asks for.
func (k Keyring) VerifyFunc() func(signed io.Reader, sig []byte) (string, error) {
	return func(signed io.Reader, sig []byte) (string, error) {
		s, err := k.Verify(signed, sig)
		if err != nil {
			return "", err
		}
		return s.String(), nil
	}
}

// graver gives the error that says more: bad before distrusted before unknown.
func graver(a, b error) error {
	rank := func(err error) int {
		var bad *BadSignatureError
		var distrusted *DistrustedKeyError
		switch {
		case err == nil:
			return 0
		case errors.As(err, &bad):
			return 3
		case errors.As(err, &distrusted):
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// parseSignatures reads all signature packets in sig. Those of unknown versions or algorithms are skipped if another is there.
func parseSignatures(sig []byte) ([]detached, error) {
	if len(sig) > maxSignatureBytes {
		return nil, fmt.Errorf("%d bytes, limit %d", len(sig), maxSignatureBytes)
	}
	blocks, err := dearmor(sig)
	if err != nil {
		return nil, err
	}
	var out []detached
	last := errors.New("no signature in it")
	for _, b := range blocks {
		packets, err := splitPackets(b)
		if err != nil {
			return nil, err
		}
		for _, p := range packets {
			if p.tag != tagSignature {
				continue
			}
			s, err := parseSignature(p)
			if err != nil {
				last = err
				continue
			}
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, last
	}
	if len(out) > maxSignaturePackets {
		return nil, fmt.Errorf("more than %d signatures", maxSignaturePackets)
	}
	return out, nil
}

func parseSignature(p rawPacket) (detached, error) {
	if len(p.body) == 0 {
		return nil, errShort
	}
	if p.body[0] == 3 {
		return parseV3(p.body)
	}
	pkt, err := packet.Read(bytes.NewReader(p.all))
	if err != nil {
		return nil, err
	}
	s, ok := pkt.(*packet.Signature)
	if !ok {
		return nil, fmt.Errorf("packet of type %T", pkt)
	}
	if s.SigType != packet.SigTypeBinary && s.SigType != packet.SigTypeText {
		return nil, fmt.Errorf("signature of type %#02x, want one over a document", byte(s.SigType))
	}
	return modern{s}, nil
}

// attempts finds all keys that may have made s.
func (k Keyring) attempts(s detached) ([]*attempt, error) {
	var out []*attempt
	for _, c := range k.certs {
		if s.issuedBy(c.entity.PrimaryKey) {
			out = append(out, &attempt{cert: c, key: c.entity.PrimaryKey, sig: s})
		}
		for i := range c.entity.Subkeys {
			if sub := &c.entity.Subkeys[i]; s.issuedBy(sub.PublicKey) {
				out = append(out, &attempt{cert: c, key: sub.PublicKey, sub: sub, sig: s})
			}
		}
	}
	if len(out) == 0 {
		return nil, &UnknownKeyError{ID: s.issuer()}
	}
	for _, a := range out {
		h, err := s.newHash()
		if err != nil {
			return nil, &BadSignatureError{ID: s.issuer(), Reason: err.Error()}
		}
		a.hash, a.sum = h, h
		if s.isText() {
			a.sum = openpgp.NewCanonicalTextHash(h)
		}
	}
	return out, nil
}

// judge checks the signature first, then whether its key may be relied on.
func (a *attempt) judge(k Keyring) error {
	if err := a.sig.check(a.hash, a.key); err != nil {
		return &BadSignatureError{ID: keyID(a.key), Reason: err.Error()}
	}
	distrust := func(reason string) error { return &DistrustedKeyError{ID: keyID(a.key), Reason: reason} }
	if reason := a.checkStrength(k.Legacy); reason != "" {
		return distrust(reason)
	}
	if err := a.sig.policy(); err != nil {
		return distrust(err.Error())
	}
	a.cert.mu.Lock()
	defer a.cert.mu.Unlock()
	err := a.checkValid()
	if err == nil && k.Current {
		err = a.checkNow(time.Now())
	}
	if err != nil {
		return distrust(reason(err))
	}
	return nil
}

func (a *attempt) checkStrength(legacy bool) string {
	switch h := a.sig.digest(); {
	case h == crypto.SHA1 && !legacy, h == crypto.MD5, h == crypto.RIPEMD160:
		return "the signature uses " + h.String()
	}
	if curve, err := a.key.Curve(); err == nil && curve == packet.CurveSecP256k1 {
		return "key on curve " + string(curve)
	}
	bits, want := 0, minRSABits
	if legacy {
		want = minRSABitsLegacy
	}
	switch a.key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoDSA:
		n, err := a.key.BitLength()
		if err != nil {
			return err.Error()
		}
		bits = int(n)
	default:
		return ""
	}
	if bits < want-1 {
		return fmt.Sprintf("key of %d bits, want %d", bits, want)
	}
	return ""
}

var (
	errNotForSigning = errors.New("key is not for signing")
	errOlderThanKey  = errors.New("signature is older than the key")
)

// checkValid tells whether the certificate let its key sign at the time of the signature.
//
// Distributions export only their newest self-signature, so where none is as old as the signature the newest counts.
func (a *attempt) checkValid() error {
	made := a.sig.made()
	if made.Before(a.key.CreationTime) {
		return errOlderThanKey
	}
	e := a.cert.entity
	if e.Revoked(made) {
		return pgperrors.ErrKeyRevoked
	}
	self, err := e.VerifyPrimaryKey(made, config())
	if err != nil {
		if self, err = a.newestPrimary(made); err != nil {
			return err
		}
	}
	if a.sub == nil {
		if self.FlagsValid && !self.FlagSign {
			return errNotForSigning
		}
		return nil
	}
	binding, err := a.sub.Verify(made, config())
	if err != nil && !errors.Is(err, pgperrors.ErrKeyRevoked) {
		binding, err = a.newestBinding(made)
	}
	if err != nil {
		return err
	}
	if !binding.FlagsValid || !binding.FlagSign {
		return errNotForSigning // without the flag the library has not asked for the subkey's own consent
	}
	return nil
}

func (a *attempt) newestPrimary(made time.Time) (*packet.Signature, error) {
	e := a.cert.entity
	newest := a.cert.newestSelfSignature()
	self, err := e.PrimarySelfSignature(newest, config())
	if err != nil {
		return nil, err
	}
	if e.PrimaryKey.KeyExpired(self, made) || self.SigExpired(newest) {
		return nil, pgperrors.ErrKeyExpired
	}
	return self, nil
}

func (a *attempt) newestBinding(made time.Time) (*packet.Signature, error) {
	newest := made
	for _, b := range a.sub.Bindings {
		if b.Packet.CreationTime.After(newest) {
			newest = b.Packet.CreationTime
		}
	}
	binding, err := a.sub.LatestValidBindingSignature(newest, config())
	if err != nil {
		return nil, err
	}
	if a.sub.Revoked(binding, made) {
		return nil, pgperrors.ErrKeyRevoked
	}
	if a.sub.PublicKey.KeyExpired(binding, made) {
		return nil, pgperrors.ErrKeyExpired
	}
	return binding, nil
}

func reason(err error) string {
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "key is revoked"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "key had expired"
	}
	return strings.TrimPrefix(err.Error(), "openpgp: ")
}

// modern is a signature of version 4 to 6.
type modern struct{ sig *packet.Signature }

func (m modern) newHash() (hash.Hash, error) { return m.sig.PrepareVerify() }
func (m modern) isText() bool                { return m.sig.SigType == packet.SigTypeText }
func (m modern) made() time.Time             { return m.sig.CreationTime }
func (m modern) expires() time.Time          { return lifetime(m.sig.CreationTime, m.sig.SigLifetimeSecs) }
func (m modern) digest() crypto.Hash         { return m.sig.Hash }

func (m modern) algorithm() packet.PublicKeyAlgorithm { return m.sig.PubKeyAlgo }

func (m modern) issuedBy(k *packet.PublicKey) bool {
	return k.PubKeyAlgo.CanSign() && m.sig.CheckKeyIdOrFingerprint(k)
}

func (m modern) issuer() string {
	switch {
	case len(m.sig.IssuerFingerprint) == 32:
		return hex.EncodeToString(m.sig.IssuerFingerprint)
	case m.sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016x", *m.sig.IssuerKeyId)
	case len(m.sig.IssuerFingerprint) >= 20:
		return hex.EncodeToString(m.sig.IssuerFingerprint[12:])
	}
	return "(not named)"
}

func (m modern) check(h hash.Hash, k *packet.PublicKey) error {
	if err := k.VerifySignature(h, m.sig); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "openpgp: "))
	}
	return nil
}

// policy refuses signatures that say themselves that they no longer count.
func (m modern) policy() error {
	for _, n := range m.sig.Notations {
		if n.IsCritical {
			return fmt.Errorf("critical notation %q is not known", n.Name)
		}
	}
	if at := m.expires(); !at.IsZero() && time.Now().After(at) {
		return errors.New("the signature has expired")
	}
	return nil
}
