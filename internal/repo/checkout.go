// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// UnionMode says what a checkout does where dest has something already.
type UnionMode uint8

const (
	UnionNone      UnionMode = iota // dest must not exist
	UnionOverwrite                  // files of the checkout take the place of files; directories are joined
	UnionAdd                        // what is there stays
	UnionIdentical                  // what is there must be the same file
)

// CheckoutOptions change what Checkout does. Paths are slash separated, relative to the tree's root.
type CheckoutOptions struct {
	Copy         bool     // never make hard links
	CopyEmpty    bool     // never make hard links to empty files
	RequireLinks bool     // fail rather than copy what could be a hard link
	UserMode     bool     // leave owner and xattrs alone, and drop setuid bits
	CopyPrefixes []string // subtrees whose files get inodes of their own, such as "usr/etc"
	Skip         func(path string) bool
	Union        UnionMode
	Subpath      string // check out this directory of the tree only
	NoSync       bool   // the caller syncs the file system
	// Whiteouts obeys the names by which layers of containers say what of the layers below is gone. PassthroughWhiteouts
	// makes the devices by which overlayfs does, of files named .ostree-wh.NAME.
	Whiteouts, PassthroughWhiteouts bool
	// PlainDirs takes from directories the permissions that 0775 does not have.
	PlainDirs bool
	// Xattrs, if set, returns the xattrs that a file or directory gets instead of those that it has. It goes with Copy.
	Xattrs func(path string, mode uint32, xs []ostree.Xattr) []ostree.Xattr
}

// Checkout lays a tree out at dest. Files are hard links to the objects where the repository keeps them in the form
// that they have there: in bare repositories, and in bare-user ones with UserMode. Only names and dirtrees are read
// then, no content is verified.
//
//	errors  fs.ErrExist if dest exists and Union does not allow it; ErrNotFound; ostree.ErrCorrupt. What was laid
//	        out until then is left for the caller to remove
func (r *Repo) Checkout(ctx context.Context, root tree.Root, dest string, o CheckoutOptions) error {
	root, single, err := r.subtree(root, o.Subpath)
	if err != nil {
		return fmt.Errorf("checkout subpath %q: %w", o.Subpath, err)
	}
	c := newCheckout(ctx, r, o)
	parent, name := filepath.Split(filepath.Clean(dest))
	if parent == "" {
		parent = "."
	}
	top, err := os.Open(parent)
	if err != nil {
		return fmt.Errorf("checkout: %w", err)
	}
	defer top.Close()
	if single != nil {
		err = c.one(int(top.Fd()), name, *single)
	} else {
		err = c.run(int(top.Fd()), name, root)
	}
	if err == nil && !o.NoSync {
		err = durable.SyncFS(dest)
	}
	if err != nil {
		return fmt.Errorf("checkout %s: %w", dest, err)
	}
	return nil
}

// subtree finds the directory, or the one file, at a path.
func (r *Repo) subtree(root tree.Root, subpath string) (tree.Root, *ostree.TreeFile, error) {
	parts := strings.FieldsFunc(subpath, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		if part == "." {
			continue
		}
		sub, err := r.subdir(root, part)
		if err != nil && i == len(parts)-1 {
			if t, terr := r.DirTree(root.Tree); terr == nil {
				for _, f := range t.Files {
					if f.Name == part {
						return root, &f, nil
					}
				}
			}
		}
		if err != nil {
			return root, nil, err
		}
		root = sub
	}
	return root, nil, nil
}

// one lays a single file out in the directory name, which is made if it is missing.
func (c *checkout) one(top int, name string, f ostree.TreeFile) error {
	defer c.stop(nil)
	if err := unix.Mkdirat(top, name, 0o700); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	fd, err := unix.Openat(top, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	return c.file(fd, f.Name, f, false)
}

// subdir finds a directory in a directory.
func (r *Repo) subdir(root tree.Root, name string) (tree.Root, error) {
	t, err := r.DirTree(root.Tree)
	if err != nil {
		return root, err
	}
	for _, d := range t.Dirs {
		if d.Name == name {
			return tree.Root{Tree: d.Tree, Meta: d.Meta}, nil
		}
	}
	return root, fmt.Errorf("directory %q: %w", name, ErrNotFound)
}

// checkout is one run of Checkout or UpdateCheckout.
type checkout struct {
	r     *Repo
	o     CheckoutOptions
	ctx   context.Context
	stop  context.CancelCauseFunc
	slots chan struct{} // one for each further goroutine
	// link says whether files may be hard links at all; linkSymlinks the same for symlinks.
	link, linkSymlinks bool
}

func newCheckout(ctx context.Context, r *Repo, o CheckoutOptions) *checkout {
	c := &checkout{r: r, o: o, slots: make(chan struct{}, r.workers-1)}
	c.ctx, c.stop = context.WithCancelCause(ctx)
	switch r.mode {
	case Bare:
		c.link = !o.Copy && !o.UserMode
		c.linkSymlinks = c.link
	case BareUser:
		c.link = !o.Copy && o.UserMode
	case BareUserOnly:
		c.link, c.linkSymlinks = !o.Copy, !o.Copy
	case BareSplitXattrs: // where there are no xattrs
		c.link = !o.Copy && !o.UserMode
		c.linkSymlinks = c.link
	}
	return c
}

// cause returns the error that began it all instead of the cancellations that it led to.
func (c *checkout) cause(err error) error {
	if errors.Is(err, context.Canceled) {
		if cause := context.Cause(c.ctx); cause != nil {
			return cause
		}
	}
	return err
}

// job is one directory to be filled.
type job struct {
	path  string // in the tree; "" for the root
	root  tree.Root
	depth int
	own   bool // below one of CopyPrefixes
}

func (c *checkout) run(top int, name string, root tree.Root) error {
	defer c.stop(nil)
	return c.cause(c.dir(top, name, job{root: root}))
}

// dir makes the directory name in parent and fills it.
func (c *checkout) dir(parent int, name string, j job) error {
	if j.depth > maxDepth {
		return fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt)
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.makeRoom(parent, name, j.root.Tree); err != nil {
		return fmt.Errorf("%s: %w", c.show(j.path, name), err)
	}
	existed := false
	if err := unix.Mkdirat(parent, name, 0o700); err == unix.EEXIST && c.o.Union != UnionNone {
		existed = true
	} else if err != nil {
		return &os.PathError{Op: "mkdir", Path: c.show(j.path, name), Err: err}
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.show(j.path, name), Err: err}
	}
	defer unix.Close(fd)
	return c.fill(fd, j, existed)
}

func (c *checkout) show(path, name string) string {
	if path == "" {
		return name
	}
	return path
}

// fill links the files of a directory, makes its directories, and gives it its metadata; then come the directories'
// own contents, some of them in other goroutines.
func (c *checkout) fill(fd int, j job, existed bool) error {
	t, err := c.r.DirTree(j.root.Tree)
	if err != nil {
		return err
	}
	j.own = j.own || c.ownPrefix(j.path)
	for _, f := range t.Files {
		if c.o.Skip != nil && c.o.Skip(join(j.path, f.Name)) {
			continue
		}
		if err := c.file(fd, join(j.path, f.Name), f, j.own); err != nil {
			return fmt.Errorf("%s: %w", join(j.path, f.Name), err)
		}
	}
	var g errgroup.Group
	var made []*made
	for _, d := range t.Dirs {
		m, err := c.begin(fd, d, j)
		if err != nil {
			return err
		}
		if m != nil {
			made = append(made, m)
		}
	}
	if !existed {
		m, err := c.r.DirMeta(j.root.Meta)
		if err != nil {
			return err
		}
		if err := c.dressDir(fd, j.path, m); err != nil {
			return fmt.Errorf("%s: %w", c.show(j.path, "/"), err)
		}
	}
	for _, m := range made {
		select {
		case c.slots <- struct{}{}:
			g.Go(func() error {
				defer func() { <-c.slots }()
				return c.finish(fd, m)
			})
		default:
			if err := c.finish(fd, m); err != nil {
				c.stop(err)
				g.Wait()
				return err
			}
		}
	}
	return g.Wait()
}

// made is a directory that was made and is still to be filled.
type made struct {
	name    string
	j       job
	existed bool
}

// begin makes a directory, without content.
func (c *checkout) begin(parent int, d ostree.TreeDir, j job) (*made, error) {
	path := join(j.path, d.Name)
	if c.o.Skip != nil && c.o.Skip(path) {
		return nil, nil
	}
	m := &made{name: d.Name, j: job{path: path, root: tree.Root{Tree: d.Tree, Meta: d.Meta}, depth: j.depth + 1, own: j.own}}
	if err := c.makeRoom(parent, d.Name, d.Tree); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	err := unix.Mkdirat(parent, d.Name, 0o700)
	if err == unix.EEXIST && c.o.Union != UnionNone {
		m.existed, err = true, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if m.j.depth > maxDepth {
		return nil, fmt.Errorf("directories nest deeper than %d: %w", maxDepth, ostree.ErrCorrupt)
	}
	return m, c.ctx.Err()
}

// finish fills a directory that begin made.
func (c *checkout) finish(parent int, m *made) error {
	fd, err := unix.Openat(parent, m.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: m.j.path, Err: err}
	}
	defer unix.Close(fd)
	err = c.fill(fd, m.j, m.existed)
	if err != nil {
		c.stop(err)
	}
	return err
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (c *checkout) ownPrefix(path string) bool {
	for _, p := range c.o.CopyPrefixes {
		if path == strings.Trim(p, "/") {
			return true
		}
	}
	return false
}

// makeRoom does what whiteouts ask for before a directory is made.
func (c *checkout) makeRoom(parent int, name string, dir ostree.Checksum) error {
	if !c.o.Whiteouts {
		return nil
	}
	t, err := c.r.DirTree(dir)
	if err != nil {
		return err
	}
	if err := c.clearOpaque(parent, name, t); err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR && c.o.Union == UnionOverwrite {
		return unix.Unlinkat(parent, name, 0)
	}
	return nil
}

// dressDir gives a directory its owner, xattrs, mode and time.
func (c *checkout) dressDir(fd int, path string, m ostree.DirMeta) error {
	mode := m.Mode & ostree.ModePerm
	if c.o.PlainDirs || c.r.mode == BareUserOnly {
		mode &= 0o775
	}
	if c.o.Xattrs != nil {
		m.Xattrs = c.o.Xattrs(path, m.Mode, m.Xattrs)
	}
	if !c.o.UserMode && c.r.mode != BareUserOnly {
		if err := unix.Fchown(fd, int(m.UID), int(m.GID)); err != nil {
			return fmt.Errorf("set owner %d:%d: %w", m.UID, m.GID, err)
		}
		if err := setFDXattrs(fd, m.Xattrs); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	return zeroTime(fd)
}

// file lays out one file or symlink, which is at path in the tree.
func (c *checkout) file(dir int, path string, f ostree.TreeFile, own bool) error {
	if done, err := c.whiteout(dir, f); done || err != nil {
		return err
	}
	if c.link && !own {
		done, err := c.hardLink(dir, f)
		if err == unix.EEXIST {
			return c.exists(dir, path, f, own, err)
		}
		if done || err != nil {
			return err
		}
	}
	err := c.copy(dir, path, f.Name, f.Checksum)
	if errors.Is(err, unix.EEXIST) {
		return c.exists(dir, path, f, own, err)
	}
	return err
}

// hardLink makes a file a hard link to its object, here or in a parent of the same mode; false if it must be a copy.
func (c *checkout) hardLink(dir int, f ostree.TreeFile) (bool, error) {
	o := object{ostree.TypeFile, f.Checksum}
	for r := c.r; r != nil; r = r.parent {
		if r.mode != c.r.mode {
			break
		}
		if !c.isItself(r, o) {
			if r.holds(o) {
				return false, nil
			}
			continue
		}
		err := unix.Linkat(r.objdir(), r.objectPath(o), dir, f.Name, 0)
		switch err {
		case nil:
			return true, nil
		case unix.ENOENT: // perhaps a parent's
			continue
		case unix.EXDEV, unix.EMLINK, unix.EPERM: // another file system, too many links: a copy
			if c.o.RequireLinks {
				return false, fmt.Errorf("hard link to object %s: %w", o, err)
			}
			return false, nil
		}
		return false, err
	}
	if c.o.RequireLinks && c.r.parent != nil {
		return false, fmt.Errorf("object %s is not where a hard link could be made", o)
	}
	return false, nil
}

// isItself reports whether the file that holds an object is the file that it stands for.
func (c *checkout) isItself(r *Repo, o object) bool {
	if c.o.CopyEmpty {
		var st unix.Stat_t
		err := unix.Fstatat(r.objdir(), r.objectPath(o), &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Size == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return false
		}
	}
	if r.mode == BareSplitXattrs {
		return r.splitPlain(o.c)
	}
	return c.linkSymlinks || !r.standsForLink(o)
}

// standsForLink reports whether the regular file that a bare-user repository keeps stands for a symlink, or for what
// libostree copies too: an empty file, or one that its owner may not read. An object that can not be read does not: the link
// or copy that follows says why.
func (r *Repo) standsForLink(o object) bool {
	fd, st, err := r.openRegular(o)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if st.Size > ostree.MaxSymlinkLen+1 {
		return false
	}
	meta, err := fdXattr(fd, ostree.UserMetaXattr)
	if err != nil {
		return false
	}
	h, err := ostree.ParseUserMeta(meta)
	return err == nil && (h.IsSymlink() || st.Size == 0 || h.Mode&unix.S_IRUSR == 0)
}

// exists decides what becomes of a name that is taken; refusal is the error if it may not be.
func (c *checkout) exists(dir int, path string, f ostree.TreeFile, own bool, refusal error) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, f.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case c.o.Union == UnionAdd:
		return nil
	case c.o.Union == UnionOverwrite && !isDir:
		if err := unix.Unlinkat(dir, f.Name, 0); err != nil {
			return err
		}
		return c.file(dir, path, f, own)
	case c.o.Union == UnionIdentical && !isDir:
		return c.identical(dir, f, st)
	}
	return refusal
}

// identical fails unless what is there is the same file.
func (c *checkout) identical(dir int, f ostree.TreeFile, st unix.Stat_t) error {
	var ost unix.Stat_t
	err := unix.Fstatat(c.r.objdir(), c.r.objectPath(object{ostree.TypeFile, f.Checksum}), &ost, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && ost.Dev == st.Dev && ost.Ino == st.Ino {
		return nil
	}
	want, _, err := c.r.FileHeader(f.Checksum)
	if err != nil {
		return err
	}
	got, err := hashAt(dir, f.Name, func(h *ostree.FileHeader) {
		if c.o.UserMode { // owner and xattrs are not laid out, so they can not differ
			h.UID, h.GID, h.Xattrs, h.Mode = want.UID, want.GID, want.Xattrs, h.Mode|want.Mode&0o7000
		}
	})
	if err != nil {
		return err
	}
	if got != f.Checksum {
		return fmt.Errorf("is another file than the checkout's: %w", unix.EEXIST)
	}
	return nil
}
