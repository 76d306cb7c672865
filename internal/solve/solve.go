// SPDX-License-Identifier: Apache-2.0

// Package solve answers which packages fulfil a request, in which order they go in, or why there is no answer.
//
// The search is libsolv's (its core only, through cgo; a machine that builds grove needs libsolv's headers and
// pkg-config: libsolv-dev on Debian, libsolv-devel on Fedora). The package reads no metadata and no files: packages
// come in as rpm.Meta values. libsolv is C fed with foreign text, so a caller that can should run Solve in a process
// of its own: Call and ServeOne are the two ends.
//
// What counts, in order of weight:
//
//  1. Installed packages stay as they are (KeepInstalled), but for those that Remove and Replace name.
//  2. Every request is fulfilled; hard dependencies, conflicts and obsoletes hold.
//  3. A package that is excluded, or locked to another version, is not there; a source with a lower Priority number
//     wins over others.
//  4. Newer wins over older, the machine's own architecture over a foreign one, a lower Cost over a higher.
//  5. Weak dependencies come in where they fit, unless NoWeak.
//
// Packages that dnf keeps in several versions (kernels) stand beside each other. A plain name also stands for what makes
// it obsolete. Where there is no answer because Installed and the repos have drifted apart, the Conflict has been tried
// for ways out: it costs a solve or more, and only then.
//
// Ties break by the order of sources and packages in the request, so equal requests give equal plans. The order in
// which packages go in depends on them alone, not on where they came from.
package solve

import (
	"errors"
	"fmt"
	"strings"

	"grove/internal/rpm"
)

// LocalRepo is the Repo of a Pick from Request.Local.
const LocalRepo = "@commandline"

// Repo is one source of packages.
//
//	units  as in .repo files: lower wins in both; 0 is the default (99, 1000)
type Repo struct {
	ID             string
	Priority, Cost int
	Packages       []rpm.Meta
	Origins        []string // of each package the repo that Replacement.From means by it; nil = this one
}

// Request is a question.
//
//	specs  Install takes name, name.arch, name-[epoch:]version[-release][.arch], globs of these, a capability with or
//	       without a version ("foo >= 2"), a path and a rich dependency "(a or b)", tried in this order. Remove takes
//	       the first three forms, of Installed.
type Request struct {
	Arch          string // as uname -m gives it
	Installed     []rpm.Meta
	Repos         []Repo
	Local         []rpm.Meta // package files; used only where Install, Files or Replace names them or something needs them
	Install       []string
	Files         []File
	Remove        []string
	Replace       []Replacement
	Exclude       []string // name, name.arch, full name, or a glob of these; never of Installed
	Locks         []string // see LockPattern; an installed package in another version is a Conflict
	KeepInstalled bool     // an installed package that is not in Remove or Replace neither changes nor goes
	Loose         int      // so many at the end of Installed do not count for KeepInstalled: they are upgraded, and may be made obsolete
	InstallOnly   []string // further capabilities of packages that stand beside others of their name
	NoWeak        bool
	Best          bool // only the best version will do of what Install names and Upgrade brings
	Upgrade       bool // bring the installed packages to their newest versions
	AllowMissing  bool // leave out what Install names and nobody has, and report it in Plan.Missing
}

// File asks for a package of Local. An installed package of its name that is as new fulfils it.
type File struct {
	NEVRA string
	Newer bool // a newer package of its name and architecture in a repo is taken instead
}

// Replacement puts another package in the place of an installed one.
//
//	spec  the first three forms of Request.Install. With a version or From it is that package, older or newer;
//	      without both it is the newest, and where no repo has a newer one than the installed it waits (Plan.Waiting).
type Replacement struct {
	Spec string
	From string // id of a repo, or LocalRepo; "" = any
}

// The reasons of a Pick.
const (
	ReasonRequested  = "requested"
	ReasonDependency = "dependency"
	ReasonWeak       = "weak"
	ReasonUpgrade    = "upgrade"
)

// Pick is a package to install.
type Pick struct {
	Repo      string // LocalRepo, or the ID of a Repo
	Index     int    // into that repo's Packages, or Local
	Requested bool
	Reason    string
}

// Plan is the answer.
type Plan struct {
	Install   []Pick   // in rpm's transaction order
	Remove    []int    // indexes of Installed, rising: what goes or is replaced
	Satisfied []string // the Install specs that Installed fulfils already
	Missing   []string // with AllowMissing: the Install specs that nobody has
	Waiting   []string // the Replace specs for which there is nothing newer than what is installed
}

// Unknown is a request for something that nobody has.
type Unknown struct {
	Spec string
	Near []string // names that look alike
	Why  string   // a package of that name is there but cannot be used; "" = there is none
}

func (u *Unknown) Error() string {
	s := fmt.Sprintf("no package, capability or file is called %q", u.Spec)
	if u.Why != "" {
		s = fmt.Sprintf("%q cannot be installed: %s", u.Spec, u.Why)
	}
	if len(u.Near) > 0 {
		s += "; similar: " + strings.Join(u.Near, ", ")
	}
	return s
}

// Conflict says why there is no plan.
type Conflict struct {
	Problems []Problem
	Drift    bool     // a package of Installed is too old, or too new, for what was asked
	Override []string // full names which, put in the place of installed ones (Replace), make the request possible
	Fits     []string // full names that could be asked for instead of a version that was
	Asked    []string // the Install specs that fail

	override []string // what Override is looked for with
}

// Problem is one independent reason.
type Problem struct {
	Text      string   // a complete sentence
	Details   []string // the chain from the request to the fault
	Solutions []string // ways out, each sufficient for this problem
}

func (c *Conflict) Error() string {
	var b strings.Builder
	for i, p := range c.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Text)
		for _, d := range p.Details {
			b.WriteString("\n  " + d)
		}
		for j, s := range p.Solutions {
			lead := "way out: "
			if j > 0 {
				lead = "or:      "
			}
			b.WriteString("\n  " + lead + s)
		}
	}
	if len(c.Override) > 0 {
		b.WriteString("\nReplaced in the same change, these make it possible: " + strings.Join(c.Override, " "))
	}
	if len(c.Fits) > 0 {
		b.WriteString("\nThis fits the base as it is: " + strings.Join(c.Fits, ", or "))
	}
	return b.String()
}

// Limits. Fedora's three sources together have 130,000 packages; texlive's largest package 6,000 dependencies.
const (
	maxPackages = 2000000
	maxDeps     = 200000  // of one kind in one package
	maxText     = 1 << 16 // bytes of one name, version or rich dependency
	maxSpecs    = 100000
)

// Solve answers a request.
//
//	errors  *Unknown for a spec that nobody has, *Conflict if there is no plan; others are texts about bad input
func Solve(req Request) (Plan, error) {
	if err := check(&req); err != nil {
		return Plan{}, err
	}
	p, err := newPool(&req)
	if err != nil {
		return Plan{}, err
	}
	defer p.free()
	plan, err := p.answer()
	if err != nil {
		return Plan{}, err
	}
	return ordered(&req, plan), nil
}

// answer is the plan in libsolv's order.
func (p *pool) answer() (Plan, error) {
	jobs, err := p.jobs()
	if err != nil {
		return Plan{}, err
	}
	if err := p.lockedInstalled(); err != nil {
		return Plan{}, err
	}
	problems, err := p.solve(jobs)
	if err != nil {
		return Plan{}, err
	}
	if problems > 0 {
		return Plan{}, p.explain(jobs)
	}
	return p.plan(jobs), nil
}

func check(req *Request) error {
	if req.Arch == "" || strings.ContainsAny(req.Arch, " :\x00") || len(req.Arch) > 64 {
		return fmt.Errorf("got architecture %q", req.Arch)
	}
	if req.Loose < 0 || req.Loose > len(req.Installed) {
		return fmt.Errorf("%d loose packages of %d installed ones", req.Loose, len(req.Installed))
	}
	total := len(req.Installed) + len(req.Local)
	seen := map[string]bool{LocalRepo: true}
	for _, r := range req.Repos {
		if total += len(r.Packages); seen[r.ID] {
			return fmt.Errorf("source %q stands twice in the request", r.ID)
		}
		seen[r.ID] = true
	}
	if total > maxPackages {
		return fmt.Errorf("%d packages, at most %d can be handled", total, maxPackages)
	}
	var rest []string
	for _, r := range req.Replace {
		rest = append(rest, r.Spec)
	}
	for _, f := range req.Files {
		rest = append(rest, f.NEVRA)
	}
	if len(req.Install)+len(req.Remove)+len(rest)+len(req.Exclude)+len(req.Locks) > maxSpecs {
		return fmt.Errorf("more than %d requests", maxSpecs)
	}
	for _, list := range [][]string{req.Install, req.Remove, rest, req.Exclude, req.Locks} {
		for _, s := range list {
			if strings.TrimSpace(s) == "" {
				return errors.New("an empty request")
			}
			if err := checkText(s); err != nil {
				return fmt.Errorf("request %.60q: %w", s, err)
			}
		}
	}
	return nil
}

// checkText refuses what C would cut off or a message could not show.
func checkText(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("text of %d bytes, at most %d are allowed", len(s), maxText)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return fmt.Errorf("text %.60q has a control character", s)
		}
	}
	return nil
}
