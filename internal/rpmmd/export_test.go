// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"fmt"

	"grove/internal/rpm"
)

// What the fuzz targets need of the inside.

func FuzzedRepomd(data []byte) error {
	r, err := parseRepomd(data)
	if err != nil {
		return nil
	}
	for kind, f := range r.files {
		if f.digest.Hex == "" || f.location == "" || f.size < 0 || f.openSize < 0 {
			return fmt.Errorf("%s: %+v", kind, f)
		}
	}
	return nil
}

func FuzzedMetalink(data []byte) error {
	m, err := parseMetalink(data)
	for _, b := range m.bases {
		if err == nil && !remoteURL(b) {
			return fmt.Errorf("base %q", b)
		}
	}
	return nil
}

func Location(href, base string) (string, error) { return location(href, base) }

func Pack(p []rpm.Meta, g []Group, e []Environment) []byte { return pack(p, g, e) }

func FuzzedUnpack(data []byte) error {
	p, g, e, err := unpack(data)
	if err != nil {
		return nil
	}
	p2, g2, e2, err := unpack(pack(p, g, e))
	if err != nil || len(p2) != len(p) || len(g2) != len(g) || len(e2) != len(e) || !bytes.Equal(pack(p, g, e), pack(p2, g2, e2)) {
		return fmt.Errorf("does not come back: %v", err)
	}
	return nil
}
