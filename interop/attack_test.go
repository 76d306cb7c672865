// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// attacker is a static program that tries to change /usr from inside a guest, put where the guest sees it.
func (s site) attacker(at string) {
	s.t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-o", at, "./testdata/attack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build the attacker: %v\n%s", err, out)
	}
}

// judgeAttacks demands that each try of the attacker was refused.
func judgeAttacks(t *testing.T, where, out string) {
	t.Helper()
	if n := strings.Count(out, "held: "); n < 20 {
		t.Errorf("%s: only %d tries were refused:\n%s", where, n, out)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "BROKEN") {
			t.Errorf("%s: %s", where, line)
		}
	}
}

// Root inside a guest cannot write through the hard links of its tree into the repository: not in `run`, with and
// without the host's network, not with a folder of the host bound, not in a tree that was mounted.
func TestNobodyWritesThrough(t *testing.T) {
	for _, kind := range []string{"composefs", "checkout"} {
		t.Run(kind, func(t *testing.T) { nobodyWritesThrough(t, kind) })
	}
}

func nobodyWritesThrough(t *testing.T, kind string) {
	need(t, "ostree", "unshare", "chroot")
	w := copse(t)
	s := newSite(t)
	s.grove("remote", "add", "dist", "file://"+s.serverOf(w.base), "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref, "--install", "hello", "--deploy", kind)
	s.attacker(filepath.Join(s.root, "guests/g/var/attack"))
	// A tree that nothing guards falls: the attacker can do what it is for.
	bare := s.path("bare")
	s.copyTree("g", bare)
	if out := tool(t, "unshare", "-m", "chroot", bare, "/var/attack"); strings.Count(out, "BROKEN") < 8 {
		t.Fatalf("the attacker can do little even where nothing is in its way:\n%s", out)
	}
	judgeAttacks(t, "run", s.grove("run", "g", "--", "/var/attack"))
	judgeAttacks(t, "run with a network of its own", s.grove("run", "--private-network", "g", "--", "/var/attack"))
	judgeAttacks(t, "run with a folder bound", s.grove("run", "--bind", s.dir+":/mnt", "g", "--", "/var/attack"))
	// Through the folder that is bound the guest may write, for what else is it bound; but not into the tree it runs in.
	s.grove("install", "g", "greeter")
	s.grove("rollback", "g")
	judgeAttacks(t, "run in an earlier deployment", s.grove("run", "--deployment", "2", "g", "--", "/var/attack"))
	s.fsck()
	dir := s.path("tree")
	s.grove("mount", "g", dir)
	for _, attack := range []string{"echo x >%/usr/bin/bash", "chmod 777 %/usr/bin/bash", "rm %/usr/bin/bash", "ln %/usr/bin/bash %/var/x",
		"mount -o remount,rw % && echo x >%/usr/bin/bash", "mount -o remount,bind,rw % && echo x >%/usr/bin/bash"} {
		if out, err := exec.Command("sh", "-c", strings.ReplaceAll(attack, "%", dir)).CombinedOutput(); err == nil {
			t.Errorf("%s went through: %s", attack, out)
		}
	}
	s.grove("umount", dir)
	s.fsck()
}
