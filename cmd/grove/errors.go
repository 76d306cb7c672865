// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/guest"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
	"grove/internal/sign"
	"grove/internal/solve"
)

// Exit codes; the same table stands in the manual and in `grove --help`.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitUntrusted = 4
	exitBusy      = 5
	exitUnchanged = 77
)

const exitTable = `Exit codes: 0 done, 1 failed, 2 usage, 4 verification failed, 5 busy (another grove is at work),
77 nothing to do (with --unchanged-exit-77). run and shell pass on the command's own; 127 where there is no such command, 126
where it does not start.`

// usageError is a mistake in how the program was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// exitError passes on the exit code of a command that ran in a guest.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// guestError is an error of a change, and the guest that it was about.
type guestError struct {
	error
	guest     string
	repoFiles []string // that the change was to use
}

func (e guestError) Unwrap() error { return e.error }

// hintedError is an error with what a person can do next.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// inGuest is the guest that a change was about; "" = none.
func inGuest(err error) string {
	var g guestError
	errors.As(err, &g)
	return g.guest
}

// driftHints are commands that lead on where base and sources have moved apart.
func driftHints(err error, c *solve.Conflict) []string {
	name, more := cmp.Or(inGuest(err), "NAME"), ""
	var g guestError
	errors.As(err, &g)
	for _, f := range g.repoFiles {
		more += " --repo-file " + quoted(f)
	}
	var out []string
	if len(c.Override) > 0 {
		line := "grove override replace " + name + " " + strings.Join(c.Override, " ")
		for _, s := range c.Asked {
			line += " --install " + quoted(s)
		}
		out = append(out, "`"+line+more+"` has a solution")
	}
	if len(c.Fits) > 0 {
		out = append(out, "`grove install "+name+" "+quoted(c.Fits[0])+more+"` fits the base as it is")
	}
	return append(out, "`grove upgrade "+name+"` takes a newer base, where there is one")
}

// distrustHints say how a package's signature can become a good one.
func distrustHints(d *compose.Distrust) []string {
	local := d.Source == compose.LocalSource
	once := "where you mean it, --no-gpg-check leaves the check out this once"
	switch d.Verdict.Status {
	case rpm.DigestMismatch:
		if local {
			return []string{"get the file again"}
		}
		return []string{"nothing was used; another mirror may have it whole, or tell who runs the source"}
	case rpm.NotSigned:
		if local {
			return []string{once}
		}
		return []string{once, "gpgcheck=0 in the source's .repo file says that its packages need none"}
	case rpm.UnknownKey:
		if local {
			return []string{"the key has to be one that a source of the guest names (gpgkey= in its .repo file)", once}
		}
		return []string{"is it the source's own key? then name it with gpgkey= in the .repo file", once}
	case rpm.DistrustedKey:
		return []string{"name the key that the source has now with gpgkey= in its .repo file", once}
	}
	return []string{"nothing was used; get it from where you trust it"}
}

// quoted is a word as one types it in a shell.
func quoted(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+/@~^") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func usageArgs(f cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if f == nil {
			return nil
		}
		if err := f(cmd, args); err != nil {
			return usageError{fmt.Sprintf("%s; usage: grove %s", err, strings.TrimPrefix(cmd.UseLine(), "grove "))}
		}
		return nil
	}
}

// groupArgs refuses a word that is no verb of a group.
func groupArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown verb %q of grove %s", args[0], cmd.Name())
	}
	return nil
}

// report prints an error with its hints and gives the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	var code exitError
	if errors.As(err, &code) {
		return int(code)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(err.Error(), "\n"), ": "+guest.ErrUnsuited.Error())
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	fmt.Fprintf(a.stderr, "grove: %s\n", text)
	for i, h := range hints(err) {
		if i == 2 {
			break
		}
		fmt.Fprintf(a.stderr, "hint: %s\n", h)
	}
	var u usageError
	var start *sandbox.StartError
	switch {
	case errors.As(err, &u):
		return exitUsage
	case errors.As(err, &start):
		return start.Exit
	case errors.Is(err, sign.ErrUntrusted), errors.Is(err, ostree.ErrCorrupt), errors.Is(err, fetch.ErrDigest):
		return exitUntrusted
	case errors.Is(err, durable.ErrBusy):
		return exitBusy
	default:
		return exitFailed
	}
}

// hints say what a person can do next.
func hints(err error) []string {
	var unknown *solve.Unknown
	var script *scriptlet.Failure
	var noGuest *deploy.NotFoundError
	var u usageError
	var protected *compose.ProtectedError
	var conflict *solve.Conflict
	var files *compose.FileConflicts
	var hinted hintedError
	var distrust *compose.Distrust
	var moved *compose.Moved
	switch {
	case errors.Is(err, context.Canceled) && inGuest(err) != "":
		return []string{"guests are as they were; the next run of grove clears what is left"}
	case errors.As(err, &hinted):
		return []string{hinted.hint}
	case errors.As(err, &files):
		return []string{"nothing was changed; leave one of the packages out, or exchange the base's with `grove override`",
			"`grove install --force-replacefiles` lets the new files take the place of the others"}
	case errors.As(err, &conflict) && conflict.Drift:
		return driftHints(err, conflict)
	case errors.As(err, &protected):
		return []string{"the guest's /etc/dnf/protected.d names them; say --allow-protected where you mean it"}
	case errors.As(err, &u):
		return []string{"`grove --help` lists the verbs, `grove VERB --help` explains one"}
	case errors.As(err, &noGuest) && strings.Contains(noGuest.What, "deployment"):
		return []string{"`grove status NAME` shows a guest's deployments"}
	case errors.As(err, &noGuest):
		return []string{"`grove list` shows the guests of this state root"}
	case errors.Is(err, guest.ErrNoSources):
		return []string{"put a .repo file into its /etc/yum.repos.d or the state root's repos.d, or say --repo-file FILE"}
	case errors.As(err, &unknown):
		return []string{"`grove search " + cmp.Or(inGuest(err), "NAME") + " WORD` looks through the guest's sources"}
	case errors.As(err, &script) && os.Getuid() != 0:
		return []string{"files have owners of their own, which needs root; try sudo"}
	case errors.As(err, &script):
		return []string{"the guest is as it was; the lines above are the scriptlet's own"}
	case errors.As(err, &moved):
		return []string{"source " + moved.Source + " may have changed since its metadata was read: --refresh asks it anew"}
	case errors.As(err, &distrust):
		return distrustHints(distrust)
	case errors.Is(err, sign.ErrUntrusted):
		return []string{"nothing was used; give the right key (gpgkey= of the source, `remote add --gpg-key`), or switch the check off where you mean it"}
	case errors.Is(err, durable.ErrBusy):
		return []string{"wait for the other grove, or say --wait 10m"}
	case errors.Is(err, deploy.ErrRunning):
		return []string{"something runs in it, or it is mounted: stop that, or `grove umount NAME|DIR`; `findmnt` shows where"}
	case errors.Is(err, fs.ErrExist) && inGuest(err) != "":
		return []string{"`grove status " + inGuest(err) + "` shows it; `grove rebase` and `grove apply` make something else of it"}
	case errors.Is(err, guest.ErrUnsuited):
		return nil
	case errors.Is(err, repo.ErrLost):
		return []string{"the repository lost something: `grove repo fsck --delete` finds all of it", "then `grove upgrade " + cmp.Or(inGuest(err), "NAME") + "` brings it again"}
	case errors.Is(err, repo.ErrNotFound):
		return []string{"`grove remote refs REMOTE` shows what a remote offers, `grove remote list` the remotes"}
	case errors.Is(err, fs.ErrPermission) && os.Getuid() != 0:
		return []string{"guests with owners of their own need root; try sudo, or another --root"}
	case errors.Is(err, syscall.ENOSPC):
		return []string{"nothing was changed; `grove gc` frees what no guest needs"}
	}
	return nil
}
