// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"grove/internal/sign"
)

// TestOneFingerprint puts two states of one key together, in both orders, given together and merged: what the newer one says counts.
func TestOneFingerprint(t *testing.T) {
	at := func(n int) time.Time { return day0.Add(time.Duration(n) * day) }
	type states struct{ older, newer, sig []byte }
	later := func(w *world, n int) *packet.Config {
		cfg := *w.cfg
		cfg.Time = func() time.Time { return at(n) }
		return &cfg
	}
	for name, c := range map[string]struct {
		make       func() states
		alone, put string // what the older one says, and both together
	}{
		"a subkey revoked": {func() states {
			w := newWorld(t, 0)
			s := states{older: w.public(t), sig: w.sign(t, at(1), nil)}
			for i := range w.entity.Subkeys {
				if err := w.entity.Subkeys[i].Revoke(packet.KeyCompromised, "", later(w, 10)); err != nil {
					t.Fatal(err)
				}
			}
			s.newer = w.public(t)
			return s
		}, "good", "key is revoked"},
		"the key revoked": {func() states {
			w := newWorld(t, 0)
			s := states{older: w.public(t), sig: w.sign(t, at(1), nil)}
			if err := w.entity.Revoke(packet.KeyCompromised, "", later(w, 10)); err != nil {
				t.Fatal(err)
			}
			s.newer = w.public(t)
			return s
		}, "good", "key is revoked"},
		"its life extended": {func() states {
			w := newWorld(t, uint32(3*day/time.Second))
			w.entity.Subkeys = nil
			s := states{older: w.public(t)}
			for _, id := range w.entity.Identities {
				for _, self := range id.SelfCertifications {
					life := uint32(100 * day / time.Second)
					self.Packet.KeyLifetimeSecs, self.Packet.CreationTime = &life, at(2)
					if err := self.Packet.SignUserId(id.Name, w.entity.PrimaryKey, w.entity.PrivateKey, w.cfg); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.newer, s.sig = w.public(t), w.sign(t, at(50), nil)
			return s
		}, "key had expired", "good"},
		"a subkey added": {func() states {
			w := newWorld(t, 0)
			s := states{older: w.public(t)}
			if err := w.entity.AddSigningSubkey(later(w, 2)); err != nil {
				t.Fatal(err)
			}
			s.newer, s.sig = w.public(t), w.sign(t, at(5), nil)
			return s
		}, "unknown", "good"},
	} {
		s := c.make()
		got := func(what string, k sign.Keyring, want string) {
			t.Helper()
			if k.Len() != 1 {
				t.Errorf("%s: %s: %d certificates", name, what, k.Len())
			}
			if said := show(k, "data", s.sig); !strings.Contains(said, want) {
				t.Errorf("%s: %s: %s, want %s", name, what, said, want)
			}
		}
		got("older", keyring(t, s.older), c.alone)
		got("newer", keyring(t, s.newer), c.put)
		got("older, newer", keyring(t, s.older, s.newer), c.put)
		got("newer, older", keyring(t, s.newer, s.older), c.put)
		got("merged", keyring(t, s.older).Merge(keyring(t, s.newer)).Merge(keyring(t, s.older)), c.put)
		both, again := keyring(t, s.older, s.newer), keyring(t, s.newer, s.newer)
		if !bytes.Equal(both.Encode(), keyring(t, both.Encode()).Encode()) {
			t.Errorf("%s: written and read again it is another", name)
		}
		if a, b := fmt.Sprint(both.Keys()), fmt.Sprint(again.Keys()); a != b {
			t.Errorf("%s: described as %s, the newer one as %s", name, a, b)
		}
	}
}
