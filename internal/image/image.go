// SPDX-License-Identifier: Apache-2.0

// Package image keeps composefs images of trees: the image of a base is made once for all who stand on it, what stands on
// it gets a small one of what it changes.
//
// It writes no bytes of an image itself (composefs does), knows neither guests nor deployments and mounts nothing but a
// trial image. It keeps: an image that has its name is whole and on disk; the same tree gives the same image; who deletes
// the folder of base images takes nothing from those who use them, for they have links of their own.
package image

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/composefs"
	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sandbox"
	"grove/internal/tree"
	"grove/internal/verity"
)

// Store makes images of a repository's trees.
type Store struct {
	repo *repo.Repo
	dir  string // the images of bases
	once sync.Once
	able ability
	seal bool // objects and images are sealed with fs-verity, and images have the digests of their objects
}

// New is a store whose images of bases lie in dir, which is made when the first one is.
func New(r *repo.Repo, dir string) *Store { return &Store{repo: r, dir: dir} }

// Seal makes the store seal objects and images with fs-verity from now on. Support does it where it is possible.
func (s *Store) Seal() { s.seal = true }

// File is an image that was made.
type File struct {
	Path   string
	Digest composefs.Verity
	Inodes int
	Sealed bool // by fs-verity; the objects that it names, too
}

// info is what is noted beside the image of a base.
type info struct {
	Digest string `json:"digest"`
	Inodes int    `json:"inodes"`
	Of     string `json:"of,omitempty"` // the tree that it is of, before it was made mountable
}

// rootName is how file names and notes call a tree.
func rootName(r tree.Root) string { return r.Tree.String() + "-" + r.Meta.String() }

// names gives the paths of a base's image and of the note beside it.
func (s *Store) names(root tree.Root) (image, note string) {
	name := rootName(root)
	if s.seal {
		name += sealedSuffix
	}
	path := filepath.Join(s.dir, name)
	return path + imageSuffix, path + noteSuffix
}

const (
	imageSuffix  = ".erofs"
	noteSuffix   = ".json"
	sealedSuffix = "-sealed"
)

// Base gives the image of a tree that others stand on, which is made where it is not there yet.
func (s *Store) Base(ctx context.Context, t Tree) (File, error) {
	image, note := s.names(t.Root)
	if f, _, ok := s.known(image, note); ok {
		return f, nil
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return File{}, err
	}
	f := File{Path: image, Sealed: s.seal}
	made, err := s.write(image, func(w io.Writer) (composefs.Info, error) {
		return composefs.Write(ctx, w, t.Src, t.Root, s.options())
	})
	if err != nil {
		return File{}, err
	}
	f.Digest, f.Inodes = made.Digest, made.Inodes
	text, err := json.Marshal(info{Digest: hex.EncodeToString(f.Digest[:]), Inodes: f.Inodes, Of: rootName(t.Of)})
	if err != nil {
		return File{}, err
	}
	return f, durable.WriteFile(note, append(text, '\n'), 0o644) // last: without it the image is not there
}

// known finds an image that was made earlier.
func (s *Store) known(image, note string) (f File, i info, ok bool) {
	f = File{Path: image, Sealed: s.seal}
	data, err := os.ReadFile(note)
	if err != nil || json.Unmarshal(data, &i) != nil || i.Inodes <= 0 {
		return f, i, false
	}
	d, err := hex.DecodeString(i.Digest)
	if err != nil || len(d) != len(f.Digest) {
		return f, i, false
	}
	copy(f.Digest[:], d)
	f.Inodes = i.Inodes
	st, err := os.Lstat(image)
	return f, i, err == nil && st.Mode().IsRegular()
}

func (s *Store) write(path string, fill func(io.Writer) (composefs.Info, error)) (made composefs.Info, err error) {
	err = durable.Write(path, 0o644, func(w io.Writer) error {
		made, err = fill(w)
		return err
	})
	if err == nil && s.seal {
		err = verity.Seal(path)
	}
	return made, err
}

// layerShare is up to which part of the base's inodes a layer may have: above, one image of the whole tree is smaller
// than both together, and quicker to look things up in.
const layerShare = 0.5

// Make puts images that show top into the existing folder dir, the topmost first. base is what top was made from, the
// zero value where that is not known; its image, or that of a tree that is much the same, is shared with everybody.
func (s *Store) Make(ctx context.Context, base, top Tree, dir string) ([]File, error) {
	if base.Src == nil {
		base = top
	}
	below, err := s.below(ctx, base)
	if err != nil {
		return nil, err
	}
	if below.tree.Root == top.Root {
		return s.take(dir, below.file)
	}
	layer := File{Path: filepath.Join(dir, "layer.erofs"), Sealed: s.seal}
	made, err := s.write(layer.Path, func(w io.Writer) (composefs.Info, error) {
		return composefs.WriteLayer(ctx, w, either{top.Src, below.tree.Src}, below.tree.Root, top.Root, s.options())
	})
	if err != nil {
		return nil, err
	}
	if float64(made.Inodes) > layerShare*float64(below.file.Inodes) {
		made, err = s.write(layer.Path, func(w io.Writer) (composefs.Info, error) {
			return composefs.Write(ctx, w, top.Src, top.Root, s.options())
		})
		layer.Digest, layer.Inodes = made.Digest, made.Inodes
		return []File{layer}, err
	}
	layer.Digest, layer.Inodes = made.Digest, made.Inodes
	files, err := s.take(dir, below.file)
	return append([]File{layer}, files...), err
}

// Scratch makes images of a tree for work that ends before dir, an existing folder, goes away, and gives the mount of
// them. Only the base's, where there is one, is kept.
func (s *Store) Scratch(ctx context.Context, base, top tree.Root, dir string) (*sandbox.Image, error) {
	var files []File
	var err error
	if base == (tree.Root{}) {
		f := File{Path: filepath.Join(dir, "whole.erofs")}
		_, err = s.write(f.Path, func(w io.Writer) (composefs.Info, error) {
			return composefs.Write(ctx, w, s.repo, top, composefs.Names(s.repo))
		})
		files = []File{f}
	} else {
		files, err = s.makeOf(ctx, base, top, dir)
	}
	if err != nil {
		return nil, err
	}
	m, err := s.Mount(files)
	return &m, err
}

func (s *Store) makeOf(ctx context.Context, base, top tree.Root, dir string) ([]File, error) {
	b, err := Mountable(s.repo, base)
	if err != nil {
		return nil, err
	}
	t, err := Mountable(s.repo, top)
	if err != nil {
		return nil, err
	}
	return s.Make(ctx, b, t, dir)
}

// take gives dir its own link to the image of a base, or a copy where there can be no more links.
func (s *Store) take(dir string, f File) ([]File, error) {
	path := filepath.Join(dir, "base.erofs")
	err := os.Link(f.Path, path)
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EXDEV) {
		_, err = s.write(path, func(w io.Writer) (composefs.Info, error) {
			in, err := os.Open(f.Path)
			if err != nil {
				return composefs.Info{}, err
			}
			defer in.Close()
			_, err = io.Copy(w, in)
			return composefs.Info{}, err
		})
	}
	f.Path = path
	return []File{f}, err
}

// options say what images tell of file objects. Sealing makes each object one that the kernel vouches for.
func (s *Store) options() composefs.Options {
	if !s.seal {
		return composefs.Names(s.repo)
	}
	return composefs.Options{Stat: func(c ostree.Checksum) (composefs.File, error) {
		h, size, err := s.repo.StatFile(c)
		f := composefs.File{Header: h, SizeBytes: size}
		if err != nil || h.IsSymlink() || size == 0 {
			return f, err
		}
		f.Digest, err = sealed(s.repo.ObjectPath(ostree.TypeFile, c))
		return f, err
	}}
}

// sealed seals a file, if it is not yet, and measures it.
func sealed(path string) (*composefs.Verity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := verity.Measure(f)
	if err == nil && d == nil {
		if err = verity.Seal(path); err == nil {
			d, err = verity.Measure(f)
		}
	}
	if err != nil {
		return nil, err
	}
	v := composefs.Verity(d)
	return &v, nil
}

// Mount is what a sandbox mounts to show the tree of files.
//
//	errors  the repository keeps no files that can be shown
func (s *Store) Mount(files []File) (sandbox.Image, error) {
	dirs, err := s.repo.ObjectDirs()
	if err != nil {
		return sandbox.Image{}, err
	}
	m := sandbox.Image{Objects: dirs, Verity: len(files) > 0}
	for _, f := range files {
		one := sandbox.ImageFile{Path: f.Path}
		if f.Sealed {
			one.Digest = f.Digest[:]
		}
		m.Files, m.Verity = append(m.Files, one), m.Verity && f.Sealed
	}
	return m, nil
}

// Leftovers tells whether killed runs left something half made, or what others are making right now; with remove it is
// deleted: the caller keeps others out then.
func (s *Store) Leftovers(remove bool) (some bool, err error) {
	ents, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range ents {
		if !durable.IsLeftover(e.Name()) && !oldTrial(e) {
			continue
		}
		some = true
		if remove {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return true, err
			}
		}
	}
	return some, nil
}

func oldTrial(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && strings.HasPrefix(e.Name(), trialPrefix) && time.Since(info.ModTime()) > trialAge
}

// Sweep deletes the images of bases that nobody has a link to, and what was left half made. The caller sees to it that
// nobody makes any meanwhile.
//
//	units   bytes that became free
func (s *Store) Sweep() (freed int64, err error) {
	ents, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range ents {
		path := filepath.Join(s.dir, e.Name())
		if c, err := ostree.ParseChecksum(strings.TrimSuffix(e.Name(), ".checked")); err == nil && s.repo.Has(ostree.TypeCommit, c) {
			continue
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
			continue
		}
		if image, ok := strings.CutSuffix(path, noteSuffix); ok {
			var of unix.Stat_t
			if unix.Lstat(image+imageSuffix, &of) == nil && of.Nlink > 1 {
				continue
			}
		}
		if err := os.Remove(path); err != nil {
			return freed, err
		}
		freed += st.Blocks * 512
	}
	return freed, nil
}
