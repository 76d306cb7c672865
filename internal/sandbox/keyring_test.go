// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/fixture/hostroot"
	"grove/internal/sandbox"
)

// keysMain looks for a key as root inside would: in the user's keyring, which it links to its session's first.
func keysMain(args []string, _ []byte) int {
	fmt.Println("session:", must(unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)))
	fmt.Println("link:", must(unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING, 0, 0)))
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", args[0], 0)
	buf := make([]byte, 100)
	if err == nil {
		var n int
		n, err = unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
		fmt.Printf("secret: %s\n", buf[:max(n, 0)])
	}
	fmt.Println("search:", err)
	_, err = unix.AddKey("user", args[0]+"-inside", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
	fmt.Println("add:", err)
	_, err = unix.RequestKey("user", args[0], "", unix.KEY_SPEC_SESSION_KEYRING)
	fmt.Println("request:", err)
	return 0
}

func must[T any](_ T, err error) error { return err }

// TestKeyrings: keyrings belong to user ids, and root inside has the id of the host's.
func TestKeyrings(t *testing.T) {
	hostroot.NeedRoot(t)
	name := fmt.Sprintf("grove-test-%d", os.Getpid())
	id, err := unix.AddKey("user", name, []byte("hostsecret"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil && os.Getenv("GROVE_CI") == "1" {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("needs the kernel's keyrings: %v", err)
	}
	defer unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	root := hostroot.Make(t)
	r := runSteps(t, overlaySpec(t, root), sandbox.Step{Name: "keys", Builtin: "keys", Args: []string{name}}, sh("echo $((1+1)); test -d /tmp"))
	if out := string(r[0].Output); strings.Contains(out, "hostsecret") || strings.Count(out, ": function not implemented\n") != 5 {
		t.Errorf("root inside and the host's keys:\n%s", out)
	}
	if string(r[1].Output) != "2\n" || r[1].Exit != 0 {
		t.Errorf("a shell ends with %d and %q", r[1].Exit, r[1].Output)
	}
}

// TestNoWaitingForAFifo: a program that is a fifo is refused; opening one waits for who writes to it.
func TestNoWaitingForAFifo(t *testing.T) {
	hostroot.NeedRoot(t)
	spec := overlaySpec(t, hostroot.Make(t, "mkfifo", "chmod"))
	r := runSteps(t, spec, sh("mkfifo /tmp/x && chmod 755 /tmp/x"), sandbox.Step{Name: "fifo", Argv: []string{"/tmp/x"}}, sh("echo on"))
	if r[0].Exit != 0 || r[1].Exit == 0 || string(r[2].Output) != "on\n" {
		t.Errorf("%+v", r)
	}
}
