// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// WriteSummary writes the summary of the repository's own refs, for clients that can not list folders. Signatures of
// the summary before are removed: they are not for this one. Its time is that of the newest commit, so that the same
// refs give the same summary.
func (r *Repo) WriteSummary(ctx context.Context) error {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	defer lock.Release()
	if err := r.reindexDeltas(nil); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	s, err := r.summary()
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	// a client must not see the new summary with the old signatures: better none
	if err := os.Remove(filepath.Join(r.path, "summary.sig")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write summary: %w", err)
	}
	return durable.WriteFile(filepath.Join(r.path, "summary"), s.Encode(), 0o644)
}

func (r *Repo) summary() (ostree.Summary, error) {
	refs, err := r.Refs("")
	if err != nil {
		return ostree.Summary{}, err
	}
	var s ostree.Summary
	newest := uint64(0)
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if strings.Contains(name, ":") {
			continue
		}
		data, err := r.Metadata(ostree.TypeCommit, refs[name])
		if err != nil {
			return s, fmt.Errorf("ref %q: %w", name, err)
		}
		c, err := ostree.ParseCommit(data)
		if err != nil {
			return s, fmt.Errorf("ref %q: commit %s: %w", name, refs[name], err)
		}
		newest = max(newest, c.Timestamp)
		meta := gvariant.Dict{{Key: ostree.RefCommitTimestamp, Value: ostree.TimeValue(c.Timestamp)}}
		if v := c.Version(); v != "" {
			meta = meta.With(ostree.RefCommitVersion, gvariant.String(v))
		}
		s.Refs = append(s.Refs, ostree.SummaryRef{Name: name, SizeBytes: uint64(len(data)), Commit: refs[name], Metadata: meta})
	}
	s.Metadata = gvariant.Dict{
		{Key: ostree.SummaryMode, Value: gvariant.String(r.mode.String())},
		{Key: ostree.SummaryTombstones, Value: gvariant.Bool(r.config.boolean("core", "tombstone-commits", false))},
		{Key: ostree.SummaryLastModified, Value: ostree.TimeValue(newest)},
		{Key: ostree.SummaryIndexedDeltas, Value: gvariant.Bool(true)},
	}
	if id, ok := r.config.Get("core", "collection-id"); ok && id != "" {
		s.Metadata = append(s.Metadata, gvariant.Entry{Key: ostree.SummaryCollectionID, Value: gvariant.String(id)})
	}
	s.Metadata, err = r.summaryDeltas(s.Metadata)
	return s, err
}

// ReadSummary returns the summary and its bytes, which are what signatures are over.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) ReadSummary() (ostree.Summary, []byte, error) {
	data, err := readLimited(filepath.Join(r.path, "summary"), ostree.MaxMetadataSizeBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return ostree.Summary{}, nil, fmt.Errorf("summary: %w", ErrNotFound)
	}
	if err != nil {
		return ostree.Summary{}, nil, err
	}
	s, err := ostree.ParseSummary(data)
	return s, data, err
}

// WriteSummarySignatures writes what stands beside the summary.
func (r *Repo) WriteSummarySignatures(d gvariant.Dict) error {
	return durable.WriteFile(filepath.Join(r.path, "summary.sig"), d.Encode(), 0o644)
}
