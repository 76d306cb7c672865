// SPDX-License-Identifier: Apache-2.0

// Package pull brings commits, and all they need, from a remote into a repository.
//
// It reads archive repositories over HTTP and any repository in a folder. Static deltas take the place of objects where they
// save bytes. Order is everything: a commit is held against its checksum, the remote's keys, its bindings and the time of the
// commit that it follows before anything else of it is asked for; it is then stored, marked as partial; each object is held
// against its checksum before it is stored; when all are there, the mark goes and refs move, together. What was brought when
// a pull is cut off stays, and is not asked for again.
package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// Options of Pull; the zero value brings whole commits, as the remote's configuration says.
type Options struct {
	URL           string   // instead of the remote's url, contenturl and metalink: an URL or an absolute path
	Mirror        bool     // refs are set as the repository's own, not as REMOTE:REF; no refs asked for means all
	KeepSummary   bool     // with Mirror: take over the remote's summary where it is signed, also when it lists more than was asked for
	CopyDeltas    bool     // with Mirror: the static deltas to these commits come too, as the files they are
	CommitOnly    bool     // commits and signatures only; they are marked as partial
	Depth         int      // how many parents of each commit come too; -1 = all that the remote has
	Subpaths      []string // only these paths of the trees, absolute; the commits are marked as partial
	Untrusted     bool     // hold also what a repository on this machine has against its checksums
	UserOnlyFiles bool     // refuse files with a mode beyond 0775
	AnyBinding    bool     // do not hold commits against the ref and the collection that they are bound to

	TimestampCheck bool   // refuse a commit older than the one that the ref names now
	TimestampFrom  string // refuse a commit older than this one, a ref or a checksum; "" = any

	LocalCaches []string // repositories on this machine that objects are taken from where they have them
	CacheDir    string   // where summaries are kept; "" = the repository's tmp/cache

	GPGVerify        bool // of Local: commits must be signed by a GPG key of the remote that is named
	GPGVerifySummary bool // of Local: so must the summary

	Parallel int           // requests at a time; 0 = 12
	Client   *fetch.Client // nil = made from the remote's tls and proxy keys
	Offline  bool
	Headers  [][2]string // further HTTP headers: name, value
	Retries  int         // how often a request is tried again; 0 = the client's own number, -1 = never
	Deltas   DeltaUse
	KeyDir   string // folder of OpenPGP keys for remotes that have none of their own; "" = /usr/share/ostree/trusted.gpg.d
	Progress func(Event)
}

// Event tells how far a pull is. Found grows while directories are read.
type Event struct {
	Objects, Found int   // brought, and known to be needed
	Bytes          int64 // as they came over the line
}

// Result tells what a pull brought.
type Result struct {
	Commits        map[string]ostree.Checksum // by the name that was asked for
	ObjectsFetched int
	BytesFetched   int64    // as they came over the line; 0 for a repository on this machine
	ObjectsCopied  int      // of these, those that came from a repository on this machine
	DeltaParts     int      // parts of static deltas that were used
	DeltasCopied   int      // static deltas that came as files
	VerifiedBy     []string // who signed the commits, for people; empty where the remote asks for no signature
	SummaryKept    bool     // the remote's summary is the repository's now, byte for byte
	EndOfLife      []EndOfLife
	Warnings       []string // for people
}

// Add takes in what another pull brought; prefix goes before the names that were asked for.
func (r *Result) Add(prefix string, other Result) {
	for name, c := range other.Commits {
		r.Commits[prefix+name] = c
	}
	r.ObjectsFetched += other.ObjectsFetched
	r.BytesFetched += other.BytesFetched
	r.ObjectsCopied += other.ObjectsCopied
	for _, s := range other.VerifiedBy {
		if !slices.Contains(r.VerifiedBy, s) {
			r.VerifiedBy = append(r.VerifiedBy, s)
		}
	}
	for _, e := range other.EndOfLife {
		e.Ref = prefix + e.Ref
		r.EndOfLife = append(r.EndOfLife, e)
	}
	r.Warnings = append(r.Warnings, other.Warnings...)
}

// EndOfLife is what a commit says that nobody should use any more.
type EndOfLife struct {
	Ref    string // as it was asked for
	Reason string
	Rebase string // the ref to use instead; "" = none is named
}

// Pull brings refs from a remote of r's configuration. A ref is a name, a checksum, or name@checksum (that commit, as that
// ref). No refs means the remote's branches.
//
//	errors  repo.ErrNotFound, sign.ErrUntrusted, ostree.ErrCorrupt, fetch.ErrOffline; r has then no other refs than before
func Pull(ctx context.Context, r *repo.Repo, remote string, refs []string, o Options) (Result, error) {
	rem, err := openRemote(ctx, r, remote, o)
	if err != nil {
		return Result{}, fmt.Errorf("pull from %s: %w", remote, err)
	}
	defer rem.close()
	res, err := pullFrom(ctx, r, rem, refs, o)
	if err != nil {
		return res, fmt.Errorf("pull from %s: %w", remote, err)
	}
	return res, nil
}

func pullFrom(ctx context.Context, r *repo.Repo, rem *remote, refs []string, o Options) (Result, error) {
	p := &puller{r: r, rem: rem, o: o, result: Result{Commits: map[string]ostree.Checksum{}}, tried: map[ostree.Checksum]*verified{}}
	defer p.closeCaches()
	err := p.openCaches()
	if err == nil {
		err = p.run(ctx, refs)
	}
	p.result.Warnings = rem.warnings
	return p.result, err
}

// RemoteRefs lists what a remote has.
//
//	errors  as Pull; text only where a server has no summary
func RemoteRefs(ctx context.Context, r *repo.Repo, remote string) (map[string]ostree.Checksum, error) {
	return RefsOf(ctx, r, remote, Options{})
}

// RefsOf is RemoteRefs with options.
func RefsOf(ctx context.Context, r *repo.Repo, remote string, o Options) (map[string]ostree.Checksum, error) {
	rem, err := openRemote(ctx, r, remote, o)
	if err != nil {
		return nil, fmt.Errorf("list refs of %s: %w", remote, err)
	}
	defer rem.close()
	refs, err := rem.allRefs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list refs of %s: %w", remote, err)
	}
	return refs, nil
}

// want is one thing that was asked for.
type want struct {
	asked      string // as the caller wrote it
	ref        string // "" for a bare checksum
	collection string // of the ref, where the remote's summary says so
	commit     ostree.Checksum
	chain      []*verified // the commit, and the parents that are to come too
}

// puller is one call of Pull.
type puller struct {
	r      *repo.Repo
	rem    *remote
	o      Options
	tx     *repo.Tx // the last one: it holds the lock all the time, and sets the refs
	caches []*repo.Repo

	mu     sync.Mutex
	result Result
	tried  map[ostree.Checksum]*verified
	early  *earlyTx
}

func (p *puller) openCaches() error {
	for _, path := range p.o.LocalCaches {
		c, err := repo.Open(path)
		if err != nil {
			return fmt.Errorf("local cache: %w", err)
		}
		p.caches = append(p.caches, c)
	}
	left, err := p.r.Leftovers()
	p.caches = append(p.caches, left...)
	return err
}

func (p *puller) closeCaches() {
	for _, c := range p.caches {
		c.Close()
	}
}

func (p *puller) run(ctx context.Context, refs []string) error {
	wants, err := p.resolve(ctx, refs)
	if err != nil {
		return err
	}
	// not ctx: what came until a cancel shall stay
	if p.tx, err = p.r.Begin(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer p.tx.Abort()
	if err := p.admitAll(ctx, wants); err != nil {
		return err
	}
	if err := p.content(ctx, wants); err != nil {
		return err
	}
	for _, w := range wants {
		p.result.Commits[w.asked] = w.commit
		if w.ref == "" {
			continue
		}
		if err := p.setRef(w); err != nil {
			return err
		}
	}
	if err := p.tx.Commit(); err != nil {
		return err
	}
	if p.o.Mirror && p.o.CopyDeltas { // before the summary that names them
		if err := p.copyDeltas(ctx, wants); err != nil {
			return err
		}
	}
	all := len(refs) == 0 && len(p.rem.conf.Branches) == 0
	if !p.o.Mirror || p.rem.summaryData == nil || !all && (!p.o.KeepSummary || p.rem.summarySig == nil) {
		return nil
	}
	p.result.SummaryKept = true
	return p.rem.mirrorSummary(p.r)
}

func (p *puller) setRef(w *want) error {
	if p.o.Mirror {
		return p.tx.SetCollectionRef(w.collection, w.ref, w.commit)
	}
	return p.tx.SetRef(p.localName(w.ref), w.commit)
}

func (p *puller) localName(ref string) string {
	if p.o.Mirror || p.rem.name == "" {
		return ref
	}
	return p.rem.name + ":" + ref
}

// current is the commit that a ref of the remote names here now.
func (p *puller) current(w *want) (ostree.Checksum, error) {
	if p.o.Mirror && w.collection != "" {
		refs, err := p.r.CollectionRefs(w.collection)
		if c, ok := refs[w.ref]; ok || err != nil {
			return c, err
		}
		return ostree.Checksum{}, repo.ErrNotFound
	}
	return p.r.Resolve(p.localName(w.ref))
}

// content brings the trees of the commits that are not whole yet.
func (p *puller) content(ctx context.Context, wants []*want) error {
	if p.o.CommitOnly {
		return nil
	}
	g := newGatherer(p)
	var roots []root
	for _, w := range wants {
		for _, v := range w.chain {
			if v.whole || v.gathered {
				continue
			}
			v.gathered = true
			if len(p.o.Subpaths) == 0 {
				p.tx.SetPartial(v.sum, false)
			}
			prev := p.previous(w, v)
			if err := p.useDelta(ctx, v, prev, v.sum == w.commit); err != nil {
				return fmt.Errorf("commit %s: %w", v.sum, err)
			}
			roots = append(roots, root{v, prev})
		}
	}
	return g.run(ctx, roots)
}

// previous is a whole commit of r that likely shares much with v: the one that the ref names now, or v's parent.
func (p *puller) previous(w *want, v *verified) *ostree.Commit {
	var candidates []ostree.Checksum
	if w.ref != "" {
		if c, err := p.current(w); err == nil {
			candidates = append(candidates, c)
		}
	}
	for _, c := range append(candidates, v.commit.Parent) {
		if !c.IsZero() && p.r.Has(ostree.TypeCommit, c) && !p.r.IsPartial(c) {
			if commit, err := p.r.Commit(c); err == nil {
				return &commit
			}
		}
	}
	return nil
}

// Local brings refs (all of src's own if refs is empty; a checksum brings that commit without a ref) from a repository on this
// machine. They become refs of r's own, or, with a name for remote, that remote's. Signatures are not asked for.
//
//	errors  as Pull
func Local(ctx context.Context, r *repo.Repo, src, remote string, refs []string, o Options) (Result, error) {
	rem, err := localRemote(r, src, remote, o)
	if err != nil {
		return Result{}, fmt.Errorf("pull from %s: %w", src, err)
	}
	defer rem.close()
	res, err := pullFrom(ctx, r, rem, refs, o)
	if err != nil {
		return res, fmt.Errorf("pull from %s: %w", rem.local.Path(), err)
	}
	return res, nil
}

// userOnly refuses what a bare-user-only repository could not hold.
func userOnly(h ostree.FileHeader) error {
	if !h.IsSymlink() && h.Mode&ostree.ModePerm&^0o775 != 0 {
		return fmt.Errorf("mode %#o of a file is beyond 0775", h.Mode&ostree.ModePerm)
	}
	return nil
}

var errNoRefs = errors.New("no ref asked for, and the remote names no branches")

func (p *puller) noteSigners(marks []trust.Mark) {
	for _, m := range marks {
		if s := m.String(); !slices.Contains(p.result.VerifiedBy, s) {
			p.result.VerifiedBy = append(p.result.VerifiedBy, s)
		}
	}
}
