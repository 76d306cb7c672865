// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRunSignals: what grove run is told, the command is told, and what it then does is what grove ends with.
func TestRunSignals(t *testing.T) {
	need(t)
	w := copse(t)
	s := newSite(t)
	s.grove("remote", "add", "dist", "file://"+s.serverOf(w.base), "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref)
	const forever = "; echo ready; while :; do sleep 0.05; done"
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		script string
		said   string
		code   int
	}{
		{"caught", syscall.SIGTERM, `trap "echo told; exit 3" TERM` + forever, "told\n", 3},
		{"not caught", syscall.SIGTERM, `:` + forever, "", 128 + 15},
		{"interrupt", syscall.SIGINT, `trap "echo told; exit 4" INT` + forever, "told\n", 4},
		{"hang up", syscall.SIGHUP, `trap "echo told; exit 5" HUP` + forever, "told\n", 5},
		{"to be read again", syscall.SIGUSR1, `trap "echo told; exit 6" USR1` + forever, "told\n", 6},
		{"ignored", syscall.SIGTERM, `trap "" TERM; echo ready; sleep 0.3; echo went on; exit 7`, "went on\n", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(program, "run", "g", "--", "bash", "-c", c.script)
			cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(out)
			if line, err := r.ReadString('\n'); line != "ready\n" {
				t.Fatalf("the command says %q: %v, %s", line, err, errs.String())
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(r)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.code || string(rest) != c.said {
				t.Errorf("exit code %d and %q, want %d and %q; %s", got, rest, c.code, c.said, errs.String())
			}
		})
	}
}

// TestRunOnTerminal: a command on a terminal has one, with its size and with job control.
func TestRunOnTerminal(t *testing.T) {
	need(t, "script")
	w := copse(t)
	s := newSite(t)
	s.grove("remote", "add", "dist", "file://"+s.serverOf(w.base), "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref)
	cmd := exec.Command("script", "-qec", "stty rows 33 cols 99; "+program+` run g -- bash -ic 'test -t 0 && test -t 1 && echo "it is $(tty), $LINES x $COLUMNS"; set -o | grep monitor; exit 5'`, "/dev/null")
	cmd.Env = append(environ(), "GROVE_ROOT="+s.root, "TERM=xterm")
	out, _ := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(text, "it is /dev/pts/") || !strings.Contains(text, "monitor        \ton") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
}

// TestUnitsVerify has systemd-analyze judge each unit that grove writes.
func TestUnitsVerify(t *testing.T) {
	need(t, "systemd-analyze", "systemd-nspawn")
	w := copse(t)
	s := newSite(t)
	s.grove("remote", "add", "dist", "file://"+s.serverOf(w.base), "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref, "--install", "hello")
	units := s.path("units")
	places := []string{"--unit-dir", units, "--nspawn-dir", s.path("nspawn"), "--image-dir", s.path("machines")}
	s.grove(append([]string{"enable", "g", "--network", "veth", "--private-users"}, places...)...)
	s.grove(append([]string{"service", "g", "hello", "--at-boot", "--write-etc"}, places[:2]...)...)
	s.grove(append([]string{"enable", "--upgrade-timer=Sun 04:00"}, places[:2]...)...)
	files, err := filepath.Glob(units + "/*.*")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"verify", "--man=no", "systemd-nspawn@g.service"}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			names = append(names, f)
		}
	}
	if len(names) < 3+4 {
		t.Fatalf("only %v", names)
	}
	verify := func() string {
		cmd := exec.Command("systemd-analyze", names...)
		cmd.Env = append(environ(), "SYSTEMD_UNIT_PATH="+units+":")
		out, _ := cmd.CombinedOutput()
		var said []string
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			// The program is looked for on this host, although the unit has a root of its own.
			if line != "" && line != "grove-g-hello.service: Command /usr/bin/hello is not executable: No such file or directory" {
				said = append(said, line)
			}
		}
		return strings.Join(said, "\n")
	}
	if said := verify(); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	// It would say so.
	broken := filepath.Join(units, "grove-g-hello.service")
	write(t, broken, strings.Replace(read(t, broken), "ProtectSystem=strict", "ProtectSystem=perhaps", 1))
	if said := verify(); !strings.Contains(said, "perhaps") {
		t.Errorf("systemd-analyze verify finds nothing in a broken unit: %s", said)
	}
}
