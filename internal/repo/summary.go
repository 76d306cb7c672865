// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// WriteSummary is UpdateSummary without anything special: nothing added, not signed.
func (r *Repo) WriteSummary(ctx context.Context) error { return r.UpdateSummary(ctx, SummaryOptions{}) }

// followRefs writes the summary where the configuration wants it to follow the refs.
func (r *Repo) followRefs() error {
	if !r.set.autoSummary {
		return nil
	}
	return r.writeSummary(context.Background(), SummaryOptions{})
}

// ReadSummary returns the summary and its bytes, which are what signatures are over.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) ReadSummary() (ostree.Summary, []byte, error) {
	data, err := durable.ReadFile(filepath.Join(r.path, "summary"), ostree.MaxMetadataSizeBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return ostree.Summary{}, nil, fmt.Errorf("summary: %w", ErrNotFound)
	}
	if err != nil {
		return ostree.Summary{}, nil, err
	}
	s, err := ostree.ParseSummary(data)
	return s, data, err
}

// SummarySignatures returns what stands beside the summary; an empty Dict if there is nothing.
//
//	errors  ostree.ErrCorrupt
func (r *Repo) SummarySignatures() (gvariant.Dict, error) {
	data, err := durable.ReadFile(filepath.Join(r.path, "summary.sig"), ostree.MaxMetadataSizeBytes)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ostree.ParseDetached(data)
}

// SummarySigned tells whether anything stands beside the summary.
func (r *Repo) SummarySigned() bool {
	d, err := r.SummarySignatures()
	return err == nil && len(d) > 0
}

// WriteSummarySignatures writes what stands beside the summary.
func (r *Repo) WriteSummarySignatures(d gvariant.Dict) error {
	return r.writeFile(filepath.Join(r.path, "summary.sig"), d.Encode())
}
