// SPDX-License-Identifier: Apache-2.0

// Package sign verifies and makes signatures: OpenPGP, detached, and plain ed25519.
//
// It reads no file and knows no package, repository or metadata: bytes in, verdict out. It encrypts nothing and keeps
// no web of trust: a key counts as trusted because the caller put it into the Keyring.
//
// Invariants: a signature is good only if one certificate, judged on its own, had the key, allowed it to sign and had
// neither revoked it nor let it expire when the signature was made; every refusal is an ErrUntrusted and names the key.
package sign

import (
	"errors"
	"fmt"
	"time"
)

// ErrUntrusted is what every refusal of a signature is, whatever its reason.
var ErrUntrusted = errors.New("signature is not trusted")

// UnknownKeyError says that the Keyring has no key of that id.
//
//	shape   ID 16 hex digits, or a fingerprint where the signature names one of 256 bits
type UnknownKeyError struct{ ID string }

func (e *UnknownKeyError) Error() string        { return "made by unknown key " + e.ID }
func (e *UnknownKeyError) Is(target error) bool { return target == ErrUntrusted }

// UnknownKey gives the id of the key.
func (e *UnknownKeyError) UnknownKey() string { return e.ID }

// DistrustedKeyError says that the key is known but must not be relied on: revoked, expired, not for signing, too weak.
type DistrustedKeyError struct{ ID, Reason string }

func (e *DistrustedKeyError) Error() string        { return fmt.Sprintf("made by key %s: %s", e.ID, e.Reason) }
func (e *DistrustedKeyError) Is(target error) bool { return target == ErrUntrusted }

// DistrustedKey gives the id of the key.
func (e *DistrustedKeyError) DistrustedKey() string { return e.ID }

// BadSignatureError says that the signature does not fit the bytes, or is no readable signature. ID is "" in the latter case.
type BadSignatureError struct{ ID, Reason string }

func (e *BadSignatureError) Error() string {
	if e.ID == "" {
		return e.Reason
	}
	return fmt.Sprintf("by key %s: %s", e.ID, e.Reason)
}
func (e *BadSignatureError) Is(target error) bool { return target == ErrUntrusted }

// Signer is who made a good signature, and when.
//
//	shape   Fingerprint of the certificate and KeyID of the key that signed (perhaps a subkey), lower-case hex
type Signer struct {
	Fingerprint, KeyID, UserID string
	Time                       time.Time
}

// String gives the fingerprint and the user id.
func (s Signer) String() string {
	if s.UserID == "" {
		return s.Fingerprint
	}
	return s.Fingerprint + " (" + s.UserID + ")"
}
