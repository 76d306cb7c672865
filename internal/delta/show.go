// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"

	"grove/internal/repo"
)

// PartInfo is what is known of a part once it is unpacked.
type PartInfo struct {
	Objects               int
	SizeBytes, UsizeBytes uint64
	Modes, Xattrs         int
	DataBytes, OpsBytes   int
	Ops                   OpCounts
}

// Inspect unpacks part i and looks at it without making anything of it.
//
//	errors  fs.ErrNotExist, ostree.ErrCorrupt
func (d *File) Inspect(r *repo.Repo, i int) (PartInfo, error) {
	info, err := d.inspect(r, i)
	if err != nil {
		return info, fmt.Errorf("delta %s: part %d: %w", d.Name, i, err)
	}
	return info, nil
}

func (d *File) inspect(r *repo.Repo, i int) (PartInfo, error) {
	part := d.Parts[i]
	info := PartInfo{Objects: part.Objects.Len(), SizeBytes: part.SizeBytes, UsizeBytes: part.UsizeBytes}
	in, err := d.OpenPart(i)
	if err != nil {
		return info, err
	}
	defer in.Close()
	want := &part.Checksum
	if part.inline != nil {
		want = nil
	}
	p, err := openPayload(r, in, part, want)
	if err != nil {
		return info, err
	}
	defer p.free()
	_, info.Ops, err = p.scan(part.Objects)
	info.Modes, info.Xattrs, info.DataBytes, info.OpsBytes = len(p.modes)/12, len(p.xattrs), len(p.data), len(p.ops)
	return info, err
}
