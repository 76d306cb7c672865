// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/solve"
)

// Reason is a step of the answer to "why is this package here".
type Reason struct {
	Package string   `json:"package"`
	Because string   `json:"because"`
	Also    []string `json:"also,omitempty"` // of the first step: what else needs the package
}

// maxAlso is how many other requirers are named.
const maxAlso = 5

// Why follows the requirements from a package up to what was asked for. The package may be named as it is asked for:
// by name, full name, by something it provides, or by one of its files.
func Why(e Env, name, pkg string) ([]Reason, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, err
	}
	d, err := g.Current()
	if err != nil {
		return nil, err
	}
	l, err := lockOf(*d)
	if err != nil {
		return nil, err
	}
	headers, err := e.headers(*d)
	if err != nil {
		return nil, err
	}
	m, err := Manifest(g)
	if err != nil {
		return nil, err
	}
	return why(headers, l, m.Packages, pkg)
}

// link says how a package comes to need another.
type link struct {
	by   int // index of the package that does
	text string
	weak bool
}

// why looks for the shortest way from a package to one that was asked for or is the base's: by hard requirements
// alone where there is one, else by weak ones too.
func why(headers []*rpm.Header, l manifest.Lock, asked []string, pkg string) ([]Reason, error) {
	w := whyRun{locked: map[string]manifest.LockedPackage{}, removed: map[string]string{}, asked: asked}
	for _, n := range l.Removed {
		w.removed[nevraName(n)] = n
	}
	for _, p := range l.Packages {
		w.locked[p.NEVRA] = p
	}
	for _, h := range headers {
		m, err := h.Meta()
		if err != nil {
			return nil, err
		}
		w.metas = append(w.metas, m)
	}
	start := w.find(pkg)
	if start < 0 {
		return nil, fmt.Errorf("package %q is not installed: %w", pkg, ErrUnsuited)
	}
	chain := w.chain(start, false)
	if chain == nil {
		chain = w.chain(start, true)
	}
	n := w.metas[start].NEVRA.String()
	if chain == nil {
		chain = []Reason{{Package: n, Because: "nothing that is installed needs it: it came as " + orElse(w.locked[n].Reason, "a layer")}}
	}
	chain[0].Also = w.also(start, chain)
	return chain, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

type whyRun struct {
	metas   []rpm.Meta
	locked  map[string]manifest.LockedPackage
	removed map[string]string // packages of the base that are gone, by name
	asked   []string
}

// find is the index of the package that a word names, -1 for none.
func (w *whyRun) find(word string) int {
	for _, fits := range []func(m rpm.Meta) bool{
		func(m rpm.Meta) bool {
			return m.Name == word || m.NEVRA.String() == word || m.Name+"."+m.Arch == word || m.Name+"-"+m.EVR.String() == word
		},
		func(m rpm.Meta) bool { return fulfils(m, rpm.Dep{Name: word}) },
	} {
		if i := slices.IndexFunc(w.metas, fits); i >= 0 {
			return i
		}
	}
	return -1
}

// chain is the shortest way up; nil where there is none.
func (w *whyRun) chain(start int, weak bool) []Reason {
	came := map[int]Reason{} // what leads to a package
	from := map[int]int{}
	queue := []int{start}
	seen := map[int]bool{start: true}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if end, ok := w.end(i); ok {
			chain := []Reason{end}
			for ; i != start; i = from[i] {
				chain = append(chain, came[i])
			}
			slices.Reverse(chain)
			return chain
		}
		for _, k := range w.links(i, weak) {
			if !seen[k.by] {
				seen[k.by], from[k.by] = true, i
				came[k.by] = Reason{Package: w.metas[i].NEVRA.String(), Because: k.text}
				queue = append(queue, k.by)
			}
		}
	}
	return nil
}

// end says why a package needs no more reason.
func (w *whyRun) end(i int) (Reason, bool) {
	m := w.metas[i]
	n := m.NEVRA.String()
	p, layered := w.locked[n]
	switch {
	case !layered:
		return Reason{Package: n, Because: "it is part of the base"}, true
	case !p.Requested && len(p.Replaces) > 0:
		return Reason{Package: n, Because: "it came with others in the place of " + strings.Join(p.Replaces, " and ")}, true
	case !p.Requested:
		return Reason{}, false
	}
	if old := w.removed[m.Name]; old != "" {
		return Reason{Package: n, Because: "it takes the place of the base's " + old + " (override)"}, true
	}
	r := Reason{Package: n, Because: "it was asked for"}
	for _, a := range w.asked {
		if a != m.Name && (a == n || rpm.Glob(a, m.Name) || provides(&m, a)) {
			r.Because += ", as " + a
			break
		}
	}
	return r, true
}

// links are the packages that need one, in the order of the database; hard requirements first.
func (w *whyRun) links(i int, weak bool) []link {
	b := w.metas[i]
	var hard, soft []link
	for j, a := range w.metas {
		if i == j {
			continue
		}
		name := a.NEVRA.String()
		if d, ok := wants(a.Requires, b); ok {
			hard = append(hard, link{j, "needed by " + name + " (" + d + ")", false})
		} else if d, ok := wants(a.Recommends, b); ok {
			soft = append(soft, link{j, "recommended by " + name + " (" + d + ")", true})
		} else if d, ok := wants(b.Supplements, a); ok {
			soft = append(soft, link{j, "comes along with " + name + " (supplements " + d + ")", true})
		}
	}
	if weak {
		return append(hard, soft...)
	}
	return hard
}

// also names others that need a package than the one that its chain goes on with.
func (w *whyRun) also(start int, chain []Reason) []string {
	var out []string
	more := 0
	for _, k := range w.links(start, false) {
		switch n := w.metas[k.by].NEVRA.String(); {
		case len(chain) > 1 && chain[1].Package == n:
		case len(out) == maxAlso:
			more++
		default:
			out = append(out, n)
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return out
}

// wants says by which of its dependencies a package wants another.
func wants(deps []rpm.Dep, b rpm.Meta) (string, bool) {
	for _, d := range deps {
		for _, n := range solve.Needs(d) {
			if fulfils(b, n) {
				return d.String(), true
			}
		}
	}
	return "", false
}

// fulfils is true where a package has a capability, by name, provide or file.
func fulfils(m rpm.Meta, d rpm.Dep) bool {
	if strings.HasPrefix(d.Name, "/") && slices.Contains(m.Files, d.Name) {
		return true
	}
	self := rpm.Dep{Name: m.Name, Flags: rpm.SenseEqual, EVR: m.EVR}
	return self.Intersects(d) || slices.ContainsFunc(m.Provides, d.Intersects)
}
