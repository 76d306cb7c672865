// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// minKeyID is how many digits of a fingerprint name a key at least.
const minKeyID = 8

// Select gives the certificates that one of ids names: by fingerprint or the last digits of it, of the primary key or of a
// subkey, or by a part of a user id.
//
//	errors  text only, if an id names none
func (k Keyring) Select(ids ...string) (Keyring, error) {
	out := Keyring{Legacy: k.Legacy}
	for _, id := range ids {
		found := false
		for _, c := range k.certs {
			if c.goesBy(id) {
				found = true
				out.certs = append(out.certs, c)
			}
		}
		if !found {
			return Keyring{}, fmt.Errorf("no key goes by %q", id)
		}
	}
	return out.unique(), nil
}

func (c *cert) goesBy(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	digits := strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(id, " ", "")), "0x")
	if len(digits) >= minKeyID && strings.Trim(digits, "0123456789abcdef") == "" {
		prints := [][]byte{c.entity.PrimaryKey.Fingerprint}
		for _, s := range c.entity.Subkeys {
			prints = append(prints, s.PublicKey.Fingerprint)
		}
		if slices.ContainsFunc(prints, func(p []byte) bool { return strings.HasSuffix(hex.EncodeToString(p), digits) }) {
			return true
		}
	}
	for name := range c.entity.Identities {
		if id != "" && strings.Contains(strings.ToLower(name), strings.ToLower(id)) {
			return true
		}
	}
	return false
}
