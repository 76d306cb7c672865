// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strings"

	"grove/internal/rpm"
	"grove/internal/solve"
)

// LocksFor gives the version locks that words mean for a guest: a package that its current deployment has, at the
// version there, or a version in words. With exclude they shun that version.
//
//	shape   name-epoch:version-release.* , with "!" before it for exclude
//	source  dnf-plugins-core's versionlock
func LocksFor(e Env, name string, words []string, exclude bool) ([]string, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, err
	}
	d, err := g.Current()
	if err != nil {
		return nil, err
	}
	have, err := e.installed(*d)
	if err != nil {
		return nil, err
	}
	mark := ""
	if exclude {
		mark = "!"
	}
	var out []string
	for _, w := range words {
		locks := lockOnes(have, w, mark)
		if len(locks) == 0 {
			if _, err := solve.ParseLock(mark + w); err != nil || !version.MatchString(w) {
				return nil, fmt.Errorf("package %q is not installed; name it with a version: %w", w, ErrUnsuited)
			}
			locks = []string{mark + w}
		}
		out = add(out, locks)
	}
	return out, nil
}

// lockOnes are the locks on installed packages that a word names.
func lockOnes(have []rpm.NEVRA, w, mark string) []string {
	var out []string
	for _, n := range have {
		named := false
		for _, form := range []string{n.Name, n.Name + "." + n.Arch, n.String(), strings.TrimSuffix(n.String(), "."+n.Arch)} {
			named = named || rpm.Glob(w, form)
		}
		if !named {
			continue
		}
		epoch := n.Epoch
		if epoch == "" {
			epoch = "0"
		}
		out = add(out, []string{fmt.Sprintf("%s%s-%s:%s-%s.*", mark, n.Name, epoch, n.Version, n.Release)})
	}
	return out
}

// LocksOf are the version locks of a guest: all, or those that words mean by the name of their package or as they are.
func LocksOf(e Env, name string, words []string) ([]string, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, err
	}
	m, err := Manifest(g)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return add([]string{}, m.VersionLocks), nil
	}
	var out []string
	for _, w := range words {
		found := false
		for _, l := range m.VersionLocks {
			lock, err := solve.ParseLock(l)
			if l == w || strings.TrimPrefix(l, "!") == w || err == nil && lock.Covers(rpm.NEVRA{Name: w}) {
				out, found = add(out, []string{l}), true
			}
		}
		if !found {
			return nil, fmt.Errorf("package %q is not locked (locked: %s): %w", w, orNothing(m.VersionLocks), ErrUnsuited)
		}
	}
	return out, nil
}
