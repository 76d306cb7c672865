// SPDX-License-Identifier: Apache-2.0

// Command grove keeps guest operating systems: root trees made of an OSTree base plus layered RPM packages.
//
// Each verb has a file: flags in, one core call, text or JSON out, exit code. Only this package prints.
package main

import (
	"os"
	"strconv"

	"grove/internal/durable"
	"grove/internal/sandbox"
)

func main() {
	sandbox.Child(builtins())
	if n, err := strconv.ParseInt(os.Getenv("GROVE_TEST_KILL_AT"), 10, 64); err == nil {
		durable.KillAt(n)
	}
	os.Exit(run(os.Args[1:], env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
	}))
}
