// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor is the first process of a container. It keeps full capabilities itself and cannot be traced or looked
// into by what it runs; programs are started by one thread that gave its capabilities up.
type supervisor struct {
	channel  *channel
	spec     Spec
	self     string // path for starting builtins
	null     *os.File
	launch   chan func()
	terminal *os.File
}

func initMain() int {
	// Signals are for the program that runs here; they arrive as requests.
	signal.Notify(make(chan os.Signal, 1))
	_ = unix.CloseRange(terminalFD, ^uint(0)>>33, unix.CLOSE_RANGE_CLOEXEC)
	unix.CloseOnExec(controlFD)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "hide from the container:", err)
		return 1
	}
	s := &supervisor{channel: newChannel(os.NewFile(controlFD, "control")), launch: make(chan func()), self: selfExe}
	var r request
	if err := s.channel.dec.Decode(&r); err != nil || r.Spec == nil {
		return 1
	}
	s.spec = *r.Spec
	if err := s.setUp(r); err != nil {
		denied := errors.Is(err, unix.EPERM) && s.spec.Rootless
		_ = s.channel.enc.Encode(reply{Err: err.Error(), Denied: denied})
		return 1
	}
	if err := s.channel.enc.Encode(reply{}); err != nil {
		return 1
	}
	for {
		var r request
		if err := s.channel.dec.Decode(&r); err != nil {
			return 0 // the host is done, or dead; the kernel kills what is left here
		}
		var answer reply
		switch {
		case r.Step != nil:
			answer.Result = s.step(*r.Step)
		case r.Command != nil:
			answer = s.command(*r.Command)
		}
		if err := s.channel.enc.Encode(answer); err != nil {
			return 1
		}
	}
}

func (s *supervisor) setUp(r request) error {
	if isOpen(selfFD) {
		s.self = fdPath(selfFD)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.null = null
	unix.Umask(0o022)
	if s.spec.Hostname != "" {
		if err := unix.Sethostname([]byte(s.spec.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
	}
	if !s.spec.Network {
		if err := raiseLoopback(); err != nil {
			return fmt.Errorf("raise loopback: %w", err)
		}
	}
	if err := enterRoot(s.spec); err != nil {
		return err
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	ready := make(chan error)
	go s.launcher(r.Caps, r.LastCap, ready)
	return <-ready
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// launcher is the thread with reduced capabilities that starts every program.
func (s *supervisor) launcher(caps uint64, last int, ready chan error) {
	runtime.LockOSThread()
	err := withoutKeys()
	if err == nil {
		err = dropCaps(caps, last)
	}
	ready <- err
	if err != nil {
		return
	}
	for f := range s.launch {
		f()
	}
}

// fork starts a program from the launcher thread.
func (s *supervisor) fork(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	s.launch <- func() {
		pid, err = syscall.ForkExec(path, argv, attr)
		close(done)
	}
	<-done
	return pid, err
}

// step runs one step and everything it starts to the end.
func (s *supervisor) step(st Step) Result {
	began := time.Now()
	res := Result{Name: st.Name}
	out := newTail(OutputLimit)
	s.runStep(st, &res, out)
	res.Output = out.bytes()
	res.Duration = time.Since(began)
	return res
}

func (s *supervisor) runStep(st Step, res *Result, out *tail) {
	if st.Script != nil {
		if err := writeScript(st.Script); err != nil {
			res.Exit, res.Start = 127, err.Error()
			return
		}
		defer os.Remove(ScriptPath)
	}
	r, w, err := os.Pipe()
	if err != nil {
		res.Exit, res.Start = 127, err.Error()
		return
	}
	stdin, finish, err := s.stdin(st.Stdin)
	if err != nil {
		r.Close()
		w.Close()
		res.Exit, res.Start = 127, err.Error()
		return
	}
	env := mergeEnv(s.spec.Env, st.Env)
	path, argv, files := s.program(st, env, []uintptr{stdin.Fd(), w.Fd(), w.Fd()})
	attr := &syscall.ProcAttr{Dir: firstOf(st.Dir, s.spec.Chdir, "/"), Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: s.credential()}}
	pid, err := s.fork(path, argv, attr)
	w.Close()
	finish()
	if err != nil {
		r.Close()
		res.Exit, res.Start = 127, startError(path, attr.Dir, err).Err
		return
	}
	read := make(chan struct{})
	go func() {
		drain(out, r)
		close(read)
	}()
	timeout := st.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	fired := make(chan struct{})
	timer := time.AfterFunc(timeout, func() {
		_ = unix.Kill(-1, unix.SIGKILL)
		close(fired)
	})
	status := reap(pid)
	if !timer.Stop() {
		<-fired // or it might hit the next step
		res.TimedOut = true
	}
	killAll()
	<-read
	r.Close()
	setStatus(res, status)
}

// credential is nil for root: no change needed.
func (s *supervisor) credential() *syscall.Credential {
	if s.spec.UID == 0 && s.spec.GID == 0 {
		return nil
	}
	return &syscall.Credential{Uid: s.spec.UID, Gid: s.spec.GID}
}

func setStatus(res *Result, status unix.WaitStatus) {
	if status.Signaled() {
		res.Signal = int(status.Signal())
		res.Exit = 128 + res.Signal
		return
	}
	res.Exit = status.ExitStatus()
}

// stdin gives the descriptor to read from, and what to do once the program has started.
func (s *supervisor) stdin(data []byte) (*os.File, func(), error) {
	if data == nil {
		return s.null, func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return r, func() {
		r.Close()
		go func() { // ends at the latest when the reader is killed
			_, _ = w.Write(data)
			w.Close()
		}()
	}, nil
}

func (s *supervisor) program(st Step, env []string, stdio []uintptr) (path string, argv []string, files []uintptr) {
	if st.Builtin != "" {
		return builtinStart(s.self, append([]string{st.Builtin}, st.Args...), stdio)
	}
	return lookPath(st.Argv[0], env), st.Argv, stdio
}

// lookPath finds a program by the PATH of env in the new root.
func lookPath(name string, env []string) string {
	if strings.Contains(name, "/") {
		return name
	}
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
		}
	}
	for _, dir := range filepath.SplitList(dirs) {
		p := filepath.Join("/", dir, name)
		if unix.Access(p, unix.X_OK) == nil {
			return p
		}
	}
	return name
}

func startError(path, dir string, err error) reply {
	st, serr := os.Stat(path)
	if os.IsNotExist(serr) {
		return reply{Err: path + " is missing", Exit: 127}
	}
	if d, derr := os.Stat(dir); derr != nil || !d.IsDir() {
		return reply{Err: fmt.Sprintf("enter %s: there is no such folder", dir), Exit: 1}
	}
	f, ferr := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo has nobody wait
	if ferr == nil {
		f.Close()
	}
	switch {
	case errors.Is(ferr, unix.ENOENT): // of a tree that is shown by its image
		return reply{Err: path + " is there without its content, which was lost", Exit: 126, Damaged: true}
	case errors.Is(ferr, unix.EIO):
		return reply{Err: path + " cannot be read: " + unix.EIO.Error(), Exit: 126, Damaged: true}
	case errors.Is(err, unix.ENOENT):
		return reply{Err: path + " needs a program interpreter that is missing", Exit: 126}
	case serr == nil && st.IsDir():
		return reply{Err: path + " is a folder", Exit: 126}
	case serr == nil && st.Mode()&0o111 == 0:
		return reply{Err: path + " is no program: nobody may execute it", Exit: 126}
	}
	return reply{Err: fmt.Sprintf("start %s: %v", path, err), Exit: 126}
}

// writeScript makes ScriptPath anew; what a scriptlet before left under that name is removed, never followed.
func writeScript(text []byte) error {
	_ = os.RemoveAll(ScriptPath)
	f, err := os.OpenFile(ScriptPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o700)
	if err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// reap waits for pid and for every orphan that ends before it.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0x7f00 // no child left: cannot happen
		case got == pid:
			return status
		}
	}
}

// killAll ends every other process of the container.
func killAll() {
	_ = unix.Kill(-1, unix.SIGKILL)
	for {
		_, err := unix.Wait4(-1, nil, unix.WALL, nil)
		if err != nil && err != unix.EINTR {
			return
		}
	}
}

func drain(out *tail, r *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		_, _ = out.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// mergeEnv lets later assignments of a name win; order is that of first appearance.
func mergeEnv(lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range lists {
		for _, e := range list {
			key, _, _ := strings.Cut(e, "=")
			if i, ok := at[key]; ok {
				out[i] = e
				continue
			}
			at[key] = len(out)
			out = append(out, e)
		}
	}
	return out
}

// raiseLoopback brings "lo" of the own network up: programs expect to reach themselves.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
