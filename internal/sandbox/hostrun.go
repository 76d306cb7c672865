// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HostMount is a mount that a program of the host sees, besides everything that the host has. At must exist.
type HostMount struct {
	Source   string // a directory; or
	Image    *Image // a composefs
	At       string
	ReadOnly bool
	// Sealed shows Source through an overlay that has no layer to write to: not even root with all its powers, who
	// can make a read-only mount writable again, can write through it.
	Sealed string // an empty directory, which the overlay needs beside Source; "" = not sealed
	Name   string // what the kernel's table of mounts says of a sealed Source; "" = "overlay"
}

// HostCommand is a program of the host, such as systemd-nspawn, run in the foreground.
type HostCommand struct {
	Argv   []string // Argv[0] is looked up in PATH
	Env    []string // added to the caller's
	Mounts []HostMount
	Stdin  *os.File // nil = /dev/null
	Stdout *os.File
	Stderr *os.File
	// Patience is how long the program may take to end, where the caller was killed, until it is told again, and then killed;
	// 0 = 10 seconds. With Mounts only.
	Patience time.Duration
	Hold     *os.File // with Mounts: kept open as long as the program runs, also where the caller is killed; nil = nothing
}

// ErrNoProgram says that the host has no such program.
var ErrNoProgram = errors.New("not installed on this host")

// RunHost runs a program of the host until it ends and returns its exit code, 128+N when signal N ended it. With
// Mounts it runs in a mount namespace of its own that has these besides what the host has; nothing of them is left
// behind, however it ends. SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on. Where the caller is killed, the program
// is told to end (SIGTERM), and again, and at last killed.
//
//	errors  ErrNoProgram, ErrNotPermitted
func RunHost(c HostCommand) (int, error) {
	path, err := exec.LookPath(c.Argv[0])
	if err != nil {
		return 127, fmt.Errorf("run %s: %w", c.Argv[0], ErrNoProgram)
	}
	cmd := &exec.Cmd{Path: path, Args: c.Argv, Env: append(os.Environ(), c.Env...),
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}}
	if len(c.Mounts) > 0 {
		done, err := withMounts(cmd, c.Mounts, cmp.Or(c.Patience, watchPatience))
		if err != nil {
			return 127, err
		}
		defer done()
		if c.Hold != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, c.Hold)
		}
	}
	// Off a terminal the program gets a process group of its own: what is sent to ours reaches it once, from us.
	cmd.SysProcAttr.Setpgid = !isTerminal(c.Stdin)
	setStdio(cmd, Command{Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr})
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() { // one thread from start to end: the death signal comes when the thread that started a process ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; errors.Is(err, unix.EPERM) {
		return 127, fmt.Errorf("run %s: %w: %w", c.Argv[0], ErrNotPermitted, err)
	} else if err != nil {
		return 127, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	for {
		select {
		case s := <-signals:
			// Ctrl-C reached the program already where it shares our terminal.
			if s != syscall.SIGINT || !isTerminal(c.Stdin) {
				_ = cmd.Process.Signal(s)
			}
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// withMounts makes a command start in a mount namespace of its own that has mounts besides what the host has. done is
// called when it has ended. With patience somebody stays beside it who ends it where the caller is killed.
func withMounts(cmd *exec.Cmd, mounts []HostMount, patience time.Duration) (done func(), err error) {
	var wire bytes.Buffer
	if err := gob.NewEncoder(&wire).Encode(hostRequest{Path: cmd.Path, Argv: cmd.Args, Mounts: mounts, Patience: patience}); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = w.Write(wire.Bytes())
		w.Close()
	}()
	cmd.Path, cmd.Args, cmd.ExtraFiles = selfExe, []string{hostName}, []*os.File{r}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
	return func() { r.Close() }, nil
}

// exitCode is a shell's idea of how a program ended.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int(st.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// hostRequest goes to the child that mounts and then becomes the program.
type hostRequest struct {
	Path     string
	Argv     []string
	Mounts   []HostMount
	Patience time.Duration // 0 = nobody watches
}

// hostMain makes the mounts in the namespace of this process, which no other process has yet, and becomes the program.
func hostMain() int {
	var r hostRequest
	in := os.NewFile(3, "request")
	err := gob.NewDecoder(in).Decode(&r)
	in.Close()
	if err == nil {
		// The kernel's "/" is private here since the process was made: nothing of this gets out.
		err = MountHost(r.Mounts)
	}
	if err == nil && r.Patience > 0 {
		var code int
		if code, err = watch(r); err == nil {
			return code
		}
	} else if err == nil {
		err = unix.Exec(r.Path, r.Argv, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "grove: %s: %v\n", r.Argv[0], err)
	return 127
}

// MountHost makes mounts where this process, and whoever shares its mount namespace, sees them. When one fails, those
// before it are taken back.
func MountHost(mounts []HostMount) error {
	// All are opened first: one may cover what another shows.
	var open []int
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	for _, m := range mounts {
		fd, err := m.open()
		if err != nil {
			return err
		}
		open = append(open, fd)
	}
	for i, m := range mounts {
		if err := m.attach(open[i]); err != nil {
			for _, done := range mounts[:i] {
				_ = unix.Unmount(done.At, unix.MNT_DETACH)
			}
			return err
		}
	}
	return nil
}

func (m HostMount) open() (fd int, err error) {
	switch {
	case m.Image != nil:
		fd, err = m.Image.open()
	case m.Sealed != "":
		fd, err = sealed(m.Source, m.Sealed, m.Name)
	default:
		fd, err = cloneMount(unix.AT_FDCWD, m.Source, false)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s to mount it: %w", m.what(), err)
	}
	return fd, nil
}

func (m HostMount) attach(fd int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}
	if m.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("set attributes of the mount on %s: %w", m.At, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, m.At, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", m.At, err)
	}
	return nil
}

// sealed gives a detached overlay of a directory and an empty one.
func sealed(dir, empty, name string) (int, error) {
	o := overlay{source: cmp.Or(name, "overlay"), readOnly: true}
	defer o.close()
	for _, d := range []string{dir, empty} {
		if err := o.addLower(d); err != nil {
			return -1, err
		}
	}
	return o.mount()
}

func (m HostMount) what() string {
	if m.Image != nil {
		return m.Image.what()
	}
	return m.Source
}

// UnmountHost takes a mount and everything mounted below it away.
func UnmountHost(at string) error {
	if err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW); err == nil || !errors.Is(err, unix.EBUSY) {
		return err
	}
	return unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}

// toolTimeout bounds a tool of the host that only answers a question.
const toolTimeout = 2 * time.Minute

// HostTool runs a tool of the host that reads stdin and answers on stdout, such as systemd-analyze.
//
//	errors  ErrNoProgram; an exit code but 0, with its stderr
func HostTool(ctx context.Context, stdin io.Reader, argv ...string) ([]byte, error) {
	return HostToolIn(ctx, nil, stdin, argv...)
}

// HostToolIn is HostTool with mounts that only the tool sees, as RunHost has them.
//
//	errors  as HostTool; ErrNotPermitted
func HostToolIn(ctx context.Context, mounts []HostMount, stdin io.Reader, argv ...string) ([]byte, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], ErrNoProgram)
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	noise := newTail(8 << 10)
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Stdin, cmd.Stderr = stdin, noise
	if len(mounts) > 0 {
		done, err := withMounts(cmd, mounts, 0)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("run %s: %w: %s", argv[0], err, bytes.TrimSpace(noise.bytes()))
	}
	return out, nil
}

// HostPipe starts a tool of the host that reads what is written to it and writes into w, such as a compressor. Close
// ends its input, waits for it, and gives its error; it must be called.
//
//	errors  ErrNoProgram; of Close: an exit code but 0, with its stderr; an error of w
func HostPipe(w io.Writer, argv ...string) (io.WriteCloser, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], ErrNoProgram)
	}
	p := &hostPipe{cmd: exec.Command(path, argv[1:]...), noise: newTail(8 << 10)}
	p.cmd.Env = []string{"LC_ALL=C"} // its own variables could change what it writes
	p.cmd.Stdout, p.cmd.Stderr = w, p.noise
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return p, nil
}

type hostPipe struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	noise  *tail
	closed bool
}

func (p *hostPipe) Write(b []byte) (int, error) { return p.in.Write(b) }

func (p *hostPipe) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("run %s: %w: %s", filepath.Base(p.cmd.Path), err, bytes.TrimSpace(p.noise.bytes()))
	}
	return nil
}
