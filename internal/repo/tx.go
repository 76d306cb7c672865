// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// errDone is what a transaction answers that was committed or aborted.
var errDone = errors.New("transaction is over")

// Tx collects objects and refs that become visible together. Its Put methods may be called from several goroutines;
// Commit or Abort ends it. After an error of a Put the transaction can go on, but Commit refuses while an object
// that was begun is not there whole.
type Tx struct {
	r         *Repo
	ctx       context.Context
	lock      *durable.Lock
	stage     *staging
	budget    *budget
	codecs    codecs
	flush     flusher
	stats     txCounts
	cloneOnce sync.Once
	splitMu   sync.Mutex // one at a time stages xattrs in a bare-split-xattrs repository

	mu       sync.Mutex
	objects  map[object]objectState
	refs     map[string]ostree.Checksum // by the path of the file below the repository
	detached map[ostree.Checksum]gvariant.Dict
	partial  map[ostree.Checksum]bool
	tmp      int // number of the next temporary name
	noClone  bool
	clones   bool // what canClone found
	done     bool
}

// objectState says where an object of a transaction is.
type objectState uint8

const (
	claimed objectState = iota + 1 // being written by one goroutine
	staged                         // whole, in the staging folder
	present                        // was in the repository already
	broken                         // could not be written
)

// Begin starts a transaction: it takes the repository's lock shared and a staging folder, and clears staging folders
// of processes that are gone.
//
//	errors  durable.ErrBusy if a prune holds the lock for longer than core.lock-timeout-secs
func (r *Repo) Begin(ctx context.Context) (*Tx, error) { return r.begin(ctx, false) }

// begin is Begin; alone keeps all other writers out until the end, for who changes what is there.
func (r *Repo) begin(ctx context.Context, alone bool) (*Tx, error) {
	lock, err := r.lock(ctx, alone)
	if err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	tx := &Tx{
		r: r, ctx: ctx, lock: lock, objects: map[object]objectState{}, refs: map[string]ostree.Checksum{},
		detached: map[ostree.Checksum]gvariant.Dict{}, partial: map[ostree.Checksum]bool{},
	}
	tx.codecs.level = r.set.deflateLevel
	if tx.budget, err = r.newBudget(); err == nil {
		tx.stage, err = r.newStaging()
	}
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("begin transaction in %s: %w", r.path, err)
	}
	return tx, nil
}

// Repo returns the repository that tx writes to.
func (tx *Tx) Repo() *Repo { return tx.r }

// Has reports whether the object is staged here or in the repository.
func (tx *Tx) Has(t ostree.ObjectType, c ostree.Checksum) bool {
	return tx.isStaged(object{t, c}) || tx.r.Has(t, c)
}

func (tx *Tx) isStaged(o object) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.objects[o] == staged
}

// claim reports whether the caller is the one to write o: it is not in the repository, and nobody else writes it.
// The caller then calls settle.
func (tx *Tx) claim(o object) (bool, error) { return tx.claimUnless(o, tx.r.hasLocal) }

// claimNamed is claim for content that the caller gave a name: who knows the name has looked whether the repository has it, and
// another look for each file of a pull costs as much as the first.
func (tx *Tx) claimNamed(o object, want *ostree.Checksum) (bool, error) {
	if want == nil {
		return tx.claim(o)
	}
	return tx.claimUnless(o, func(object) bool { return false })
}

func (tx *Tx) claimUnless(o object, there func(object) bool) (bool, error) {
	tx.stats.asked(o)
	tx.mu.Lock()
	if tx.done {
		tx.mu.Unlock()
		return false, errDone
	}
	s := tx.objects[o]
	if s != 0 && s != broken {
		tx.mu.Unlock()
		return false, nil
	}
	tx.objects[o] = claimed
	tx.mu.Unlock()
	if there(o) {
		tx.mark(o, present)
		return false, nil
	}
	tx.stats.written(o)
	return true, nil
}

func (tx *Tx) mark(o object, s objectState) {
	tx.mu.Lock()
	tx.objects[o] = s
	tx.mu.Unlock()
}

// settle ends a claim.
func (tx *Tx) settle(o object, err error) error {
	if err != nil {
		unix.Unlinkat(tx.stage.fd, stagedName(o), 0)
		tx.mark(o, broken)
		return fmt.Errorf("write object %s: %w", o, err)
	}
	tx.mark(o, staged)
	return nil
}

// SetRef makes a ref ("ref" or "remote:ref") name c when the transaction commits.
func (tx *Tx) SetRef(name string, c ostree.Checksum) error {
	path, err := refFile(name)
	if err != nil {
		return fmt.Errorf("set ref %q: %w", name, err)
	}
	tx.setRefFile(path, c)
	return nil
}

// SetCollectionRef makes a ref of a collection name c when the transaction commits: one of the repository's own refs where the
// collection is the repository's own (core.collection-id) or "", else one below refs/mirrors/COLLECTION.
//
//	source  ostree src/libostree/ostree-repo-refs.c, _ostree_repo_write_ref
func (tx *Tx) SetCollectionRef(collection, ref string, c ostree.Checksum) error {
	path, err := tx.r.collectionRefFile(collection, ref)
	if err != nil {
		return fmt.Errorf("set ref %q of collection %q: %w", ref, collection, err)
	}
	tx.setRefFile(path, c)
	return nil
}

func (tx *Tx) setRefFile(path string, c ostree.Checksum) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.refs[path] = c
}

// SetDetached writes what stands beside a commit, signatures above all, when the transaction commits.
func (tx *Tx) SetDetached(c ostree.Checksum, d gvariant.Dict) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.detached[c] = d
}

// SetPartial marks a commit as one whose content is not all there, or no longer so, when the transaction commits.
// fsck and prune then do not expect it.
//
//	source  ostree src/libostree/ostree-repo.c, ostree_repo_mark_commit_partial
func (tx *Tx) SetPartial(c ostree.Checksum, partial bool) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.partial[c] = partial
}

// Abort gives up the transaction and deletes what was staged. After Commit, or a second time, it does nothing.
func (tx *Tx) Abort() error {
	tx.mu.Lock()
	done := tx.done
	tx.done = true
	tx.mu.Unlock()
	if done {
		return nil
	}
	tx.flush.wg.Wait()
	return errors.Join(tx.stage.remove(), tx.lock.Release())
}

// Commit makes everything visible: content, then commits, then refs, each on disk before the next. When it fails,
// objects may be there that nothing refers to, and some refs may be set and others not; each ref is old or new. The
// transaction is over in either case.
func (tx *Tx) Commit() error {
	tx.mu.Lock()
	done := tx.done
	tx.done = true
	tx.mu.Unlock()
	if done {
		return errDone
	}
	tx.flush.wg.Wait()
	err := tx.publish()
	return errors.Join(err, tx.stage.remove(), tx.lock.Release())
}

func (tx *Tx) publish() error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	content, commits, err := tx.sortStaged()
	if err != nil {
		return err
	}
	if err := tx.stageDetached(); err != nil {
		return err
	}
	if err := tx.stageRefs(); err != nil {
		return err
	}
	if tx.r.set.fsync && (!tx.r.set.perObjectFsync && len(content)+len(commits)+len(tx.detached) > 0 || len(tx.refs) > manyRefs) {
		if err := durable.SyncFS(tx.stage.path); err != nil {
			return err
		}
	}
	if err := tx.markPartials(true); err != nil {
		return err
	}
	if err := tx.moveAll(content); err != nil {
		return err
	}
	if err := tx.moveDetached(); err != nil {
		return err
	}
	if err := tx.moveAll(commits); err != nil {
		return err
	}
	if err := tx.markPartials(false); err != nil {
		return err
	}
	if err := tx.publishRefs(); err != nil {
		return err
	}
	if len(tx.refs) > 0 {
		return tx.r.followRefs()
	}
	return nil
}

// sortStaged lists what is to be moved: commits apart, for they come last.
func (tx *Tx) sortStaged() (content, commits []object, err error) {
	for o, s := range tx.objects {
		switch {
		case s == claimed || s == broken:
			err = errors.Join(err, fmt.Errorf("commit transaction: object %s was not written", o))
		case s != staged:
		case o.t == ostree.TypeCommit || o.t == ostree.TypeTombstone:
			commits = append(commits, o)
		default:
			content = append(content, o)
		}
	}
	slices.SortFunc(content, byName)
	slices.SortFunc(commits, byName)
	return content, commits, err
}

func byName(a, b object) int {
	if n := a.c.Compare(b.c); n != 0 {
		return n
	}
	return int(a.t) - int(b.t)
}

// moveAll moves staged objects, sorted by name, into place and brings that to disk.
func (tx *Tx) moveAll(list []object) error {
	if len(list) == 0 {
		return nil
	}
	var groups [][]object // one for each folder
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].c[0] == list[0].c[0] {
			n++
		}
		groups, list = append(groups, list[:n]), list[n:]
	}
	// one after the other: the kernel has one lock for all renames from folder to folder
	for _, group := range groups {
		if err := tx.moveGroup(group); err != nil {
			return err
		}
	}
	return tx.syncDirs(groups)
}

func (tx *Tx) moveGroup(group []object) error {
	b := group[0].c[0]
	dir := string([]byte{hexDigits[b>>4], hexDigits[b&15]})
	if err := unix.Mkdirat(tx.r.objdir(), dir, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("mkdir objects/%s: %w", dir, err)
	}
	for _, o := range group {
		err := durable.RenameAt(durable.At{Dir: tx.stage.fd, Name: stagedName(o)}, durable.At{Dir: tx.r.objdir(), Name: tx.r.objectPath(o)}, true)
		if err != nil {
			return err
		}
		if o.t == ostree.TypeCommit { // it is back, should it have been deleted before
			unix.Unlinkat(tx.r.objdir(), tx.r.objectPath(object{ostree.TypeTombstone, o.c}), 0)
		}
	}
	return nil
}

// manyDirs is from where on one syncfs is cheaper than a sync of each folder.
const manyDirs = 4

// syncDirs brings the entries of the folders to disk.
func (tx *Tx) syncDirs(groups [][]object) error {
	if !tx.r.set.fsync {
		return nil
	}
	if len(groups) > manyDirs && !tx.r.set.perObjectFsync {
		return durable.SyncFS(tx.r.path)
	}
	for _, group := range groups {
		name := tx.r.path + "/objects/" + group[0].c.String()[:2]
		if err := durable.SyncDir(name); err != nil {
			return err
		}
	}
	return durable.SyncDirFD(tx.r.objdir(), "objects")
}

// manyRefs is from where on one syncfs for all refs is cheaper than a sync of each ref and its folder.
const manyRefs = 4

func (tx *Tx) refNames() []string {
	names := make([]string, 0, len(tx.refs))
	for name := range tx.refs {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

func stagedRef(i int) string { return "ref-" + strconv.Itoa(i) }

// stageRefs writes the refs, where they are many, into the staging folder: the sync of the objects is theirs too.
func (tx *Tx) stageRefs() error {
	if len(tx.refs) <= manyRefs {
		return nil
	}
	for i, name := range tx.refNames() {
		if err := tx.writePlain(stagedRef(i), []byte(tx.refs[name].String()+"\n")); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func (tx *Tx) publishRefs() error {
	names := tx.refNames()
	many := len(names) > manyRefs
	for i, name := range names {
		var err error
		if many {
			err = tx.moveRef(stagedRef(i), name)
		} else {
			err = tx.r.setRefFile(name, tx.refs[name])
		}
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if many && tx.r.set.fsync {
		if err := durable.SyncFS(tx.r.path); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		tx.r.touch()
	}
	return nil
}

// moveRef puts a staged ref, which is on disk already, into place.
func (tx *Tx) moveRef(staged, name string) error {
	path := filepath.Join(tx.r.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	removeEmptyDirs(path)
	return durable.RenameNoSync(filepath.Join(tx.stage.path, staged), path)
}
