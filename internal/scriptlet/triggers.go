// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"grove/internal/rpm"
)

// Triggers, as rpm 4.18 was seen to run them when one package is installed:
//
//	%triggerprein    of packages that are there, then %pre
//	%filetriggerin   with priority >= 10000: of all packages for this package's files, then its own for all others' files
//	%post
//	%triggerin       of all packages on this one, then its own on all others
//	%filetriggerin   with a lower priority, likewise
//
// and after every %posttrans: %transfiletriggerin of the packages that were there before, for the files of the new ones,
// by priority; then those of each new package, for all files. Arguments are the count of the trigger's package and, for
// triggers on packages, of the other one; a file trigger gets 0. A package that triggers on itself is run once, where
// rpm runs it twice.

// earlyPriority is the border between file triggers before and after %post.
const earlyPriority = 10000

// packageTriggers adds the triggers of the given kind that the new package m sets off, and m's own that the others do.
func (p *planner) packageTriggers(m *member, kind string) {
	for _, owner := range p.all {
		if owner.header == m.header && kind == "triggerprein" {
			continue // it is not there yet
		}
		if owner.isNew && p.before(m, owner) {
			continue
		}
		for _, t := range owner.triggers {
			if t.Kind == kind && names(t, m) {
				count := strconv.Itoa(p.countOf(m, kind))
				p.add(owner, t.Scriptlet, call{kind: "%" + kind, args: []string{strconv.Itoa(owner.count), count}})
			}
		}
	}
	if kind != "triggerin" {
		return
	}
	for _, t := range m.triggers {
		if t.Kind != kind {
			continue
		}
		for _, other := range p.all {
			if other == m || other.isNew && p.before(m, other) || !names(t, other) {
				continue
			}
			p.add(m, t.Scriptlet, call{kind: "%" + kind, args: []string{strconv.Itoa(m.count), strconv.Itoa(other.count)}})
		}
	}
}

// before says whether a comes before b.
func (p *planner) before(a, b *member) bool {
	return slices.Index(p.all, a) < slices.Index(p.all, b)
}

func (p *planner) countOf(m *member, kind string) int {
	if kind == "triggerprein" {
		return m.count - 1
	}
	return m.count
}

// names says whether a trigger is on the package m, in one of the versions it names.
func names(t rpm.Trigger, m *member) bool {
	for _, d := range t.Names {
		if d.Name != m.nevra.Name {
			continue
		}
		if d.Flags&rpm.SenseCompare == 0 {
			return true
		}
		own := rpm.Dep{Name: m.nevra.Name, Flags: rpm.SenseEqual, EVR: m.nevra.EVR}
		if d.Intersects(own) {
			return true
		}
	}
	return false
}

// files gives the paths of a package, those of directories too, in the header's order.
func (m *member) files() ([]string, error) {
	if m.read {
		return m.paths, nil
	}
	paths, err := m.header.Paths()
	if err != nil {
		return nil, fmt.Errorf("read files of %s: %w", m.nevra, err)
	}
	m.paths, m.read = paths, true
	return paths, nil
}

// matching gives the files of the packages that begin with one of the trigger's prefixes, prefix by prefix. Where rpm
// finds the packages through its database, it does so by the folders of their files: one that has only the folder
// itself of a prefix, /usr/share/doc, is passed over.
//
//	source  rpm, lib/rpmtriggers.c (matchFilesIterator; matchDBFilesIterator, over RPMDBI_DIRNAMES)
func matching(t rpm.Trigger, packages []*member, throughDB bool) ([]string, error) {
	var out []string
	for _, d := range t.Names {
		for _, m := range packages {
			files, err := m.files()
			if err != nil {
				return nil, err
			}
			if throughDB && !slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(folder(f), d.Name) }) {
				continue
			}
			for _, f := range files {
				if strings.HasPrefix(f, d.Name) {
					out = append(out, f)
				}
			}
		}
	}
	return out, nil
}

// folder is where a file lies, with a slash at its end.
func folder(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

// owned is a trigger with its package.
type owned struct {
	rpm.Trigger
	owner *member
}

// sorted gives the triggers of one kind by priority, highest first, packages in order.
func sorted(packages []*member, kind string, keep func(rpm.Trigger) bool) []owned {
	var all []owned
	for _, m := range packages {
		for _, t := range m.triggers {
			if t.Kind == kind && keep(t) {
				all = append(all, owned{t, m})
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Priority > all[j].Priority })
	return all
}

// fileTriggers adds the %filetriggerin around the %post of m; there are all packages that are there by now, m last.
func (p *planner) fileTriggers(m *member, there []*member, early bool) error {
	keep := func(t rpm.Trigger) bool { return (t.Priority >= earlyPriority) == early }
	for _, t := range sorted(there, "filetriggerin", keep) {
		if err := p.fileTrigger(t, []*member{m}, false); err != nil {
			return err
		}
	}
	for _, t := range sorted([]*member{m}, "filetriggerin", keep) {
		if err := p.fileTrigger(t, there[:len(there)-1], true); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) fileTrigger(t owned, packages []*member, throughDB bool) error {
	files, err := matching(t.Trigger, packages, throughDB)
	if err != nil || len(files) == 0 {
		return err
	}
	p.add(t.owner, t.Scriptlet, call{kind: "%" + t.Kind, args: []string{"0"}, files: files})
	return nil
}

// transactionTriggers adds the %transfiletriggerin.
func (p *planner) transactionTriggers() error {
	always := func(rpm.Trigger) bool { return true }
	var old, fresh []*member
	for _, m := range p.all {
		if m.isNew {
			fresh = append(fresh, m)
		} else {
			old = append(old, m)
		}
	}
	for _, t := range sorted(old, "transfiletriggerin", always) {
		if err := p.fileTrigger(t, fresh, true); err != nil {
			return err
		}
	}
	for _, m := range fresh {
		for _, t := range sorted([]*member{m}, "transfiletriggerin", always) {
			if err := p.fileTrigger(t, p.all, true); err != nil {
				return err
			}
		}
	}
	return nil
}
