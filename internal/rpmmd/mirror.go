// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/xml"
	"errors"
	"fmt"
	"sort"
	"strings"

	"grove/internal/rpm"
)

// maxMirrorCount bounds how many mirrors are tried: a longer list is cut.
const maxMirrorCount = 64

// metalink is what a metalink says about repomd.xml.
type metalink struct {
	bases   []string     // best first, ending in a slash
	digests []rpm.Digest // any of them will do, the strongest algorithm of each state; none = nothing is said
}

type xmlHashes struct {
	Hash []xmlChecksum `xml:"hash"`
}

type xmlMetalink struct {
	XMLName xml.Name `xml:"metalink"`
	Files   []struct {
		Name         string    `xml:"name,attr"`
		Verification xmlHashes `xml:"verification"`
		Alternates   []struct {
			Verification xmlHashes `xml:"verification"`
		} `xml:"alternates>alternate"`
		URLs []struct {
			Preference string `xml:"preference,attr"`
			Text       string `xml:",chardata"`
		} `xml:"resources>url"`
	} `xml:"files>file"`
}

// parseMetalink reads a metalink of repomd.xml. URLs of other protocols, and hashes that make no sense, are left out.
//
//	source  mirrormanager; librepo librepo/metalink.c
func parseMetalink(data []byte) (metalink, error) {
	var x xmlMetalink
	var m metalink
	if err := unmarshal(data, &x); err != nil {
		return m, fmt.Errorf("metalink: %w", err)
	}
	for _, f := range x.Files {
		if f.Name != "repomd.xml" {
			continue
		}
		hashes := []xmlHashes{f.Verification}
		for _, a := range f.Alternates {
			hashes = append(hashes, a.Verification)
		}
		for _, h := range hashes {
			if d, ok := strongest(h.Hash); ok {
				m.digests = append(m.digests, d)
			}
		}
		if len(m.digests) == 0 && len(f.Verification.Hash) > 0 {
			return m, errors.New("metalink: none of the hashes of repomd.xml can be used")
		}
		type mirror struct {
			base string
			pref int
		}
		var all []mirror
		for _, u := range f.URLs {
			text := strings.TrimSpace(u.Text)
			base, ok := strings.CutSuffix(text, "repodata/repomd.xml")
			if !ok || !remoteURL(base) {
				continue
			}
			pref := 0
			fmt.Sscan(u.Preference, &pref)
			all = append(all, mirror{base, pref})
		}
		sort.SliceStable(all, func(i, j int) bool { return all[i].pref > all[j].pref })
		for _, a := range all[:min(len(all), maxMirrorCount)] {
			m.bases = append(m.bases, a.base)
		}
		return m, nil
	}
	return m, errors.New("metalink: says nothing about repomd.xml")
}

func remoteURL(s string) bool {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		return false
	}
	_, err := checkBase(s)
	return err == nil
}

// strongest picks the hash to verify; md5 and sha1 are no proof and are left out.
func strongest(all []xmlChecksum) (rpm.Digest, bool) {
	for _, algo := range []string{"sha512", "sha384", "sha256", "sha224"} {
		for _, c := range all {
			if d, err := c.digest(); err == nil && d.Algo == algo {
				return d, true
			}
		}
	}
	return rpm.Digest{}, false
}

// parseMirrorlist reads one URL a line. The files of some old servers carry a comment in front.
func parseMirrorlist(data []byte, vars func(string) string) ([]string, error) {
	var bases []string
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		line = vars(line)
		if !remoteURL(line) {
			continue
		}
		if bases = append(bases, strings.TrimRight(line, "/")+"/"); len(bases) == maxMirrorCount {
			break
		}
	}
	if len(bases) == 0 {
		return nil, errors.New("mirrorlist: no http or https URL in it")
	}
	return bases, nil
}
