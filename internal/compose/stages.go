// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"grove/internal/importer"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// Layers come in stages, one for each change that added packages: as `dnf install` adds to what is installed, a stage's packages are
// put on the tree of the stage before, and only their scriptlets run. The lock says which package came in which stage, so it
// gives the same tree again: from the base, stage by stage, or from a deployment that is the result of the first of them.
// A stage in which anything changes is made anew, with all that came after it as one stage.

// maxStages bounds how long it takes to make a lock's tree from its base again; beyond it all layers become one stage.
const maxStages = 16

// KeyState is the commit metadata (s) that names what a layered tree was made of: base, stages and accounts.
const KeyState = "grove.state"

// whole is the stage that is the whole of a lock.
func whole(l *manifest.Lock) []manifest.LockedStage {
	if len(l.Stages) > 0 {
		return l.Stages
	}
	return []manifest.LockedStage{{Packages: len(l.Packages), Removed: len(l.Removed), Users: len(l.Users), Groups: len(l.Groups)}}
}

// onlyPackages is true where a manifest asks for nothing but packages: its other steps cannot be done stage by stage.
func onlyPackages(m manifest.Manifest) bool {
	return len(m.AddFiles)+len(m.RemoveFiles)+len(m.RemoveFromPackages)+len(m.OSTreeLayers)+len(m.OSTreeOverrideLayers)+
		len(m.Postprocess)+len(m.Units) == 0 && m.PostprocessScript+m.DefaultTarget+m.MutateOSRelease == ""
}

// arrange decides about the stages, and puts picks and removed in their order.
func (b *build) arrange() {
	staged := b.o.Base != nil && onlyPackages(b.m)
	one := []manifest.LockedStage{{Packages: len(b.picks), Removed: len(b.removed)}}
	if l := b.o.Lock; l != nil {
		if b.stages = one; staged {
			b.stages = slices.Clone(whole(l))
			b.known = len(b.stages)
		}
		return
	}
	b.stages = one
	prev := b.o.Previous
	if prev == nil || !staged || prev.Base.Commit != b.baseCommit() {
		return
	}
	var kept []manifest.LockedStage
	for _, s := range whole(prev) {
		if s.Packages+s.Removed == 0 || !b.has(prev, s) {
			break
		}
		kept = append(kept, s)
	}
	if len(kept) == 0 || len(kept) >= maxStages {
		return
	}
	b.known = len(kept)
	last := kept[len(kept)-1]
	b.picks = inOrder(b.picks, prev.Packages[:last.Packages], func(p pick) string { return p.meta.NEVRA.String() },
		func(l manifest.LockedPackage) string { return l.NEVRA })
	b.removed = inOrder(b.removed, prev.Removed[:last.Removed], func(h *rpm.Header) string { return h.NEVRA().String() },
		func(s string) string { return s })
	if last.Packages < len(b.picks) || last.Removed < len(b.removed) {
		kept = append(kept, manifest.LockedStage{Packages: len(b.picks), Removed: len(b.removed)})
	}
	b.stages = slices.Clone(kept)
}

// has is true where the new plan has everything of the lock up to the end of a stage.
func (b *build) has(l *manifest.Lock, s manifest.LockedStage) bool {
	picks, removed := map[string]string{}, map[string]bool{}
	for _, p := range b.picks {
		picks[p.meta.NEVRA.String()] = p.meta.Digest.String()
	}
	for _, h := range b.removed {
		removed[h.NEVRA().String()] = true
	}
	return !slices.ContainsFunc(l.Packages[:s.Packages], func(p manifest.LockedPackage) bool { return picks[p.NEVRA] != p.Digest }) &&
		!slices.ContainsFunc(l.Removed[:s.Removed], func(n string) bool { return !removed[n] })
}

// inOrder puts those of all that first names in its order in front of the others.
func inOrder[A, F any](all []A, first []F, name func(A) string, firstName func(F) string) []A {
	at := map[string]int{}
	for i, f := range first {
		at[firstName(f)] = i + 1
	}
	front := make([]A, len(first))
	var rest []A
	for _, a := range all {
		if i := at[name(a)]; i > 0 {
			front[i-1] = a
		} else {
			rest = append(rest, a)
		}
	}
	return append(front, rest...)
}

// runStages makes the tree, stage by stage, from the last one whose result is at hand.
func (b *build) runStages(ctx context.Context) error {
	all, gone := b.packages, b.removed
	from, err := b.resume()
	if err != nil {
		return err
	}
	if from > 0 {
		b.result.ScriptLog = fmt.Appendf(nil, "(the scriptlets of %d packages that were there before did not run again)\n", b.stages[from-1].Packages)
	}
	for b.stage = from; b.stage < len(b.stages); b.stage++ {
		if err := b.enter(all, gone); err != nil {
			return err
		}
		if err := b.run(ctx, perStage); err != nil {
			return err
		}
		s := &b.stages[b.stage]
		s.Users, s.Groups = len(b.users), len(b.groups)
		b.base.tree = b.tree
		if b.stage+1 == len(b.stages) {
			break
		}
		if b.base.headers, err = rpmdb.Read(b.base.dbDir); err != nil {
			return fmt.Errorf("read the rpmdb of stage %d: %w", b.stage+1, err)
		}
	}
	b.packages, b.removed = all, gone
	return nil
}

// enter prepares one stage.
func (b *build) enter(all []imported, gone []*rpm.Header) error {
	var start manifest.LockedStage
	if b.stage > 0 {
		start = b.stages[b.stage-1]
	}
	end := b.stages[b.stage]
	b.packages = all[start.Packages:end.Packages]
	b.removals, b.keepBase, b.beside, b.removed = nil, nil, nil, nil
	b.stamp = b.stampOf(end)
	leaving := map[string]bool{}
	for _, h := range gone[start.Removed:end.Removed] {
		leaving[h.NEVRA().String()] = true
	}
	for _, h := range b.base.headers {
		if leaving[h.NEVRA().String()] {
			b.removed = append(b.removed, h)
		}
	}
	if len(b.removed) != end.Removed-start.Removed {
		return fmt.Errorf("internal error: %d of %d packages to remove are there", len(b.removed), end.Removed-start.Removed)
	}
	return nil
}

// stampOf is the newest build time of the base and of the packages up to the end of a stage.
func (b *build) stampOf(s manifest.LockedStage) uint64 {
	stamp := b.base.stamp
	for _, p := range b.picks[:s.Packages] {
		stamp = max(stamp, uint64(max(p.meta.BuildTimeSec, 0)))
	}
	return stamp
}

// resume looks for a deployment that is the result of the first stages, the more the better; it says how many.
func (b *build) resume() (int, error) {
	known := b.o.Lock
	if known == nil {
		known = b.o.Previous
	}
	if len(b.stages) < 2 || known == nil {
		return 0, nil
	}
	states, err := b.states()
	if err != nil {
		return 0, err
	}
	for n := len(b.stages) - 1; n > 0; n-- {
		s := b.stages[n-1]
		if s.Users > len(known.Users) || s.Groups > len(known.Groups) {
			continue
		}
		users, groups := known.Users[:s.Users], known.Groups[:s.Groups]
		c, ok := states[b.state(n, users, groups)]
		if !ok || b.o.Repo.IsPartial(c) {
			continue
		}
		t, _, err := b.o.Repo.Tree(c)
		if err != nil {
			continue // what is left of a deployment that is damaged
		}
		if err := b.openTree(t, fmt.Sprintf("rpmdb-%d", n)); err != nil {
			return 0, fmt.Errorf("commit %s of a deployment: %w", c, err)
		}
		b.users, b.groups = slices.Clone(users), slices.Clone(groups)
		return n, nil
	}
	return 0, nil
}

// states are the commits of deployments that say what they were made of.
func (b *build) states() (map[string]ostree.Checksum, error) {
	refs, err := b.o.Repo.Refs("grove/guest")
	if err != nil {
		return nil, err
	}
	out := map[string]ostree.Checksum{}
	for _, name := range sortedKeys(refs) {
		c, err := b.o.Repo.Commit(refs[name])
		if err != nil {
			continue
		}
		if v, ok := c.Metadata.Lookup(KeyState); ok && v.Type() == "s" {
			out[v.Str()] = refs[name]
		}
	}
	return out, nil
}

// state names the result of the first n stages with the accounts that they made: equal names, equal trees.
func (b *build) state(n int, users, groups []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "grove state %d %d\nbase %s\narch %s\n", layoutVersion, importer.Version, b.baseCommit(), b.o.Arch)
	fmt.Fprintf(h, "manifest %x\n", sha256.Sum256(treeKeys(b.m)))
	var start manifest.LockedStage
	for _, end := range b.stages[:n] {
		for _, p := range b.picks[start.Packages:end.Packages] {
			fmt.Fprintf(h, "package %s %s\n", p.meta.NEVRA, p.meta.Digest)
		}
		for _, r := range b.removed[start.Removed:end.Removed] {
			fmt.Fprintf(h, "removed %s\n", r.NEVRA())
		}
		fmt.Fprintf(h, "users %q\ngroups %q\n", users[start.Users:end.Users], groups[start.Groups:end.Groups])
		start = end
	}
	return hex.EncodeToString(h.Sum(nil))
}

// treeKeys is what a manifest says that is not about which packages there are: some of it changes the tree.
func treeKeys(m manifest.Manifest) []byte {
	m.Base, m.Ref, m.Releasever, m.Repos, m.LockfileRepos, m.RepoVars, m.GPGKey, m.GPGKeys = "", "", "", nil, nil, nil, "", nil
	m.Packages, m.ExcludePackages, m.VersionLocks, m.RepoPackages, m.LocalPackages = nil, nil, nil, nil, nil
	m.Overrides, m.Recommends, m.Metadata = manifest.Overrides{}, nil, nil
	m.AutomaticVersionPrefix, m.AutomaticVersionSuffix = "", ""
	return m.Encode()
}

// linesLeft are the account lines of earlier runs that the stage may take: where it stood in the run before, or in the lock, those
// that it had then; else all that the stages before it do not have.
func (b *build) linesLeft(all, taken []string, end int) []string {
	if b.stage < b.known {
		return all[min(len(taken), len(all)):min(max(end, len(taken)), len(all))]
	}
	have := names(taken)
	return slices.DeleteFunc(slices.Clone(all), func(l string) bool { return have[accountName(l)] })
}

// stageList is the borders between stages, for the hash of all inputs: nothing where there is one.
func stageList(stages []manifest.LockedStage) string {
	var out strings.Builder
	for i, s := range stages {
		if i < len(stages)-1 {
			fmt.Fprintf(&out, "stage %d %d\n", s.Packages, s.Removed)
		}
	}
	return out.String()
}
