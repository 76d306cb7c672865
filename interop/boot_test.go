// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A guest boots to multi-user.target with postfix on its port; upgraded and rolled back while it runs, it stays in its
// tree until it stops; nothing is left of it then, and nothing reached the repository.
func TestBoot(t *testing.T) {
	need(t, "systemd-nspawn", "nsenter", "ostree")
	r := meadowRoad(t, "medium")
	s := newSite(t)
	srv := s.path("srv")
	s.grove("compose", r.manifest, "--repo", srv)
	s.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	for _, kind := range []string{"composefs", "checkout"} {
		t.Run(kind, func(t *testing.T) {
			s := s
			s.t = t
			s.setting(kind)
			bootedGuest(t, s, r.ref)
			s.grove("delete", "mail", "--yes")
		})
	}
}

// setting makes all further deployments ones of a kind.
func (s site) setting(kind string) {
	s.t.Helper()
	write(s.t, filepath.Join(s.root, "config.json"), `{"deploy": "`+kind+`"}`)
}

func bootedGuest(t *testing.T, s site, ref string) {
	s.grove("create", "mail", "dist:"+ref, "--install", "postfix")
	s.grove("run", "mail", "--", "systemctl", "add-wants", "multi-user.target", "postfix.service")

	s.grove("run", "mail", "--", "systemctl", "mask", "systemd-networkd-wait-online.service") // there is no network to wait for
	s.attacker(filepath.Join(s.root, "guests/mail/var/attack"))
	mark := s.path("mark")
	write(t, mark, "")
	b := s.boot("mail")
	b.until("systemctl is-active -q multi-user.target postfix@-.service")
	banner := b.inside(`exec 3<>/dev/tcp/127.0.0.1/25; read -r line <&3; echo "$line"`)
	if !strings.HasPrefix(banner, "220 ") {
		t.Fatalf("the mail server says %q", banner)
	}
	for _, attack := range []string{"echo x >/usr/bin/bash", "truncate -s 0 /usr/bin/bash", "chmod 777 /usr/bin/bash", "setfattr -n user.x -v y /usr/bin/bash",
		"ln /usr/bin/bash /var/bash", "mount -o remount,rw /usr", "mount -o remount,bind,rw /; mount -o remount,rw /; mkdir -p /tmp/m; mount --bind / /tmp/m; mount -o remount,bind,rw /tmp/m; touch /usr/x || echo x >>/tmp/m/usr/bin/bash"} {
		if out, err := b.try(attack); err == nil {
			t.Errorf("root inside did %q: %s", attack, out)
		}
	}

	judgeAttacks(t, "boot", b.inside("systemd-run --quiet --pipe --wait /var/attack"))

	s.grove("install", "mail", "nginx")
	if got := s.running("mail"); got != "1" {
		t.Errorf("running deployments %s, want 1", got)
	}
	if b.inside("command -v nginx || echo none") != "none" {
		t.Error("the running guest changed under its feet")
	}
	s.grove("rollback", "mail")
	s.grove("upgrade", "mail")
	s.grove("gc", "--keep", "1")
	if got := s.running("mail"); got != "1" {
		t.Errorf("after gc: running deployments %s, want 1", got)
	}
	b.inside("systemctl is-active -q postfix@-.service")
	b.stop()
	// nspawn keeps what it knows of running containers in /run; nothing else of the host was written.
	if out := tool(t, "find", "/etc", "/boot", "/usr", "/opt", "/srv", "/var/lib/machines", "-xdev", "-newer", mark, "-not", "-name", "__pycache__", "-not", "-name", "*.pyc"); out != "" {
		t.Errorf("written on the host:\n%s", out)
	}
	if got := s.running("mail"); got != "" {
		t.Errorf("after the end: running deployments %s", got)
	}
	if mounts := read(t, "/proc/self/mountinfo"); strings.Contains(mounts, s.dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
	s.fsck()
}

// running are the numbers of a guest's running deployments.
func (s site) running(name string) string {
	var out []string
	for _, line := range strings.Split(s.grove("status", name), "\n") {
		if f := strings.Fields(strings.TrimPrefix(line, "*")); len(f) > 1 && strings.Contains(line, "running") {
			out = append(out, f[0])
		}
	}
	return strings.Join(out, " ")
}

// booted is a guest whose own systemd runs.
type booted struct {
	s    site
	cmd  *exec.Cmd
	init string // process id of its systemd
	log  string
}

func (s site) boot(name string) *booted {
	s.t.Helper()
	b := &booted{s: s, log: s.path("boot.log")}
	log, err := os.Create(b.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	b.cmd = exec.Command(program, "boot", "--network", "none", name)
	b.cmd.Env = append(environ(), "GROVE_ROOT="+s.root)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.start(s.root)
	return b
}

// start runs the command and finds the first process of the container that systemd-nspawn, with mark in its command line, boots.
func (b *booted) start(mark string) {
	b.s.t.Helper()
	if err := b.cmd.Start(); err != nil {
		b.s.t.Fatal(err)
	}
	b.s.t.Cleanup(func() {
		if b.cmd.ProcessState == nil {
			_ = b.cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(5 * time.Second)
			_ = b.cmd.Process.Kill()
			_ = b.cmd.Wait()
		}
	})
	b.wait("its first process", func() bool {
		procs, _ := filepath.Glob("/proc/[0-9]*/status")
		for _, p := range procs {
			status, _ := os.ReadFile(p)
			parent := strings.TrimSpace(strings.TrimPrefix(lineOf(string(status), "PPid:"), "PPid:"))
			cmdline, _ := os.ReadFile("/proc/" + parent + "/cmdline")
			if strings.HasSuffix(lineOf(string(status), "NSpid:"), "\t1") && strings.HasPrefix(string(cmdline), "systemd-nspawn") && strings.Contains(string(cmdline), mark) {
				b.init = filepath.Base(filepath.Dir(p))
				return true
			}
		}
		return false
	})
}

func lineOf(text, prefix string) string {
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// bootSeconds is how long a boot may take on a busy machine.
const bootSeconds = 120

func (b *booted) wait(what string, done func() bool) {
	b.s.t.Helper()
	for range bootSeconds * 5 {
		if done() {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	text, _ := os.ReadFile(b.log)
	b.s.t.Fatalf("waited %d s for %s\n%s", bootSeconds, what, text)
}

func (b *booted) try(script string) (string, error) {
	out, err := exec.Command("nsenter", "-t", b.init, "-a", "/bin/bash", "-c", script).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (b *booted) inside(script string) string {
	b.s.t.Helper()
	out, err := b.try(script)
	if err != nil {
		b.s.t.Fatalf("in the guest: %s: %v\n%s", script, err, out)
	}
	return out
}

func (b *booted) until(script string) {
	b.s.t.Helper()
	b.wait(script, func() bool { _, err := b.try(script); return err == nil })
}

// stop asks as systemd would: SIGTERM to grove alone.
func (b *booted) stop() {
	b.s.t.Helper()
	began := time.Now()
	defer func() { b.s.t.Logf("stopped in %.1f s", time.Since(began).Seconds()) }()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(bootSeconds * time.Second):
		b.s.t.Fatal("does not stop")
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%s", b.init)); err == nil {
		if n, _ := strconv.Atoi(b.init); syscall.Kill(n, 0) == nil {
			b.s.t.Error("its systemd is still there")
		}
	}
}
