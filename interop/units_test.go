// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Meadow that was booted is the host here, in which grove keeps a guest of its own: machinectl runs it as a machine, and the host's
// systemd one of its services, from the tree that is current when it starts.
func TestUnitsOfTheHost(t *testing.T) {
	need(t, "systemd-nspawn", "nsenter", "machinectl", "portablectl", "dpkg")
	r := meadowRoad(t, "medium")
	s := newSite(t)
	srv := s.path("srv")
	s.grove("compose", r.manifest, "--repo", srv)
	s.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	s.grove("create", "mail", "dist:"+r.ref, "--install", "postfix")
	s.grove("create", "host", "dist:"+r.ref)
	s.grove("run", "host", "--", "systemctl", "mask", "systemd-networkd-wait-online.service")
	h := s.host("host")

	h.inside("grove service mail postfix@-.service && grove enable mail --network none --private-users && systemctl daemon-reload")
	h.inside("systemctl start grove-mail-postfix@-.service")
	smtp := `exec 3<>/dev/tcp/127.0.0.1/25; read -r line <&3; echo "$line"`
	if got := h.inside(smtp); !strings.HasPrefix(got, "220 ") {
		t.Errorf("the mail server says %q", got)
	}
	if got := h.inside("grove status mail"); !strings.Contains(got, "running") {
		t.Errorf("the service's deployment is not held:\n%s", got)
	}
	if out, err := h.try("touch /run/grove-roots/grove-mail-postfix@-/usr/x"); err == nil {
		t.Errorf("the mounted tree can be written: %s", out)
	}
	h.inside("machinectl start mail")
	h.until("machinectl status mail && machinectl shell mail /bin/systemctl is-active multi-user.target </dev/null | grep -q ^active")
	if got := h.inside("cat /proc/$(machinectl show mail -p Leader --value)/uid_map"); strings.HasPrefix(strings.Join(strings.Fields(got), " "), "0 0 ") {
		t.Errorf("the guest's root is the host's: %s", got)
	}

	// A change comes with the next start, and what runs keeps its deployment until then.
	h.inside("grove uninstall mail postfix && grove gc --keep 1")
	h.inside("set -e; systemctl is-active -q grove-mail-postfix@-.service; " + smtp)
	h.inside("set -e; grove rollback mail; systemctl restart grove-mail-postfix@-.service; " + smtp)
	h.inside("machinectl poweroff mail")
	h.until("! machinectl status mail")
	h.inside("systemctl stop grove-mail-postfix@-.service")
	h.until("! grep grove-roots /proc/self/mountinfo")
	if got := h.inside("grove status mail"); strings.Contains(got, "running") {
		t.Errorf("nothing runs, and status says\n%s", got)
	}

	// With --restart upgrade a change comes at once, and one that the service does not survive is taken back.
	h.inside("grove service mail postfix@-.service --restart upgrade && systemctl daemon-reload && systemctl start grove-mail-postfix@-.service")
	began := h.inside("systemctl show -P ActiveEnterTimestampMonotonic grove-mail-postfix@-.service")
	out, err := h.try("grove uninstall mail postfix")
	if err == nil || !strings.Contains(out, "rolled back to deployment") {
		t.Errorf("a change that breaks the service: %v\n%s", err, out)
	}
	h.inside("set -e; systemctl is-active -q grove-mail-postfix@-.service; " + smtp)
	if now := h.inside("systemctl show -P ActiveEnterTimestampMonotonic grove-mail-postfix@-.service"); now == began {
		t.Error("the service was not started again")
	}
	h.inside("grove rollback mail 2 2>&1 | grep 'restart grove-mail-postfix@-.service'") // it is without postfix, and a person asked for it
	h.inside("systemctl stop grove-mail-postfix@-.service")
	h.inside("grove disable mail --service grove-mail-postfix@-.service && systemctl daemon-reload && grove rollback mail 1")

	// The package's own unit as a portable service: under its own name, in the guest's tree, and gone without a trace.
	h.inside("grove service mail postfix@-.service --portable --profile trusted && systemctl daemon-reload && systemctl start postfix@-.service")
	h.inside("set -e; " + smtp + "; systemctl show -P RootDirectory postfix@-.service | grep /run/grove")
	h.inside("systemctl restart postfix@-.service && systemctl stop postfix@-.service")
	h.until("! grep grove-roots /proc/self/mountinfo")
	h.inside("grove disable mail --service postfix@-.service && systemctl daemon-reload && test -z \"$(ls /etc/systemd/system.attached)\"")
	if out, err := h.try("grove service mail postfix@-.service --portable --profile homely"); err == nil {
		t.Errorf("a profile that there is not: %s", out)
	}

	// A network of its own: a pair of interfaces, and one on a bridge of the host.
	h.inside("ip link add grovebr0 type bridge")
	for network, there := range map[string]string{"veth": "/sys/class/net/ve-mail", "bridge:grovebr0": "/sys/class/net/grovebr0/brif/vb-mail"} {
		h.inside("grove enable mail --no-boot --network " + network + " && systemctl daemon-reload && machinectl start mail")
		h.until("test -e " + there)
		h.until("nsenter -t $(machinectl show mail -p Leader --value) -n test -e /proc/self && nsenter -t $(machinectl show mail -p Leader --value) -n ip -br link | grep host0")
		h.inside("machinectl terminate mail")
		h.until("! machinectl status mail")
	}

	h.inside("grove disable mail && systemctl daemon-reload && grove fsck && test -z \"$(ls /etc/systemd/nspawn)\"")
	h.stop()
}

// Each command of the manual's chapter is typed on a booted host, in order; one that begins with "! " has to fail.
func TestTenGuests(t *testing.T) {
	need(t, "systemd-nspawn", "nsenter", "machinectl", "dpkg")
	r := meadowRoad(t, "medium")
	s := newSite(t)
	srv := s.path("srv")
	s.grove("compose", r.manifest, "--repo", srv)
	s.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	s.grove("create", "host", "dist:"+r.ref)
	s.grove("run", "host", "--", "systemctl", "mask", "systemd-networkd-wait-online.service")
	world := meadow(t, "medium")
	h := s.host("host", "--bind-ro="+srv+":/srv/meadow", "--bind-ro="+world)
	h.inside("grove delete host --yes && grove remote delete dist")
	_, chapter, ok := strings.Cut(read(t, "../doc/manual.md"), "\n## Ten guests on one host\n")
	if !ok {
		t.Fatal("the manual has no chapter about ten guests")
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	commands := 0
	for _, line := range strings.Split(chapter, "\n") {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		commands++
		out := h.inside(command)
		t.Logf("# %s\n%s", command, out)
		if command == "machinectl poweroff guest1" {
			h.until("! machinectl status guest1") // a person would look, too
		}
	}
	if commands < 25 {
		t.Errorf("found only %d commands", commands)
	}
	if left := h.inside("find /etc/systemd /var/lib/machines /run/grove-roots -name '*grove*' -type f; grep -c var/lib/grove /proc/self/mountinfo || true"); left != "0" {
		t.Errorf("left on the host: %s", left)
	}
	h.stop()
}

// host boots a copy of a guest's tree, with grove, its state root and systemd-container inside, and gives its first process.
func (s site) host(guest string, more ...string) *booted {
	s.t.Helper()
	root := s.path("host")
	tool(s.t, "cp", "-a", filepath.Join(s.root, "guests", guest, "current/root/."), root)
	tool(s.t, "cp", "-a", filepath.Join(s.root, "guests", guest, "var/."), filepath.Join(root, "var"))
	state := filepath.Join(root, "var/lib/grove")
	if err := os.MkdirAll(state, 0o755); err != nil {
		s.t.Fatal(err)
	}
	tool(s.t, "cp", "-a", s.root+"/.", state)
	for _, file := range strings.Fields(tool(s.t, "dpkg", "-L", "systemd-container")) {
		if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() || strings.Contains(file, "/share/doc/") || strings.Contains(file, "/share/man/") {
			continue
		}
		to := file
		for _, dir := range []string{"/bin/", "/lib/", "/sbin/"} {
			if strings.HasPrefix(file, dir) {
				to = "/usr" + file
			}
		}
		s.copyTo(file, filepath.Join(root, to))
	}
	bin := filepath.Join(root, "usr/bin/grove")
	s.copyTo(program, bin)
	for _, line := range strings.Split(tool(s.t, "ldd", program), "\n") {
		if _, lib, ok := strings.Cut(line, "=> "); ok {
			lib, _, _ = strings.Cut(lib, " ")
			to := filepath.Join(root, "usr/lib/x86_64-linux-gnu", filepath.Base(lib))
			if _, err := os.Stat(to); err != nil {
				s.copyTo(lib, to)
			}
		}
	}
	b := &booted{s: s, log: s.path("host.log")}
	log, err := os.Create(b.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := append(more, "--quiet", "--register=no", "--keep-unit", "--boot", "--machine=grove-test-host", "--private-network",
		"--capability=all", "--link-journal=no", "--resolv-conf=off", "-D", root)
	b.cmd = exec.Command("systemd-nspawn", args...)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.start("grove-test-host")
	b.until("systemctl is-active -q multi-user.target dbus.service")
	return b
}

// copyTo replaces a file: what was copied from the guest may share its inode with nothing, but is not to be written through.
func (s site) copyTo(from, to string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		s.t.Fatal(err)
	}
	tool(s.t, "cp", "-L", "--remove-destination", "--preserve=mode", from, to)
}
