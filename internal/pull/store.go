// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
)

const (
	// After so many bytes or so long, what has come is made durable, so that a crash costs no more than that.
	batchBytes = 256 << 20
	batchTime  = 30 * time.Second
	drainBytes = 4 << 10
	// smallMeta is up to what size metadata is read into memory before its checksum is known. A larger object goes through a
	// file, one at a time: only when its checksum is right, memory is taken for it.
	smallMeta = 1 << 20
)

// verifies tells whether what a repository on this machine has is held against its checksums. What is signed is: a hard link
// would let whoever owns the other repository change it behind us.
func (p *puller) verifies() bool {
	return p.o.Untrusted || p.rem.policy.WantsCommit() || p.rem.policy.WantsSummary()
}

// check is asked about each file before it is stored; nil for no question.
func (p *puller) check() func(ostree.FileHeader) error {
	if p.o.UserOnlyFiles {
		return userOnly
	}
	return nil
}

// fromCache takes an object from a local cache. What is wrong with a cache is no error: the remote has the object too.
func (p *puller) fromCache(tx *repo.Tx, o object) (bool, error) {
	for _, c := range p.caches {
		if !c.Has(o.t, o.c) {
			continue
		}
		err := tx.ImportObjectWith(c, o.t, o.c, repo.ImportOptions{Verify: true, Check: p.check()})
		if err == nil || !errors.Is(err, ostree.ErrCorrupt) && !errors.Is(err, repo.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// storeMeta brings a dirtree or dirmeta. It tells how many bytes came, and whether they are of this machine; data is nil where
// the object was taken over without reading it.
func (p *puller) storeMeta(ctx context.Context, tx *repo.Tx, o object) (data []byte, n int64, copied bool, err error) {
	if ok, err := p.fromCache(tx, o); ok || err != nil {
		if err == nil {
			data, err = tx.StagedMetadata(o.t, o.c)
		}
		return data, 0, true, err
	}
	if p.rem.local != nil {
		err = tx.ImportObjectWith(p.rem.local, o.t, o.c, repo.ImportOptions{Verify: p.verifies()})
		return nil, 0, true, missing(o, err)
	}
	if data, err = p.rem.metadata(ctx, o); err != nil {
		return nil, 0, false, err
	}
	_, err = tx.PutMetadata(o.t, data)
	return data, int64(len(data)), false, err
}

// storeFile brings a file object, as storeMeta.
func (p *puller) storeFile(ctx context.Context, tx *repo.Tx, o object) (n int64, copied bool, err error) {
	if ok, err := p.fromCache(tx, o); ok || err != nil {
		return 0, true, err
	}
	if p.rem.local != nil {
		err = tx.ImportObjectWith(p.rem.local, o.t, o.c, repo.ImportOptions{Verify: p.verifies(), Check: p.check()})
		return 0, true, missing(o, err)
	}
	err = each(p.rem.content, func(base string) error {
		return p.rem.client.Retry(ctx, func() (err error) {
			n, err = p.fileOnce(ctx, tx, base, o)
			return err
		})
	})
	return n, false, missing(o, err)
}

func (p *puller) fileOnce(ctx context.Context, tx *repo.Tx, base string, o object) (int64, error) {
	body, _, err := p.rem.client.OpenSteady(ctx, base+o.String())
	if err != nil {
		return 0, err
	}
	in := &netBody{ReadCloser: body}
	err = tx.PutPacked(o.c, in, p.check())
	in.Close()
	switch {
	case in.err != nil:
		return in.count, in.err // the line broke: whatever the reader made of it, another try may help
	case errors.Is(err, ostree.ErrCorrupt), errors.Is(err, io.ErrUnexpectedEOF):
		return in.count, fetch.Lasting(fmt.Errorf("%s%s: %w", base, o, corrupt(err)))
	}
	return in.count, fetch.Lasting(err)
}

func corrupt(err error) error {
	if errors.Is(err, ostree.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ostree.ErrCorrupt, err)
}

// netBody remembers what went wrong on the line, and reads the last bytes so that the connection can be used again.
type netBody struct {
	io.ReadCloser
	count int64
	err   error
	eof   bool
}

func (b *netBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count += int64(n)
	if err == io.EOF {
		b.eof = true
	} else if err != nil {
		b.err = err
	}
	return n, err
}

func (b *netBody) Close() error {
	if !b.eof && b.err == nil {
		io.CopyN(io.Discard, b.ReadCloser, drainBytes)
	}
	return b.ReadCloser.Close()
}

// metadata brings a metadata object and holds it against its name.
func (rem *remote) metadata(ctx context.Context, o object) ([]byte, error) {
	var data []byte
	err := each(rem.content, func(base string) error {
		return rem.client.Retry(ctx, func() error {
			body, _, err := rem.client.OpenOnce(ctx, base+o.String())
			if err != nil {
				return err
			}
			defer body.Close()
			data, err = rem.readMetadata(body, o)
			return err
		})
	})
	return data, missing(o, err)
}

func (rem *remote) readMetadata(body io.Reader, o object) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, smallMeta+1))
	if err != nil {
		return nil, err
	}
	if len(data) > smallMeta {
		return rem.spool(data, body, o)
	}
	if got := ostree.SumBytes(data); got != o.c {
		return nil, wrongSum(o, got)
	}
	return data, nil
}

func wrongSum(o object, got ostree.Checksum) error {
	return fetch.Lasting(fmt.Errorf("%s: it has checksum %s: %w", o, got, ostree.ErrCorrupt))
}

// spool reads a large metadata object, which begins with head, through a file without a name.
func (rem *remote) spool(head []byte, rest io.Reader, o object) ([]byte, error) {
	rem.large.Lock()
	defer rem.large.Unlock()
	f, err := os.CreateTemp(rem.spoolDir, "grove-spool-")
	if err != nil {
		return nil, fetch.Lasting(err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, fetch.Lasting(err)
	}
	hash := sha256.New()
	hash.Write(head)
	if _, err := f.Write(head); err != nil {
		return nil, fetch.Lasting(err)
	}
	limit := int64(ostree.MaxMetadataSizeBytes - len(head))
	out := &spoolFile{f: f}
	n, err := io.Copy(io.MultiWriter(out, hash), io.LimitReader(rest, limit+1))
	switch {
	case out.err != nil:
		return nil, fetch.Lasting(out.err)
	case err != nil:
		return nil, err
	case n > limit:
		return nil, fmt.Errorf("%s: %w: more than %d bytes", o, fetch.ErrTooLarge, ostree.MaxMetadataSizeBytes)
	}
	var got ostree.Checksum
	if hash.Sum(got[:0]); got != o.c {
		return nil, wrongSum(o, got)
	}
	data := make([]byte, int64(len(head))+n)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fetch.Lasting(err)
	}
	return data, nil
}

// spoolFile tells errors of the disk from those of the line.
type spoolFile struct {
	f   *os.File
	err error
}

func (s *spoolFile) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.err = err
	return n, err
}

func missing(o object, err error) error {
	if errors.Is(err, fetch.ErrNotFound) {
		return fmt.Errorf("%s: %w on the remote: %w", o, repo.ErrNotFound, err)
	}
	return err
}

// batches are the transactions that objects are stored in: a new one is begun when one is full, and each commits when the last
// worker gives it back.
type batches struct {
	r *repo.Repo

	mu      sync.Mutex
	current *batch
}

type batch struct {
	tx    *repo.Tx
	users int
	bytes int64
	since time.Time
	old   bool
}

// take gives the current batch to a worker.
func (b *batches) take() (*batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		tx, err := b.r.Begin(context.Background())
		if err != nil {
			return nil, err
		}
		b.current = &batch{tx: tx, since: time.Now()}
	}
	b.current.users++
	return b.current, nil
}

// give takes it back, with how many bytes were put into it.
func (b *batches) give(t *batch, bytes int64) error {
	b.mu.Lock()
	t.users--
	t.bytes += bytes
	if !t.old && (t.bytes > batchBytes || time.Since(t.since) > batchTime) {
		t.old, b.current = true, nil
	}
	last := t.old && t.users == 0
	b.mu.Unlock()
	if !last {
		return nil
	}
	return t.tx.Commit()
}

// close commits what is open. No worker is at work any more.
func (b *batches) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		return nil
	}
	return b.current.tx.Commit()
}

// wantsFile tells whether a file of a directory on the way to wanted paths is wanted.
func (p *puller) wantsFile(dir, name string) bool {
	if dir == "" {
		return true
	}
	for _, want := range p.o.Subpaths {
		if filepath.Clean(want) == dir+name {
			return true
		}
	}
	return false
}

// wantsDir is wantsFile for a directory; path is "" where all of it is wanted.
func (p *puller) wantsDir(dir, name string) (wanted bool, path string) {
	if dir == "" {
		return true, ""
	}
	path = dir + name + "/"
	for _, want := range p.o.Subpaths {
		want = strings.TrimSuffix(filepath.Clean(want), "/") + "/"
		if strings.HasPrefix(path, want) {
			return true, ""
		}
		wanted = wanted || strings.HasPrefix(want, path)
	}
	return wanted, path
}
