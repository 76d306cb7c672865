// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// headers are those of the packages of a deployment: from its files where it has some, else from its commit.
func (e Env) headers(d deploy.Deployment) ([]*rpm.Header, error) {
	if d.Kind == deploy.Composefs {
		return e.headersIn(d.Commit)
	}
	return installedHeaders(d.Root())
}

// installed names the packages of a deployment.
func (e Env) installed(d deploy.Deployment) ([]rpm.NEVRA, error) {
	known, ok := e.seen[d.Commit]
	if ok && d.Kind == deploy.Composefs {
		return known, nil
	}
	var names []rpm.NEVRA
	var err error
	if d.Kind == deploy.Composefs {
		names, err = e.installedIn(d.Commit)
	} else {
		var h []*rpm.Header
		h, err = installedHeaders(d.Root())
		names = nevras(h)
	}
	if err == nil && e.seen != nil {
		e.seen[d.Commit] = names
	}
	return names, err
}

// installedIn names the packages of a commit: those that it says it has, else those in its rpmdb.
func (e Env) installedIn(c ostree.Checksum) ([]rpm.NEVRA, error) {
	if v, err := e.Store.Repo().Commit(c); err == nil {
		if names, ok := compose.Installed(v); ok {
			sort.Slice(names, func(i, j int) bool { return names[i].String() < names[j].String() })
			return names, nil
		}
	}
	h, err := e.headersIn(c)
	return nevras(h), err
}

// headersIn are the headers of a commit's rpmdb; none where there is no rpmdb. The object is read where it lies.
func (e Env) headersIn(c ostree.Checksum) ([]*rpm.Header, error) {
	r := e.Store.Repo()
	t, _, err := r.Tree(c)
	if err != nil {
		return nil, err
	}
	for _, place := range compose.RpmdbPlaces() {
		if _, ok, err := t.Lookup(place + "/rpmdb.sqlite-wal"); err != nil || ok {
			break
		}
		for _, name := range rpmdb.Files() {
			f, ok, err := t.Lookup(place + "/" + name)
			if err != nil || !ok || f.Dir {
				continue // a link on the way leads to another of the places
			}
			path := r.ObjectPath(ostree.TypeFile, f.File)
			if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
				continue
			}
			return rpmdb.ReadFile(path, name)
		}
	}
	dir, err := os.MkdirTemp("", "grove-rpmdb-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	dir, _, err = compose.ExtractRpmdb(r, t, filepath.Join(dir, "db"))
	if errors.Is(err, repo.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := rpmdb.Read(dir)
	if errors.Is(err, rpmdb.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return h, err
}

func nevras(headers []*rpm.Header) []rpm.NEVRA {
	out := make([]rpm.NEVRA, 0, len(headers))
	for _, h := range headers {
		if n := h.NEVRA(); n.Name != compose.KeyPackage {
			out = append(out, n)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

// diffDeployments compares what is installed in two deployments.
func (e Env) diffDeployments(from, to deploy.Deployment) (PackageDiff, error) {
	a, err := e.installed(from)
	if err != nil {
		return PackageDiff{}, err
	}
	b, err := e.installed(to)
	if err != nil {
		return PackageDiff{}, err
	}
	return diffPackages(a, b), nil
}
