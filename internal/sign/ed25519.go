// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto/ed25519"
	"fmt"
)

// VerifyEd25519 checks a plain ed25519 signature, as OSTree's sign-ed25519 makes them over the bytes of a commit.
//
//	shape   public 32 bytes, sig 64 bytes
//	errors  ErrUntrusted
func VerifyEd25519(public, data, sig []byte) error {
	if len(public) != ed25519.PublicKeySize {
		return &BadSignatureError{Reason: fmt.Sprintf("ed25519 key of %d bytes, want %d", len(public), ed25519.PublicKeySize)}
	}
	if len(sig) != ed25519.SignatureSize {
		return &BadSignatureError{Reason: fmt.Sprintf("ed25519 signature of %d bytes, want %d", len(sig), ed25519.SignatureSize)}
	}
	if !ed25519.Verify(public, data, sig) {
		return &BadSignatureError{ID: fmt.Sprintf("%x", public[:8]), Reason: "the signature does not fit"}
	}
	return nil
}

// SignEd25519 signs data. secret is the seed of 32 bytes or, as libsodium and OSTree keep it, seed and public key together.
//
//	errors  text only, for a secret of another length
func SignEd25519(secret, data []byte) ([]byte, error) {
	switch len(secret) {
	case ed25519.SeedSize:
		return ed25519.Sign(ed25519.NewKeyFromSeed(secret), data), nil
	case ed25519.PrivateKeySize:
		return ed25519.Sign(ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize]), data), nil
	}
	return nil, fmt.Errorf("ed25519 secret of %d bytes, want %d or %d", len(secret), ed25519.SeedSize, ed25519.PrivateKeySize)
}

// PublicEd25519 gives the public key of a secret, which has a form that SignEd25519 takes.
//
//	errors  text only, for a secret of another length
func PublicEd25519(secret []byte) ([]byte, error) {
	if len(secret) != ed25519.SeedSize && len(secret) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("ed25519 secret of %d bytes, want %d or %d", len(secret), ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	return ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize]).Public().(ed25519.PublicKey), nil
}
