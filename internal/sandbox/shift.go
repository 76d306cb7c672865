// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"grove/internal/verity"
)

// IDRange is how many ids a shifted guest has: what systemd-nspawn gives one.
const IDRange = 1 << 16

// shiftedUsers gives a user namespace whose ids are those of the host shifted by shift. It lives as long as the result,
// or a mount that uses it.
func shiftedUsers(shift uint32) (*os.File, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(shift), Size: IDRange}}
	cmd := &exec.Cmd{Path: selfExe, Args: []string{holdName}, SysProcAttr: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL}}
	end, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	defer func() {
		end.Close()
		_ = cmd.Wait() // it does nothing and ends with its input
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
}

// holdMain keeps its namespaces until nobody holds the other end of its input.
func holdMain() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// holdAgainst refuses an image that fs-verity does not measure as it should.
func holdAgainst(f *os.File, want []byte) error {
	got, err := verity.Measure(f)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("fs-verity measures %x, want %x", got, want)
	}
	return nil
}
