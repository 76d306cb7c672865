// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/fixture/hostroot"
)

// A program that was run with mounts ends when its caller is killed, also where it does not heed what it is told.
func TestCallerIsKilled(t *testing.T) {
	hostroot.NeedRoot(t)
	dir := t.TempDir()
	script := `trap "echo told >>` + dir + `/log" TERM; echo $$ >` + dir + `/pid.new; mv ` + dir + `/pid.new ` + dir + `/pid; while :; do sleep 0.05; done`
	front := &exec.Cmd{Path: selfExe, Args: []string{builtinName, "front", dir, "sh", "-c", script}, Stderr: os.Stderr}
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for end := time.Now().Add(20 * time.Second); pid == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if pid == 0 {
		t.Fatal("the program did not start")
	}
	_ = front.Process.Kill()
	_ = front.Wait()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Kill(pid, 0); err == unix.ESRCH {
			break
		}
		if time.Now().After(end) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("the program runs on")
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || strings.Count(string(text), "told") != 2 {
		t.Errorf("it was told %q, %v; want it twice", text, err)
	}
}
