// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
	"grove/internal/trust"
)

// superblockName is the file of a delta's folder that says what the delta is.
const superblockName = "superblock"

// File is a delta on disk, open: in a repository, in a folder of its own, or one file.
type File struct {
	*Superblock
	dir string
	f   *os.File
}

// Open opens the delta at path: a folder that holds a superblock, or a superblock with its parts inside or beside it.
//
//	errors  fs.ErrNotExist, ostree.ErrCorrupt
func Open(path string) (*File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open delta: %w", err)
	}
	name := path
	if fi.IsDir() {
		name = filepath.Join(path, superblockName)
	}
	f, size, err := openRegular(name)
	if err != nil {
		return nil, fmt.Errorf("open delta: %w", err)
	}
	sb, err := Read(f, size)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open delta %s: %w", path, err)
	}
	return &File{sb, filepath.Dir(name), f}, nil
}

// OpenIn opens a delta of a repository.
//
//	errors  repo.ErrNotFound, ostree.ErrCorrupt
func OpenIn(r *repo.Repo, n ostree.DeltaName) (*File, error) {
	if !r.HasDelta(n) {
		return nil, fmt.Errorf("delta %s: %w", n, repo.ErrNotFound)
	}
	d, err := Open(r.DeltaDir(n))
	if err == nil && d.Name != n {
		d.Close()
		return nil, fmt.Errorf("delta %s: %w", n, corruptf("its superblock is that of %s", d.Name))
	}
	return d, err
}

// openRegular opens a regular file and gives its size; it does not wait for a fifo's other end.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("open %s: is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// Close closes the superblock's file.
func (d *File) Close() error { return d.f.Close() }

// OpenPart opens the bytes of part i.
//
//	errors  fs.ErrNotExist; ostree.ErrCorrupt if the file has another size than the superblock says
func (d *File) OpenPart(i int) (io.ReadCloser, error) {
	p := d.Parts[i]
	if p.inline != nil {
		return io.NopCloser(p.inline.section()), nil
	}
	f, size, err := openRegular(filepath.Join(d.dir, strconv.Itoa(i)))
	if err != nil {
		return nil, fmt.Errorf("part %d: %w", i, err)
	}
	if uint64(size) != p.SizeBytes {
		f.Close()
		return nil, fmt.Errorf("part %d: %w", i, corruptf("it has %d bytes, wanted %d", size, p.SizeBytes))
	}
	return f, nil
}

// applyPart puts the objects of part i into tx.
func (d *File) applyPart(ctx context.Context, tx *repo.Tx, i int) error {
	in, err := d.OpenPart(i)
	if err != nil {
		return err
	}
	defer in.Close()
	return d.ApplyPart(ctx, tx, i, in)
}

// ApplyOptions say how far a delta is trusted.
type ApplyOptions struct {
	// Policy is what a signed superblock is held against. The zero value asks for nothing: then what counts are the checksums
	// of what the delta makes, unless the repository's core.sign-verify-deltas asks for signatures.
	Policy trust.Policy
}

// Apply applies the delta at path (see Open) to r and returns the commit that is there then. No ref is set. It lands as a
// whole, with all that the commit needs, or not at all.
//
//	errors  repo.ErrNotFound if the commit that it begins at is not there whole; sign.ErrUntrusted; ostree.ErrCorrupt
//	source  ostree src/libostree/ostree-repo-static-delta-core.c, ostree_repo_static_delta_execute_offline_with_signature
func Apply(ctx context.Context, r *repo.Repo, path string, o ApplyOptions) (ostree.Checksum, error) {
	d, err := Open(path)
	if err != nil {
		return ostree.Checksum{}, err
	}
	defer d.Close()
	if err := d.apply(ctx, r, o); err != nil {
		return ostree.Checksum{}, fmt.Errorf("apply delta %s: %w", d.Name, err)
	}
	return d.Name.To, nil
}

// SignVerifyKey is the key of [core] by which a repository asks for signatures on deltas that are applied by hand.
const SignVerifyKey = "sign-verify-deltas"

func (d *File) apply(ctx context.Context, r *repo.Repo, o ApplyOptions) error {
	must := false
	if v, _ := r.Config().Get("core", SignVerifyKey); v == "true" || v == "1" {
		if must = true; !o.Policy.Sign {
			return fmt.Errorf("%w: the repository wants signed deltas (core.%s), and there is no key to hold this one against", sign.ErrUntrusted, SignVerifyKey)
		}
	}
	if must || d.Signed && o.Policy.Sign {
		if _, err := d.Verify(o.Policy); err != nil {
			return err
		}
	}
	prev, err := d.begins(r)
	if err != nil {
		return err
	}
	if n := len(d.Fallbacks); n > 0 {
		return fmt.Errorf("it leaves %d objects to be fetched by themselves; only a pull can do that", n)
	}
	commit, err := ostree.ParseCommit(d.Commit)
	if err != nil {
		return err
	}
	tx, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := d.applyParts(ctx, tx); err != nil {
		return err
	}
	if err := complete(ctx, tx, commit, prev); err != nil {
		return fmt.Errorf("it does not make all of its commit: %w", err)
	}
	if !r.Has(ostree.TypeCommit, d.Name.To) {
		if _, err := tx.PutMetadata(ostree.TypeCommit, d.Commit); err != nil {
			return err
		}
		if len(d.Detached) > 0 {
			tx.SetDetached(d.Name.To, d.Detached)
		}
	}
	tx.SetPartial(d.Name.To, false)
	return tx.Commit()
}

// begins gives the commit that the delta begins at; nil where that is nothing.
func (sb *Superblock) begins(r *repo.Repo) (*ostree.Commit, error) {
	from := sb.Name.From
	if from.IsZero() {
		return nil, nil
	}
	c, err := r.Commit(from)
	if err == nil && r.IsPartial(from) {
		err = fmt.Errorf("commit %s is there in part only: %w", from, repo.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("it begins at: %w", err)
	}
	return &c, nil
}

// partsAtATime is how many parts are unpacked beside one another.
const partsAtATime = 2

// applyParts puts the objects of all parts into tx, but of those whose objects are all there.
func (d *File) applyParts(ctx context.Context, tx *repo.Tx) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtATime)
	for i, p := range d.Parts {
		if p.Missing(tx.Repo()) == 0 {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return d.applyPart(ctx, tx, i) })
	}
	return g.Wait()
}

// Check holds a delta's parts against what the superblock says of them: that they are there, whole, and make what is listed.
func (d *File) Check(ctx context.Context, r *repo.Repo) error {
	var errs []error
	for i := range d.Parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := d.inspect(r, i); err != nil {
			errs = append(errs, fmt.Errorf("part %d: %w", i, err))
		}
	}
	if _, err := ostree.ParseCommit(d.Commit); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Fsck verifies the deltas of a repository: superblocks, parts and indexes. What it finds is in the faults; the error is for a
// check that could not be done.
func Fsck(ctx context.Context, r *repo.Repo) ([]repo.Fault, error) {
	var faults []repo.Fault
	if err := r.CheckDeltas(func(f repo.Fault) { faults = append(faults, f) }); err != nil {
		return nil, fmt.Errorf("fsck deltas: %w", err)
	}
	names, err := r.Deltas()
	if err != nil {
		return nil, fmt.Errorf("fsck deltas: %w", err)
	}
	for _, n := range names {
		d, err := OpenIn(r, n)
		if errors.Is(err, repo.ErrNotFound) { // deleted meanwhile
			continue
		}
		if err == nil {
			err = d.Check(ctx, r)
			d.Close()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			faults = append(faults, repo.Fault{Object: n.Dir(), Err: err})
		}
	}
	return faults, nil
}
