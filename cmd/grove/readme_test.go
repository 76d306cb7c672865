// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestReadme types the commands of the README's walk, as they stand there.
func TestReadme(t *testing.T) {
	need(t, "root")
	w := copse(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, ok := strings.Cut(string(text), "\n## A walk\n")
	walk, _, ok2 := strings.Cut(walk, "\n## ")
	if !ok || !ok2 {
		t.Fatal("README.md: no section \"A walk\"")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n")
	lines := 0
	for _, line := range strings.Split(walk, "\n") {
		line, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		lines++
		line = strings.ReplaceAll(line, "127.0.0.1:8080", addr)
		line = strings.ReplaceAll(line, "x86_64", w.Arch)
		if strings.HasPrefix(line, "go run ./internal/fixture/mkcopse ") {
			line = "ln -s '" + w.Dir + "' copse"
		}
		fmt.Fprintf(&script, "echo '$' %s\n%s\n", quote(line), line)
		if strings.HasSuffix(line, "&") {
			host, port, _ := net.SplitHostPort(addr)
			fmt.Fprintf(&script, "until (exec 3<>/dev/tcp/%s/%s) 2>/dev/null; do sleep 0.05; done\n", host, port)
		}
	}
	if lines < 20 {
		t.Fatalf("README.md: %d commands in the walk", lines)
	}
	c := exec.Command("bash", "-c", script.String())
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`(?m)^Hello, world$`, `(?m)^Good day, world!$`, `(?m)^hello-1.0-1.noarch$`, `(?m)^mail: deleted$`, `(?m) 0 faults$`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the walk did not print %s", want)
		}
	}
	// The commit made again from the lock is the first one.
	sums := regexp.MustCompile(`base: \d+ packages, ([0-9a-f]{64})`).FindAllStringSubmatch(string(out), -1)
	if len(sums) != 3 || sums[0][1] != sums[2][1] {
		t.Errorf("commits composed: %v, want the last to be the first", sums)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
