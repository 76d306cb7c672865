// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/fetch"
	"grove/internal/importer"
	"grove/internal/manifest"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// maxPackageBytes bounds one package file; the largest that distributions ship are near 4 GB.
const maxPackageBytes = 8 << 30

// imported is a package whose tree lies in the repo.
type imported struct {
	pick
	importer.Result
}

// localPackage is a package that was given as a file.
type localPackage struct {
	meta    rpm.Meta
	path    string // "" = in the package cache
	replace bool
}

// findLocals finds the manifest's local packages among the files given now and in the package cache.
func (b *build) findLocals(ctx context.Context) error {
	given := map[string]string{}
	for _, path := range b.o.LocalFiles {
		p, err := InspectLocal(path)
		if err != nil {
			return err
		}
		given[p.SHA256] = path
	}
	add := func(l manifest.LocalPackage, replace bool) error {
		n, err := rpm.ParseNEVRA(l.NEVRA)
		if err != nil {
			return fmt.Errorf("local package %q: %w", l.NEVRA, err)
		}
		lp := localPackage{path: given[l.SHA256], replace: replace}
		if lp.path != "" {
			lp.meta, err = localMeta(lp.path, l.SHA256)
		} else if lp.meta, err = b.cachedMeta(n, l.SHA256); err != nil && !replace && b.movedOn(n) {
			lp.meta, err = rpm.Meta{NEVRA: n, Digest: rpm.Digest{Algo: "sha256", Hex: l.SHA256}}, nil // gc may have taken what nothing uses
		}
		if err != nil {
			return fmt.Errorf("local package %s: %w", l.NEVRA, err)
		}
		b.locals = append(b.locals, lp)
		return nil
	}
	for _, l := range b.m.LocalPackages {
		if err := add(l, false); err != nil {
			return err
		}
	}
	for _, l := range b.m.Overrides.Replace {
		if l.SHA256 == "" {
			continue // from a source
		}
		if err := add(l, true); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// InspectLocal reads the header of a package file.
func InspectLocal(path string) (manifest.LocalPackage, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest.LocalPackage{}, err
	}
	defer f.Close()
	h := sha256.New()
	p, err := rpm.ReadPackage(io.TeeReader(io.LimitReader(f, maxPackageBytes), h))
	if err != nil {
		return manifest.LocalPackage{}, fmt.Errorf("read package %s: %w", path, err)
	}
	if _, err := io.Copy(h, f); err != nil {
		return manifest.LocalPackage{}, err
	}
	return manifest.LocalPackage{NEVRA: p.Header.NEVRA().String(), SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// StandsBeside tells whether a package file is of a kind of which several versions may be there together (solve.StandsBeside).
func StandsBeside(path string) (bool, error) {
	m, err := localMeta(path, "")
	return err == nil && solve.StandsBeside(m), err
}

func localMeta(path, sum string) (rpm.Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return rpm.Meta{}, err
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		return rpm.Meta{}, err
	}
	m, err := p.Header.Meta()
	m.Digest = rpm.Digest{Algo: "sha256", Hex: sum}
	return m, err
}

// cachedMeta is the metadata of a package in the cache.
func (b *build) cachedMeta(n rpm.NEVRA, sum string) (rpm.Meta, error) {
	r, ok, err := b.cached(n, sum)
	if err != nil {
		return rpm.Meta{}, err
	}
	if !ok {
		return rpm.Meta{}, errors.New("its file is not in the package cache any more; give the file again")
	}
	m, err := r.Header.Meta()
	m.Digest = rpm.Digest{Algo: "sha256", Hex: sum}
	return m, err
}

// cached finds an imported package by name and digest.
func (b *build) cached(n rpm.NEVRA, sum string) (importer.Result, bool, error) {
	c, err := b.o.Repo.Resolve(importer.Ref(n))
	if errors.Is(err, repo.ErrNotFound) {
		return importer.Result{}, false, nil
	}
	if err != nil {
		return importer.Result{}, false, err
	}
	if b.o.Repo.IsPartial(c) { // objects of it were lost: it is imported again
		return importer.Result{}, false, nil
	}
	r, err := importer.Load(b.o.Repo, c)
	if errors.Is(err, importer.ErrStale) || errors.Is(err, repo.ErrNotFound) { // of other rules, or no more than a ref is left
		return importer.Result{}, false, nil
	}
	if err != nil {
		return importer.Result{}, false, err
	}
	return r, r.Digest == sum && r.Variant == b.importOptions("").Variant(), nil
}

// cachedLocked finds the package of a lock in the cache.
func (b *build) cachedLocked(n rpm.NEVRA, l manifest.LockedPackage) (importer.Result, bool, error) {
	d := digestOf(l.Digest)
	if d.Algo != "sha256" {
		return importer.Result{}, false, nil
	}
	return b.cached(n, d.Hex)
}

// digestOf splits "sha256:HEX".
func digestOf(s string) rpm.Digest {
	algo, hash, _ := strings.Cut(s, ":")
	return rpm.Digest{Algo: algo, Hex: hash}
}

// fetchPackages brings every picked package into the package cache and checks its signature.
func fetchPackages(ctx context.Context, b *build) error {
	b.packages = make([]imported, len(b.picks))
	tx, err := b.o.Repo.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	rings := newKeyrings(b)
	var missing []int
	for i, p := range b.picks {
		r, ok, err := b.cachedPick(p)
		if err != nil {
			return fmt.Errorf("package cache: %s: %w", p.meta.NEVRA, err)
		}
		if !ok {
			missing = append(missing, i)
			continue
		}
		if err := rings.check(p, &rpm.Package{Signature: r.Signature, Header: r.Header}, nil); errors.Is(err, errNeedsFile) {
			missing = append(missing, i)
			continue
		} else if err != nil {
			return fmt.Errorf("package %s: %w", p.meta.NEVRA, err)
		}
		b.packages[i] = imported{p, r}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := b.locate(ctx, missing); err != nil {
		return err
	}
	var done atomic.Int64
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(b.parallel())
	// The largest first: what is left at the end is short, and all cores stay at work.
	slices.SortStableFunc(missing, func(i, j int) int { return cmp.Compare(b.picks[j].meta.SizeBytes, b.picks[i].meta.SizeBytes) })
	for _, i := range missing {
		group.Go(func() error {
			p := b.picks[i]
			r, err := b.importOne(gctx, tx, rings, p)
			if err != nil {
				return fmt.Errorf("package %s: %w", p.meta.NEVRA, b.moved(p, err))
			}
			b.packages[i] = imported{p, r}
			b.o.Progress(Event{Step: "fetch", Detail: p.meta.NEVRA.String(), Done: done.Add(1), Total: int64(len(missing))})
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.warnDropped()
	return tx.Commit()
}

// Moved is a package that its source does not have as metadata from the cache says.
type Moved struct {
	Source string // id
	error
}

func (e *Moved) Unwrap() error { return e.error }

// moved marks an error of bringing a package that newer metadata may mend.
func (b *build) moved(p pick, err error) error {
	if p.source == LocalSource || b.o.Refresh || b.o.Offline || b.o.Lock != nil {
		return err
	}
	for _, e := range []error{fetch.ErrNotFound, fetch.ErrDigest, fs.ErrNotExist} {
		if errors.Is(err, e) {
			return &Moved{p.source, err}
		}
	}
	return err
}

// parallel is how many packages are fetched and imported at a time.
func (b *build) parallel() int {
	n := max(2, runtime.GOMAXPROCS(0))
	if most := b.o.Main.Parallel; most > 0 {
		n = min(n, most)
	}
	return n
}

// cachedPick is cached for a pick; metadata with another digest than sha256 cannot be answered from the cache.
func (b *build) cachedPick(p pick) (importer.Result, bool, error) {
	if p.meta.Digest.Algo != "sha256" {
		return importer.Result{}, false, nil
	}
	return b.cached(p.meta.NEVRA, p.meta.Digest.Hex)
}

// locate makes sure that each missing package has a source to come from: a run from a lock has loaded none yet.
func (b *build) locate(ctx context.Context, missing []int) error {
	if b.o.Lock == nil {
		return nil
	}
	wanted := map[string]bool{}
	for _, i := range missing {
		if p := b.picks[i]; p.source != LocalSource {
			wanted[p.source] = true
		}
	}
	mds := map[string]*rpmmd.Metadata{}
	for _, s := range b.o.Sources {
		if !wanted[s.ID] {
			continue
		}
		md, err := rpmmd.Load(ctx, s, rpmmd.LoadOptions{CacheDir: b.metadataDir(), Client: b.o.Client, Offline: b.o.Offline, ReadKey: b.o.ReadKey})
		if err != nil {
			return fmt.Errorf("source %s: %w", s.ID, err)
		}
		mds[s.ID] = md
	}
	for _, i := range missing {
		p := &b.picks[i]
		if p.md = mds[p.source]; p.md == nil && p.source != LocalSource {
			return fmt.Errorf("package %s of the lock: source %q is in no .repo file, and the package is not in the cache", p.meta.NEVRA, p.source)
		}
	}
	return nil
}

// importOne downloads one package, checks it and puts its tree into the repo.
func (b *build) importOne(ctx context.Context, tx *repo.Tx, rings *keyrings, p pick) (importer.Result, error) {
	f, sum, err := b.openPackage(ctx, p)
	if err != nil {
		return importer.Result{}, err
	}
	defer f.Close()
	once := &reading{f: f}
	if !b.ownFile(f) {
		once.hash = sha256.New()
	}
	pkg, err := rpm.ReadPackage(once)
	if err != nil {
		return importer.Result{}, fmt.Errorf("read: %w", err)
	}
	if got := pkg.Header.NEVRA().String(); got != p.meta.NEVRA.String() {
		return importer.Result{}, fmt.Errorf("the file says it is %s", got)
	}
	if err := rings.check(p, pkg, f); err != nil {
		return importer.Result{}, err
	}
	r, err := importer.Import(ctx, tx, pkg, once, b.importOptions(sum))
	if err == nil {
		err = once.finish(sum)
	}
	return r, err
}

// ownFile tells whether nobody but grove writes to a package file.
func (b *build) ownFile(f *os.File) bool {
	return filepath.Dir(f.Name()) == filepath.Join(b.o.CacheDir, "packages")
}

// reading reads a file from its start on, whatever else is read of it meanwhile. With a hash it can tell whether what came is
// what was there when the file was checked: a guest's source may lie in its own /var, and the cache of packages is shared.
type reading struct {
	f    *os.File
	at   int64
	hash hash.Hash // nil = nobody else writes there
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.f.ReadAt(p, r.at)
	r.at += int64(n)
	if r.hash != nil {
		r.hash.Write(p[:n])
	}
	return n, err
}

// finish reads what is left and compares.
//
//	errors  fetch.ErrDigest
func (r *reading) finish(sum string) error {
	if r.hash == nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if got := hex.EncodeToString(r.hash.Sum(nil)); got != sum {
		return fmt.Errorf("%s: %w: it was changed while it was read: sha256 %s, was %s", r.f.Name(), fetch.ErrDigest, got, sum)
	}
	return nil
}

// maxNamed bounds how many paths a warning names.
const maxNamed = 3

// warnDropped names what packages have and a tree cannot: device nodes and fifos outside of /run and /var, content of mount points.
func (b *build) warnDropped() {
	for _, p := range b.packages {
		var paths []string
		for _, d := range p.Dropped {
			if m, ok := importer.MapPath(d); ok && m != "" {
				paths = append(paths, d)
			}
		}
		if n := len(paths); n > maxNamed {
			paths = append(paths[:maxNamed], fmt.Sprintf("%d more", n-maxNamed))
		}
		if len(paths) > 0 {
			b.warn("%s: not in the tree, which holds no device nodes and fifos: %s", p.meta.NEVRA, strings.Join(paths, ", "))
		}
	}
}

// importOptions are what the manifest leaves out of packages.
func (b *build) importOptions(digest string) importer.Options {
	return importer.Options{Digest: digest, NoDocs: !b.m.WantDocumentation(), Langs: b.m.InstallLangs, IMA: b.m.IMA}
}

// openPackage gives a package's file, standing at its start, and its sha256, checked against the metadata.
func (b *build) openPackage(ctx context.Context, p pick) (*os.File, string, error) {
	if p.source == LocalSource {
		for _, l := range b.locals {
			if l.meta.Digest.Hex == p.meta.Digest.Hex && l.path != "" {
				return openChecked(l.path, p.meta.Digest)
			}
		}
		return nil, "", errors.New("its file is not in the package cache any more; give the file again")
	}
	urls := p.md.PackageURLs(p.meta)
	for _, u := range urls {
		if path, ok := localPath(u); ok {
			f, sum, err := openChecked(path, p.meta.Digest)
			if err == nil || !errors.Is(err, os.ErrNotExist) || len(urls) == 1 {
				return f, sum, err
			}
		}
	}
	dest := filepath.Join(b.o.CacheDir, "packages", p.meta.Digest.Hex+".rpm")
	client := p.md.Source.Client(b.o.Client, b.o.Offline)
	err := client.Download(ctx, fetch.Download{
		URLs: urls, Dest: dest, SizeBytes: p.meta.SizeBytes, MaxBytes: maxPackageBytes,
		Digest: p.meta.Digest.Algo + ":" + p.meta.Digest.Hex,
	})
	if err != nil {
		return nil, "", err
	}
	f, sum, err := openChecked(dest, p.meta.Digest)
	if err == nil {
		os.Remove(dest) // its tree is in the repo from now on; the open file stays readable
	}
	return f, sum, err
}

func localPath(u string) (string, bool) {
	parsed, err := url.Parse(u)
	if err != nil || parsed.Scheme != "file" {
		return "", false
	}
	return parsed.Path, true
}

// openChecked opens a file and compares its digest; the file stands at its start again.
func openChecked(path string, want rpm.Digest) (*os.File, string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxPackageBytes {
		f.Close()
		return nil, "", fmt.Errorf("%s: no regular file of at most %d bytes", path, int64(maxPackageBytes))
	}
	sum, err := hashFile(f, want.Algo)
	var own string
	if err == nil {
		own = sum
		if want.Algo != "sha256" {
			if _, err = f.Seek(0, io.SeekStart); err == nil {
				own, err = hashFile(f, "sha256")
			}
		}
	}
	if err == nil && !strings.EqualFold(sum, want.Hex) {
		err = fmt.Errorf("%s: %w: %s is %s, its metadata says %s", path, fetch.ErrDigest, want.Algo, sum, want.Hex)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, own, nil
}

func hashFile(f io.Reader, algo string) (string, error) {
	h, err := fetch.NewHash(algo)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// MetadataDir is where the metadata of sources is cached.
func MetadataDir(cacheDir string) string { return filepath.Join(cacheDir, "sources") }

func (b *build) metadataDir() string { return MetadataDir(b.o.CacheDir) }

func (b *build) baseCommit() string {
	if b.o.Base == nil {
		return "none"
	}
	return b.o.Base.Commit.String()
}

func (b *build) readFile(name string) ([]byte, error) {
	if b.o.ReadFile == nil {
		return nil, fmt.Errorf("read %s: no folder of files goes with this manifest", name)
	}
	return b.o.ReadFile(name)
}
