// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
	"grove/internal/tree"
)

// baseTree is the base as the steps need it.
type baseTree struct {
	tree    *tree.Tree // nil = from nothing
	headers []*rpm.Header
	dbDir   string // a folder of ours with a copy of the base's rpmdb; "" = it has none
	dbPath  string // where the rpmdb lies in the tree
	version string
	stamp   uint64
	sources map[string]bool // ids of the sources it was made from; none = not known
}

// rpmdbPlaces are where a base may keep its rpmdb, the first that has one counts.
// Source: rpm-ostree (usr/share/rpm), rpm since 4.17 (usr/lib/sysimage/rpm), rpm before (var/lib/rpm, here as factory content).
var rpmdbPlaces = []string{"usr/share/rpm", "usr/lib/sysimage/rpm", "usr/share/factory/var/lib/rpm", "var/lib/rpm"}

// RpmdbPlaces are where a tree may keep its rpmdb, the first that has one counts.
func RpmdbPlaces() []string { return append([]string{}, rpmdbPlaces...) }

// maxRpmdbBytes bounds the copy of one rpmdb file: the largest desktop bases have about 300 MB.
const maxRpmdbBytes = 2 << 30

// HostArch is this machine's architecture in rpm's words.
func HostArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i686"
	default:
		return runtime.GOARCH
	}
}

// openBase loads the base commit and what it has installed.
func openBase(ctx context.Context, b *build) error {
	if b.o.Base == nil {
		return nil
	}
	t, c, err := b.o.Repo.Tree(b.o.Base.Commit)
	if err != nil {
		return err
	}
	b.layOutAhead(ctx, tree.Root{Tree: c.Tree, Meta: c.Meta})
	b.base.stamp = c.Timestamp
	b.base.version, b.base.sources = CommitVersion(c), baseSources(c)
	return b.openTree(t, "rpmdb-base")
}

// openTree takes a tree as what is built on, and reads what it has installed; scratch names a folder for that.
func (b *build) openTree(t *tree.Tree, scratch string) error {
	b.base.tree = t
	dir, place, err := ExtractRpmdb(b.o.Repo, t, filepath.Join(b.o.Scratch, scratch))
	if errors.Is(err, repo.ErrNotFound) {
		return nil // a base that was not made of packages
	}
	if err != nil {
		return err
	}
	b.base.dbDir, b.base.dbPath = dir, place
	if b.base.headers, err = rpmdb.Read(dir); err != nil {
		return fmt.Errorf("read the base's rpmdb in %s: %w", place, err)
	}
	return nil
}

// CommitVersion is the version that a commit carries, "" where it has none.
func CommitVersion(c ostree.Commit) string {
	if v, ok := c.Metadata.Lookup("version"); ok && v.Type() == "s" {
		return v.Str()
	}
	return ""
}

// ExtractRpmdb copies the rpmdb of a tree into dir and says where in the tree it was.
//
//	errors  repo.ErrNotFound: the tree has none
func ExtractRpmdb(r *repo.Repo, t *tree.Tree, dir string) (string, string, error) {
	for _, place := range rpmdbPlaces {
		entries, err := t.ReadDir(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue // or a symbolic link, which leads to another of the list
		}
		if err != nil {
			return "", "", err
		}
		found := false
		for _, e := range entries {
			if e.Dir || !isRpmdbFile(e.Name) {
				continue
			}
			if err := copyOut(r, e.File, filepath.Join(dir, e.Name)); err != nil {
				return "", "", fmt.Errorf("copy %s/%s: %w", place, e.Name, err)
			}
			found = true
		}
		if found {
			return dir, place, nil
		}
	}
	return "", "", fmt.Errorf("rpmdb of the tree: %w", repo.ErrNotFound)
}

func isRpmdbFile(name string) bool {
	return name == "rpmdb.sqlite" || name == "rpmdb.sqlite-wal" || name == "Packages.db" || name == "Packages"
}

// copyOut writes an object's content into a plain file.
func copyOut(r *repo.Repo, c ostree.Checksum, path string) error {
	h, size, content, err := r.OpenFile(c)
	if err != nil {
		return err
	}
	defer content.Close()
	if h.Symlink != "" {
		return fmt.Errorf("is a symbolic link to %q", h.Symlink)
	}
	if size > maxRpmdbBytes {
		return fmt.Errorf("has %d bytes, at most %d", size, int64(maxRpmdbBytes))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, io.LimitReader(content, maxRpmdbBytes)); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// readTreeFile gives the content of a small file of a tree, nil where there is none.
func (b *build) readTreeFile(t *tree.Tree, path string) ([]byte, ostree.FileHeader, error) {
	return ReadFile(b.reader(), t, path)
}

// opener is what reading files of a tree takes; a transaction knows also what it staged.
type opener interface {
	OpenFile(ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error)
}

func (b *build) reader() opener {
	if b.tx != nil {
		return b.tx
	}
	return b.o.Repo
}

// maxSmallFile bounds files of a tree that are read into memory: account files, .repo files, keys, os-release.
const maxSmallFile = 4 << 20

// ReadFile gives the content of a small regular file of a tree, following symbolic links inside the tree.
// It gives nil and no error where there is none.
func ReadFile(r opener, t *tree.Tree, name string) ([]byte, ostree.FileHeader, error) {
	at := strings.Split(guestPath(name), "/")
	for range maxLinks {
		h, content, size, rest, err := openOnWay(r, t, at)
		if err != nil || content == nil {
			return nil, ostree.FileHeader{}, err
		}
		if h.Symlink != "" {
			content.Close()
			link := strings.Join(at[:len(at)-len(rest)], "/")
			at = strings.Split(strings.Trim(follow(link, h.Symlink)+"/"+strings.Join(rest, "/"), "/"), "/")
			continue
		}
		defer content.Close()
		if len(rest) > 0 {
			return nil, ostree.FileHeader{}, nil // a file in the place of a directory
		}
		if size > maxSmallFile {
			return nil, h, fmt.Errorf("%s has %d bytes, at most %d", name, size, maxSmallFile)
		}
		var buf bytes.Buffer
		_, err = io.Copy(&buf, io.LimitReader(content, maxSmallFile))
		return buf.Bytes(), h, err
	}
	return nil, ostree.FileHeader{}, fmt.Errorf("%s: too many symbolic links", name)
}

// maxLinks bounds how many links lead to one file. Source: Linux, include/linux/namei.h (MAXSYMLINKS).
const maxLinks = 40

// openOnWay opens the first file or link that a path meets, and gives what of the path is left after it; nil
// content where the path leads nowhere or to a directory.
func openOnWay(r opener, t *tree.Tree, at []string) (h ostree.FileHeader, content io.ReadCloser, size int64, rest []string, err error) {
	for i := range at {
		e, ok, err := t.Lookup(placeInTree(strings.Join(at[:i+1], "/")))
		if err != nil || !ok {
			return h, nil, 0, nil, err
		}
		if e.Dir {
			continue
		}
		h, size, content, err := r.OpenFile(e.File)
		return h, content, size, at[i+1:], err
	}
	return h, nil, 0, nil, nil
}

// guestPath is a path of a tree as the guest sees it: defaults of /etc lie in usr/etc there.
func guestPath(p string) string {
	if rest, ok := strings.CutPrefix(p, "usr/etc/"); ok {
		return "etc/" + rest
	}
	return p
}

// placeInTree is the reverse of guestPath.
func placeInTree(p string) string {
	if p == "etc" || strings.HasPrefix(p, "etc/") {
		return "usr/" + p
	}
	return p
}

// follow gives where a link at a path of the guest leads, as a path of the guest; it never leads above the root.
func follow(link, target string) string {
	if strings.HasPrefix(target, "/") {
		return strings.TrimPrefix(path.Clean(target), "/")
	}
	return strings.TrimPrefix(path.Join("/", path.Dir(link), target), "/")
}
