// SPDX-License-Identifier: Apache-2.0

package verity_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"grove/internal/verity"
)

// TestSealAndMeasure holds the kernel against digests that the fsverity tool gives.
func TestSealAndMeasure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := verity.Seal(path)
	if errors.Is(err, verity.ErrUnsupported) {
		t.Skipf("this kernel or file system has no fs-verity: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := verity.Seal(path); err != nil {
		t.Errorf("sealed already: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// of an empty file: linux Documentation/filesystems/fsverity.rst, computed by fsverity-utils
	const want = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"
	got, err := verity.Measure(f)
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("measured %x, %v, want %s", got, err, want)
	}
	if err := os.WriteFile(path, []byte("x"), 0o644); err == nil {
		t.Error("a sealed file was written")
	}
}

func TestMissing(t *testing.T) {
	if err := verity.Seal(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
