// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"bytes"
	"context"
	"fmt"
	"grove/internal/fixture/hostroot"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/machine"
	"grove/internal/sandbox"
)

const frontName = "machine-test-front"

// The front end is grove run in small: ROOT VAR USER ARGV...
func TestMain(m *testing.M) {
	sandbox.Child(nil)
	if os.Args[0] == frontName {
		code, err := machine.Run(context.Background(), machine.Guest{Name: "copse", Root: os.Args[1], Var: os.Args[2],
			RunLock: filepath.Join(os.Args[2], "lock")}, machine.Command{Argv: os.Args[4:], User: os.Args[3], Stdin: os.Stdin,
			Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Env: []string{"GIVEN=1"}})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func guest(t testing.TB) (root, variable string) {
	hostroot.NeedRoot(t)
	root = hostroot.Make(t, "cat", "ls", "sleep", "id", "stty", "tty", "touch", "hostname", "ps")
	for _, f := range []string{"passwd", "group"} {
		hostroot.Copy(t, filepath.Join(root, "usr/etc", f), filepath.Join(root, "etc", f))
	}
	os.Mkdir(filepath.Join(root, "home"), 0o755)
	return root, t.TempDir()
}

func front(root, variable, user string, argv ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{root, variable, user}, argv...)...)
	cmd.Args[0] = frontName
	cmd.Env = []string{"TERM=xterm", "SECRET=1", "PATH=/nowhere"}
	return cmd
}

func TestRun(t *testing.T) {
	root, variable := guest(t)
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	tests := []struct {
		name, user string
		argv       []string
		want       string
	}{
		{"exit code", "", sh("exit 7"), "7 "},
		{"signal", "", sh("kill -9 $$"), "137 "},
		{"missing program", "", []string{"nope"}, "127 run in copse: nope is missing\n"},
		{"missing user", "nope", sh(":"), "1 run in copse: the guest has no user \"nope\"\n"},
		{"stdio", "", sh("cat; echo err >&2"), "0 in\nerr\n"},
		{"environment", "", sh("echo $HOME $USER $TERM $SECRET $GIVEN $container $PATH $PWD"),
			"0 /root root xterm 1 grove /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /\n"},
		{"user", "bob", []string{"id"}, "0 uid=1000(bob) gid=1000(bob) groups=1000(bob),10(wheel)\n"},
		{"numbers", "5:6", []string{"id"}, "0 uid=5 gid=6 groups=6\n"},
		{"hostname", "", []string{"hostname"}, "0 copse\n"},
		{"read-only", "", sh("touch /usr/x /x 2>/dev/null; touch /etc/x /var/x /tmp/x /run/x && echo ok"), "0 ok\n"},
		{"processes", "", sh("set -- /proc/[0-9]*; echo $#"), "0 2\n"},
		{"host network", "", sh("[ -s /etc/resolv.conf ] && echo resolves; ls /sys/class/net"), "*"},
		{"no mounts", "", sh("ls /proc/1/root/ >/dev/null 2>&1 || echo hidden"), "0 hidden\n"},
	}
	for _, c := range tests {
		cmd := front(root, variable, c.user, c.argv...)
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in\n"), &out, &out
		_ = cmd.Run()
		got := fmt.Sprintf("%d %s", cmd.ProcessState.ExitCode(), out.String())
		if c.want == "*" {
			t.Logf("%s: %s", c.name, got)
		} else if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(root, "usr/bin")); len(left) == 0 {
		t.Error("nothing left")
	}
}

func TestSignalsAndLock(t *testing.T) {
	root, variable := guest(t)
	cmd := front(root, variable, "", "bash", "-c", "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done")
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 3)
	io.ReadFull(out, line)
	if _, err := durable.Acquire(context.Background(), filepath.Join(variable, "lock"), true, 0); err == nil {
		t.Error("the deployment is not locked while a command runs")
	}
	cmd.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(out)
	cmd.Wait()
	if string(rest) != "got\n" || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("got %q, exit %d", rest, cmd.ProcessState.ExitCode())
	}

	// Killed, it takes everything with it.
	cmd = front(root, variable, "", "sleep", "4711")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if running("4711") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for i := 0; running("4711"); i++ {
		if i > 100 {
			t.Fatal("the command outlives a killed grove")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func running(argument string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if data, _ := os.ReadFile(f); string(data) == "sleep\x00"+argument+"\x00" {
			return true
		}
	}
	return false
}

// TestTerminal types into a shell as a person would.
func TestTerminal(t *testing.T) {
	root, variable := guest(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil && os.Getenv("GROVE_CI") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	n, _ := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99})
	before, _ := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	cmd := front(root, variable, "")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	done := make(chan struct{})
	var seen = make(chan string, 1000)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				close(done)
				return
			}
			out.Write(buf[:n])
			seen <- string(buf[:n])
		}
	}()
	text := ""
	wait := func(want string) {
		t.Helper()
		for end := time.After(10 * time.Second); !strings.Contains(text, want); {
			select {
			case s := <-seen:
				text += s
			case <-end:
				t.Fatalf("no %q in %q", want, text)
			}
		}
		text = text[strings.Index(text, want)+len(want):]
	}
	say := func(line string) { io.WriteString(master, line) }
	wait("# ")
	say("tty; stty size\n")
	wait("/dev/pts/0\r\n33 99\r\n")
	wait("# ")
	unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 88})
	time.Sleep(100 * time.Millisecond)
	say("stty size\n")
	wait("44 88\r\n")
	wait("# ")
	say("sleep 100\n")
	time.Sleep(200 * time.Millisecond)
	say("\x1a")
	wait("Stopped")
	wait("# ")
	say("jobs; fg\n")
	wait("Stopped")
	time.Sleep(100 * time.Millisecond)
	say("\x03")
	wait("# ")
	say("exit 5\n")
	slave.Close()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit %d: %s", code, out.String())
	}
	after, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err == nil && before != nil && after.Lflag != before.Lflag {
		t.Error("the terminal was left raw")
	}
	if strings.Contains(out.String(), "no job control") {
		t.Error(out.String())
	}
}

func BenchmarkRun(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	root, variable := guest(b)
	peers := map[string][]string{
		"chroot": {"chroot", root, "/bin/sh", "-c", ":"},
		"bwrap":  {"bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/sh", "-c", ":"},
		"nspawn": {"systemd-nspawn", "-q", "--register=no", "--keep-unit", "--read-only", "-D", root, "/bin/sh", "-c", ":"},
	}
	b.Run("grove", func(b *testing.B) {
		for range b.N {
			if err := front(root, variable, "", "/bin/sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, argv := range peers {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
					b.Skipf("%v %s", err, out)
				}
			}
		})
	}
}
