// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// leadBytes is the size of the lead, a leftover in front of every package.
const leadBytes = 96

// ErrNotPackage says that the bytes do not begin as a package does.
var ErrNotPackage = errors.New("not an rpm package")

// Lead is the first 96 bytes of a package. Nothing in it may be relied on.
type Lead struct {
	Major, Minor uint8
	Source       bool
	Name         string
}

// Package is the part of a package in front of its payload.
//
//	units   HeaderStart, HeaderEnd: offsets of the main header, its magic included; the payload begins at HeaderEnd
type Package struct {
	Lead                   Lead
	LeadBytes              []byte
	Signature, Header      *Header
	HeaderStart, HeaderEnd int64
}

// ReadPackage reads lead, signature header and main header; r then stands at the payload.
//
//	errors  ErrNotPackage, ErrNotHeader; io.ErrUnexpectedEOF for a cut file
func ReadPackage(r io.Reader) (*Package, error) {
	lead := make([]byte, leadBytes)
	if n, err := io.ReadFull(r, lead); err != nil {
		if n == 0 || !bytes.Equal(lead[:min(n, 4)], leadMagic[:min(n, 4)]) {
			return nil, ErrNotPackage
		}
		return nil, fmt.Errorf("read lead: %w", unexpected(err))
	}
	if !bytes.Equal(lead[:4], leadMagic) {
		return nil, fmt.Errorf("%w: begins with % x", ErrNotPackage, lead[:4])
	}
	p := &Package{LeadBytes: lead}
	name, _, _ := bytes.Cut(lead[10:76], []byte{0})
	p.Lead = Lead{Major: lead[4], Minor: lead[5], Source: binary.BigEndian.Uint16(lead[6:]) == 1, Name: string(name)}
	if p.Lead.Major < 3 || p.Lead.Major > 4 {
		return nil, fmt.Errorf("read lead: format %d.%d, want 3 or 4", p.Lead.Major, p.Lead.Minor)
	}
	if sigType := binary.BigEndian.Uint16(lead[78:]); sigType != headerSignature {
		return nil, fmt.Errorf("read lead: signature type %d, want %d", sigType, headerSignature)
	}
	var err error
	if p.Signature, err = readHeader(r, maxSigTags, maxSigBytes); err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	size := int64(prefixBytes + len(p.Signature.blob))
	pad := (8 - size%8) % 8
	if _, err := io.ReadFull(r, make([]byte, pad)); err != nil {
		return nil, fmt.Errorf("read signature: %w", unexpected(err))
	}
	p.HeaderStart = leadBytes + size + pad
	if p.Header, err = readHeader(r, maxHeaderTags, maxHeaderBytes); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	p.HeaderEnd = p.HeaderStart + prefixBytes + int64(len(p.Header.blob))
	return p, p.check()
}

var leadMagic = []byte{0xed, 0xab, 0xee, 0xdb}

// headerSignature is the only kind of signature still in use (rpm lib/rpmlead.cc, RPMSIGTYPE_HEADERSIG).
const headerSignature = 5

// check refuses what could smuggle unsigned fields: a region that does not span its whole header.
func (p *Package) check() error {
	h := p.Header
	if h.region != 0 && !h.Complete() {
		return fmt.Errorf("read header: region spans %d entries and %d bytes, want %d and %d", h.ril, h.rdl, len(h.order), len(h.data))
	}
	if h.String(TagName) == "" || h.String(TagVersion) == "" || h.String(TagRelease) == "" {
		return errors.New("read header: no name, version or release")
	}
	return nil
}

// Meta gives the header's view with the offsets of the header in the file.
//
//	errors  as Header.Meta
func (p *Package) Meta() (Meta, error) {
	m, err := p.Header.Meta()
	m.HeaderStart, m.HeaderEnd = p.HeaderStart, p.HeaderEnd
	return m, err
}
