// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(path("five"), []byte("12345"), 0o600), unix.Mkfifo(path("pipe"), 0o600), os.Mkdir(path("folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if data, err := durable.ReadFile(path("five"), 5); err != nil || string(data) != "12345" {
		t.Errorf("%q, %v", data, err)
	}
	for name, want := range map[string]string{"five": "5 bytes, at most 4 allowed", "pipe": "no regular file", "folder": "no regular file"} {
		if _, err := durable.ReadFile(path(name), 4); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %s", name, err, want)
		}
	}
	if _, err := durable.ReadFile(path("none"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
