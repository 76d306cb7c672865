// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ostreeHost is a sysroot that the real ostree made, with a deployment that programs can be run in as if it were booted.
type ostreeHost struct {
	s      site
	dir    string // the physical root
	commit string
}

// newOSTreeHost deploys a commit of an archive repository with `ostree admin`.
func newOSTreeHost(s site, archive, ref string) ostreeHost {
	s.t.Helper()
	h := ostreeHost{s: s, dir: s.path("sysroot")}
	s.t.Cleanup(func() { // ostree makes a deployment's folder immutable
		_ = exec.Command("sh", "-c", `chattr -i "$1"/ostree/deploy/*/deploy/*.?`, "sh", h.dir).Run()
	})
	if err := os.MkdirAll(filepath.Join(h.dir, "boot"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	h.ostree("admin", "init-fs", h.dir)
	h.ostree("config", "--repo="+h.repo(), "set", "sysroot.bootloader", "none")
	h.ostree("admin", "--sysroot="+h.dir, "os-init", "dist")
	h.deploy(archive, ref)
	return h
}

func (h ostreeHost) repo() string { return filepath.Join(h.dir, "ostree/repo") }

func (h *ostreeHost) ostree(args ...string) string {
	h.s.t.Helper()
	return tool(h.s.t, "ostree", args...)
}

// deploy makes of the ref's newest commit one with a kernel, as ostree demands, deploys it, and has ostree sweep what it
// keeps no more.
func (h *ostreeHost) deploy(archive, ref string) {
	h.s.t.Helper()
	kernel := h.s.path("kernel")
	write(h.s.t, filepath.Join(kernel, "usr/lib/modules/1.0/vmlinuz"), "no kernel")
	h.ostree("commit", "--repo="+archive, "-b", "hostos", "--owner-uid=0", "--owner-gid=0", "--tree=ref="+ref, "--tree=dir="+kernel)
	h.ostree("summary", "--repo="+archive, "-u")
	ref = "hostos"
	h.ostree("pull-local", "--repo="+h.repo(), archive, ref)
	h.ostree("admin", "--sysroot="+h.dir, "deploy", "--os=dist", ref)
	h.ostree("admin", "--sysroot="+h.dir, "cleanup")
	h.commit = strings.TrimSpace(h.ostree("rev-parse", "--repo="+h.repo(), ref))
}

// booted runs the program in the deployment's tree, with the sysroot, /var and /run where a booted system has them. The
// rest of this machine is below /var/host there, and so are the program and its libraries.
func (h ostreeHost) booted(args ...string) (string, error) {
	h.s.t.Helper()
	root := filepath.Join(h.dir, "ostree/deploy/dist/deploy", h.commit+".0")
	script := `set -e
root=$1 sysroot=$2 program=$3 state=$4; shift 4
mount --bind "$root" "$root"
mount --bind "$sysroot" "$root/sysroot"
mount -t tmpfs tmpfs "$root/run"; touch "$root/run/ostree-booted"
mount -t tmpfs tmpfs "$root/var"; mkdir "$root/var/host" "$root/var/tmp"
mount --rbind / "$root/var/host"
mount --rbind /proc "$root/proc"; mount --rbind /dev "$root/dev"
cd "$root"
exec chroot . "/var/host$(readlink -f /lib64/ld-linux-x86-64.so.2)" --library-path /var/host/lib/x86_64-linux-gnu:/var/host/usr/lib/x86_64-linux-gnu:/var/host/usr/lib64:/var/host/lib64 \
	"/var/host$program" --root "/var/host$state" "$@"`
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh", root, h.dir, program, h.s.root}, args...)...)
	cmd.Env = append(environ(), "TMPDIR=/var/tmp")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// snapshot lists every file of the host with all that can be seen of it: inode, links, owner, times, content.
func (h ostreeHost) snapshot() string {
	h.s.t.Helper()
	return tool(h.s.t, "sh", "-c", `cd "$1" && find . -path ./ostree/deploy/dist/var -prune -o -printf '%p %i %n %m %U:%G %s %T@ %C@ %l\n' | sort && find . -path ./ostree/deploy/dist/var -prune -o -type f -print0 | sort -z | xargs -0 sha256sum`, "sh", h.dir)
}

// TestOSTreeHost keeps guests on a host that is itself of OSTree: made of what the host was booted from, with the host's
// files untouched to the last time stamp; then the host is upgraded and swept, and every guest is whole.
func TestOSTreeHost(t *testing.T) {
	need(t, "ostree", "unshare", "chroot")
	w := copse(t)
	s := newSite(t)
	srv := s.serverOf(w.base)
	h := newOSTreeHost(s, srv, w.Ref)
	s.root = filepath.Join(h.dir, "ostree/deploy/dist/var/lib/grove") // where /var/lib/grove is on such a host
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	h.s = s
	before := h.snapshot()

	if out, err := h.booted("create", "same", "host:booted"); err != nil {
		t.Fatalf("create on the host's commit: %v\n%s", err, out)
	}
	if got := s.current("same"); got != h.commit {
		t.Errorf("the guest stands on %s, the host on %s", got, h.commit)
	}
	if out, err := h.booted("upgrade", "same"); err != nil || !strings.Contains(out, "nothing to do") {
		t.Errorf("upgrade where the host is as it was: %v\n%s", err, out)
	}
	if msg := s.fails(1, "create", "none", "host:booted"); !strings.Contains(msg, "runs from no OSTree deployment") {
		t.Errorf("on this machine: %s", msg)
	}
	s.grove("remote", "add", "dist", "file://"+srv, "--no-gpg-verify")
	s.grove("create", "g", "dist:"+w.Ref, "--install", "hello")
	s.grove("run", "g", "--", "bash", "-c", "echo x >/var/lib/x; echo y >/etc/y")
	s.grove("create", "layered", h.commit, "--install", "greeter")
	s.grove("uninstall", "g", "hello")
	s.grove("rollback", "g")
	s.grove("create", "gone", "dist:"+w.Ref)
	s.grove("delete", "gone", "--yes")
	s.grove("gc")
	if after := h.snapshot(); after != before {
		t.Errorf("the host's files changed:\n%s", differing(before, after))
	}

	// The host moves on: a new deployment, and ostree removes what no deployment of its own needs.
	w.update(s, srv)
	guests := s.guestsOf()
	old := h.commit
	h.deploy(srv, w.Ref)
	h.ostree("admin", "--sysroot="+h.dir, "undeploy", "1")
	h.ostree("admin", "--sysroot="+h.dir, "cleanup")
	h.ostree("prune", "--repo="+h.repo(), "--refs-only")
	if _, err := os.Stat(filepath.Join(h.dir, "ostree/deploy/dist/deploy", old+".0")); err == nil {
		t.Error("ostree kept the old deployment: nothing was tested")
	}
	if got := s.guestsOf(); got != guests {
		t.Errorf("after the host's upgrade:\n%s\nwas\n%s", got, guests)
	}
	s.fsck()
	if out := s.grove("run", "g", "--", "bash", "-c", "hello; cat /var/lib/x /etc/y"); !strings.HasSuffix(out, "x\ny\n") {
		t.Errorf("the guest says %q", out)
	}
	before = h.snapshot()
	if out, err := h.booted("upgrade", "same"); err != nil {
		t.Errorf("upgrade to the host's new commit: %v\n%s", err, out)
	}
	if got := s.status("same").Base.Commit; got != h.commit {
		t.Errorf("the guest stands on %s, the host on %s", got, h.commit)
	}
	if after := h.snapshot(); after != before {
		t.Errorf("the host's files changed:\n%s", differing(before, after))
	}
	s.fsck()
}

// differing are the lines that only one of two texts has, at most twenty.
func differing(a, b string) string {
	var out []string
	have := map[string]bool{}
	for _, l := range strings.Split(a, "\n") {
		have[l] = true
	}
	for _, l := range strings.Split(b, "\n") {
		if !have[l] {
			out = append(out, "+ "+l)
		}
		delete(have, l)
	}
	for l := range have {
		out = append(out, "- "+l)
	}
	return strings.Join(out[:min(len(out), 20)], "\n")
}
