// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Report is what there is to say about one OpenPGP signature.
//
//	shape   KeyID 16 digits of the key that signed; Fingerprint of that key and Primary of its certificate, "" where the
//	        Keyring does not have it; all lower-case hex. Algorithm as gpg names it: RSA, DSA, ECDSA, EdDSA
//	units   times since 1970; the zero time = never
type Report struct {
	KeyID, Fingerprint, Primary string
	Algorithm, UserID           string
	Made, SignatureExpires      time.Time
	KeyExpires, PrimaryExpires  time.Time
	Revoked                     bool // the key or its certificate
	Err                         error
}

// Good tells whether the signature may be relied on.
func (r Report) Good() bool { return r.Err == nil }

// Known tells whether the Keyring has the key.
func (r Report) Known() bool { return r.Fingerprint != "" }

// Examine judges every signature in sig, which may be binary or armored, over data. Each gets a Report whose Err is nil or
// an ErrUntrusted; where a key is there in several certificates the verdict that is best for the signature counts.
//
//	errors  ErrUntrusted if sig is no signature at all
func (k Keyring) Examine(data, sig []byte) ([]Report, error) {
	sigs, err := parseSignatures(sig)
	if err != nil {
		return nil, &BadSignatureError{Reason: "read signature: " + err.Error()}
	}
	out := make([]Report, 0, len(sigs))
	for _, s := range sigs {
		out = append(out, k.examineOne(data, s))
	}
	return out, nil
}

func (k Keyring) examineOne(data []byte, s detached) Report {
	r := Report{KeyID: s.issuer(), Algorithm: algorithmName(s.algorithm()), Made: s.made(), SignatureExpires: s.expires()}
	if n := len(r.KeyID); n > 16 && n%16 == 0 {
		r.KeyID = r.KeyID[:16] // of a key of version 6 the id is the fingerprint's beginning
	}
	tries, err := k.attempts(s)
	if err != nil {
		r.Err = err
		return r
	}
	for i, a := range tries {
		if _, err := a.sum.Write(data); err != nil {
			r.Err = err
			return r
		}
		verdict := a.judge(k)
		if i > 0 && verdict != nil {
			continue
		}
		r.Err = verdict
		a.describe(&r)
		if verdict == nil {
			break
		}
	}
	return r
}

// describe fills in what the certificate says.
func (a *attempt) describe(r *Report) {
	a.cert.mu.Lock()
	defer a.cert.mu.Unlock()
	e := a.cert.entity
	r.KeyID, r.Fingerprint, r.Primary = keyID(a.key), hex.EncodeToString(a.key.Fingerprint), hex.EncodeToString(e.PrimaryKey.Fingerprint)
	r.UserID = a.cert.userID()
	newest := a.cert.newestSelfSignature()
	if self, err := e.PrimarySelfSignature(newest, config()); err == nil {
		r.PrimaryExpires = lifetime(e.PrimaryKey.CreationTime, self.KeyLifetimeSecs)
	}
	r.KeyExpires = r.PrimaryExpires
	now := time.Now()
	r.Revoked = e.Revoked(now)
	if a.sub == nil {
		return
	}
	r.KeyExpires = time.Time{}
	if binding, err := a.sub.LatestValidBindingSignature(now, config()); err == nil {
		r.KeyExpires = lifetime(a.key.CreationTime, binding.KeyLifetimeSecs)
		r.Revoked = r.Revoked || a.sub.Revoked(binding, now)
	}
}

func lifetime(from time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return from.Add(time.Duration(*seconds) * time.Second)
}

func algorithmName(a packet.PublicKeyAlgorithm) string {
	switch a {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		return "RSA"
	case packet.PubKeyAlgoDSA:
		return "DSA"
	case packet.PubKeyAlgoECDSA:
		return "ECDSA"
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return "EdDSA"
	}
	return "unknown"
}

// IssuedBy tells whether the key that made the signature goes by that name: its id or fingerprint, or the end of one, at
// least eight hex digits, or the primary key's of its certificate where the Keyring has that.
func (r Report) IssuedBy(key string) bool {
	key = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(key, "0x"), "0X"))
	key = strings.TrimSuffix(key, "!")
	if len(key) < minKeyName || strings.Trim(key, "0123456789abcdef") != "" {
		return false
	}
	for _, name := range []string{r.KeyID, r.Fingerprint, r.Primary} {
		if name != "" && strings.HasSuffix(name, key) {
			return true
		}
	}
	return len(key) > 16 && r.Fingerprint == "" && strings.HasSuffix(key, r.KeyID)
}

// minKeyName is how many digits name a key at least: a short id has eight.
const minKeyName = 8

// KeyIDs gives the ids of the keys that made the signatures in sig, without judging them.
//
//	errors  ErrUntrusted if sig is no signature
func KeyIDs(sig []byte) ([]string, error) {
	reports, err := (Keyring{}).Examine(nil, sig)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range reports {
		ids = append(ids, r.KeyID)
	}
	return ids, nil
}

// checkNow refuses a key that is revoked or has expired by now, even if the signature is older.
func (a *attempt) checkNow(now time.Time) error {
	e := a.cert.entity
	if e.Revoked(now) {
		return errRevokedNow
	}
	self, err := e.PrimarySelfSignature(a.cert.newestSelfSignature(), config())
	if err != nil {
		return err
	}
	if e.PrimaryKey.KeyExpired(self, now) {
		return errExpiredNow
	}
	if a.sub == nil {
		return nil
	}
	newest := now
	for _, b := range a.sub.Bindings {
		if b.Packet.CreationTime.After(newest) {
			newest = b.Packet.CreationTime
		}
	}
	binding, err := a.sub.LatestValidBindingSignature(newest, config())
	switch {
	case err != nil:
		return err
	case a.sub.Revoked(binding, now):
		return errRevokedNow
	case a.sub.PublicKey.KeyExpired(binding, now):
		return errExpiredNow
	}
	return nil
}

var (
	errRevokedNow = errors.New("key is revoked")
	errExpiredNow = errors.New("key has expired")
)

// FindKeys gives the certificates that one of the names stands for: an id, a fingerprint, the end of one, or a part of a
// user id. No name: all.
func (k Keyring) FindKeys(names ...string) Keyring {
	if len(names) == 0 {
		return k
	}
	found := Keyring{Legacy: k.Legacy, Current: k.Current}
	for _, c := range k.certs {
		d := c.describe()
		for _, n := range names {
			if d.named(n) {
				found.certs = append(found.certs, c)
				break
			}
		}
	}
	return found
}

func (d Key) named(name string) bool {
	r := Report{KeyID: d.ID, Primary: d.Fingerprint, Fingerprint: d.Fingerprint}
	if r.IssuedBy(name) {
		return true
	}
	for _, s := range d.Subkeys {
		if (Report{KeyID: s}).IssuedBy(name) {
			return true
		}
	}
	for _, u := range d.UserIDs {
		if name != "" && bytes.Contains(bytes.ToLower([]byte(u)), bytes.ToLower([]byte(name))) {
			return true
		}
	}
	return false
}
