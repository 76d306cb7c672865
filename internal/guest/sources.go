// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/rpmmd"
	"grove/internal/tree"
)

// maxRepoFile bounds a .repo file and a key file; real ones have a few kilobytes.
const maxRepoFile = 1 << 20

// ResolveBase gives the commit that a base names, pulled first where it is a remote's.
func (e Env) ResolveBase(ctx context.Context, spec string) (ostree.Checksum, error) {
	r := e.Store.Repo()
	remote, ref, ok := strings.Cut(spec, ":")
	if !ok {
		return r.Resolve(spec)
	}
	if _, err := r.Config().Remote(remote); err != nil {
		return ostree.Checksum{}, err
	}
	if e.Offline {
		c, err := r.Resolve(spec)
		if err != nil {
			return c, fmt.Errorf("offline: %w", err)
		}
		return c, nil
	}
	res, err := pull.Pull(ctx, r, remote, []string{ref}, pull.Options{TimestampCheck: true, Progress: e.pullProgress()})
	if err != nil {
		return ostree.Checksum{}, err
	}
	return res.Commits[ref], nil
}

func (e Env) pullProgress() func(pull.Event) {
	if e.Progress == nil {
		return nil
	}
	return func(ev pull.Event) {
		e.Progress(compose.Event{Step: "pull", Done: int64(ev.Objects), Total: int64(ev.Found)})
	}
}

// view reads files of the guest as they will be: what the guest changed in its /etc, else what the base has.
type view struct {
	r    *repo.Repo
	base *tree.Tree
	cur  *deploy.Deployment
}

// repoFiles are the .repo files of the target: those of its base, with the changes made in the guest.
func (v view) repoFiles() (map[string][]byte, error) {
	const dir = "usr/etc/yum.repos.d"
	names := map[string]bool{}
	entries, err := v.base.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		names[e.Name] = true
	}
	local := v.localDir("etc/yum.repos.d")
	for name := range local {
		names[name] = true
	}
	out := map[string][]byte{}
	for name := range names {
		if !strings.HasSuffix(name, ".repo") {
			continue
		}
		data, err := v.file("etc/yum.repos.d/" + name)
		if err != nil {
			return nil, err
		}
		if data != nil {
			out[name] = data
		}
	}
	return out, nil
}

// localDir names the entries of a directory of the running guest's /etc.
func (v view) localDir(name string) map[string]bool {
	out := map[string]bool{}
	if v.cur == nil {
		return out
	}
	root, err := os.OpenRoot(v.cur.Root())
	if err != nil {
		return out
	}
	defer root.Close()
	d, err := root.Open(name)
	if err != nil {
		return out
	}
	defer d.Close()
	list, _ := d.Readdirnames(4096) // more sources than that are no sources
	for _, n := range list {
		out[n] = true
	}
	return out
}

// file reads a file of the target by its path in the guest, nil where there is none. A file of /etc that
// was changed or removed in the guest counts as it is there; else the new base's counts.
func (v view) file(name string) ([]byte, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	inTree := name
	if rest, ok := strings.CutPrefix(name, "etc/"); ok {
		inTree = "usr/etc/" + rest
		if v.cur != nil {
			now, nerr := readInRoot(v.cur.Root(), name)
			def, derr := readInRoot(v.cur.Root(), inTree)
			changed := (nerr == nil) != (derr == nil) || nerr == nil && string(now) != string(def)
			if changed {
				if errors.Is(nerr, fs.ErrNotExist) {
					return nil, nil
				}
				return now, nerr
			}
		}
	}
	data, _, err := compose.ReadFile(v.r, v.base, inTree)
	return data, err
}

func readInRoot(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRepoFile {
		return nil, fmt.Errorf("read %s: not a regular file of at most %d bytes", name, maxRepoFile)
	}
	return io.ReadAll(io.LimitReader(f, maxRepoFile))
}

// RepoDir is where .repo files lie that a person gave to a guest from outside.
func RepoDir(g *deploy.Guest) string { return filepath.Join(g.Dir(), "repos.d") }

// sources are the target's own and those given to the guest from outside; the latter win over a source of
// the same id.
func (e Env) sources(ctx context.Context, g *deploy.Guest, v view, m manifest.Manifest, more []string) ([]rpmmd.Source, func(string) ([]byte, error), error) {
	files, err := v.repoFiles()
	if err != nil {
		return nil, nil, err
	}
	vars, err := v.vars(m)
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]rpmmd.Source{}
	var order []string
	add := func(name string, data []byte) error {
		list, _, err := rpmmd.ParseRepoFile(data, vars)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, s := range list {
			if _, ok := byID[s.ID]; !ok {
				order = append(order, s.ID)
			}
			byID[s.ID] = s
		}
		return nil
	}
	for _, name := range sorted(files) {
		if err := add("/etc/yum.repos.d/"+name, files[name]); err != nil {
			return nil, nil, err
		}
	}
	for _, dir := range []string{filepath.Join(e.Store.Root(), "repos.d"), RepoDir(g)} {
		list, err := filepath.Glob(filepath.Join(dir, "*.repo"))
		if err != nil {
			return nil, nil, err
		}
		sort.Strings(list)
		if dir == RepoDir(g) {
			list = append(list, more...)
		}
		for _, f := range list {
			data, err := os.ReadFile(f)
			if err != nil {
				return nil, nil, err
			}
			if err := add(f, data); err != nil {
				return nil, nil, err
			}
		}
	}
	out := make([]rpmmd.Source, 0, len(order))
	for _, id := range order {
		out = append(out, byID[id])
	}
	return out, func(u string) ([]byte, error) { return e.readKey(ctx, v, u) }, nil
}

// readKey reads a key of a source: a file is looked for in the guest first, as its .repo files mean it,
// then on this host.
func (e Env) readKey(ctx context.Context, v view, u string) ([]byte, error) {
	parsed, err := url.Parse(u)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", u, err)
	}
	if parsed.Scheme == "file" || parsed.Scheme == "" {
		data, err := v.file(parsed.Path)
		if err != nil || data != nil {
			return data, err
		}
		return os.ReadFile(parsed.Path)
	}
	return e.Client.Get(ctx, u, maxRepoFile)
}

// vars are the variables of .repo files, of the target: never the host's.
func (v view) vars(m manifest.Manifest) (rpmmd.Vars, error) {
	arch := compose.HostArch()
	vars := rpmmd.Vars{"basearch": arch, "arch": arch}
	dir, err := v.base.ReadDir("usr/etc/dnf/vars")
	if err == nil {
		for _, e := range dir {
			if data, err := v.file("etc/dnf/vars/" + e.Name); err == nil && data != nil {
				vars[e.Name] = strings.TrimSpace(string(data))
			}
		}
	}
	if m.Releasever != "" {
		vars["releasever"] = m.Releasever
		return vars, nil
	}
	release, err := v.file("etc/os-release")
	if err == nil && release == nil {
		release, err = v.file("usr/lib/os-release")
	}
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(release), "\n") {
		if id, ok := strings.CutPrefix(line, "VERSION_ID="); ok {
			vars["releasever"] = strings.Trim(strings.TrimSpace(id), `"'`)
		}
	}
	return vars, nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
