// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// CollectOptions name what Run left.
type CollectOptions struct {
	Upper      string
	SourceDate int64 // seconds; the day that new lines of /etc/shadow get as their last change; 0 = none
	Rootless   bool  // Upper was written in a user namespace: everything is root's
}

// change is one path of the upper directory.
type change struct {
	path    string
	stat    unix.Stat_t
	xattrs  []ostree.Xattr
	opaque  bool
	link    string
	content ostree.Checksum
}

// Collect turns the upper directory of the overlay over t into t as the scriptlets left it. It also returns what was
// not taken over: paths of devices, sockets, locks and of what every run writes differently.
func Collect(ctx context.Context, tx *repo.Tx, t *tree.Tree, o CollectOptions) (*tree.Tree, []string, error) {
	c := &collector{tx: tx, old: t, o: o}
	if err := c.walk(""); err != nil {
		return nil, nil, fmt.Errorf("read overlay: %w", err)
	}
	if err := c.store(ctx); err != nil {
		return nil, nil, err
	}
	out, err := c.apply()
	return out, c.left, err
}

type collector struct {
	tx      *repo.Tx
	old     *tree.Tree
	o       CollectOptions
	changes []change // in the order of paths, a directory before what it holds
	left    []string
}

// leftOut are paths that are mount points of the sandbox, or whose content says when and where a run was.
var leftOut = map[string]bool{
	"etc": true, "var": true, "run": true, "tmp": true, "proc": true, "sys": true, "dev": true,
	factory + "/tmp": true, factory + "/lib/rpm-state": true, factory + "/cache/ldconfig/aux-cache": true,
	factory + "/.updated": true, "usr/etc/.updated": true, "usr/etc/.pwd.lock": true, "usr/etc/passwd-": true,
	"usr/etc/group-": true, "usr/etc/shadow-": true, "usr/etc/gshadow-": true, "usr/etc/subuid-": true, "usr/etc/subgid-": true,
}

func skipped(p string) bool {
	return leftOut[p] || strings.HasPrefix(p, "usr/etc/") && strings.HasSuffix(p, ".lock") && path.Dir(p) == "usr/etc"
}

// walk lists the upper directory. It is ours alone by now: nothing runs in the overlay.
func (c *collector) walk(dir string) error {
	entries, err := os.ReadDir(path.Join(c.o.Upper, dir))
	if err != nil {
		return err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		if skipped(p) {
			c.left = append(c.left, p)
			continue
		}
		ch := change{path: p}
		full := path.Join(c.o.Upper, p)
		if err := unix.Lstat(full, &ch.stat); err != nil {
			return &os.PathError{Op: "lstat", Path: full, Err: err}
		}
		if c.o.Rootless {
			ch.stat.Uid, ch.stat.Gid = 0, 0
		}
		switch ch.stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if ch.link, err = os.Readlink(full); err != nil {
				return err
			}
		case unix.S_IFDIR, unix.S_IFREG:
			if ch.xattrs, ch.opaque, err = readXattrs(full); err != nil {
				return err
			}
		}
		c.changes = append(c.changes, ch)
		if ch.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := c.walk(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// readXattrs keeps what belongs to a file; the overlay's own, and labels of the host's policy, do not.
func readXattrs(full string) (kept []ostree.Xattr, opaque bool, err error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(full, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &os.PathError{Op: "listxattr", Path: full, Err: err}
	}
	for _, name := range strings.Split(string(names[:n]), "\x00") {
		isOpaque := name == "trusted.overlay.opaque" || name == "user.overlay.opaque"
		keep := name == "security.capability" || name == "user.pax.flags" || name == "user.ima" || name == "security.ima"
		if !isOpaque && !keep {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(full, name, value)
		if err != nil {
			return nil, false, &os.PathError{Op: "getxattr " + name, Path: full, Err: err}
		}
		if isOpaque {
			opaque = opaque || string(value[:n]) == "y"
			continue
		}
		kept = append(kept, ostree.Xattr{Name: name, Value: value[:n:n]})
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].Name < kept[j].Name })
	return kept, opaque, nil
}

// store puts the content of all files and links, several at a time.
func (c *collector) store(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i := range c.changes {
		ch := &c.changes[i]
		kind := ch.stat.Mode & unix.S_IFMT
		if kind != unix.S_IFREG && kind != unix.S_IFLNK {
			continue
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.storeFile(ch); err != nil {
				return fmt.Errorf("store %s: %w", ch.path, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (c *collector) storeFile(ch *change) (err error) {
	h := ostree.FileHeader{UID: ch.stat.Uid, GID: ch.stat.Gid, Mode: ch.stat.Mode, Symlink: ch.link,
		Xattrs: c.withLabel(ch.path, ch.xattrs)}
	if h.Symlink != "" {
		ch.content, err = c.tx.PutFile(h, 0, nil)
		return err
	}
	f, err := os.OpenFile(path.Join(c.o.Upper, ch.path), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := c.settled(ch.path, f)
	if err != nil {
		return err
	}
	if text != nil {
		ch.content, err = c.tx.PutFile(h, int64(len(text)), bytes.NewReader(text))
		return err
	}
	ch.content, err = c.tx.PutFileFrom(h, f)
	return err
}

// settled gives the content of the files that would tell when a run was, without that; nil for all others.
func (c *collector) settled(p string, f *os.File) ([]byte, error) {
	if p == "usr/etc/shadow" {
		return c.shadow(f)
	}
	if strings.HasPrefix(p, factory+"/log/") {
		return c.logged(p)
	}
	if text, err := c.berkeley(p, f); text != nil || err != nil {
		return text, err
	}
	return c.keystore(f)
}

// logBytes limits a log that a package ships with content.
const logBytes = 16 << 20

// logged gives what a log had before the run: the file may be needed, what a run noted in it tells when it was.
func (c *collector) logged(p string) ([]byte, error) {
	e, found, err := c.old.Lookup(p)
	if err != nil || !found || e.Dir {
		return []byte{}, err
	}
	h, _, r, err := c.tx.OpenFile(e.File)
	if err != nil || h.IsSymlink() || r == nil {
		return []byte{}, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, logBytes))
	if text == nil {
		text = []byte{}
	}
	return text, err
}

// withLabel keeps the label that the tree's own file had.
func (c *collector) withLabel(p string, xattrs []ostree.Xattr) []ostree.Xattr {
	const label = "security.selinux"
	e, found, err := c.old.Lookup(p)
	if err != nil || !found {
		return xattrs
	}
	had := e.Meta.Xattrs
	if !e.Dir {
		h, _, err := c.tx.FileHeader(e.File)
		if err != nil {
			return xattrs
		}
		had = h.Xattrs
	}
	for _, x := range had {
		if x.Name == label {
			xattrs = append(xattrs, x)
		}
	}
	sort.Slice(xattrs, func(i, j int) bool { return xattrs[i].Name < xattrs[j].Name })
	return xattrs
}

// shadowBytes limits /etc/shadow.
const shadowBytes = 16 << 20

// shadow gives lines that are new the day of the source date as that of their last change: useradd writes today's.
func (c *collector) shadow(f io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, shadowBytes))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	if e, found, err := c.old.Lookup("usr/etc/shadow"); err == nil && found && !e.Dir {
		h, _, r, err := c.tx.OpenFile(e.File)
		if err != nil || h.IsSymlink() || r == nil {
			return text, err
		}
		before, err := io.ReadAll(io.LimitReader(r, shadowBytes))
		r.Close()
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(before), "\n") {
			known[line] = true
		}
	}
	day := ""
	if c.o.SourceDate > 0 {
		day = strconv.FormatInt(c.o.SourceDate/86400, 10)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if known[line] || len(fields) != 9 || fields[2] == "" || fields[2] == "0" {
			continue
		}
		fields[2] = day
		lines[i] = strings.Join(fields, ":")
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// apply edits the tree.
func (c *collector) apply() (*tree.Tree, error) {
	edit := c.old.Edit()
	made := c.scaffold()
	for _, ch := range c.changes {
		if made[ch.path] {
			continue
		}
		if err := c.applyOne(edit, ch); err != nil {
			return nil, fmt.Errorf("apply %s: %w", ch.path, err)
		}
	}
	return edit.Tree(), nil
}

// scaffold are the directories that were made for the sandbox's mounts and hold nothing.
func (c *collector) scaffold() map[string]bool {
	made := map[string]bool{}
	for _, p := range []string{factory + "/lib", factory, "usr/etc", "usr/share/factory", "usr/share", "usr"} {
		_, found, err := c.old.Lookup(p)
		holds := false
		for _, ch := range c.changes {
			holds = holds || strings.HasPrefix(ch.path, p+"/") && !made[ch.path]
		}
		made[p] = err == nil && !found && !holds
	}
	return made
}

func (c *collector) applyOne(edit *tree.Editor, ch change) error {
	e, found, err := c.old.Lookup(ch.path)
	if err != nil {
		return err
	}
	kind := ch.stat.Mode & unix.S_IFMT
	remove := func() error {
		if !found {
			return nil
		}
		err := edit.Remove(ch.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone with the directory above it
		}
		return err
	}
	switch kind {
	case unix.S_IFDIR:
		if found && (!e.Dir || ch.opaque) {
			if err := remove(); err != nil {
				return err
			}
		}
		return edit.PutDir(ch.path, ostree.DirMeta{UID: ch.stat.Uid, GID: ch.stat.Gid, Mode: ch.stat.Mode,
			Xattrs: c.withLabel(ch.path, ch.xattrs)})
	case unix.S_IFREG, unix.S_IFLNK:
		if found && e.Dir {
			if err := remove(); err != nil {
				return err
			}
		}
		return edit.PutFile(ch.path, ch.content)
	case unix.S_IFCHR:
		if ch.stat.Rdev == 0 { // whiteout
			return remove()
		}
	}
	// A device, socket or pipe: a tree has none.
	c.left = append(c.left, ch.path)
	return remove()
}
