// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// step is one change of the new etc.
type step struct {
	path string
	do   action
}

type action uint8

const (
	doCopy   action = iota // the local entry replaces what is there
	doRemove               // it goes, with all below
	doDress                // a directory gets the local attributes
)

// planEtc decides for each path by three sides: the old default, what is here, the new default.
//
//	source  ostree src/libostree/ostree-sysroot-deploy.c, merge_configuration_from; one difference: the attributes of a
//	        directory that were changed here are kept
func planEtc(t threeEtc, r *Report) ([]step, error) {
	old, local, new := t.oldFiles, &finder{dir: t.localDir}, &finder{dir: t.next}
	defer local.close()
	defer new.close()
	var steps []step
	gone := "" // a removed directory: what is below needs no word
	for _, p := range paths(t.old, t.local, t.new) {
		if accountFile[p] {
			continue // merged by entry already
		}
		if gone != "" && strings.HasPrefix(p, gone+"/") {
			continue
		}
		o, had := t.old[p]
		l, has := t.local[p]
		n, will := t.new[p]
		if has && l.kind == kindOther {
			continue
		}
		switch {
		case !has && had && will:
			steps = append(steps, step{p, doRemove})
			r.EtcRemoved = append(r.EtcRemoved, p)
			gone = p
			continue
		case !has:
			continue // a new default, or nowhere any more
		}
		unchanged, err := same(had, p, l, o, local, old)
		if err != nil {
			return nil, err
		}
		follows, err := same(had && will, p, o, n, old, new)
		if err != nil {
			return nil, err
		}
		if unchanged {
			switch {
			case follows || l.kind == kindDir:
			case will:
				r.EtcTaken = append(r.EtcTaken, p)
			default:
				r.EtcGone = append(r.EtcGone, p)
			}
			continue
		}
		if will && n.kind == kindDir && l.kind != kindDir {
			return nil, fmt.Errorf("merge etc/%s: it was changed here to something that is no folder, and the new default is a folder; move it away in /etc first", p)
		}
		if l.kind == kindDir && will && n.kind == kindDir {
			if had {
				steps = append(steps, step{p, doDress})
				r.EtcKept = append(r.EtcKept, p)
			}
			continue
		}
		equal, err := same(will, p, l, n, local, new)
		if err != nil {
			return nil, err
		}
		switch {
		case equal: // put to the new default here already
			continue
		case will && !follows:
			r.EtcConflicts = append(r.EtcConflicts, p)
		default:
			r.EtcKept = append(r.EtcKept, p)
		}
		steps = append(steps, step{p, doCopy})
	}
	return steps, nil
}

// same is sameNode where both sides are there, else false.
func same(both bool, p string, a, b node, da, db opener) (bool, error) {
	if !both {
		return false, nil
	}
	return sameNode(p, a, b, da, db)
}

// apply does one step in the new etc.
func (c copier) apply(t threeEtc, s step) error {
	name, parent := path.Base(s.path), path.Dir(s.path)
	if s.do == doRemove {
		to, err := t.next.walkTo(parent)
		if err != nil {
			return err
		}
		defer to.Close()
		return removeAt(to, name)
	}
	from, err := t.localDir.walkTo(parent)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := c.parents(t, parent)
	if err != nil {
		return err
	}
	defer to.Close()
	n := t.local[s.path]
	if s.do == doDress {
		d, err := to.sub(name)
		if err != nil {
			return err
		}
		defer d.Close()
		return c.dress(d.f, nil, n)
	}
	if err := removeAt(to, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch n.kind {
	case kindFile:
		return c.file(from, to, name, n)
	case kindLink:
		return c.symlink(to, name, n)
	default:
		src, err := from.sub(name)
		if err != nil {
			return err
		}
		defer src.Close()
		d, err := c.directory(src.f, to, name, n)
		d.Close()
		return err
	}
}

// parents opens a directory of the new etc, making what the new default dropped with the local attributes.
func (c copier) parents(t threeEtc, p string) (dir, error) {
	cur, err := t.next.sub(".")
	if err != nil || p == "." {
		return cur, err
	}
	at := ""
	for _, e := range strings.Split(p, "/") {
		at = path.Join(at, e)
		next, err := cur.sub(e)
		if errors.Is(err, fs.ErrNotExist) {
			next, err = c.directory(nil, cur, e, t.local[at])
		}
		cur.Close()
		if err != nil {
			return dir{}, err
		}
		cur = next
	}
	return cur, nil
}

// removeAt deletes name in d with all below, following no link.
func removeAt(d dir, name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if err == nil || !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return pathError("remove", d, name, err)
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", d.fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}

func pathError(op string, d dir, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path.Join(d.name, name), Err: err}
}
