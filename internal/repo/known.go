// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// knownInode is an object that a listing of objects/ told of.
type knownInode struct {
	ino uint64
	o   object
}

// KnownInodes returns a function for CommitTreeOptions.Known that knows every file object of a bare repository by its
// inode. It costs one listing of objects/, which also tells which metadata is there already. It is right until the transaction
// ends: nobody deletes an object as long.
func (tx *Tx) KnownInodes() (func(dev, ino uint64) (ostree.Checksum, bool), error) {
	r := tx.r
	var st unix.Stat_t
	if err := unix.Fstat(r.objdir(), &st); err != nil {
		return nil, err
	}
	if r.mode == Archive {
		return func(uint64, uint64) (ostree.Checksum, bool) { return ostree.Checksum{}, false }, nil
	}
	var lists [256][]knownInode
	var g errgroup.Group
	g.SetLimit(r.workers)
	for b := range lists {
		g.Go(func() (err error) {
			lists[b], err = r.inodesOf(byte(b))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	n := 0
	for _, list := range lists {
		n += len(list)
	}
	known := make(map[uint64]ostree.Checksum, n)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for _, list := range lists {
		for _, e := range list {
			if e.o.t == ostree.TypeFile {
				known[e.ino] = e.o.c
			} else if tx.objects[e.o] == 0 {
				tx.objects[e.o] = present
			}
		}
	}
	return func(dev, ino uint64) (ostree.Checksum, bool) {
		c, ok := known[ino]
		return c, ok && dev == st.Dev
	}, nil
}

// inodesOf lists the files, dirtrees and dirmetas whose checksums begin with b.
func (r *Repo) inodesOf(b byte) ([]knownInode, error) {
	var list []knownInode
	dir := string([]byte{hexDigits[b>>4], hexDigits[b&15]})
	err := eachInode(filepath.Join(r.path, "objects", dir), func(name []byte, ino uint64) {
		digits, kind, _ := bytes.Cut(name, []byte{'.'})
		if len(digits) != 2*len(ostree.Checksum{})-2 {
			return
		}
		e := knownInode{ino: ino}
		switch string(kind) {
		case "file":
			e.o.t = ostree.TypeFile
		case "dirtree":
			e.o.t = ostree.TypeDirTree
		case "dirmeta":
			e.o.t = ostree.TypeDirMeta
		default:
			return
		}
		e.o.c[0] = b
		if _, err := hex.Decode(e.o.c[1:], digits); err == nil {
			list = append(list, e)
		}
	})
	return list, err
}

// eachInode lists a directory with inode numbers, without a stat of each entry.
func eachInode(path string, f func(name []byte, ino uint64)) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return eachDirent(fd, make([]byte, direntBytes), func(e dirent) { f(e.name, e.ino) })
}
