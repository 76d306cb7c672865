// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"grove/internal/durable"
	"grove/internal/machine"
)

func TestBootOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := durable.Acquire(context.Background(), filepath.Join(dir, "mnt/.booted"), true, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	_, err = machine.RunBoot(context.Background(), machine.Guest{Name: "web", Root: t.TempDir(), Var: t.TempDir()}, dir, machine.Boot{})
	if !errors.Is(err, machine.ErrBooted) {
		t.Errorf("got %v, want ErrBooted", err)
	}
}
