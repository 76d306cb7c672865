// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

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

// HostBase is the base of a guest that follows its host: the commit that the host was booted from.
const HostBase = "host:booted"

// ResolveBase gives the commit that a base names, pulled first where it is a remote's or the host's own.
//
//	errors  pull.ErrNotBooted for HostBase
func (e Env) ResolveBase(ctx context.Context, spec string) (ostree.Checksum, error) {
	r := e.Store.Repo()
	remote, ref, ok := strings.Cut(spec, ":")
	if !ok {
		return r.Resolve(spec)
	}
	if spec == HostBase {
		c, err := pull.Booted(ctx, r, "/")
		if err != nil {
			return c, fmt.Errorf("base %s: %w", spec, err)
		}
		return c, nil
	}
	if _, err := r.Remote(remote); err != nil {
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
	own  string // the tree of the current deployment with its /etc; "" = there is none
	mu   *sync.Mutex
}

// viewOf is the view of a guest that is to stand on base; cur may be nil. done gives back what it holds.
func (e Env) viewOf(base *tree.Tree, cur *deploy.Deployment) (v view, done func(), err error) {
	v = view{r: e.Store.Repo(), base: base, mu: &sync.Mutex{}}
	if cur == nil {
		return v, func() {}, nil
	}
	t, err := cur.OpenTree()
	if err != nil {
		return v, nil, err
	}
	v.own = t.Name()
	return v, func() { t.Close() }, nil
}

// repoFiles are the .repo files of the target: those of its base, with the changes made in the guest.
func (v view) repoFiles() (map[string][]byte, error) {
	names, err := v.names("yum.repos.d")
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, name := range names {
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

// localDir names the entries of a directory of the guest's own /etc.
func (v view) localDir(name string) (map[string]bool, error) {
	out := map[string]bool{}
	if v.own == "" {
		return out, nil
	}
	d, err := openIn(v.own, name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("guest's /%s: %w", name, err)
	}
	defer d.Close()
	list, err := d.Readdirnames(4096) // more sources than that are no sources
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("guest's /%s: %w", name, err)
	}
	for _, n := range list {
		out[n] = true
	}
	return out, nil
}

// names are the entries that a directory of /etc has in the base, in the guest, or in both.
func (v view) names(dir string) ([]string, error) {
	out, err := v.localDir("etc/" + dir)
	if err != nil {
		return nil, err
	}
	entries, err := v.base.ReadDir("usr/etc/" + dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		out[e.Name] = true
	}
	return sorted(out), nil
}

// file reads a file of the target by its path in the guest, nil where there is none. A file of /etc that
// was changed or removed in the guest counts as it is there; else the new base's counts.
func (v view) file(name string) ([]byte, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	inTree := name
	if rest, ok := strings.CutPrefix(name, "etc/"); ok {
		inTree = "usr/etc/" + rest
		if v.own != "" {
			data, changed, err := v.local(name, inTree)
			if err != nil {
				return nil, fmt.Errorf("guest's /%s: %w", name, err)
			}
			if changed {
				return data, nil
			}
		}
	}
	data, _, err := compose.ReadFile(v.r, v.base, inTree)
	return data, err
}

// local compares a file of the guest's /etc with its default; nil data: it was removed.
func (v view) local(name, inTree string) (data []byte, changed bool, err error) {
	root := v.own
	if link := linkIn(root, name); link != "" && link == linkIn(root, inTree) {
		return nil, false, nil // its own place decides where a relative link leads, so the contents cannot be compared
	}
	now, err := readIn(root, name, maxRepoFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	was, werr := readIn(root, inTree, maxRepoFile)
	if (err == nil) == (werr == nil) && bytes.Equal(now, was) {
		return nil, false, nil
	}
	return now, true, nil
}

// readHost reads a small file of this host, which a guest's .repo file may have named.
func readHost(name string) ([]byte, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	return readIn("/", abs, maxRepoFile)
}

// RepoDir is where .repo files lie that a person gave to a guest from outside.
func RepoDir(g *deploy.Guest) string { return filepath.Join(g.Dir(), "repos.d") }

// sourceSet is where a guest's packages come from, and how its keys are read.
type sourceSet struct {
	list    []rpmmd.Source
	readKey func(url string) ([]byte, error)
}

// ErrNoSources says that a guest has nothing where packages could come from.
var ErrNoSources = errors.New("the guest has no source of packages")

// enabled tells whether packages can come from anywhere.
func (s sourceSet) enabled(m manifest.Manifest) bool {
	return slices.ContainsFunc(s.list, func(src rpmmd.Source) bool { return src.Enabled || slices.Contains(m.Repos, src.ID) })
}

// sources are the target's own and those given to the guest from outside; the latter win over a source of
// the same id.
func (e Env) sources(ctx context.Context, g *deploy.Guest, v view, m manifest.Manifest, more []string) (set sourceSet, err error) {
	files, err := v.repoFiles()
	if err != nil {
		return set, err
	}
	vars, conf, err := v.dnfConf(m)
	if err != nil {
		return set, err
	}
	byID := map[string]rpmmd.Source{}
	var order []string
	add := func(name string, data []byte) error {
		list, _, err := conf.Source.ParseRepoFile(data, vars)
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
			return set, err
		}
	}
	for _, dir := range []string{filepath.Join(e.Store.Root(), "repos.d"), RepoDir(g)} {
		list, err := filepath.Glob(filepath.Join(dir, "*.repo"))
		if err != nil {
			return set, err
		}
		sort.Strings(list)
		if dir == RepoDir(g) {
			list = append(list, more...)
		}
		for _, f := range list {
			data, err := readHost(f)
			if err != nil {
				return set, err
			}
			if err := add(f, data); err != nil {
				return set, err
			}
		}
	}
	for _, id := range order {
		s := byID[id]
		s.ReadFile = v.fileOrHost
		set.list = append(set.list, s)
	}
	set.readKey = func(u string) ([]byte, error) { return e.readKey(ctx, v, u) }
	return set, nil
}

// readKey reads a key of a source: a file is looked for in the guest first, as its .repo files mean it,
// then on this host.
func (e Env) readKey(ctx context.Context, v view, u string) ([]byte, error) {
	parsed, err := url.Parse(u)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", u, err)
	}
	if parsed.Scheme == "file" || parsed.Scheme == "" {
		return v.fileOrHost(parsed.Path)
	}
	return e.Client.Get(ctx, u, maxRepoFile)
}

// fileOrHost reads a file that a .repo file names: the guest's, else this host's. Sources are loaded several at a time.
func (v view) fileOrHost(name string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	data, err := v.file(name)
	if err != nil || data != nil {
		return data, err
	}
	return readHost(name)
}

// dnfConf gives what the target's dnf.conf (yum.conf) says, and the variables of its .repo files.
func (v view) dnfConf(m manifest.Manifest) (rpmmd.Vars, rpmmd.Main, error) {
	vars, err := v.vars(m)
	if err != nil {
		return nil, rpmmd.Main{}, err
	}
	for _, name := range []string{"etc/dnf/dnf.conf", "etc/yum.conf"} {
		data, err := v.file(name)
		if err != nil {
			return nil, rpmmd.Main{}, err
		}
		if data == nil {
			continue
		}
		conf, err := rpmmd.ParseMain(data, vars)
		if err != nil {
			return nil, conf, fmt.Errorf("/%s: %w", name, err)
		}
		return vars, conf, nil
	}
	return vars, rpmmd.NewMain(), nil
}

// modules is what the target says of modules: the platform it is, and dnf's record of streams.
func (v view) modules(conf rpmmd.Main) (rpmmd.ModuleState, error) {
	st := rpmmd.ModuleState{Platform: conf.Platform}
	if st.Platform == "" {
		platform, err := v.osRelease("PLATFORM_ID")
		if err != nil {
			return st, err
		}
		st.Platform = strings.TrimPrefix(platform, "platform:")
	}
	names, err := v.names("dnf/modules.d")
	if err != nil {
		return st, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".module") {
			continue
		}
		data, err := v.file("etc/dnf/modules.d/" + name)
		if err == nil && data != nil {
			err = st.Read(data)
		}
		if err != nil {
			return st, fmt.Errorf("/etc/dnf/modules.d/%s: %w", name, err)
		}
	}
	return st, nil
}

// vars are the variables of .repo files, of the target: never the host's.
func (v view) vars(m manifest.Manifest) (rpmmd.Vars, error) {
	own := rpmmd.Vars{}
	for _, dir := range []string{"yum/vars", "dnf/vars"} {
		names, err := v.names(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := v.file("etc/" + dir + "/" + name)
			if err != nil {
				return nil, err
			}
			if data != nil {
				own[name] = strings.TrimSpace(string(data))
			}
		}
	}
	for k, value := range m.RepoVars {
		own[k] = value
	}
	releasever := own["releasever"]
	if m.Releasever != "" {
		releasever = m.Releasever
	}
	if releasever == "" {
		var err error
		if releasever, err = v.osRelease("VERSION_ID"); err != nil {
			return nil, err
		}
	}
	vars := rpmmd.NewVars(releasever, compose.HostArch())
	for k, value := range own {
		if k != "releasever" {
			vars[k] = value
		}
	}
	if releasever == "" { // a variable that nobody knows stays as it is written
		for _, k := range []string{"releasever", "releasever_major", "releasever_minor"} {
			if own[k] == "" {
				delete(vars, k)
			}
		}
	}
	return vars, nil
}

// osRelease gives a value of the target's os-release, "" where it has none.
func (v view) osRelease(key string) (string, error) {
	release, err := v.file("etc/os-release")
	if err == nil && release == nil {
		release, err = v.file("usr/lib/os-release")
	}
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(release), "\n") {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.Trim(strings.TrimSpace(value), `"'`), nil
		}
	}
	return "", nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
