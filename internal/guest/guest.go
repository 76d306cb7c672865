// SPDX-License-Identifier: Apache-2.0

// Package guest is a guest's life: it is created on a base, gets packages, is upgraded, rolled back and deleted.
//
// Every change is the same: the manifest of the current deployment is edited, the result is made again from
// its base (compose), laid out as the next deployment (deploy), and made current by one swap. A change that
// fails leaves the guest as it was. The package neither prints nor starts processes of its own.
package guest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/fetch"
	"grove/internal/machine"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/solve"
)

// Env is what every operation works with.
type Env struct {
	Store  *deploy.Store
	Client *fetch.Client
	Now    func() time.Time // for what people read: when a deployment was made; never for content

	Offline    bool
	NoGPGCheck bool
	Wait       time.Duration // how long to wait for another grove at work; 0 = not at all

	HookDir  string                                  // of the host's hooks; "" = none but each guest's own
	Solve    func(solve.Request) (solve.Plan, error) // nil = in this process
	Progress func(compose.Event)

	seen map[ostree.Checksum][]rpm.NEVRA // packages by commit, for who looks at many guests; nil = not remembered
}

// Options of one change.
type Options struct {
	DryRun     bool     // say what would be; change nothing
	LocalFiles []string // package files that the edited manifest names
	RepoFiles  []string // .repo files that the guest is to use beside its own from now on
	Refresh    bool     // ask sources for new metadata
	Pull       bool     // ask the base's remote for a new commit
	Lock       *manifest.Lock
	Edits      Edits
	Unprotect  bool        // let protected packages go
	Deploy     deploy.Kind // how the new deployment lies on disk; "" = as the state root says
	kind       deploy.Kind // what Deploy comes to here; "" = nobody asked
	Stage      bool        // make the deployment, but leave the current one current: Finalize changes that
}

// Change is what an operation did, or would do.
type Change struct {
	Guest     string      `json:"guest"`
	From      int         `json:"from,omitempty"` // deployment before; 0 = none
	To        int         `json:"to,omitempty"`   // deployment now; 0 = nothing was made
	Commit    string      `json:"commit,omitempty"`
	Unchanged bool        `json:"unchanged"`
	DryRun    bool        `json:"dry_run,omitempty"`
	Staged    int         `json:"staged,omitempty"` // deployment that grove finalize makes current
	Packages  PackageDiff `json:"packages"`
	Installed int         `json:"installed,omitempty"` // packages in the new deployment
	Etc       EtcReport   `json:"etc"`
	VarFilled int         `json:"var_filled,omitempty"` // entries that /var lacked
	Satisfied []string    `json:"satisfied,omitempty"`  // requests that the base fulfils already
	Newer     []string    `json:"newer,omitempty"`      // newer versions that grove upgrade would take
	Waiting   []string    `json:"waiting,omitempty"`    // replacements that wait for something newer than the base has
	Warnings  []string    `json:"warnings,omitempty"`
	// Advisories of the guest's sources that say why packages are newer; of an upgrade that only looks.
	Advisories []Advisory `json:"advisories,omitempty"`
	Base       BaseState  `json:"base"`
}

// BaseState names what a guest stands on.
type BaseState struct {
	Ref     string `json:"ref"`
	Commit  string `json:"commit"`
	Version string `json:"version,omitempty"`
}

// EtcReport lists paths below /etc that the merge met, sorted.
type EtcReport struct {
	Taken     []string `json:"taken,omitempty"`     // untouched here: the new default
	Gone      []string `json:"gone,omitempty"`      // untouched here: gone with the default
	Kept      []string `json:"kept,omitempty"`      // changed here; the default stayed as it was
	Conflicts []string `json:"conflicts,omitempty"` // changed here and in the default; the local one stays
}

func etcReport(r deploy.Report) EtcReport {
	return EtcReport{Taken: r.EtcTaken, Gone: r.EtcGone, Kept: r.EtcKept, Conflicts: r.EtcConflicts}
}

// ErrUnsuited is for requests that do not fit the guest: a package that is not layered, a base package.
var ErrUnsuited = errors.New("not possible for this guest")

// CreateOptions say how a guest begins.
type CreateOptions struct {
	Options
	Base     string // REMOTE:REF, or a ref or commit of the state root's repo
	Packages []string
	Local    []manifest.LocalPackage
	Manifest *manifest.Manifest // instead of Base and Packages
}

// Create makes a guest and its first deployment. When it fails, there is no guest.
func Create(ctx context.Context, e Env, name string, o CreateOptions) (Change, error) {
	m := manifest.Manifest{Base: o.Base, Packages: o.Packages, LocalPackages: o.Local}
	if o.Manifest != nil {
		m = *o.Manifest
	}
	if m.Base == "" {
		return Change{}, errors.New("the manifest names no base; say REMOTE:REF")
	}
	if err := deploy.ValidName(name); err != nil {
		return Change{}, err
	}
	lock, err := e.Store.Lock(ctx, false, e.Wait)
	if err != nil {
		return Change{}, err
	}
	defer lock.Release()
	g, err := e.Store.NewGuest(ctx, name)
	if err != nil {
		return Change{Guest: name}, err
	}
	o.Pull = true
	o.LocalFiles = append(o.LocalFiles, o.Edits.files()...)
	var c Change
	if err = o.Edits.apply(&m); err == nil {
		c, err = e.make(ctx, g, m, o.Options)
	}
	if err != nil || o.DryRun {
		if derr := e.Store.DeleteGuest(context.WithoutCancel(ctx), name); derr != nil {
			err = errors.Join(err, fmt.Errorf("clear the unfinished guest: %w", derr))
		}
	}
	return c, err
}

// hold opens a guest to change it: the store's lock shared, the guest's exclusive, in this order.
func (e Env) hold(ctx context.Context, name string) (*deploy.Guest, func(), error) {
	lock, err := e.Store.Lock(ctx, false, e.Wait)
	if err != nil {
		return nil, nil, err
	}
	g, err := e.Store.Guest(name)
	if err != nil {
		lock.Release()
		return nil, nil, err
	}
	own, err := g.Lock(ctx, e.Wait)
	if err != nil {
		lock.Release()
		return nil, nil, err
	}
	return g, func() {
		own.Release()
		lock.Release()
	}, nil
}

// Edit changes a guest's manifest through f and makes what it then says.
func Edit(ctx context.Context, e Env, name string, o Options, f func(*manifest.Manifest) error) (Change, error) {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return Change{}, err
	}
	defer release()
	var late []string
	if !o.DryRun {
		if late, err = e.judge(ctx, g); err != nil {
			return Change{Guest: name}, err
		}
	}
	m, err := Manifest(g)
	if err != nil {
		return Change{}, err
	}
	if err := f(&m); err != nil {
		return Change{}, err
	}
	if err := o.Edits.apply(&m); err != nil {
		return Change{}, err
	}
	o.LocalFiles = append(o.LocalFiles, o.Edits.files()...)
	c, err := e.make(ctx, g, m, o)
	c.Warnings = append(late, c.Warnings...)
	return c, err
}

// Manifest is the manifest of the guest's current deployment.
func Manifest(g *deploy.Guest) (manifest.Manifest, error) {
	d, err := g.Current()
	if err != nil {
		return manifest.Manifest{}, err
	}
	text, err := d.Manifest()
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.Parse(text, "manifest.yaml", compose.HostArch())
	if err != nil {
		return m, fmt.Errorf("guest %s, deployment %d: %w", g.Name(), d.ID, err)
	}
	return m, nil
}

// Upgrade brings a guest to the newest commit of its base and the newest packages that fit it.
func Upgrade(ctx context.Context, e Env, name string, o Options) (Change, error) {
	o.Pull, o.Refresh = true, true
	return Edit(ctx, e, name, o, func(*manifest.Manifest) error { return nil })
}

// Rebase puts a guest on another base.
func Rebase(ctx context.Context, e Env, name, base string, o Options) (Change, error) {
	o.Pull = true
	return Edit(ctx, e, name, o, func(m *manifest.Manifest) error {
		m.Base = base
		return nil
	})
}

// Rollback makes a kept deployment current again: the one given, or the one before the current.
func Rollback(ctx context.Context, e Env, name string, id int) (Change, error) {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return Change{}, err
	}
	defer release()
	from, to, err := rollbackTarget(g, id)
	if err != nil {
		return Change{}, err
	}
	diff, err := e.diffDeployments(from, to)
	if err != nil && e.describe(from).Damaged == "" {
		return Change{}, err
	}
	units, err := activeUnits(ctx, g)
	if err != nil {
		return Change{}, err
	}
	if err := g.SetCurrent(ctx, to.ID); err != nil {
		return Change{}, err
	}
	if err := leave(g, from); err != nil {
		return Change{}, err
	}
	c := Change{
		Guest: name, From: from.ID, To: to.ID, Commit: to.Commit.String(), Packages: diff,
		Base: BaseState{to.BaseRef, to.BaseCommit, to.Version},
	}
	if err := restart(ctx, units); err != nil {
		c.Warnings = append(c.Warnings, err.Error()) // a person asked for this deployment: it stays
	}
	return c, nil
}

// Finalize makes the staged deployment of a guest current. Where none is staged, and a change was killed before its hooks had
// judged what is current, they do so now.
func Finalize(ctx context.Context, e Env, name string) (Change, error) {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return Change{}, err
	}
	defer release()
	to, err := g.Staged()
	if err != nil {
		return Change{}, err
	}
	from, err := g.Current()
	if err != nil {
		return Change{}, err
	}
	if from.Unjudged && (to == nil || to.Stale) {
		return e.finalizeJudged(ctx, g, *from)
	}
	late, err := e.judge(ctx, g)
	if err != nil {
		return Change{}, err
	}
	if to == nil || to.Stale {
		return Change{}, fmt.Errorf("guest %s has no staged deployment that was made from its current one, %d; grove upgrade --stage makes one: %w", name, from.ID, ErrUnsuited)
	}
	diff, err := e.diffDeployments(*from, *to)
	if err != nil {
		return Change{}, err
	}
	h := hooked{guest: g, id: to.ID, from: from.ID, root: to.Root(), image: to.Mount()}
	if judged, err := e.judged(g); err != nil {
		return Change{}, err
	} else if judged {
		if err := g.SetUnjudged(to.ID); err != nil {
			return Change{}, err
		}
	}
	rep, err := g.Finalize(ctx, func() error { return e.runHooks(ctx, hookBefore, h) })
	if err != nil {
		return Change{}, err
	}
	if err := e.checkAfter(ctx, h); err != nil {
		return Change{}, err
	}
	return Change{
		Guest: name, From: from.ID, To: to.ID, Commit: to.Commit.String(), Packages: diff,
		Etc: etcReport(rep), VarFilled: len(rep.VarFilled), Warnings: append(late, rep.EtcNotes...),
		Base: BaseState{to.BaseRef, to.BaseCommit, to.Version},
	}, nil
}

// rollbackTarget finds where to go back to.
func rollbackTarget(g *deploy.Guest, id int) (from, to deploy.Deployment, err error) {
	all, err := g.Deployments()
	if err != nil {
		return from, to, err
	}
	want := id
	if want == 0 {
		if want, err = g.RollbackTarget(); err != nil {
			return from, to, err
		}
	}
	var ids []int
	for _, d := range all {
		ids = append(ids, d.ID)
		if d.Current {
			from = d // perhaps damaged: that is when one goes back
		}
		if d.ID == want {
			to = d
		}
	}
	switch {
	case to.Staged:
		return from, to, fmt.Errorf("deployment %d of guest %s never was current, only staged; grove finalize is for it: %w", id, g.Name(), ErrUnsuited)
	case to.Damaged != "":
		return from, to, errors.New(to.Damaged)
	case id != 0 && id == from.ID:
		return from, to, fmt.Errorf("deployment %d of guest %s is current already: %w", id, g.Name(), ErrUnsuited)
	case to.ID == 0 && id == 0:
		return from, to, fmt.Errorf("guest %s has no deployment before %d to go back to (kept: %v): %w", g.Name(), from.ID, ids, ErrUnsuited)
	case to.ID == 0:
		return from, to, fmt.Errorf("guest %s has no deployment %d (kept: %v): %w", g.Name(), id, ids, ErrUnsuited)
	}
	if err := to.ImagesThere(); err != nil {
		return from, to, fmt.Errorf("deployment %d of guest %s is damaged: images: %w", to.ID, g.Name(), err)
	}
	return from, to, nil
}

// DeleteDeployment removes one deployment that is neither current nor running, a damaged one too.
func DeleteDeployment(ctx context.Context, e Env, name string, id int) error {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	return g.RemoveDeployment(ctx, id)
}

// Loss is what goes with a guest and does not come back.
type Loss struct {
	Guest       string `json:"guest"`
	Deployments int    `json:"deployments"`
	Pinned      int    `json:"pinned"` // of these
	VarBytes    int64  `json:"var_bytes"`
}

// LossOf says what Delete would remove.
func LossOf(e Env, name string) (Loss, error) {
	l := Loss{Guest: name}
	g, err := e.Store.Guest(name)
	if err != nil {
		return l, err
	}
	all, err := g.Deployments()
	if err != nil {
		return l, err
	}
	l.Deployments = len(all)
	for _, d := range all {
		if d.Pinned {
			l.Pinned++
		}
	}
	l.VarBytes, err = g.VarBytes()
	return l, err
}

// Delete removes a guest with all its deployments and its /var.
func Delete(ctx context.Context, e Env, name string) error {
	g, release, err := e.hold(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	switch files, err := machine.HostFiles(g.Dir()); {
	case err != nil:
		return err
	case len(files) > 0:
		return fmt.Errorf("delete %s: this host has %s for it: run grove disable %s first: %w", name, files[0], name, ErrUnsuited)
	}
	return e.Store.DeleteGuest(ctx, name)
}
