// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A guest's unit that reaches for the host: nothing of it may stand in the host's unit.
func TestMakeServiceOfHostileUnit(t *testing.T) {
	tests := []struct{ name, setting, never, want string }{
		{"program of the host", "RootDirectoryStartOnly=yes", "RootDirectoryStartOnly=yes", "# RootDirectoryStartOnly= is left out"},
		{"no limits for helpers", "PermissionsStartOnly=yes", "PermissionsStartOnly=yes", ""},
		{"no limits for a command", "ExecStartPre=-+/bin/x", "\nExecStartPre=-+", "\nExecStartPre=-/bin/x\n"},
		{"no limits, other order", "ExecStartPre=+@/bin/x y", "\nExecStartPre=+", "\nExecStartPre=@/bin/x y\n"},
		{"no limits, second command", "Type=oneshot\nExecStart=/bin/a ; -+/bin/x", "+/bin/x", "\nExecStart=/bin/a ; -/bin/x\n"},
		{"no limits, quoted", `ExecStartPre="+/bin/x y"`, "\nExecStartPre=", "# ExecStartPre= is left out"},
		{"no limits, quoted in part", `ExecStartPre=-'+'/bin/x`, "\nExecStartPre=", "# ExecStartPre= is left out"},
		{"no limits, escaped", `ExecStartPre=\x2b/bin/x`, "\nExecStartPre=", "# ExecStartPre= is left out"},
		{"no limits, behind a quote", `ExecStartPre=/bin/a "b ; c" ';' ; "+/bin/x"`, "\nExecStartPre=", "# ExecStartPre= is left out"},
		{"a plus that is none", `ExecStartPre="/bin/a b" +c "; +d" \; +e ;`, "left out", "\nExecStartPre=\"/bin/a b\" +c \"; +d\" \\; +e ;\n"},
		{"link of the host", "RuntimeDirectory=x:systemd/system/ssh.service.d y", ":systemd", "/x grove-run/grove-g-evil/y\n"},
		{"link of the host, escaped", `RuntimeDirectory=x\x3asystemd/system/ssh.service.d`, `\x3a`, "RuntimeDirectory=grove-run/grove-g-evil\n"},
		{"folder of another", "RuntimeDirectory=../../systemd %t/y", "systemd/\n", "RuntimeDirectory=grove-run/grove-g-evil\n"},
		{"file of the host written", "StandardOutput=append:/etc/passwd", "append:", "StandardOutput= is left out"},
		{"file of the host read", "OpenFile=/etc/shadow", "OpenFile=/etc", "OpenFile= is left out"},
		{"namespace of the host", "NetworkNamespacePath=/proc/1/ns/net", "NetworkNamespacePath=/", ""},
		{"image of the host", "ExtensionDirectories=/root", "ExtensionDirectories=/", ""},
		{"image mounted", "MountImages=/dev/sda:/mnt", "MountImages=/", ""},
		{"devices", "PrivateDevices=no", "\nPrivateDevices=no", "\nPrivateDevices=yes\n"},
		{"kernel settings", "ProtectKernelTunables=false", "\nProtectKernelTunables=false", "\nProtectKernelTunables=yes\n"},
		{"capability", "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_KILL", "CAP_SYS_ADMIN\n", "\nCapabilityBoundingSet=CAP_KILL\n"},
		{"capability in small letters", "CapabilityBoundingSet=cap_sys_ptrace cap_kill", "ptrace", "\nCapabilityBoundingSet=CAP_KILL\n"},
		{"capability by number", "CapabilityBoundingSet=21 CAP_KILL", "=21", "\nCapabilityBoundingSet=CAP_KILL\n"},
		{"capability of a user", "User=web\nAmbientCapabilities=CAP_SYS_ADMIN", "\nAmbientCapabilities=CAP", "\nCapabilityBoundingSet=\n"},
		{"processes of the host's user", "User=web\nPrivateUsers=no", "\nPrivateUsers=no", "\nPrivateUsers=yes\n"},
		{"a low port", "User=web\nAmbientCapabilities=CAP_NET_BIND_SERVICE", "\nPrivateUsers=yes", ""},
		{"keys of the host", "KeyringMode=shared", "\nKeyringMode=shared", "\nKeyringMode=private\n"},
		{"file handles", "", "CAP_DAC_READ_SEARCH", ""},
		{"filter by two lines", "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged", "@system-service ~", "\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged\n"},
		{"control group", "Delegate=yes", "\nDelegate=yes", ""},
		{"host's mounts", "MountFlags=shared", "\nMountFlags=shared", ""},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			root := guestTree(t)
			writeUnit(t, root, "[Service]\nExecStart=/bin/x\n"+c.setting+"\n")
			s, err := makeService(root, "evil")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(s.Text, c.never) {
				t.Errorf("%q in\n%s", c.never, s.Text)
			}
			if !strings.Contains(s.Text, c.want) {
				t.Errorf("no %q in\n%s", c.want, s.Text)
			}
		})
	}
}

// systemd ends a line at a carriage return and at a NUL: what stands behind one would be a setting of its own.
func TestMakeServiceRefusesHiddenLines(t *testing.T) {
	for _, text := range []string{"[Unit]\nDescription=x\rOnFailure=y.service\n[Service]\nExecStart=/bin/x\n", "[Service]\nExecStart=/bin/x\x00RootDirectoryStartOnly=yes\n"} {
		root := guestTree(t)
		writeUnit(t, root, text)
		if s, err := makeService(root, "evil"); err == nil {
			t.Errorf("%q became\n%s", text, s.Text)
		}
	}
	root := guestTree(t)
	writeUnit(t, root, "[Service]\nUser=end\nExecStart=/bin/x\n")
	passwd := "end:x:5:5::/home\\:/bin/sh\n"
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := makeService(root, "evil"); err == nil {
		t.Errorf("%q became\n%s", passwd, s.Text)
	}
}

// A file of variables that is a link out of the tree is not the host's file.
func TestMakeServiceReadsNoFileOfTheHost(t *testing.T) {
	root, outside := guestTree(t), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("SECRET=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc/evil")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/evil", "/../../../../../../../../" + outside} {
		writeUnit(t, root, "[Service]\nExecStart=/bin/x\nEnvironmentFile=-"+name+"\n")
		if s, _ := makeService(root, "evil"); strings.Contains(s.Text, "SECRET") || strings.Contains(s.Text, "\nEnvironmentFile=") {
			t.Errorf("%s: the host's file is in\n%s", name, s.Text)
		}
	}
}

func writeUnit(t *testing.T, root, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, "etc/systemd/system/evil.service"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What is no regular file is not waited for, be it there from the start or put there after the first look.
func TestMakeServiceOfAFifo(t *testing.T) {
	root := guestTree(t)
	if err := syscall.Mkfifo(filepath.Join(root, "etc/systemd/system/evil.service"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := makeService(root, "evil"); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a fifo: %v", err)
	}
}
