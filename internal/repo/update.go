// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// UpdateCheckout makes dest, which holds a checkout of from, hold to, and touches only what differs. Between two of
// its steps dest is neither: who needs one or the other updates a folder that nobody looks at and swaps then.
//
//	errors  if dest does not hold from, or as Checkout has them; dest is then to be thrown away
func (r *Repo) UpdateCheckout(ctx context.Context, from, to *tree.Tree, dest string) error {
	return r.UpdateCheckoutWith(ctx, from, to, dest, CheckoutOptions{UserMode: r.mode == BareUser})
}

// UpdateCheckoutWith is UpdateCheckout of a checkout that was made with these options. Union and Subpath do not count.
func (r *Repo) UpdateCheckoutWith(ctx context.Context, from, to *tree.Tree, dest string, o CheckoutOptions) error {
	changes, err := tree.Diff(from, to)
	if err != nil {
		return fmt.Errorf("update checkout %s: %w", dest, err)
	}
	top, err := os.Open(dest)
	if err != nil {
		return fmt.Errorf("update checkout: %w", err)
	}
	defer top.Close()
	o.Union = UnionNone
	u := &update{checkout: newCheckout(ctx, r, o), to: to, top: int(top.Fd()), dir: -1, touched: map[string]bool{}}
	defer u.stop(nil)
	defer u.closeDir()
	err = u.apply(changes)
	if err == nil && !o.NoSync && len(changes) > 0 {
		err = durable.SyncFS(dest)
	}
	if err != nil {
		return fmt.Errorf("update checkout %s: %w", dest, err)
	}
	return nil
}

// update is one run of UpdateCheckout.
type update struct {
	*checkout
	to      *tree.Tree
	top     int
	dir     int // the directory that was opened last, at dirPath; -1 for none
	dirPath string
	touched map[string]bool // directories whose metadata must be set again
}

func (u *update) apply(changes []tree.Change) error {
	if u.o.Skip != nil {
		changes = slices.DeleteFunc(changes, func(c tree.Change) bool { return u.skipped(c.Path) })
	}
	for i := len(changes) - 1; i >= 0; i-- { // what a directory holds goes before it
		c := changes[i]
		if c.Kind == tree.Removed || c.Kind == tree.Modified {
			if err := u.remove(c.Path, c.Old.Dir); err != nil {
				return fmt.Errorf("remove %s: %w", c.Path, err)
			}
		}
	}
	for _, c := range changes {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		var err error
		switch {
		case c.Kind == tree.Removed:
		case c.Kind == tree.MetaChanged:
			u.touched[c.Path] = true
		case c.New.Dir:
			err = u.mkdir(c.Path)
		default:
			err = u.put(c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Path, err)
		}
	}
	return u.dressTouched()
}

// skipped reports whether the path or a directory above it is left out of the checkout.
func (u *update) skipped(p string) bool {
	for ; p != "." && p != ""; p = path.Dir(p) {
		if u.o.Skip(p) {
			return true
		}
	}
	return false
}

func (u *update) closeDir() {
	if u.dir >= 0 {
		unix.Close(u.dir)
		u.dir = -1
	}
}

// openDir opens a directory of dest without following links, and keeps it until another is asked for.
func (u *update) openDir(p string) (int, error) {
	if u.dir >= 0 && u.dirPath == p {
		return u.dir, nil
	}
	u.closeDir()
	name := p
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(u.top, name, &how)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p, Err: err}
	}
	u.dir, u.dirPath = fd, p
	return fd, nil
}

// parent opens the directory of p for a change, and notes that.
func (u *update) parent(p string) (int, string, error) {
	dir, name := path.Split(p)
	dir = path.Clean("/" + dir)[1:]
	fd, err := u.openDir(dir)
	if err != nil || u.touched[dir] {
		return fd, name, err
	}
	u.touched[dir] = true
	if unix.Geteuid() != 0 { // a read-only directory of our own; its mode comes back at the end
		err = unix.Fchmod(fd, 0o700)
	}
	return fd, name, err
}

func (u *update) remove(p string, isDir bool) error {
	fd, name, err := u.parent(p)
	if err != nil {
		return err
	}
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
		delete(u.touched, p)
		if u.dirPath == p {
			u.closeDir()
		}
	}
	return unix.Unlinkat(fd, name, flags)
}

func (u *update) mkdir(p string) error {
	fd, name, err := u.parent(p)
	if err != nil {
		return err
	}
	u.touched[p] = true
	return unix.Mkdirat(fd, name, 0o700)
}

func (u *update) put(c tree.Change) error {
	fd, name, err := u.parent(c.Path)
	if err != nil {
		return err
	}
	own := false
	for dir := path.Dir(c.Path); dir != "." && !own; dir = path.Dir(dir) {
		own = u.ownPrefix(dir)
	}
	return u.file(fd, c.Path, ostree.TreeFile{Name: name, Checksum: c.New.File}, own)
}

// dressTouched sets the metadata of the directories that were made or changed.
func (u *update) dressTouched() error {
	dirs := make([]string, 0, len(u.touched))
	for p := range u.touched {
		dirs = append(dirs, p)
	}
	slices.Sort(dirs)
	for i := len(dirs) - 1; i >= 0; i-- { // below first: the mode of one above may shut us out
		e, ok, err := u.to.Lookup(dirs[i])
		if err != nil {
			return err
		}
		if !ok || !e.Dir {
			return fmt.Errorf("internal error: %q is no directory of the new tree", dirs[i])
		}
		fd, err := u.openDir(dirs[i])
		if err != nil {
			return err
		}
		if err := u.dressDir(fd, dirs[i], e.Meta); err != nil {
			return fmt.Errorf("%s: %w", dirs[i], err)
		}
	}
	return nil
}
