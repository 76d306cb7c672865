// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"slices"
	"strings"
)

// Remote returns the remote of that name: of the configuration, or of that of a parent.
//
//	errors  ErrNotFound
//	source  ostree src/libostree/ostree-repo.c, _ostree_repo_get_remote_inherited
func (r *Repo) Remote(name string) (Remote, error) {
	conf, err := r.config.Remote(name)
	if errors.Is(err, ErrNotFound) && r.parent != nil {
		return r.parent.Remote(name)
	}
	return conf, err
}

// Remotes lists the remotes by name, those of parents too.
func (r *Repo) Remotes() ([]Remote, error) {
	all, err := r.config.Remotes()
	if err != nil || r.parent == nil {
		return all, err
	}
	theirs, err := r.parent.Remotes()
	if err != nil {
		return nil, err
	}
	for _, t := range theirs {
		if !slices.ContainsFunc(all, func(a Remote) bool { return a.Name == t.Name }) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b Remote) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
