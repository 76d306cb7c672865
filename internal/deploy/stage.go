// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// Staged is a deployment that is being built. It ends with Finish or Abort.
type Staged struct {
	ID int

	guest  *Guest
	dir    string
	hold   *os.File // the folder, locked while we live
	done   bool
	choice Choice
	images []imageRecord // LayOut
	sealed bool
}

// Final is what makes a staged deployment complete.
type Final struct {
	Commit     ostree.Checksum // what Root was checked out from; must be in the repo
	Manifest   []byte
	Lock       []byte
	Log        []byte    // of the scriptlets; nil = none ran
	Created    time.Time // for people; the caller's clock
	Version    string
	BaseRef    string
	BaseCommit ostree.Checksum // held by a ref too; zero if there is none

	MergeFrom *Deployment // whose local changes of /etc are taken over; nil for a new guest
	Pin       bool
	Later     bool // stage it: Finalize makes it current
	Judge     bool // it is Unjudged until Judged is called

	Before func() error // asked last before it becomes current, not with Later; an error prevents it; nil = nobody is asked
}

// Stage begins a deployment with the guest's next number. What killed runs left of this guest is cleared first.
func (g *Guest) Stage(ctx context.Context) (*Staged, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.clear(); err != nil {
		return nil, fmt.Errorf("clear leftovers of guest %s: %w", g.name, err)
	}
	id, err := g.nextID()
	if err != nil {
		return nil, err
	}
	st := &Staged{ID: id, guest: g, choice: Choice{Kind: Checkout}}
	st.dir = filepath.Join(g.deploymentsDir(), stagePrefix+strconv.Itoa(id)+"-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(st.dir, 0o755); err != nil {
		return nil, fmt.Errorf("stage deployment %d of guest %s: %w", id, g.name, err)
	}
	if err := errors.Join(st.lock(), os.Mkdir(st.Scratch(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("stage deployment %d of guest %s: %w", id, g.name, err), st.Abort())
	}
	return st, nil
}

func (st *Staged) lock() (err error) {
	if st.hold, err = os.Open(st.dir); err != nil {
		return err
	}
	return durable.LockDir(int(st.hold.Fd()))
}

// Root is where the caller checks out the tree, unless it has LayOut make images; it does not exist yet.
func (st *Staged) Root() string { return filepath.Join(st.dir, "root") }

// Scratch is a folder on the same file system that goes away at the end.
func (st *Staged) Scratch() string { return filepath.Join(st.dir, "scratch") }

// CheckedOut says why the tree is checked out at Root.
func (st *Staged) CheckedOut(c Choice) { st.choice = c }

// openDir opens the tree that was checked out or has images.
func (st *Staged) openDir() (dir, error) {
	m, err := st.Mount()
	if err != nil {
		return dir{}, err
	}
	if m == nil {
		return openDir(st.Root())
	}
	f, err := m.Open()
	if err != nil {
		return dir{}, err
	}
	return dir{f, st.Root()}, nil
}

// Abort removes what was built. After Finish it does nothing.
func (st *Staged) Abort() error {
	if st.done {
		return nil
	}
	st.done = true
	err := st.guest.store.removeTree(st.dir)
	if st.hold != nil {
		err = errors.Join(err, st.hold.Close())
	}
	return err
}

// Finish completes the deployment and makes it current, or with Later the staged one. On an error nothing changed, but that Finish may have
// filled in what /var lacked; the caller still aborts.
//
//	errors  fs.ErrNotExist if the commit is not in the repo or Root was not made
func (st *Staged) Finish(ctx context.Context, f Final) (Report, error) {
	var r Report
	if st.done {
		return r, errors.New("finish: the deployment was finished or aborted before")
	}
	if err := st.finish(ctx, f, &r); err != nil {
		return r, fmt.Errorf("finish deployment %d of guest %s: %w", st.ID, st.guest.name, err)
	}
	return r, nil
}

func (st *Staged) finish(ctx context.Context, f Final, r *Report) error {
	g := st.guest
	if !g.store.repo.Has(ostree.TypeCommit, f.Commit) {
		return fmt.Errorf("commit %s: not in the repo: %w", f.Commit, fs.ErrNotExist)
	}
	if _, err := os.Lstat(st.Root()); err != nil {
		return err
	}
	if st.images == nil {
		if err := defaultsOfEtc(st.Root()); err != nil {
			return err
		}
	}
	if err := g.store.makeEtc(ctx, f.Commit, st.Root(), f.MergeFrom, r); err != nil {
		return err
	}
	if err := st.write(f); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	first := f.MergeFrom == nil && !f.Later
	if first { // nobody knows this guest yet, nor its /var: one sync is enough for all
		if err := st.fillVar(f.Commit, r, false); err != nil {
			return err
		}
	}
	if err := durable.SyncFS(st.dir); err != nil {
		return err
	}
	if !f.Later && f.Before != nil {
		if err := f.Before(); err != nil {
			return err
		}
	}
	if !f.Later && !first {
		if err := st.fillVar(f.Commit, r, true); err != nil {
			return err
		}
	}
	return st.publish(f)
}

func (st *Staged) fillVar(commit ostree.Checksum, r *Report, synced bool) error {
	filled, err := st.guest.store.fillVar(commit, st.openDir, st.guest.VarDir(), synced)
	r.VarFilled = filled
	if err != nil {
		return fmt.Errorf("fill /var: %w", err)
	}
	return nil
}

// write puts everything of the deployment beside its root.
func (st *Staged) write(f Final) error {
	if st.images == nil {
		if err := ensureMountPoints(st.Root()); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(st.Scratch()); err != nil {
		return err
	}
	rec := record{ID: st.ID, Commit: f.Commit.String(), Created: f.Created.UTC().Format(time.RFC3339Nano), Version: f.Version, BaseRef: f.BaseRef, Pinned: f.Pin,
		Kind: st.choice.Kind, Why: st.choice.Why, Sealed: st.sealed, Images: st.images}
	if !f.BaseCommit.IsZero() {
		rec.BaseCommit = f.BaseCommit.String()
	}
	if f.MergeFrom != nil {
		rec.From = f.MergeFrom.ID
	}
	files := map[string][]byte{"manifest.yaml": f.Manifest, "lock.json": f.Lock, "deployment.json": rec.encode(), runFile: nil}
	if len(f.Log) > 0 {
		files[logFile] = f.Log
	}
	if f.Judge {
		files[unjudgedFile] = nil
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(st.dir, name), data, 0o644); err != nil { // synced with the file system, before the name exists
			return err
		}
	}
	return nil
}

// publish makes the synced folder a deployment: marker, refs, name, swap, marker away.
func (st *Staged) publish(f Final) error {
	g := st.guest
	marker := filepath.Join(g.deploymentsDir(), pendingPrefix+strconv.Itoa(st.ID))
	if err := durable.WriteFile(marker, nil, 0o644); err != nil {
		return err
	}
	if err := g.hold(st.ID, f.Commit, f.BaseCommit); err != nil {
		return errors.Join(err, g.retract(st.ID))
	}
	final := filepath.Join(g.deploymentsDir(), strconv.Itoa(st.ID))
	err := durable.RenameNoReplace(st.dir, final)
	if err == nil {
		switch err = durable.SyncDir(g.deploymentsDir()); {
		case err != nil:
		case f.Later:
			err = g.markStaged(st.ID)
		default:
			err = durable.Swap(g.currentLink(), "deployments/"+strconv.Itoa(st.ID))
		}
		if err == nil {
			st.done = true
			st.hold.Close()
			return g.settle(st.ID)
		}
		st.dir = final // Abort has nothing more to find under the old name
	}
	if id, cerr := g.currentID(); cerr == nil && id == st.ID {
		// The swap happened and only its sync failed: it is the new state, whatever comes.
		st.done = true
		st.hold.Close()
		return errors.Join(err, g.settle(st.ID))
	}
	return errors.Join(err, g.retract(st.ID))
}

// hold sets the refs that keep a deployment's objects.
func (g *Guest) hold(id int, commit, base ostree.Checksum) error {
	if err := g.store.repo.SetRef(g.ref(id), commit); err != nil {
		return err
	}
	if base.IsZero() || base == commit || !g.store.repo.Has(ostree.TypeCommit, base) {
		return nil
	}
	return g.store.repo.SetRef(g.baseRef(id), base)
}

// settle ends a deployment's pending state, and the guest's unfinished one.
func (g *Guest) settle(id int) error {
	for _, mark := range []string{filepath.Join(g.deploymentsDir(), pendingPrefix+strconv.Itoa(id)), filepath.Join(g.dir, unfinishedMark)} {
		if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := durable.SyncDir(filepath.Dir(mark)); err != nil {
			return err
		}
	}
	return nil
}

// retract takes back a pending deployment.
func (g *Guest) retract(id int) error {
	if err := g.store.removeTree(filepath.Join(g.deploymentsDir(), strconv.Itoa(id))); err != nil {
		return err
	}
	if err := g.deleteRefs(id); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(g.deploymentsDir(), pendingPrefix+strconv.Itoa(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// mountPoints are the folders that whoever runs a guest mounts something on, with their modes.
var mountPoints = []struct {
	name string
	mode os.FileMode
}{{"dev", 0o755}, {"etc", 0o755}, {"proc", 0o555}, {"run", 0o755}, {"sys", 0o555}, {"tmp", 0o777 | os.ModeSticky}, {"var", 0o755}}

func ensureMountPoints(root string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, m := range mountPoints {
		if _, err := r.Lstat(m.name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		if err := r.Mkdir(m.name, 0o755); err != nil {
			return err
		}
		if err := r.Chmod(m.name, m.mode); err != nil {
			return err
		}
	}
	return nil
}
