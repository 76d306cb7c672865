// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// TestKill kills grove before one of its durable steps, or makes the step fail, for each verb that changes guests and
// for steps spread over all it takes. Each time the guests must be as before or as after, fsck content, and the same
// verb must succeed when it is run again. GROVE_TEST_KILLS=all tries every step, a number so many of each verb.
func TestKill(t *testing.T) {
	need(t, "root")
	w := copse(t)
	seed := filepath.Join(t.TempDir(), "seed")
	srv := filepath.Join(t.TempDir(), "srv")
	mustCopy(t, w.update, srv)
	if err := os.MkdirAll(seed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(seed, "config.json"), []byte(`{"deploy": "auto"}`), 0o644); err != nil {
		t.Fatal(err)
	}
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
	host := filepath.Join(t.TempDir(), "host")
	places := []string{"--unit-dir", host + "/units", "--nspawn-dir", host + "/nspawn", "--image-dir", host + "/machines"}
	for _, v := range []killing{
		{name: "create", args: []string{"create", "web", "copse:" + w.Ref}},
		{name: "install", args: []string{"install", "mail", "greeter"}},
		{name: "install by checkout", args: []string{"install", "mail", "greeter", "--deploy", "checkout"}},
		{name: "create by checkout", args: []string{"create", "web", "copse:" + w.Ref, "--deploy", "checkout"}},
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
		{name: "delete one", args: []string{"delete", "mail", "1", "--yes"}},
		{name: "retention", args: []string{"retention", "mail", "--keep", "3"}},
		{name: "enable", args: append([]string{"enable", "mail"}, places...), host: host},
		{name: "service", args: append([]string{"service", "mail", "hello", "--at-boot"}, places[:2]...), host: host},
	} {
		t.Run(v.name, func(t *testing.T) {
			if v.host == "" {
				t.Parallel()
			}
			if v.seed == "" {
				v.seed = seed
			}
			v.run(t)
		})
	}
}

// killing is a verb to be killed in.
type killing struct {
	name    string
	args    []string
	seed    string // another state root to begin with
	between bool   // states between old and new are fine: what it does to each deployment is whole by itself
	host    string // where it writes files of the host: grove disable has to take them all away
}

func (v killing) run(t *testing.T) {
	seed, args := v.seed, v.args
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
	v.disable(t, whole)
	removeAll(t, whole)
	kills := spread(steps)
	for i, n := range append(kills, spread(steps)...) {
		fault := "GROVE_TEST_KILL_AT=" + strconv.Itoa(n)
		if i >= len(kills) {
			fault = fmt.Sprintf("GROVE_TEST_FAIL_AT=%d:%s", n, []string{"EIO", "ENOSPC"}[i%2])
		}
		root := filepath.Join(dir, "root")
		mustLink(t, seed, root)
		out, err := groveAt(root, []string{fault}, args...)
		switch {
		case i >= len(kills) && err != nil && !strings.Contains(string(out), "input/output error") && !strings.Contains(string(out), "no space left"):
			t.Errorf("%s of %d: the error does not say what happened: %v\n%s", fault, steps, err, out)
		case i < len(kills) && !killed(err) && (err != nil || n < steps-steps/10-2): // steps of parallel work can vary a little from run to run
			t.Errorf("%s of %d: not killed: %v\n%s", fault, steps, err, out)
		}
		got := guestsOf(t, root)
		if got != before && got != after && !v.between {
			t.Errorf("%s of %d: neither the old nor the new state:\n%s\nold:\n%s\nnew:\n%s", fault, steps, got, before, after)
		} else if got == before {
			if out, err := groveAt(root, nil, args...); err != nil {
				t.Errorf("%s of %d: again: %v\n%s", fault, steps, err, out)
			}
		}
		if out, err := groveAt(root, nil, "fsck"); err != nil {
			t.Errorf("%s of %d: fsck: %v\n%s", fault, steps, err, out)
		}
		v.disable(t, root)
		removeAll(t, root)
	}
}

// disable takes files of the host away, of which none may stay.
func (v killing) disable(t *testing.T, root string) {
	t.Helper()
	if v.host == "" {
		return
	}
	mustGrove(t, root, "disable", "mail")
	_ = filepath.WalkDir(v.host, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("left on the host: %s", path)
		}
		return err
	})
	removeAll(t, v.host) // the next one begins without the folders
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
