// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"grove/internal/composefs"
	"grove/internal/image"
	"grove/internal/ostree"
	"grove/internal/sandbox"
	"grove/internal/tree"
	"grove/internal/verity"
)

// Kind says how a deployment's tree lies on disk.
type Kind string

// The kinds. A deployment is Checkout or Composefs; Auto is only asked for.
const (
	Auto      Kind = "auto"      // Composefs where kernel and rights allow it, else Checkout
	Checkout  Kind = "checkout"  // files, linked to the repository's objects
	Composefs Kind = "composefs" // images of metadata, mounted above the repository's objects
)

// ParseKind reads a kind as a person writes it.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Auto, Checkout, Composefs:
		return k, nil
	}
	return "", fmt.Errorf("deploy %q: want auto, checkout or composefs", s)
}

// Settings are what a person set for a state root, in config.json.
type Settings struct {
	Deploy Kind `json:"deploy,omitempty"` // the kind of new deployments; empty = auto
}

const settingsFile = "config.json"

// Settings reads the settings of the state root; zero where there are none.
func (s *Store) Settings() (Settings, error) {
	var out Settings
	path := filepath.Join(s.root, settingsFile)
	data, err := readLimited(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return out, fmt.Errorf("read %s: %w", path, err)
	}
	if out.Deploy != "" {
		if _, err := ParseKind(string(out.Deploy)); err != nil {
			return out, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return out, nil
}

// Choice is the kind that a new deployment gets, and why.
type Choice struct {
	Kind Kind
	Why  string
}

// Choose decides of which kind a deployment is to be; asked "" leaves it to the state root's settings.
//
//	errors  Composefs was asked for, and it is not possible here
func (s *Store) Choose(asked Kind) (Choice, error) {
	why := "asked for"
	if asked == "" {
		set, err := s.Settings()
		if err != nil {
			return Choice{}, err
		}
		asked, why = set.Deploy, "set in "+settingsFile
		if asked == "" {
			asked, why = defaultKind, "the default"
		}
	}
	if asked == Checkout {
		return Choice{Checkout, why}, nil
	}
	err := s.images.Support()
	switch {
	case err == nil && asked == Auto:
		return Choice{Composefs, "this host can mount it"}, nil
	case err == nil:
		return Choice{Composefs, why}, nil
	case asked == Auto:
		return Choice{Checkout, fmt.Sprintf("no composefs: %v", err)}, nil
	}
	return Choice{}, fmt.Errorf("deploy composefs: %w", err)
}

// defaultKind is what counts where nobody says anything.
const defaultKind = Auto

// Images makes the composefs images of this store.
func (s *Store) Images() *image.Store { return s.images }

// imageRecord is an image of a deployment, as its record has it.
type imageRecord struct {
	File   string `json:"file"`   // in the deployment's folder
	Digest string `json:"digest"` // hex, as fs-verity measures
}

const imagesDir = "images"

// setKind takes over what a record says of the kind.
func (d *Deployment) setKind(r record, s *Store) error {
	d.Kind, d.Why, d.Sealed, d.images = r.Kind, r.Why, r.Sealed, r.Images
	switch d.Kind {
	case "":
		d.Kind = Checkout
	case Checkout:
	case Composefs:
		dirs, err := s.repo.ObjectDirs()
		if err != nil {
			return err
		}
		d.objects = dirs
		if len(r.Images) == 0 {
			return errors.New("deployment.json names no image")
		}
		for _, i := range r.Images {
			if digest, err := hex.DecodeString(i.Digest); err != nil || len(digest) != len(composefs.Verity{}) {
				return fmt.Errorf("deployment.json: image %q has the digest %.80q", i.File, i.Digest)
			}
			if !filepath.IsLocal(i.File) {
				return fmt.Errorf("deployment.json: image %q is outside", i.File)
			}
		}
	default:
		return fmt.Errorf("deployment.json: kind %.40q: want checkout or composefs", d.Kind)
	}
	return nil
}

// Mount is what a sandbox mounts to show the tree; nil where it lies in Root.
func (d Deployment) Mount() *sandbox.Image {
	if d.Kind != Composefs {
		return nil
	}
	m := mountOf(d.dir, d.images, d.objects, d.Sealed)
	m.Name = mountName(d.dir)
	return &m
}

func mountOf(dir string, images []imageRecord, objects []string, sealed bool) sandbox.Image {
	m := sandbox.Image{Objects: objects, Verity: sealed}
	for _, i := range images {
		f := sandbox.ImageFile{Path: filepath.Join(dir, i.File)}
		if sealed {
			f.Digest, _ = hex.DecodeString(i.Digest) // checked when it was read
		}
		m.Files = append(m.Files, f)
	}
	return m
}

// mountName is what the kernel's table of mounts says of a deployment's tree.
func mountName(dir string) string { return "grove:" + dir }

// MountName is what the kernel's table of mounts says where the tree is mounted for others.
func (d Deployment) MountName() string { return mountName(d.dir) }

// ImagesThere tells whether the images that the tree is shown by are there; Check measures them.
func (d Deployment) ImagesThere() error {
	for _, i := range d.images {
		st, err := os.Lstat(filepath.Join(d.dir, i.File))
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("%s: no regular file", filepath.Join(d.dir, i.File))
		}
	}
	return nil
}

// OpenTree opens the tree, with the deployment's own /etc, to read files of it. Of kind Composefs it is mounted for
// this process until the result is closed; the name of the result leads to it, but not for who takes links apart.
//
//	errors  sandbox.ErrNotPermitted
func (d Deployment) OpenTree() (*os.File, error) { return openTree(d.Root(), d.Mount()) }

func openTree(root string, m *sandbox.Image) (*os.File, error) {
	if m == nil {
		return os.Open(root)
	}
	m.Top, m.Name = root, ""
	return m.Open()
}

// openDir opens the tree as a merge of /etc needs it.
func (d Deployment) openDir() (dir, error) {
	f, err := d.OpenTree()
	if err != nil {
		return dir{}, err
	}
	return dir{f, d.Root()}, nil
}

// LayOut makes the images of a commit's tree that stands on the base's; both may be one. Without it, the caller checks
// the tree out at Root.
//
//	errors  ostree.ErrCorrupt where a commit says otherwise of its image
func (st *Staged) LayOut(ctx context.Context, base, top ostree.Checksum, c Choice) error {
	s := st.guest.store
	var trees [2]image.Tree
	for i, sum := range []ostree.Checksum{base, top} {
		commit, err := s.repo.Commit(sum)
		if err != nil {
			return err
		}
		if err := s.images.CheckCommit(ctx, sum); err != nil {
			return err
		}
		if trees[i], err = image.Mountable(s.repo, tree.Root{Tree: commit.Tree, Meta: commit.Meta}); err != nil {
			return fmt.Errorf("commit %s: %w", sum, err)
		}
	}
	dir := filepath.Join(st.dir, imagesDir)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(st.Root(), 0o755)); err != nil {
		return err
	}
	files, err := s.images.Make(ctx, trees[0], trees[1], dir)
	if err != nil {
		return err
	}
	st.sealed = true
	for _, f := range files {
		st.images = append(st.images, imageRecord{File: filepath.Join(imagesDir, filepath.Base(f.Path)), Digest: hex.EncodeToString(f.Digest[:])})
		st.sealed = st.sealed && f.Sealed
	}
	st.choice = c
	return nil
}

// Mount is what a sandbox mounts to show the tree; nil where it lies in Root.
func (st *Staged) Mount() (*sandbox.Image, error) {
	if st.images == nil {
		return nil, nil
	}
	objects, err := st.guest.store.repo.ObjectDirs()
	if err != nil {
		return nil, err
	}
	m := mountOf(st.dir, st.images, objects, st.sealed)
	return &m, nil
}

// measured holds what the kernel measures of a sealed file against its digest.
func measured(f *os.File, want string) error {
	got, err := verity.Measure(f)
	if err == nil && hex.EncodeToString(got) != want {
		err = fmt.Errorf("fs-verity measures %x, want %s", got, want)
	}
	return err
}

// checkImages holds the images of a deployment against their digests.
func (c *checker) checkImages(where string, d *Deployment) {
	for _, i := range d.images {
		f, err := os.Open(filepath.Join(d.dir, i.File))
		if err != nil {
			c.add("%s: %v", where, err)
			continue
		}
		got, err := composefs.MeasureVerity(f)
		if err == nil && d.Sealed {
			err = measured(f, i.Digest)
		}
		f.Close()
		if err != nil {
			c.add("%s: %s: %v", where, i.File, err)
		} else if hex.EncodeToString(got[:]) != i.Digest {
			c.add("%s: %s: has digest %x, want %s", where, i.File, got, i.Digest)
		}
	}
}
