// SPDX-License-Identifier: Apache-2.0

package solve

// #cgo pkg-config: libsolv
// #include <stdlib.h>
// #include "glue.h"
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"grove/internal/rpm"
)

// Kinds of dependencies as glue.h numbers them.
const (
	kindProvides = iota
	kindRequires
	kindConflicts
	kindObsoletes
	kindRecommends
	kindSuggests
	kindSupplements
	kindEnhances
)

// Where a package of the pool comes from, besides an index into Request.Repos.
const (
	fromInstalled = -1
	fromLocal     = -2
)

// firstID is the id of the first package fed; libsolv keeps 0 and 1 for itself.
const firstID = 2

// batch is how many bytes of program go to C in one call: large enough that the call costs nothing.
const batch = 1 << 20

// pool is a request inside libsolv. Ids are those of libsolv's solvables.
type pool struct {
	g    *C.Glue
	req  *Request
	meta []*rpm.Meta // by id - firstID
	repo []int       // by id - firstID: index into Repos, fromInstalled or fromLocal
	at   []int       // by id - firstID: index into that list
	out  []left      // packages that were not fed

	byName     map[string][]int // name -> ids, rising
	archOK     map[string]bool
	wanted     map[string]bool // paths that something asks for
	exclude    []pattern
	locks      []LockPattern
	released   map[int]bool     // installed packages that Remove and Replace set free
	byObsolete map[string][]int // name -> ids of packages that obsolete it; nil = not made yet
	beside     map[int]bool     // packages that stand beside others of their name

	satisfied, missing, waiting []string // specs, from jobs
	prog                        program
	trying                      bool // in search of a way out: no more searches
}

// left is a package that cannot be chosen, and why.
type left struct {
	meta *rpm.Meta
	repo int
	why  string
}

func newPool(req *Request) (*pool, error) {
	p, err := emptyPool(req, poolFlags)
	if err != nil {
		return nil, err
	}
	for _, s := range req.Exclude {
		p.exclude = append(p.exclude, forms(s)...)
	}
	for _, s := range req.Locks {
		l, err := ParseLock(s)
		if err != nil {
			p.free()
			return nil, err
		}
		p.locks = append(p.locks, l)
	}
	if err := p.feedAll(); err != nil {
		p.free()
		return nil, err
	}
	p.fed()
	return p, nil
}

// Flags of the pool: lib.i686 and lib.x86_64 live side by side, as in Fedora's builds of libsolv.
//
//	source  libsolv src/pool.h, POOL_FLAG_*
var poolFlags = []int{5, 1, 10, 1} // OBSOLETEUSESCOLORS, IMPLICITOBSOLETEUSESCOLORS

// emptyPool has no packages yet; flags are pairs of a flag and its value.
func emptyPool(req *Request, flags []int) (*pool, error) {
	var arch *C.char
	if req.Arch != "" {
		arch = C.CString(req.Arch)
		defer C.free(unsafe.Pointer(arch))
	}
	p := &pool{g: C.glue_new(arch), req: req, byName: map[string][]int{}, archOK: map[string]bool{}, released: map[int]bool{}, beside: map[int]bool{}}
	if p.g == nil {
		return nil, errors.New("out of memory")
	}
	for i := 0; i+1 < len(flags); i += 2 {
		C.glue_pool_flag(p.g, C.int(flags[i]), C.int(flags[i+1]))
	}
	return p, nil
}

// fed is called after the last package.
func (p *pool) fed() { C.glue_index(p.g) }

func (p *pool) free() { C.glue_free(p.g) }

func (p *pool) feedAll() error {
	p.wanted = wantedPaths(p.req)
	if err := p.feedRepo("@installed", fromInstalled, p.req.Installed, 0, 0); err != nil {
		return fmt.Errorf("installed packages: %w", err)
	}
	// What files shall come in is asked for by name. Where something newer will do too (File.Newer), it is to win.
	if err := p.feedRepo(LocalRepo, fromLocal, p.req.Local, 1<<30, 0); err != nil {
		return fmt.Errorf("local packages: %w", err)
	}
	for i, r := range p.req.Repos {
		if err := p.feedRepo(r.ID, i, r.Packages, orDefault(r.Priority, 99), orDefault(r.Cost, 1000)); err != nil {
			return fmt.Errorf("source %s: %w", r.ID, err)
		}
	}
	return nil
}

func orDefault(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// feedRepo gives one list of packages to libsolv, where a higher number wins.
func (p *pool) feedRepo(name string, repo int, list []rpm.Meta, priority, cost int) error {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	installed := C.int(0)
	if repo == fromInstalled {
		installed = 1
	}
	if C.glue_repo(p.g, cname, C.int(-clamp(priority)), C.int(-clamp(cost)), installed) != 0 {
		return errors.New("libsolv made no repo")
	}
	for i := range list {
		m := &list[i]
		if why := p.unusable(m, repo); why != "" {
			p.out = append(p.out, left{m, repo, why})
			continue
		}
		if err := p.feed(m); err != nil {
			return fmt.Errorf("package %s: %w", m.NEVRA, err)
		}
		id := firstID + len(p.meta)
		p.meta, p.repo, p.at = append(p.meta, m), append(p.repo, repo), append(p.at, i)
		p.byName[m.Name] = append(p.byName[m.Name], id)
		if len(p.prog.code) >= batch {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return p.flush()
}

func clamp(n int) int { return max(-1<<30, min(n, 1<<30)) }

func (p *pool) unusable(m *rpm.Meta, repo int) string {
	if repo == fromInstalled {
		return ""
	}
	ok, known := p.archOK[m.Arch]
	if !known {
		if checkText(m.Arch) == nil && m.Arch != "" {
			arch := C.CString(m.Arch)
			ok = C.glue_arch_ok(p.g, arch) != 0
			C.free(unsafe.Pointer(arch))
		}
		p.archOK[m.Arch] = ok
	}
	if !ok {
		return "it is for " + m.Arch
	}
	for _, x := range p.exclude {
		if x.matches(m.NEVRA) {
			return "it is excluded"
		}
	}
	return lockedOut(p.locks, m.NEVRA)
}

// feed appends one package to the program.
func (p *pool) feed(m *rpm.Meta) error {
	arch := m.Arch
	if arch == "" || arch == "(none)" {
		arch = "noarch" // gpg-pubkey in an rpmdb
	}
	for _, s := range []string{m.Name, m.EVR.String(), arch} {
		if err := checkText(s); err != nil {
			return err
		}
		p.prog.text(s)
	}
	p.prog.newPackage()
	for kind, list := range depLists(m) {
		deps := *list
		if len(deps) > maxDeps {
			return fmt.Errorf("%d dependencies of one kind, at most %d are allowed", len(deps), maxDeps)
		}
		for _, d := range deps {
			if d.Name == "" || strings.HasPrefix(d.Name, "rpmlib(") {
				continue
			}
			if err := errors.Join(checkText(d.Name), checkText(d.EVR.Version), checkText(d.EVR.Release), checkText(d.EVR.Epoch)); err != nil {
				return err
			}
			p.prog.push(d)
			p.prog.dep(kind, kind == kindRequires && d.Pre)
		}
	}
	for _, f := range m.Files {
		if p.wanted[f] {
			p.prog.text(f)
			p.prog.dep(kindProvides, true)
		}
	}
	return nil
}

// depLists are a package's dependencies in the order of the kinds.
func depLists(m *rpm.Meta) [8]*[]rpm.Dep {
	return [8]*[]rpm.Dep{&m.Provides, &m.Requires, &m.Conflicts, &m.Obsoletes, &m.Recommends, &m.Suggests, &m.Supplements, &m.Enhances}
}

func (p *pool) flush() error {
	if len(p.prog.code) == 0 {
		return nil
	}
	rc := C.glue_feed(p.g, (*C.uchar)(unsafe.Pointer(&p.prog.code[0])), C.size_t(len(p.prog.code)))
	p.prog.code = p.prog.code[:0]
	if rc != 0 {
		return errors.New("internal error: malformed feed")
	}
	return nil
}

// wantedPaths are the files that a dependency or a request names: only these become provides.
func wantedPaths(req *Request) map[string]bool {
	want := map[string]bool{}
	for _, s := range req.Install {
		if strings.HasPrefix(s, "/") {
			want[s] = true
		}
		if strings.HasPrefix(s, "(") {
			addPaths(want, richNames(s))
		}
	}
	lists := [][]rpm.Meta{req.Installed, req.Local}
	for _, r := range req.Repos {
		lists = append(lists, r.Packages)
	}
	for _, list := range lists {
		for i := range list {
			m := &list[i]
			for _, deps := range [][]rpm.Dep{m.Requires, m.Conflicts, m.Recommends, m.Suggests, m.Supplements, m.Enhances} {
				for _, d := range deps {
					switch {
					case strings.HasPrefix(d.Name, "/"):
						want[d.Name] = true
					case d.Rich() && strings.Contains(d.Name, "/"):
						addPaths(want, richNames(d.Name))
					}
				}
			}
		}
	}
	return want
}

// MissingPaths are the files that requests and dependencies name, rich ones included, and that no package of the
// request has: reason enough to load the sources' file lists before Solve. Sorted.
func MissingPaths(req Request) []string {
	want := wantedPaths(&req)
	lists := [][]rpm.Meta{req.Installed, req.Local}
	for _, r := range req.Repos {
		lists = append(lists, r.Packages)
	}
	for _, list := range lists {
		for i := range list {
			for _, f := range list[i].Files {
				delete(want, f)
			}
			for _, d := range list[i].Provides {
				delete(want, d.Name)
			}
		}
	}
	return slices.Sorted(maps.Keys(want))
}

func addPaths(want map[string]bool, names []string) {
	for _, n := range names {
		if strings.HasPrefix(n, "/") {
			want[n] = true
		}
	}
}

// depID makes a dependency known to libsolv.
func (p *pool) depID(d rpm.Dep) int {
	var prog program
	if d.Rich() {
		if prog.rich(d.Name) != nil {
			return 0
		}
	} else {
		prog.push(d)
	}
	return p.run(prog)
}

// run gives the id that a program leaves; 0 = none.
func (p *pool) run(prog program) int {
	return int(C.glue_dep(p.g, (*C.uchar)(unsafe.Pointer(&prog.code[0])), C.size_t(len(prog.code))))
}

// providers are the packages that fulfil a dependency, rising.
func (p *pool) providers(dep int) []int {
	if dep == 0 {
		return nil
	}
	C.glue_providers(p.g, C.int(dep))
	return p.list()
}

// list copies libsolv's answer.
func (p *pool) list() []int {
	var n C.int
	first := C.glue_list(p.g, &n)
	if n <= 0 {
		return nil
	}
	out := make([]int, n)
	for i, v := range unsafe.Slice(first, n) {
		out[i] = int(v)
	}
	return out
}

// depText is for people: bytes that are not UTF-8 are replaced.
func (p *pool) depText(dep int) string {
	return strings.ToValidUTF8(C.GoString(C.glue_depstr(p.g, C.int(dep))), "?")
}

func (p *pool) oneOf(ids []int) int {
	list := make([]C.int, len(ids))
	for i, id := range ids {
		list[i] = C.int(id)
	}
	return int(C.glue_one_of(p.g, &list[0], C.int(len(list))))
}

// solve runs the solver and gives the number of problems.
func (p *pool) solve(jobs []job) (int, error) {
	flags := slices.Clone(solverFlags)
	if p.req.NoWeak {
		flags = append(flags, flagIgnoreRecommended, 1)
	}
	if p.req.KeepInstalled && p.req.Loose == 0 { // the locks hold what shall stay; a second rule for the same only doubles the problems
		flags = append(flags, flagAllowUninstall, 1)
	}
	return p.solveWith(jobs, flags)
}

// Flags of the solver: those of dnf.
//
//	source  libsolv src/solver.h, SOLVER_FLAG_*; libdnf libdnf/goal/Goal.cpp, initSolver
var solverFlags = []int{3, 1, 18, 1, 12, 1, 21, 1} // ALLOW_VENDORCHANGE, KEEP_ORPHANS, BEST_OBEY_POLICY, YUM_OBSOLETES

const (
	flagAllowUninstall    = 4
	flagIgnoreRecommended = 7
)

// solveWith runs the solver with pairs of a flag and its value.
func (p *pool) solveWith(jobs []job, flags []int) (int, error) {
	list := make([]C.int, 0, 2*len(jobs)+1)
	for _, j := range jobs {
		list = append(list, C.int(j.how), C.int(j.what))
	}
	cflags := make([]C.int, 0, len(flags)+1)
	for _, f := range flags {
		cflags = append(cflags, C.int(f))
	}
	list, cflags = append(list, 0), append(cflags, 0) // so that there is a first element
	n := int(C.glue_solve(p.g, &list[0], C.int(len(list)-1), &cflags[0], C.int(len(cflags)-1)))
	if n < 0 {
		return 0, errors.New("internal error: the solver ran twice")
	}
	return n, nil
}

func (p *pool) steps() []int     { C.glue_steps(p.g); return p.list() }
func (p *pool) removed() []int   { C.glue_removed(p.g); return p.list() }
func (p *pool) problems() []int  { C.glue_problems(p.g); return p.list() }
func (p *pool) solutions() []int { C.glue_solutions(p.g); return p.list() }

func (p *pool) valid(id int) bool       { return id >= firstID && id < firstID+len(p.meta) }
func (p *pool) pkg(id int) *rpm.Meta    { return p.meta[id-firstID] }
func (p *pool) isInstalled(id int) bool { return p.repo[id-firstID] == fromInstalled }
func (p *pool) isLocal(id int) bool     { return p.repo[id-firstID] == fromLocal }
func (p *pool) index(id int) int        { return p.at[id-firstID] }
func (p *pool) origin(id int) int       { return p.repo[id-firstID] }
func (p *pool) repoName(repo int) string {
	switch repo {
	case fromInstalled:
		return "@installed"
	case fromLocal:
		return LocalRepo
	}
	return p.req.Repos[repo].ID
}
