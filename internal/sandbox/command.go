// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// command runs the program of Exec inside, and passes signals on to it while it runs.
func (s *supervisor) command(c command) reply {
	who, err := lookUser(c.User)
	if err != nil {
		s.noTerminal(c)
		return reply{Err: err.Error(), Exit: 1}
	}
	env := mergeEnv(who.env(), s.spec.Env, c.Env)
	var path string
	if len(c.Argv) == 0 {
		path, c.Argv = who.shell, []string{"-" + filepath.Base(who.shell)}
		if st, err := os.Stat(who.home); err == nil && st.IsDir() {
			c.Dir = firstOf(c.Dir, s.spec.Chdir, who.home)
		}
	} else {
		path = lookPath(c.Argv[0], env)
	}
	attr := &syscall.ProcAttr{Dir: firstOf(c.Dir, s.spec.Chdir, "/"), Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true}}
	if who.uid != 0 || who.gid != 0 || c.User != "" {
		attr.Sys.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups, NoSetGroups: s.spec.Rootless}
	}
	var slave *os.File
	if c.Terminal {
		if slave, err = s.openTerminal(c, who); err != nil {
			s.noTerminal(c)
			return reply{Err: "open terminal: " + err.Error(), Exit: 1}
		}
		fd := slave.Fd()
		attr.Files = []uintptr{fd, fd, fd}
		attr.Sys.Setctty, attr.Sys.Ctty = true, 0
	}
	pid, err := s.fork(path, c.Argv, attr)
	if slave != nil {
		slave.Close()
	}
	if err != nil {
		return startError(path, attr.Dir, err)
	}
	s.passSignals(pid)
	var res Result
	setStatus(&res, reap(pid))
	killAll()
	return reply{Exit: res.Exit}
}

// passSignals reads signal requests until the host goes away, which ends this process and so the container.
func (s *supervisor) passSignals(pid int) {
	go func() {
		for {
			var r request
			if err := s.channel.dec.Decode(&r); err != nil {
				os.Exit(1)
			}
			if r.Signal > 0 {
				_ = unix.Kill(pid, unix.Signal(r.Signal))
			}
		}
	}()
}

// openTerminal makes a new terminal in the container, sends its master to the host and returns the other end.
func (s *supervisor) openTerminal(c command, who user) (*os.File, error) {
	master, err := os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock: %w", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("open other end: %w", errno)
	}
	slave := os.NewFile(fd, "terminal")
	if c.Rows > 0 && c.Cols > 0 {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: c.Rows, Col: c.Cols})
	}
	if who.uid != 0 {
		_ = slave.Chown(int(who.uid), -1)
	}
	if err := sendFile(terminalFD, master); err != nil {
		slave.Close()
		return nil, fmt.Errorf("send: %w", err)
	}
	return slave, nil
}

// noTerminal lets the host stop waiting for one.
func (s *supervisor) noTerminal(c command) {
	if c.Terminal {
		_ = unix.Sendmsg(terminalFD, []byte{0}, nil, nil, 0)
	}
}

// env is what login sets.
func (u user) env() []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return []string{"PATH=" + path, "HOME=" + u.home, "USER=" + u.name, "LOGNAME=" + u.name, "SHELL=" + u.shell}
}

func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
