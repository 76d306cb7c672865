// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/trust"
)

// SummaryOptions say what a summary has besides the repository's refs.
type SummaryOptions struct {
	// TimestampSec is when the summary was made; 0 = when the newest commit in it was, so that the same refs give the same bytes.
	TimestampSec uint64
	// Add goes into the summary's metadata. What the repository itself says there is not to be overruled.
	Add gvariant.Dict
	// Signers sign it.
	Signers []trust.Signer
}

// UpdateSummary writes the summary of the repository's refs for clients that can not list folders, and its signatures. With
// the same time it has the bytes that libostree gives it. Those who read meanwhile see the old summary, or the new one,
// perhaps without signatures, never with those of the other.
//
//	source  ostree src/libostree/ostree-repo.c, ostree_repo_regenerate_summary
func (r *Repo) UpdateSummary(ctx context.Context, o SummaryOptions) error {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	defer lock.Release()
	if err := r.writeSummary(ctx, o); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

func (r *Repo) writeSummary(ctx context.Context, o SummaryOptions) error {
	if err := r.reindexDeltas(nil); err != nil {
		return err
	}
	s, err := r.summary(o)
	if err != nil {
		return err
	}
	data := s.Encode()
	if len(data) > ostree.MaxMetadataSizeBytes {
		return fmt.Errorf("%d bytes, at most %d allowed", len(data), ostree.MaxMetadataSizeBytes)
	}
	sig, err := trust.Sign(ctx, o.Signers, data, nil) // before anything is touched: it may fail
	if err != nil {
		return err
	}
	// a client must not see the new summary with the old signatures: better none
	if err := r.removeFile(filepath.Join(r.path, "summary.sig")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.writeFile(filepath.Join(r.path, "summary"), data); err != nil {
		return err
	}
	if len(sig) == 0 {
		return nil
	}
	return r.WriteSummarySignatures(sig)
}

// SignSummary adds signatures to the summary that is there.
//
//	errors  ErrNotFound; trust.ErrSigned
func (r *Repo) SignSummary(ctx context.Context, signers []trust.Signer) error {
	lock, err := r.lock(ctx, true)
	if err != nil {
		return fmt.Errorf("sign summary: %w", err)
	}
	defer lock.Release()
	_, data, err := r.ReadSummary()
	if err != nil {
		return fmt.Errorf("sign summary: %w", err)
	}
	d, err := r.SummarySignatures()
	if err == nil {
		d, err = trust.Sign(ctx, signers, data, d)
	}
	if err != nil {
		return fmt.Errorf("sign summary: %w", err)
	}
	return r.WriteSummarySignatures(d)
}

func (r *Repo) summary(o SummaryOptions) (ostree.Summary, error) {
	refs, others, err := r.summaryRefs()
	if err != nil {
		return ostree.Summary{}, err
	}
	var s ostree.Summary
	newest := uint64(0)
	if s.Refs, newest, err = r.refEntries(refs); err != nil {
		return s, err
	}
	m := o.Add
	put := func(key string, v gvariant.Value) { m = append(slices.Clip(m), gvariant.Entry{Key: key, Value: v}) }
	if m, err = r.summaryDeltas(m); err != nil {
		return s, err
	}
	at := o.TimestampSec
	if at == 0 {
		at = newest
	}
	put(ostree.SummaryLastModified, ostree.TimeValue(at))
	mode, ok := r.config.Get("core", "mode")
	if !ok {
		mode = Bare.String()
	}
	put(ostree.SummaryMode, gvariant.String(mode))
	put(ostree.SummaryTombstones, gvariant.Bool(r.set.tombstones))
	put(ostree.SummaryIndexedDeltas, gvariant.Bool(true))
	if id := r.CollectionID(); id != "" {
		put(ostree.SummaryCollectionID, gvariant.String(id))
	}
	collections := map[string][]ostree.SummaryRef{}
	for id, refs := range others {
		if collections[id], _, err = r.refEntries(refs); err != nil {
			return s, fmt.Errorf("collection %s: %w", id, err)
		}
	}
	if len(collections) > 0 {
		put(ostree.SummaryCollectionMap, ostree.CollectionMapValue(collections))
	}
	s.Metadata = m.InsertionOrder()
	return s, nil
}

// refEntries makes the entries of refs, and gives the time of the newest commit among them.
func (r *Repo) refEntries(refs map[string]ostree.Checksum) (entries []ostree.SummaryRef, newest uint64, err error) {
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		data, err := r.Metadata(ostree.TypeCommit, refs[name])
		if err != nil {
			return nil, 0, fmt.Errorf("ref %q: %w", name, err)
		}
		c, err := ostree.ParseCommit(data)
		if err != nil {
			return nil, 0, fmt.Errorf("ref %q: commit %s: %w", name, refs[name], err)
		}
		newest = max(newest, c.Timestamp)
		var meta gvariant.Dict
		if c.Timestamp <= maxCalendarSec {
			meta = gvariant.Dict{{Key: ostree.RefCommitTimestamp, Value: ostree.TimeValue(c.Timestamp)}}
		}
		if v, ok := c.Metadata.Str(ostree.KeyVersion); ok {
			meta = append(meta, gvariant.Entry{Key: ostree.RefCommitVersion, Value: gvariant.String(v)})
		}
		entries = append(entries, ostree.SummaryRef{Name: name, SizeBytes: uint64(len(data)), Commit: refs[name], Metadata: meta.InsertionOrder()})
	}
	return entries, newest, nil
}

// maxCalendarSec is the end of the year 9999, behind which GLib has no dates and libostree leaves the time out.
const maxCalendarSec = 253402300799

// summaryRefs gives the repository's own refs, and those of other collections: what is mirrored of them, and what was pulled
// from remotes that belong to one. The error tells of those that can not be read too; the rest is there then.
func (r *Repo) summaryRefs() (own map[string]ostree.Checksum, others map[string]map[string]ostree.Checksum, err error) {
	own, others = map[string]ostree.Checksum{}, map[string]map[string]ostree.Checksum{}
	err = r.refsBelow("refs/heads", "", "", own, nil)
	all, cerr := r.AllCollectionRefs("")
	err = errors.Join(err, cerr)
	for ref, c := range all {
		if ref.Collection == r.CollectionID() {
			own[ref.Name] = c
			continue
		}
		if others[ref.Collection] == nil {
			others[ref.Collection] = map[string]ostree.Checksum{}
		}
		others[ref.Collection][ref.Name] = c
	}
	return own, others, err
}

// MetadataRef is the branch of a repository with a collection id whose commits carry what its summary says, so that it can
// be trusted through any mirror.
//
//	source  ostree src/libostree/ostree-repo.h, OSTREE_REPO_METADATA_REF
const MetadataRef = "ostree-metadata"

// CommitSummaryMetadata commits what is added to the summary to MetadataRef, where the repository has a collection id.
func (r *Repo) CommitSummaryMetadata(ctx context.Context, o SummaryOptions) error {
	id := r.CollectionID()
	if id == "" {
		return nil
	}
	tx, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	v := ostree.Commit{Timestamp: o.TimestampSec}
	if v.Parent, err = r.lookupRef(MetadataRef); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	v.Metadata = append(slices.Clip(o.Add), gvariant.Entry{Key: ostree.KeyCollection, Value: gvariant.String(id)},
		gvariant.Entry{Key: ostree.KeyRefBinding, Value: gvariant.Strings([]string{MetadataRef})}).InsertionOrder()
	if v.Tree, err = tx.PutDirTree(ostree.DirTree{}); err != nil {
		return err
	}
	if v.Meta, err = tx.PutDirMeta(ostree.DefaultDirMeta()); err != nil {
		return err
	}
	sum, err := tx.PutCommit(v)
	if err != nil {
		return err
	}
	if err := tx.SignStaged(ctx, v, nil, o.Signers); err != nil {
		return err
	}
	if err := tx.SetRef(MetadataRef, sum); err != nil {
		return err
	}
	return tx.Commit()
}
