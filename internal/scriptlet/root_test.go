// SPDX-License-Identifier: Apache-2.0

package scriptlet_test

import (
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var libDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
	"/lib/aarch64-linux-gnu"}

// makeRoot builds a root of the host's own programs with the libraries they need.
func makeRoot(t testing.TB, programs ...string) string {
	t.Helper()
	root := t.TempDir()
	os.Chmod(root, 0o755)
	for _, dir := range []string{"usr/bin", "usr/lib", "usr/lib64", "usr/etc", "usr/share/factory/var", "proc", "sys", "dev",
		"run", "tmp", "var", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+l, filepath.Join(root, l)); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("bash", filepath.Join(root, "usr/bin/sh"))
	seen := map[string]bool{}
	for _, name := range append([]string{"bash"}, programs...) {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("no %s here", name)
		}
		copyTo(t, path, filepath.Join(root, "usr/bin", name))
		copyLibraries(t, root, path, seen)
	}
	os.WriteFile(filepath.Join(root, "usr/etc/passwd"), []byte("root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n"), 0o644)
	os.WriteFile(filepath.Join(root, "usr/etc/group"), []byte("root:x:0:\nbob:x:1000:\nwheel:x:10:bob\n"), 0o644)
	return root
}

func copyLibraries(t testing.TB, root, path string, seen map[string]bool) {
	f, err := elf.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			data, _ := io.ReadAll(p.Open())
			interp := string(data[:len(data)-1])
			if !seen[interp] {
				seen[interp] = true
				os.MkdirAll(filepath.Join(root, "usr", filepath.Dir(interp)), 0o755)
				copyTo(t, interp, filepath.Join(root, "usr", interp))
			}
		}
	}
	libs, _ := f.ImportedLibraries()
	for _, lib := range libs {
		if seen[lib] {
			continue
		}
		for _, dir := range libDirs {
			src := filepath.Join(dir, lib)
			if _, err := os.Stat(src); err == nil {
				seen[lib] = true
				to := filepath.Join(root, "usr", strings.TrimPrefix(dir, "/usr"))
				os.MkdirAll(to, 0o755)
				copyTo(t, src, filepath.Join(to, lib))
				copyLibraries(t, root, src, seen)
				break
			}
		}
	}
}

func copyTo(t testing.TB, src, dst string) {
	t.Helper()
	data, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// needRoot skips where namespaces cannot be made as root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}
