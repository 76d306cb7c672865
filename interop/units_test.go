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
	s.grove("create", "mail", "dist:"+r.ref, "--install", "postfix", "--deploy", "composefs")
	s.grove("create", "old", "dist:"+r.ref, "--install", "postfix", "--deploy", "checkout")
	s.grove("create", "host", "dist:"+r.ref)
	s.grove("run", "host", "--", "systemctl", "mask", "systemd-networkd-wait-online.service")
	h := s.host("host")

	unitsOf(t, h, "mail")
	unitsOf(t, h, "old")
	h.inside("grove fsck && test -z \"$(ls /etc/systemd/nspawn)\"")
	h.stop()
}

// unitsOf lets the host run a guest with postfix, as a service and as a machine, and takes all of it away again.
func unitsOf(t *testing.T, host *booted, guest string) {
	h := typed{host, guest}
	h.inside("grove service @G postfix@-.service && grove enable @G --network none --private-users && systemctl daemon-reload")
	h.inside("systemctl start grove-@G-postfix@-.service")
	smtp := `exec 3<>/dev/tcp/127.0.0.1/25; read -r line <&3; echo "$line"`
	if got := h.inside(smtp); !strings.HasPrefix(got, "220 ") {
		t.Errorf("the mail server says %q", got)
	}
	if got, kind := h.inside("grove status @G"), map[string]string{"mail": "composefs", "old": "checkout"}[guest]; !strings.Contains(got, "running") || !strings.Contains(got, kind) {
		t.Errorf("the service's deployment is not held:\n%s", got)
	}
	if out, err := h.try("touch /run/grove/grove-@G-postfix@-/usr/x"); err == nil {
		t.Errorf("the mounted tree can be written: %s", out)
	}
	h.inside("machinectl start @G")
	h.until("machinectl status @G && machinectl shell @G /bin/systemctl is-active multi-user.target </dev/null | grep -q ^active")
	if got := h.inside("cat /proc/$(machinectl show @G -p Leader --value)/uid_map"); strings.HasPrefix(strings.Join(strings.Fields(got), " "), "0 0 ") {
		t.Errorf("the guest's root is the host's: %s", got)
	}

	// A service of a user reaches no process of the host's user with that id, nor the host's files by way of it.
	h.inside("touch /of-the-host; grove run @G -- tee /etc/systemd/system/look.service >/dev/null <<'.'\n" +
		"[Service]\nType=oneshot\nUser=65534\nExecStart=/bin/sh -c 'ls /proc/*/root/of-the-host; ! ls /proc/*/root/of-the-host'\n.\n" +
		"grove service @G look && systemctl daemon-reload")
	h.inside("setpriv --reuid 65534 --regid 65534 --clear-groups sleep 60 & systemctl start grove-@G-look.service || { journalctl -u grove-@G-look.service; exit 1; }; kill $!")
	h.inside("grove disable @G --service grove-@G-look.service && grove run @G -- rm /etc/systemd/system/look.service && systemctl daemon-reload")

	// A change comes with the next start, and what runs keeps its deployment until then.
	h.inside("grove uninstall @G postfix && grove gc --keep 1")
	h.inside("set -e; systemctl is-active -q grove-@G-postfix@-.service; " + smtp)
	h.inside("set -e; grove rollback @G; systemctl restart grove-@G-postfix@-.service; " + smtp)
	h.inside("machinectl poweroff @G")
	h.until("! machinectl status @G")
	h.inside("systemctl stop grove-@G-postfix@-.service")
	h.until("! grep /run/grove/ /proc/self/mountinfo")
	if got := h.inside("grove status @G"); strings.Contains(got, "running") {
		t.Errorf("nothing runs, and status says\n%s", got)
	}

	// With --restart upgrade a change comes at once, and one that the service does not survive is taken back.
	h.inside("grove service @G postfix@-.service --restart upgrade && systemctl daemon-reload && systemctl start grove-@G-postfix@-.service")
	began := h.inside("systemctl show -P ActiveEnterTimestampMonotonic grove-@G-postfix@-.service")
	out, err := h.try("grove uninstall @G postfix")
	if err == nil || !strings.Contains(out, "rolled back to deployment") {
		t.Errorf("a change that breaks the service: %v\n%s", err, out)
	}
	h.inside("set -e; systemctl is-active -q grove-@G-postfix@-.service; " + smtp)
	if now := h.inside("systemctl show -P ActiveEnterTimestampMonotonic grove-@G-postfix@-.service"); now == began {
		t.Error("the service was not started again")
	}
	h.inside("grove rollback @G 2 2>&1 | grep 'restart grove-@G-postfix@-.service'") // it is without postfix, and a person asked for it
	h.inside("systemctl stop grove-@G-postfix@-.service")
	h.inside("grove disable @G --service grove-@G-postfix@-.service && systemctl daemon-reload && grove rollback @G 1")

	// The package's own unit as a portable service: under its own name, in the guest's tree, and gone without a trace.
	h.inside("grove service @G postfix@-.service --portable --profile trusted && systemctl daemon-reload && systemctl start postfix@-.service")
	h.inside("set -e; " + smtp + "; systemctl show -P RootDirectory postfix@-.service | grep /run/grove")
	h.inside("systemctl restart postfix@-.service && systemctl stop postfix@-.service")
	h.until("! grep /run/grove/ /proc/self/mountinfo")
	h.inside("grove disable @G --service postfix@-.service && systemctl daemon-reload && test -z \"$(ls /etc/systemd/system.attached)\"")
	if out, err := h.try("grove service @G postfix@-.service --portable --profile homely"); err == nil {
		t.Errorf("a profile that there is not: %s", out)
	}

	// A network of its own: a pair of interfaces, and one on a bridge of the host.
	h.inside("ip link show grovebr0 || ip link add grovebr0 type bridge")
	for network, there := range map[string]string{"veth": "/sys/class/net/ve-@G", "bridge:grovebr0": "/sys/class/net/grovebr0/brif/vb-@G"} {
		h.inside("grove enable @G --no-boot --network " + network + " && systemctl daemon-reload && machinectl start @G")
		h.until("test -e " + there)
		h.until("nsenter -t $(machinectl show @G -p Leader --value) -n test -e /proc/self && nsenter -t $(machinectl show @G -p Leader --value) -n ip -br link | grep host0")
		h.inside("machinectl terminate @G")
		h.until("! machinectl status @G")
	}

	h.inside("grove disable @G && systemctl daemon-reload")
}

// typed types commands with the name of a guest in the place of @G.
type typed struct {
	*booted
	guest string
}

func (n typed) inside(command string) string {
	return n.booted.inside(strings.ReplaceAll(command, "@G", n.guest))
}

func (n typed) try(command string) (string, error) {
	return n.booted.try(strings.ReplaceAll(command, "@G", n.guest))
}

func (n typed) until(command string) { n.booted.until(strings.ReplaceAll(command, "@G", n.guest)) }

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
	for _, kind := range []string{"auto", "checkout"} {
		h.inside(`echo '{"deploy": "` + kind + `"}' >/var/lib/grove/config.json`)
		h.walk(chapter)
		if out := h.inside("grove status mail"); strings.Contains(out, "composefs") != (kind == "auto") {
			t.Errorf("asked for %s, mail's deployments are\n%s", kind, out)
		}
		h.inside("grove delete mail --yes && grove delete guest1 --yes && grove remote delete meadow")
	}
	h.stop()
}

// walk types the commands of a chapter of the manual, and looks whether they leave anything on the host.
func (b *booted) walk(chapter string) {
	t := b.s.t
	t.Helper()
	commands := 0
	for _, line := range strings.Split(chapter, "\n") {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		commands++
		out := b.inside(command)
		t.Logf("# %s\n%s", command, out)
		if command == "machinectl poweroff guest1" {
			b.until("! machinectl status guest1") // a person would look, too
		}
	}
	if commands < 25 {
		t.Errorf("found only %d commands", commands)
	}
	if left := b.inside("find /etc/systemd /var/lib/machines /run/grove -name '*grove*' -type f; grep -c var/lib/grove/ /proc/self/mountinfo || true"); left != "0" {
		t.Errorf("left on the host: %s", left)
	}
}

// host boots a copy of a guest's tree, with grove, its state root and systemd-container inside, and gives its first process.
func (s site) host(guest string, more ...string) *booted {
	s.t.Helper()
	root := s.path("host")
	s.copyTree(guest, root)
	// On a disk: in the container there are no loop devices, and without them images in memory cannot be mounted.
	state, err := os.MkdirTemp("/var/tmp", "grove-host-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(state) })
	if err := os.MkdirAll(filepath.Join(root, "var/lib/grove"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	tool(s.t, "cp", "-a", s.root+"/.", state)
	more = append(more, "--bind="+state+":/var/lib/grove")
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

// copyTree copies a guest's tree, with its /etc and /var, of whatever kind its deployment is.
func (s site) copyTree(guest, to string) {
	s.t.Helper()
	at, done := s.tree(guest)
	defer done()
	tool(s.t, "cp", "-a", at, to)
}

// copyTo replaces a file: what was copied from the guest may share its inode with nothing, but is not to be written through.
func (s site) copyTo(from, to string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		s.t.Fatal(err)
	}
	tool(s.t, "cp", "-L", "--remove-destination", "--preserve=mode", from, to)
}
