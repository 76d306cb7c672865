// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// smallFile is up to what size content is held in memory: hashed first, written only if the object is new, and under
// its final name at once. Larger content is hashed while it is written to a temporary file.
const smallFile = 1 << 20

// PutMetadata stages an object whose name is the checksum of its bytes.
func (tx *Tx) PutMetadata(t ostree.ObjectType, data []byte) (ostree.Checksum, error) {
	c := ostree.SumBytes(data)
	return c, tx.putMetadata(object{t, c}, data)
}

func (tx *Tx) putMetadata(o object, data []byte) error {
	if len(data) > ostree.MaxMetadataSizeBytes {
		return fmt.Errorf("write object %s: %d bytes, at most %d allowed", o, len(data), ostree.MaxMetadataSizeBytes)
	}
	mine, err := tx.claim(o)
	if !mine {
		return err
	}
	if err == nil {
		err = tx.writePlain(stagedName(o), data)
	}
	return tx.settle(o, err)
}

// PutDirTree stages what a directory holds. Part of tree.Sink.
func (tx *Tx) PutDirTree(t ostree.DirTree) (ostree.Checksum, error) {
	if err := t.Check(); err != nil {
		return ostree.Checksum{}, fmt.Errorf("write dirtree: %w", err)
	}
	return tx.PutMetadata(ostree.TypeDirTree, t.Encode())
}

// PutDirMeta stages a directory's own metadata. Part of tree.Sink.
func (tx *Tx) PutDirMeta(m ostree.DirMeta) (ostree.Checksum, error) {
	if err := m.Check(); err != nil {
		return ostree.Checksum{}, fmt.Errorf("write dirmeta: %w", err)
	}
	return tx.PutMetadata(ostree.TypeDirMeta, m.Encode())
}

// PutCommit stages a commit.
func (tx *Tx) PutCommit(c ostree.Commit) (ostree.Checksum, error) {
	return tx.PutMetadata(ostree.TypeCommit, c.Encode())
}

// DirTree returns what a directory holds, from what is staged or from the repository. Part of tree.Source.
func (tx *Tx) DirTree(c ostree.Checksum) (ostree.DirTree, error) {
	data, err := tx.stagedMetadata(object{ostree.TypeDirTree, c})
	if data == nil && err == nil {
		return tx.r.DirTree(c)
	}
	if err != nil {
		return ostree.DirTree{}, err
	}
	return ostree.ParseDirTree(data)
}

// DirMeta returns a directory's own metadata, from what is staged or from the repository. Part of tree.Source.
func (tx *Tx) DirMeta(c ostree.Checksum) (ostree.DirMeta, error) {
	data, err := tx.stagedMetadata(object{ostree.TypeDirMeta, c})
	if data == nil && err == nil {
		return tx.r.DirMeta(c)
	}
	if err != nil {
		return ostree.DirMeta{}, err
	}
	return ostree.ParseDirMeta(data)
}

// StagedMetadata reads back a metadata object of this transaction, or reads it from the repository.
//
//	errors  ErrNotFound
func (tx *Tx) StagedMetadata(t ostree.ObjectType, c ostree.Checksum) ([]byte, error) {
	data, err := tx.stagedMetadata(object{t, c})
	if data == nil && err == nil {
		return tx.r.Metadata(t, c)
	}
	return data, err
}

// stagedMetadata reads back an object of this transaction; nil if it is not staged.
func (tx *Tx) stagedMetadata(o object) ([]byte, error) {
	if !tx.isStaged(o) {
		return nil, nil
	}
	return durable.ReadFile(tx.stage.path+"/"+stagedName(o), ostree.MaxMetadataSizeBytes)
}

// create makes a new file in the staging folder.
func (tx *Tx) create(name string, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(tx.stage.fd, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// writeAll writes data to fd.
func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && err != unix.EINTR {
			return err
		}
		data = data[max(n, 0):]
	}
	return nil
}

// writeAll writes data to fd, and has what is written brought to disk from time to time.
func (tx *Tx) writeAll(fd int, data []byte) error {
	if tx.r.set.fsync && !tx.r.set.perObjectFsync {
		tx.flush.wrote(len(data), tx.stage.path)
	}
	return writeAll(fd, data)
}

// writePlain stages a file that has no metadata of its own, mode 0644.
func (tx *Tx) writePlain(name string, data []byte) error {
	fd, err := tx.create(name, 0o644)
	if err == unix.EEXIST { // an earlier try broke off
		unix.Unlinkat(tx.stage.fd, name, 0)
		fd, err = tx.create(name, 0o644)
	}
	if err != nil {
		return err
	}
	if err = writeAll(fd, data); err == nil && tx.stage.umask&0o644 != 0 {
		err = unix.Fchmod(fd, 0o644)
	}
	if err == nil {
		err = tx.syncEach(fd, name)
	}
	return errors.Join(err, unix.Close(fd))
}

// syncEach brings one staged file to disk where the repository wants that.
func (tx *Tx) syncEach(fd int, name string) error {
	if !tx.r.set.fsync || !tx.r.set.perObjectFsync {
		return nil
	}
	return durable.SyncDataFD(fd, name)
}

// PutFile stages a regular file or symlink and returns its name. size is the content's length in bytes, or -1 if the
// caller does not know it; content may be nil for a symlink.
//
//	errors  if content is not size bytes long; in a bare repository, if the owner can not be set
func (tx *Tx) PutFile(h ostree.FileHeader, size int64, content io.Reader) (ostree.Checksum, error) {
	return tx.putFile(h, size, content, nil)
}

// PutFileAs is PutFile for content that must have the name want. It does not look whether the repository has the object
// already: see Has.
//
//	errors  ostree.ErrCorrupt if it has another; nothing is staged then
func (tx *Tx) PutFileAs(want ostree.Checksum, h ostree.FileHeader, size int64, content io.Reader) error {
	_, err := tx.putFile(h, size, content, &want)
	return err
}

// PutFileFrom is PutFile for the content of an open file, from its beginning. It need not be at its beginning.
func (tx *Tx) PutFileFrom(h ostree.FileHeader, f *os.File) (ostree.Checksum, error) {
	fi, err := f.Stat()
	if err != nil {
		return ostree.Checksum{}, err
	}
	if fi.Size() > smallFile {
		if c, ok, err := tx.putClone(h, int(f.Fd())); ok || err != nil {
			return c, err
		}
	}
	return tx.putFile(h, fi.Size(), io.NewSectionReader(f, 0, fi.Size()), nil)
}

func (tx *Tx) putFile(h ostree.FileHeader, size int64, content io.Reader, want *ostree.Checksum) (ostree.Checksum, error) {
	if err := h.Check(); err != nil {
		return ostree.Checksum{}, fmt.Errorf("write file: %w", err)
	}
	if err := tx.ctx.Err(); err != nil {
		return ostree.Checksum{}, err
	}
	if h.IsSymlink() || content == nil {
		if size > 0 {
			return ostree.Checksum{}, fmt.Errorf("write file: no content, wanted %d bytes", size)
		}
		return tx.putSmall(h, nil, want)
	}
	buf := tx.codecs.buffer()
	defer tx.codecs.release(buf)
	head := (*buf)[:smallFile+1]
	n, err := io.ReadFull(content, head)
	switch {
	case err == nil:
		return tx.putLarge(h, size, head, content, want)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return ostree.Checksum{}, err
	case size >= 0 && int64(n) != size:
		return ostree.Checksum{}, fmt.Errorf("write file: content has %d bytes, wanted %d: %w", n, size, ostree.ErrCorrupt)
	}
	return tx.putSmall(h, head[:n], want)
}

// putSmall stages a file whose content is at hand.
func (tx *Tx) putSmall(h ostree.FileHeader, data []byte, want *ostree.Checksum) (ostree.Checksum, error) {
	hash := sha256.New()
	hash.Write(h.Prefix())
	hash.Write(data)
	o := object{t: ostree.TypeFile}
	hash.Sum(o.c[:0])
	if err := checkName(o.c, want); err != nil {
		return o.c, err
	}
	mine, err := tx.claimNamed(o, want)
	if !mine {
		return o.c, err
	}
	if err == nil {
		tx.stats.bytes.Add(int64(len(data)))
		err = tx.writeSmall(o, h, data)
	}
	return o.c, tx.settleFile(o, h, err)
}

// settleFile ends the claim of a file object.
func (tx *Tx) settleFile(o object, h ostree.FileHeader, err error) error {
	err = tx.settle(o, err)
	if err == nil && tx.r.mode == BareSplitXattrs {
		err = tx.putSplitXattrs(o.c, h.Xattrs)
	}
	return err
}

func checkName(got ostree.Checksum, want *ostree.Checksum) error {
	if want != nil && got != *want {
		return fmt.Errorf("file %s: header and content have checksum %s: %w", want, got, ostree.ErrCorrupt)
	}
	return nil
}

func (tx *Tx) writeSmall(o object, h ostree.FileHeader, data []byte) error {
	name := stagedName(o)
	if h.IsSymlink() && tx.r.mode != BareUser && tx.r.mode != Archive {
		return tx.writeLink(name, h)
	}
	if tx.r.mode == Archive {
		packed, err := tx.codecs.deflate(h, data)
		if err != nil {
			return err
		}
		defer tx.codecs.releasePacked(packed)
		data = packed.Bytes()
	} else if h.IsSymlink() {
		data = []byte(h.Symlink + "\x00") // as libostree has it
	}
	if err := tx.budget.take(int64(len(data))); err != nil {
		return err
	}
	mode := tx.fileMode(h) & 0o777
	fd, err := tx.create(name, mode)
	if err != nil {
		return err
	}
	if err = tx.writeAll(fd, data); err == nil && !h.IsSymlink() {
		err = tx.sharePayload(fd, o, int64(len(data)))
	}
	if err == nil {
		err = tx.dress(fd, mode&^tx.stage.umask, h)
	}
	if err == nil {
		err = tx.syncEach(fd, name)
	}
	return errors.Join(err, unix.Close(fd))
}

// fileMode is the permission that the file of an object gets.
func (tx *Tx) fileMode(h ostree.FileHeader) uint32 {
	switch tx.r.mode {
	case Bare, BareSplitXattrs:
		return h.Mode & ostree.ModePerm
	case BareUser:
		if h.IsSymlink() {
			return 0o644
		}
		return h.Mode&0o775 | 0o400 // the owner must be able to read it
	case BareUserOnly:
		return h.Mode & ostree.ModePerm
	}
	return 0o644
}

// dress gives a new file, whose content is written and whose mode is has, the owner, xattrs, mode and time of its
// object.
func (tx *Tx) dress(fd int, has uint32, h ostree.FileHeader) error {
	switch tx.r.mode {
	case Bare, BareSplitXattrs:
		if err := tx.chown(func(u, g int) error { return unix.Fchown(fd, u, g) }, h); err != nil {
			return err
		}
		if tx.r.mode == Bare && !tx.r.set.disableXattrs {
			if err := setFDXattrs(fd, h.Xattrs); err != nil {
				return err
			}
		}
	case BareUser:
		if err := unix.Fsetxattr(fd, ostree.UserMetaXattr, ostree.EncodeUserMeta(h), 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", ostree.UserMetaXattr, err)
		}
	case BareUserOnly:
		if err := checkUserOnly(h); err != nil {
			return err
		}
	}
	if mode := tx.fileMode(h); mode != has {
		if err := unix.Fchmod(fd, mode); err != nil {
			return err
		}
	}
	if tx.r.mode == Archive {
		return nil
	}
	return zeroTime(fd)
}

// checkUserOnly fails where a bare-user-only repository can not hold what h says.
func checkUserOnly(h ostree.FileHeader) error {
	if h.UID != 0 || h.GID != 0 || len(h.Xattrs) != 0 || !h.IsSymlink() && h.Mode&ostree.ModePerm&^0o775 != 0 {
		return fmt.Errorf("bare-user-only: owner %d:%d, mode %#o, %d xattrs: wanted 0:0, at most 0775, none",
			h.UID, h.GID, h.Mode, len(h.Xattrs))
	}
	return nil
}

// zeroTime sets the modification time that all files of a tree have, 0.
//
//	source  ostree src/libostree/ostree-core.h, OSTREE_TIMESTAMP
func zeroTime(fd int) error {
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {}}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("set time: %w", e)
	}
	return nil
}

// chown sets the owner unless new files have it anyway.
func (tx *Tx) chown(set func(uid, gid int) error, h ostree.FileHeader) error {
	if h.UID == tx.stage.uid && h.GID == tx.stage.grp {
		return nil
	}
	err := set(int(h.UID), int(h.GID))
	if err == unix.EPERM {
		return fmt.Errorf("set owner %d:%d: %w (a bare repository needs root; use mode bare-user)", h.UID, h.GID, err)
	}
	return err
}

// writeLink stages a symlink object that is a symlink.
func (tx *Tx) writeLink(name string, h ostree.FileHeader) error {
	if tx.r.mode == BareUserOnly {
		if err := checkUserOnly(h); err != nil {
			return err
		}
	}
	if err := unix.Symlinkat(h.Symlink, tx.stage.fd, name); err != nil {
		return err
	}
	if tx.r.mode == BareUserOnly {
		return nil
	}
	chown := func(u, g int) error { return unix.Fchownat(tx.stage.fd, name, u, g, unix.AT_SYMLINK_NOFOLLOW) }
	if err := tx.chown(chown, h); err != nil {
		return err
	}
	if tx.r.mode == BareSplitXattrs || tx.r.set.disableXattrs {
		return nil
	}
	return setLinkXattrs(tx.stage.fd, name, h.Xattrs)
}

// tmpName is a new name at the top of the staging folder.
func (tx *Tx) tmpName() string {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.tmp++
	return fmt.Sprintf("tmp-%d", tx.tmp)
}

// putLarge stages content that begins with head and goes on in rest.
func (tx *Tx) putLarge(h ostree.FileHeader, size int64, head []byte, rest io.Reader, want *ostree.Checksum) (ostree.Checksum, error) {
	if size >= 0 {
		if size < int64(len(head)) {
			return ostree.Checksum{}, fmt.Errorf("write file: content is longer than %d bytes: %w", size, ostree.ErrCorrupt)
		}
		rest = io.LimitReader(rest, size-int64(len(head))+1)
	}
	tmp := tx.tmpName()
	fd, err := tx.create(tmp, 0o600)
	if err != nil {
		return ostree.Checksum{}, err
	}
	c, n, err := tx.fillLarge(fd, h, size, head, rest)
	if err == nil {
		err = checkName(c, want)
	}
	return c, tx.finishLarge(tmp, fd, h, c, n, err)
}

// fillLarge writes the content, hashed on the way, and returns its length in bytes too.
func (tx *Tx) fillLarge(fd int, h ostree.FileHeader, size int64, head []byte, rest io.Reader) (ostree.Checksum, int64, error) {
	hash := ostree.NewFileHasher(h)
	var err error
	if tx.r.mode == Archive {
		err = tx.deflateLarge(fd, h, hash, head, rest)
	} else {
		err = tx.copyLarge(fd, hash, head, rest)
	}
	if err != nil {
		return ostree.Checksum{}, 0, fmt.Errorf("write file: %w", err)
	}
	if n := hash.SizeBytes(); size >= 0 && n != size {
		return ostree.Checksum{}, 0, fmt.Errorf("write file: content has %d bytes, wanted %d: %w", n, size, ostree.ErrCorrupt)
	}
	return hash.Sum(), hash.SizeBytes(), nil
}

func (tx *Tx) copyLarge(fd int, hash *ostree.FileHasher, head []byte, rest io.Reader) error {
	for n := len(head); ; {
		if err := tx.budget.take(int64(n)); err != nil {
			return err
		}
		hash.Write(head[:n])
		if err := tx.writeAll(fd, head[:n]); err != nil {
			return err
		}
		var err error
		n, err = io.ReadFull(rest, head)
		if err == io.EOF {
			return nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return err
		}
		if cerr := tx.ctx.Err(); cerr != nil {
			return cerr
		}
	}
}

// finishLarge gives a temporary file, whose content has that many bytes, its name, if it is new, or deletes it.
func (tx *Tx) finishLarge(tmp string, fd int, h ostree.FileHeader, c ostree.Checksum, hashed int64, err error) error {
	o := object{ostree.TypeFile, c}
	mine := false
	if err == nil {
		mine, err = tx.claim(o)
	}
	if mine && err == nil {
		tx.stats.bytes.Add(hashed)
		err = tx.sharePayload(fd, o, hashed)
	}
	if mine && err == nil {
		err = tx.dress(fd, 0o600&^tx.stage.umask, h)
	}
	if mine && err == nil {
		err = tx.syncEach(fd, tmp)
	}
	err = errors.Join(err, unix.Close(fd))
	if mine && err == nil {
		err = durable.RenameAt(durable.At{Dir: tx.stage.fd, Name: tmp},
			durable.At{Dir: tx.stage.fd, Name: stagedName(o)}, true)
	}
	if !mine || err != nil {
		unix.Unlinkat(tx.stage.fd, tmp, 0)
	}
	if mine {
		return tx.settleFile(o, h, err)
	}
	return err
}

// putClone stages a large file by sharing its blocks with src, where the file system can do that. The copy is hashed,
// not the source, which may change meanwhile.
func (tx *Tx) putClone(h ostree.FileHeader, src int) (c ostree.Checksum, ok bool, err error) {
	tx.mu.Lock()
	no := tx.noClone || tx.r.mode == Archive
	tx.mu.Unlock()
	if no || h.IsSymlink() || h.Check() != nil {
		return c, false, nil
	}
	tmp := tx.tmpName()
	fd, err := tx.create(tmp, 0o600)
	if err != nil {
		return c, false, err
	}
	if unix.IoctlFileClone(fd, src) != nil {
		tx.mu.Lock()
		tx.noClone = true
		tx.mu.Unlock()
		return c, false, errors.Join(unix.Close(fd), unix.Unlinkat(tx.stage.fd, tmp, 0))
	}
	buf := tx.codecs.buffer()
	defer tx.codecs.release(buf)
	hash := ostree.NewFileHasher(h)
	_, err = io.CopyBuffer(hash, struct{ io.Reader }{&fdReader{fd}}, *buf)
	c = hash.Sum()
	return c, true, tx.finishLarge(tmp, fd, h, c, hash.SizeBytes(), err)
}
