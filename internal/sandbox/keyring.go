// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's keyrings belong to user ids, not to namespaces: root in a container would reach those of the host's root, with
// what is kept there for disks and logins. So its system calls for keys say that there are none.

// keyCalls are the numbers of add_key, request_key and keyctl, by the kernel's name for a machine; they follow one another.
//
//	source  linux/audit.h (AUDIT_ARCH); the kernel's tables of system calls
var keyCalls = map[string][]struct{ arch, first, mask uint32 }{
	"amd64":   {{unix.AUDIT_ARCH_X86_64, 248, ^uint32(0x40000000)}, {unix.AUDIT_ARCH_I386, 286, ^uint32(0)}}, // masked: those of x32
	"arm64":   {{unix.AUDIT_ARCH_AARCH64, 217, ^uint32(0)}, {unix.AUDIT_ARCH_ARM, 309, ^uint32(0)}},
	"ppc64le": {{unix.AUDIT_ARCH_PPC64LE, 269, ^uint32(0)}},
	"s390x":   {{unix.AUDIT_ARCH_S390X, 278, ^uint32(0)}, {unix.AUDIT_ARCH_S390, 278, ^uint32(0)}},
	"riscv64": {{unix.AUDIT_ARCH_RISCV64, 217, ^uint32(0)}},
}

// Places of the fields in what a filter looks at. Source: linux/seccomp.h, struct seccomp_data.
const (
	seccompNr   = 0
	seccompArch = 4
)

// keyFilter is the program: for each machine, three calls are answered with ENOSYS; all else is allowed.
func keyFilter(machine string) []unix.SockFilter {
	var prog []unix.SockFilter
	for _, m := range keyCalls[machine] {
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: seccompArch},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: m.arch, Jf: 5},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: seccompNr},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: m.mask},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: m.first, Jf: 2},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: m.first + 2, Jt: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		)
	}
	return append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
}

// withoutKeys takes the keyrings from the calling thread and from what it starts. It needs CAP_SYS_ADMIN in its user namespace.
func withoutKeys() error {
	_, _ = unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) // a new one without a name; the caller's is not for the container
	prog := keyFilter(runtime.GOARCH)
	if len(prog) == 1 {
		return nil
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	// else the filter would slow down what needs no such care
	const flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno == unix.EINVAL || errno == unix.ENOSYS { // a kernel without seccomp
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("forbid keyrings: %w", errno)
	}
	return nil
}
