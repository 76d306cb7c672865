// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os/exec"
	"testing"
)

// rpmCommand is this machine's rpm with an empty home.
func rpmCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("rpm", args...)
	cmd.Env = append(environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	return cmd
}
