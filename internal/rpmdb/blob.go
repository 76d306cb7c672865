// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"encoding/binary"
	"fmt"
	"slices"

	"grove/internal/rpm"
)

const (
	entryBytes  = 16 // tag, type, offset, count
	prefixBytes = 8  // il, dl
)

// fromSignature says under which tag of the header an entry of the signature header is kept.
//
//	source  rpm lib/package.cc, headerMergeLegacySigs
var fromSignature = []struct{ sig, tag uint32 }{
	{rpm.SigTagSize, rpm.TagSigSize}, {rpm.SigTagPGP, rpm.TagSigPGP}, {rpm.SigTagMD5, rpm.TagSigMD5}, {rpm.SigTagGPG, rpm.TagSigGPG},
	{rpm.SigTagPayloadSize, rpm.TagArchiveSize},
	{rpm.TagDSAHeader, rpm.TagDSAHeader}, {rpm.TagRSAHeader, rpm.TagRSAHeader}, {rpm.TagSHA1Header, rpm.TagSHA1Header},
	{rpm.TagLongSigSize, rpm.TagLongSigSize}, {rpm.TagLongArchiveSize, rpm.TagLongArchiveSize}, {rpm.TagSHA256Header, rpm.TagSHA256Header},
	{rpm.TagSigFileSignatures, rpm.TagFileSignatures}, {rpm.TagSigFileSigLength, rpm.TagFileSignatureLength},
	{rpm.TagVeritySignatures, rpm.TagVeritySignatures}, {rpm.TagVeritySignatureAlgo, rpm.TagVeritySignatureAlgo},
	{rpm.TagOpenPGP, rpm.TagOpenPGP}, {rpm.TagSHA3Header, rpm.TagSHA3Header},
}

// dribble is an entry that joins a header outside its immutable region.
type dribble struct {
	tag, typ, count uint32
	data            []byte
}

// Blob gives the header as it lies in the database: the package's own entries and data unchanged, then what comes from the
// signature header and from the installation, sorted by tag. What rpm adds to headers without a region (packages of the
// 1990s) to make them look newer is not added.
//
//	source  rpm lib/header.cc, headerExport; lib/rpmte.cc, lib/psm.cc (the tags that an installation adds)
func Blob(e Entry) ([]byte, error) {
	if e.Header == nil {
		return nil, fmt.Errorf("entry without header")
	}
	if e.Stored {
		return e.Header.Blob(), nil
	}
	drib, err := dribbles(e)
	if err != nil {
		return nil, err
	}
	old := e.Header.Blob()
	be := binary.BigEndian
	il, dl := be.Uint32(old), be.Uint32(old[4:])
	index := old[prefixBytes : prefixBytes+int(il)*entryBytes]
	data := slices.Clone(old[prefixBytes+int(il)*entryBytes:])
	size := prefixBytes + len(index) + len(drib)*entryBytes + int(dl)
	for _, d := range drib {
		size += len(d.data) + 7
	}
	out := make([]byte, prefixBytes, size)
	out = append(out, index...)
	for _, d := range drib {
		data = pad(data, d.typ)
		out = be.AppendUint32(out, d.tag)
		out = be.AppendUint32(out, d.typ)
		out = be.AppendUint32(out, uint32(len(data)))
		out = be.AppendUint32(out, d.count)
		data = append(data, d.data...)
	}
	be.PutUint32(out, il+uint32(len(drib)))
	be.PutUint32(out[4:], uint32(len(data)))
	if out = append(out, data...); len(out) > maxBlobBytes {
		return nil, fmt.Errorf("header of %d bytes, limit %d", len(out), maxBlobBytes)
	}
	return out, nil
}

func pad(data []byte, typ uint32) []byte {
	align := 1
	switch typ {
	case rpm.TypeInt16:
		align = 2
	case rpm.TypeInt32:
		align = 4
	case rpm.TypeInt64:
		align = 8
	}
	for len(data)%align != 0 {
		data = append(data, 0)
	}
	return data
}

func dribbles(e Entry) ([]dribble, error) {
	var drib []dribble
	if e.Signature != nil {
		v6 := e.Header.Has(rpm.TagRPMFormat)
		for _, m := range fromSignature {
			typ, count, data, ok := e.Signature.Raw(m.sig)
			if !ok || e.Header.Has(m.tag) || v6 && m.sig >= 1000 || !fits(typ, count) {
				continue
			}
			drib = append(drib, dribble{m.tag, typ, count, data})
		}
	}
	files := fileCount(e.Header)
	states := e.FileStates
	if states == nil {
		states = make([]byte, files)
	}
	if len(states) != files {
		return nil, fmt.Errorf("%d file states for %d files", len(states), files)
	}
	if files > 0 {
		drib = append(drib, dribble{rpm.TagFileStates, rpm.TypeChar, uint32(files), states})
	}
	for _, n := range []struct{ tag, value uint32 }{
		{rpm.TagInstallTime, e.InstallTime}, {rpm.TagInstallColor, e.InstallColor}, {rpm.TagInstallTID, e.InstallTID},
	} {
		drib = append(drib, dribble{n.tag, rpm.TypeInt32, 1, binary.BigEndian.AppendUint32(nil, n.value)})
	}
	if typ, count, data, ok := e.Header.Raw(rpm.TagPrefixes); ok { // relocatable; nothing is ever relocated here
		drib = append(drib, dribble{rpm.TagInstPrefixes, typ, count, data})
	}
	slices.SortStableFunc(drib, func(a, b dribble) int { return int(int64(a.tag) - int64(b.tag)) })
	return drib, nil
}

// fits leaves out what rpm does not take over: numbers that are not one, and strings and bytes of 16 KiB or more.
func fits(typ, count uint32) bool {
	switch typ {
	case rpm.TypeChar, rpm.TypeInt8, rpm.TypeInt16, rpm.TypeInt32, rpm.TypeInt64:
		return count == 1
	case rpm.TypeString, rpm.TypeBin:
		return count < 16*1024
	case rpm.TypeStringArray:
		return true
	}
	return false
}

func fileCount(h *rpm.Header) int {
	for _, tag := range []uint32{rpm.TagBasenames, rpm.TagOldFilenames} {
		if _, n, _, ok := h.Raw(tag); ok {
			return int(n)
		}
	}
	return 0
}
