// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// This file knows where static deltas and their indexes lie; package delta knows what they are.

// maxDeltaIndexSizeBytes bounds an index: 240 bytes for each delta to one commit.
const maxDeltaIndexSizeBytes = 16 << 20

// superblockName is the file of a delta's folder that makes a delta of it.
const superblockName = "superblock"

// DeltaDir is the folder of a delta, whether it is there or not.
func (r *Repo) DeltaDir(n ostree.DeltaName) string { return filepath.Join(r.path, n.Dir()) }

// HasDelta reports whether there is such a delta.
func (r *Repo) HasDelta(n ostree.DeltaName) bool {
	fi, err := os.Stat(filepath.Join(r.DeltaDir(n), superblockName))
	return err == nil && fi.Mode().IsRegular()
}

// Deltas lists the static deltas, sorted by name. A folder without a superblock is none.
func (r *Repo) Deltas() ([]ostree.DeltaName, error) {
	var list []ostree.DeltaName
	err := r.deltaDirs(func(n ostree.DeltaName, _ string) error {
		if r.HasDelta(n) {
			list = append(list, n)
		}
		return nil
	}, func(string) error { return nil })
	slices.SortFunc(list, func(a, b ostree.DeltaName) int { return strings.Compare(a.String(), b.String()) })
	return list, err
}

// deltaDirs calls f for every folder below deltas/ with the name of a delta, and other for whatever else lies there.
func (r *Repo) deltaDirs(f func(n ostree.DeltaName, path string) error, other func(path string) error) error {
	return r.twoLevels("deltas", func(name string, d os.DirEntry) error {
		path := "deltas/" + name
		n, err := ostree.ParseDeltaDir(name)
		if err != nil || !d.IsDir() {
			return other(path)
		}
		return f(n, path)
	}, other)
}

// twoLevels calls f for what lies in the folders of the folder top, and other for what is no folder.
func (r *Repo) twoLevels(top string, f func(name string, d os.DirEntry) error, other func(path string) error) error {
	heads, err := os.ReadDir(filepath.Join(r.path, top))
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, h := range heads {
		if !h.IsDir() {
			if err := other(top + "/" + h.Name()); err != nil {
				return err
			}
			continue
		}
		rest, err := os.ReadDir(filepath.Join(r.path, top, h.Name()))
		if err != nil && !missing(err) {
			return err
		}
		for _, d := range rest {
			if err := f(h.Name()+"/"+d.Name(), d); err != nil {
				return err
			}
		}
	}
	return nil
}

// DeltaIndexes lists the commits that have an index of deltas, sorted.
func (r *Repo) DeltaIndexes() ([]ostree.Checksum, error) {
	var list []ostree.Checksum
	err := r.twoLevels("delta-indexes", func(name string, d os.DirEntry) error {
		if to, err := ostree.ParseDeltaIndexPath(name); err == nil && d.Type().IsRegular() {
			list = append(list, to)
		}
		return nil
	}, func(string) error { return nil })
	slices.SortFunc(list, ostree.Checksum.Compare)
	return list, err
}

// DeltaIndex reads the index of the deltas to a commit.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) DeltaIndex(to ostree.Checksum) ([]ostree.DeltaDigest, error) {
	data, err := durable.ReadFile(filepath.Join(r.path, ostree.DeltaIndexPath(to)), maxDeltaIndexSizeBytes)
	if missing(err) {
		return nil, fmt.Errorf("delta index of %s: %w", to, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return ostree.ParseDeltaIndex(data)
}

// DeltaDigest is the checksum of a delta's superblock, as summary and index name it.
//
//	errors  ErrNotFound
func (r *Repo) DeltaDigest(n ostree.DeltaName) (ostree.Checksum, error) {
	var c ostree.Checksum
	f, err := os.OpenFile(filepath.Join(r.DeltaDir(n), superblockName), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if missing(err) {
		return c, fmt.Errorf("delta %s: %w", n, ErrNotFound)
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return c, fmt.Errorf("delta %s: the superblock is no regular file: %w", n, errors.Join(err, ostree.ErrCorrupt))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return c, fmt.Errorf("delta %s: %w", n, err)
	}
	hash.Sum(c[:0])
	return c, nil
}

// deltaDigests gives every delta with its digest; to, if not nil, those that lead to it only.
func (r *Repo) deltaDigests(to *ostree.Checksum) ([]ostree.DeltaDigest, error) {
	names, err := r.Deltas()
	if err != nil {
		return nil, err
	}
	var list []ostree.DeltaDigest
	for _, n := range names {
		if to != nil && n.To != *to {
			continue
		}
		sum, err := r.DeltaDigest(n)
		if errors.Is(err, ErrNotFound) { // deleted meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, ostree.DeltaDigest{Name: n, Superblock: sum})
	}
	return list, nil
}

// summaryDeltas adds the deltas to a summary's metadata, unless core.no-deltas-in-summary says otherwise.
//
//	source  ostree src/libostree/ostree-repo.c, ostree_repo_regenerate_metadata
func (r *Repo) summaryDeltas(d gvariant.Dict) (gvariant.Dict, error) {
	if r.config.boolean("core", "no-deltas-in-summary", false) {
		return d, nil
	}
	list, err := r.deltaDigests(nil)
	if err != nil || len(list) == 0 {
		return d, err
	}
	digests, _ := ostree.DeltaDigestsValue(list).Dict()
	return d.With(ostree.SummaryDeltas, digests.InsertionOrder().Value()), nil
}

// ReindexDeltas writes the indexes of the deltas that are there, and deletes those of commits that none leads to any more;
// to, if not nil, for that commit only. It notes in the configuration that there are indexes.
//
//	source  ostree src/libostree/ostree-repo-static-delta-core.c, ostree_repo_static_delta_reindex
func (r *Repo) ReindexDeltas(ctx context.Context, to *ostree.Checksum) error {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return fmt.Errorf("index deltas: %w", err)
	}
	defer lock.Release()
	if err := r.reindexDeltas(to); err != nil {
		return fmt.Errorf("index deltas: %w", err)
	}
	return nil
}

// reindexDeltas is ReindexDeltas for who holds the lock.
func (r *Repo) reindexDeltas(to *ostree.Checksum) error {
	list, err := r.deltaDigests(to)
	if err != nil {
		return err
	}
	indexes := map[ostree.Checksum][]ostree.DeltaDigest{}
	for _, d := range list {
		indexes[d.Name.To] = append(indexes[d.Name.To], d)
	}
	old, err := r.DeltaIndexes()
	if err != nil {
		return err
	}
	for _, c := range old {
		if to == nil || *to == c {
			indexes[c] = append(indexes[c], []ostree.DeltaDigest(nil)...)
		}
	}
	if len(indexes) > 0 && !r.config.boolean("core", "indexed-deltas", false) {
		if err := r.config.Set("core", "indexed-deltas", "true"); err != nil {
			return err
		}
		if err := r.config.Save(); err != nil {
			return err
		}
	}
	targets := make([]ostree.Checksum, 0, len(indexes))
	for c := range indexes {
		targets = append(targets, c)
	}
	slices.SortFunc(targets, ostree.Checksum.Compare)
	for _, c := range targets {
		if err := r.writeDeltaIndex(c, indexes[c]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repo) writeDeltaIndex(to ostree.Checksum, list []ostree.DeltaDigest) error {
	path := filepath.Join(r.path, ostree.DeltaIndexPath(to))
	if len(list) == 0 {
		if err := r.removeFile(path); err != nil && !missing(err) {
			return err
		}
		return nil
	}
	data := ostree.DeltaIndex(list)
	if now, err := durable.ReadFile(path, maxDeltaIndexSizeBytes); err == nil && bytes.Equal(now, data) {
		return nil
	}
	if err := r.makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	return r.writeFile(path, data)
}

// DeleteDelta deletes a delta. Index and summary name it until they are written again.
//
//	errors  ErrNotFound
func (r *Repo) DeleteDelta(ctx context.Context, n ostree.DeltaName) error {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return fmt.Errorf("delete delta %s: %w", n, err)
	}
	defer lock.Release()
	if _, err := os.Lstat(r.DeltaDir(n)); missing(err) {
		return fmt.Errorf("delete delta %s: %w", n, ErrNotFound)
	}
	if err := r.removeDelta(n); err != nil {
		return fmt.Errorf("delete delta %s: %w", n, err)
	}
	return nil
}

func (r *Repo) removeDelta(n ostree.DeltaName) error {
	dir := r.DeltaDir(n)
	if err := durable.RemoveAll(dir); err != nil {
		return err
	}
	unix.Rmdir(filepath.Dir(dir)) // goes if it was the last there
	return nil
}

// PruneDeltas deletes the deltas that lead to commits which are not there any more; with to those that lead to that
// commit, whether it is there or not. It returns the names of what it deleted or, with dryRun, would.
//
//	source  ostree src/libostree/ostree-repo-prune.c, ostree_repo_prune_static_deltas
func (r *Repo) PruneDeltas(ctx context.Context, to *ostree.Checksum, dryRun bool) ([]ostree.DeltaName, error) {
	lock, err := r.lock(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("prune deltas: %w", err)
	}
	defer lock.Release()
	gone, err := r.pruneDeltas(to, dryRun)
	if err != nil {
		return gone, fmt.Errorf("prune deltas: %w", err)
	}
	return gone, nil
}

// pruneDeltas is PruneDeltas for who holds the lock exclusively.
func (r *Repo) pruneDeltas(to *ostree.Checksum, dryRun bool) ([]ostree.DeltaName, error) {
	var gone []ostree.DeltaName
	var left []string
	err := r.deltaDirs(func(n ostree.DeltaName, path string) error {
		if to != nil && n.To == *to || to == nil && !r.Has(ostree.TypeCommit, n.To) {
			gone = append(gone, n)
		}
		return nil
	}, func(path string) error {
		if durable.IsLeftover(filepath.Base(path)) {
			left = append(left, filepath.Join(r.path, path))
		}
		return nil
	})
	if err != nil || dryRun {
		return gone, err
	}
	for _, path := range left {
		os.RemoveAll(path)
	}
	for _, n := range gone {
		if err := r.removeDelta(n); err != nil {
			return gone, err
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	old, err := r.DeltaIndexes()
	if err != nil {
		return gone, err
	}
	for _, c := range old { // an index of what is gone leads clients astray
		if slices.ContainsFunc(gone, func(n ostree.DeltaName) bool { return n.To == c }) {
			if err := r.reindexDeltas(&c); err != nil {
				return gone, err
			}
		}
	}
	return gone, nil
}

// CheckDeltas tells f what lies below deltas/ and delta-indexes/ that does not belong there, and indexes that name what is
// not so. It does not look into deltas.
func (r *Repo) CheckDeltas(f func(Fault)) error {
	bad := func(path string) error {
		if !durable.IsLeftover(filepath.Base(path)) {
			f(Fault{path, fmt.Errorf("is no delta")})
		}
		return nil
	}
	err := r.deltaDirs(func(n ostree.DeltaName, path string) error {
		if !r.HasDelta(n) {
			f(Fault{path, fmt.Errorf("has no superblock")})
		}
		return nil
	}, bad)
	if err != nil {
		return err
	}
	indexes, err := r.DeltaIndexes()
	if err != nil {
		return err
	}
	for _, to := range indexes {
		if _, err := r.DeltaIndex(to); err != nil {
			f(Fault{ostree.DeltaIndexPath(to), err})
		}
	}
	return nil
}

// TempFile opens a file that has no name: what is put there is gone when it is closed.
func (r *Repo) TempFile() (*os.File, error) {
	dir := filepath.Join(r.path, "tmp")
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	}
	f, err := os.CreateTemp(dir, stagingPrefix)
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// OpenContentAt opens the content of a file object to be read anywhere in it. It is not held against the name.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) OpenContentAt(c ostree.Checksum) (ostree.FileHeader, *os.File, int64, error) {
	h, size, content, err := r.OpenFile(c)
	if err != nil {
		return h, nil, 0, err
	}
	defer content.Close()
	if s, ok := content.(*sized); ok {
		if in, ok := s.r.(*fdReader); ok { // the object is the content
			fd, err := unix.FcntlInt(uintptr(in.fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return h, nil, 0, fmt.Errorf("file %s: %w", c, err)
			}
			return h, os.NewFile(uintptr(fd), c.String()), size, nil
		}
	}
	f, err := r.TempFile()
	if err != nil {
		return h, nil, 0, fmt.Errorf("file %s: %w", c, err)
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return h, nil, 0, fmt.Errorf("file %s: %w", c, err)
	}
	return h, f, size, nil
}

// NewDelta is a delta being written: files in a folder that becomes the delta's, all at once.
type NewDelta struct {
	r     *Repo
	lock  *durable.Lock
	stage *staging
	path  string
}

// BeginDelta makes the folder, under the repository's shared lock. Publish or Abort ends it.
//
//	errors  durable.ErrBusy if a prune holds the lock for longer than core.lock-timeout-secs
func (r *Repo) BeginDelta(ctx context.Context) (*NewDelta, error) {
	lock, err := r.lock(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("begin delta: %w", err)
	}
	n := &NewDelta{r: r, lock: lock}
	if n.stage, err = r.newStaging(); err == nil {
		n.path = n.stage.path + "/delta"
		err = os.Mkdir(n.path, 0o755)
	}
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("begin delta in %s: %w", r.path, err)
	}
	return n, nil
}

// Path is the folder to put files into.
func (n *NewDelta) Path() string { return n.path }

// Abort gives up what was written. After Publish it does nothing.
func (n *NewDelta) Abort() error {
	if n.stage == nil {
		return nil
	}
	err := errors.Join(n.stage.remove(), n.lock.Release())
	n.stage = nil
	return err
}

// Publish makes the folder the delta of that name, in place of one that was there: a reader sees the old or the new.
func (n *NewDelta) Publish(name ostree.DeltaName) error {
	err := n.publish(name)
	if err != nil {
		err = fmt.Errorf("write delta %s: %w", name, err)
	}
	return errors.Join(err, n.Abort())
}

func (n *NewDelta) publish(name ostree.DeltaName) error {
	if n.r.set.fsync {
		if err := durable.SyncFS(n.path); err != nil {
			return err
		}
	}
	dir := n.r.DeltaDir(name)
	if err := durable.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := durable.SwapDir(n.path, dir); err != nil {
		return err
	}
	if n.r.set.fsync {
		return durable.SyncDir(filepath.Dir(dir))
	}
	return nil
}
