// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// LockPattern is a version lock: of a package whose name it fits, only the versions that it fits may be there; with
// "!" before it, those versions may not. It is never without a version.
//
//	shape   [!]name-[epoch:]version[-release][.arch], each part a glob
//	source  dnf's versionlock.list
type LockPattern struct {
	text   string
	not    bool
	accept pattern
}

// Excluder says of packages whether Request.Exclude, as given, keeps them out.
func Excluder(specs []string) func(rpm.NEVRA) bool {
	var all []pattern
	for _, s := range specs {
		all = append(all, forms(s)...)
	}
	return func(n rpm.NEVRA) bool {
		return slices.ContainsFunc(all, func(x pattern) bool { return x.matches(n) })
	}
}

// machines are the architectures that the last part of a version lock may name; el9 is none.
//
//	source  rpm's rpmrc (arch_compat), what Fedora and RHEL build for
var machines = map[string]bool{
	"noarch": true, "i386": true, "i486": true, "i586": true, "i686": true, "athlon": true, "x86_64": true, "x86_64_v2": true,
	"x86_64_v3": true, "x86_64_v4": true, "aarch64": true, "armv7hl": true, "armv7hnl": true, "armv6hl": true, "ppc64": true,
	"ppc64le": true, "s390": true, "s390x": true, "riscv64": true, "loongarch64": true, "mips64el": true, "sparc64": true,
}

// ParseLock reads a version lock.
func ParseLock(text string) (LockPattern, error) {
	l := LockPattern{text: text}
	rest, not := strings.CutPrefix(text, "!")
	l.not = not
	if err := checkText(text); err != nil {
		return l, err
	}
	for _, x := range forms(rest) {
		if x.version != "" && (x.arch == "" || isGlob(x.arch) || machines[x.arch]) {
			l.accept = x
			return l, nil
		}
	}
	return l, fmt.Errorf("version lock %q: wanted name-version, name-version-release or name-version-release.arch, globs allowed", text)
}

// Covers says whether the lock has something to say about a package.
func (l LockPattern) Covers(n rpm.NEVRA) bool {
	return glob(l.accept.name, n.Name) && (l.accept.arch == "" || glob(l.accept.arch, n.Arch))
}

// Admits says whether a package may be there.
func (l LockPattern) Admits(n rpm.NEVRA) bool {
	if l.not {
		return !l.accept.matches(n)
	}
	return !l.Covers(n) || l.accept.matches(n)
}

// lockedOut says why the version locks do not admit a package; "" = they do. Of several locks for one name each
// admits its own versions.
func lockedOut(locks []LockPattern, n rpm.NEVRA) string {
	var to []string
	for _, l := range locks {
		switch {
		case l.not && !l.Admits(n):
			return "a version lock excludes it (" + l.text + ")"
		case l.not || !l.Covers(n):
		case l.Admits(n):
			return ""
		default:
			to = append(to, l.text)
		}
	}
	if len(to) == 0 {
		return ""
	}
	return "its version is locked to " + strings.Join(to, " or ")
}

// lockedInstalled refuses installed packages that stay in a version that is locked out.
func (p *pool) lockedInstalled() error {
	var c Conflict
	for id := firstID; id < firstID+len(p.meta) && p.isInstalled(id) && len(p.locks) > 0; id++ {
		n := p.pkg(id).NEVRA
		why := lockedOut(p.locks, n)
		if why == "" || p.released[id] {
			continue
		}
		c.Problems = append(c.Problems, Problem{
			Text:      fmt.Sprintf("%s cannot stay: %s.", p.name(id), why),
			Solutions: []string{"let the locked version take its place (override replace)", "take the lock off (versionlock delete)"},
		})
	}
	if len(c.Problems) == 0 {
		return nil
	}
	return &c
}
