// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfExe is this very program, also when its file was replaced or removed since.
const selfExe = "/proc/self/exe"

// Steps runs the steps one after another in one container and gives each result to each, which ends the run by
// returning an error (ErrStop: without one). What a step leaves running is killed before the next one starts.
// A step that fails is a result, not an error.
//
//	errors  ErrNotPermitted; the error of each; ctx.Err()
func Steps(ctx context.Context, spec Spec, steps []Step, each func(Result) error) error {
	if len(steps) == 0 {
		return nil
	}
	b, err := start(ctx, spec, nil)
	if err != nil {
		return err
	}
	defer b.close()
	for i := range steps {
		answer, err := b.ask(request{Step: &steps[i]})
		if err != nil {
			return fmt.Errorf("run %s: %w", steps[i].Name, err)
		}
		if err := each(answer.Result); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

// box is a running init process seen from the host.
type box struct {
	ctx     context.Context
	cmd     *exec.Cmd
	channel *channel
	noise   *tail  // stderr of the init itself
	scratch string // the overlay's own directory, which nobody may enter, in Work
	done    chan struct{}
}

// start makes the container and returns when its root stands. prepare may change the init's process before it starts.
func start(ctx context.Context, spec Spec, prepare func(*exec.Cmd)) (*box, error) {
	if err := absolute(&spec); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		spec.Rootless = true
	}
	caps, err := capSet(spec.Caps)
	if err != nil {
		return nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	b := &box{ctx: ctx, noise: newTail(8 << 10), channel: newChannel(ours), done: make(chan struct{})}
	if spec.Rootless && spec.Work != "" {
		b.scratch = filepath.Join(spec.Work, "work")
	}
	b.cmd = initCommand(spec, theirs)
	b.cmd.Stderr = b.noise
	program, path := readOnlySelf()
	if program != nil {
		defer program.Close()
		b.cmd.ExtraFiles[selfFD-3] = program
	}
	b.cmd.Path = path
	files, err := runtimeFiles()
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer closeAll(files)
	if len(files) > 0 {
		b.cmd.ExtraFiles = append(b.cmd.ExtraFiles, make([]*os.File, runtimeFD-3-len(b.cmd.ExtraFiles))...)
		b.cmd.ExtraFiles = append(b.cmd.ExtraFiles, files...)
	}
	if prepare != nil {
		prepare(b.cmd)
	}
	if err := b.run(); err != nil {
		ours.Close()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
			return nil, fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
		return nil, fmt.Errorf("start container: %w", err)
	}
	answer, err := b.ask(request{Spec: &spec, Caps: caps, LastCap: lastCap()})
	if err != nil {
		b.close()
		if answer.Denied {
			return nil, fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
		return nil, fmt.Errorf("start container: %w", err)
	}
	return b, nil
}

func absolute(spec *Spec) error {
	for _, p := range []*string{&spec.Root, &spec.Upper, &spec.Work} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("find %s: %w", *p, err)
		}
		*p = abs
	}
	if spec.Root == "" || (spec.Upper == "") != (spec.Work == "") {
		return errors.New("a container needs a root, and upper and work both or neither")
	}
	return nil
}

func initCommand(spec Spec, control *os.File) *exec.Cmd {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if !spec.Network {
		flags |= unix.CLONE_NEWNET
	}
	attr := &syscall.SysProcAttr{Cloneflags: flags, Setsid: true, Pdeathsig: syscall.SIGKILL}
	if spec.Rootless {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return &exec.Cmd{Args: []string{initName}, Env: []string{"PATH=/usr/bin"}, SysProcAttr: attr,
		ExtraFiles: []*os.File{control, nil, nil}}
}

// readOnlySelf gives this program through a read-only mount of its own, so that nobody inside can write to the host's
// file through /proc/PID/exe. Without the right to do so the plain program is used.
func readOnlySelf() (*os.File, string) {
	f, err := openReadOnly(selfExe)
	if err != nil {
		return nil, selfExe
	}
	return f, fdPath(selfFD)
}

// run starts the process from a thread that lives as long as it: the death signal of the kernel is sent when the
// thread that started a process ends, not the process.
func (b *box) run() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := b.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = b.cmd.Wait()
		close(b.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	go func() {
		select {
		case <-b.ctx.Done():
			_ = b.cmd.Process.Kill()
		case <-b.done:
		}
	}()
	return nil
}

// ask sends one request and waits for its answer.
func (b *box) ask(r request) (reply, error) {
	var answer reply
	err := b.channel.enc.Encode(r)
	if err == nil {
		err = b.channel.dec.Decode(&answer)
	}
	switch {
	case b.ctx.Err() != nil:
		return answer, b.ctx.Err()
	case err != nil:
		return answer, b.died(err)
	case answer.Err != "":
		return answer, errors.New(answer.Err)
	}
	return answer, nil
}

func (b *box) died(err error) error {
	select {
	case <-b.done:
	case <-time.After(time.Second):
	}
	text := strings.TrimSpace(string(b.noise.bytes()))
	if errors.Is(err, io.EOF) {
		err = errors.New("the container's first process ended")
	}
	if text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// close ends the container with everything in it and waits for that.
func (b *box) close() {
	_ = b.channel.file.Close()
	_ = b.cmd.Process.Kill()
	<-b.done
	if b.scratch != "" {
		for _, dir := range []string{"", "incompat", "incompat/volatile"} { // else its owner, not being root, could not remove it
			_ = os.Chmod(filepath.Join(b.scratch, dir), 0o700)
		}
	}
}

// Helper runs a builtin in a process of its own, in no container but with limited resources, and returns what it wrote
// to its stdout. An exit code but 0 is an error that holds its stderr.
func Helper(ctx context.Context, name string, stdin []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, selfExe)
	cmd.Args = []string{helperName, name}
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	noise := newTail(64 << 10)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, noise
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		failed <- cmd.Run()
	}()
	if err := <-failed; err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if text := strings.TrimSpace(string(noise.bytes())); text != "" {
			return nil, fmt.Errorf("run helper %s: %w: %s", name, err, text)
		}
		return nil, fmt.Errorf("run helper %s: %w", name, err)
	}
	return out.Bytes(), nil
}
