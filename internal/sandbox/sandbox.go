// SPDX-License-Identifier: Apache-2.0

// Package sandbox runs programs of a guest in namespaces of their own.
//
// It does not know packages or guests: a caller names a root, mounts, capabilities and what to run. Of
// system calls only those for keys are forbidden, and no cgroup is made.
//
// It keeps: nothing is mounted where the host sees it; no mount target leads out of the root, whatever symbolic links
// the root holds; the contained program sees no descriptor of the host but its stdio; when the caller is killed, or its
// context ends, everything inside is killed. No file is written outside the directories that a Spec names. Linux 5.12.
package sandbox

import (
	"errors"
	"time"
)

// ErrNotPermitted says that the kernel did not let this user make namespaces.
var ErrNotPermitted = errors.New("not permitted to make namespaces")

// Kind says what a Mount puts at its target.
type Kind uint8

// The kinds of a Mount.
const (
	Bind  Kind = iota // Source, a file or directory of the host
	Self              // Source, a path inside the new root
	Tmpfs             // an empty tmpfs; Options as tmpfs takes them ("mode=1777,size=50%")
	Proc              // the processes of the new pid namespace, dangerous files masked or read-only
	Sys               // sysfs, read-only
	Dev               // null zero full random urandom tty pts shm and the usual links
)

// Mount is one mount inside the root. Target is a path inside the root; symbolic links in it are followed inside the
// root only. A missing target is made where that is possible without writing to a read-only root.
type Mount struct {
	Kind     Kind
	Source   string
	Target   string
	ReadOnly bool
	Options  string
	Optional bool // a missing Source, or a Target that cannot be made, is no error
	IfAbsent bool // only where Target does not exist, or is an empty file
}

// Spec describes the container. The zero value of each field but Root is a good default.
type Spec struct {
	Root     string   // directory that becomes "/"
	Image    *Image   // what "/" has instead of what is in Root
	Lowers   []string // further lower directories of the overlay, topmost first, all above Root
	Upper    string   // with Work: "/" is an overlay that writes here and never to Root
	Work     string   // scratch of the overlay, on the file system of Upper
	ReadOnly bool     // "/" is read-only; mounts decide for themselves
	Bare     bool     // without the default mounts: /proc, /dev, an empty /sys, tmpfs on /run and /tmp
	Mounts   []Mount  // after the default ones, in order
	Network  bool     // the host's network; else an own one with only "lo"
	Hostname string   // "" = the host's
	Caps     []string // capabilities kept, as "chown" or "CAP_CHOWN"; nil = ScriptletCaps; "all"
	Env      []string // the whole environment of steps and commands
	UID, GID uint32   // of steps and commands
	PIDs     int      // at most about so many processes at a time, where the kernel can (6.14); 0 = no own limit
	Chdir    string   // "" = "/"
	Rootless bool     // in a user namespace where the caller is root; set by itself when the caller is not root
}

// ScriptPath is where a step's Script lies inside while the step runs; the step's Argv names it.
const ScriptPath = "/tmp/rpm-tmp.scriptlet"

// Step is one program, or one builtin, run inside. Exactly one of Argv and Builtin is set.
type Step struct {
	Name    string
	Argv    []string
	Builtin string   // name in the table given to Child; Args are its arguments
	Args    []string // of the builtin
	Script  []byte   // non-nil: written to ScriptPath (mode 0700) for the time of the step
	Stdin   []byte
	Env     []string // added to, and overriding, Spec.Env
	Dir     string   // "" = Spec.Chdir
	Timeout time.Duration
}

// Result is what became of a Step.
type Result struct {
	Name     string
	Exit     int    // exit code; 127 with Start set; 128+Signal when killed
	Signal   int    // the signal that killed it, or 0
	TimedOut bool   // killed because Timeout had passed
	Start    string // why it could not be started: "interpreter /bin/sh is missing"
	Output   []byte // stdout and stderr as they came, at most OutputLimit bytes, the tail kept
	Duration time.Duration
}

// Failed says whether the step did anything but exit with 0.
func (r Result) Failed() bool { return r.Exit != 0 || r.Signal != 0 || r.Start != "" || r.TimedOut }

// OutputLimit caps what is kept of a step's output: enough for any real message, bounded for a hostile one.
const OutputLimit = 256 << 10

// DefaultTimeout is a step's where it names none: no scriptlet of a sane package takes longer.
const DefaultTimeout = 10 * time.Minute

// Builtin is a function that runs inside as a step of its own process; its return value is the exit code.
type Builtin = func(args []string, stdin []byte) int

// ErrStop may be returned by the callback of Steps to end without an error.
var ErrStop = errors.New("stop")
