// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/sandbox"
	"grove/internal/sign"
)

// Signer makes signatures of one type with one key.
type Signer struct {
	Type string // GPG or Ed25519
	make func(ctx context.Context, data []byte) ([]byte, error)
}

// MetadataKey is where signatures of a type stand among those of a commit, summary or delta.
func MetadataKey(kind string) string {
	if kind == GPG {
		return ostree.KeyGPGSigs
	}
	return ostree.KeySignEd25519
}

// Keys say with what to sign, as the options of ostree's verbs do.
type Keys struct {
	GPG     []string // ids of keys in GPGHome; with a slash, files of OpenPGP secret keys without passphrase
	GPGHome string   // "" = gpg's default
	Sign    []string // secret keys of SignType, in base64
	Files   []string // files of such keys, one a line
	Type    string   // "" = ed25519

	// Now is the time that OpenPGP signatures made from a file name; zero = the clock's.
	Now time.Time
}

// Signers reads the keys.
//
//	errors  keys that cannot be read, types that are not known
func (k Keys) Signers() ([]Signer, error) {
	var out []Signer
	for _, name := range k.GPG {
		s, err := k.gpgSigner(name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if k.Type != "" && k.Type != Ed25519 {
		return nil, fmt.Errorf("sign: signatures of type %q are not known, only %s", k.Type, Ed25519)
	}
	secrets := slices.Clone(k.Sign)
	for _, f := range k.Files {
		lines, err := readLines(f)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		if len(lines) == 0 {
			return nil, fmt.Errorf("sign: no key in %s", f)
		}
		secrets = append(secrets, lines...)
	}
	for _, line := range secrets {
		secret, err := base64.StdEncoding.DecodeString(line)
		if err == nil {
			_, err = sign.PublicEd25519(secret)
		}
		if err != nil {
			return nil, errors.New("sign: the secret key is not an ed25519 key in base64 (64 bytes, or the first 32 of them)")
		}
		out = append(out, Signer{Ed25519, func(_ context.Context, data []byte) ([]byte, error) { return sign.SignEd25519(secret, data) }})
	}
	return out, nil
}

// gpgSigner signs with a file of a key, or runs gpg, which knows its own home, agent and smart cards.
func (k Keys) gpgSigner(name string) (Signer, error) {
	if strings.Contains(name, "/") {
		secret, err := ReadKeyFile(name)
		if err != nil {
			return Signer{}, fmt.Errorf("sign: %w", err)
		}
		return Signer{GPG, func(_ context.Context, data []byte) ([]byte, error) {
			at := k.Now
			if at.IsZero() {
				at = time.Now()
			}
			sig, err := sign.SignDetachedAt(secret, bytes.NewReader(data), at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return sig, nil
		}}, nil
	}
	if name == "" || strings.HasPrefix(name, "-") {
		return Signer{}, fmt.Errorf("sign: %q is no key id", name)
	}
	return Signer{GPG, func(ctx context.Context, data []byte) ([]byte, error) {
		argv := []string{"gpg", "--batch", "--no-tty", "--quiet"}
		if k.GPGHome != "" {
			argv = append(argv, "--homedir", k.GPGHome)
		}
		argv = append(argv, "--local-user", name, "--detach-sign", "--output", "-")
		sig, err := sandbox.HostTool(ctx, bytes.NewReader(data), argv...)
		if errors.Is(err, sandbox.ErrNoProgram) {
			return nil, fmt.Errorf("sign with key %s: %w; a file of the secret key (its path with a slash) needs no gpg", name, err)
		}
		if err != nil {
			return nil, fmt.Errorf("sign with key %s: %w", name, err)
		}
		return sig, nil
	}}, nil
}

// ErrSigned is what Sign answers where the key has signed the data already.
var ErrSigned = errors.New("has signed it already")

// Sign adds the signatures of all signers over data to d.
//
//	errors  ErrSigned
func Sign(ctx context.Context, signers []Signer, data []byte, d gvariant.Dict) (gvariant.Dict, error) {
	for _, s := range signers {
		sig, err := s.make(ctx, data)
		if err != nil {
			return nil, err
		}
		key := MetadataKey(s.Type)
		if err := notYet(s.Type, sig, ostree.Signatures(d, key)); err != nil {
			return nil, err
		}
		d = ostree.AddSignature(d, key, sig)
	}
	return d, nil
}

// notYet fails where the maker of sig has made one of the others.
func notYet(kind string, sig []byte, others [][]byte) error {
	if kind != GPG {
		if slices.ContainsFunc(others, func(o []byte) bool { return bytes.Equal(o, sig) }) {
			return fmt.Errorf("the key %w", ErrSigned)
		}
		return nil
	}
	mine, err := sign.KeyIDs(sig)
	if err != nil {
		return fmt.Errorf("sign: gpg made no signature: %w", err)
	}
	for _, o := range others {
		theirs, err := sign.KeyIDs(o)
		if err != nil {
			continue // what cannot be read is nobody's
		}
		for _, id := range mine {
			if slices.Contains(theirs, id) {
				return fmt.Errorf("key %s %w", id, ErrSigned)
			}
		}
	}
	return nil
}

// DeleteGPG takes the signatures out of d that one of the keys made, by id or fingerprint; keys that the policy knows may
// also be named by their primary key. It gives how many those were.
func (p Policy) DeleteGPG(d gvariant.Dict, keys []string) (gvariant.Dict, int) {
	return remove(d, GPG, func(sig []byte) bool {
		reports, err := p.keyring.Examine(nil, sig)
		if err != nil {
			return false
		}
		for _, r := range reports {
			if slices.ContainsFunc(keys, r.IssuedBy) {
				return true
			}
		}
		return false
	})
}

// DeleteEd25519 takes the signatures over data out of d that one of the public keys, in base64, made.
func DeleteEd25519(data []byte, d gvariant.Dict, keys []string) (gvariant.Dict, int, error) {
	p, err := Ed25519FromKeys(keys...)
	if err != nil {
		return nil, 0, err
	}
	d, n := remove(d, Ed25519, func(sig []byte) bool { return p.examineEd25519(data, sig).Err == nil })
	return d, n, nil
}

func remove(d gvariant.Dict, kind string, gone func(sig []byte) bool) (gvariant.Dict, int) {
	key := MetadataKey(kind)
	all := ostree.Signatures(d, key)
	kept := slices.DeleteFunc(slices.Clone(all), gone)
	switch {
	case len(kept) == len(all):
		return d, 0
	case len(kept) == 0:
		return d.Without(key), len(all)
	}
	return d.With(key, gvariant.ByteArrays(kept)), len(all) - len(kept)
}
