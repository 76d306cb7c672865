// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// TestTogether: grove and ostree write to one repository and prune it at the same time, and no commit that a ref names loses
// anything: both share the lock for writing and hold it alone for pruning.
func TestTogether(t *testing.T) {
	need(t, "ostree")
	for _, mode := range []string{"bare", "archive"} {
		peerCase(t, "locking/"+mode+"/same", func(t *testing.T) {
			s := newSite(t)
			repo := s.path("repo")
			s.grove("repo", "init", "--repo", repo, "--mode="+mode)
			tool(t, "ostree", "--repo="+repo, "config", "set", "core.fsync", "false")
			tool(t, "ostree", "--repo="+repo, "config", "set", "core.lock-timeout-secs", "60")
			const rounds, writers = 6, 2
			run := func(name string, args ...string) {
				if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
					t.Errorf("%s %q: %v\n%s", name, args, err, out)
				}
			}
			var all sync.WaitGroup
			for w := range writers {
				for _, who := range []string{"grove", "ostree"} {
					dir := s.path(fmt.Sprint("tree-", who, w))
					all.Go(func() {
						for i := range rounds {
							// each round leaves what the last one made to the prunes, and makes some of it again
							for f := range 12 {
								if err := os.MkdirAll(dir, 0o755); err != nil {
									t.Error(err)
								}
								if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, f), fmt.Appendf(nil, "%d", (i/2+f*w)%5), 0o644); err != nil {
									t.Error(err)
								}
							}
							branch := fmt.Sprint(who, w)
							if who == "grove" {
								run(program, "repo", "commit", "--repo", repo, "-b", branch, "--tree=dir="+dir)
							} else {
								run("ostree", "--repo="+repo, "commit", "-b", branch, "--tree=dir="+dir)
							}
						}
					})
				}
			}
			all.Go(func() {
				for range rounds {
					run(program, "repo", "prune", "--repo", repo, "--refs-only", "--depth=0")
				}
			})
			all.Go(func() {
				for range rounds {
					run("ostree", "--repo="+repo, "prune", "--refs-only", "--depth=0")
				}
			})
			all.Wait()
			tool(t, "ostree", "--repo="+repo, "fsck", "-q")
			tool(t, program, "repo", "fsck", "--repo", repo)
			tool(t, program, "repo", "prune", "--repo", repo, "--refs-only", "--depth=0")
			tool(t, "ostree", "--repo="+repo, "fsck", "-q")
		})
	}
}
