// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"grove/internal/compose"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// Found is a package that a search met.
type Found struct {
	NEVRA     string `json:"nevra"`
	Summary   string `json:"summary"`
	Source    string `json:"source"`
	Installed bool   `json:"installed"`
	Matched   string `json:"matched"` // where: one of the Matched constants
}

// Where a search met a package, the best first, as dnf groups its answers.
const (
	MatchedName     = "name"             // it is called so
	MatchedBoth     = "name and summary" // each word is in one of them, and both have one
	MatchedInName   = "part of the name"
	MatchedSummary  = "summary"
	MatchedProvides = "provides"
	MatchedMore     = "description" // or URL; only with SearchOptions.All
)

var matchedOrder = []string{MatchedName, MatchedBoth, MatchedInName, MatchedSummary, MatchedProvides, MatchedMore}

// SearchOptions say how far a search goes.
type SearchOptions struct {
	All        bool // look into descriptions and URLs too
	Duplicates bool // every version, not only the newest of each name and architecture
}

// Search looks through the metadata of a guest's sources for packages that have all words, the case folded: in name
// and summary, else in what they provide, else in their files. missed tells of sources that could not be looked through,
// where others had something.
func Search(ctx context.Context, e Env, name string, words []string, o SearchOptions) (found []Found, missed, err error) {
	s, err := e.sourcesOf(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	all, missed := s.all, s.bad
	if _, err := rpmmd.ApplyModules(all, s.state, compose.HostArch()); err != nil {
		missed = errors.Join(missed, err) // then packages of all streams are shown
	}
	have, err := e.installedOf(name)
	if err != nil {
		return nil, nil, err
	}
	for _, md := range all { // not every file is in the first part of the metadata
		paths, globs := filesAmong(words)
		if err := md.LoadFiles(ctx, paths, globs); err != nil && !errors.Is(err, rpmmd.ErrNoFilelists) {
			missed = errors.Join(missed, err)
		}
	}
	found = searchIn(all, have, words, o)
	if len(found) == 0 {
		return nil, nil, missed
	}
	return found, missed, nil
}

// filesAmong are the words that name files, and those that are patterns of files.
func filesAmong(words []string) (paths, globs []string) {
	globs = solve.PathGlobs(words)
	for _, w := range words {
		if strings.HasPrefix(w, "/") && !slices.Contains(globs, w) {
			paths = append(paths, w)
		}
	}
	return paths, globs
}

// loaded are the sources of a guest.
type loaded struct {
	all   []*rpmmd.Metadata
	state rpmmd.ModuleState // streams of modules as the guest has them
	bad   error             // why some could not be read
}

// sourcesOf loads the sources of a guest.
func (e Env) sourcesOf(ctx context.Context, name string) (out loaded, err error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return out, err
	}
	cur, err := g.Current()
	if err != nil {
		return out, err
	}
	m, err := Manifest(g)
	if err != nil {
		return out, err
	}
	t, _, err := e.Store.Repo().Tree(cur.Commit)
	if err != nil {
		return out, err
	}
	v, done, err := e.viewOf(t, cur)
	if err != nil {
		return out, err
	}
	defer done()
	_, conf, err := v.dnfConf(m)
	if err != nil {
		return out, err
	}
	if out.state, err = v.modules(conf); err != nil {
		return out, err
	}
	if p := m.PlatformModule; p != "" {
		out.state.Platform = strings.TrimPrefix(p, "platform:")
	}
	set, err := e.sources(ctx, g, v, m, nil)
	if err != nil {
		return out, err
	}
	if !set.enabled(m) {
		return out, fmt.Errorf("guest %s: %w", name, ErrNoSources)
	}
	for _, s := range set.list {
		if !s.Enabled {
			continue
		}
		md, err := rpmmd.Load(ctx, s, rpmmd.LoadOptions{CacheDir: compose.MetadataDir(e.Store.CacheDir()), Client: e.Client, Offline: e.Offline, ReadKey: set.readKey})
		if err != nil {
			out.bad = errors.Join(out.bad, err)
			continue
		}
		out.all = append(out.all, md)
	}
	return out, nil
}

func (e Env) installedOf(name string) (map[string]bool, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, err
	}
	cur, err := g.Current()
	if err != nil {
		return nil, err
	}
	installed, err := e.installed(*cur)
	have := map[string]bool{}
	for _, n := range installed {
		have[n.String()] = true
	}
	return have, err
}

// searchIn gives what the words meet, the best first; of several versions the newest, and the one that is installed.
func searchIn(all []*rpmmd.Metadata, have map[string]bool, words []string, o SearchOptions) []Found {
	type hit struct {
		Found
		n rpm.NEVRA
	}
	var hits []hit
	newest := map[string]rpm.EVR{}
	seen := map[string]bool{}
	for _, md := range all {
		for i := range md.Packages {
			p := &md.Packages[i]
			where := matched(p, words, o.All)
			if where == "" || seen[p.NEVRA.String()] && !o.Duplicates {
				continue
			}
			seen[p.NEVRA.String()] = true
			key := p.Name + "." + p.Arch
			if v, ok := newest[key]; !ok || p.EVR.Compare(v) > 0 {
				newest[key] = p.EVR
			}
			hits = append(hits, hit{Found{p.NEVRA.String(), p.Summary, md.Source.ID, have[p.NEVRA.String()], where}, p.NEVRA})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(
			cmp.Compare(slices.Index(matchedOrder, a.Matched), slices.Index(matchedOrder, b.Matched)),
			strings.Compare(a.n.Name, b.n.Name), strings.Compare(a.n.Arch, b.n.Arch), b.n.EVR.Compare(a.n.EVR),
		)
	})
	out := []Found{}
	for _, h := range hits {
		if o.Duplicates || h.Installed || newest[h.n.Name+"."+h.n.Arch].Compare(h.n.EVR) == 0 {
			out = append(out, h.Found)
		}
	}
	return out
}

// provides is true where a package has a capability or file of that name or pattern.
func provides(p *rpm.Meta, word string) bool {
	if fulfils(*p, rpm.Dep{Name: word}) {
		return true
	}
	return rpm.IsGlob(word) && (slices.ContainsFunc(p.Files, func(f string) bool { return rpm.Glob(word, f) }) ||
		slices.ContainsFunc(p.Provides, func(d rpm.Dep) bool { return rpm.Glob(word, d.Name) }))
}

// matched says where a package has all of the words; "" = nowhere.
//
//	source  dnf dnf/cli/cli.py (search): all words, name and summary first
func matched(p *rpm.Meta, words []string, all bool) string {
	name, summary := strings.ToLower(p.Name), strings.ToLower(p.Summary)
	inName, inSummary, inBoth := true, true, true
	for _, word := range words {
		w := strings.ToLower(word)
		n, s := strings.Contains(name, w), strings.Contains(summary, w)
		n = n || rpm.IsGlob(w) && rpm.Glob(w, name)
		inName, inSummary, inBoth = inName && n, inSummary && s, inBoth && (n || s)
	}
	switch {
	case len(words) == 1 && strings.EqualFold(words[0], p.Name):
		return MatchedName
	case inName && inSummary, inBoth && !inName && !inSummary:
		return MatchedBoth
	case inName:
		return MatchedInName
	case inSummary:
		return MatchedSummary
	}
	if !slices.ContainsFunc(words, func(w string) bool { return !provides(p, w) }) {
		return MatchedProvides
	}
	text := strings.ToLower(p.Description + "\n" + p.URL)
	if all && !slices.ContainsFunc(words, func(w string) bool {
		w = strings.ToLower(w)
		return !strings.Contains(text, w) && !strings.Contains(name, w) && !strings.Contains(summary, w)
	}) {
		return MatchedMore
	}
	return ""
}
