// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveByGrove hands a repository out by `grove serve` and gives the address.
func (s site) serveByGrove(repo string) string {
	s.t.Helper()
	cmd := exec.Command(program, "serve", "--repo", repo, "--listen", "127.0.0.1:0")
	cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	start(s.t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(line)
	if url == "" {
		s.t.Fatalf("grove serve said %q, no address", line)
	}
	return url
}

// serveByPython hands a folder out by a static web server that knows nothing of ostree, and gives the address.
func (s site) serveByPython(dir string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("python3", "-m", "http.server", "--bind", "127.0.0.1", "-d", dir, strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	start(s.t, cmd)
	addr := "127.0.0.1:" + strconv.Itoa(port)
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "http://" + addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("the web server did not come up")
	return ""
}

// start starts a process that ends with the test.
func start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}
