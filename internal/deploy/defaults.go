// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"io"
	"io/fs"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// opener opens regular files by their paths below a folder.
type opener interface {
	openPath(p string) (io.ReadCloser, error)
}

// files are those below a folder, on disk or in the repository.
type files interface {
	opener
	io.Closer
}

// defaultsOf are the defaults of a deployment's /etc. They are read from the commit where the deployment is one of
// images, else where they are laid out: there owners and modes are what the file system could take.
func (s *Store) defaultsOf(d Deployment) (listing, files, error) {
	if d.Kind == Composefs {
		return s.defaultsIn(d.Commit)
	}
	f := &laidOut{}
	defaults, err := openDir(d.Root())
	if err == nil {
		f.finder.dir, err = defaults.walkTo("usr/etc")
		defaults.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return listing{}, f, nil
	}
	if err != nil {
		return nil, nil, err
	}
	l, err := list(f.dir)
	if err != nil {
		f.Close()
	}
	return l, f, err
}

// laidOut are files of a folder, which is closed with it.
type laidOut struct{ finder }

func (f *laidOut) Close() error {
	f.close()
	f.dir.Close()
	return nil
}

// defaultsIn are the defaults of /etc in a commit.
func (s *Store) defaultsIn(commit ostree.Checksum) (listing, files, error) {
	l, f := listing{}, inRepo{s.repo, map[string]ostree.Checksum{}}
	t, _, err := s.repo.Tree(commit)
	if err != nil {
		return nil, nil, err
	}
	at, err := placeOfDefaults(t)
	if err != nil || at == "" {
		return l, f, err
	}
	if t, err = t.Sub(at); err != nil {
		return nil, nil, err
	}
	err = t.Walk(func(p string, e tree.Entry) error {
		switch {
		case p == "":
		case e.Dir:
			l[p] = node{kind: kindDir, mode: e.Meta.Mode & 0o7777, uid: e.Meta.UID, gid: e.Meta.GID}
		default:
			h, size, err := s.repo.StatFile(e.File)
			if err != nil {
				return err
			}
			n := node{kind: kindFile, mode: h.Mode & 0o7777, uid: h.UID, gid: h.GID, size: size}
			if h.IsSymlink() {
				n.kind, n.link, n.size = kindLink, h.Symlink, 0
			}
			l[p], f.sums[p] = n, e.File
		}
		return nil
	})
	return l, f, err
}

// inRepo are files of a tree in the repository.
type inRepo struct {
	repo *repo.Repo
	sums map[string]ostree.Checksum
}

func (f inRepo) openPath(p string) (io.ReadCloser, error) {
	_, _, content, err := f.repo.OpenFile(f.sums[p])
	return content, err
}

func (inRepo) Close() error { return nil }
