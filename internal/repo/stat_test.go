// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// What is told of objects without opening them is what opening them tells, in every mode, many at once and one by one.
func TestStatFiles(t *testing.T) {
	for _, mode := range []repo.Mode{repo.Bare, repo.BareUser, repo.Archive} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == repo.Bare && os.Geteuid() != 0 {
				t.Skip("bare keeps owners: needs root")
			}
			r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), mode)
			ok(t, err)
			tx, err := r.Begin(t.Context())
			ok(t, err)
			var sums []ostree.Checksum
			put := func(h ostree.FileHeader, text string) {
				c, err := tx.PutFile(h, int64(len(text)), strings.NewReader(text))
				ok(t, err)
				sums = append(sums, c)
			}
			for i := range 700 {
				put(ostree.FileHeader{Mode: ostree.ModeRegular | 0o644}, fmt.Sprint("content ", i))
			}
			put(ostree.FileHeader{Mode: ostree.ModeRegular | 0o755, UID: 3, GID: 4}, "")
			put(ostree.FileHeader{Mode: ostree.ModeSymlink | 0o777, Symlink: "target"}, "")
			put(ostree.FileHeader{Mode: ostree.ModeRegular | 0o600, Xattrs: []ostree.Xattr{{Name: "user.x", Value: []byte("v")}}}, "with")
			ok(t, tx.Commit())
			var mu sync.Mutex
			seen := 0
			ok(t, r.StatFiles(t.Context(), sums, func(i int, h ostree.FileHeader, size int64) {
				want, wantSize, err := r.FileHeader(sums[i])
				one, oneSize, oneErr := r.StatFile(sums[i])
				mu.Lock()
				defer mu.Unlock()
				seen++
				if err != nil || oneErr != nil || !h.Equal(want) || size != wantSize || !one.Equal(want) || oneSize != wantSize {
					t.Errorf("object %d: %+v %d, alone %+v %d %v, opened %+v %d %v", i, h, size, one, oneSize, oneErr, want, wantSize, err)
				}
			}))
			if seen != len(sums) {
				t.Errorf("told of %d objects, want %d", seen, len(sums))
			}
			missing := append([]ostree.Checksum{{1}}, sums...)
			if err := r.StatFiles(t.Context(), missing, func(int, ostree.FileHeader, int64) {}); !errors.Is(err, repo.ErrNotFound) {
				t.Errorf("a missing object: %v", err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stop()
			if err := r.StatFiles(ctx, sums, func(int, ostree.FileHeader, int64) {}); !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %v", err)
			}
		})
	}
}
