// SPDX-License-Identifier: Apache-2.0

// Package scriptlet runs the scriptlets and triggers of packages over a whole tree, in rpm's order, and takes what they
// wrote back into a tree.
//
// It does not choose packages and knows no manifest. All files of all packages are in place before the first scriptlet
// runs, where rpm unpacks package by package; only %pretrans (Pretrans) runs over the tree as it was before.
//
// It keeps: the checked-out root is never written to, whatever a scriptlet does; scriptlets have no network, none of the
// host's files, and the capabilities that rpm-ostree leaves them; the same input gives the same tree.
package scriptlet

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"grove/internal/rpm"
	"grove/internal/sandbox"
)

// Package is one new package.
type Package struct {
	NEVRA  rpm.NEVRA
	Header *rpm.Header
	Owners []Owner

	Sysusers []string // lines of sysusers.d that are applied after %pre, before files get their owners
}

// Removed is a package that goes: one of Options.Installed, with its files that are still in the tree and go with it.
type Removed struct {
	Header *rpm.Header
	Files  []Erase
}

// Erase is a file to be removed; a directory only if it is empty by then. Path is relative to the root of the tree.
// Configuration that is not the package's by then (another content, target or type) is kept as NAME.rpmsave.
type Erase struct {
	Path   string
	Dir    bool
	Config bool
	Digest rpm.Digest // of a regular file
	LinkTo string     // of a symbolic link
}

// Owner is what a file gets once the accounts of the packages exist. Path is relative to the root of the tree.
type Owner struct {
	Path        string
	User, Group string
	Mode        uint32
	Caps        []byte // value of security.capability; nil = none
	Dir         bool
}

// Extra is a script that runs after all packages' (a manifest's postprocess).
type Extra struct {
	Name string
	Body string // with or without "#!"; /bin/sh where there is none
}

// Options say what to run where.
type Options struct {
	Root       string         // a checked-out tree, hard-linked to a repo perhaps: never written
	Image      *sandbox.Image // what is mounted at Root; nil = the tree lies there
	Upper      string         // empty directory on Root's file system: what was written
	Work       string         // empty directory beside Upper
	New        []Package
	Installed  []*rpm.Header // what is there already, in the order of installation
	Removed    []Removed     // what of it goes, in the order of removal
	Extra      []Extra
	Timeout    time.Duration // of one scriptlet; 0 = sandbox.DefaultTimeout
	SourceDate int64         // seconds; SOURCE_DATE_EPOCH where > 0
	Env        []string      // added to the scriptlets' environment
	Rootless   bool          // in a user namespace; set by itself when the caller is not root
	Progress   func(what string)
}

// Report tells what happened.
type Report struct {
	Ran      []string // "%post(bash-5.2-1.x86_64)", in order
	Warnings []string // failures that rpm, too, only reports
	Slowest  []Timing // at most slowestKept, longest first
	Log      []byte   // a line for each that ran, and what it printed, indented; at most LogLimit bytes
}

// Timing is how long one scriptlet took.
type Timing struct {
	Name     string
	Duration time.Duration
}

const slowestKept = 10

// LogLimit bounds Report.Log: a verbose installation of thousands of packages has some hundred kilobytes.
const LogLimit = 4 << 20

// Failure is a scriptlet that failed.
type Failure struct {
	NEVRA  string
	Kind   string // "%post"
	Exit   int
	Reason string // "exit 1", "killed by signal 9", "not finished after 10m0s", "/usr/bin/perl is missing"
	Output []byte // the tail of what it printed
}

// How much of a failing scriptlet's output an error text holds: its end. The log has more.
const (
	shownOutput = 4 << 10
	shownLines  = 20
)

// Error names the package and the scriptlet, and ends with what the scriptlet printed.
func (f *Failure) Error() string {
	text := fmt.Sprintf("%s: %s", label(f.Kind, f.NEVRA), f.Reason)
	if s := ending(strings.TrimSpace(strings.ToValidUTF8(string(f.Output), "?"))); s != "" {
		text += ":\n" + s
	}
	return text
}

// ending is the last part of an output, in whole lines where it has some.
func ending(s string) string {
	lines := strings.Split(s, "\n")
	n, size := 0, 0
	for n < len(lines) && n < shownLines && size+len(lines[len(lines)-1-n]) < shownOutput {
		size += len(lines[len(lines)-1-n]) + 1
		n++
	}
	switch {
	case n == len(lines):
		return s
	case n == 0:
		return "..." + strings.ToValidUTF8(s[len(s)-shownOutput:], "")
	}
	return "...\n" + strings.Join(lines[len(lines)-n:], "\n")
}

func label(kind, nevra string) string {
	if nevra == "" {
		return kind
	}
	return kind + "(" + nevra + ")"
}

// Run runs everything that installing New over Root calls for. What was written lies in Upper afterwards, for Collect,
// also when it fails.
//
//	errors  *Failure; sandbox.ErrNotPermitted; ctx.Err()
func Run(ctx context.Context, o Options) (Report, error) { return run(ctx, o, (*planner).plan) }

// Pretrans runs the %pretrans of New over Root, in which nothing of New is yet.
//
//	errors  as Run
func Pretrans(ctx context.Context, o Options) (Report, error) {
	return run(ctx, o, (*planner).pretrans)
}

// HasPretrans says whether Pretrans has anything to run.
func HasPretrans(o Options) (bool, error) {
	p := &planner{o: o, report: &Report{}}
	err := p.pretrans()
	return len(p.jobs) > 0, err
}

func run(ctx context.Context, o Options, plan func(*planner) error) (Report, error) {
	var report Report
	p := &planner{o: o, report: &report}
	if err := plan(p); err != nil {
		return report, err
	}
	if p.failed != nil {
		return report, p.failed
	}
	if len(p.jobs) == 0 {
		return report, nil
	}
	steps := make([]sandbox.Step, len(p.jobs))
	for i, j := range p.jobs {
		steps[i] = j.step
	}
	if o.Progress != nil {
		o.Progress(steps[0].Name)
	}
	at := 0
	err := sandbox.Steps(ctx, container(o), steps, func(r sandbox.Result) error {
		j := p.jobs[at]
		at++
		if at < len(p.jobs) && o.Progress != nil {
			o.Progress(p.jobs[at].step.Name)
		}
		return report.take(j, r, o)
	})
	return report, err
}

// take enters one result.
func (rep *Report) take(j job, r sandbox.Result, o Options) error {
	rep.Ran = append(rep.Ran, r.Name)
	rep.slow(Timing{r.Name, r.Duration})
	if j.warns {
		rep.takeWarnings(r)
	}
	rep.log(j, r)
	if !r.Failed() {
		return nil
	}
	f := &Failure{NEVRA: j.nevra, Kind: j.kind, Exit: r.Exit, Reason: reason(r, j.step.Timeout), Output: r.Output}
	if !j.fatal {
		rep.Warnings = append(rep.Warnings, f.Error())
		return nil
	}
	return f
}

// log notes one result.
func (rep *Report) log(j job, r sandbox.Result) {
	text := r.Name
	if r.Failed() {
		text += ": " + reason(r, j.step.Timeout)
	}
	text += "\n"
	if out := strings.TrimSpace(strings.ToValidUTF8(string(r.Output), "?")); out != "" {
		text += "    " + strings.ReplaceAll(out, "\n", "\n    ") + "\n"
	}
	if len(rep.Log)+len(text) <= LogLimit {
		rep.Log = append(rep.Log, text...)
	}
}

func reason(r sandbox.Result, limit time.Duration) string {
	if limit <= 0 {
		limit = sandbox.DefaultTimeout
	}
	switch {
	case r.Start != "":
		return r.Start
	case r.TimedOut:
		return fmt.Sprintf("not finished after %v", limit)
	case r.Signal != 0:
		return "killed by signal " + strconv.Itoa(r.Signal)
	}
	return "exit " + strconv.Itoa(r.Exit)
}

func (rep *Report) slow(t Timing) {
	i := len(rep.Slowest)
	for i > 0 && rep.Slowest[i-1].Duration < t.Duration {
		i--
	}
	rep.Slowest = append(rep.Slowest[:i], append([]Timing{t}, rep.Slowest[i:]...)...)
	if len(rep.Slowest) > slowestKept {
		rep.Slowest = rep.Slowest[:slowestKept]
	}
}

// takeWarnings passes on the warnings that a builtin printed.
func (rep *Report) takeWarnings(r sandbox.Result) {
	for _, line := range strings.Split(string(r.Output), "\n") {
		if text, ok := strings.CutPrefix(line, "warning: "); ok {
			rep.Warnings = append(rep.Warnings, text)
		}
	}
}

// searchPath is rpm's %_install_script_path.
const searchPath = "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin"

// container describes where scriptlets run: the tree under an overlay, its /usr/etc as /etc, its factory's /var as /var.
func container(o Options) sandbox.Spec {
	env := []string{searchPath, "LANG=C", "HOME=/root", "SHELL=/bin/sh", "TERM=dumb", "SYSTEMD_OFFLINE=1", "container=grove"}
	if o.SourceDate > 0 {
		env = append(env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(o.SourceDate, 10))
	}
	return sandbox.Spec{Root: o.Root, Image: o.Image, Upper: o.Upper, Work: o.Work, Env: append(env, o.Env...), Hostname: "localhost", PIDs: maxProcesses,
		Rootless: o.Rootless, Mounts: []sandbox.Mount{
			{Kind: sandbox.Self, Source: "/usr/etc", Target: "/etc"},
			{Kind: sandbox.Self, Source: "/" + factory, Target: "/var"},
			{Kind: sandbox.Tmpfs, Target: "/var/tmp", Options: "mode=1777,size=25%"},
			{Kind: sandbox.Tmpfs, Target: "/var/lib/rpm-state", Options: "mode=0755,size=5%"},
		}}
}

// factory is where a tree keeps what /var is filled from.
const factory = "usr/share/factory/var"

// maxProcesses is more than any scriptlet needs and less than what hurts a host.
const maxProcesses = 4096
