// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/fetch"
	"grove/internal/rpm"
)

// Copy is what a byte-for-byte copy of a source consists of besides its packages.
//
//	shape  Repomd and Signature as they came, Signature nil where there is none; Files are all that Repomd names
type Copy struct {
	Repomd, Signature []byte
	Files             []CopyFile
}

// CopyFile is one metadata file of a source.
//
//	shape  Location relative to the source, clean; URLs where it can be had, best mirror first
//	units  SizeBytes 0 = not known
type CopyFile struct {
	Location  string
	URLs      []string
	Digest    rpm.Digest
	SizeBytes int64
}

// Copy returns the files of the source's metadata in the state that m is of. m was loaded with a CacheDir.
//
//	errors  ErrMalformed for a file without checksum, or outside the source
func (m *Metadata) Copy(ctx context.Context) (Copy, error) {
	data, err := os.ReadFile(filepath.Join(m.loader.folder(), "repomd.xml")) // which Load has bounded and verified
	if err != nil {
		return Copy{}, err
	}
	var x xmlRepomd
	if err := unmarshal(data, &x); err != nil {
		return Copy{}, malformed{fmt.Errorf("repomd.xml: %w", err)}
	}
	c := Copy{Repomd: data}
	for _, d := range x.Data {
		f := CopyFile{SizeBytes: d.Size}
		if f.Digest, err = d.Checksum.digest(); err == nil && f.Digest == (rpm.Digest{}) {
			err = errors.New("no checksum")
		}
		if err == nil {
			f.Location, err = location(d.Location.Href, d.Location.Base)
		}
		if err == nil && (strings.Contains(f.Location, "://") || f.SizeBytes < 0 || f.SizeBytes > maxPacked) {
			err = errors.New("it lies outside the source, or is too large")
		}
		if err != nil {
			return Copy{}, malformed{fmt.Errorf("repomd.xml: %.40s: %w", d.Type, err)}
		}
		f.URLs = locationURLs(m.bases, f.Location)
		c.Files = append(c.Files, f)
	}
	c.Signature, err = m.loader.client.Get(ctx, joinURL(m.bases[0], "repodata/repomd.xml.asc"), maxSignature)
	if errors.Is(err, fetch.ErrNotFound) {
		err = nil
	}
	return c, err
}

// MaxFileBytes bounds a metadata file whose size its source does not give.
const MaxFileBytes = maxPacked
