// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

// Advisory says why packages of a change are newer.
type Advisory struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"` // security, bugfix, enhancement, newpackage
	Severity string   `json:"severity,omitempty"`
	Title    string   `json:"title,omitempty"`
	CVEs     []string `json:"cves,omitempty"`
	Packages []string `json:"packages"` // nevra, of those that the change brings up to it or past it
	Source   string   `json:"source"`
}

// advisories finds what the guest's sources say of the packages that a change makes newer. A source that cannot be read is a warning:
// the change itself needs none of this.
func (e Env) advisories(ctx context.Context, g *deploy.Guest, cur *deploy.Deployment, m manifest.Manifest, c *Change, repoFiles []string) error {
	if len(c.Packages.Upgraded) == 0 {
		return nil
	}
	base, err := ostree.ParseChecksum(c.Base.Commit)
	if err != nil {
		return err
	}
	t, _, err := e.Store.Repo().Tree(base)
	if err != nil {
		return err
	}
	v, done, err := e.viewOf(t, cur)
	if err != nil {
		return err
	}
	defer done()
	set, err := e.sources(ctx, g, v, m, repoFiles)
	if err != nil {
		return err
	}
	for _, s := range set.list {
		if named := slices.Contains(m.Repos, s.ID); !named && (!s.Enabled || len(m.Repos) > 0) {
			continue
		}
		md, err := rpmmd.Load(ctx, s, rpmmd.LoadOptions{CacheDir: compose.MetadataDir(e.Store.CacheDir()), Client: e.Client, Offline: e.Offline, ReadKey: set.readKey})
		var list []rpmmd.Advisory
		if err == nil {
			list, err = md.Advisories(ctx)
		}
		if err != nil {
			c.Warnings = append(c.Warnings, fmt.Sprintf("no advisories: %v", err))
			continue
		}
		c.Advisories = append(c.Advisories, matchAdvisories(list, c.Packages.Upgraded, s.ID)...)
	}
	slices.SortStableFunc(c.Advisories, func(a, b Advisory) int {
		return cmp.Or(cmp.Compare(advisoryRank(a), advisoryRank(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Source, b.Source))
	})
	return nil
}

// matchAdvisories are those of list with a package that is newer than what was there, and not newer than what comes.
func matchAdvisories(list []rpmmd.Advisory, upgraded []VersionChange, source string) []Advisory {
	type step struct{ from, to rpm.EVR }
	steps := map[string]step{}
	for _, u := range upgraded {
		steps[u.Name] = step{rpm.ParseEVR(u.From), rpm.ParseEVR(u.To)}
	}
	var out []Advisory
	for _, a := range list {
		var packages []string
		for _, p := range a.Packages {
			if s, ok := steps[p.Name]; ok && p.Arch != "src" && p.EVR.Compare(s.from) > 0 && p.EVR.Compare(s.to) <= 0 {
				packages = append(packages, p.String())
			}
		}
		if len(packages) > 0 {
			slices.Sort(packages)
			out = append(out, Advisory{a.ID, a.Type, a.Severity, a.Title, a.CVEs, slices.Compact(packages), source})
		}
	}
	return out
}

// advisoryRank puts security first, the gravest of it before the others.
func advisoryRank(a Advisory) int {
	if a.Type != "security" {
		return 10
	}
	if i := slices.Index([]string{"Critical", "Important", "Moderate", "Low"}, a.Severity); i >= 0 {
		return i
	}
	return 5
}
