// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/fixture/hostroot"
	"grove/internal/sandbox"
)

// The kernel takes no overlay as the layer that another one writes to: a state root in a container's own file system.
func TestScratchOnAnOverlay(t *testing.T) {
	hostroot.NeedRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "at"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, "at")
	if err := unix.Mount("overlay", at, "overlay", 0, "lowerdir="+dir+"/lower,upperdir="+dir+"/upper,workdir="+dir+"/work"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	spec := sandbox.Spec{Root: t.TempDir(), Upper: filepath.Join(at, "u"), Work: filepath.Join(at, "w")}
	for _, d := range []string{spec.Upper, spec.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := sandbox.Steps(context.Background(), spec, []sandbox.Step{sh("true")}, func(sandbox.Result) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "lies on an overlay") || !strings.Contains(err.Error(), "keep the state root on another file system") {
		t.Errorf("got %v", err)
	}
}
