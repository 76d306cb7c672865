// SPDX-License-Identifier: Apache-2.0

// Command grove keeps guest operating systems: root trees made of an OSTree base plus layered RPM packages.
//
// Each verb has a file: flags in, one core call, text or JSON out, exit code. Only this package prints.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"grove/internal/durable"
	"grove/internal/sandbox"
)

// main runs the program. Three variables are for tests: GROVE_TEST_KILL_AT=N kills it before its N-th durable step,
// GROVE_TEST_FAIL_AT=N:EIO (or N:ENOSPC) makes that step fail, GROVE_TEST_STEPS=FILE has it write down how many such
// steps it took.
func main() {
	sandbox.Child(builtins())
	if n, err := strconv.ParseInt(os.Getenv("GROVE_TEST_KILL_AT"), 10, 64); err == nil {
		durable.KillAt(n)
	}
	failAt(os.Getenv("GROVE_TEST_FAIL_AT"))
	code := run(os.Args[1:], env{
		stdin: os.Stdin, stdout: onScreen(os.Stdout), stderr: onScreen(os.Stderr), getenv: os.Getenv,
	})
	if file := os.Getenv("GROVE_TEST_STEPS"); file != "" {
		if err := os.WriteFile(file, []byte(strconv.FormatInt(durable.Steps(), 10)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "grove: write number of steps:", err)
		}
	}
	os.Exit(code)
}

// failAt makes one durable step fail; "" none.
func failAt(text string) {
	number, name, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return
	}
	fault := syscall.EIO
	if name == "ENOSPC" {
		fault = syscall.ENOSPC
	}
	durable.SetHook(func(step int64, _, _ string) error {
		if step == n {
			return fault
		}
		return nil
	})
}
