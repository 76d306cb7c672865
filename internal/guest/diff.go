// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"os"
	"path/filepath"
	"sort"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
	"grove/internal/tree"
)

// PackageDiff is the difference of two sets of installed packages, each list sorted by name.
type PackageDiff struct {
	Added      []string        `json:"added,omitempty"`   // nevra
	Removed    []string        `json:"removed,omitempty"` // nevra
	Upgraded   []VersionChange `json:"upgraded,omitempty"`
	Downgraded []VersionChange `json:"downgraded,omitempty"`
}

// VersionChange is one package that is there in another version.
type VersionChange struct {
	Name string `json:"name"`
	From string `json:"from"` // [epoch:]version-release
	To   string `json:"to"`
}

// Empty is true when nothing differs.
func (d PackageDiff) Empty() bool {
	return len(d.Added)+len(d.Removed)+len(d.Upgraded)+len(d.Downgraded) == 0
}

// FileChange is one path that differs between two trees.
type FileChange struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // added, removed, modified
}

// installedHeaders are the headers of a root's rpmdb; none where there is no rpmdb.
func installedHeaders(root string) ([]*rpm.Header, error) {
	for _, place := range compose.RpmdbPlaces() {
		dir, ok := ownDir(root, place)
		if !ok {
			continue
		}
		h, err := rpmdb.Read(dir)
		if errors.Is(err, rpmdb.ErrNone) {
			continue
		}
		return h, err
	}
	return nil, nil
}

// ownDir is a directory of a root, if it is one without a link on the way or in it: the guest would follow a link
// from its own root, and here it would lead to the host's files. Where a link is, another place of the list is meant.
func ownDir(root, place string) (string, bool) {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", false
	}
	dir := filepath.Join(real, place)
	if at, err := filepath.EvalSymlinks(dir); err != nil || at != dir {
		return "", false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false
	}
	for _, e := range entries {
		if !e.Type().IsRegular() && !e.IsDir() {
			return "", false
		}
	}
	return dir, true
}

// packageDiff compares the staged deployment with the current one; that of a new guest with its base. It counts
// what is installed.
func (e Env) packageDiff(cur *deploy.Deployment, commit ostree.Checksum, l manifest.Lock) (PackageDiff, int, error) {
	now, err := e.installedIn(commit)
	if err != nil {
		return PackageDiff{}, 0, err
	}
	if cur == nil {
		return diffPackages(baseOf(now, l), now), len(now), nil
	}
	before, err := e.installed(*cur)
	return diffPackages(before, now), len(now), err
}

// diffPackages pairs packages by name, and by architecture where a name is there in several. Where both are there
// several times on a side (kernels), each version counts for itself.
func diffPackages(a, b []rpm.NEVRA) PackageDiff {
	var d PackageDiff
	am, bm := byKey(a, nameOnly), byKey(b, nameOnly)
	for name := range bm {
		if am[name] == nil {
			am[name] = []rpm.NEVRA{}
		}
	}
	for _, name := range sorted(am) {
		olds, news := am[name], bm[name]
		if len(olds) == 1 && len(news) == 1 {
			d.pair(olds[0], news[0])
			continue
		}
		oldArch, newArch := byKey(olds, archOnly), byKey(news, archOnly)
		for arch := range newArch {
			if oldArch[arch] == nil {
				oldArch[arch] = []rpm.NEVRA{}
			}
		}
		for _, arch := range sorted(oldArch) {
			o, n := oldArch[arch], newArch[arch]
			if len(o) == 1 && len(n) == 1 {
				d.pair(o[0], n[0])
				continue
			}
			d.Removed = append(d.Removed, without(o, n)...)
			d.Added = append(d.Added, without(n, o)...)
		}
	}
	sort.Strings(d.Added)
	sort.Strings(d.Removed)
	return d
}

func nameOnly(n rpm.NEVRA) string { return n.Name }
func archOnly(n rpm.NEVRA) string { return n.Arch }

func byKey(list []rpm.NEVRA, key func(rpm.NEVRA) string) map[string][]rpm.NEVRA {
	m := map[string][]rpm.NEVRA{}
	for _, n := range list {
		m[key(n)] = append(m[key(n)], n)
	}
	return m
}

// pair enters what became of a package that both sides have once.
func (d *PackageDiff) pair(from, to rpm.NEVRA) {
	change := VersionChange{to.Name, from.EVR.String(), to.EVR.String()}
	switch c := to.EVR.Compare(from.EVR); {
	case c > 0:
		d.Upgraded = append(d.Upgraded, change)
	case c < 0:
		d.Downgraded = append(d.Downgraded, change)
	case from.Arch != to.Arch:
		d.Removed, d.Added = append(d.Removed, from.String()), append(d.Added, to.String())
	}
}

// without are the packages of list that others lacks.
func without(list, others []rpm.NEVRA) []string {
	have := map[string]bool{}
	for _, n := range others {
		have[n.String()] = true
	}
	var out []string
	for _, n := range list {
		if !have[n.String()] {
			out = append(out, n.String())
		}
	}
	return out
}

// Diff is the difference of two deployments.
type Diff struct {
	Guest    string       `json:"guest"`
	From     int          `json:"from"` // 0 = the base
	To       int          `json:"to"`
	Packages PackageDiff  `json:"packages"`
	Files    []FileChange `json:"files,omitempty"`
	Etc      []FileChange `json:"etc,omitempty"` // local changes of the newer side against its own defaults

	Changelogs []Changelog `json:"changelogs,omitempty"` // set by AddChangelogs
}

// Compare gives the difference of two deployments, packages and files. With from 0 the newer one is
// compared with the deployment before it, or with its base where there is none. packagesOnly leaves files and /etc out.
func Compare(e Env, name string, from, to int, packagesOnly bool) (Diff, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return Diff{}, err
	}
	b, err := pickDeployment(g, to)
	if err != nil {
		return Diff{}, err
	}
	d := Diff{Guest: name, To: b.ID}
	r := e.Store.Repo()
	newer, _, err := r.Tree(b.Commit)
	if err != nil {
		return d, err
	}
	var older *tree.Tree
	a, err := before(g, b, from)
	switch {
	case err != nil:
		return d, err
	case a != nil:
		d.From = a.ID
		if older, _, err = r.Tree(a.Commit); err != nil {
			return d, err
		}
		if d.Packages, err = e.diffDeployments(*a, *b); err != nil {
			return d, err
		}
	default:
		if older, d.Packages, err = e.againstBase(b); err != nil {
			return d, err
		}
	}
	if packagesOnly {
		return d, nil
	}
	changes, err := tree.Diff(older, newer)
	if err != nil {
		return d, err
	}
	d.Files = fileChanges(changes)
	etc, err := e.Store.EtcDiff(*b)
	if err != nil {
		return d, err
	}
	for _, c := range etc {
		d.Etc = append(d.Etc, FileChange{Path: "/etc/" + c.Path, Kind: c.Kind.String()})
	}
	return d, nil
}

// AddChangelogs adds what the changelogs of the packages say that differ; against a base there is nothing to add.
func (d *Diff) AddChangelogs(e Env) error {
	if d.From == 0 {
		return nil
	}
	g, err := e.Store.Guest(d.Guest)
	if err != nil {
		return err
	}
	a, err := g.Deployment(d.From)
	if err != nil {
		return err
	}
	b, err := g.Deployment(d.To)
	if err != nil {
		return err
	}
	d.Changelogs, err = e.changelogs(*a, *b)
	return err
}

func pickDeployment(g *deploy.Guest, id int) (*deploy.Deployment, error) {
	if id == 0 {
		return g.Current()
	}
	return g.Deployment(id)
}

// before is the deployment to compare with: the one asked for, or the one that it was made from, or the newest
// older one that is kept; nil = none.
func before(g *deploy.Guest, b *deploy.Deployment, id int) (*deploy.Deployment, error) {
	if id != 0 {
		return g.Deployment(id)
	}
	all, err := g.Deployments()
	if err != nil {
		return nil, err
	}
	return madeFrom(all, *b), nil
}

// madeFrom is of all, the oldest first, the deployment that b was made from, where that is kept no more the newest older
// one; nil = none.
func madeFrom(all []deploy.Deployment, b deploy.Deployment) *deploy.Deployment {
	var found *deploy.Deployment
	for i := range all {
		if all[i].ID < b.ID && (found == nil || found.ID != b.From) {
			found = &all[i]
		}
	}
	return found
}

func fileChanges(changes []tree.Change) []FileChange {
	var out []FileChange
	for _, c := range changes {
		kind := "modified"
		switch c.Kind {
		case tree.Added:
			kind = "added"
		case tree.Removed:
			kind = "removed"
		}
		out = append(out, FileChange{Path: "/" + c.Path, Kind: kind})
	}
	return out
}
