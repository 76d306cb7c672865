// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Command is a program run in the foreground.
type Command struct {
	Argv   []string // empty = the user's login shell
	Stdin  *os.File // nil = /dev/null
	Stdout *os.File
	Stderr *os.File
	Env    []string // added to Spec.Env
	User   string   // "NAME", "UID", "UID:GID", looked up in the root's passwd and group; "" = root
	Dir    string   // "" = the Spec's, else "/", for a login shell the user's home
}

// StartError says why the program of Exec could not be started. Exit is a shell's idea of it: 127 where it is missing, 126
// where it is there and does not start; 1 where its user, folder or terminal is the matter.
type StartError struct {
	Reason  string
	Exit    int
	Damaged bool // it is there and cannot be read
}

func (e *StartError) Error() string { return e.Reason }

// Exec runs one program in a container of its own until it ends, and returns its exit code, 128+N when signal N
// ended it; of a *StartError, what that says. When stdin, stdout and stderr are all terminals the program gets a new
// terminal of the container, with job control; otherwise it gets them as they are, in a session without a terminal, so
// that it cannot type into the caller's. SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on: it is for
// the program to end by them, so once it is being started ctx no longer counts.
//
//	errors  ErrNotPermitted; ctx.Err() where ctx was done before
func Exec(ctx context.Context, spec Spec, c Command) (int, error) {
	wire := command{Argv: c.Argv, Env: c.Env, User: c.User, Dir: c.Dir}
	wire.Terminal = isTerminal(c.Stdin) && isTerminal(c.Stdout) && isTerminal(c.Stderr)
	if wire.Terminal {
		if size, err := unix.IoctlGetWinsize(int(c.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
			wire.Rows, wire.Cols = size.Row, size.Col
		}
	}
	// From here on signals are not ours: a Ctrl-C must not end the caller before the program.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGWINCH)
	defer signal.Stop(signals)
	if err := ctx.Err(); err != nil {
		return 127, err
	}
	ctx = context.WithoutCancel(ctx)

	ours, theirs, err := terminalSocket()
	if err != nil {
		return 127, err
	}
	defer ours.Close()
	b, err := start(ctx, spec, func(cmd *exec.Cmd) {
		cmd.ExtraFiles[terminalFD-3] = theirs
		if !wire.Terminal {
			setStdio(cmd, c)
		}
	})
	theirs.Close()
	if err != nil {
		return 127, err
	}
	defer b.close()
	return b.foreground(c, wire, ours, signals)
}

// setStdio hands files over as they are; a plain nil would become a pipe or /dev/null of the wrong kind.
func setStdio(cmd *exec.Cmd, c Command) {
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.Stderr = nil
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
}

func (b *box) foreground(c Command, wire command, socket *os.File, signals chan os.Signal) (int, error) {
	if err := b.channel.enc.Encode(request{Command: &wire}); err != nil {
		return 127, b.died(err)
	}
	var master *os.File
	if wire.Terminal {
		var err error
		if master, err = receiveFile(socket); err != nil {
			return 127, b.died(err)
		}
		defer master.Close()
		restore, err := c.relay(master)
		if err != nil {
			return 127, err
		}
		defer restore()
	}
	end := make(chan struct{})
	defer close(end)
	go func() {
		for {
			select {
			case s := <-signals:
				b.passOn(s.(syscall.Signal), c, master)
			case <-end:
				return
			}
		}
	}()
	var answer reply
	if err := b.channel.dec.Decode(&answer); err != nil {
		return 127, b.died(err)
	}
	if answer.Err != "" {
		return answer.Exit, &StartError{answer.Err, answer.Exit, answer.Damaged}
	}
	return answer.Exit, nil
}

func (b *box) passOn(s syscall.Signal, c Command, master *os.File) {
	switch {
	case s == syscall.SIGWINCH:
		if master == nil {
			return
		}
		if size, err := unix.IoctlGetWinsize(int(c.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size)
		}
	default:
		_ = b.channel.enc.Encode(request{Signal: int(s)})
	}
}

// relay makes the caller's terminal raw and copies between it and master. The function it returns waits for the last
// output and puts the terminal back.
func (c Command) relay(master *os.File) (func(), error) {
	old, err := term.MakeRaw(int(c.Stdin.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set terminal: %w", err)
	}
	stopR, stopW, err := os.Pipe()
	if err != nil {
		_ = term.Restore(int(c.Stdin.Fd()), old)
		return nil, err
	}
	written := make(chan struct{})
	go func() {
		_, _ = io.Copy(c.Stdout, master) // ends with EIO when the last holder inside is gone
		close(written)
	}()
	read := make(chan struct{})
	go func() {
		copyUntil(master, c.Stdin, stopR)
		close(read)
	}()
	return func() {
		<-written
		stopW.Close()
		<-read
		stopR.Close()
		_ = term.Restore(int(c.Stdin.Fd()), old)
	}, nil
}

// copyUntil copies from a terminal until stop is closed, without taking a key more than it was given.
func copyUntil(dst, src, stop *os.File) {
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(src.Fd()), Events: unix.POLLIN}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(int(src.Fd()), buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

func terminalSocket() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), os.NewFile(uintptr(fds[1]), "terminal"), nil
}

// receiveFile takes the descriptor that sendFile sent; an empty message means there is none.
func receiveFile(socket *os.File) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("no terminal was made in the container")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("no terminal was made in the container")
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

func sendFile(socket int, f *os.File) error {
	return unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0)
}
