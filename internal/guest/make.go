// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/manifest"
	"grove/internal/ostree"
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
	base, previous, err := e.baseOf(ctx, cur, m, o)
	if err != nil {
		return c, err
	}
	if cur != nil {
		c.From = cur.ID
	}
	if o.Lock != nil {
		previous = o.Lock
	}
	st, err := g.Stage(ctx)
	if err != nil {
		return c, err
	}
	defer st.Abort()
	res, err := e.compose(ctx, g, cur, m, composeInput{base: base, previous: previous, options: o, staged: st})
	if err != nil {
		return c, err
	}
	c.Warnings, c.Satisfied, c.Newer, c.Commit = res.Warnings, res.Satisfied, res.Newer, res.Commit.String()
	c.Base = BaseState{Ref: base.Ref, Commit: base.Commit.String(), Version: res.Lock.Base.Version}
	if cur != nil && (res.Unchanged || res.Commit == cur.Commit) && o.sameIntent(cur, m) {
		c.Unchanged, c.Commit = true, cur.Commit.String()
		return c, nil
	}
	if c.Packages, c.Installed, err = packageDiff(cur, st, res.Lock); err != nil {
		return c, err
	}
	if o.DryRun {
		return c, nil
	}
	if err := keepRepoFiles(g, o.RepoFiles); err != nil {
		return c, err
	}
	rep, err := st.Finish(ctx, deploy.Final{
		Commit: res.Commit, Manifest: m.Encode(), Lock: res.Lock.Encode(), Created: e.Now(), Version: res.Lock.CommitVersion,
		BaseRef: base.Ref, BaseCommit: base.Commit, MergeFrom: cur,
	})
	if err != nil {
		return c, err
	}
	c.To = st.ID
	c.Etc = EtcReport{Kept: rep.EtcKept, Conflicts: rep.EtcConflicts}
	c.VarFilled = len(rep.VarFilled)
	return c, nil
}

// keepRepoFiles copies .repo files that a person gave for this guest beside its deployments.
func keepRepoFiles(g *deploy.Guest, files []string) error {
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := durable.MkdirAll(RepoDir(g), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(RepoDir(g), filepath.Base(f)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sameIntent is true when the manifest says what the deployment's own says.
func (o Options) sameIntent(cur *deploy.Deployment, m manifest.Manifest) bool {
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
	if cur != nil && !o.Pull && cur.BaseRef == m.Base {
		c, err := ostree.ParseChecksum(cur.BaseCommit)
		return compose.Base{Ref: m.Base, Commit: c}, previous, err
	}
	c, err := e.ResolveBase(ctx, m.Base)
	return compose.Base{Ref: m.Base, Commit: c}, previous, err
}

type composeInput struct {
	base     compose.Base
	previous *manifest.Lock
	options  Options
	staged   *deploy.Staged
}

// compose makes the guest's commit and leaves it checked out in the staged root.
func (e Env) compose(ctx context.Context, g *deploy.Guest, cur *deploy.Deployment, m manifest.Manifest, in composeInput) (compose.Result, error) {
	r := e.Store.Repo()
	baseTree, _, err := r.Tree(in.base.Commit)
	if err != nil {
		return compose.Result{}, err
	}
	layered := len(m.Packages) > 0 || len(m.LocalPackages) > 0 || len(m.Overrides.Remove) > 0 || len(m.Overrides.Replace) > 0
	o := compose.Options{
		Repo: r, CacheDir: e.Store.CacheDir(), Scratch: in.staged.Scratch(), Checkout: in.staged.Root(),
		Client: e.Client, Base: &in.base, Lock: in.options.Lock, Previous: in.previous, LocalFiles: in.options.LocalFiles,
		Newest: in.options.Pull && cur != nil, Refresh: in.options.Refresh, Offline: e.Offline, NoGPGCheck: e.NoGPGCheck, Solve: e.Solve, Progress: e.Progress,
	}
	if cur != nil {
		o.Unchanged = func(inputs string) bool {
			return in.previous != nil && in.previous.Inputs == inputs && in.options.sameIntent(cur, m)
		}
	}
	if layered {
		v := view{r: r, base: baseTree, cur: cur}
		if o.Sources, o.ReadKey, err = e.sources(ctx, g, v, m, in.options.RepoFiles); err != nil {
			return compose.Result{}, err
		}
		return compose.Run(ctx, m, o)
	}
	return e.bare(ctx, cur, baseTree, o)
}

// bare is a guest without layers: its commit is the base's own.
func (e Env) bare(ctx context.Context, cur *deploy.Deployment, t *tree.Tree, o compose.Options) (compose.Result, error) {
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
		res.Lock.Users, res.Lock.Groups = o.Previous.Users, o.Previous.Groups
	}
	if cur != nil && cur.Commit == o.Base.Commit {
		res.Unchanged = true
		return res, nil
	}
	return res, compose.CheckOut(ctx, o.Repo, res.Root, o.Checkout)
}
