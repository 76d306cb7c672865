// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// What several sources say of one key is put together: a certificate that was extended, renewed or revoked counts whichever file it came
// from, and an older copy elsewhere does not bring back what was revoked.
//
//	source  RFC 9580 section 10.1 (the order of a certificate's packets); sequoia's Cert::merge_public and rpm's
//	        rpmPubkeyMerge do the same

// Tags of the packets of a certificate. Source: RFC 9580 section 5.
const (
	tagSignature = 2
	tagPublicKey = 6
	tagUserID    = 13
	tagSubkey    = 14
	tagAttribute = 17
)

// maxCertPackets bounds the packets of a certificate; keys that were flooded with signatures have some hundred thousand.
const maxCertPackets = 1 << 20

// component is the primary key, a subkey or a name, with all signatures over it.
type component struct {
	rawPacket
	signatures []rawPacket
}

// components takes a certificate apart.
func components(cert []byte) ([]component, error) {
	packets, err := splitUpTo(cert, maxCertPackets)
	if err != nil {
		return nil, err
	}
	var out []component
	for _, p := range packets {
		switch {
		case p.tag == tagPublicKey && len(out) == 0, len(out) > 0 && (p.tag == tagUserID || p.tag == tagAttribute || p.tag == tagSubkey):
			out = append(out, component{rawPacket: p})
		case p.tag == tagSignature && len(out) > 0:
			c := &out[len(out)-1]
			c.signatures = append(c.signatures, p)
		default:
			return nil, fmt.Errorf("packet of kind %d in a certificate", p.tag)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no packet in a certificate")
	}
	return out, nil
}

// join makes one certificate of several of one primary key.
func join(certs []*cert) (*cert, error) {
	var all []component
	at := map[string]int{}        // tag and body of a component -> its place in all
	seen := map[string]struct{}{} // that and the body of a signature over it
	for _, c := range certs {
		parts, err := components(c.binary)
		if err != nil {
			return nil, err
		}
		for _, m := range parts {
			key := string(rune(m.tag)) + string(m.body)
			i, ok := at[key]
			if !ok {
				i = len(all)
				at[key] = i
				all = append(all, component{rawPacket: m.rawPacket})
			}
			for _, s := range m.signatures {
				key := fmt.Sprintf("%d %s", i, s.body)
				if _, twice := seen[key]; !twice {
					seen[key] = struct{}{}
					all[i].signatures = append(all[i].signatures, s)
				}
			}
		}
	}
	// Names come before subkeys.
	slices.SortStableFunc(all[1:], func(x, y component) int { return rank(x.tag) - rank(y.tag) })
	var buf bytes.Buffer
	for _, m := range all {
		buf.Write(m.all)
		for _, s := range m.signatures {
			buf.Write(s.all)
		}
	}
	return newCert(buf.Bytes())
}

func rank(tag byte) int {
	if tag == tagSubkey {
		return 1
	}
	return 0
}

// newCert reads one certificate.
func newCert(binary []byte) (*cert, error) {
	entities, err := openpgp.ReadKeyRing(bytes.NewReader(binary))
	if err != nil {
		return nil, err
	}
	if len(entities) != 1 {
		return nil, fmt.Errorf("%d certificates, want one", len(entities))
	}
	return certOf(entities[0])
}

func certOf(e *openpgp.Entity) (*cert, error) {
	var buf bytes.Buffer
	if err := e.Serialize(&buf); err != nil {
		return nil, err
	}
	return &cert{entity: e, binary: buf.Bytes()}, nil
}
