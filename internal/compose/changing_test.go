// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"grove/internal/compose"
	"grove/internal/fetch"
	"grove/internal/rpm"
)

// TestPackageThatChanges: a package file that another can write to counts as it was when it was checked, or not at all.
func TestPackageThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.rpm")
	before := strings.Repeat("genuine ", 20000)
	digest := sha256.Sum256([]byte(before))
	want := rpm.Digest{Algo: "sha256", Hex: hex.EncodeToString(digest[:])}
	for _, changed := range []bool{false, true} {
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		f, sum, err := compose.OpenChecked(path, want)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, finish := compose.ReadOnce(f)
		if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
			t.Fatal(err)
		}
		if changed {
			if err := os.WriteFile(path, []byte(strings.Replace(before, "genuine", "hostile", -1)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := finish(sum); errors.Is(err, fetch.ErrDigest) != changed {
			t.Errorf("changed %v: %v", changed, err)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo.rpm")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := compose.OpenChecked(fifo, want); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a fifo: %v", err)
	}
}
