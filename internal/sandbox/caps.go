// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capNames are the names of the capabilities by number (linux/capability.h).
var capNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct
sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap
mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

// ScriptletCaps are what a scriptlet keeps, as rpm-ostree gives them.
var ScriptletCaps = strings.Fields("chown dac_override fowner fsetid kill setgid setuid setpcap sys_chroot setfcap")

// RunCaps are what root keeps in a guest that is entered: enough for daemons, nothing that reaches the host's kernel
// (no sys_admin, sys_ptrace, sys_module, mknod), nor files by handle (no dac_read_search).
var RunCaps = strings.Fields(`chown dac_override fowner fsetid kill setgid setuid setpcap sys_chroot setfcap ipc_owner
lease net_bind_service net_broadcast net_raw audit_write sys_nice sys_resource`)

func capSet(names []string) (uint64, error) {
	if names == nil {
		names = ScriptletCaps
	}
	var set uint64
	for _, name := range names {
		short := strings.TrimPrefix(strings.ToLower(name), "cap_")
		if short == "all" {
			return 1<<63 - 1, nil
		}
		n := -1
		for i, known := range capNames {
			if known == short {
				n = i
			}
		}
		if n < 0 {
			return 0, fmt.Errorf("unknown capability %q", name)
		}
		set |= 1 << n
	}
	return set, nil
}

// lastCap is the highest capability that the kernel knows.
func lastCap() int {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 && n < 64 {
			return n
		}
	}
	return len(capNames) - 1
}

// dropCaps reduces the capabilities of the calling thread, and of what it starts, to keep.
func dropCaps(keep uint64, last int) error {
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for c := 0; c <= last; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		half := uint32(keep >> (32 * i))
		data[i].Permitted &= half
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
