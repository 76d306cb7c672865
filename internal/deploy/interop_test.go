// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/deploy"
)

// needRoot skips without root and the tool, but fails where they are promised.
func needRoot(t *testing.T, tool string) {
	t.Helper()
	_, err := exec.LookPath(tool)
	if err == nil && os.Geteuid() == 0 {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatalf("needs root and %s", tool)
	}
	t.Skipf("needs root and %s", tool)
}

func sh(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments,no-xattrs")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// etcCases are the corners of the merge: defaults before, what is done here, defaults after.
// differs names what grove does otherwise on purpose.
var etcCases = []struct {
	name     string
	old, new files
	change   func(etc string) error
	differs  string
	fails    bool // the peer and we refuse
}{
	{name: "nothing changed", old: files{"c": "1"}, new: files{"c": "1"}},
	{name: "default changed", old: files{"c": "1"}, new: files{"c": "2"}},
	{name: "default added and removed", old: files{"a": "1", "d/x": "1"}, new: files{"b": "2"}},
	{name: "changed here", old: files{"c": "1"}, new: files{"c": "1"}, change: write("c", "mine")},
	{name: "both changed", old: files{"c": "1"}, new: files{"c": "2"}, change: write("c", "mine")},
	{name: "both changed alike", old: files{"c": "1"}, new: files{"c": "2"}, change: write("c", "2")},
	{name: "mode changed here, content by default", old: files{"c": "1"}, new: files{"c": "2"}, change: chmod("c", 0o600)},
	{name: "removed here", old: files{"c": "1", "k": "k"}, new: files{"c": "2", "k": "k"}, change: remove("c")},
	{name: "folder removed here, default adds to it", old: files{"d/a": "1", "k": "k"}, new: files{"d/a": "1", "d/b": "2", "k": "k"}, change: remove("d")},
	{name: "added here in a folder that the default drops", old: files{"d/a": "1", "k": "k"}, new: files{"k": "k"}, change: write("d/mine", "m")},
	{name: "added here and by default", old: files{"k": "k"}, new: files{"k": "k", "n": "theirs"}, change: write("n", "mine")},
	{name: "new folder here", old: files{"k": "k"}, new: files{"k": "k"}, change: write("e/f/g", "mine")},
	{name: "new folder here and by default", old: files{"k": "k"}, new: files{"k": "k", "e/theirs": "t"}, change: write("e/mine", "m")},
	{name: "link in place of a file", old: files{"c": "1", "k": "k"}, new: files{"c": "2", "k": "k"}, change: link("c", "k")},
	{name: "file in place of a link", old: files{"c": "-> k", "k": "k"}, new: files{"c": "-> k", "k": "k"}, change: write("c", "mine")},
	{name: "link retargeted here", old: files{"c": "-> k", "k": "k"}, new: files{"c": "-> k", "k": "k"}, change: link("c", "other")},
	{name: "link changed by default", old: files{"c": "-> k", "k": "k"}, new: files{"c": "-> l", "k": "k"}},
	{name: "put back to the default", old: files{"c": "1"}, new: files{"c": "2"}, change: write("c", "1")},
	{name: "fifo is left behind", old: files{"k": "k"}, new: files{"k": "k"}, change: func(etc string) error {
		return exec.Command("mkfifo", filepath.Join(etc, "p")).Run()
	}},
	{name: "folder in place of a file", old: files{"c": "1", "k": "k"}, new: files{"c": "2", "k": "k"}, change: func(etc string) error {
		return os.Remove(filepath.Join(etc, "c"))
	}},
	{name: "file here, folder by default", old: files{"k": "k"}, new: files{"k": "k", "c/x": "1"}, change: write("c", "mine"), fails: true},
	{name: "mode of a folder changed here", old: files{"d/a": "1"}, new: files{"d/a": "1"}, change: chmod("d", 0o700), differs: "d 0755 d\nf 0644 d/a \"1\"\n"},
	{name: "mode of a folder changed here and a file in it", old: files{"d/a": "1"}, new: files{"d/a": "1"}, change: both(write("d/a", "mine"), chmod("d", 0o700))},
}

func write(p, text string) func(string) error {
	return func(etc string) error {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(etc, p)), 0o755); err != nil {
			return err
		}
		_ = os.Remove(filepath.Join(etc, p))
		return os.WriteFile(filepath.Join(etc, p), []byte(text), 0o644)
	}
}

func chmod(p string, mode os.FileMode) func(string) error {
	return func(etc string) error { return os.Chmod(filepath.Join(etc, p), mode) }
}

func remove(p string) func(string) error {
	return func(etc string) error { return os.RemoveAll(filepath.Join(etc, p)) }
}

func link(p, target string) func(string) error {
	return func(etc string) error {
		_ = os.Remove(filepath.Join(etc, p))
		return os.Symlink(target, filepath.Join(etc, p))
	}
}

func both(a, b func(string) error) func(string) error {
	return func(etc string) error {
		if err := a(etc); err != nil {
			return err
		}
		return b(etc)
	}
}

// merged puts cases side by side, each in a folder of its own, and returns defaults before and after and the change.
func merged(cases []int) (old, new files, change func(etc string) error) {
	old, new = files{"usr/etc/z": "z"}, files{"usr/etc/z": "z"}
	for _, i := range cases {
		for p, text := range etcCases[i].old {
			old[fmt.Sprintf("usr/etc/%02d/%s", i, p)] = text
		}
		for p, text := range etcCases[i].new {
			new[fmt.Sprintf("usr/etc/%02d/%s", i, p)] = text
		}
	}
	return old, new, func(etc string) error {
		for _, i := range cases {
			if f := etcCases[i].change; f != nil {
				if err := f(fmt.Sprintf("%s/%02d", etc, i)); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// ourEtc is the /etc that grove makes of cases.
func ourEtc(t *testing.T, cases []int) (string, error) {
	old, new, change := merged(cases)
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	a, ra := commit(t, s.Repo(), old)
	b, rb := commit(t, s.Repo(), new)
	_, _, err = build(g, s, a, ra, deploy.Final{})
	must(t, err)
	cur := mustDeployment(t, g, 1)
	must(t, change(cur.Root()+"/etc"))
	st, _, err := build(g, s, b, rb, deploy.Final{MergeFrom: cur})
	if err != nil {
		must(t, st.Abort())
		clean(t, s)
		return "", err
	}
	clean(t, s)
	return mustDeployment(t, g, 2).Root() + "/etc", nil
}

// peerEtc is the /etc that `ostree admin deploy` makes of cases.
func peerEtc(t *testing.T, cases []int) (string, error) {
	old, new, change := merged(cases)
	root := tempDir(t)
	sh(t, "ostree", "admin", "init-fs", root)
	sh(t, "ostree", "admin", "os-init", "--sysroot="+root, "os")
	// ostree takes a branch "a" for the beginning of a checksum if there is one
	for branch, f := range map[string]files{"first": old, "second": new} {
		dir := tempDir(t)
		f.write(t, dir)
		files{"usr/lib/modules/6/vmlinuz": "kernel", "usr/lib/os-release": "NAME=x\nID=x\nVERSION_ID=1\n"}.write(t, dir)
		sh(t, "ostree", "commit", "--repo="+root+"/ostree/repo", "-b", branch, "--no-xattrs", dir)
	}
	sh(t, "ostree", "admin", "deploy", "--sysroot="+root, "--os=os", "first")
	first, err := filepath.Glob(root + "/ostree/deploy/os/deploy/*.0/etc")
	if err != nil || len(first) != 1 {
		t.Fatalf("deployment of the peer: %v %v", first, err)
	}
	must(t, change(first[0]))
	cmd := exec.Command("ostree", "admin", "deploy", "--sysroot="+root, "--os=os", "second")
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments,no-xattrs")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	all, _ := filepath.Glob(root + "/ostree/deploy/os/deploy/*.0/etc")
	for _, etc := range all {
		if etc != first[0] {
			return etc, nil
		}
	}
	t.Fatalf("the peer made no second deployment: %s\n%s", out, sh(t, "ls", "-la", root+"/ostree/deploy/os/deploy"))
	return "", nil
}

func TestEtcAsOSTree(t *testing.T) {
	needRoot(t, "ostree")
	t.Log(strings.SplitN(sh(t, "ostree", "--version"), "\n", 3)[1])
	var good []int
	for i, c := range etcCases {
		if !c.fails {
			good = append(good, i)
			continue
		}
		_, err := ourEtc(t, []int{i})
		_, perr := peerEtc(t, []int{i})
		if err == nil || perr == nil {
			t.Errorf("%s: ours %v, peer %v; wanted two refusals", c.name, err, perr)
		}
	}
	ours, err := ourEtc(t, good)
	must(t, err)
	theirs, err := peerEtc(t, good)
	must(t, err)
	for _, i := range good {
		c := etcCases[i]
		a, b := dump(t, fmt.Sprintf("%s/%02d", ours, i)), dump(t, fmt.Sprintf("%s/%02d", theirs, i))
		switch {
		case c.differs != "" && (b != c.differs || a == b):
			t.Errorf("%s: documented difference is gone: ours\n%s\npeer\n%s", c.name, a, b)
		case c.differs == "" && a != b:
			t.Errorf("%s: ours\n%s\npeer\n%s", c.name, a, b)
		}
	}
}
