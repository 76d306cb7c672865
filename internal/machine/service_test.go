// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/machine"
)

// guestTree is a tree with units, as a package and its admin leave them.
func guestTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/passwd":                              "root:x:0:0::/root:/bin/sh\nweb:x:977:976:Web:/srv/web:/bin/false\n",
		"etc/default/web":                         "# c\nA=1\nB=\"two % \\\\ words\"\nexport C=3\n",
		"etc/group":                               "root:x:0:\nweb:x:976:\nssl:x:500:web\n",
		"usr/lib/systemd/system/web.service":      "[Unit]\nDescription=Web %i server\nAfter=network-online.target other.service\n\n[Service]\nType=dbus\nBusName=org.web\nUser=web\nSupplementaryGroups=ssl nosuch\nExecStart=/usr/sbin/web \\\n  # between\n  --pid /run/web/pid\nPIDFile=/run/web/pid\nRuntimeDirectory=web\nStateDirectory=web web/cache\nStateDirectoryMode=0750\nEnvironmentFile=-/etc/default/web\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nRestrictAddressFamilies=AF_UNIX\n",
		"etc/systemd/system/web.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/usr/sbin/web --more\nRestart=always\n",
		"usr/lib/systemd/system/inst@.service":    "[Service]\nExecStart=/bin/inst %i %p %n\nPIDFile=/var/run/inst/%i.pid\n",
		"usr/lib/systemd/system/broken.service":   "[Service\nExecStart=/bin/x\n",
		"usr/lib/systemd/system/nobody.service":   "[Service]\nUser=nosuch\nExecStart=/bin/x\n",
		"usr/lib/systemd/system/empty.service":    "[Service]\nType=simple\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"etc/systemd/system/alias.service":         "/usr/lib/systemd/system/web.service",
		"etc/systemd/system/masked.service":        "/dev/null",
		"usr/lib/systemd/system/masked.service":    "web.service",
		"usr/lib/systemd/system/escape.service":    "../../../../../../../../etc/passwd",
		"usr/lib/systemd/system/circle.service":    "circle.service",
		"usr/lib/systemd/system/elsewhere.service": "/nosuch/file",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func makeService(root, unit string, more ...string) (machine.Service, error) {
	return machine.MakeService(machine.ServiceOptions{
		Guest: machine.Guest{Name: "g", Root: root}, Tree: root, GuestDir: "/state/guests/g", StateRoot: "/state", Program: "/usr/bin/grove", Unit: unit, UnitDir: "/units", Without: more,
	})
}

func TestMakeService(t *testing.T) {
	root := guestTree(t)
	s, err := makeService(root, "web")
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "grove-g-web.service" {
		t.Errorf("name %q", s.Name)
	}
	lines := "\n" + s.Text
	for _, want := range []string{
		"After=network-online.target\n", "User=977\nGroup=976\n", "SupplementaryGroups=500\n", "Environment=USER=web LOGNAME=web HOME=/srv/web\n",
		"ExecStart=/usr/sbin/web --more\n", "Restart=always\n", "Type=exec\n", "PIDFile=/run/grove-run/grove-g-web/web/pid\n",
		"Environment=\"A=1\"\nEnvironment=\"B=two %% \\\\\\\\ words\"\n", "RuntimeDirectory=grove-run/grove-g-web grove-run/grove-g-web/web\n",
		"Environment=RUNTIME_DIRECTORY=/run/web\n", "Environment=STATE_DIRECTORY=/var/lib/web:/var/lib/web/cache\n",
		"BindPaths=/run/grove-run/grove-g-web:/run\n", "Requires=grove-tree-g-web.service\n", "RootDirectory=/run/grove/grove-g-web\n", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
		"RestrictAddressFamilies=AF_UNIX\n", "NoNewPrivileges=yes\n", "ProtectSystem=strict\n", "AmbientCapabilities=CAP_NET_BIND_SERVICE\n",
	} {
		if !strings.Contains(lines, "\n"+want) {
			t.Errorf("no line %q in\n%s", strings.TrimSpace(want), s.Text)
		}
	}
	for _, not := range []string{"BusName=org", "other.service", "--pid", "\nStateDirectory=", "\nUser=web"} {
		if strings.Contains(s.Text, not) {
			t.Errorf("%q in\n%s", not, s.Text)
		}
	}
	if len(s.StateDirs) != 2 || s.StateDirs[1].Path != "lib/web/cache" || s.StateDirs[0].UID != 977 || s.StateDirs[0].Mode != 0o750 {
		t.Errorf("state folders %+v", s.StateDirs)
	}
	if len(s.Notes) == 0 {
		t.Error("nothing said of what was left out")
	}
}

func TestMakeServiceOfInstanceAndAlias(t *testing.T) {
	root := guestTree(t)
	s, err := makeService(root, "inst@one.service", "PrivateTmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ExecStart=/bin/inst one inst inst@one.service\n", "PIDFile=/run/grove-run/grove-g-inst@one/inst/one.pid\n", "SystemCallFilter=@system-service chroot\n"} {
		if !strings.Contains(s.Text, want) {
			t.Errorf("no %q in\n%s", want, s.Text)
		}
	}
	if strings.Contains(s.Text, "PrivateTmp") {
		t.Error("PrivateTmp stays although it was to be left out")
	}
	if s, err = makeService(root, "alias"); err != nil || !strings.Contains(s.Text, "/usr/sbin/web") {
		t.Errorf("alias: %v\n%s", err, s.Text)
	}
}

func TestMakeServiceRefuses(t *testing.T) {
	root := guestTree(t)
	for _, c := range []struct {
		unit, want string
		missing    bool
	}{
		{"nosuch", "the guest has none", true}, {"masked", "masked in the guest", true}, {"elsewhere", "the guest has none", true},
		{"broken", "line 1: \"[Service\" is no section", false}, {"nobody", "User=nosuch: the guest has no such user", true},
		{"empty", "it has no ExecStart=", false}, {"escape", "is no KEY=VALUE", false}, {"circle", "too many symbolic links", false},
		{"inst@.service", "is a template", false}, {"a/b", "want the name of a service", false}, {"x.socket", "want the name of a service", false},
	} {
		_, err := makeService(root, c.unit)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, fs.ErrNotExist) != c.missing {
			t.Errorf("%s: %v, want %q", c.unit, err, c.want)
		}
	}
	if _, err := makeService(root, "web", "CapabilityBoundingSet"); err == nil || !strings.Contains(err.Error(), "and stays") {
		t.Errorf("--without CapabilityBoundingSet: %v", err)
	}
	if _, err := makeService(root, "web", "Nonsense"); err == nil || !strings.Contains(err.Error(), "no such line") {
		t.Errorf("--without Nonsense: %v", err)
	}
	if _, err := machine.MakeService(machine.ServiceOptions{Guest: machine.Guest{Name: "g", Root: root}, Tree: root, GuestDir: "/a b", StateRoot: "/s", Program: "/usr/bin/grove", Unit: "web"}); err == nil {
		t.Error("a path with a blank was taken into a unit")
	}
}

func TestHostFiles(t *testing.T) {
	dir, host := t.TempDir(), t.TempDir()
	files := []machine.HostFile{{Path: host + "/a/x.service", Text: "one", Unit: "x.service"}, {Path: host + "/link", Link: "/elsewhere"}}
	wrote, err := machine.WriteHostFiles(dir, files)
	if err != nil || len(wrote) != 2 {
		t.Fatal(wrote, err)
	}
	files[0].Text = "two"
	if _, err := machine.WriteHostFiles(dir, files); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(host + "/a/x.service"); string(text) != "two" {
		t.Errorf("holds %q", text)
	}
	if err := os.WriteFile(host+"/foreign", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = machine.WriteHostFiles(dir, []machine.HostFile{{Path: host + "/new", Text: "x"}, {Path: host + "/foreign", Text: "x"}})
	if !errors.Is(err, machine.ErrForeign) {
		t.Errorf("foreign file: %v", err)
	}
	if _, err := os.Lstat(host + "/new"); err == nil {
		t.Error("something was written although it was refused")
	}
	gone, err := machine.RemoveHostFiles(dir, "x.service")
	if err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if gone, err = machine.RemoveHostFiles(dir, ""); err != nil || len(gone) != 1 || gone[0] != host+"/link" {
		t.Fatal(gone, err)
	}
	if left, err := machine.HostFiles(dir); err != nil || len(left) != 0 {
		t.Errorf("still known: %v %v", left, err)
	}
}

func TestBootArgs(t *testing.T) {
	g := machine.Guest{Name: "mail", Root: "/s/guests/mail/deployments/1/root", Var: "/s/guests/mail/var"}
	at := machine.MountDirOf("/s/guests/mail")
	for _, c := range []struct {
		b    machine.Boot
		want string
	}{
		{machine.Boot{Bare: true}, "systemd-nspawn --quiet --boot --keep-unit --machine=mail --directory=/s/guests/mail/mnt/root --register=no --settings=no --link-journal=no --drop-capability=CAP_MKNOD --read-only --bind=/s/guests/mail/mnt/etc:/etc --bind=/s/guests/mail/var:/var --resolv-conf=bind-host"},
		{machine.Boot{Network: "bridge:br0", PrivateUsers: true, Bind: []string{"/a:/b:ro"}, Args: []string{"--notify-ready=yes"}}, "systemd-nspawn --quiet --boot --keep-unit --machine=mail --directory=/s/guests/mail/mnt/root --private-users=pick --private-users-ownership=map --settings=no --link-journal=no --drop-capability=CAP_MKNOD --read-only --bind=/s/guests/mail/mnt/etc:/etc:idmap --bind=/s/guests/mail/var:/var:idmap --network-bridge=br0 --resolv-conf=auto --bind-ro=/a:/b --notify-ready=yes"},
		{machine.Boot{Unit: true}, "systemd-nspawn --quiet --boot --keep-unit --machine=mail --directory=/s/guests/mail/mnt/root --settings=override --link-journal=try-guest"},
	} {
		got, err := machine.BootArgs(g, at, c.b)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v\n got %s\nwant %s", c.b, err, strings.Join(got, " "), c.want)
		}
	}
	if _, err := machine.BootArgs(g, at, machine.Boot{Network: "bridge:"}); err == nil {
		t.Error("a bridge without a name was taken")
	}
}
