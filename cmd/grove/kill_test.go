// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"grove/internal/guest"
)

// TestKill kills grove before one of its durable steps, for each verb that changes guests and for steps spread over
// all it takes. Each time the guests must be as before or as after, fsck content, and the same verb must succeed
// when it is run again. GROVE_TEST_KILLS=all tries every step, a number so many of each verb.
func TestKill(t *testing.T) {
	need(t, "root")
	w := copse(t)
	seed := filepath.Join(t.TempDir(), "seed")
	srv := filepath.Join(t.TempDir(), "srv")
	mustCopy(t, w.update, srv)
	at := func(args ...string) { mustGrove(t, seed, args...) }
	// The guest stands on the base of before; the remote has the newer one.
	at("remote", "add", "copse", "file://"+w.base, "--no-gpg-verify")
	at("create", "mail", "copse:"+w.Ref)
	at("install", "mail", "hello")
	at("install", "mail", "tool-in-opt")
	at("remote", "add", "copse", "file://"+srv, "--no-gpg-verify", "--force")
	manifest := filepath.Join(t.TempDir(), "mail.yaml")
	if err := os.WriteFile(manifest, []byte("base: copse:"+w.Ref+"\npackages: [greeter]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(t.TempDir(), "staged")
	mustLink(t, seed, staged)
	mustGrove(t, staged, "upgrade", "mail", "--stage")
	for _, v := range []struct {
		name    string
		args    []string
		seed    string // another state root to begin with
		between bool   // states between old and new are fine: what it does to each deployment is whole by itself
	}{
		{name: "create", args: []string{"create", "web", "copse:" + w.Ref}},
		{name: "install", args: []string{"install", "mail", "greeter"}},
		{name: "uninstall", args: []string{"uninstall", "mail", "hello"}},
		{name: "upgrade", args: []string{"upgrade", "mail"}},
		{name: "upgrade --stage", args: []string{"upgrade", "mail", "--stage"}},
		{name: "finalize", args: []string{"finalize", "mail"}, seed: staged},
		{name: "rebase", args: []string{"rebase", "mail", "copse:" + w.Ref}},
		{name: "override", args: []string{"override", "remove", "mail", "motd"}},
		{name: "apply", args: []string{"apply", "mail", manifest}},
		{name: "rollback", args: []string{"rollback", "mail", "2"}},
		{name: "pin", args: []string{"pin", "mail", "1"}},
		{name: "delete", args: []string{"delete", "mail", "--yes"}},
		{name: "gc", args: []string{"gc"}, between: true},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if v.seed == "" {
				v.seed = seed
			}
			killVerb(t, v.seed, v.args, v.between)
		})
	}
}

func killVerb(t *testing.T, seed string, args []string, between bool) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	mustLink(t, seed, whole)
	before := guestsOf(t, whole)
	counter := filepath.Join(dir, "steps")
	if out, err := groveAt(whole, []string{"GROVE_TEST_STEPS=" + counter}, args...); err != nil {
		t.Fatalf("grove %v: %v\n%s", args, err, out)
	}
	text, err := os.ReadFile(counter)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := strconv.Atoi(string(text))
	if err != nil || steps == 0 {
		t.Fatalf("%q durable steps", text)
	}
	after := guestsOf(t, whole)
	removeAll(t, whole)
	for _, n := range spread(steps) {
		root := filepath.Join(dir, "root")
		mustLink(t, seed, root)
		out, err := groveAt(root, []string{fmt.Sprintf("GROVE_TEST_KILL_AT=%d", n)}, args...)
		if !killed(err) {
			// Steps of parallel work can vary a little from run to run.
			if err != nil || n < steps-steps/10-2 {
				t.Errorf("step %d of %d: not killed: %v\n%s", n, steps, err, out)
			}
		}
		if got := guestsOf(t, root); got != before && got != after && !between {
			t.Errorf("step %d of %d: neither the old nor the new state:\n%s\nold:\n%s\nnew:\n%s", n, steps, got, before, after)
		} else if got == before {
			if out, err := groveAt(root, nil, args...); err != nil {
				t.Errorf("step %d of %d: again: %v\n%s", n, steps, err, out)
			}
		}
		if out, err := groveAt(root, nil, "fsck"); err != nil {
			t.Errorf("step %d of %d: fsck: %v\n%s", n, steps, err, out)
		}
		removeAll(t, root)
	}
}

// spread chooses steps to be killed at: some from all over, and the last ones, where the swap is.
func spread(steps int) []int {
	count := 5
	if v := os.Getenv("GROVE_TEST_KILLS"); v == "all" {
		count = steps
	} else if n, err := strconv.Atoi(v); err == nil {
		count = n
	}
	chosen := map[int]bool{steps: true, max(1, steps-1): true}
	for i := range count {
		chosen[1+i*(steps-1)/count] = true
	}
	var out []int
	for n := range chosen {
		out = append(out, n)
	}
	sort.Ints(out)
	return out
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// guestsOf describes what the guests of a state root are, without times and numbers.
func guestsOf(t *testing.T, root string) string {
	t.Helper()
	out, err := groveAt(root, nil, "list", "--json")
	if err != nil {
		t.Fatalf("list: %v\n%s", err, out)
	}
	var all []guest.Status
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("list: %v\n%s", err, out)
	}
	var b strings.Builder
	for _, g := range all {
		fmt.Fprintf(&b, "%s on %s asks for %v\n", g.Name, g.Base.Commit, g.Requested)
		for _, d := range g.Deployments {
			fmt.Fprintf(&b, "  %s current %v pinned %v staged %v %v\n", d.Commit, d.Current, d.Pinned, d.Staged, d.Layered)
		}
	}
	return b.String()
}

// groveAt runs grove in a process of its own on a state root; its output is both streams.
func groveAt(root string, environ []string, args ...string) ([]byte, error) {
	path, err := exec.LookPath("grove")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	c := exec.Command(path, append([]string{"--root", root}, args...)...)
	c.Env = append(os.Environ(), environ...)
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	return out.Bytes(), err
}

func mustGrove(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := groveAt(root, nil, args...)
	if err != nil {
		t.Fatalf("grove %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func mustCopy(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
}

// mustLink copies a state root by hard links, as grove writes nothing in place; locks are not shared.
func mustLink(t *testing.T, from, to string) {
	t.Helper()
	script := `cp -al "$1" "$2" && find "$2" -name "*.lock" -o -name .running | while read -r f; do rm "$f"; done`
	if out, err := exec.Command("sh", "-c", script, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}
