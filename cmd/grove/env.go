// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"grove/internal/compose"
	"grove/internal/deploy"
	"grove/internal/fetch"
	"grove/internal/guest"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
	"grove/internal/solve"
)

// env is what a run of the program has from outside; a test gives it its own.
type env struct {
	stdin          *os.File
	stdout, stderr io.Writer
	getenv         func(string) string
}

// app is one run: the environment and the flags that every verb shares.
type app struct {
	env
	root    string
	json    bool
	quiet   bool
	offline bool
	wait    time.Duration
	line    bool // a progress line stands on the terminal
}

// run is the program: arguments in, exit code out.
func run(args []string, e env) int {
	a := &app{env: e}
	cmd := a.command()
	cmd.SetArgs(args)
	cmd.SetOut(e.stdout)
	cmd.SetErr(e.stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := cmd.ExecuteContext(ctx)
	a.clearLine()
	return a.report(err)
}

// stateRoot is where the guests are kept.
func (a *app) stateRoot() (string, error) {
	root := a.root
	if root == "" {
		root = a.getenv("GROVE_ROOT")
	}
	if root == "" && os.Getuid() == 0 {
		root = "/var/lib/grove"
	}
	if root == "" {
		data := a.getenv("XDG_DATA_HOME")
		if data == "" {
			home := a.getenv("HOME")
			if home == "" {
				return "", usage("no state root: say --root DIR or set GROVE_ROOT")
			}
			data = filepath.Join(home, ".local/share")
		}
		root = filepath.Join(data, "grove")
	}
	return filepath.Abs(root)
}

// store opens the state root.
func (a *app) store() (*deploy.Store, error) {
	root, err := a.stateRoot()
	if err != nil {
		return nil, err
	}
	return deploy.Open(root, deploy.Options{AsRoot: os.Getuid() == 0})
}

// guestEnv is what the core's operations on guests work with.
func (a *app) guestEnv() (guest.Env, error) {
	s, err := a.store()
	if err != nil {
		return guest.Env{}, err
	}
	return guest.Env{
		Store: s, Client: a.client(), Now: time.Now, Offline: a.offline, Wait: a.wait, Solve: a.solver(), Progress: a.progress(),
		HookDir: "/etc/grove/hooks",
	}, nil
}

func (a *app) client() *fetch.Client {
	return fetch.New(fetch.Options{UserAgent: "grove/" + version, Offline: a.offline})
}

// solver runs the solver in a process of its own: a fault in C code cannot take this one along.
func (a *app) solver() func(solve.Request) (solve.Plan, error) {
	return func(r solve.Request) (solve.Plan, error) {
		return solve.Call(func(in []byte) ([]byte, error) { return sandbox.Helper(context.Background(), "solve", in) }, r)
	}
}

// solverMemory is how much the solver's process takes before it collects garbage after all.
const solverMemory = 1 << 30

// builtins are what this program does when it runs itself: inside a sandbox, or as a helper.
func builtins() map[string]sandbox.Builtin {
	all := scriptlet.Builtins()
	all["solve"] = func(_ []string, in []byte) int {
		debug.SetGCPercent(-1) // it ends before there is much to collect: 250 MB for 60,000 packages
		debug.SetMemoryLimit(solverMemory)
		if err := solve.ServeOne(bytes.NewReader(in), os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "solve: %v\n", err)
			return exitFailed
		}
		return exitDone
	}
	return all
}

// progress shows what goes on, on a terminal only.
func (a *app) progress() func(compose.Event) {
	f := fileOf(a.stderr)
	if a.quiet || a.json || f == nil || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	var last time.Time
	return func(ev compose.Event) {
		if time.Since(last) < 50*time.Millisecond && ev.Done != ev.Total {
			return
		}
		last = time.Now()
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width < 20 {
			width = 80
		}
		text := ev.Step
		if ev.Total > 0 {
			text += fmt.Sprintf(" %d/%d", ev.Done, ev.Total)
		}
		if ev.Detail != "" {
			text += " " + ev.Detail
		}
		if len(text) > width-1 {
			text = text[:width-1]
		}
		fmt.Fprintf(f, "\r\x1b[K%s", visible([]byte(text), 0))
		a.line = true
	}
}

func (a *app) clearLine() {
	if a.line {
		fmt.Fprint(fileOf(a.stderr), "\r\x1b[K")
		a.line = false
	}
}

// printf writes to standard output, unless --quiet.
func (a *app) printf(format string, args ...any) {
	a.clearLine()
	if !a.quiet {
		fmt.Fprintf(a.stdout, format, args...)
	}
}

// warn writes a warning to standard error.
func (a *app) warn(list []string) {
	a.clearLine()
	for _, w := range list {
		fmt.Fprintf(a.stderr, "grove: warning: %s\n", w)
	}
}

// show prints a value as JSON where asked, else through text.
func (a *app) show(v any, text func()) error {
	a.clearLine()
	if !a.json {
		text()
		return nil
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// verb is a command with the habits of all of them.
func verb(use, short, long string, args cobra.PositionalArgs, f func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(long), Args: usageArgs(args), RunE: f,
		DisableFlagsInUseLine: true,
	}
}
