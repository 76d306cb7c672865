// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/image"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/solve"
	"grove/internal/tree"
)

// make builds what the manifest says as the guest's next deployment and makes it current. The caller holds
// the locks of store and guest.
func (e Env) make(ctx context.Context, g *deploy.Guest, m manifest.Manifest, o Options) (Change, error) {
	cur, err := currentOrNone(g)
	if err != nil {
		return Change{}, err
	}
	c := Change{Guest: g.Name(), DryRun: o.DryRun}
	if err := checkRepoFiles(o.RepoFiles); err != nil {
		return c, err
	}
	base, previous, err := e.baseOf(ctx, cur, m, o)
	if err != nil {
		return c, err
	}
	if cur != nil {
		c.From = cur.ID
	}
	choice, err := e.Store.ChooseNext(o.Deploy, cur)
	if err != nil {
		return c, err
	}
	if o.Deploy != "" {
		o.kind = choice.Kind
	}
	st, err := g.Stage(ctx)
	if err != nil {
		return c, err
	}
	defer st.Abort()
	lost := cur != nil && e.Store.Repo().IsPartial(cur.Commit)
	res, err := e.compose(ctx, g, cur, m, composeInput{base: base, previous: previous, options: o, staged: st, kind: choice.Kind})
	if err != nil {
		return c, err
	}
	c.Warnings, c.Satisfied, c.Newer, c.Waiting, c.Commit = res.Warnings, res.Satisfied, res.Newer, res.Waiting, res.Commit.String()
	c.Base = BaseState{Ref: base.Ref, Commit: base.Commit.String(), Version: res.Lock.Base.Version}
	if cur != nil && (res.Unchanged || res.Commit == cur.Commit) && o.sameIntent(cur, m) {
		c.Unchanged, c.Commit = true, cur.Commit.String()
		if lost && !e.Store.Repo().IsPartial(cur.Commit) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("what the repository had lost of deployment %d is there again", cur.ID))
		}
		if o.DryRun {
			return c, nil
		}
		_, err := keepRepoFiles(g, o.RepoFiles)
		return c, err
	}
	waiting, err := g.Staged()
	if err != nil {
		return c, err
	}
	if o.Stage && waiting != nil && !waiting.Stale && waiting.Commit == res.Commit && o.sameIntent(waiting, m) {
		c.Unchanged, c.Staged = true, waiting.ID
		return c, nil
	}
	if c.Packages, c.Installed, err = e.packageDiff(cur, res.Commit, res.Lock); err != nil {
		return c, err
	}
	if o.DryRun && o.Pull {
		if err := e.advisories(ctx, g, cur, m, &c, o.RepoFiles); err != nil {
			return c, err
		}
	}
	if o.DryRun {
		return c, nil
	}
	undo, err := keepRepoFiles(g, o.RepoFiles)
	if err != nil {
		return c, err
	}
	if err := layOut(ctx, st, base.Commit, res.Commit, choice); err != nil {
		return c, err
	}
	return e.publish(ctx, g, st, c, o, made{cur, base, m, res, waiting, undo})
}

// made is what a change has come to when the deployment is laid out.
type made struct {
	cur     *deploy.Deployment // nil = the guest is new
	base    compose.Base
	m       manifest.Manifest
	res     compose.Result
	waiting *deploy.Deployment // staged before
	undo    func() error       // of what was kept beside the deployments
}

// publish makes the deployment current, or stages it, and has hooks judge it.
func (e Env) publish(ctx context.Context, g *deploy.Guest, st *deploy.Staged, c Change, o Options, x made) (Change, error) {
	h := hooked{guest: g, id: st.ID, from: c.From, root: st.Root()}
	var err error
	if h.image, err = st.Mount(); err != nil {
		return c, err
	}
	judged, err := e.judged(g)
	if err != nil {
		return c, err
	}
	rep, err := st.Finish(ctx, deploy.Final{
		Judge:  judged && x.cur != nil && !o.Stage,
		Before: func() error { return e.runHooks(ctx, hookBefore, h) },
		Commit: x.res.Commit, Manifest: x.m.Encode(), Lock: x.res.Lock.Encode(), Log: x.res.ScriptLog, Created: e.Now(), Version: x.res.Lock.CommitVersion,
		BaseRef: x.base.Ref, BaseCommit: x.base.Commit, MergeFrom: x.cur, Later: o.Stage && x.cur != nil,
	})
	if err != nil {
		if now, nerr := g.Current(); nerr != nil || now.ID != st.ID { // else only its last sync failed
			err = errors.Join(err, x.undo())
		}
		return c, err
	}
	if o.Stage && x.cur != nil {
		c.Staged = st.ID
		return c, dropStaged(ctx, g, x.waiting)
	}
	now, err := g.Current()
	if err != nil {
		return c, err
	}
	h.root, h.image = now.Root(), now.Mount()
	if err := e.checkAfter(ctx, h); err != nil {
		return c, errors.Join(err, x.undo())
	}
	c.To = st.ID
	c.Etc, c.VarFilled = etcReport(rep), len(rep.VarFilled)
	c.Warnings = append(c.Warnings, rep.EtcNotes...)
	return c, nil
}

// layOut makes of what was composed what the deployment's kind asks for. A checkout is there already.
func layOut(ctx context.Context, st *deploy.Staged, base, commit ostree.Checksum, c deploy.Choice) error {
	if c.Kind == deploy.Composefs {
		return st.LayOut(ctx, base, commit, c)
	}
	st.CheckedOut(c)
	return nil
}

// dropStaged removes a deployment that was staged, in whose place another is now.
func dropStaged(ctx context.Context, g *deploy.Guest, d *deploy.Deployment) error {
	if d == nil || d.Pinned || d.Running() {
		return nil
	}
	return g.RemoveDeployment(ctx, d.ID)
}

// checkRepoFiles refuses what would not be found again: only *.repo files are, each by its name.
func checkRepoFiles(files []string) error {
	seen := map[string]bool{}
	for _, f := range files {
		name := filepath.Base(f)
		if !strings.HasSuffix(name, ".repo") || name == ".repo" {
			return fmt.Errorf("file %s: want a name that ends in .repo", f)
		}
		if seen[name] {
			return fmt.Errorf("file %s: another one is called so too", f)
		}
		seen[name] = true
	}
	return nil
}

// keepRepoFiles copies .repo files that a person gave for this guest beside its deployments. undo takes them back.
func keepRepoFiles(g *deploy.Guest, files []string) (undo func() error, err error) {
	var back []func() error
	undo = func() error {
		var errs []error
		for _, f := range back {
			errs = append(errs, f())
		}
		_ = os.Remove(RepoDir(g)) // only if it is empty now
		return errors.Join(errs...)
	}
	for _, f := range files {
		data, err := readHost(f)
		if err != nil {
			return undo, errors.Join(err, undo())
		}
		if err := durable.MkdirAll(RepoDir(g), 0o755); err != nil {
			return undo, errors.Join(err, undo())
		}
		kept := filepath.Join(RepoDir(g), filepath.Base(f))
		old, oerr := os.ReadFile(kept)
		if oerr == nil && string(old) == string(data) {
			continue
		}
		if oerr == nil {
			back = append(back, func() error { return durable.WriteFile(kept, old, 0o644) })
		} else {
			back = append(back, func() error { return os.RemoveAll(kept) })
		}
		if err := durable.WriteFile(kept, data, 0o644); err != nil {
			return undo, errors.Join(err, undo())
		}
	}
	return undo, nil
}

// sameIntent is true when the manifest says what the deployment's own says, and nobody asked for another kind.
func (o Options) sameIntent(cur *deploy.Deployment, m manifest.Manifest) bool {
	if cur == nil || o.kind != "" && o.kind != cur.Kind {
		return false
	}
	old, err := cur.Manifest()
	return err == nil && string(old) == string(m.Encode())
}

func currentOrNone(g *deploy.Guest) (*deploy.Deployment, error) {
	cur, err := g.Current()
	if errors.Is(err, deploy.ErrNone) {
		return nil, nil
	}
	return cur, err
}

// baseOf finds the commit to build on: a new one from the remote where asked, else the one that the guest stands on.
func (e Env) baseOf(ctx context.Context, cur *deploy.Deployment, m manifest.Manifest, o Options) (compose.Base, *manifest.Lock, error) {
	var previous *manifest.Lock
	if cur != nil {
		text, err := cur.Lockfile()
		if err != nil {
			return compose.Base{}, nil, err
		}
		l, err := manifest.ParseLock(text)
		if err != nil {
			return compose.Base{}, nil, fmt.Errorf("deployment %d: %w", cur.ID, err)
		}
		previous = &l
	}
	if o.Lock != nil {
		c, err := e.lockedBase(ctx, m.Base, *o.Lock)
		return compose.Base{Ref: m.Base, Commit: c}, o.Lock, err
	}
	if cur != nil && !o.Pull && cur.BaseRef == m.Base {
		c, err := ostree.ParseChecksum(cur.BaseCommit)
		if err == nil && e.Store.Repo().IsPartial(c) { // objects of it were lost
			c, err = e.lockedBase(ctx, m.Base, manifest.Lock{Base: manifest.LockedBase{Commit: cur.BaseCommit}})
		}
		return compose.Base{Ref: m.Base, Commit: c}, previous, err
	}
	c, err := e.ResolveBase(ctx, m.Base)
	return compose.Base{Ref: m.Base, Commit: c}, previous, err
}

// lockedBase is the commit that a lock's layers stand on, brought from the base's remote where it is not here.
func (e Env) lockedBase(ctx context.Context, base string, l manifest.Lock) (ostree.Checksum, error) {
	if l.Base.Commit == "" {
		return ostree.Checksum{}, fmt.Errorf("the lock is one of a base tree, not of a guest: it names no base")
	}
	c, err := ostree.ParseChecksum(l.Base.Commit)
	if err != nil {
		return c, fmt.Errorf("lock: base: %w", err)
	}
	r := e.Store.Repo()
	if r.Has(ostree.TypeCommit, c) && !r.IsPartial(c) {
		return c, nil
	}
	spec := l.Base.Commit
	if remote, ref, ok := strings.Cut(base, ":"); ok {
		spec = remote + ":" + ref + "@" + l.Base.Commit
	}
	if e.Offline {
		return c, fmt.Errorf("the lock's base %s is not here: offline: %w", l.Base.Commit, repo.ErrNotFound)
	}
	got, err := e.ResolveBase(ctx, spec)
	if err == nil && got != c {
		err = fmt.Errorf("got commit %s", got)
	}
	if err != nil {
		return c, fmt.Errorf("the lock's base %s: %w", l.Base.Commit, err)
	}
	return c, nil
}

type composeInput struct {
	base     compose.Base
	previous *manifest.Lock
	options  Options
	staged   *deploy.Staged
	kind     deploy.Kind
}

// compose makes the guest's commit and leaves it checked out in the staged root.
func (e Env) compose(ctx context.Context, g *deploy.Guest, cur *deploy.Deployment, m manifest.Manifest, in composeInput) (compose.Result, error) {
	r := e.Store.Repo()
	baseTree, _, err := r.Tree(in.base.Commit)
	if err != nil {
		return compose.Result{}, err
	}
	o := compose.Options{
		Repo: r, CacheDir: e.Store.CacheDir(), Scratch: in.staged.Scratch(), Checkout: in.staged.Root(),
		Ahead:  cur == nil || !in.options.sameIntent(cur, m),
		Client: e.Client, Base: &in.base, Lock: in.options.Lock, Previous: in.previous, LocalFiles: in.options.LocalFiles,
		Newest: in.options.Pull && cur != nil, Refresh: in.options.Refresh, Offline: e.Offline, NoGPGCheck: e.NoGPGCheck, Solve: e.Solve, Progress: e.Progress,
	}
	if in.kind == deploy.Composefs {
		o.Checkout, o.Images = "", e.scratchImages()
	}
	if cur != nil {
		o.Unchanged = func(inputs string) bool {
			return in.previous != nil && in.previous.Inputs == inputs && in.options.sameIntent(cur, m) && !r.IsPartial(cur.Commit)
		}
	}
	v, done, err := e.viewOf(baseTree, cur)
	if err != nil {
		return compose.Result{}, err
	}
	defer done()
	if _, o.Main, err = v.dnfConf(m); err != nil {
		return compose.Result{}, err
	}
	if !in.options.Unprotect {
		if o.Protected, err = v.protected(o.Main); err != nil {
			return compose.Result{}, fmt.Errorf("protected packages: %w", err)
		}
	}
	layered := !compose.Plain(m)
	if layered || in.previous != nil && len(in.previous.Modules) > 0 {
		if o.Modules, err = v.modules(o.Main); err != nil {
			return compose.Result{}, err
		}
		if o.ResetModules, err = modulesReset(cur, m, in.options.Edits); err != nil {
			return compose.Result{}, err
		}
	}
	if layered || streamsStay(o) {
		set, err := e.sources(ctx, g, v, m, in.options.RepoFiles)
		if err != nil {
			return compose.Result{}, err
		}
		o.Sources, o.ReadKey = set.list, set.readKey
		res, err := compose.Run(ctx, m, o)
		if unknown := (*solve.Unknown)(nil); errors.As(err, &unknown) && !set.enabled(m) {
			err = fmt.Errorf("%w: %w", ErrNoSources, err)
		}
		return res, err
	}
	return e.bare(ctx, cur, in.options.sameIntent(cur, m), o)
}

// scratchImages are what scriptlets see trees by; nil where this host can not show them so.
func (e Env) scratchImages() *image.Store {
	if images := e.Store.Images(); images.SupportScratch() == nil {
		return images
	}
	return nil
}

// bare is a guest without layers: its commit is the base's own.
func (e Env) bare(ctx context.Context, cur *deploy.Deployment, same bool, o compose.Options) (compose.Result, error) {
	if o.Lock != nil && len(o.Lock.Packages)+len(o.Lock.Removed) > 0 {
		return compose.Result{}, fmt.Errorf("the lock has %d packages, and the manifest asks for none: %w", len(o.Lock.Packages), ErrUnsuited)
	}
	commit, err := o.Repo.Commit(o.Base.Commit)
	if err != nil {
		return compose.Result{}, err
	}
	version := compose.CommitVersion(commit)
	res := compose.Result{Commit: o.Base.Commit, Root: tree.Root{Tree: commit.Tree, Meta: commit.Meta}}
	res.Lock = manifest.Lock{
		Version: manifest.LockVersion, Timestamp: int64(commit.Timestamp), CommitVersion: version,
		Base: manifest.LockedBase{Ref: o.Base.Ref, Commit: o.Base.Commit.String(), Version: version},
	}
	if o.Previous != nil {
		if err := checkDropped(o); err != nil {
			return res, err
		}
		res.Lock.Users, res.Lock.Groups = o.Previous.Users, o.Previous.Groups
	}
	if same && cur.Commit == o.Base.Commit {
		res.Unchanged = true
		return res, nil
	}
	if o.Checkout == "" {
		return res, nil
	}
	return res, compose.CheckOut(ctx, o.Repo, res.Root, o.Checkout)
}

// checkDropped refuses to let go of protected packages that were layered before.
func checkDropped(o compose.Options) error {
	if o.Newest {
		return nil
	}
	back := map[string]bool{} // base packages that come back in the place of others of their name
	for _, s := range o.Previous.Removed {
		back[nevraName(s)] = true
	}
	var gone []rpm.NEVRA
	for _, p := range o.Previous.Packages {
		if n, err := rpm.ParseNEVRA(p.NEVRA); err == nil && !back[n.Name] {
			gone = append(gone, n)
		}
	}
	return compose.CheckProtected(o.Protected, gone)
}
