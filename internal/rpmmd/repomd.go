// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"grove/internal/rpm"
)

// Limits of the small files. repomd.xml of a large distribution is below 20 KiB, a metalink below 200 KiB.
const (
	maxRepomd    = 4 << 20
	maxSignature = 1 << 20
	maxMirrors   = 8 << 20
	maxKey       = 16 << 20
	maxPacked    = 2 << 30 // a compressed metadata file
	maxOpen      = 8 << 30 // the same, decompressed, where repomd.xml does not give its size
)

// repomd is the list of a source's metadata files by type.
type repomd struct {
	files map[string]dataFile
}

// dataFile is one metadata file.
type dataFile struct {
	location       string
	digest         rpm.Digest // of the file as it is
	open           rpm.Digest // of its content, decompressed; zero if not given
	size, openSize int64      // bytes; 0 = not given
}

type xmlChecksum struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

func (c xmlChecksum) digest() (rpm.Digest, error) {
	d := rpm.Digest{Algo: checksumAlgo(c.Type), Hex: strings.ToLower(strings.TrimSpace(c.Text))}
	if d == (rpm.Digest{}) {
		return d, nil
	}
	return d, checkDigest(d.Algo, d.Hex)
}

type xmlRepomd struct {
	XMLName xml.Name `xml:"repomd"`
	Data    []struct {
		Type     string      `xml:"type,attr"`
		Checksum xmlChecksum `xml:"checksum"`
		Open     xmlChecksum `xml:"open-checksum"`
		Size     int64       `xml:"size"`
		OpenSize int64       `xml:"open-size"`
		Location struct {
			Href string `xml:"href,attr"`
			Base string `xml:"base,attr"`
		} `xml:"location"`
	} `xml:"data"`
}

// parseRepomd reads repomd.xml. Files of types that are not read here may be as they like.
func parseRepomd(data []byte) (repomd, error) {
	var x xmlRepomd
	if err := unmarshal(data, &x); err != nil {
		return repomd{}, fmt.Errorf("repomd.xml: %w", err)
	}
	r := repomd{files: map[string]dataFile{}}
	for _, d := range x.Data {
		if !wantedTypes[d.Type] {
			continue
		}
		f := dataFile{size: d.Size, openSize: d.OpenSize}
		var err error
		if f.digest, err = d.Checksum.digest(); err == nil && f.digest.Hex == "" {
			err = errors.New("no checksum")
		}
		if err == nil {
			f.open, err = d.Open.digest()
		}
		if err == nil && (f.size < 0 || f.openSize < 0 || f.size > maxPacked || f.openSize > maxOpen) {
			err = fmt.Errorf("size %d, decompressed %d", f.size, f.openSize)
		}
		if err == nil {
			f.location, err = location(d.Location.Href, d.Location.Base)
		}
		if err != nil {
			return repomd{}, fmt.Errorf("repomd.xml: %s: %w", d.Type, err)
		}
		if _, twice := r.files[d.Type]; twice {
			return repomd{}, fmt.Errorf("repomd.xml: %s is there twice", d.Type)
		}
		r.files[d.Type] = f
	}
	if _, ok := r.files["primary"]; !ok {
		return repomd{}, errors.New("repomd.xml: no primary metadata")
	}
	return r, nil
}

var wantedTypes = map[string]bool{"primary": true, "filelists": true, "group": true, "group_gz": true, "group_xz": true, "group_zst": true, "modules": true, "updateinfo": true}

// unmarshal decodes one document of UTF-8. encoding/xml expands no entities of a document type.
func unmarshal(data []byte, v any) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = true
	if err := d.Decode(v); err != nil {
		return err
	}
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := t.(xml.StartElement); ok {
			return errors.New("a second root element")
		}
	}
}
