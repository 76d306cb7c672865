// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// Status is what `grove status --json` prints of a guest; its names are a contract.
type Status struct {
	Name         string       `json:"name"`
	Base         BaseState    `json:"base"`
	Requested    []string     `json:"requested"`
	Local        []string     `json:"local,omitempty"`         // nevra of packages given as files
	Removed      []string     `json:"removed,omitempty"`       // overrides: base packages taken out
	Replaced     []string     `json:"replaced,omitempty"`      // overrides: base packages in another version
	Overrides    []Replaced   `json:"overrides,omitempty"`     // what came of each of Replaced
	Excluded     []string     `json:"excluded,omitempty"`      // must not come in
	VersionLocks []string     `json:"version_locks,omitempty"` // stay at a version
	ReplaceFiles []string     `json:"replace_files,omitempty"` // packages whose files may take the place of others'
	NoWeakDeps   bool         `json:"no_weak_deps,omitempty"`
	Deployments  []Deployment `json:"deployments"`       // newest first
	Damaged      string       `json:"damaged,omitempty"` // why there is no current deployment
}

// Deployment is one of a guest's, as status shows it.
type Deployment struct {
	ID       int       `json:"id"`
	Commit   string    `json:"commit"`
	Version  string    `json:"version"`
	Created  time.Time `json:"created"`
	Current  bool      `json:"current"`
	Pinned   bool      `json:"pinned"`
	Running  bool      `json:"running"`
	Staged   bool      `json:"staged,omitempty"`   // grove finalize makes it current
	Unjudged bool      `json:"unjudged,omitempty"` // current, and the hooks that judge it did not get to their end
	Packages int       `json:"packages"`
	Layered  []string  `json:"layered"`
	BaseRef  string    `json:"base_ref"`
	Kind     string    `json:"kind,omitempty"`    // checkout or composefs
	Why      string    `json:"why,omitempty"`     // why it is of that kind
	Sealed   bool      `json:"sealed,omitempty"`  // the kernel verifies every file with fs-verity
	Damaged  string    `json:"damaged,omitempty"` // why it can not be read or used as it is

	Bytes *deploy.Usage `json:"bytes,omitempty"` // set by Measure
}

// List gives the status of every guest, by name.
func List(e Env) ([]Status, error) {
	names, err := e.Store.Guests()
	if err != nil {
		return nil, err
	}
	e.seen = map[ostree.Checksum][]rpm.NEVRA{}
	out := make([]Status, 0, len(names))
	for _, n := range names {
		s, err := StatusOf(e, n)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// StatusOf gives the status of one guest.
func StatusOf(e Env, name string) (Status, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return Status{}, err
	}
	m, err := Manifest(g)
	var why string
	if err != nil {
		why = err.Error()
	}
	s := Status{Name: name, Requested: append([]string{}, m.Packages...), Removed: m.Overrides.Remove}
	for _, l := range m.LocalPackages {
		s.Local = append(s.Local, l.NEVRA)
	}
	for _, l := range m.Overrides.Replace {
		s.Replaced = append(s.Replaced, l.NEVRA)
	}
	s.Excluded, s.VersionLocks, s.ReplaceFiles, s.NoWeakDeps = m.ExcludePackages, m.VersionLocks, m.ReplaceFiles, !m.WantRecommends()
	all, err := g.Deployments()
	if err != nil {
		return s, err
	}
	for _, d := range all {
		out := e.describe(d)
		if d.Current {
			s.Base = BaseState{Ref: m.Base, Commit: d.BaseCommit, Version: d.Version}
			if l, err := lockOf(d); err == nil {
				s.Overrides = replaced(m.Overrides.Replace, l)
			}
			if m.Base == "" {
				s.Base.Ref = d.BaseRef
			}
			if out.Damaged == "" {
				out.Damaged = why
			}
		}
		s.Deployments = append(s.Deployments, out)
	}
	if !slices.ContainsFunc(s.Deployments, func(d Deployment) bool { return d.Current }) {
		s.Damaged = why
	}
	sort.Slice(s.Deployments, func(i, j int) bool { return s.Deployments[i].ID > s.Deployments[j].ID })
	return s, nil
}

// Measure adds to each deployment the room that it takes on disk. Where objects are damaged it adds nothing: fsck tells.
func Measure(ctx context.Context, e Env, list []Status) error {
	var names []string
	for _, s := range list {
		for _, d := range s.Deployments {
			names = append(names, fmt.Sprintf("%s/%d", s.Name, d.ID))
		}
	}
	usage, err := e.Store.Usage(ctx, names)
	if err != nil {
		return ctx.Err()
	}
	for _, s := range list {
		for i := range s.Deployments {
			u := usage[fmt.Sprintf("%s/%d", s.Name, s.Deployments[i].ID)]
			s.Deployments[i].Bytes = &u
		}
	}
	return nil
}

// SetRule changes the rule of a guest, or with "" that of all guests, through f.
func SetRule(ctx context.Context, e Env, name string, f func(*deploy.Rule)) (deploy.Rule, error) {
	lock, err := e.Store.Lock(ctx, true, e.Wait)
	if err != nil {
		return deploy.Rule{}, err
	}
	defer lock.Release()
	r, err := RuleOf(e, name)
	if err != nil {
		return r, err
	}
	f(&r)
	return r, e.Store.SetRule(name, r)
}

// RuleOf is the rule that was set for a guest, or with "" for all guests.
func RuleOf(e Env, name string) (deploy.Rule, error) {
	if name != "" {
		if _, err := e.Store.Guest(name); err != nil {
			return deploy.Rule{}, err
		}
	}
	return e.Store.Rule(name)
}

// describe says of a deployment what can be read of it; Damaged says what can not.
func (e Env) describe(d deploy.Deployment) Deployment {
	out := Deployment{
		ID: d.ID, Commit: d.Commit.String(), Version: d.Version, Created: d.Created.UTC().Truncate(time.Second), Current: d.Current,
		Pinned: d.Pinned, Running: d.Running(), Staged: d.Staged && !d.Stale, BaseRef: d.BaseRef, Layered: []string{}, Damaged: d.Damaged,
		Kind: string(d.Kind), Why: d.Why, Sealed: d.Sealed, Unjudged: d.Unjudged,
	}
	if d.Damaged != "" {
		return out
	}
	l, err := lockOf(d)
	if err != nil {
		out.Damaged = fmt.Sprintf("lock.json: %v", err)
	}
	for _, p := range l.Packages {
		out.Layered = append(out.Layered, p.NEVRA)
	}
	if err := d.ImagesThere(); err != nil && out.Damaged == "" {
		out.Damaged = fmt.Sprintf("images: %v", err)
	}
	installed, err := e.installed(d)
	if err == nil && len(installed) == 0 {
		err = e.wantsNoPackages(d)
	}
	if err != nil && out.Damaged == "" {
		out.Damaged = fmt.Sprintf("packages: %v", err)
	}
	out.Packages = len(installed)
	return out
}

// wantsNoPackages is for a deployment without a database of packages: an error where its commit has one.
func (e Env) wantsNoPackages(d deploy.Deployment) error {
	t, _, err := e.Store.Repo().Tree(d.Commit)
	if err != nil {
		return err
	}
	for _, place := range compose.RpmdbPlaces() {
		for _, file := range []string{"Packages", "Packages.db", "rpmdb.sqlite"} {
			if _, found, err := t.Lookup(place + "/" + file); err == nil && found {
				return fmt.Errorf("there are none in /%s, and commit %.12s has some", place, d.Commit)
			}
		}
	}
	return nil
}

// againstBase compares a deployment with the base it stands on.
func (e Env) againstBase(d *deploy.Deployment) (*tree.Tree, PackageDiff, error) {
	c, err := ostree.ParseChecksum(d.BaseCommit)
	if err != nil {
		return nil, PackageDiff{}, err
	}
	t, _, err := e.Store.Repo().Tree(c)
	if err != nil {
		return nil, PackageDiff{}, err
	}
	have, err := e.installed(*d)
	if err != nil {
		return nil, PackageDiff{}, err
	}
	text, err := d.Lockfile()
	if err != nil {
		return nil, PackageDiff{}, err
	}
	l, err := manifest.ParseLock(text)
	if err != nil {
		return nil, PackageDiff{}, err
	}
	return t, diffPackages(baseOf(have, l), have), nil
}

// baseOf takes back what a lock says was done to the base.
func baseOf(have []rpm.NEVRA, l manifest.Lock) []rpm.NEVRA {
	layered := map[string]bool{}
	for _, p := range l.Packages {
		layered[p.NEVRA] = true
	}
	var base []rpm.NEVRA
	for _, n := range have {
		if !layered[n.String()] {
			base = append(base, n)
		}
	}
	for _, r := range l.Removed {
		if n, err := rpm.ParseNEVRA(r); err == nil {
			base = append(base, n)
		}
	}
	return base
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
