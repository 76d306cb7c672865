// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// A private key that a scriptlet makes would be the same in every guest of the tree, readable by whoever can pull
// it, and different each time the tree is made. So it is left out, with the certificates made for it.

// maxSecretBytes bounds the files that are looked into: keys and certificates have a few kilobytes.
const maxSecretBytes = 64 << 10

// secretFile is a file that scriptlets made and that holds PEM.
type secretFile struct {
	path string
	text []byte
}

// dropSecrets takes private keys out of what the scriptlets added, and says so.
func (b *build) dropSecrets(before *tree.Tree) error {
	changes, err := tree.Diff(before, b.tree)
	if err != nil {
		return err
	}
	var keys, certs []secretFile
	for _, c := range changes {
		if err := b.look(c, &keys, &certs); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	public := publicKeys(keys)
	edit := b.tree.Edit()
	for _, f := range keys {
		if err := edit.Remove(f.path); err != nil {
			return err
		}
		b.warn("private key /%s, made by a scriptlet, is left out: it would be the same in all guests", visible(f.path))
	}
	for _, f := range certs {
		if certifies(f.text, public) {
			if err := edit.Remove(f.path); err != nil {
				return err
			}
		}
	}
	b.tree = edit.Tree()
	return nil
}

// look sorts an added file: key, certificate or neither. Of an added directory all files are added.
func (b *build) look(c tree.Change, keys, certs *[]secretFile) error {
	if c.Kind != tree.Added {
		return nil
	}
	if c.New.Dir {
		sub, err := b.tree.Sub(c.Path)
		if err != nil {
			return err
		}
		return sub.Walk(func(p string, e tree.Entry) error {
			if e.Dir {
				return nil
			}
			return b.lookFile(c.Path+"/"+p, e.File, keys, certs)
		})
	}
	return b.lookFile(c.Path, c.New.File, keys, certs)
}

func (b *build) lookFile(path string, sum ostree.Checksum, keys, certs *[]secretFile) error {
	h, size, err := b.tx.FileHeader(sum)
	if err != nil || h.Symlink != "" || size > maxSecretBytes {
		return err
	}
	text, _, err := b.readTreeFile(b.tree, path)
	if err != nil {
		return err
	}
	switch {
	case bytes.Contains(text, []byte("PRIVATE KEY-----")):
		*keys = append(*keys, secretFile{path, text})
	case bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")):
		*certs = append(*certs, secretFile{path, text})
	}
	return nil
}

// equalKey is what all public keys of the standard library can.
type equalKey interface{ Equal(crypto.PublicKey) bool }

// publicKeys are those of the private keys that can be read without a password.
func publicKeys(keys []secretFile) []equalKey {
	var out []equalKey
	for _, f := range keys {
		for rest := f.text; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
				continue
			}
			if k := privateKey(block.Bytes); k != nil {
				if pub, ok := k.Public().(equalKey); ok {
					out = append(out, pub)
				}
			}
		}
	}
	return out
}

func privateKey(der []byte) crypto.Signer {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		s, _ := k.(crypto.Signer)
		return s
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k
	}
	return nil
}

// certifies is true for a file whose first certificate is for one of the keys.
func certifies(text []byte, public []equalKey) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	for _, k := range public {
		if k.Equal(cert.PublicKey) {
			return true
		}
	}
	return false
}
