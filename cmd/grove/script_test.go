// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/fixture"
)

// commands are what the scripts have beside testscript's own.
//
//	needs WORD...              skip the script (fail with GROVE_CI=1) where one is missing: root, or a program
//	fails CODE grove ARG...    run a command that must end with just this exit code and, from 1 up, say why in one clear line
//	server DIR                 an archive repository with the base of Copse, as `grove compose` makes it
//	update-server DIR          put the updated base into it
//	serve-start DIR            grove serve; $URL is where
//	mkcopse DIR                a Copse of the script's own, to be damaged; smaller than $COPSE
//	mkrpm SPEC FILE [unsigned] a package from a few lines of text, signed with Copse's key
//	mounted GUEST DIR          mount the guest's tree on a folder, until the script ends
//	tree DIR                   print what lies there: mode, owner, size, path
//	remember DIR / as-before DIR   nothing below DIR changed since
//	damage FILE                change one byte in the middle
//	json PATH VALUE            the JSON that was printed last has VALUE at a.b.0.c; `-` = no such field
//	small-disk DIR SIZE        a file system of its own, of this size
//	hold-lock DIR              another grove is at work in this state root
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"needs": cmdNeeds, "fails": cmdFails, "server": cmdServer, "update-server": cmdUpdateServer, "serve-start": cmdServeStart,
		"mkcopse": cmdMkCopse, "mkrpm": cmdMkRPM, "tree": cmdTree, "remember": cmdRemember, "as-before": cmdAsBefore,
		"damage": cmdDamage, "lose": cmdLose, "json": cmdJSON, "hold-lock": cmdHoldLock, "mounted": cmdMounted, "small-disk": cmdSmallDisk,
	}
}

func cmdNeeds(ts *testscript.TestScript, _ bool, args []string) {
	for _, what := range args {
		if !lacking(what) {
			continue
		}
		if os.Getenv("GROVE_CI") == "1" {
			ts.Fatalf("needs %s, which this machine must have where GROVE_CI=1", what)
		}
		ts.Value(skipKey{}).(func(string))("needs " + what)
	}
}

// command makes a process with the script's environment and folder.
func command(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	path := name
	if !strings.Contains(name, "/") {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if p := filepath.Join(dir, name); lookable(p) {
				path = p
				break
			}
		}
	}
	c := exec.Command(path, args...)
	c.Dir = ts.MkAbs(".")
	for _, e := range ts.Value("environ").(*testscript.Env).Vars {
		key, _, _ := strings.Cut(e, "=")
		c.Env = append(c.Env, key+"="+ts.Getenv(key))
	}
	for _, key := range []string{"GROVE_TEST_KILL_AT", "TZ", "LANG", "TERM", "EDITOR", "VISUAL", "OSTREE_EDITOR"} {
		if v := ts.Getenv(key); v != "" {
			c.Env = append(c.Env, key+"="+v)
		}
	}
	return c
}

func lookable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&0o111 != 0 && !st.IsDir()
}

func cmdFails(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := command(ts, args[1], args[2:]...)
	var stderr bytes.Buffer
	c.Stdout = ts.Stdout()
	c.Stderr = &stderr
	err = c.Run()
	fmt.Fprint(ts.Stderr(), stderr.String())
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	text := stderr.String()
	if args[1] != "grove" || args[2] == "run" || want == 77 || text == "" {
		return
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		ts.Fatalf("panicked")
	}
	errorLines := 0
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "grove: ") && !strings.HasPrefix(line, "grove: warning: ") {
			errorLines++
		}
	}
	if errorLines != 1 {
		ts.Fatalf("%d lines say what is wrong, want 1", errorLines)
	}
}

func cmdServer(ts *testscript.TestScript, _ bool, args []string) {
	copyTree(ts, shared.base, ts.MkAbs(args[0]))
}

func cmdUpdateServer(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.RemoveAll(ts.MkAbs(args[0])))
	copyTree(ts, shared.update, ts.MkAbs(args[0]))
}

func copyTree(ts *testscript.TestScript, from, to string) {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		ts.Fatalf("cp -a %s %s: %s", from, to, out)
	}
}

func cmdServeStart(ts *testscript.TestScript, _ bool, args []string) {
	c := command(ts, "grove", "serve", "--repo", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0")
	out, err := c.StdoutPipe()
	ts.Check(err)
	c.Stderr = os.Stderr
	ts.Check(c.Start())
	ts.Defer(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(line)
	if url == "" {
		ts.Fatalf("grove serve said %q, no address", line)
	}
	ts.Setenv("URL", url)
}

func cmdMounted(ts *testscript.TestScript, _ bool, args []string) {
	at := ts.MkAbs(args[1])
	ts.Check(command(ts, "grove", "mount", args[0], at).Run())
	ts.Defer(func() { _ = command(ts, "grove", "umount", at).Run() })
}

func cmdMkCopse(ts *testscript.TestScript, _ bool, args []string) {
	_, err := fixture.Make(ts.MkAbs(args[0]), fixture.Options{Minimal: true})
	ts.Check(err)
}

func cmdMkRPM(ts *testscript.TestScript, _ bool, args []string) {
	spec, err := fixture.ParseSpec(ts.ReadFile(args[0]))
	ts.Check(err)
	if len(args) < 3 {
		key, err := os.ReadFile(shared.SecretKey)
		ts.Check(err)
		spec.Key = key
	}
	data, err := fixture.RPM(spec)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// listing describes every entry below a folder.
func listing(dir string) (string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".lock" || d.Name() == ".running" {
			return nil // stand there once somebody took them
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " - " + rel + " -> " + target
		case d.IsDir():
			line += " - " + rel
		default:
			line += fmt.Sprintf(" %d %s", info.Size(), rel)
		}
		lines = append(lines, line)
		return nil
	})
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n", err
}

func cmdTree(ts *testscript.TestScript, _ bool, args []string) {
	text, err := listing(ts.MkAbs(args[0]))
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
}

func cmdRemember(ts *testscript.TestScript, _ bool, args []string) {
	text, err := listing(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Value("environ").(*testscript.Env).Values["remembered "+args[0]] = text
}

func cmdAsBefore(ts *testscript.TestScript, _ bool, args []string) {
	before, ok := ts.Value("remembered " + args[0]).(string)
	if !ok {
		ts.Fatalf("%s was not remembered", args[0])
	}
	after, err := listing(ts.MkAbs(args[0]))
	ts.Check(err)
	if before == after {
		return
	}
	was := map[string]bool{}
	for _, l := range strings.Split(before, "\n") {
		was[l] = true
	}
	for _, l := range strings.Split(after, "\n") {
		if !was[l] {
			ts.Logf("now    %s", l)
		}
		delete(was, l)
	}
	for l := range was {
		ts.Logf("before %s", l)
	}
	ts.Fatalf("%s is not as before", args[0])
}

func cmdDamage(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		data, err := os.ReadFile(path)
		ts.Check(err)
		data[len(data)/2] ^= 0x55
		ts.Check(os.WriteFile(path, data, 0o644))
	}
}

// cmdLose removes the object of a file of a commit from the state root's repository.
func cmdLose(ts *testscript.TestScript, _ bool, args []string) {
	out, err := command(ts, "grove", "repo", "ls", "--checksum", args[0], args[1]).Output()
	ts.Check(err)
	sum := regexp.MustCompile("[0-9a-f]{64}").FindString(string(out))
	ts.Check(os.Remove(filepath.Join(ts.Getenv("GROVE_ROOT"), "repo/objects", sum[:2], sum[2:]+".file")))
}

func cmdJSON(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("not JSON: %v", err)
	}
	for _, key := range strings.Split(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[key]
			if !ok {
				if args[1] == "-" {
					return
				}
				ts.Fatalf("no field %q", key)
			}
			v = next
		case []any:
			n, err := strconv.Atoi(key)
			if err == nil && n >= len(x) && args[1] == "-" {
				return
			}
			if err != nil || n >= len(x) {
				ts.Fatalf("no element %q of %d", key, len(x))
			}
			v = x[n]
		default:
			ts.Fatalf("%v has no field %q", v, key)
		}
	}
	got, ok := v.(string)
	if !ok {
		text, err := json.Marshal(v)
		ts.Check(err)
		got = string(text)
	}
	if m, err := regexp.MatchString("^(?:"+args[1]+")$", got); err != nil || !m {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

func cmdHoldLock(ts *testscript.TestScript, _ bool, args []string) {
	path := filepath.Join(ts.MkAbs(args[0]), ".lock")
	lock, err := durable.Acquire(context.Background(), path, true, time.Second)
	ts.Check(err)
	ts.Defer(func() { _ = lock.Release() })
}

func cmdSmallDisk(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("none", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}
