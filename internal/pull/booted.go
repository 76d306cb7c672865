// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// ErrNotBooted says that a host runs from no OSTree deployment.
var ErrNotBooted = errors.New("this host runs from no OSTree deployment")

// maxBootedFile bounds /run/ostree-booted and the kernel's command line.
const maxBootedFile = 64 << 10

// inode names a file of this machine.
type inode struct{ dev, ino uint64 }

// BootedCommit is the commit that the host below root ("/") was booted from. Only names and attributes are read.
//
//	errors  ErrNotBooted
//	source  ostree src/libostree/ostree-sysroot.c (the booted deployment is the one that is the same directory as the
//	        root), src/libotcore/otcore.h (backing-root-device-inode in /run/ostree-booted, where the root is composefs),
//	        src/libotcore/otcore-prepare-root.c (ostree= on the kernel's command line)
func BootedCommit(root string) (ostree.Checksum, error) {
	mark, err := readBounded(filepath.Join(root, "run/ostree-booted"))
	if errors.Is(err, fs.ErrNotExist) {
		return ostree.Checksum{}, ErrNotBooted
	}
	if err != nil {
		return ostree.Checksum{}, err
	}
	is, err := inodeOf(root)
	if err != nil {
		return ostree.Checksum{}, err
	}
	booted := map[inode]bool{is: true}
	if d, err := gvariant.DecodeDict(mark); err == nil {
		if v, ok := d.Lookup("backing-root-device-inode"); ok && v.Type() == "(tt)" {
			booted[inode{v.Index(0).Uint(), v.Index(1).Uint()}] = true
		}
	}
	if dir := commandLineRoot(root); dir != "" {
		if n, err := inodeOf(dir); err == nil {
			booted[n] = true
		}
	}
	all, err := filepath.Glob(filepath.Join(root, "sysroot/ostree/deploy/*/deploy/*"))
	if err != nil {
		return ostree.Checksum{}, err
	}
	for _, dir := range all {
		name, _, ok := strings.Cut(filepath.Base(dir), ".")
		if n, err := inodeOf(dir); !ok || err != nil || !booted[n] {
			continue
		}
		c, err := ostree.ParseChecksum(name)
		if err != nil {
			return c, fmt.Errorf("deployment %s: %w", dir, err)
		}
		return c, nil
	}
	return ostree.Checksum{}, fmt.Errorf("none of the %d deployments below %s is the root: %w", len(all), filepath.Join(root, "sysroot/ostree/deploy"), ErrNotBooted)
}

// commandLineRoot is the folder that ostree= of the kernel's command line names, "" where there is none. In a container
// the line is that of another host; its path then leads nowhere here.
func commandLineRoot(root string) string {
	line, err := readBounded(filepath.Join(root, "proc/cmdline"))
	if err != nil {
		return ""
	}
	for _, word := range strings.Fields(string(line)) {
		if path, ok := strings.CutPrefix(word, "ostree="); ok && strings.HasPrefix(path, "/ostree/") {
			return filepath.Join(root, "sysroot", path)
		}
	}
	return ""
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBootedFile))
}

func inodeOf(path string) (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return inode{uint64(st.Dev), st.Ino}, nil
}

// Booted brings the commit that the host below root was booted from, out of the host's own repository. Each object is
// copied and held against its checksum: the host's files are neither changed nor linked.
//
//	errors  ErrNotBooted, repo.ErrNotFound, ostree.ErrCorrupt
func Booted(ctx context.Context, r *repo.Repo, root string) (ostree.Checksum, error) {
	c, err := BootedCommit(root)
	if err != nil {
		return c, err
	}
	if r.Has(ostree.TypeCommit, c) && !r.IsPartial(c) {
		return c, nil
	}
	src, err := repo.Open(filepath.Join(root, "sysroot/ostree/repo"))
	if err != nil {
		return c, err
	}
	defer src.Close()
	if src.IsPartial(c) {
		return c, fmt.Errorf("commit %s of the host: only a part of it is in %s: %w", c, filepath.Join(root, "sysroot/ostree/repo"), repo.ErrNotFound)
	}
	_, err = Local(ctx, r, src.Path(), "", []string{c.String()}, Options{Untrusted: true})
	return c, err
}
