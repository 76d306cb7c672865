// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// Names inside a guest's folder.
const (
	stagePrefix    = ".stage-"
	pendingPrefix  = ".pending-"
	unfinishedMark = ".unfinished"
	lastFile       = ".last-id"
	runFile        = ".running"
)

// maxFileBytes bounds the small files of a deployment when they are read; a lock of 10,000 packages has 3 MB.
const maxFileBytes = 64 << 20

// Guest is one guest of a store.
type Guest struct {
	store *Store
	name  string
	dir   string
}

// Name is the guest's name.
func (g *Guest) Name() string { return g.name }

// Dir is the absolute path of the guest's folder.
func (g *Guest) Dir() string { return g.dir }

// VarDir is the folder that the guest sees as /var.
func (g *Guest) VarDir() string { return filepath.Join(g.dir, "var") }

// Lock takes the guest's lock exclusively; the store's lock comes first.
func (g *Guest) Lock(ctx context.Context, wait time.Duration) (*durable.Lock, error) {
	return durable.Acquire(ctx, filepath.Join(g.dir, ".lock"), true, wait)
}

func (g *Guest) deploymentsDir() string { return filepath.Join(g.dir, "deployments") }
func (g *Guest) currentLink() string    { return filepath.Join(g.dir, "current") }

func (g *Guest) unfinished() bool {
	_, err := os.Lstat(filepath.Join(g.dir, unfinishedMark))
	return err == nil
}

func (g *Guest) ref(id int) string     { return "grove/guest/" + g.name + "/" + strconv.Itoa(id) }
func (g *Guest) baseRef(id int) string { return "grove/base/" + g.name + "/" + strconv.Itoa(id) }

// guestRefs is where the refs of guests lie. Others, such as those of packages, are many and are not read.
var guestRefs = []string{"grove/guest", "grove/base"}

// refs returns the refs of all guests.
func (s *Store) refs() ([]string, error) {
	var out []string
	for _, below := range guestRefs {
		all, err := s.repo.Refs(below)
		if err != nil {
			return nil, err
		}
		for r := range all {
			out = append(out, r)
		}
	}
	sort.Strings(out)
	return out, nil
}

// refs returns all refs that hold this guest's deployments and bases.
func (g *Guest) refs() ([]string, error) {
	var out []string
	for _, below := range guestRefs {
		all, err := g.store.repo.Refs(below + "/" + g.name)
		if err != nil {
			return nil, err
		}
		for r := range all {
			if owner, _, ok := parseRef(r); ok && owner == g.name {
				out = append(out, r)
			}
		}
	}
	sort.Strings(out)
	return out, nil
}

// parseRef takes apart grove/guest/NAME/ID and grove/base/NAME/ID.
func parseRef(ref string) (guest string, id int, ok bool) {
	rest, ok := strings.CutPrefix(ref, "grove/guest/")
	if !ok {
		if rest, ok = strings.CutPrefix(ref, "grove/base/"); !ok {
			return "", 0, false
		}
	}
	guest, number, ok := strings.Cut(rest, "/")
	if !ok {
		return "", 0, false
	}
	id, ok = parseID(number)
	return guest, id, ok
}

// parseID reads a deployment's number as it is written in names: decimal, from 1, no leading zero.
func parseID(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && strconv.Itoa(n) == s
}

// Deployment is one immutable result of a guest's manifest.
type Deployment struct {
	ID         int
	Commit     ostree.Checksum
	Created    time.Time
	Pinned     bool
	Version    string
	BaseRef    string
	BaseCommit string // hex; empty if unknown
	From       int    // number of the deployment that was current when this was made; 0 = none
	Current    bool
	Staged     bool   // made to become current later, by Finalize
	Stale      bool   // staged, and the guest changed since: Finalize refuses it
	Kind       Kind   // Checkout or Composefs
	Why        string // why it is of that kind
	Sealed     bool   // of kind Composefs: the kernel verifies each file with fs-verity
	Unjudged   bool   // current, and not Judged as it was to be: what made it current was killed then
	Damaged    string // why its record can not be read: then only ID, Current and whether it runs are known; "" = it can

	dir     string
	running func() bool
	images  []imageRecord
	objects []string // folders of the repository's objects
}

// record is deployment.json.
type record struct {
	ID         int    `json:"id"`
	Commit     string `json:"commit"`
	Created    string `json:"created"` // RFC 3339, UTC
	Version    string `json:"version,omitempty"`
	BaseRef    string `json:"base_ref,omitempty"`
	BaseCommit string `json:"base_commit,omitempty"`
	Pinned     bool   `json:"pinned"`
	From       int    `json:"from,omitempty"` // the deployment that was current before
	Kind       Kind   `json:"kind,omitempty"` // empty = checkout
	Why        string `json:"why,omitempty"`
	Sealed     bool   `json:"sealed,omitempty"`

	Images []imageRecord `json:"images,omitempty"` // of kind composefs, the topmost first
}

func (r record) encode() []byte {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return append(data, '\n')
}

// Root is the path of the deployment's tree. Of kind Composefs it has nothing but the deployment's /etc: the tree is
// mounted there, or elsewhere, by who uses it (Mount, OpenTree).
func (d Deployment) Root() string { return filepath.Join(d.dir, "root") }

// RunLock is the file that whoever runs something in the deployment holds a shared lock on (durable.Acquire).
func (d Deployment) RunLock() string { return filepath.Join(d.dir, runFile) }

// Manifest is the text of the manifest that the deployment was made from.
func (d Deployment) Manifest() ([]byte, error) {
	return readLimited(filepath.Join(d.dir, "manifest.yaml"))
}

// Lockfile is the text of the deployment's lock.
func (d Deployment) Lockfile() ([]byte, error) { return readLimited(filepath.Join(d.dir, "lock.json")) }

// logFile holds what scriptlets ran and printed; a deployment without any has none.
const logFile = "scripts.log"

// Log is what the scriptlets did that ran when the deployment was made; nil where none did.
func (d Deployment) Log() ([]byte, error) {
	text, err := readLimited(filepath.Join(d.dir, logFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func readLimited(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxFileBytes {
		return nil, fmt.Errorf("read %s: has %d bytes, at most %d are allowed", path, st.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// currentID is the number that `current` names.
//
//	errors  ErrNone
func (g *Guest) currentID() (int, error) {
	target, err := os.Readlink(g.currentLink())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("guest %s: %w", g.name, ErrNone)
	}
	if err != nil {
		return 0, err
	}
	number, ok := strings.CutPrefix(target, "deployments/")
	id, valid := parseID(number)
	if !ok || !valid {
		return 0, fmt.Errorf("guest %s: current points to %q, wanted deployments/ID", g.name, target)
	}
	return id, nil
}

// Current is the deployment that the guest runs next.
//
//	errors  ErrNone
func (g *Guest) Current() (*Deployment, error) {
	id, err := g.currentID()
	if err != nil {
		return nil, err
	}
	return g.Deployment(id)
}

// ids returns the numbers of the deployments on disk, pending ones too, rising.
func (g *Guest) ids() ([]int, error) {
	ents, err := os.ReadDir(g.deploymentsDir())
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range ents {
		if id, ok := parseID(e.Name()); ok {
			out = append(out, id)
		}
	}
	sort.Ints(out)
	return out, nil
}

// Deployments returns all deployments, oldest first. Those whose record can not be read are among them, Damaged.
func (g *Guest) Deployments() ([]Deployment, error) {
	ids, err := g.ids()
	if err != nil {
		return nil, err
	}
	var out []Deployment
	used := inUseWhenAsked()
	for _, id := range ids {
		d, err := g.deployment(id, used)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile: readers take no lock
		}
		if err != nil {
			d = g.state(id, used)
			d.Damaged = err.Error()
		}
		out = append(out, *d)
	}
	return out, nil
}

// Deployment returns one deployment.
//
//	errors  *NotFoundError
func (g *Guest) Deployment(id int) (*Deployment, error) { return g.deployment(id, inUseWhenAsked()) }

func (g *Guest) deployment(id int, used func() roots) (*Deployment, error) {
	d := g.state(id, used)
	data, err := readLimited(filepath.Join(d.dir, "deployment.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(d.dir); serr != nil {
			return nil, fmt.Errorf("%w%w", &NotFoundError{What: fmt.Sprintf("guest %s: deployment %d", g.name, id)}, hidden{fs.ErrNotExist})
		}
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("guest %s: deployment %d: %w", g.name, id, err)
	}
	if r.ID != id {
		return nil, fmt.Errorf("guest %s: deployment %d: deployment.json says %d", g.name, id, r.ID)
	}
	if d.Commit, err = ostree.ParseChecksum(r.Commit); err != nil {
		return nil, fmt.Errorf("guest %s: deployment %d: %w", g.name, id, err)
	}
	if d.Created, err = time.Parse(time.RFC3339Nano, r.Created); err != nil {
		return nil, fmt.Errorf("guest %s: deployment %d: %w", g.name, id, err)
	}
	d.Pinned, d.Version, d.BaseRef, d.BaseCommit, d.From = r.Pinned, r.Version, r.BaseRef, r.BaseCommit, r.From
	if err := d.setKind(r, g.store); err != nil {
		return nil, fmt.Errorf("guest %s: deployment %d: %w", g.name, id, err)
	}
	current, err := g.currentID()
	d.Staged = g.stagedID() == id && !d.Current
	d.Stale = d.Staged && (err != nil || d.From != current)
	return d, nil
}

// state is what is known of a deployment without its record.
func (g *Guest) state(id int, used func() roots) *Deployment {
	d := &Deployment{ID: id, dir: filepath.Join(g.deploymentsDir(), strconv.Itoa(id))}
	current, err := g.currentID()
	d.Current = err == nil && current == id
	d.Unjudged = d.Current && unjudged(d.dir)
	d.running = func() bool { return locked(d.RunLock()) || used().uses(*d) }
	return d
}

// Running tells whether somebody uses the deployment, as far as this process may see. Those that Deployments gave
// together are looked at together, when the first of them is asked.
func (d Deployment) Running() bool { return d.running != nil && d.running() }

// hidden adds an error to match without its text.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.error }

// locked tells whether somebody holds a lock on the file. It takes none itself.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk) == nil && lk.Type != unix.F_UNLCK
}

func (d Deployment) record() record {
	return record{ID: d.ID, Commit: d.Commit.String(), Created: d.Created.UTC().Format(time.RFC3339Nano), Version: d.Version,
		BaseRef: d.BaseRef, BaseCommit: d.BaseCommit, Pinned: d.Pinned, From: d.From, Kind: d.Kind, Why: d.Why, Sealed: d.Sealed, Images: d.images}
}

// Pin keeps a deployment from GC, or lets it go.
func (g *Guest) Pin(id int, pinned bool) error {
	d, err := g.Deployment(id)
	if err != nil || d.Pinned == pinned {
		return err
	}
	d.Pinned = pinned
	return durable.WriteFile(filepath.Join(d.dir, "deployment.json"), d.record().encode(), 0o644)
}

// SetCurrent makes a kept deployment the current one.
func (g *Guest) SetCurrent(ctx context.Context, id int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := g.Deployment(id); err != nil {
		return err
	}
	return durable.Swap(g.currentLink(), "deployments/"+strconv.Itoa(id))
}

// RemoveDeployment removes a deployment that is neither current nor running. Its number is not used again.
func (g *Guest) RemoveDeployment(ctx context.Context, id int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d := g.state(id, inUseWhenAsked())
	if _, err := os.Lstat(d.dir); err != nil {
		_, err := g.Deployment(id)
		return err
	}
	switch {
	case d.Current:
		return fmt.Errorf("remove deployment %d of guest %s: it is the current one", id, g.name)
	case d.Running():
		return fmt.Errorf("remove deployment %d of guest %s: %w", id, g.name, ErrRunning)
	}
	return g.remove(id)
}

// remove deletes folder and refs of a deployment, remembering its number first.
func (g *Guest) remove(id int) error {
	if err := g.remember(id); err != nil {
		return err
	}
	if err := g.store.removeTree(filepath.Join(g.deploymentsDir(), strconv.Itoa(id))); err != nil {
		return fmt.Errorf("remove deployment %d of guest %s: %w", id, g.name, err)
	}
	return g.deleteRefs(id)
}

func (g *Guest) deleteRefs(id int) error {
	refs, err := g.refs()
	if err != nil {
		return err
	}
	for _, r := range refs {
		if r == g.ref(id) || r == g.baseRef(id) {
			if err := g.store.repo.DeleteRef(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// last is the highest number among those removed.
func (g *Guest) last() (int, error) {
	data, err := readLimited(filepath.Join(g.dir, lastFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, ok := parseID(strings.TrimSpace(string(data)))
	if !ok {
		return 0, fmt.Errorf("guest %s: %s holds %.20q, wanted a number", g.name, lastFile, data)
	}
	return id, nil
}

// remember keeps the number of a deployment that is removed from being given again. While a higher one is there it needs
// no note, so that a full disk can be cleared.
func (g *Guest) remember(id int) error {
	last, err := g.last()
	if err != nil || id <= last {
		return err
	}
	ids, err := g.ids()
	if err != nil || len(ids) > 0 && slices.Max(ids) > id {
		return err
	}
	return durable.WriteFile(filepath.Join(g.dir, lastFile), []byte(strconv.Itoa(id)+"\n"), 0o644)
}

// nextID is the number after all that are or were.
func (g *Guest) nextID() (int, error) {
	last, err := g.last()
	if err != nil {
		return 0, err
	}
	ids, err := g.ids()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		last = max(last, id)
	}
	return last + 1, nil
}
