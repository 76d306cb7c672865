// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"fmt"

	"grove/internal/gvariant"
	"grove/internal/sign"
	"grove/internal/trust"
)

// signedMagic begins a signed superblock.
//
//	source  ostree src/libostree/ostree-repo-static-delta-private.h, OSTREE_STATIC_DELTA_SIGNED_MAGIC
const signedMagic = "OSTSGNDT"

// maxSignedSizeBytes bounds a signed superblock: signatures are over all of it, so all of it is read at once.
const maxSignedSizeBytes = 256 << 20

// unwrap takes a signed superblock apart; what is not signed is its own body.
func unwrap(file span) (body span, signatures gvariant.Dict, signed bool, err error) {
	head := make([]byte, len(signedMagic))
	if file.size < int64(len(head)) {
		return file, nil, false, nil
	}
	if err := file.readAt(head, 0); err != nil || string(head) != signedMagic {
		return file, nil, false, err
	}
	ends, table, err := file.tail(1)
	if err != nil {
		return file, nil, false, err
	}
	if body, err = file.sub(int64(len(head)), ends[0]); err != nil {
		return file, nil, false, err
	}
	sigs, err := file.sub(align8(ends[0]), table)
	if err != nil {
		return file, nil, false, err
	}
	pad := make([]byte, align8(ends[0])-ends[0])
	if err := file.readAt(pad, ends[0]); err != nil {
		return file, nil, false, err
	}
	if !bytes.Equal(pad, make([]byte, len(pad))) {
		return file, nil, false, corruptf("padding behind the superblock is %x", pad)
	}
	data, err := sigs.load("signatures", maxDictValueLen)
	if err != nil {
		return file, nil, false, err
	}
	if signatures, err = gvariant.DecodeDict(data); err != nil {
		return file, nil, false, corruptf("signatures: %w", err)
	}
	return body, signatures, true, nil
}

// Verify holds the superblock against its signatures, as the policy asks of deltas. One that is not signed is refused.
//
//	errors  sign.ErrUntrusted
func (sb *Superblock) Verify(p trust.Policy) ([]trust.Mark, error) {
	if !sb.Signed {
		return nil, fmt.Errorf("delta %s: %w: it is not signed", sb.Name, sign.ErrUntrusted)
	}
	data, err := sb.body.load("signed superblock", maxSignedSizeBytes)
	if err != nil {
		return nil, err
	}
	marks, err := p.Delta(data, sb.Signatures)
	if err != nil {
		return nil, fmt.Errorf("delta %s: %w", sb.Name, err)
	}
	return marks, nil
}
