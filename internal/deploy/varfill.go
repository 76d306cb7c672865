// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// fillTmp is the name under which an entry of /var is made before it gets its own. One that a kill left is removed by
// the next fill of that folder.
const fillTmp = ".grove-tmp-fill"

func (s *Store) copier() copier { return copier{owners: s.o.AsRoot && os.Geteuid() == 0} }

// fillVar brings into /var what the tree's factory has and /var lacks. Nothing that is there is changed, and no link
// that lies there is followed: /var belongs to the guest, who may be hostile and at work meanwhile. Without synced the
// caller brings all of it to disk. The tree is opened only where /var lacks something of the commit's.
//
//	shape   the paths of what was made, sorted; of a new directory with its content each entry
func (s *Store) fillVar(commit ostree.Checksum, open func() (dir, error), varDir string, synced bool) ([]string, error) {
	if full, err := s.hasAll(commit, varDir); err != nil || full {
		return nil, err
	}
	from, err := open()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	factory, err := from.walkTo(factoryVar)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer factory.Close()
	to, err := openDir(varDir)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	f := filler{copier: s.copier(), synced: synced}
	err = f.fill(factory, to, "", 0)
	sort.Strings(f.made)
	return f.made, err
}

// factoryVar is where a tree has what belongs into /var.
const factoryVar = "usr/share/factory/var"

// hasAll tells whether /var has an entry for each that the commit's factory has, or something in its way.
func (s *Store) hasAll(commit ostree.Checksum, varDir string) (bool, error) {
	t, _, err := s.repo.Tree(commit)
	if err != nil {
		return false, err
	}
	if e, ok, err := t.Lookup(factoryVar); err != nil || !ok || !e.Dir {
		return err == nil, err
	}
	if t, err = t.Sub(factoryVar); err != nil {
		return false, err
	}
	at, err := openDir(varDir)
	if err != nil {
		return false, err
	}
	defer at.Close()
	return hasAllOf(t, at, "")
}

func hasAllOf(t *tree.Tree, at dir, p string) (bool, error) {
	list, err := t.ReadDir(p)
	if err != nil {
		return false, err
	}
	for _, e := range list {
		n, err := at.stat(e.Name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !e.Dir || n.kind != kindDir {
			continue
		}
		sub, err := at.sub(e.Name)
		if err != nil {
			return false, nil // exchanged meanwhile: the filling looks again
		}
		all, err := hasAllOf(t, sub, path.Join(p, e.Name))
		sub.Close()
		if err != nil || !all {
			return false, err
		}
	}
	return true, nil
}

type filler struct {
	copier
	synced bool
	made   []string
}

func (f *filler) fill(from, to dir, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("read %s: more than %d levels", from.name, maxDepth)
	}
	names, err := from.names()
	if err != nil {
		return err
	}
	sort.Strings(names)
	if err := removeAt(to, fillTmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before := len(f.made)
	for _, name := range names {
		n, err := from.stat(name)
		if err != nil {
			return err
		}
		if err := f.entry(from, to, path.Join(prefix, name), n, depth); err != nil {
			return fmt.Errorf("%s: %w", path.Join(prefix, name), err)
		}
	}
	if len(f.made) == before || !f.synced {
		return nil
	}
	return durable.SyncDirFD(to.fd(), to.name)
}

// entry makes one entry if there is none of its name, and goes on into directories.
func (f *filler) entry(from, to dir, p string, n node, depth int) error {
	name := path.Base(p)
	have, err := to.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if n.kind == kindOther {
			return nil
		}
		if err := f.make(from, to, name, n); err != nil {
			return err
		}
		f.made = append(f.made, p)
	case err != nil:
		return err
	case have.kind != kindDir: // a file, or a link that the guest put there: it is the guest's
		return nil
	}
	if n.kind != kindDir {
		return nil
	}
	src, err := from.sub(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := to.sub(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, fs.ErrNotExist) {
		return nil // exchanged meanwhile: the guest's again
	}
	if err != nil {
		return err
	}
	defer dst.Close()
	return f.fill(src, dst, p, depth+1)
}

// make makes an entry whole under a name of its own and then gives it its name, unless that is taken meanwhile.
func (f *filler) make(from, to dir, name string, n node) error {
	if n.kind == kindDir {
		src, err := from.sub(name)
		if err != nil {
			return err
		}
		defer src.Close()
		d, err := f.directory(src.f, to, fillTmp, n)
		if err != nil {
			return err
		}
		d.Close()
		err = durable.RenameAt(durable.At{Dir: to.fd(), Name: fillTmp}, durable.At{Dir: to.fd(), Name: name}, true)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) { // the name was taken meanwhile
			return unix.Unlinkat(to.fd(), fillTmp, unix.AT_REMOVEDIR)
		}
		return err
	}
	var err error
	if n.kind == kindLink {
		err = f.symlink(to, fillTmp, n)
	} else {
		err = f.content(from, to, name, n)
	}
	if err != nil {
		return err
	}
	return durable.RenameAt(durable.At{Dir: to.fd(), Name: fillTmp}, durable.At{Dir: to.fd(), Name: name}, true)
}

// content copies a file to fillTmp and brings it to disk: once it has its name it is never written again.
func (f *filler) content(from, to dir, name string, n node) error {
	src, err := from.open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := unix.Openat(to.fd(), fillTmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: path.Join(to.name, fillTmp), Err: err}
	}
	dst := os.NewFile(uintptr(fd), path.Join(to.name, name))
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if err := f.dress(dst, src, n); err != nil {
		return err
	}
	if !f.synced {
		return nil
	}
	return durable.SyncFile(dst)
}
