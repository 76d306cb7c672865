// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/deploy"
)

// A tree, or its /etc, that is mounted elsewhere is in use; one of the same name in another state root is not.
func TestMountedElsewhere(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv("GROVE_CI") != "1" {
		t.Skip("mounting needs root")
	}
	for _, what := range []string{"root", "root/etc"} {
		t.Run(what, func(t *testing.T) {
			top := tempDir(t)
			current := func(name string) *deploy.Deployment {
				s := open(t, filepath.Join(top, name))
				g, err := s.NewGuest(t.Context(), "mail")
				must(t, err)
				c, root := commit(t, s.Repo(), files{"usr/etc/conf": "one\n", "usr/bin/x": "0755 x"})
				_, _, err = build(g, s, c, root, deploy.Final{})
				must(t, err)
				d, err := g.Current()
				must(t, err)
				return d
			}
			one, other := current("a"), current("b")
			if one.Running() || other.Running() {
				t.Fatalf("in use before: %v, %v", one.Running(), other.Running())
			}
			at := filepath.Join(top, "at a place")
			must(t, os.Mkdir(at, 0o755))
			err := unix.Mount(filepath.Join(one.Root(), "..", what), at, "", unix.MS_BIND, "")
			if err == unix.EPERM && os.Getenv("GROVE_CI") != "1" {
				t.Skip("may not mount")
			}
			must(t, err)
			defer func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) }()
			again := func(name string) bool {
				s := open(t, filepath.Join(top, name))
				g, err := s.Guest("mail")
				must(t, err)
				d, err := g.Current()
				must(t, err)
				return d.Running()
			}
			if !again("a") || again("b") {
				t.Errorf("in use: %v, the other %v; want true, false", again("a"), again("b"))
			}
		})
	}
}
