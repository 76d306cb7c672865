// SPDX-License-Identifier: Apache-2.0

// Package mirror keeps copies of upstreams on this site: OSTree remotes and the rpm-md sources that guests use.
//
// A mirror is a folder. ostree/NAME is an archive repository whose one remote is called upstream; rpm/ID is a source with
// its packages, and sources.d holds the .repo files that name the sources. What is signed upstream is kept byte for byte, so that
// clients verify it as from there. It serves nothing: any web server can, and clients on this machine read the folder.
//
// Order: what a summary or repomd.xml names is on disk before the file that names it, and is removed only after it. So a client
// sees the old or the new state, whatever ends an update.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/rpmmd"
)

// DeltasKey is the key of a remote's group that says whether its static deltas are mirrored too. It is grove's own.
const DeltasKey = "mirror-static-deltas"

// remoteName is what the upstream of a mirrored repository is called in its configuration.
const remoteName = "upstream"

// Options of Update.
type Options struct {
	Names   []string // only these repositories and sources; nil = all
	Depth   int      // how many parents of each commit
	Prune   bool     // remove what no ref and no repomd.xml names any more
	Client  *fetch.Client
	Offline bool
	Vars    rpmmd.Vars // what $releasever and its like stand for in .repo files
	Wait    time.Duration
}

// Done tells what became of one repository or source.
type Done struct {
	Name    string // as in ostree/NAME or rpm/NAME
	Kind    string // "ostree" or "rpm"
	Path    string
	Fetched int // objects and static deltas, or packages and metadata files
	Bytes   int64
	Removed int
	Signed  []string // who vouches for commits
	// Warnings are for people.
	Warnings []string
	Err      error
}

// Upstream is something that is mirrored.
type Upstream struct {
	Name, Kind, URL, Path string
	Branches              []string // of ostree: those that are mirrored; empty = all
}

// AddRepo makes the archive repository that a remote is mirrored to. remote.Name is the mirror's name.
//
//	errors  fs.ErrExist if there is one of that name
func AddRepo(dir string, remote repo.Remote, keys [][]byte, replace bool) error {
	if err := ostree.CheckRemoteName(remote.Name); err != nil {
		return err
	}
	path := filepath.Join(dir, "ostree", remote.Name)
	r, err := repo.Init(path, repo.Archive)
	if err != nil {
		return err
	}
	defer r.Close()
	if remote.CollectionID != "" {
		if err := r.Config().Set("core", "collection-id", remote.CollectionID); err != nil {
			return err
		}
	}
	remote.Name = remoteName
	_, err = pull.AddRemote(r, remote, keys, pull.AddOptions{Replace: replace})
	return err
}

// AddSources keeps a .repo file, whose enabled sources are mirrored from now on.
//
//	errors  if it names no enabled source
func AddSources(dir, file string, vars rpmmd.Vars) error {
	name := filepath.Base(file)
	data, err := readRepoFile(file)
	if err != nil {
		return err
	}
	sources, _, err := rpmmd.ParseRepoFile(data, vars)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(sources, func(s rpmmd.Source) bool { return s.Enabled }) {
		return fmt.Errorf("%s: no enabled source in it", name)
	}
	if !strings.HasSuffix(name, ".repo") {
		return fmt.Errorf("%s: want a name that ends in .repo", name)
	}
	path := filepath.Join(dir, "sources.d", name)
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600) // it may hold a password, and the folder is there to be handed out
}

const maxRepoFile = 1 << 20

func readRepoFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRepoFile))
}

// List tells what dir mirrors.
func List(dir string, vars rpmmd.Vars) ([]Upstream, error) {
	var all []Upstream
	repos, err := os.ReadDir(filepath.Join(dir, "ostree"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range repos {
		path := filepath.Join(dir, "ostree", e.Name())
		r, err := repo.Open(path)
		if err != nil {
			return nil, err
		}
		remote, err := r.Config().Remote(remoteName)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		url := remote.URL
		if m := remote.Options["metalink"]; m != "" {
			url = "metalink=" + m
		}
		all = append(all, Upstream{e.Name(), "ostree", url, path, remote.Branches})
	}
	sources, err := sourcesOf(dir, vars)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		url := strings.Join(s.BaseURLs, " ")
		if url == "" {
			url = s.Metalink + s.Mirrorlist
		}
		all = append(all, Upstream{Name: s.ID, Kind: "rpm", URL: url, Path: sourceDir(dir, s.ID)})
	}
	return all, nil
}

func sourceDir(dir, id string) string { return filepath.Join(dir, "rpm", id) }

// sourcesOf are the enabled sources of all .repo files.
func sourcesOf(dir string, vars rpmmd.Vars) ([]rpmmd.Source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.d", "*.repo"))
	if err != nil {
		return nil, err
	}
	var all []rpmmd.Source
	for _, path := range files {
		data, err := readRepoFile(path)
		if err != nil {
			return nil, err
		}
		sources, _, err := rpmmd.ParseRepoFile(data, vars)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, s := range sources {
			if s.Enabled && !slices.ContainsFunc(all, func(o rpmmd.Source) bool { return o.ID == s.ID }) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// Update brings everything that dir mirrors up to date. One that fails does not keep the others from it; its Done says why.
//
//	errors  durable.ErrBusy if another update of dir is at work; repo.ErrNotFound for a name that dir does not mirror
func Update(ctx context.Context, dir string, o Options) ([]Done, error) {
	all, err := List(dir, o.Vars)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s mirrors nothing yet: %w", dir, repo.ErrNotFound)
	}
	for _, name := range o.Names {
		if !slices.ContainsFunc(all, func(u Upstream) bool { return u.Name == name }) {
			return nil, fmt.Errorf("%s mirrors no %q: %w", dir, name, repo.ErrNotFound)
		}
	}
	lock, err := durable.Acquire(ctx, filepath.Join(dir, ".lock"), true, o.Wait)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	var out []Done
	for _, u := range all {
		if len(o.Names) > 0 && !slices.Contains(o.Names, u.Name) {
			continue
		}
		d := Done{Name: u.Name, Kind: u.Kind, Path: u.Path}
		if u.Kind == "ostree" {
			d.Err = updateRepo(ctx, u, o, &d)
		} else {
			d.Err = updateSource(ctx, dir, u, o, &d)
		}
		out = append(out, d)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
	}
	return out, nil
}

// updateRepo pulls what is new and then lets clients see it. The upstream's own summary is kept where it is signed, or lists
// just what is here; else one is written.
func updateRepo(ctx context.Context, u Upstream, o Options, d *Done) error {
	r, err := repo.Open(u.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	remote, err := r.Config().Remote(remoteName)
	if err != nil {
		return err
	}
	res, err := pull.Pull(ctx, r, remoteName, nil, pull.Options{Mirror: true, Depth: o.Depth, KeepSummary: true, Offline: o.Offline, CopyDeltas: remote.Options[DeltasKey] == "true"})
	res.ObjectsFetched += res.DeltasCopied
	d.Fetched, d.Bytes, d.Signed, d.Warnings = res.ObjectsFetched, res.BytesFetched, res.VerifiedBy, res.Warnings
	if err != nil {
		return err
	}
	if !res.SummaryKept {
		if err := r.UpdateSummary(ctx, repo.SummaryOptions{}); err != nil {
			return err
		}
	}
	if !o.Prune {
		return nil
	}
	gone, err := r.Prune(ctx, repo.PruneOptions{RefsOnly: true, Depth: o.Depth})
	d.Removed = gone.Deleted
	return err
}
