// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/sandbox"
)

// Limits for what a guest can put into its /etc. Real ones have 3,000 entries and 5 levels.
const (
	maxDepth   = 64
	maxEntries = 500_000
	// maxBytes is what files say that they hold, together: an empty one can say 16 TB, and comparing or copying it takes that long.
	maxBytes = 16 << 30
)

// dir is a directory held open; all steps are relative to it and follow no link.
type dir struct {
	f    *os.File
	name string // for messages
}

// finder opens files by their paths below a directory. Asked in sorted order it opens each folder once.
type finder struct {
	dir
	at     string
	parent dir
}

// openPath opens a regular file, following no link.
func (f *finder) openPath(p string) (io.ReadCloser, error) {
	if at := path.Dir(p); f.parent.f == nil || at != f.at {
		f.close()
		parent, err := f.walkTo(at)
		if err != nil {
			return nil, err
		}
		f.parent, f.at = parent, at
	}
	return f.parent.open(path.Base(p))
}

// close closes the folder opened last, not the directory itself.
func (f *finder) close() {
	f.parent.Close()
	f.parent = dir{}
}

// openDir opens a directory by its path. Only the last element is protected: the path must be ours.
func openDir(path string) (dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return dir{os.NewFile(uintptr(fd), path), path}, nil
}

func (d dir) fd() int { return int(d.f.Fd()) }

func (d dir) Close() {
	if d.f != nil {
		d.f.Close()
	}
}

// sub opens a directory in d.
func (d dir) sub(name string) (dir, error) {
	full := path.Join(d.name, name)
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	return dir{os.NewFile(uintptr(fd), full), full}, nil
}

// walkTo opens the directory at a slash-separated path below d, each element without following links.
func (d dir) walkTo(p string) (dir, error) {
	cur, err := d.sub(".")
	if err != nil {
		return dir{}, err
	}
	if p == "." || p == "" {
		return cur, nil
	}
	for _, e := range strings.Split(p, "/") {
		next, err := cur.sub(e)
		cur.Close()
		if err != nil {
			return dir{}, err
		}
		cur = next
	}
	return cur, nil
}

func (d dir) stat(name string) (node, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return node{}, &fs.PathError{Op: "stat", Path: path.Join(d.name, name), Err: err}
	}
	n := nodeOf(&st)
	if n.kind == kindLink {
		buf := make([]byte, unix.PathMax)
		c, err := unix.Readlinkat(d.fd(), name, buf)
		if err != nil {
			return node{}, &fs.PathError{Op: "readlink", Path: path.Join(d.name, name), Err: err}
		}
		n.link = string(buf[:c])
	}
	return n, nil
}

func (d dir) names() ([]string, error) {
	f, err := d.sub(".") // a fresh offset
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.f.Readdirnames(maxEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// open opens a regular file for reading. A file that was exchanged for something else meanwhile is refused.
func (d dir) open(name string) (*os.File, error) {
	full := path.Join(d.name, name)
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, fmt.Errorf("open %s: not a regular file", full)
	}
	return f, nil
}

type kind uint8

const (
	kindOther kind = iota
	kindFile
	kindDir
	kindLink
)

// node is what counts of an entry for a merge; xattrs do not, as in OSTree.
type node struct {
	kind     kind
	mode     uint32 // permission bits with setuid, setgid, sticky
	uid, gid uint32
	size     int64
	link     string
	dev, ino uint64
	sec      int64
	nsec     int64
}

func nodeOf(st *unix.Stat_t) node {
	n := node{mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, size: st.Size, dev: uint64(st.Dev), ino: st.Ino, sec: int64(st.Mtim.Sec), nsec: int64(st.Mtim.Nsec)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.kind = kindFile
	case unix.S_IFDIR:
		n.kind = kindDir
	case unix.S_IFLNK:
		n.kind = kindLink
	}
	return n
}

// listing is a directory tree by its slash-separated paths, without the root.
type listing map[string]node

// list reads the tree below d.
func list(d dir) (listing, error) {
	l := listing{}
	if err := l.read(d, "", 0); err != nil {
		return l, err
	}
	sum, largest := int64(0), ""
	for p, n := range l {
		if n.kind != kindFile {
			continue
		}
		sum += min(n.size, maxBytes+1)
		if big := l[largest]; n.size > big.size || n.size == big.size && p < largest {
			largest = p
		}
	}
	if sum > maxBytes {
		return l, fmt.Errorf("read %s: its files have more than %d bytes, %s alone %d", d.name, int64(maxBytes), largest, l[largest].size)
	}
	return l, nil
}

func (l listing) read(d dir, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("read %s: more than %d levels", d.name, maxDepth)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := d.stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a running guest removed it
		}
		if err != nil {
			return err
		}
		p := path.Join(prefix, name)
		l[p] = n
		if len(l) > maxEntries {
			return fmt.Errorf("read %s: more than %d entries", d.name, maxEntries)
		}
		if n.kind != kindDir {
			continue
		}
		sub, err := d.sub(name)
		if err != nil {
			return err
		}
		err = l.read(sub, p, depth+1)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// copier copies entries with owner, mode, xattrs and time.
type copier struct {
	owners bool // set owners: we are root
}

// copyXattrs carries over what may be set; labels and capabilities need root.
func (c copier) copyXattrs(from, to *os.File) error {
	src, dst := int(from.Fd()), int(to.Fd())
	size, err := unix.Flistxattr(src, nil)
	if err != nil || size == 0 {
		return ignoreUnsupported(err)
	}
	buf := make([]byte, size)
	if size, err = unix.Flistxattr(src, buf); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if name == "" || name == "user.ostreemeta" || strings.HasPrefix(name, "trusted.overlay.") { // "" = a mount hides all there are
			continue
		}
		n, err := unix.Fgetxattr(src, name, nil)
		if err != nil {
			return fmt.Errorf("read xattr %s of %s: %w", name, from.Name(), err)
		}
		value := make([]byte, n)
		if n, err = unix.Fgetxattr(src, name, value); err != nil {
			return fmt.Errorf("read xattr %s of %s: %w", name, from.Name(), err)
		}
		if err := unix.Fsetxattr(dst, name, value[:n], 0); err != nil && (c.owners || !errors.Is(err, unix.EPERM)) {
			if ignoreUnsupported(err) != nil {
				return fmt.Errorf("set xattr %s of %s: %w", name, to.Name(), err)
			}
		}
	}
	return nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// dress gives an open file or directory the attributes of n; from is where its xattrs come from.
func (c copier) dress(to, from *os.File, n node) error {
	if c.owners {
		if err := unix.Fchown(int(to.Fd()), int(n.uid), int(n.gid)); err != nil {
			return fmt.Errorf("set owner of %s: %w", to.Name(), err)
		}
	}
	if err := unix.Fchmod(int(to.Fd()), n.mode); err != nil { // after chown, which clears setuid
		return fmt.Errorf("set mode of %s: %w", to.Name(), err)
	}
	if from == nil {
		return nil
	}
	return c.copyXattrs(from, to)
}

// file copies a regular file into a directory where the name is free.
func (c copier) file(from dir, to dir, name string, n node) error {
	src, err := from.open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	full := path.Join(to.name, name)
	fd, err := unix.Openat(to.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: full, Err: err}
	}
	dst := os.NewFile(uintptr(fd), full)
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if err := c.dress(dst, src, n); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(n.sec*1e9 + n.nsec)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0)
}

// symlink makes a copy of a link where the name is free.
func (c copier) symlink(to dir, name string, n node) error {
	if err := unix.Symlinkat(n.link, to.fd(), name); err != nil {
		return &fs.PathError{Op: "symlink", Path: path.Join(to.name, name), Err: err}
	}
	if !c.owners {
		return nil
	}
	return unix.Fchownat(to.fd(), name, int(n.uid), int(n.gid), unix.AT_SYMLINK_NOFOLLOW)
}

// directory makes an empty copy of a directory where the name is free, and opens it.
func (c copier) directory(from *os.File, to dir, name string, n node) (dir, error) {
	if err := unix.Mkdirat(to.fd(), name, 0o700); err != nil {
		return dir{}, &fs.PathError{Op: "mkdir", Path: path.Join(to.name, name), Err: err}
	}
	d, err := to.sub(name)
	if err != nil {
		return d, err
	}
	if err := c.dress(d.f, from, n); err != nil {
		d.Close()
		return dir{}, err
	}
	return d, nil
}

// mountsBelow returns the mount points at or below a path.
func mountsBelow(p string) ([]string, error) {
	p, err := filepath.EvalSymlinks(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no /proc: nothing to learn
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if at := sandbox.Unescape(f[4]); at == p || strings.HasPrefix(at, p+"/") {
			out = append(out, at)
		}
	}
	return out, nil
}
