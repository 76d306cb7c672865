// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// maxMarkSizeBytes bounds the mark of a partial commit, of which the first byte counts.
const maxMarkSizeBytes = 4 << 10

// fsckMark is what the mark of a partial commit that fsck made begins with; that of a pull is empty.
//
//	source  ostree src/libostree/ostree-repo.c, ostree_repo_mark_commit_partial_reason
const fsckMark = "f"

// markedByFsck tells whether a commit is partial because Fsck deleted what it needs.
func (r *Repo) markedByFsck(c ostree.Checksum) bool {
	data, err := durable.ReadFile(r.partialPath(c), maxMarkSizeBytes)
	return err == nil && bytes.HasPrefix(data, []byte(fsckMark))
}

// refs verifies that each ref names a commit, and one that is bound to it where that is asked for.
func (f *fsck) refs() error {
	bad := map[string]error{}
	own, err := f.r.allRefs(bad)
	if err != nil {
		return err
	}
	for name, err := range bad {
		f.fault("ref "+name, err)
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		_, ref, err := ostree.ParseRefspec(name)
		if err != nil {
			ref = name
		}
		f.ref("ref "+name, ref, "", own[name])
	}
	mine, others, err := f.r.summaryRefs()
	if err != nil && len(bad) == 0 { // else it has been told; the others are there
		return err
	}
	if id := f.r.CollectionID(); id != "" {
		for _, name := range slices.Sorted(maps.Keys(mine)) {
			f.binding("ref "+name, name, id, mine[name])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(others)) {
		for _, name := range slices.Sorted(maps.Keys(others[id])) {
			f.ref("ref ("+id+", "+name+")", name, id, others[id][name])
		}
	}
	if f.o.VerifyBackRefs {
		f.backRefs(own, mine, others)
	}
	return nil
}

// ref verifies one ref; collection is "" for those of the repository itself.
func (f *fsck) ref(what, name, collection string, c ostree.Checksum) {
	if !f.r.Has(ostree.TypeCommit, c) {
		f.fault(what, fmt.Errorf("commit %s: %w", c, ErrNotFound))
		return
	}
	f.binding(what, name, collection, c)
}

// binding verifies that a commit says that it belongs to the ref, and to the collection, where it says anything.
//
//	source  ostree src/libostree/ostree-repo-pull.c, _ostree_repo_verify_bindings
func (f *fsck) binding(what, name, collection string, c ostree.Checksum) {
	if !f.o.VerifyBindings && !f.o.VerifyBackRefs {
		return
	}
	v, err := f.r.Commit(c)
	if err != nil {
		return // has been told
	}
	if bound, ok := v.RefBinding(); ok && !slices.Contains(bound, name) {
		f.fault(what, fmt.Errorf("commit %s is bound to the refs %q", c, bound))
	}
	if collection == "" {
		return
	}
	switch got, ok := v.Metadata.Str(ostree.KeyCollection); {
	case !ok:
		f.fault(what, fmt.Errorf("commit %s is bound to no collection, wanted %q", c, collection))
	case got != collection:
		f.fault(what, fmt.Errorf("commit %s is bound to collection %q, wanted %q", c, got, collection))
	}
}

// backRefs verifies that the refs to which each commit says it is bound name that commit.
func (f *fsck) backRefs(own, mine map[string]ostree.Checksum, others map[string]map[string]ostree.Checksum) {
	for _, o := range f.list {
		v, err := f.r.Commit(o.c)
		if err != nil {
			continue // has been told
		}
		bound, _ := v.RefBinding()
		collection, ofCollection := v.Metadata.Str(ostree.KeyCollection)
		for _, name := range bound {
			var named ostree.Checksum
			switch {
			case ofCollection && collection == f.r.CollectionID():
				named = mine[name]
			case ofCollection:
				named = others[collection][name]
			default:
				named = own[name]
				for _, full := range slices.Sorted(maps.Keys(own)) { // a ref that is not its own is looked for among the remotes'
					if named.IsZero() && strings.HasSuffix(full, ":"+name) {
						named = own[full]
					}
				}
			}
			switch {
			case named.IsZero():
				f.fault(o.String(), fmt.Errorf("is bound to the ref %q, which does not exist", name))
			case named != o.c:
				f.fault(o.String(), fmt.Errorf("is bound to the ref %q, which names %s", name, named))
			}
		}
	}
}

// tombstones notes of each parent that is missing that it was deleted, so that nobody goes on to look for it.
func (f *fsck) tombstones() error {
	missing := map[ostree.Checksum]bool{}
	for _, o := range f.list {
		if v, err := f.r.Commit(o.c); err == nil && !v.Parent.IsZero() && !f.r.Has(ostree.TypeCommit, v.Parent) && !f.r.Has(ostree.TypeTombstone, v.Parent) {
			missing[v.Parent] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := f.cached.keepTombstones(); err != nil {
		return err
	}
	for c := range missing {
		f.result.Tombstones = append(f.result.Tombstones, c)
	}
	slices.SortFunc(f.result.Tombstones, func(a, b ostree.Checksum) int { return bytes.Compare(a[:], b[:]) })
	for _, c := range f.result.Tombstones {
		path := f.r.ObjectPath(ostree.TypeTombstone, c)
		if err := f.r.makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		if err := f.r.writeFile(path, tombstoneOf(c)); err != nil {
			return err
		}
	}
	return nil
}

// keepTombstones switches on that deleted commits leave tombstones.
func (r *Repo) keepTombstones() error {
	if r.set.tombstones {
		return nil
	}
	if err := r.config.Set("core", "tombstone-commits", "true"); err != nil {
		return err
	}
	if err := r.config.Save(); err != nil {
		return err
	}
	r.set.tombstones = true
	return nil
}
