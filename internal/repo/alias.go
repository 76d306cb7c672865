// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// An alias is a symlink among the repository's own refs that names another of them.
//
//	source  ostree src/libostree/ostree-repo-refs.c, ostree_repo_set_alias_ref_immediate

// SetAlias makes ref an alias of target, durably. What ref was before is replaced.
//
//	errors  ErrNotFound if there is no ref target of the repository's own
func (r *Repo) SetAlias(ref, target string) error {
	for _, name := range []string{ref, target} {
		if err := ostree.CheckRefName(name); err != nil {
			return fmt.Errorf("set alias %q: %w", ref, err)
		}
	}
	path, err := r.refPath(ref)
	if err != nil {
		return err
	}
	to, err := r.refPath(target)
	if err != nil {
		return err
	}
	if _, err := readRef(to); missing(err) {
		return fmt.Errorf("set alias %q: ref %q: %w", ref, target, ErrNotFound)
	} else if err != nil {
		return fmt.Errorf("set alias %q: ref %q: %w", ref, target, err)
	}
	if path == to {
		return fmt.Errorf("set alias %q: it would name itself", ref)
	}
	if err := r.makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	rel, err := filepath.Rel(filepath.Dir(path), to)
	if err != nil {
		return err
	}
	removeEmptyDirs(path)
	if err := durable.Swap(path, rel); err != nil {
		return fmt.Errorf("set alias %q: %w", ref, err)
	}
	r.touch()
	return r.followRefs()
}

// Aliases returns the aliases whose name is prefix or lies below it; "" for all.
//
//	shape   alias -> ref
func (r *Repo) Aliases(prefix string) (map[string]string, error) {
	top := filepath.Join(r.path, "refs/heads")
	aliases := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if missing(err) {
			return nil
		}
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		name := path[len(top)+1:]
		target, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if below(name, prefix) && ostree.CheckRefName(name) == nil {
			to := filepath.Join(filepath.Dir(path), target)
			if rel, ok := strings.CutPrefix(to, top+"/"); ok {
				aliases[name] = rel
			}
		}
		return nil
	})
	return aliases, err
}

// below reports whether name is prefix or lies below it.
func below(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && (prefix == "" || rest == "" || rest[0] == '/')
}

// DeleteRefs deletes refs, durably, after it has seen that no alias names one of them.
//
//	errors  ErrNotFound
func (r *Repo) DeleteRefs(names []string) error {
	aliases, err := r.Aliases("")
	if err != nil {
		return err
	}
	for _, name := range names {
		for alias, target := range aliases {
			if target == name && alias != name {
				return fmt.Errorf("delete ref %q: %q is an alias of it", name, alias)
			}
		}
	}
	for _, name := range names {
		if err := r.DeleteRef(name); err != nil {
			return err
		}
	}
	return nil
}

// CollectionRef is a ref by its collection.
type CollectionRef struct{ Collection, Name string }

// String writes it as ostree does: "(COLLECTION, REF)".
func (c CollectionRef) String() string { return "(" + c.Collection + ", " + c.Name + ")" }

// AllCollectionRefs returns all refs that belong to a collection, or those of one: the repository's own, those it mirrors,
// and those of remotes that have one.
func (r *Repo) AllCollectionRefs(collection string) (map[CollectionRef]ostree.Checksum, error) {
	all, bad, err := r.CollectionRefsAndFaults(collection)
	for ref, fault := range bad {
		if missing(fault) {
			continue // as Refs passes it over
		}
		err = errors.Join(err, fmt.Errorf("ref %s: %w", ref, fault))
	}
	return all, err
}

// CollectionRefsAndFaults returns the same, and beside it the refs that can not be read (see RefsAndFaults).
func (r *Repo) CollectionRefsAndFaults(collection string) (map[CollectionRef]ostree.Checksum, map[CollectionRef]error, error) {
	bad := map[CollectionRef]error{}
	all := map[CollectionRef]ostree.Checksum{}
	add := func(of, dir string) error {
		if of == "" || collection != "" && collection != of {
			return nil
		}
		refs, faults := map[string]ostree.Checksum{}, map[string]error{}
		err := r.refsBelow(dir, "", "", refs, faults)
		for name, fault := range faults {
			bad[CollectionRef{of, name}] = fault
		}
		for name, c := range refs {
			all[CollectionRef{of, name}] = c
		}
		return err
	}
	err := add(r.set.collectionID, "refs/heads")
	ents, derr := os.ReadDir(filepath.Join(r.path, "refs/mirrors"))
	if derr != nil && !missing(derr) {
		return nil, nil, derr
	}
	for _, e := range ents {
		if ostree.CheckCollectionID(e.Name()) == nil {
			err = errors.Join(err, add(e.Name(), "refs/mirrors/"+e.Name()))
		}
	}
	remotes, rerr := r.config.Remotes()
	for _, m := range remotes {
		err = errors.Join(err, add(m.CollectionID, "refs/remotes/"+m.Name))
	}
	return all, bad, errors.Join(err, rerr)
}

// SetCollectionRef makes a collection's ref name c, durably.
func (r *Repo) SetCollectionRef(ref CollectionRef, c ostree.Checksum) error {
	file, err := r.collectionRefFile(ref.Collection, ref.Name)
	if err == nil {
		err = r.setRefFile(file, c)
	}
	if err != nil {
		return fmt.Errorf("set ref %s: %w", ref, err)
	}
	r.touch()
	return r.followRefs()
}

// DeleteCollectionRef deletes a collection's ref, durably, where it is the repository's own or mirrored here.
//
//	errors  ErrNotFound
func (r *Repo) DeleteCollectionRef(ref CollectionRef) error {
	file, err := r.collectionRefFile(ref.Collection, ref.Name)
	if err == nil {
		err = r.removeFile(filepath.Join(r.path, file))
	}
	if missing(err) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete ref %s: %w", ref, err)
	}
	r.touch()
	return r.followRefs()
}
