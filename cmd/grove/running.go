// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/guest"
	"grove/internal/machine"
	"grove/internal/sandbox"
)

// runFlags are those of run and shell.
type runFlags struct {
	deployment     int
	user           string
	env, bind      []string
	chdir          string
	privateNetwork bool
}

func (f *runFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SetInterspersed(false)
	s.IntVar(&f.deployment, "deployment", 0, "run in this deployment instead of the current one")
	s.StringVarP(&f.user, "user", "u", "", "run as this user of the guest")
	s.StringArrayVarP(&f.env, "env", "E", nil, "set NAME=VALUE, or pass NAME on")
	bindFlag(cmd, &f.bind, "the guest")
	s.StringVar(&f.chdir, "chdir", "", "start in this folder of the guest")
	s.BoolVar(&f.privateNetwork, "private-network", false, "no network but a loopback of its own")
}

const runLong = `
The command runs in the guest's current tree: /usr is read-only, /etc and /var are the guest's, /tmp and /run
are empty and private. It sees its own processes only, and this host's network (--private-network: none).
The exit code is the command's; 128+N where signal N ended it.

`

func (a *app) runVerb() *cobra.Command {
	var flags runFlags
	cmd := verb("run [OPTION]... NAME [--] CMD...", "run a command in a guest", runLong+"    grove run mail -- postconf -d", cobra.MinimumNArgs(2),
		func(cmd *cobra.Command, args []string) error {
			words := args[1:]
			if words[0] == "--" {
				words = words[1:]
			}
			if strings.HasPrefix(args[1], "-") && args[1] != "--" {
				return usage("run %s: options stand before the guest's name: grove run %s %s", args[0], args[1], args[0])
			}
			if len(words) == 0 {
				return usage("run %s: no command given", args[0])
			}
			return a.runIn(cmd, args[0], words, flags)
		})
	flags.add(cmd)
	return cmd
}

func (a *app) shell() *cobra.Command {
	var flags runFlags
	cmd := verb("shell [OPTION]... NAME", "a shell in a guest", runLong+"    grove shell mail", cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string) error { return a.runIn(cmd, args[0], nil, flags) })
	flags.add(cmd)
	return cmd
}

func (a *app) runIn(cmd *cobra.Command, name string, argv []string, f runFlags) error {
	e, err := a.guestEnv()
	if err != nil {
		return err
	}
	out := fileOf(a.stdout)
	errOut := fileOf(a.stderr)
	code, err := guest.Run(cmd.Context(), e, name, f.deployment, machine.Command{
		Argv: argv, Stdin: a.stdin, Stdout: out, Stderr: errOut, User: f.user, Env: f.env, Bind: f.bind, Chdir: f.chdir,
		PrivateNetwork: f.privateNetwork, Getenv: a.getenv,
	})
	if start := (*sandbox.StartError)(nil); errors.As(err, &start) && start.Damaged {
		err = hintedError{err, "`grove fsck` finds what else is damaged"}
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}
