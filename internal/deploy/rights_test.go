// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"os"
	"path/filepath"
	"testing"

	"grove/internal/deploy"
)

// TestNobodyElseEnters: what lies in a state root may have set-id bits by a guest's word, so no other user of the host gets to
// it, be the root new or one that an admin made open to all.
func TestNobodyElseEnters(t *testing.T) {
	for _, name := range []string{"new", "below/a/missing/folder", "there"} {
		root := filepath.Join(t.TempDir(), name)
		if name == "there" {
			must(t, os.Mkdir(root, 0o755))
		}
		s, err := deploy.Open(root, deploy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		closed := []string{s.Repo().Path(), filepath.Join(root, "guests"), s.CacheDir()}
		if name != "there" {
			closed = append(closed, root)
		}
		for _, dir := range closed {
			info, err := os.Stat(dir)
			must(t, err)
			if info.Mode().Perm() != 0o700 {
				t.Errorf("%s: %s has mode %o", name, dir, info.Mode().Perm())
			}
		}
	}
}
