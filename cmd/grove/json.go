// SPDX-License-Identifier: Apache-2.0

package main

import (
	"grove/internal/deploy"
	"grove/internal/repo"
)

// What --json prints of values that the core has without field names of its own. Names are never changed.

type gcJSON struct {
	Deployments []string `json:"deployments"` // NAME/ID
	Refs        []string `json:"refs"`        // of cached packages
	Objects     int      `json:"objects"`
	Bytes       int64    `json:"bytes"`

	Frees map[string]int64 `json:"frees,omitempty"` // NAME/ID -> bytes
}

func gcView(r deploy.GCReport) gcJSON {
	return gcJSON{notNil(r.Deployments), notNil(r.Refs), r.Objects, r.Bytes, r.Frees}
}

type pruneJSON struct {
	Objects int   `json:"objects"` // before
	Deleted int   `json:"deleted"`
	Bytes   int64 `json:"bytes"` // freed
}

func pruneView(r repo.PruneResult) pruneJSON { return pruneJSON{r.Objects, r.Deleted, r.FreedBytes} }

type fsckJSON struct {
	Objects    int      `json:"objects"`
	Commits    int      `json:"commits"`
	Partial    int      `json:"partial"` // commits of which not everything is here
	Lost       int      `json:"lost"`    // of these, because fsck deleted damaged objects
	Faults     []string `json:"faults"`
	Tombstones []string `json:"tombstones,omitempty"` // commits that tombstones were made for
}

func fsckView(r repo.FsckResult) fsckJSON {
	out := fsckJSON{Objects: r.Objects, Commits: r.Commits, Partial: r.Partial, Lost: r.Lost, Faults: []string{}}
	for _, c := range r.Tombstones {
		out.Tombstones = append(out.Tombstones, c.String())
	}
	for _, f := range r.Faults {
		out.Faults = append(out.Faults, f.String())
	}
	return out
}

// notNil makes an empty list print as [].
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
