// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a file has for a checksum is the same for both: of files, symlinks and directories, with and without xattrs.
func TestChecksum(t *testing.T) {
	need(t, "ostree")
	dir := t.TempDir()
	plain, odd, link, folder := filepath.Join(dir, "plain"), filepath.Join(dir, "odd"), filepath.Join(dir, "link"), filepath.Join(dir, "folder")
	write(t, plain, "text\n")
	write(t, odd, "")
	for _, err := range []error{os.Symlink("plain", link), os.Mkdir(folder, 0o700), os.Chown(odd, 5, 6), os.Chmod(odd, 0o4711), os.Lchown(link, 7, 8),
		unix.Setxattr(plain, "user.note", []byte("x"), 0), unix.Setxattr(folder, "user.note", []byte("y"), 0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, args := range map[string][]string{"checksum/paths": nil, "checksum/ignore-xattrs": {"--ignore-xattrs"}} {
		peerCase(t, what+"/"+sameResult, func(t *testing.T) {
			seen := map[string]bool{}
			for _, path := range []string{plain, odd, link, folder} {
				theirs := tool(t, "ostree", append(append([]string{"checksum"}, args...), path)...)
				ours := tool(t, program, append(append([]string{"repo", "checksum"}, args...), path)...)
				if ours != theirs || len(ours) != 65 || seen[ours] {
					t.Errorf("%s: grove says %q, ostree %q", filepath.Base(path), ours, theirs)
				}
				seen[ours] = true
			}
		})
	}
}
