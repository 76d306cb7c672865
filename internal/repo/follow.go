// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// maxFollowed bounds how many symlinks lead to one file, as the kernel does.
const maxFollowed = 40

// FollowFile returns the file object at p, symlinks followed within the tree; one that leads above the root ends there.
//
//	errors  ErrNotFound
func (r *Repo) FollowFile(t *tree.Tree, p string) (ostree.Checksum, error) {
	todo := strings.Split(path.Clean("/"+p), "/")
	at := ""
	var found ostree.Checksum
	for left := maxFollowed; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		next := join(at, name)
		e, ok, err := t.Lookup(next)
		if err != nil {
			return found, err
		}
		if !ok {
			return found, fmt.Errorf("/%s: %w", next, ErrNotFound)
		}
		if e.Dir {
			at = next
			continue
		}
		h, _, err := r.FileHeader(e.File)
		if err != nil {
			return found, err
		}
		if !h.IsSymlink() {
			if len(todo) > 0 {
				return found, fmt.Errorf("/%s is no directory", next)
			}
			return e.File, nil
		}
		if left--; left < 0 {
			return found, errors.New("too many symbolic links")
		}
		if strings.HasPrefix(h.Symlink, "/") {
			at = ""
		}
		todo = append(strings.Split(h.Symlink, "/"), todo...)
	}
	return found, fmt.Errorf("/%s is a directory", at)
}

// SingleCommit returns the one commit that the repository has.
//
//	errors  ErrNotFound if there is none; another if there are more
func (r *Repo) SingleCommit() (ostree.Checksum, error) {
	var found ostree.Checksum
	err := r.eachObject(func(o object) error {
		if o.t != ostree.TypeCommit {
			return nil
		}
		if !found.IsZero() {
			return errors.New("there is more than one commit")
		}
		found = o.c
		return nil
	}, func(string) error { return nil })
	if err == nil && found.IsZero() {
		err = fmt.Errorf("a commit: %w", ErrNotFound)
	}
	return found, err
}
