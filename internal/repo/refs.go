// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// maxRefFileSizeBytes bounds a ref's file: 64 digits and a line end.
const maxRefFileSizeBytes = 128

// minAbbreviation is how many digits of a commit Resolve wants at least.
const minAbbreviation = 7

// refPath is the file of "ref" or "remote:ref".
func (r *Repo) refPath(name string) (string, error) {
	path, err := refFile(name)
	return filepath.Join(r.path, path), err
}

// refFile is the file of "ref" or "remote:ref" below a repository.
func refFile(name string) (string, error) {
	remote, ref, err := ostree.ParseRefspec(name)
	if err != nil {
		return "", err
	}
	if remote == "" {
		return filepath.Join("refs/heads", ref), nil
	}
	return filepath.Join("refs/remotes", remote, ref), nil
}

// collectionRefFile is the file of a collection's ref below the repository.
func (r *Repo) collectionRefFile(collection, ref string) (string, error) {
	if own, _ := r.config.Get("core", "collection-id"); collection == "" || collection == own {
		return refFile(ref)
	}
	if err := ostree.CheckCollectionID(collection); err != nil {
		return "", err
	}
	if err := ostree.CheckRefName(ref); err != nil {
		return "", err
	}
	return filepath.Join("refs/mirrors", collection, ref), nil
}

// CollectionRefs returns the refs of a collection that the repository mirrors, or, for its own collection and for "", its own.
//
//	shape   ref -> commit
func (r *Repo) CollectionRefs(collection string) (map[string]ostree.Checksum, error) {
	path, err := r.collectionRefFile(collection, "x")
	if err != nil {
		return nil, err
	}
	refs := map[string]ostree.Checksum{}
	return refs, r.refsBelow(filepath.Dir(path), "", "", refs, nil)
}

// readRef reads the file of a ref.
func readRef(path string) (ostree.Checksum, error) {
	data, err := durable.ReadFile(path, maxRefFileSizeBytes)
	if err != nil {
		return ostree.Checksum{}, err
	}
	c, err := ostree.ParseChecksum(string(bytes.TrimSpace(data)))
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("%w: %w", err, ostree.ErrCorrupt)
	}
	return c, nil
}

// missing reports whether err says that there is no such file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR)
}

// LookupRef returns what a ref of that name, "ref" or "remote:ref", names: here, or in a parent.
//
//	errors  ErrNotFound
func (r *Repo) LookupRef(name string) (ostree.Checksum, error) { return r.lookupRef(name) }

// lookupRef returns what a ref names; ErrNotFound if there is none.
func (r *Repo) lookupRef(name string) (ostree.Checksum, error) {
	path, err := r.refPath(name)
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return ostree.Checksum{}, fmt.Errorf("ref %q: %w", name, ErrNotFound)
	}
	c, err := readRef(path)
	switch {
	case err == nil:
		return c, nil
	case missing(err) && r.parent != nil:
		return r.parent.lookupRef(name)
	case missing(err):
		return c, fmt.Errorf("ref %q: %w", name, ErrNotFound)
	}
	return c, fmt.Errorf("ref %q: %w", name, err)
}

// Resolve returns the commit that refspec names: "ref", "remote:ref", a checksum, or at least seven digits of one
// commit's checksum; with ^ after it the parent of that. A ref goes before a checksum. A ref that is not among the
// repository's own is looked for among the remotes, as libostree does.
//
//	errors  ErrNotFound
func (r *Repo) Resolve(refspec string) (ostree.Checksum, error) {
	base, back := refspec, 0
	for strings.HasSuffix(base, "^") {
		base, back = base[:len(base)-1], back+1
	}
	c, err := r.resolve(base)
	for ; err == nil && back > 0; back-- {
		var v ostree.Commit
		if v, err = r.Commit(c); err == nil && v.Parent.IsZero() {
			err = fmt.Errorf("commit %s has no parent: %w", c, ErrNotFound)
		}
		c = v.Parent
	}
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("resolve %q: %w", refspec, err)
	}
	return c, nil
}

func (r *Repo) resolve(name string) (ostree.Checksum, error) {
	c, err := r.lookupRef(name)
	if err == nil || !errors.Is(err, ErrNotFound) {
		return c, err
	}
	if c, perr := ostree.ParseChecksum(name); perr == nil {
		return c, nil
	}
	if c, ok, aerr := r.abbreviated(name); aerr != nil || ok {
		return c, aerr
	}
	if strings.Contains(name, ":") {
		return c, err
	}
	return r.inRemotes(name, err)
}

// inRemotes looks for a ref below each remote in turn; otherwise is the error if none has it.
func (r *Repo) inRemotes(name string, otherwise error) (ostree.Checksum, error) {
	remotes, err := os.ReadDir(filepath.Join(r.path, "refs/remotes"))
	if err != nil && !missing(err) {
		return ostree.Checksum{}, err
	}
	for _, e := range remotes {
		if c, err := r.lookupRef(e.Name() + ":" + name); err == nil {
			return c, nil
		}
	}
	return ostree.Checksum{}, otherwise
}

// abbreviated finds the one commit whose checksum begins with the digits.
func (r *Repo) abbreviated(digits string) (ostree.Checksum, bool, error) {
	var found ostree.Checksum
	if len(digits) < minAbbreviation || len(digits) > 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return found, false, nil
	}
	ents, err := os.ReadDir(filepath.Join(r.path, "objects", digits[:2]))
	if err != nil && !missing(err) {
		return found, false, err
	}
	n := 0
	for _, e := range ents {
		c, t, _, err := ostree.ParseObjectPath(digits[:2] + "/" + e.Name())
		if err == nil && t == ostree.TypeCommit && strings.HasPrefix(c.String(), digits) {
			found = c
			n++
		}
	}
	if n > 1 {
		return found, false, fmt.Errorf("%d commits begin with %s", n, digits)
	}
	return found, n == 1, nil
}

// Refs returns the refs whose name is prefix or lies below it ("a/b" has a/b and a/b/c); "" for all. A prefix
// "remote:" takes the refs of that remote.
//
//	shape   "ref" or "remote:ref" -> commit
//	errors  a ref that can not be read, by its name
func (r *Repo) Refs(prefix string) (map[string]ostree.Checksum, error) {
	all := map[string]ostree.Checksum{}
	return all, r.refs(prefix, all, nil)
}

// RefsAndFaults returns the same, and beside it, by name, the refs that can not be read: what is no regular file, holds no
// checksum, or leads to nothing. They can still be deleted.
func (r *Repo) RefsAndFaults(prefix string) (map[string]ostree.Checksum, map[string]error, error) {
	all, bad := map[string]ostree.Checksum{}, map[string]error{}
	return all, bad, r.refs(prefix, all, bad)
}

func (r *Repo) refs(prefix string, all map[string]ostree.Checksum, bad map[string]error) error {
	remote, below, ofRemote := strings.Cut(prefix, ":")
	if !ofRemote {
		below = prefix
		if err := r.refsBelow("refs/heads", "", below, all, bad); err != nil || prefix != "" {
			return err
		}
	}
	remotes, err := os.ReadDir(filepath.Join(r.path, "refs/remotes"))
	if err != nil && !missing(err) {
		return err
	}
	for _, e := range remotes {
		if ostree.CheckRemoteName(e.Name()) != nil || !e.IsDir() || ofRemote && e.Name() != remote {
			continue
		}
		if err := r.refsBelow("refs/remotes/"+e.Name(), e.Name()+":", below, all, bad); err != nil {
			return err
		}
	}
	return nil
}

// refsBelow adds the refs in the folder dir that are below or lie under it. Names that can be no ref are leftovers
// of a write and are passed over. What can not be read is added to bad, or is an error where bad is nil.
func (r *Repo) refsBelow(dir, prefix, below string, all map[string]ostree.Checksum, bad map[string]error) error {
	top := filepath.Join(r.path, dir)
	start := top
	if below != "" {
		if ostree.CheckRefName(below) != nil {
			return nil // no ref has such a name
		}
		start = filepath.Join(top, below)
	}
	return filepath.WalkDir(start, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if missing(err) {
				return nil
			}
			return err
		}
		if path == top {
			return nil
		}
		name := path[len(top)+1:]
		if ostree.CheckRefName(name) != nil {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		c, err := readRef(path)
		switch {
		case err == nil:
			all[prefix+name] = c
		case missing(err) && (bad == nil || d.Type() != fs.ModeSymlink):
		case bad == nil:
			return fmt.Errorf("ref %q: %w", prefix+name, err)
		default:
			bad[prefix+name] = err
		}
		return nil
	})
}

// SetRef makes a ref ("ref" or "remote:ref") name the commit c, durably: a reader sees the old or the new.
func (r *Repo) SetRef(name string, c ostree.Checksum) error {
	if err := r.setRef(name, c); err != nil {
		return fmt.Errorf("set ref %q: %w", name, err)
	}
	r.touch()
	return r.followRefs()
}

func (r *Repo) setRef(name string, c ostree.Checksum) error {
	file, err := refFile(name)
	if err != nil {
		return err
	}
	return r.setRefFile(file, c)
}

func (r *Repo) setRefFile(file string, c ostree.Checksum) error {
	path := filepath.Join(r.path, file)
	if err := r.makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	removeEmptyDirs(path)
	return r.writeFile(path, []byte(c.String()+"\n"))
}

// removeEmptyDirs makes room for a ref where a folder stands that has no refs any more. What is not empty stays, and
// the write after it says so.
func removeEmptyDirs(path string) {
	ents, err := os.ReadDir(path)
	if err != nil {
		return
	}
	for _, e := range ents {
		if e.IsDir() {
			removeEmptyDirs(filepath.Join(path, e.Name()))
		}
	}
	unix.Rmdir(path)
}

// DeleteRef deletes a ref, durably. Objects stay until Prune.
//
//	errors  ErrNotFound
func (r *Repo) DeleteRef(name string) error {
	path, err := r.refPath(name)
	if err != nil {
		return fmt.Errorf("delete ref: %w", err)
	}
	if fi, serr := os.Lstat(path); serr == nil && fi.IsDir() {
		return fmt.Errorf("delete ref %q: %w", name, ErrNotFound)
	}
	err = r.removeFile(path)
	if missing(err) {
		return fmt.Errorf("delete ref %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("delete ref %q: %w", name, err)
	}
	r.touch()
	return r.followRefs()
}
