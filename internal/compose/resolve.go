// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"grove/internal/fetch"
	"grove/internal/importer"
	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// LocalSource is the source's name of packages that were given as files.
const LocalSource = solve.LocalRepo

// layoutVersion is part of every input hash: raise it when the same inputs are to give another tree.
const layoutVersion = 3

// pick is one package that the tree gets.
type pick struct {
	meta      rpm.Meta
	source    string // id of its source, or LocalSource
	requested bool
	reason    string
	replaces  []string        // see manifest.LockedPackage
	md        *rpmmd.Metadata // nil for local files and for what the lock alone names
}

// resolve finds out which packages are to be there: from the lock, or by asking the solver.
func resolve(ctx context.Context, b *build) error {
	b.warnUnheeded()
	if err := b.findLocals(ctx); err != nil {
		return err
	}
	var err error
	if b.o.Lock != nil {
		err = b.resolveFromLock()
	} else {
		err = b.resolveBySolver(ctx)
	}
	if err != nil {
		return err
	}
	if err := b.recordModules(); err != nil {
		return err
	}
	b.arrange()
	b.stamp = b.stampOf(b.stages[len(b.stages)-1])
	b.inputs = b.inputHash()
	if b.o.Unchanged != nil && b.o.Unchanged(b.inputs) {
		b.result.Unchanged = true
		b.result.Lock = b.lock()
	}
	return nil
}

// resolveFromLock takes the packages as the lock has them, in its order.
func (b *build) resolveFromLock() error {
	if err := b.lockFits(); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	for _, l := range b.o.Lock.Packages {
		n, err := rpm.ParseNEVRA(l.NEVRA)
		if err != nil {
			return fmt.Errorf("lock: package %q: %w", l.NEVRA, err)
		}
		b.picks = append(b.picks, pick{
			meta:      rpm.Meta{NEVRA: n, Location: l.Location, Digest: digestOf(l.Digest), SizeBytes: l.SizeBytes, BuildTimeSec: l.BuildTime},
			source:    l.Source,
			requested: l.Requested,
			reason:    l.Reason,
			replaces:  l.Replaces,
		})
	}
	gone := map[string]bool{}
	for _, n := range b.o.Lock.Removed {
		gone[n] = true
	}
	for _, h := range b.base.headers {
		if n := h.NEVRA().String(); gone[n] {
			b.removed = append(b.removed, h)
			delete(gone, n)
		}
	}
	for _, n := range sortedKeys(gone) {
		return fmt.Errorf("lock: package %s is to be removed, and the base does not have it", n)
	}
	return nil
}

// lockFits refuses a lock that was written for something else: another machine, another base.
func (b *build) lockFits() error {
	l := b.o.Lock
	if l.Arch != "" && l.Arch != b.o.Arch {
		return fmt.Errorf("is for %s, and this is %s", l.Arch, b.o.Arch)
	}
	got := "none"
	if l.Base.Commit != "" {
		got = l.Base.Commit
	}
	if got != b.baseCommit() {
		return fmt.Errorf("is for base commit %s, and this is %s", got, b.baseCommit())
	}
	return nil
}

// resolveBySolver loads the sources, asks the solver and keeps its answer.
func (b *build) resolveBySolver(ctx context.Context) error {
	wants := b.m.Packages
	if len(wants)+len(b.m.Modules.Install)+len(b.m.Modules.Enable)+len(b.m.RepoPackages)+len(b.m.Overrides.Remove)+len(b.m.Overrides.Replace)+len(b.locals) == 0 {
		if b.o.Base == nil {
			return errors.New("the manifest names no packages; add some under `packages:`")
		}
		return b.baseFitsLocks()
	}
	dead, err := b.loadSources(ctx)
	if err != nil {
		return err
	}
	b.short = len(dead) > 0
	more, err := b.modules(wants)
	if err != nil {
		return err
	}
	req, err := b.request(append(more, wants...))
	if err != nil {
		return err
	}
	plan, err := b.solveWithFiles(ctx, req)
	if err == nil {
		plan, err = b.solveConditional(ctx, &req, plan)
	}
	if err == nil {
		plan, err = b.solveSplits(ctx, &req, plan)
	}
	if err != nil {
		for _, m := range b.choice.Vanished {
			err = fmt.Errorf("%w (%s)", err, vanished(m))
		}
		if len(dead) > 0 {
			err = fmt.Errorf("%w (left out, as unavailable: %s)", err, strings.Join(dead, "; "))
		}
		return err
	}
	for _, d := range dead {
		b.warn("source left out: %s", d)
	}
	b.result.Satisfied, b.result.Waiting = plan.Satisfied, plan.Waiting
	if err := b.keep(req, plan); err != nil {
		return err
	}
	b.result.Newer = b.newer()
	return b.checkProtected()
}

// baseFitsLocks asks whether the version locks admit the base as it is.
func (b *build) baseFitsLocks() error {
	if len(b.m.VersionLocks) == 0 {
		return nil
	}
	req := solve.Request{Arch: b.o.Arch, KeepInstalled: true, Locks: b.m.VersionLocks}
	if err := b.installed(&req); err != nil {
		return err
	}
	_, err := b.o.Solve(req)
	return err
}

// installed are the base's packages.
func (b *build) installed(req *solve.Request) error {
	for _, h := range b.base.headers {
		m, err := h.Meta()
		if err != nil {
			return fmt.Errorf("base package %s: %w", h.NEVRA(), err)
		}
		req.Installed = append(req.Installed, m)
	}
	return nil
}

// loadSources reads the metadata of every source that the manifest admits. A source that cannot be reached is named in dead where the
// work may do without it: its .repo file says skip_if_unavailable, or what is asked for may be had elsewhere. What came and is wrong
// (a signature, a checksum, XML that is none) is never passed over.
func (b *build) loadSources(ctx context.Context) (dead []string, err error) {
	chosen, err := b.chooseSources()
	if err != nil {
		return nil, err
	}
	for i, l := range b.loadAll(ctx, chosen) {
		src, md, err := chosen[i], l.md, l.err
		if err == nil {
			b.sources = append(b.sources, md)
			for _, w := range md.Warnings { // groups that cannot be read: what asks for one will fail
				b.warn("source %s: %s", src.ID, w)
			}
			continue
		}
		if ctx.Err() != nil || l.fatal {
			return nil, err
		}
		if b.needsAll() && !src.SkipIfUnavailable && !errors.Is(err, fetch.ErrOffline) {
			return nil, fmt.Errorf("%w (skip_if_unavailable=1 in its .repo file would leave it out)", err)
		}
		dead = append(dead, err.Error())
		if p := ownPriority(src); len(dead) == 1 || p < b.shortPriority {
			b.shortPriority = p
		}
	}
	// What is layered already, and package files, need no source.
	if len(b.sources) == 0 && len(dead) > 0 && (b.o.Newest || b.o.Previous == nil && len(b.locals) == 0) {
		return nil, fmt.Errorf("no source can be read: %s", strings.Join(dead, "; "))
	}
	return dead, nil
}

// loaded is what became of loading one source.
type loaded struct {
	md    *rpmmd.Metadata
	err   error
	fatal bool // nothing can be made without knowing what is wrong
}

// loadsAtOnce bounds how many sources are asked and parsed at a time.
const loadsAtOnce = 4

// loadAll loads sources, several at a time. What is fatal ends the others, and is then all that the result has.
func (b *build) loadAll(ctx context.Context, sources []rpmmd.Source) []loaded {
	out := make([]loaded, len(sources))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(loadsAtOnce)
	for i, src := range sources {
		group.Go(func() error {
			b.o.Progress(Event{Step: "resolve", Detail: src.ID})
			l := &out[i]
			l.md, l.err = rpmmd.Load(gctx, src, rpmmd.LoadOptions{
				CacheDir: b.metadataDir(), Client: b.o.Client, Offline: b.o.Offline, Refresh: b.o.Refresh, ReadKey: b.o.ReadKey,
			})
			if l.fatal = l.err != nil && gctx.Err() == nil && (!rpmmd.Unavailable(l.err) || diskFault(l.err)); l.fatal {
				return l.err
			}
			return nil
		})
	}
	if group.Wait() == nil {
		return out
	}
	for _, l := range out {
		if l.fatal {
			return []loaded{l}
		}
	}
	return out
}

// diskFault tells a fault of this machine from one of a source: no other source would be any better.
func diskFault(err error) bool {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// needsAll tells whether a source that is not there would make another result: the newest versions are asked for, or a whole tree.
func (b *build) needsAll() bool { return b.o.Newest || b.o.Base == nil }

// chooseSources are the sources that the manifest names, or all enabled ones where it names none.
func (b *build) chooseSources() ([]rpmmd.Source, error) {
	if len(b.m.Repos) == 0 {
		var on []rpmmd.Source
		for _, s := range b.o.Sources {
			if s.Enabled {
				on = append(on, s)
			}
		}
		return on, nil
	}
	byID := map[string]rpmmd.Source{}
	var known []string
	for _, s := range b.o.Sources {
		byID[s.ID] = s
		known = append(known, s.ID)
	}
	var out []rpmmd.Source
	taken := map[string]bool{}
	for _, id := range b.m.Repos {
		if taken[id] {
			continue
		}
		taken[id] = true
		s, ok := byID[id]
		if !ok {
			return nil, fmt.Errorf("source %q of the manifest is in no .repo file (known: %s)", id, strings.Join(known, ", "))
		}
		out = append(out, s)
	}
	return out, nil
}

// request is the question to the solver.
func (b *build) request(wants []string) (solve.Request, error) {
	req := solve.Request{
		Arch: b.o.Arch, KeepInstalled: b.o.Base != nil, Exclude: b.m.ExcludePackages, Locks: b.m.VersionLocks,
		NoWeak: b.noWeak(), Best: b.o.Main.Best != nil && *b.o.Main.Best, InstallOnly: b.o.Main.InstallOnly,
	}
	for _, md := range b.sources {
		req.Repos = append(req.Repos, solve.Repo{ID: md.Source.ID, Priority: b.priority(md.Source), Cost: md.Source.Cost, Packages: md.Packages})
	}
	if err := b.keptRepo(&req); err != nil {
		return req, err
	}
	if err := b.installed(&req); err != nil {
		return req, err
	}
	for _, l := range b.locals {
		req.Local = append(req.Local, l.meta)
		if l.replace {
			req.Replace = append(req.Replace, solve.Replacement{Spec: l.meta.NEVRA.String(), From: LocalSource})
		} else {
			req.Files = append(req.Files, solve.File{NEVRA: l.meta.NEVRA.String(), Newer: b.o.Newest || b.movedOn(l.meta.NEVRA)})
		}
	}
	for _, r := range b.m.Overrides.Replace {
		if r.SHA256 == "" {
			req.Replace = append(req.Replace, solve.Replacement{Spec: r.NEVRA, From: r.Repo})
		}
	}
	req.Remove = b.m.Overrides.Remove
	for _, w := range wants {
		if !strings.HasPrefix(w, "@") {
			req.Install = append(req.Install, w)
			continue
		}
		if b.isModule(w) {
			continue // its packages are among wants
		}
		members, err := b.group(strings.TrimPrefix(w, "@"))
		if err != nil {
			return req, err
		}
		req.Install = append(req.Install, members...)
	}
	return req, b.repoPackages(&req)
}

// noWeak says whether weak dependencies stay away: by the manifest, else by the target's dnf.conf.
func (b *build) noWeak() bool {
	if weak := b.o.Main.Weak; b.m.Recommends == nil && weak != nil {
		return !*weak
	}
	return !b.m.WantRecommends()
}

// keep turns the solver's answer into picks.
func (b *build) keep(req solve.Request, plan solve.Plan) error {
	from := map[string]int{}
	for i, md := range b.sources {
		from[md.Source.ID] = i
	}
	for _, p := range plan.Install {
		k := pick{source: p.Repo, requested: p.Requested, reason: p.Reason}
		if i, ok := from[p.Repo]; ok {
			k.md, k.meta = b.sources[i], req.Repos[i].Packages[p.Index] // not all of the source's may have been offered
		} else if p.Repo == keptRepo {
			l := b.kept[p.Index]
			k.source, k.meta = l.Source, lockedMeta(l, req.Repos[len(req.Repos)-1].Packages[p.Index])
		} else {
			k.source, k.meta = LocalSource, req.Local[p.Index]
		}
		b.markSplit(&k)
		b.picks = append(b.picks, k)
	}
	for _, i := range plan.Remove {
		b.removed = append(b.removed, b.base.headers[i])
	}
	return nil
}

// inputHash is over everything that the commit's content depends on, and nothing else.
func (b *build) inputHash() string {
	h := sha256.New()
	fmt.Fprintf(h, "grove %d %d\nbase %s\narch %s\n", layoutVersion, importer.Version, b.baseCommit(), b.o.Arch)
	m := b.m
	m.Base, m.Repos = "", nil
	m.Packages = sorted(m.Packages) // in which order they were asked for is not part of what they are
	m.LocalPackages = slices.SortedFunc(slices.Values(m.LocalPackages), func(x, y manifest.LocalPackage) int {
		return strings.Compare(x.NEVRA+x.SHA256, y.NEVRA+y.SHA256)
	})
	fmt.Fprintf(h, "manifest %x\n", sha256.Sum256(m.Encode()))
	for _, p := range b.picks {
		fmt.Fprintf(h, "package %s %s:%s\n", p.meta.NEVRA, p.meta.Digest.Algo, p.meta.Digest.Hex)
	}
	for _, r := range b.removed {
		fmt.Fprintf(h, "removed %s\n", r.NEVRA())
	}
	for _, r := range b.records {
		fmt.Fprintf(h, "module %q %q %q %v\n", r.Name, r.Stream, r.Profiles, r.Disabled)
	}
	fmt.Fprint(h, stageList(b.stages))
	files := []string{m.PostprocessScript}
	for _, f := range m.AddFiles {
		files = append(files, f[0])
	}
	for _, f := range files {
		data, err := b.readFile(f)
		fmt.Fprintf(h, "file %s %x %v\n", f, sha256.Sum256(data), f == "" || err == nil)
	}
	for _, ref := range append(append([]string{}, m.OSTreeLayers...), m.OSTreeOverrideLayers...) {
		c, err := b.o.Repo.Resolve(ref)
		fmt.Fprintf(h, "layer %s %s %v\n", ref, c, err == nil)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// knownIDs are the account lines that earlier runs made and this one keeps.
func (b *build) knownIDs() (users, groups []string) {
	l := b.o.Lock
	if l == nil {
		l = b.o.Previous
	}
	if l == nil {
		return nil, nil
	}
	return l.Users, l.Groups
}

// stageIDs are those of knownIDs that the stage may take.
func (b *build) stageIDs() (users, groups []string) {
	users, groups = b.knownIDs()
	end := b.stages[b.stage]
	return b.linesLeft(users, b.users, end.Users), b.linesLeft(groups, b.groups, end.Groups)
}

// lock writes the plan down.
func (b *build) lock() manifest.Lock {
	l := manifest.Lock{Version: manifest.LockVersion, Arch: b.o.Arch, Inputs: b.inputs, Timestamp: int64(b.stamp)}
	if b.o.Base != nil {
		l.Base = manifest.LockedBase{Ref: b.o.Base.Ref, Commit: b.o.Base.Commit.String(), Version: b.base.version}
	}
	for _, p := range b.picks {
		l.Packages = append(l.Packages, manifest.LockedPackage{
			NEVRA: p.meta.NEVRA.String(), Source: p.source, Location: p.meta.Location,
			Digest: p.meta.Digest.Algo + ":" + p.meta.Digest.Hex, SizeBytes: p.meta.SizeBytes,
			Requested: p.requested, Reason: p.reason, BuildTime: p.meta.BuildTimeSec, Replaces: p.replaces,
		})
	}
	for _, r := range b.removed {
		l.Removed = append(l.Removed, r.NEVRA().String())
	}
	l.Modules = b.lockedModules()
	l.Users, l.Groups = b.users, b.groups
	if b.tree == nil {
		l.Users, l.Groups = b.knownIDs()
	}
	if len(b.stages) > 1 {
		l.Stages = slices.Clone(b.stages)
		last := &l.Stages[len(l.Stages)-1]
		last.Users, last.Groups = len(l.Users), len(l.Groups)
	}
	return l
}
