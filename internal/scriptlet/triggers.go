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

// Triggers, as rpm 4.18 runs them (interop holds each line of it against rpm itself). Arguments are the count of the
// trigger's package and, for triggers on packages, of the other one; a file trigger gets 0. A package that triggers on
// itself is run twice, as by rpm: as one of those that are there, and for what it finds there.

// earlyPriority is the border between file triggers before and after %post, %preun and %postun.
const earlyPriority = 10000

// setOff adds the triggers of the given kind that m sets off in the packages that are there, one for each of them.
//
//	source  rpm, lib/psm.cc (runTriggers, handleOneTrigger)
func (p *planner) setOff(m *member, kind string, correction int) {
	count := strconv.Itoa(p.count(m.nevra.Name) + correction)
	for _, owner := range p.db {
		for _, t := range owner.triggers {
			if t.Kind == kind && names(t, m) {
				p.add(owner, t.Scriptlet, call{kind: "%" + kind, args: []string{strconv.Itoa(p.count(owner.nevra.Name)), count}})
				break
			}
		}
	}
}

// setOffOwn adds m's own triggers that packages which are there set off, each at most once.
//
//	source  rpm, lib/psm.cc (runImmedTriggers)
func (p *planner) setOffOwn(m *member, kind string, correction int) {
	count := strconv.Itoa(p.count(m.nevra.Name) + correction)
	for _, t := range m.triggers {
		if t.Kind != kind {
			continue
		}
		i := slices.IndexFunc(p.db, func(other *member) bool { return names(t, other) })
		if i >= 0 {
			args := []string{count, strconv.Itoa(p.count(p.db[i].nevra.Name))}
			p.add(m, t.Scriptlet, call{kind: "%" + kind, args: args})
		}
	}
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

// all gives the paths of a package, those of directories too, in the header's order.
func (m *member) all() ([]string, error) {
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

// touched are the paths that come or go with the package.
func (m *member) touched() ([]string, error) {
	if m.isOld {
		return m.erased, nil
	}
	return m.all()
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
			files, err := m.touched()
			if throughDB {
				files, err = m.all()
			}
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
	return byPriority(all)
}

func byPriority(all []owned) []owned {
	sort.SliceStable(all, func(i, j int) bool { return all[i].Priority > all[j].Priority })
	return all
}

// fileTriggers adds the triggers that the files of m set off, before or after its own script. Those that m itself has
// look at the files of all packages that are there: after the others' where it comes, before where it goes.
func (p *planner) fileTriggers(m *member, kind string, early bool) error {
	keep := func(t rpm.Trigger) bool { return (t.Priority >= earlyPriority) == early }
	others := func() error {
		for _, t := range sorted(p.db, kind, keep) {
			if err := p.fileTrigger(t, []*member{m}, false); err != nil {
				return err
			}
		}
		return nil
	}
	own := func(there []*member) error {
		for _, t := range sorted([]*member{m}, kind, keep) {
			if err := p.fileTrigger(t, there, true); err != nil {
				return err
			}
		}
		return nil
	}
	switch kind {
	case "filetriggerin":
		if err := others(); err != nil {
			return err
		}
		return own(p.db[:len(p.db)-1]) // m is the last
	case "filetriggerun":
		if err := own(p.db); err != nil {
			return err
		}
	}
	return others()
}

func (p *planner) fileTrigger(t owned, packages []*member, throughDB bool) error {
	files, err := matching(t.Trigger, packages, throughDB)
	if err != nil || len(files) == 0 {
		return err
	}
	p.add(t.owner, t.Scriptlet, call{kind: "%" + t.Kind, args: []string{"0"}, files: files})
	return nil
}

func always(rpm.Trigger) bool { return true }

// transactionTriggers adds the triggers that the packages set off, all together, in those that neither come nor go.
func (p *planner) transactionTriggers(kind string, packages []*member) error {
	var stay []*member
	for _, m := range p.db {
		if !m.isNew && !m.isOld {
			stay = append(stay, m)
		}
	}
	for _, t := range sorted(stay, kind, always) {
		if err := p.fileTrigger(t, packages, true); err != nil {
			return err
		}
	}
	return nil
}

// ownTransactionTriggers adds those of a package that comes or goes, for all files that are there.
func (p *planner) ownTransactionTriggers(m *member, kind string) error {
	for _, t := range sorted([]*member{m}, kind, always) {
		if err := p.fileTrigger(t, p.db, true); err != nil {
			return err
		}
	}
	return nil
}

// keepPostun notes the %transfiletriggerpostun that the removal of m sets off: they run at the end, and get no files.
//
//	source  rpm, lib/rpmtriggers.c (rpmtriggersPrepPostUnTransFileTrigs)
func (p *planner) keepPostun(m *member) error {
	const kind = "transfiletriggerpostun"
	for _, t := range sorted(p.db, kind, always) {
		files, err := matching(t.Trigger, []*member{m}, true)
		if err != nil {
			return err
		}
		known := slices.ContainsFunc(p.postun, func(o owned) bool { return o.owner == t.owner && o.Index == t.Index })
		if len(files) > 0 && !known {
			p.postun = append(p.postun, t)
		}
	}
	return nil
}
