// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/fetch"
	"grove/internal/importer"
	"grove/internal/machine"
	"grove/internal/manifest"
	"grove/internal/repo"
	"grove/internal/rpm"
)

// maxDownload bounds a package file that is given by URL.
const maxDownload = 8 << 30

// Apply makes a guest what a manifest says; a guest that is not there yet is created.
func Apply(ctx context.Context, e Env, name string, m manifest.Manifest, o Options) (Change, error) {
	_, err := e.Store.Guest(name)
	var unknown *deploy.NotFoundError
	if errors.As(err, &unknown) {
		return Create(ctx, e, name, CreateOptions{Options: o, Manifest: &m})
	}
	if err != nil {
		return Change{}, err
	}
	return Edit(ctx, e, name, o, func(have *manifest.Manifest) error {
		if m.Base == "" {
			m.Base = have.Base
		}
		*have = m
		return nil
	})
}

// HistoryEntry is a deployment and what it changed against the one that it was made from; where that is kept no more, against
// the newest older one.
type HistoryEntry struct {
	Deployment
	Against int         `json:"against"` // what Changes compares with; 0 = it is the first that is kept
	Changes PackageDiff `json:"changes"`
}

// History lists a guest's deployments, the newest first.
func History(e Env, name string) ([]HistoryEntry, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, err
	}
	all, err := g.Deployments()
	if err != nil {
		return nil, err
	}
	var out []HistoryEntry
	for _, d := range all {
		h := HistoryEntry{Deployment: e.describe(d)}
		if from := madeFrom(all, d); from != nil && h.Damaged == "" {
			h.Against = from.ID
			if h.Changes, err = e.diffDeployments(*from, d); err != nil {
				h.Changes = PackageDiff{} // the one before is damaged, and says so itself
			}
		}
		out = append(out, h)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID > out[j].ID })
	return out, nil
}

// Download fetches a package file that was given by URL into the cache and names it.
func Download(ctx context.Context, s *deploy.Store, c *fetch.Client, u string) (string, error) {
	sum := sha256.Sum256([]byte(u))
	dest := filepath.Join(s.CacheDir(), "urls", hex.EncodeToString(sum[:8])+".rpm")
	err := c.Download(ctx, fetch.Download{URLs: []string{u}, Dest: dest, MaxBytes: maxDownload})
	return dest, err
}

// GC removes deployments that no rule keeps, and from the repo what nothing refers to any more.
func GC(ctx context.Context, e Env, o deploy.GCOptions) (deploy.GCReport, error) {
	// Asked for under the store's lock and after surplus deployments went: what others made meanwhile counts.
	var used map[string]bool
	var failed error
	o.KeepRef = func(ref string, gone map[string]bool) bool {
		if used == nil && failed == nil {
			used, failed = usedPackages(e, gone)
		}
		return failed != nil || !strings.HasPrefix(ref, importer.RefPrefix) || used[ref]
	}
	o.Wait, o.Now = e.Wait, e.Now()
	rep, err := e.Store.GC(ctx, o)
	return rep, errors.Join(err, failed)
}

// usedPackages are the refs of package trees that some deployment, but those of without (NAME/ID), or a tree composed
// here, was made from.
func usedPackages(e Env, without map[string]bool) (map[string]bool, error) {
	used := map[string]bool{}
	use := func(nevras []string) {
		for _, p := range nevras {
			if n, err := rpm.ParseNEVRA(p); err == nil {
				used[importer.Ref(n)] = true
			}
		}
	}
	refs, err := e.Store.Repo().Refs("")
	if err != nil {
		return nil, err
	}
	for name, c := range refs {
		if strings.HasPrefix(name, "grove/") || strings.Contains(name, ":") {
			continue
		}
		commit, err := e.Store.Repo().Commit(c)
		if err != nil {
			return nil, fmt.Errorf("ref %s: %w", name, err)
		}
		use(compose.Packages(commit))
	}
	names, err := e.Store.Guests()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		g, err := e.Store.Guest(name)
		if err != nil {
			return nil, err
		}
		all, err := g.Deployments()
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			if without[fmt.Sprintf("%s/%d", name, d.ID)] {
				continue
			}
			made, err := e.madeOf(name, d)
			if err != nil {
				return nil, fmt.Errorf("guest %s, deployment %d: which packages it was made of: %w", name, d.ID, err)
			}
			use(made)
		}
	}
	return used, nil
}

// madeOf are the packages of a deployment's layers by its lock, or, where that is damaged, by its commit.
func (e Env) madeOf(name string, d deploy.Deployment) ([]string, error) {
	if l, err := lockOf(d); err == nil {
		var out []string
		for _, p := range l.Packages {
			out = append(out, p.NEVRA)
		}
		return out, nil
	}
	c, err := e.Store.Repo().Resolve(fmt.Sprintf("grove/guest/%s/%d", name, d.ID))
	if err != nil {
		return nil, err
	}
	commit, err := e.Store.Repo().Commit(c)
	return compose.Packages(commit), err
}

func lockOf(d deploy.Deployment) (manifest.Lock, error) {
	text, err := d.Lockfile()
	if err != nil {
		return manifest.Lock{}, err
	}
	return manifest.ParseLock(text)
}

// FsckReport is what a check of the whole state root found.
type FsckReport struct {
	Objects int      `json:"objects"`
	Guests  int      `json:"guests"`
	Faults  []string `json:"faults"`
}

// Fsck checks every object of the repo, beside whoever is at work, and then every guest's folder, which it keeps others
// from changing meanwhile.
//
//	errors  durable.ErrBusy: the objects are fine, and the guests were not checked
func Fsck(ctx context.Context, e Env) (FsckReport, error) {
	rep := FsckReport{Faults: []string{}}
	res, err := e.Store.Repo().Fsck(ctx, repo.FsckOptions{})
	if err != nil {
		return rep, err
	}
	rep.Objects = res.Objects
	for _, f := range res.Faults {
		rep.Faults = append(rep.Faults, f.String())
	}
	lock, err := e.Store.Lock(ctx, true, e.Wait)
	if errors.Is(err, syscall.EROFS) { // nobody is at work where nobody can write
		lock, err = nil, nil
	}
	if err != nil && len(rep.Faults) > 0 {
		rep.Faults = append(rep.Faults, fmt.Sprintf("guests: not checked: %v", err))
		return rep, nil
	}
	if err != nil {
		return rep, fmt.Errorf("%d objects are fine; check guests: %w", rep.Objects, err)
	}
	if lock != nil {
		defer lock.Release()
	}
	dropped, err := e.Store.Images().DropDamaged()
	if err != nil {
		return rep, err
	}
	rep.Faults = append(rep.Faults, dropped...)
	faults, err := e.Store.Check(ctx)
	if err != nil {
		return rep, err
	}
	rep.Faults = append(rep.Faults, faults...)
	all, err := List(e)
	rep.Guests = len(all)
	for _, s := range all {
		for _, d := range s.Deployments {
			where := fmt.Sprintf("guest %s: deployment %d: ", s.Name, d.ID)
			if d.Damaged != "" && !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, where) }) {
				rep.Faults = append(rep.Faults, where+d.Damaged)
			}
		}
	}
	return rep, err
}

// Run runs a command in a guest and gives its exit code.
func Run(ctx context.Context, e Env, name string, id int, c machine.Command) (int, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return 0, err
	}
	d, err := pickDeployment(g, id)
	if err != nil {
		return 0, err
	}
	return machine.Run(ctx, machineOf(g, d), c)
}

// ScriptLog is what scriptlets ran and printed, of a deployment or of a compose.
//
//	shape   Text: a line for each that ran, "%post(bash-5.2-1.x86_64)", with the reason behind ": " where it failed; lines that
//	        it printed follow, indented by four blanks
type ScriptLog struct {
	Guest      string `json:"guest,omitempty"`
	Deployment int    `json:"deployment,omitempty"`
	Ref        string `json:"ref,omitempty"` // of a compose
	Text       string `json:"text"`
}

// Log reads what the scriptlets did that ran when a deployment was made; id 0 = the current one.
func Log(e Env, name string, id int) (ScriptLog, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return ScriptLog{}, err
	}
	d, err := pickDeployment(g, id)
	if err != nil {
		return ScriptLog{}, err
	}
	text, err := d.Log()
	return ScriptLog{Guest: name, Deployment: d.ID, Text: string(text)}, err
}
