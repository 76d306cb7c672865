// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// watchPatience is what HostCommand.Patience is where nobody says it.
const watchPatience = 10 * time.Second

// watch runs the program and passes signals on to it. It is told by a SIGTERM, too, that its own parent is gone; as a
// program such as systemd-nspawn may miss one while it starts, it is told a second time then.
func watch(r hostRequest) (int, error) {
	parent := os.Getppid()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	cmd := &exec.Cmd{Path: r.Path, Args: r.Argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() { // the death signal comes when the thread that started a process ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 127, err
	}
	last := syscall.SIGTERM
	var again <-chan time.Time
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGINT || !isTerminal(os.Stdin) { // else it has it from the terminal
				_ = cmd.Process.Signal(s)
			}
			if again == nil && os.Getppid() != parent {
				again = time.After(r.Patience)
			}
		case <-again:
			_ = cmd.Process.Signal(last)
			last, again = syscall.SIGKILL, time.After(r.Patience)
		case err := <-ended:
			return exitCode(err)
		}
	}
}
