// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

const (
	downloads       = 4       // at a time
	maxPackageBytes = 8 << 30 // of a package whose size its source does not give
)

// updateSource brings the packages, then the metadata that names them, and last repomd.xml.
func updateSource(ctx context.Context, dir string, u Upstream, o Options, d *Done) error {
	sources, err := sourcesOf(dir, o.Vars)
	if err != nil {
		return err
	}
	var src rpmmd.Source
	for _, s := range sources {
		if s.ID == u.Name {
			src = s
		}
	}
	m, err := rpmmd.Load(ctx, src, rpmmd.LoadOptions{CacheDir: filepath.Join(dir, "cache"), Client: o.Client, Offline: o.Offline, Refresh: true})
	if err != nil {
		return err
	}
	c, err := m.Copy(ctx)
	if err != nil {
		return err
	}
	if err := clearLeftovers(u.Path); err != nil {
		return err
	}
	s := &sourceCopy{path: u.Path, client: src.Client(o.Client, o.Offline), done: d, named: map[string]bool{}}
	for _, p := range m.Packages {
		err := s.want(rpmmd.CopyFile{Location: p.Location, URLs: m.PackageURLs(p), Digest: p.Digest, SizeBytes: p.SizeBytes}, maxPackageBytes)
		if err != nil {
			return err
		}
	}
	for _, f := range c.Files {
		if err := s.want(f, rpmmd.MaxFileBytes); err != nil {
			return err
		}
	}
	if err := s.download(ctx); err != nil {
		return err
	}
	if err := s.publish(c); err != nil {
		return err
	}
	if o.Prune {
		return s.prune()
	}
	return nil
}

// clearLeftovers removes what an update that was killed was just writing. The lock of the mirror says that none is at work.
func clearLeftovers(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() || !durable.IsLeftover(e.Name()) {
			return err
		}
		return os.Remove(path)
	})
}

// sourceCopy is the copy of one source that is made.
type sourceCopy struct {
	path   string
	client *fetch.Client
	done   *Done
	named  map[string]bool // locations that the new state has
	list   []fetch.Download
}

// want takes down one file; what is there with the right size was verified when it came.
func (s *sourceCopy) want(f rpmmd.CopyFile, maxBytes int64) error {
	if strings.Contains(f.Location, "://") || !filepath.IsLocal(f.Location) {
		return fmt.Errorf("%s lies outside the source and cannot be mirrored", f.Location)
	}
	if f.Digest == (rpm.Digest{}) {
		return fmt.Errorf("%s has no checksum", f.Location)
	}
	s.named[f.Location] = true
	dest := filepath.Join(s.path, f.Location)
	info, err := os.Lstat(dest)
	if err == nil && info.Mode().IsRegular() && f.SizeBytes > 0 && info.Size() == f.SizeBytes && strings.HasSuffix(f.Location, ".rpm") {
		return nil
	}
	if f.SizeBytes > 0 {
		maxBytes = f.SizeBytes
	}
	s.list = append(s.list, fetch.Download{URLs: f.URLs, Dest: dest, SizeBytes: f.SizeBytes, MaxBytes: maxBytes, Digest: f.Digest.Algo + ":" + f.Digest.Hex})
	return nil
}

func (s *sourceCopy) download(ctx context.Context) error {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(downloads)
	for _, d := range s.list {
		g.Go(func() error {
			before, _ := os.Lstat(d.Dest)
			if err := s.client.Download(ctx, d); err != nil {
				return err
			}
			after, err := os.Lstat(d.Dest)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if before == nil || !os.SameFile(before, after) {
				s.done.Fetched++
				s.done.Bytes += after.Size()
			}
			return nil
		})
	}
	return g.Wait()
}

// publish puts repomd.xml and its signature into place, as they came.
func (s *sourceCopy) publish(c rpmmd.Copy) error {
	path := filepath.Join(s.path, "repodata/repomd.xml")
	now, _ := os.ReadFile(path)
	nowSig, _ := os.ReadFile(path + ".asc")
	if bytes.Equal(now, c.Repomd) && bytes.Equal(nowSig, c.Signature) {
		return nil
	}
	// a client must not see the new list with the old signature: better none
	if err := os.Remove(path + ".asc"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(path, c.Repomd, 0o644); err != nil || c.Signature == nil {
		return err
	}
	return durable.WriteFile(path+".asc", c.Signature, 0o644)
}

// prune removes the files of earlier states.
func (s *sourceCopy) prune() error {
	return filepath.WalkDir(s.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.path, path)
		if err != nil || s.named[rel] || rel == "repodata/repomd.xml" || rel == "repodata/repomd.xml.asc" {
			return err
		}
		s.done.Removed++
		return os.Remove(path)
	})
}
