// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Child does the work of this process when it is a re-execution made by this package, and then does not return. It
// must be called first in main and in TestMain, with everything that Step.Builtin and Helper may name.
func Child(builtins map[string]Builtin) {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case initName:
		runtime.LockOSThread()
		os.Exit(initMain())
	case hostName:
		os.Exit(hostMain())
	case holdName:
		os.Exit(holdMain())
	case builtinName, helperName:
		os.Exit(builtinMain(builtins))
	}
}

// Limits of a helper: the solver on 60,000 packages needs half a gigabyte and seconds.
const (
	helperCPUSec    = 600
	helperDataBytes = 4 << 30
)

func builtinMain(builtins map[string]Builtin) int {
	if len(os.Args) < 2 {
		return 127
	}
	keepRuntime()
	if os.Args[0] == helperName {
		_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: helperCPUSec, Max: helperCPUSec})
		_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: helperDataBytes, Max: helperDataBytes})
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		layDown()
	}
	f, ok := builtins[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "no builtin %q in this program\n", os.Args[1])
		return 127
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 127
	}
	return f(os.Args[2:], stdin)
}

// nobody is the user of the kernel's overflow id, who owns nothing.
const nobody = 65534

// layDown gives up, where a helper is root, what it does not need to compute: files, and who it is. A fault in its C code, led on by
// hostile metadata, has nothing to work with then. Where that is not allowed it goes on as it is.
func layDown() {
	if os.Geteuid() != 0 {
		return
	}
	if unix.Chroot("/proc/self/fdinfo") == nil { // a folder that is as good as empty, and gone with the process
		_ = unix.Chdir("/")
	}
	_ = syscall.Setgroups(nil)
	_ = syscall.Setresgid(nobody, nobody, nobody)
	_ = syscall.Setresuid(nobody, nobody, nobody)
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // the kernel forgot it with the change
}

// Respawn starts another builtin of this program from inside a builtin. It gets stdin, and files from descriptor 3 on;
// its stdout and stderr are the caller's. It returns the process id, to be waited for by the caller.
func Respawn(name string, args []string, stdin []byte, files []*os.File) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	fds := []uintptr{r.Fd(), 1, 2}
	for _, f := range files {
		fds = append(fds, f.Fd())
	}
	path, argv, fds := builtinStart(selfExe, append([]string{name}, args...), fds)
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: os.Environ(), Files: fds})
	if err != nil {
		w.Close()
		return 0, fmt.Errorf("start %s again: %w", name, err)
	}
	_, err = w.Write(stdin)
	w.Close()
	if err != nil {
		return pid, fmt.Errorf("write to child %d: %w", pid, err)
	}
	return pid, nil
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
