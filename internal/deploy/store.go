// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"grove/internal/durable"
	"grove/internal/image"
	"grove/internal/repo"
)

// Options of Open.
type Options struct {
	// AsRoot keeps real owners: the repo is bare. Without it the repo is bare-user and owners are not set.
	AsRoot bool
}

// Store is an open state root.
type Store struct {
	root string
	o    Options
	repo *repo.Repo

	images *image.Store
}

// Open opens the state root, making what is missing of it below root (and root itself). What killed runs left is
// cleared if nobody else is at work.
func Open(root string, o Options) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, o: o}
	if err := s.makeDirs(); err != nil {
		return nil, fmt.Errorf("open state root %s: %w", root, err)
	}
	if err := s.openRepo(); err != nil {
		return nil, fmt.Errorf("open state root %s: %w", root, err)
	}
	s.images = image.New(s.repo, filepath.Join(s.root, "images"))
	if some, err := s.leftovers(); err != nil || !some {
		return s, err
	}
	lock, err := s.Lock(context.Background(), true, 0)
	switch {
	case err == nil:
		err = s.clear()
		lock.Release()
		if err != nil {
			return nil, fmt.Errorf("clear leftovers in %s: %w", root, err)
		}
	case errors.Is(err, durable.ErrBusy), errors.Is(err, fs.ErrPermission): // somebody works, or we may only look
	default:
		return nil, err
	}
	return s, nil
}

// makeDirs makes what is missing of the state root's folders. Nobody else may enter them: a guest's tree has programs with
// set-id bits, and its root can make more in /var, that would be this host's root's for whoever starts them from outside.
// A state root that is there keeps its rights; what is made in it is closed all the same.
func (s *Store) makeDirs() error {
	if err := durable.MkdirAll(filepath.Dir(s.root), 0o755); err != nil {
		return err
	}
	for _, d := range []string{s.root, s.guestsDir(), s.CacheDir(), s.repoDir()} {
		if err := durable.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// openRepo opens the repo in whatever mode it has, or makes it. The host's remotes are its remotes too.
func (s *Store) openRepo() (err error) {
	path := s.repoDir()
	s.repo, err = repo.Open(path)
	if errors.Is(err, repo.ErrNotFound) {
		mode := repo.BareUser
		if s.o.AsRoot {
			mode = repo.Bare
		}
		s.repo, err = repo.Init(path, mode)
	}
	if err != nil {
		return err
	}
	s.repo.Config().SetRemotesDir(repo.DefaultRemotesDir) // what the host is configured with, guests can be made of
	return nil
}

// Repo is the store's OSTree repository.
func (s *Store) Repo() *repo.Repo { return s.repo }

// Root is the absolute path of the state root.
func (s *Store) Root() string { return s.root }

// CacheDir holds what may be deleted at any time.
func (s *Store) CacheDir() string { return filepath.Join(s.root, "cache") }

func (s *Store) repoDir() string { return filepath.Join(s.root, "repo") }

func (s *Store) guestsDir() string { return filepath.Join(s.root, "guests") }

// Lock takes the store's lock: shared for work on one guest, exclusive to keep everybody out.
//
//	units   wait as in durable.Acquire
//	errors  durable.ErrBusy
func (s *Store) Lock(ctx context.Context, exclusive bool, wait time.Duration) (*durable.Lock, error) {
	return durable.Acquire(ctx, filepath.Join(s.root, ".lock"), exclusive, wait)
}

// Guests returns the names of all guests, sorted. Guests that are only being created are left out.
func (s *Store) Guests() ([]string, error) {
	ents, err := os.ReadDir(s.guestsDir())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range ents {
		if !e.IsDir() || ValidName(e.Name()) != nil || s.guest(e.Name()).unfinished() {
			continue
		}
		names = append(names, e.Name())
	}
	sort.Strings(names)
	return names, nil
}

// Guest returns a guest by its name.
//
//	errors  *NotFoundError, which is a repo.ErrNotFound and names guests that were perhaps meant
func (s *Store) Guest(name string) (*Guest, error) {
	g := s.guest(name)
	if ValidName(name) == nil {
		if st, err := os.Lstat(g.dir); err == nil && st.IsDir() && !g.unfinished() {
			return g, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	all, err := s.Guests()
	if err != nil {
		return nil, err
	}
	return nil, &NotFoundError{What: "guest " + name, Near: near(name, all)}
}

func (s *Store) guest(name string) *Guest {
	return &Guest{store: s, name: name, dir: filepath.Join(s.guestsDir(), name)}
}

// NewGuest makes the folder of a guest. Until its first Finish the guest is unfinished: neither Guest nor Guests
// knows it, and an Open that finds nobody at work removes it.
//
//	errors  fs.ErrExist if there is one
func (s *Store) NewGuest(ctx context.Context, name string) (*Guest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := ValidName(name); err != nil {
		return nil, err
	}
	g := s.guest(name)
	if _, err := os.Lstat(g.dir); err == nil {
		if g.unfinished() {
			return nil, existsError{"guest " + name + ": is being created by somebody else"}
		}
		return nil, existsError{"guest " + name + ": is there already"}
	}
	// Made under a name that is no guest's, so that there is never a guest without its marker.
	tmp, err := os.MkdirTemp(s.guestsDir(), stagePrefix)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.Chmod(tmp, 0o755),
		durable.WriteFile(filepath.Join(tmp, unfinishedMark), nil, 0o644),
		durable.MkdirAll(filepath.Join(tmp, "deployments"), 0o755),
		durable.MkdirAll(filepath.Join(tmp, "var"), 0o755),
		durable.Symlink("current/manifest.yaml", filepath.Join(tmp, "manifest.yaml")))
	if err == nil {
		err = durable.RenameNoReplace(tmp, g.dir)
	}
	if err == nil {
		err = durable.SyncDir(s.guestsDir())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create guest %s: %w", name, err), os.RemoveAll(tmp))
	}
	return g, nil
}

// DeleteGuest removes a guest with its /var and all its deployments. A guest that is being created is removed too.
//
//	errors  *NotFoundError; ErrRunning; an error if something is mounted below the guest
func (s *Store) DeleteGuest(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g := s.guest(name)
	if !g.unfinished() {
		if _, err := s.Guest(name); err != nil {
			return err
		}
	}
	all, err := g.Deployments()
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.Running() {
			return fmt.Errorf("delete guest %s: deployment %d: %w", name, d.ID, ErrRunning)
		}
	}
	if err := s.removeTree(g.dir); err != nil {
		return fmt.Errorf("delete guest %s: %w", name, err)
	}
	refs, err := g.refs()
	if err != nil {
		return err
	}
	for _, r := range refs {
		if err := s.repo.DeleteRef(r); err != nil {
			return err
		}
	}
	return nil
}

// removeTree deletes a tree unless something is mounted in it.
func (s *Store) removeTree(path string) error {
	mounts, err := mountsBelow(path)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is a mount point; unmount it first", mounts[0])
	}
	if os.Geteuid() != 0 {
		openDirs(path)
	}
	return durable.RemoveAll(path)
}

// openDirs makes directories writable for their owner, who could not delete what is in them otherwise.
func openDirs(path string) {
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) // RemoveAll reports what stays impossible
		}
		return nil
	})
}
