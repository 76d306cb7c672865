// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// Check returns every violation of the layout's invariants, sorted; objects are the repo's to check. It is meant for
// a store where nobody is at work: what is being built would count as left over.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	c := checker{store: s}
	ents, err := os.ReadDir(s.guestsDir())
	if err != nil {
		return nil, err
	}
	refs, err := s.repo.Refs("")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, e := range ents {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case leftover(e.Name()):
			c.add("guests/%s: left over", e.Name())
		case !e.IsDir() || ValidName(e.Name()) != nil:
			c.add("guests/%s: is no guest", e.Name())
		default:
			if err := c.guest(s.guest(e.Name()), refs, known); err != nil {
				return nil, err
			}
		}
	}
	if some, err := s.images.Leftovers(false); err != nil || some {
		c.add("images: left over: %v", err)
	}
	for r := range refs {
		if _, _, ok := parseRef(r); ok && !known[r] {
			c.add("ref %s: holds no deployment", r)
		}
	}
	sort.Strings(c.faults)
	return c.faults, nil
}

func leftover(name string) bool {
	return durable.IsLeftover(name) || strings.HasPrefix(name, stagePrefix) || strings.HasPrefix(name, pendingPrefix) || name == unfinishedMark
}

type checker struct {
	store  *Store
	faults []string
}

func (c *checker) add(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *checker) guest(g *Guest, refs map[string]ostree.Checksum, known map[string]bool) error {
	for _, dir := range []string{g.dir, g.deploymentsDir()} {
		ents, err := os.ReadDir(dir)
		if err != nil {
			c.add("guest %s: %v", g.name, err)
			return nil
		}
		for _, e := range ents {
			if leftover(e.Name()) {
				c.add("guest %s: %s: left over", g.name, e.Name())
			}
		}
	}
	if st, err := os.Lstat(g.VarDir()); err != nil || !st.IsDir() {
		c.add("guest %s: var: is no folder", g.name)
	}
	if link, err := os.Readlink(filepath.Join(g.dir, "manifest.yaml")); err != nil || link != "current/manifest.yaml" {
		c.add("guest %s: manifest.yaml: is %q, wanted a link to current/manifest.yaml", g.name, link)
	}
	if _, err := g.Current(); err != nil {
		c.add("guest %s: current: %v", g.name, err)
	}
	ids, err := g.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		known[g.ref(id)], known[g.baseRef(id)] = true, true
		c.deployment(g, id, refs)
	}
	return nil
}

func (c *checker) deployment(g *Guest, id int, refs map[string]ostree.Checksum) {
	where := fmt.Sprintf("guest %s: deployment %d", g.name, id)
	d, err := g.Deployment(id)
	if err != nil {
		c.add("%v", err)
		return
	}
	switch held, ok := refs[g.ref(id)]; {
	case !ok:
		c.add("%s: no ref holds it", where)
	case held != d.Commit:
		c.add("%s: ref %s is %s, wanted %s", where, g.ref(id), held, d.Commit)
	}
	if !c.store.repo.Has(ostree.TypeCommit, d.Commit) {
		c.add("%s: commit %s is not in the repo", where, d.Commit)
	} else if c.store.repo.IsPartial(d.Commit) {
		c.add("%s: commit %s is not whole: objects of it were lost", where, d.Commit)
	}
	if text, err := d.Manifest(); err != nil {
		c.add("%s: %v", where, err)
	} else if len(bytes.TrimSpace(text)) == 0 {
		c.add("%s: manifest.yaml is empty", where)
	}
	if text, err := d.Lockfile(); err != nil {
		c.add("%s: %v", where, err)
	} else if !json.Valid(text) {
		c.add("%s: lock.json is no JSON", where)
	}
	if d.Kind == Composefs {
		c.checkImages(where, d)
		if _, err := os.Lstat(filepath.Join(d.Root(), "etc")); err != nil && !d.Staged {
			c.add("%s: %v", where, err)
		}
		return
	}
	for _, m := range mountPoints {
		if d.Staged && m.name == "etc" {
			continue // Finalize makes it anew, and may have been killed at that
		}
		if _, err := os.Lstat(filepath.Join(d.Root(), m.name)); err != nil {
			c.add("%s: %v", where, err)
		}
	}
	if !d.Staged {
		c.etcIsOwn(where, d)
	}
}

// etcIsOwn looks for files of /etc that are hard links into the repo's objects.
func (c *checker) etcIsOwn(where string, d *Deployment) {
	defaults, err := openDir(filepath.Join(d.Root(), "usr", "etc"))
	if err != nil {
		return // a tree without /etc
	}
	defer defaults.Close()
	etc, err := openDir(filepath.Join(d.Root(), "etc"))
	if err != nil {
		c.add("%s: %v", where, err)
		return
	}
	defer etc.Close()
	a, errA := list(defaults)
	b, errB := list(etc)
	if errA != nil || errB != nil {
		c.add("%s: list /etc: %v %v", where, errA, errB)
		return
	}
	inode := map[[2]uint64]string{}
	for p, n := range a {
		if n.kind == kindFile {
			inode[[2]uint64{n.dev, n.ino}] = p
		}
	}
	for p, n := range b {
		if from, ok := inode[[2]uint64{n.dev, n.ino}]; ok && n.kind == kindFile {
			c.add("%s: etc/%s is a hard link of usr/etc/%s", where, p, from)
		}
	}
}
