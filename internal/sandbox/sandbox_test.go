// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"grove/internal/fixture/hostroot"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/sandbox"
)

func overlaySpec(t *testing.T, root string) sandbox.Spec {
	upper, work := t.TempDir(), t.TempDir()
	os.Chmod(upper, 0o755)
	return sandbox.Spec{Root: root, Upper: upper, Work: work, Env: []string{"PATH=/usr/bin:/bin", "LANG=C"},
		Mounts: []sandbox.Mount{
			{Kind: sandbox.Self, Source: "/usr/etc", Target: "/etc"},
			{Kind: sandbox.Self, Source: "/usr/share/factory/var", Target: "/var"},
			{Kind: sandbox.Tmpfs, Target: "/var/tmp", Options: "mode=1777"},
		}}
}

func sh(script string) sandbox.Step {
	return sandbox.Step{Name: "sh", Argv: []string{"/bin/sh", sandbox.ScriptPath, "1"}, Script: []byte(script), Timeout: 20 * time.Second}
}

func runSteps(t *testing.T, spec sandbox.Spec, steps ...sandbox.Step) []sandbox.Result {
	t.Helper()
	var all []sandbox.Result
	err := sandbox.Steps(context.Background(), spec, steps, func(r sandbox.Result) error {
		all = append(all, r)
		return nil
	})
	if errors.Is(err, sandbox.ErrNotPermitted) && os.Getenv("GROVE_CI") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStepsReportWhatHappened(t *testing.T) {
	hostroot.NeedRoot(t)
	root := hostroot.Make(t, "cat", "sleep", "mkdir")
	spec := overlaySpec(t, root)
	steps := []sandbox.Step{
		sh("echo out; echo err >&2; echo $0 $1 $# $PWD; umask"),
		sh("cat; exit 3"),
		sh("kill -9 $$"),
		{Name: "slow", Argv: []string{"/bin/sh", "-c", "sleep 100 & sleep 100"}, Timeout: 200 * time.Millisecond},
		{Name: "none", Argv: []string{"/usr/bin/perl"}},
		{Name: "built", Builtin: "echo", Args: []string{"a", "b"}, Stdin: []byte("in")},
		sh("ls /nowhere 2>/dev/null; echo $LANG $EXTRA; cat /proc/self/status | while read k v; do case $k in CapEff:|CapBnd:) echo $k$v;; esac; done"),
	}
	steps[1].Stdin = []byte("fed\n")
	steps[6].Env = []string{"EXTRA=x", "LANG=de"}
	want := []string{
		"exit 0 signal 0 late false \"out\\nerr\\n/tmp/rpm-tmp.scriptlet 1 1 /\\n0022\\n\"",
		"exit 3 signal 0 late false \"fed\\n\"",
		"exit 137 signal 9 late false \"\"",
		"exit 137 signal 9 late true \"\"",
		"exit 127 signal 0 late false \"\" /usr/bin/perl is missing",
		"exit 2 signal 0 late false \"a:in\"",
		"exit 0 signal 0 late false \"de x\\nCapEff:00000000800401fb\\nCapBnd:00000000800401fb\\n\"",
	}
	for i, r := range runSteps(t, spec, steps...) {
		got := fmt.Sprintf("exit %d signal %d late %v %q", r.Exit, r.Signal, r.TimedOut, r.Output)
		if r.Start != "" {
			got += " " + r.Start
		}
		if got != want[i] {
			t.Errorf("step %d:\ngot  %s\nwant %s", i, got, want[i])
		}
	}
}

func TestNothingReachesTheLowerTree(t *testing.T) {
	hostroot.NeedRoot(t)
	root := hostroot.Make(t, "cat", "mkdir", "rm", "chmod", "chown", "ln", "mv", "truncate")
	repo := t.TempDir() // hard links as into a repo
	files := map[string]string{}
	filepath.Walk(filepath.Join(root, "usr"), func(p string, i os.FileInfo, err error) error {
		if i.Mode().IsRegular() {
			l := filepath.Join(repo, fmt.Sprint(len(files)))
			if err := os.Link(p, l); err != nil {
				t.Fatal(err)
			}
			files[l] = describe(t, p)
		}
		return nil
	})
	r := runSteps(t, overlaySpec(t, root), sh(`set -e
		for f in /usr/bin/* /usr/lib64/* /etc/passwd; do [ -L $f ] || { chmod 700 $f; chown 5:6 $f; }; done
		echo more >> /etc/passwd; truncate -s 0 /usr/lib64/libc.so.6.none; ln /etc/group /etc/group2; echo x >> /etc/group2
		echo x >> /usr/bin/truncate; mv /usr/bin/truncate /usr/bin/t2; rm /usr/bin/t2
		mkdir -p /var/lib/new; echo v > /var/lib/new/f; echo $PPID`))
	if r[0].Failed() {
		t.Fatalf("%+v %s", r[0], r[0].Output)
	}
	for l, before := range files {
		if now := describe(t, l); now != before {
			t.Errorf("a scriptlet changed a file of the repo: %s, was %s", now, before)
		}
	}
}

func describe(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := os.Stat(path)
	return fmt.Sprintf("%v %d %v %x", st.Mode(), len(data), st.ModTime(), hash(data))
}

func hash(b []byte) (h uint64) {
	h = 14695981039346656037
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func TestTheContainerHolds(t *testing.T) {
	hostroot.NeedRoot(t)
	root := hostroot.Make(t, "mount", "mknod", "cat", "ls", "umount", "chroot", "hostname", "ps", "unshare")
	tests := []struct{ name, script, want string }{
		{"mount", "mount -t tmpfs none /var/tmp && echo mounted", ""},
		{"remount", "mount -o remount,rw /proc/sys && echo mounted", ""},
		{"umount", "umount /proc/sys && echo done", ""},
		{"unshare", "unshare -m true && echo done", ""},
		{"mknod", "mknod /dev/sda b 8 0 && echo made; mknod /usr/sda b 8 0 && echo made", ""},
		{"sysctl", "echo 1 > /proc/sys/kernel/panic && echo written", ""},
		{"sysrq", "echo h > /proc/sysrq-trigger && echo written", ""},
		{"kcore", "cat /proc/kcore | read x && echo read", ""},
		{"network", "exec 3<>/dev/tcp/1.1.1.1/80 && echo connected", ""},
		{"init", "ls -l /proc/1/exe /proc/1/root /proc/1/fd/ >/dev/null && echo seen", ""},
		{"descriptors", "ls /proc/self/fd", "0\n1\n2\n3\n"},
		{"hostname", "hostname evil && echo set", ""},
		{"processes", "for p in /proc/[0-9]*; do echo $p; done", "/proc/1\n/proc/N\n"},
		{"not in ostree", "ls /run/ostree-booted", ""},
		{"mounts", "while read a b; do case $a in /*) echo $a;; esac; done < /proc/mounts", ""},
	}
	spec := overlaySpec(t, root)
	var steps []sandbox.Step
	for _, c := range tests {
		steps = append(steps, sh("{ "+c.script+"; } 2>/dev/null"))
	}
	for i, r := range runSteps(t, spec, steps...) {
		got := string(r.Output)
		if tests[i].name == "processes" {
			got = strings.ReplaceAll(got, "/proc/"+strings.TrimPrefix(strings.Split(got+"\n", "\n")[1], "/proc/")+"\n", "/proc/N\n")
		}
		if got != tests[i].want {
			t.Errorf("%s: got %q, want %q", tests[i].name, got, tests[i].want)
		}
	}
}

func TestTargetsStayInTheRoot(t *testing.T) {
	hostroot.NeedRoot(t)
	outside := t.TempDir()
	for _, target := range []string{"etc", "proc", "run", "tmp", "dev"} {
		t.Run(target, func(t *testing.T) {
			root := hostroot.Make(t, "cat")
			if err := os.Remove(filepath.Join(root, target)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(root, target)); err != nil {
				t.Fatal(err)
			}
			err := sandbox.Steps(context.Background(), overlaySpec(t, root), []sandbox.Step{sh("echo x > /" + target + "/file")},
				func(sandbox.Result) error { return nil })
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
			if err != nil {
				t.Log(err)
			}
			err = sandbox.Steps(context.Background(), sandbox.Spec{Root: root, ReadOnly: true, Mounts: []sandbox.Mount{
				{Kind: sandbox.Tmpfs, Target: "/" + target}}}, []sandbox.Step{sh("echo x > /" + target + "/file")}, func(sandbox.Result) error { return nil })
			if err != nil {
				t.Log(err)
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
		})
	}
}

func TestForkBomb(t *testing.T) {
	hostroot.NeedRoot(t)
	before, _ := os.ReadFile("/proc/sys/kernel/pid_max")
	spec := overlaySpec(t, hostroot.Make(t))
	spec.PIDs = 500
	bomb := sh("bomb() { bomb | bomb & }; echo $(</proc/sys/kernel/pid_max); bomb; while :; do :; done")
	bomb.Timeout = 500 * time.Millisecond
	var names []string
	err := sandbox.Steps(context.Background(), spec, []sandbox.Step{bomb, sh("echo after")}, func(r sandbox.Result) error {
		first, _, _ := strings.Cut(string(r.Output), "\n")
		names = append(names, first)
		return nil
	})
	if len(names) > 0 && names[0] != "500" {
		t.Skipf("this kernel has no limit for each pid namespace: %v", names)
	}
	t.Log(names, err) // the container may have died of it
	if after, _ := os.ReadFile("/proc/sys/kernel/pid_max"); string(after) != string(before) {
		t.Errorf("the host's limit is %s, was %s", after, before)
	}
}

func TestStepsStop(t *testing.T) {
	hostroot.NeedRoot(t)
	root := hostroot.Make(t, "sleep")
	mine := errors.New("mine")
	n := 0
	err := sandbox.Steps(context.Background(), overlaySpec(t, root), []sandbox.Step{sh(":"), sh(":")}, func(sandbox.Result) error { n++; return mine })
	if err != mine || n != 1 {
		t.Errorf("got %v after %d steps", err, n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	// a day: who waited for it would not see the end of this test
	err = sandbox.Steps(ctx, overlaySpec(t, root), []sandbox.Step{sh("sleep 86400")}, func(sandbox.Result) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOutputIsCapped(t *testing.T) {
	hostroot.NeedRoot(t)
	root := hostroot.Make(t)
	r := runSteps(t, overlaySpec(t, root), sh("for i in {1..60000}; do echo line number $i; done"))
	out := string(r[0].Output)
	if len(out) > sandbox.OutputLimit+100 || !strings.HasSuffix(out, "line number 60000\n") || !strings.HasPrefix(out, "[... cut]") {
		t.Errorf("kept %d bytes", len(out))
	}
}

func TestRootless(t *testing.T) {
	root := hostroot.Make(t, "cat", "chmod")
	spec := overlaySpec(t, root)
	spec.Rootless = true
	r := runSteps(t, spec, sh("echo x >> /etc/passwd; chmod 600 /usr/bin/cat; echo $UID; echo y > /dev/null && echo ok"))
	if string(r[0].Output) != "0\nok\n" {
		t.Errorf("got %+v %s", r[0], r[0].Output)
	}
	data, err := os.ReadFile(filepath.Join(spec.Upper, "usr/etc/passwd"))
	if err != nil || !strings.HasSuffix(string(data), "x\n") {
		t.Errorf("upper has %q %v", data, err)
	}
}

func TestHelper(t *testing.T) {
	out, err := sandbox.Helper(context.Background(), "nothing", nil)
	if err == nil || !strings.Contains(err.Error(), `no builtin "nothing"`) {
		t.Errorf("got %q %v", out, err)
	}
	if os.Geteuid() != 0 {
		return
	}
	out, err = sandbox.Helper(context.Background(), "who", nil)
	if want := "65534 65534 65534 true 0"; err != nil || string(out) != want {
		t.Errorf("a helper of root is %q, %v; want %q", out, err, want)
	}
}

func BenchmarkStart(b *testing.B) { benchmarkSteps(b, 1) }
func BenchmarkSteps(b *testing.B) { benchmarkSteps(b, 100) }

func benchmarkSteps(b *testing.B, n int) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	root := b.TempDir()
	for _, d := range []string{"proc", "dev", "run", "tmp", "sys", "usr"} {
		os.MkdirAll(filepath.Join(root, d), 0o755)
	}
	steps := make([]sandbox.Step, n)
	for i := range steps {
		steps[i] = sandbox.Step{Builtin: "echo", Args: []string{"x"}}
	}
	for range b.N {
		err := sandbox.Steps(context.Background(), sandbox.Spec{Root: root}, steps, func(sandbox.Result) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}
