// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/pull"
)

// The booted deployment is found by the three marks that hosts of different ages leave.
func TestBootedCommit(t *testing.T) {
	first, second := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, c := range []struct {
		name string
		make func(t *testing.T, root, dir string)
		want string // "" = not booted
	}{
		{"no mark", func(t *testing.T, root, dir string) {}, ""},
		{"a mark alone", func(t *testing.T, root, dir string) { put(t, root, "run/ostree-booted", nil) }, ""},
		{"composefs root", func(t *testing.T, root, dir string) {
			var st syscall.Stat_t
			if err := syscall.Stat(dir, &st); err != nil {
				t.Fatal(err)
			}
			at := gvariant.Tuple(gvariant.Uint64(uint64(st.Dev)), gvariant.Uint64(st.Ino))
			put(t, root, "run/ostree-booted", gvariant.Dict{}.With("backing-root-device-inode", at).Encode())
		}, second},
		{"kernel's command line", func(t *testing.T, root, dir string) {
			put(t, root, "run/ostree-booted", nil)
			put(t, root, "proc/cmdline", []byte("quiet ostree=/ostree/boot.1/dist/0123/0 rw\n"))
			link := filepath.Join(root, "sysroot/ostree/boot.1/dist/0123/0")
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../../../deploy/dist/deploy/"+second+".0", link); err != nil {
				t.Fatal(err)
			}
		}, second},
		{"command line of another host", func(t *testing.T, root, dir string) {
			put(t, root, "run/ostree-booted", nil)
			put(t, root, "proc/cmdline", []byte("ostree=/ostree/boot.1/other/0123/0\n"))
		}, ""},
		{"a mark that is no dictionary", func(t *testing.T, root, dir string) { put(t, root, "run/ostree-booted", []byte("\x01\x02x")) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			deploy := filepath.Join(root, "sysroot/ostree/deploy/dist/deploy")
			for _, sum := range []string{first, second} {
				put(t, deploy, sum+".0/usr/x", nil)
			}
			c.make(t, root, filepath.Join(deploy, second+".0"))
			got, err := pull.BootedCommit(root)
			switch {
			case c.want == "" && !errors.Is(err, pull.ErrNotBooted):
				t.Errorf("%v, %v; want ErrNotBooted", got, err)
			case c.want != "" && (err != nil || got.String() != c.want):
				t.Errorf("%v, %v; want %s", got, err, c.want)
			}
		})
	}
}

func put(t *testing.T, root, name string, data []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
