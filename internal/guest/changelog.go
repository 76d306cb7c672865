// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"slices"
	"sort"

	"grove/internal/deploy"
	"grove/internal/rpm"
)

// Changelog is what a package's changelog has more than that of the version it replaces.
type Changelog struct {
	Package string        `json:"package"` // NEVRA
	Entries []ChangeEntry `json:"entries"` // newest first
}

// ChangeEntry is one entry of a changelog.
type ChangeEntry struct {
	Time int64  `json:"time"` // seconds since 1970
	Name string `json:"name"`
	Text string `json:"text"`
}

// changelogs gives for every package that is there in both deployments in different versions what the newer one says more;
// for a downgrade that is what is lost.
func (e Env) changelogs(from, to deploy.Deployment) ([]Changelog, error) {
	a, err := e.headers(from)
	if err != nil {
		return nil, err
	}
	b, err := e.headers(to)
	if err != nil {
		return nil, err
	}
	older := map[[2]string]*rpm.Header{}
	for _, h := range a {
		older[[2]string{h.NEVRA().Name, h.NEVRA().Arch}] = h
	}
	var out []Changelog
	for _, h := range b {
		n := h.NEVRA()
		was := older[[2]string{n.Name, n.Arch}]
		if was == nil || was.NEVRA().EVR.Compare(n.EVR) == 0 {
			continue
		}
		old, now := was, h
		if was.NEVRA().EVR.Compare(n.EVR) > 0 {
			old, now = h, was
		}
		entries, err := newEntries(old, now)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			out = append(out, Changelog{Package: now.NEVRA().String(), Entries: entries})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Package < out[j].Package })
	return out, nil
}

func newEntries(old, now *rpm.Header) ([]ChangeEntry, error) {
	before, err := old.Changelog()
	if err != nil {
		return nil, err
	}
	after, err := now.Changelog()
	if err != nil {
		return nil, err
	}
	return moreEntries(before, after), nil
}

// moreEntries are the entries of after that before lacks.
func moreEntries(before, after []rpm.Change) []ChangeEntry {
	var out []ChangeEntry
	for _, c := range after {
		if !slices.Contains(before, c) {
			out = append(out, ChangeEntry{c.TimeSec, c.Name, c.Text})
		}
	}
	return out
}
