// SPDX-License-Identifier: Apache-2.0

// Package compose turns a manifest into a commit: a base of its own from nothing but packages, or a guest's
// layers on a base that exists. Both are the same list of steps (Run).
//
// It does not lay anything out as a guest's root (deploy does) and asks no person anything. What it keeps:
//
//   - the same manifest, lock and base give the same commit checksum, whatever the machine, clock or locale;
//   - a package is used only after its digest and, where its source asks for it, its signature were checked;
//   - nothing is visible in the repo before the last step, except packages in the cache;
//   - scriptlets write into an overlay: never into the checkout below it.
package compose

import (
	"context"
	"fmt"
	"sync"

	"grove/internal/accounts"
	"grove/internal/fetch"
	"grove/internal/image"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/solve"
	"grove/internal/tree"
)

// Event tells how far a long run is.
//
//	units  Done and Total count what Step names (packages, bytes); Total 0 = not known
type Event struct {
	Step        string
	Detail      string
	Done, Total int64
}

// Base is the commit that a guest's layers are put on.
type Base struct {
	Ref    string // as the manifest names it, for the lock
	Commit ostree.Checksum
}

// Options say where things are and how strict to be; the manifest says what is wanted.
type Options struct {
	Repo     *repo.Repo   // holds the base and the package cache, and gets the commit
	CacheDir string       // metadata and downloads; may be deleted at any time
	Scratch  string       // a folder on the repo's file system, made and removed by the caller
	Checkout string       // where the finished tree is left, checked out; "" = nowhere
	Images   *image.Store // scriptlets see the tree by its images instead of a checkout; for Checkout ""
	Ahead    bool         // begin to check the base out at once: for a change that is sure to end in another tree

	Client  *fetch.Client
	Sources []rpmmd.Source                   // in order; the manifest's `repos` choose among them
	ReadKey func(url string) ([]byte, error) // reads a gpgkey= of a source
	Modules rpmmd.ModuleState                // what the target says of modules; the manifest adds to it
	Main    rpmmd.Main                       // what the target's dnf.conf says of packages; the manifest has the last word

	ResetModules []string // modules whose stream in Previous does not count any more

	Base       *Base          // nil = from nothing
	Lock       *manifest.Lock // make exactly this; no solving
	Previous   *manifest.Lock // what was made before: its ids are kept
	LocalFiles []string       // package files given by path or URL for this run; recorded in the manifest by the caller
	ReadFile   func(name string) ([]byte, error)

	Arch       string // "" = this machine's
	Newest     bool   // upgrade: take the newest of every source; else what is there stays, and the base's own sources come first
	Refresh    bool   // ask the sources for new metadata
	Offline    bool
	NoGPGCheck bool
	Protected  []string             // names and globs of packages that no change may take away
	Ref        string               // bound into the commit; "" for a guest's layers
	Parent     ostree.Checksum      // zero = none
	Unchanged  func(in string) bool // told the hash of all inputs before anything is made; true = stop there

	Solve    func(solve.Request) (solve.Plan, error) // nil = in this process
	Progress func(Event)
}

// Result is what a run made.
type Result struct {
	Commit    ostree.Checksum
	Root      tree.Root
	Lock      manifest.Lock
	Unchanged bool     // Options.Unchanged said so; nothing was made
	Warnings  []string // for the person: a source that was left out, a scriptlet that only rpm would forgive
	Satisfied []string // requests that the base fulfils already
	Newer     []string // requested packages of which a source has a newer version than was taken
	Waiting   []string // replacements for which no source has anything newer than the base has
	Layered   []rpm.NEVRA
	ScriptLog []byte // what scriptlets ran and what they printed; nil where none did
}

// build is the state that the steps hand on. Each field is set by one step and read by later ones.
type build struct {
	m manifest.Manifest
	o Options

	base          baseTree                   // openBase
	sources       []*rpmmd.Metadata          // resolve
	locals        []localPackage             // resolve
	short         bool                       // resolve: a source could not be read
	unlisted      []string                   // resolve: sources whose file lists cannot be had, and why
	shortPriority int                        // resolve: the best priority of those
	kept          []manifest.LockedPackage   // resolve: packages of the run before, in the order of keptRepo
	conditional   []rpmmd.Conditional        // resolve: of the groups that are asked for
	splits        []split                    // resolve: packages in whose place others came, in this upgrade or before
	choice        *rpmmd.ModuleChoice        // resolve: active streams; nil where no source was asked
	records       []rpmmd.ModuleRecord       // resolve: what the tree is to say of modules
	picks         []pick                     // resolve: in transaction order
	removed       []*rpm.Header              // resolve: installed packages that go away; then those of the stage
	stages        []manifest.LockedStage     // resolve: where each ends; counts of accounts are known after it
	known         int                        // resolve: how many of the stages stood so in the lock, or in the one before
	stage         int                        // runStages: the one that is being made
	inputs        string                     // resolve
	stamp         uint64                     // resolve: seconds; the time of everything written
	packages      []imported                 // fetch; then those of the stage
	places        *places                    // files: where links of the tree lead
	winner        map[string]int             // files: path that several have -> index of the package whose file it is, or baseWins
	wrongColour   map[int][]string           // files: index of a package -> its files, as it names them, that gave way to those of another word size
	baseStates    map[string]map[string]byte // files: base package -> its files that are another's now, with their state in the rpmdb
	keepBase      map[string]bool            // unpack: files of replaced packages that stay as the base has them
	beside        map[string]string          // unpack: places of the packages' files that stay -> where the package's own lies
	removals      []removal                  // unpack: of removed, in the order of removal
	tree          *tree.Tree                 // pretrans or unpack, then every later step
	ahead         ahead                      // openBase: the base's checkout, while it is being made
	checkedOut    *tree.Tree                 // scripts: what Options.Checkout holds now
	accounts      accounts.DB                // accounts: those of base and packages' own files
	users, groups []string                   // accounts: lines that packages made, of all stages so far
	installedNow  []rpm.NEVRA                // rpmdb: what is in it
	tx            *repo.Tx
	result        Result
}

// step is one line of the recipe.
type step struct {
	name string
	run  func(context.Context, *build) error
}

// recipe is how a manifest becomes a commit, whether there is a base or not.
var recipe = []step{
	{"base", openBase},
	{"resolve", resolve},
	{"fetch", fetchPackages},
	{"", func(ctx context.Context, b *build) error { return b.runStages(ctx) }},
	{"commit", commit},
}

// perStage is what is done for each stage of the packages; most trees have one (stages.go).
var perStage = []step{
	{"pretrans", runPretrans},
	{"files", compareFiles},
	{"unpack", unpack},
	{"accounts", accountsBefore},
	{"scriptlets", runScriptlets},
	{"accounts", accountsAfter},
	{"rpmdb", writeRpmdb},
	{"finish", finish},
	{"labels", labels},
}

// Run makes the manifest's commit in Options.Repo. Where it fails, the result has what scriptlets said until then, and no more.
//
//	errors  *solve.Conflict and *solve.Unknown (cannot be solved), *ProtectedError, *FileConflicts, sign.ErrUntrusted (a signature), *scriptlet.Failure
func Run(ctx context.Context, m manifest.Manifest, o Options) (Result, error) {
	b := &build{m: m, o: o}
	if b.o.Arch == "" {
		b.o.Arch = HostArch()
	}
	b.o.Progress = oneByOne(b.o.Progress)
	if b.o.Solve == nil {
		b.o.Solve = solve.Solve
	}
	defer func() {
		if b.tx != nil {
			b.tx.Abort()
		}
	}()
	defer b.dropAhead()
	if err := b.run(ctx, recipe); err != nil {
		return Result{ScriptLog: b.result.ScriptLog}, err
	}
	return b.result, nil
}

// run does the steps of a list, until one finds that nothing changes.
func (b *build) run(ctx context.Context, list []step) error {
	for _, s := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.name == "" { // a list of its own
			if err := s.run(ctx, b); err != nil {
				return err
			}
			continue
		}
		b.o.Progress(Event{Step: s.name})
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if b.result.Unchanged {
			return nil
		}
	}
	return nil
}

// oneByOne lets several goroutines report to a function that expects one.
func oneByOne(f func(Event)) func(Event) {
	if f == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(ev Event) {
		mu.Lock()
		defer mu.Unlock()
		f(ev)
	}
}

func (b *build) warn(format string, args ...any) {
	b.result.Warnings = append(b.result.Warnings, fmt.Sprintf(format, args...))
}
