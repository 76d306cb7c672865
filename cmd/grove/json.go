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
	Objects int      `json:"objects"`
	Commits int      `json:"commits"`
	Faults  []string `json:"faults"`
}

func fsckView(r repo.FsckResult) fsckJSON {
	out := fsckJSON{r.Objects, r.Commits, []string{}}
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
