// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"strings"

	"grove/internal/fetch"
)

// metalink is what a metalink says about a summary.
type metalink struct {
	size   int64
	algo   string // sha512 or sha256, the stronger where both are there
	digest []byte
	urls   []string
}

type xmlMetalink struct {
	XMLName xml.Name `xml:"metalink"`
	Files   []struct {
		Name   string `xml:"name,attr"`
		Size   int64  `xml:"size"`
		Hashes []struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"verification>hash"`
		URLs []struct {
			Text string `xml:",chardata"`
		} `xml:"resources>url"`
	} `xml:"files>file"`
}

// parseMetalink reads what a metalink says about the file summary. URLs that are neither http nor https are left out.
//
//	source  ostree src/libostree/ostree-metalink.c
func parseMetalink(data []byte) (metalink, error) {
	var x xmlMetalink
	var m metalink
	if err := xml.Unmarshal(data, &x); err != nil {
		return m, fmt.Errorf("metalink: %w", err)
	}
	for _, f := range x.Files {
		if f.Name != "summary" {
			continue
		}
		if f.Size <= 0 || f.Size > maxSummary {
			return m, fmt.Errorf("metalink: size of the summary is %d, wanted 1 to %d", f.Size, maxSummary)
		}
		m.size = f.Size
		for _, h := range f.Hashes {
			sum, err := hex.DecodeString(strings.TrimSpace(h.Text))
			if err == nil && (h.Type == "sha512" && len(sum) == 64 || h.Type == "sha256" && len(sum) == 32 && m.algo == "") {
				m.algo, m.digest = h.Type, sum
			}
		}
		if m.algo == "" {
			return m, errors.New("metalink: no sha256 or sha512 of the summary in it")
		}
		for _, u := range f.URLs {
			u := strings.TrimSpace(u.Text)
			if isHTTP(u) && path.Base(u) == "summary" && len(m.urls) < maxMirrors {
				m.urls = append(m.urls, u)
			}
		}
		if len(m.urls) == 0 {
			return m, errors.New("metalink: no http or https URL of a summary in it")
		}
		return m, nil
	}
	return m, errors.New("metalink: says nothing about a file summary")
}

func isHTTP(url string) bool {
	return strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")
}

func (m metalink) matches(data []byte) error {
	if int64(len(data)) != m.size {
		return fmt.Errorf("%w: %d bytes, the metalink says %d", fetch.ErrDigest, len(data), m.size)
	}
	h, err := fetch.NewHash(m.algo)
	if err != nil {
		return err
	}
	h.Write(data)
	if got := h.Sum(nil); !bytes.Equal(got, m.digest) {
		return fmt.Errorf("%w: %s %x, the metalink says %x", fetch.ErrDigest, m.algo, got, m.digest)
	}
	return nil
}

// followMetalink takes the first mirror whose summary is the one that the metalink names. Objects may come from the others too,
// for each is held against its name.
func (rem *remote) followMetalink(ctx context.Context, url string) error {
	data, err := rem.client.Get(ctx, url, maxSmall)
	if err != nil {
		return fmt.Errorf("metalink: %w", err)
	}
	m, err := parseMetalink(data)
	if err != nil {
		return err
	}
	var first error
	for i, u := range m.urls {
		data, err := rem.client.Get(ctx, u, m.size)
		if err == nil {
			err = m.matches(data)
		}
		if err == nil {
			base := strings.TrimSuffix(u, "summary")
			rem.meta = []string{base}
			rem.content = []string{base}
			for _, other := range m.urls[i+1:] {
				rem.content = append(rem.content, strings.TrimSuffix(other, "summary"))
			}
			rem.summaryData = data
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", u, err)
		}
	}
	return fmt.Errorf("metalink: none of %d mirrors has the summary that it names: %w", len(m.urls), first)
}
