// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/rpmmd"
	"grove/internal/trust"
)

// maxAddedFile bounds a file that a manifest adds to a tree: it is held in memory, and larger ones belong into packages.
const maxAddedFile = 256 << 20

// ComposeOptions say what to make a base tree of and where to put it.
type ComposeOptions struct {
	Manifest   string // the treefile; .repo files of its folder define the sources
	Repo       string // "" = the state root's repo
	Lock       string // a lock to follow
	WriteLock  string
	NoGPGCheck bool
	Refresh    bool
	Force      bool
	// Signers sign the commit and, of a repository that others pull from, its summary.
	Signers []trust.Signer
}

// Composed is what a compose made.
type Composed struct {
	Ref       string   `json:"ref"`
	Commit    string   `json:"commit"`
	Version   string   `json:"version,omitempty"`
	Packages  int      `json:"packages"`
	Unchanged bool     `json:"unchanged"`
	Warnings  []string `json:"warnings,omitempty"`
}

// Compose makes a base tree from a treefile and commits it to a repository.
func Compose(ctx context.Context, e Env, o ComposeOptions) (Composed, error) {
	dir := filepath.Dir(o.Manifest)
	m, err := manifest.Load(os.DirFS(dir), filepath.Base(o.Manifest), compose.HostArch())
	if err != nil {
		return Composed{}, err
	}
	if m.Ref == "" {
		return Composed{}, fmt.Errorf("%s: key ref is missing: it names what the tree is committed as", o.Manifest)
	}
	if m.Base != "" {
		return Composed{}, fmt.Errorf("%s: has base:, so it is a guest's; say grove apply NAME %s", o.Manifest, o.Manifest)
	}
	out := Composed{Ref: m.Ref}
	lock, err := e.Store.Lock(ctx, false, e.Wait)
	if err != nil {
		return out, err
	}
	defer lock.Release()
	target, err := e.target(o.Repo)
	if err != nil {
		return out, err
	}
	co, done, err := e.composeOptions(ctx, m, dir, o, target)
	if err != nil {
		return out, err
	}
	defer done()
	res, err := compose.Run(ctx, m, co)
	if err := errors.Join(err, e.keepLog(m.Ref, res.ScriptLog)); err != nil {
		return out, err
	}
	out.Warnings, out.Unchanged, out.Packages = res.Warnings, res.Unchanged, len(res.Lock.Packages)
	if res.Unchanged {
		if res.Commit, err = e.unchanged(target, m.Ref, &res.Lock); err != nil {
			return out, err
		}
	}
	out.Commit = res.Commit.String()
	if err := publish(ctx, e.Store.Repo(), target, m.Ref, res, o.Signers); err != nil {
		return out, fmt.Errorf("commit to %s: %w", target.Path(), err)
	}
	out.Version = res.Lock.CommitVersion
	if o.WriteLock == "" {
		return out, nil
	}
	return out, durable.WriteFile(o.WriteLock, res.Lock.Encode(), 0o644)
}

// composeLog is where the state root keeps what the scriptlets of the last compose of a ref said.
func (e Env) composeLog(ref string) string {
	return filepath.Join(e.Store.Root(), "logs", "compose", filepath.FromSlash(ref)+".log")
}

func (e Env) keepLog(ref string, text []byte) error {
	if len(text) == 0 {
		return nil // nothing was made
	}
	path := e.composeLog(ref)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, text, 0o644)
}

// LogOfCompose is what the scriptlets of a ref's last compose in this state root ran and printed, also where it failed.
//
//	errors  fs.ErrNotExist: there was none
func LogOfCompose(e Env, ref string) (ScriptLog, error) {
	if err := ostree.CheckRefName(ref); err != nil {
		return ScriptLog{}, err
	}
	text, err := os.ReadFile(e.composeLog(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return ScriptLog{}, fmt.Errorf("no compose of %q has run scriptlets in %s: %w", ref, e.Store.Root(), fs.ErrNotExist)
	}
	return ScriptLog{Ref: ref, Text: string(text)}, err
}

// unchanged completes the lock of a run that had nothing to do from the commit that is there.
func (e Env) unchanged(target *repo.Repo, ref string, l *manifest.Lock) (ostree.Checksum, error) {
	sum, err := target.Resolve(ref)
	if err != nil {
		return sum, err
	}
	old, err := target.Commit(sum)
	if err != nil {
		return sum, err
	}
	l.CommitVersion = compose.CommitVersion(old)
	if !old.Parent.IsZero() {
		l.Parent = old.Parent.String()
	}
	l.Users, l.Groups = compose.LockedIDs(old)
	return sum, nil
}

// target opens the repository to commit to, made where there is none.
func (e Env) target(dir string) (*repo.Repo, error) {
	if dir == "" {
		return e.Store.Repo(), nil
	}
	r, err := repo.Open(dir)
	if errors.Is(err, repo.ErrNotFound) {
		return repo.Init(dir, repo.Archive)
	}
	return r, err
}

// composeOptions gathers what compose needs: sources of the manifest's folder, the lock, the parent.
func (e Env) composeOptions(ctx context.Context, m manifest.Manifest, dir string, o ComposeOptions, target *repo.Repo) (compose.Options, func(), error) {
	none := func() {}
	co := compose.Options{
		Repo: e.Store.Repo(), CacheDir: e.Store.CacheDir(), Client: e.Client, Ref: m.Ref, Refresh: o.Refresh, Offline: e.Offline,
		NoGPGCheck: o.NoGPGCheck, Solve: e.Solve, Progress: e.Progress,
	}
	if kind, err := e.Store.Choose(""); err == nil && kind.Kind == deploy.Composefs {
		co.Images = e.scratchImages()
	}
	co.ReadFile = func(name string) ([]byte, error) { return readIn(dir, name, maxAddedFile) }
	co.ReadKey = func(u string) ([]byte, error) { return e.readHostKey(ctx, u) }
	var err error
	if co.Sources, err = folderSources(dir, m); err != nil {
		return co, none, err
	}
	if o.Lock != "" {
		text, err := os.ReadFile(o.Lock)
		if err != nil {
			return co, none, err
		}
		l, err := manifest.ParseLock(text)
		if err != nil {
			return co, none, fmt.Errorf("%s: %w", o.Lock, err)
		}
		co.Lock = &l
	}
	tip, err := target.Resolve(m.Ref)
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return co, none, err
	}
	if err == nil {
		old, err := target.Commit(tip)
		if err != nil {
			return co, none, err
		}
		users, groups := compose.LockedIDs(old)
		co.Parent, co.Previous = tip, &manifest.Lock{Users: users, Groups: groups}
		if !o.Force {
			co.Unchanged = func(inputs string) bool {
				return inputs == compose.Inputs(old) && (co.Lock == nil || old.Parent == co.Parent)
			}
		}
	}
	if co.Lock != nil { // the very commit that it was written for
		co.Parent = ostree.Checksum{}
		if co.Lock.Parent != "" {
			if co.Parent, err = ostree.ParseChecksum(co.Lock.Parent); err != nil {
				return co, none, fmt.Errorf("%s: parent: %w", o.Lock, err)
			}
		}
	}
	var done func()
	co.Scratch, done, err = e.scratch(ctx)
	return co, done, err
}

// scratch makes a working folder on the repo's file system. One compose works at a time in a state root;
// what a killed one left is cleared by the next.
func (e Env) scratch(ctx context.Context) (string, func(), error) {
	dir := filepath.Join(e.Store.CacheDir(), "work")
	if err := durable.MkdirAll(e.Store.CacheDir(), 0o755); err != nil {
		return "", nil, err
	}
	lock, err := durable.Acquire(ctx, dir+".lock", true, e.Wait)
	if err != nil {
		return "", nil, fmt.Errorf("another compose in this state root: %w", err)
	}
	err = durable.RemoveAll(dir)
	if err == nil {
		err = durable.MkdirAll(dir, 0o700)
	}
	if err != nil {
		lock.Release()
		return "", nil, err
	}
	return dir, func() {
		os.RemoveAll(dir)
		lock.Release()
	}, nil
}

// publish signs a commit of the work repo and puts it into the repository that others pull from, with its summary. It makes
// good what a run that was killed left undone: nobody sees a ref before its signatures.
func publish(ctx context.Context, from, to *repo.Repo, ref string, res compose.Result, signers []trust.Signer) error {
	own := from.Path() == to.Path()
	if res.Unchanged {
		from = to
	}
	if err := from.SignMissing(ctx, res.Commit, signers); err != nil {
		return err
	}
	if !res.Unchanged {
		if err := from.SetRef(ref, res.Commit); err != nil {
			return err
		}
		if !own {
			if _, err := pull.Local(ctx, to, from.Path(), "", []string{ref}, pull.Options{}); err != nil {
				return err
			}
		}
	}
	if own {
		return nil
	}
	if res.Unchanged && summaryHas(to, ref, res.Commit) && (len(signers) == 0 || to.SummarySigned()) {
		return nil
	}
	return to.UpdateSummary(ctx, repo.SummaryOptions{Signers: signers})
}

func summaryHas(r *repo.Repo, ref string, c ostree.Checksum) bool {
	s, _, err := r.ReadSummary()
	if err != nil {
		return false
	}
	have, ok := s.Lookup(ref)
	return ok && have.Commit == c
}

// folderSources reads the .repo files beside a manifest.
func folderSources(dir string, m manifest.Manifest) ([]rpmmd.Source, error) {
	list, err := filepath.Glob(filepath.Join(dir, "*.repo"))
	if err != nil {
		return nil, err
	}
	sort.Strings(list)
	vars := rpmmd.NewVars(m.Releasever, compose.HostArch())
	for k, v := range m.RepoVars {
		vars[k] = v
	}
	var out []rpmmd.Source
	for _, f := range list {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sources, _, err := rpmmd.ParseRepoFile(data, vars)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out = append(out, sources...)
	}
	return out, nil
}

// SortedKeys gives a map's keys in order.
func SortedKeys[V any](m map[string]V) []string { return sorted(m) }

// readHostKey reads a key that a .repo file beside a manifest names: those files speak of this machine.
func (e Env) readHostKey(ctx context.Context, u string) ([]byte, error) {
	if !strings.Contains(u, "://") {
		return readHost(u)
	}
	return e.Client.Get(ctx, u, maxRepoFile)
}
