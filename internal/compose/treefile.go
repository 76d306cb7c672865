// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"strings"

	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/solve"
	"grove/internal/tree"
)

// What single keys of a treefile ask for, beside packages.

// Plain is true for a guest's manifest that asks for nothing beyond its base.
func Plain(m manifest.Manifest) bool {
	for _, list := range [][]string{
		m.Packages, m.Overrides.Remove, m.RemoveFiles, m.OSTreeLayers, m.OSTreeOverrideLayers, m.Postprocess, m.Units, m.VersionLocks,
	} {
		if len(list) > 0 {
			return false
		}
	}
	return len(m.RepoPackages)+len(m.Modules.Install)+len(m.Modules.Enable)+len(m.Modules.Disable)+len(m.LocalPackages)+len(m.Overrides.Replace)+len(m.AddFiles)+len(m.Metadata) == 0 &&
		m.PostprocessScript == "" && m.DefaultTarget == ""
}

// warnUnheeded names the keys that ask for something grove does not do, so that nobody relies on it.
func (b *build) warnUnheeded() {
	m := b.m
	for _, w := range []struct {
		on   bool
		text string
	}{
		{m.GPGKey != "", "gpg-key: the commit is not signed; ostree gpg-sign does it"},
		{len(m.LockfileRepos) > 0, "lockfile-repos: name the sources under repos"},
		{m.TmpIsDir != nil && !*m.TmpIsDir, "tmp-is-dir: /tmp is a directory"},
		{m.OptUsrlocal != "" && m.OptUsrlocal != "var", "opt-usrlocal: /opt and /usr/local lead into /var"},
		{m.ReadonlyExecutables, "readonly-executables: modes stay as the packages have them"},
		{m.IgnoreDevices != nil && !*m.IgnoreDevices, "ignore-devices: device nodes are never kept"},
		{len(m.EtcGroupMembers) > 0, "etc-group-members: all groups are in /etc/group"},
		{m.CheckPasswd != nil && m.CheckPasswd.Type != "none", "check-passwd: ids are kept by the lock; the list is not compared"},
		{m.CheckGroups != nil && m.CheckGroups.Type != "none", "check-groups: ids are kept by the lock; the list is not compared"},
		{m.AutomaticVersionSuffix != "", "automatic-version-suffix: no counter is added, so that the same packages give the same version"},
		{len(m.Ignored) > 0, "keys without meaning for a guest: " + strings.Join(m.Ignored, ", ")},
	} {
		if w.on {
			b.warn("%s", w.text)
		}
	}
}

// repoPackages lets packages that the manifest binds to one source come from that source alone.
func (b *build) repoPackages(req *solve.Request) error {
	for _, rp := range b.m.RepoPackages {
		found := false
		for _, md := range b.sources {
			found = found || md.Source.ID == rp.Repo
		}
		if !found {
			return fmt.Errorf("repo-packages: source %q is not among the manifest's repos", rp.Repo)
		}
		req.Install = append(req.Install, rp.Packages...)
	}
	b.bindPackages(req)
	return nil
}

// bindPackages takes what is bound to one source out of what the others offer.
func (b *build) bindPackages(req *solve.Request) {
	for _, rp := range b.m.RepoPackages {
		bound := map[string]bool{}
		for _, p := range rp.Packages {
			bound[p] = true
		}
		for i, r := range req.Repos {
			if r.ID == rp.Repo {
				continue
			}
			kept := r.Packages[:0:0]
			locked, origins := b.kept[:0:0], r.Origins[:0:0]
			for j, p := range r.Packages {
				if r.ID == keptRepo && (!bound[p.Name] || b.kept[j].Source == rp.Repo) {
					locked, kept, origins = append(locked, b.kept[j]), append(kept, p), append(origins, b.kept[j].Source)
				} else if r.ID != keptRepo && !bound[p.Name] {
					kept = append(kept, p)
				}
			}
			req.Repos[i].Packages, req.Repos[i].Origins = kept, origins
			if r.ID == keptRepo {
				b.kept = locked
			}
		}
	}
}

// ostreeLayers lays the trees of other refs over the packages: `ostree-layers` may only add,
// `ostree-override-layers` replace.
func (b *build) ostreeLayers() error {
	add := func(refs []string, replace bool) error {
		for _, ref := range refs {
			c, err := b.o.Repo.Resolve(ref)
			if err != nil {
				return fmt.Errorf("layer %s: %w", ref, err)
			}
			t, _, err := b.o.Repo.Tree(c)
			if err != nil {
				return fmt.Errorf("layer %s: %w", ref, err)
			}
			if b.tree, err = tree.Merge(b.tree, t, tree.MergeOptions{Replace: replace}); err != nil {
				return fmt.Errorf("layer %s: %w", ref, err)
			}
		}
		return nil
	}
	if err := add(b.m.OSTreeLayers, false); err != nil {
		return err
	}
	return add(b.m.OSTreeOverrideLayers, true)
}

// mutateOSRelease puts the commit's version into os-release, in the place of what the key names.
//
//	source  rpm-ostree docs/treefile.md, mutate-os-release
func (b *build) mutateOSRelease(edit *tree.Editor) error {
	version := b.version()
	if b.m.MutateOSRelease == "" || version == "" || b.o.Base != nil {
		return nil
	}
	const path = "usr/lib/os-release"
	text, h, err := b.readTreeFile(b.tree, path)
	if err != nil || text == nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for i, l := range lines {
		key, value, ok := strings.Cut(l, "=")
		if ok && (key == "VERSION" || key == "PRETTY_NAME") {
			lines[i] = key + "=" + strings.Replace(value, b.m.MutateOSRelease, version, 1)
		}
	}
	lines = append(lines, "OSTREE_VERSION='"+version+"'")
	out := strings.Join(lines, "\n") + "\n"
	c, err := b.tx.PutFile(ostree.FileHeader{UID: h.UID, GID: h.GID, Mode: h.Mode, Xattrs: h.Xattrs}, int64(len(out)), strings.NewReader(out))
	if err != nil {
		return err
	}
	return edit.PutFile(path, c)
}
