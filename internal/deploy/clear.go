// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// leftovers tells whether there is anything for clear to do. It takes no lock, so that merely opening a store never
// stands in somebody's way; what others are building right now counts too, and then the lock is theirs.
func (s *Store) leftovers() (bool, error) {
	ents, err := os.ReadDir(s.guestsDir())
	if err != nil {
		return false, err
	}
	want := map[string]bool{}
	for _, e := range ents {
		if leftover(e.Name()) {
			return true, nil
		}
		if !e.IsDir() || ValidName(e.Name()) != nil {
			continue
		}
		g := s.guest(e.Name())
		for _, dir := range []string{g.dir, g.deploymentsDir()} {
			inside, err := os.ReadDir(dir)
			if err != nil {
				return false, err
			}
			for _, i := range inside {
				if leftover(i.Name()) {
					return true, nil
				}
				if id, ok := parseID(i.Name()); ok {
					want[g.ref(id)], want[g.baseRef(id)] = true, true
				}
			}
		}
	}
	if some, err := s.images.Leftovers(false); some || err != nil {
		return some, err
	}
	refs, err := s.refs()
	if err != nil {
		return false, err
	}
	for _, r := range refs {
		if _, _, ok := parseRef(r); ok && !want[r] {
			return true, nil
		}
		delete(want, r)
	}
	for r := range want {
		if strings.HasPrefix(r, "grove/guest/") {
			return true, nil
		}
	}
	return false, nil
}

// clear removes what killed runs left in the whole store. The caller holds the store exclusively.
func (s *Store) clear() error {
	ents, err := os.ReadDir(s.guestsDir())
	if err != nil {
		return err
	}
	exists := map[string]bool{}
	for _, e := range ents {
		path := filepath.Join(s.guestsDir(), e.Name())
		switch {
		case durable.IsLeftover(e.Name()), strings.HasPrefix(e.Name(), stagePrefix):
			err = s.removeTree(path)
		case !e.IsDir() || ValidName(e.Name()) != nil: // not ours
		default:
			exists[e.Name()], err = s.guest(e.Name()).clearWhole()
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.images.Leftovers(true); err != nil {
		return err
	}
	refs, err := s.refs()
	if err != nil {
		return err
	}
	for _, r := range refs {
		if name, _, ok := parseRef(r); ok && !exists[name] {
			if err := s.repo.DeleteRef(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// clearWhole clears a guest, and removes it if it was never finished.
func (g *Guest) clearWhole() (remains bool, err error) {
	if err := g.clear(); err != nil {
		return true, err
	}
	if !g.unfinished() {
		return true, nil
	}
	ids, err := g.ids()
	if err != nil {
		return true, err
	}
	if len(ids) > 0 { // finished but for its marker
		return true, g.settle(ids[len(ids)-1])
	}
	return false, g.store.removeTree(g.dir)
}

// clear removes what killed runs left of this guest. The caller holds the guest's lock, or the store exclusively.
func (g *Guest) clear() error {
	if err := g.clearFolder(g.dir); err != nil {
		return err
	}
	if err := g.clearFolder(g.deploymentsDir()); err != nil {
		return err
	}
	ids, err := g.ids()
	if err != nil {
		return err
	}
	exists := map[int]bool{}
	for _, id := range ids {
		exists[id] = true
	}
	refs, err := g.refs()
	if err != nil {
		return err
	}
	held := map[int]bool{}
	for _, r := range refs {
		_, id, _ := parseRef(r)
		if !exists[id] {
			if err := g.store.repo.DeleteRef(r); err != nil {
				return err
			}
		}
		held[id] = held[id] || r == g.ref(id)
	}
	for _, id := range ids {
		if held[id] {
			continue
		}
		// Somebody deleted the ref. As long as the commit is there it can be held again.
		d, err := g.Deployment(id)
		if err != nil || !g.store.repo.Has(ostree.TypeCommit, d.Commit) {
			continue // Check tells
		}
		base, _ := ostree.ParseChecksum(d.BaseCommit)
		if err := g.hold(id, d.Commit, base); err != nil {
			return err
		}
	}
	return nil
}

// clearFolder clears leftovers by their names: temporary files, trash, stage folders nobody holds, pending deployments.
func (g *Guest) clearFolder(dir string) error {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range ents {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		switch {
		case durable.IsLeftover(name):
			err = g.store.removeTree(path)
		case strings.HasPrefix(name, stagePrefix):
			err = g.clearStage(path)
		case strings.HasPrefix(name, pendingPrefix):
			err = g.clearPending(strings.TrimPrefix(name, pendingPrefix))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Guest) clearStage(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := durable.LockDir(int(f.Fd())); err != nil {
		if errors.Is(err, durable.ErrBusy) {
			return nil // alive
		}
		return err
	}
	return g.store.removeTree(path)
}

func (g *Guest) clearPending(number string) error {
	id, ok := parseID(number)
	if !ok {
		return nil
	}
	if current, err := g.currentID(); err == nil && current == id {
		return g.settle(id)
	} else if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	if g.stagedID() == id {
		return g.settle(id)
	}
	if d, err := os.Open(filepath.Join(g.deploymentsDir(), strconv.Itoa(id))); err == nil {
		busy := errors.Is(durable.LockDir(int(d.Fd())), durable.ErrBusy)
		d.Close()
		if busy {
			return nil // its maker is between the rename and the swap
		}
	}
	return g.retract(id)
}
