// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"grove/internal/composefs"
	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/sandbox"
	"grove/internal/tree"
)

// ability is what this host can do with images, found out by trying.
type ability struct {
	mount error // why a tree can not be shown; nil = it can
	write error // why it can not be shown with a folder above that takes what is written
}

// Support tells why trees of this repository can not be shown on this host by their images; nil = they can.
//
//	errors  sandbox.ErrNotPermitted
func (s *Store) Support() error { return s.try().mount }

// SupportScratch tells why a tree can not be shown so that what is written goes to a folder above it; nil = it can.
func (s *Store) SupportScratch() error {
	a := s.try()
	if a.mount != nil {
		return a.mount
	}
	return a.write
}

// try mounts the image of an empty tree, once.
func (s *Store) try() ability {
	s.once.Do(func() { s.able = s.trial() })
	return s.able
}

// trialPrefix begins the names of folders for a trial, which takes no lock; one that is older than trialAge is left over.
const (
	trialPrefix = ".trial-"
	trialAge    = time.Minute
)

func (s *Store) trial() ability {
	if _, err := s.repo.ObjectDirs(); err != nil {
		return ability{mount: err}
	}
	if os.Geteuid() != 0 {
		return ability{mount: fmt.Errorf("mount images: %w", sandbox.ErrNotPermitted)}
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return ability{mount: err}
	}
	dir, err := os.MkdirTemp(s.dir, trialPrefix)
	if err != nil {
		return ability{mount: err}
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "trial.erofs")
	if err := writeTrial(file); err != nil {
		return ability{mount: err}
	}
	m, err := s.Mount([]File{{Path: file}})
	if err != nil {
		return ability{mount: err}
	}
	m.Top = dir // as one layer more, which is what a deployment's /etc is
	f, err := m.Open()
	if err != nil {
		return ability{mount: err}
	}
	f.Close()
	s.seal = s.seal || s.trySealed(file)
	m.Top = ""
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return ability{write: err}
	}
	return ability{write: m.TryScratch(upper, work)}
}

// trySealed tells whether files can be sealed here, and a mount then verifies what it shows.
func (s *Store) trySealed(file string) bool {
	digest, err := sealed(file)
	if err != nil {
		return false
	}
	m, err := s.Mount([]File{{Path: file, Digest: *digest, Sealed: true}})
	if err != nil {
		return false
	}
	f, err := m.Open()
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// writeTrial writes the image of a tree with nothing in it.
func writeTrial(path string) error {
	mem := &tree.Memory{}
	root, err := tree.Empty(ostree.DefaultDirMeta()).Write(mem)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := composefs.Write(context.Background(), &b, mem, root, composefs.Options{}); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// CheckCommit holds the digest that a commit carries of its image, if it carries one, against the image. What was found
// to be right once is noted and not looked at again.
//
//	errors  ostree.ErrCorrupt
func (s *Store) CheckCommit(ctx context.Context, c ostree.Checksum) error {
	commit, err := s.repo.Commit(c)
	if err != nil {
		return err
	}
	v, ok := commit.Metadata.Lookup(composefs.KeyDigest)
	if !ok {
		return nil
	}
	note := filepath.Join(s.dir, c.String()+".checked")
	if _, err := os.Lstat(note); err == nil {
		return nil
	}
	got, err := composefs.CommitDigest(ctx, s.repo, tree.Root{Tree: commit.Tree, Meta: commit.Meta})
	if err != nil {
		return err
	}
	if v.Type() != "ay" || !bytes.Equal(v.Bytes(), got[:]) {
		return fmt.Errorf("commit %s: its image has digest %x, %s says otherwise: %w", c, got, composefs.KeyDigest, ostree.ErrCorrupt)
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return durable.WriteFile(note, nil, 0o644)
}
