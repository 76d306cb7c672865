// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// A payload link is a symlink, named by the checksum of a file's content alone, to a file object with that content, so
// that the next file of the same content and other metadata can share its blocks.
//
//	source  ostree src/libostree/ostree-repo-commit.c, _create_payload_link

// payloadPrefix begins the target of a payload link: the folder of the link lies beside that of the file.
const payloadPrefix = "../"

// payloadTarget returns the file object that the payload link names.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) payloadTarget(payload ostree.Checksum) (ostree.Checksum, error) {
	target, err := readlinkAt(r.objdir(), r.objectPath(object{ostree.TypePayloadLink, payload}))
	if err == unix.ENOENT {
		return ostree.Checksum{}, ErrNotFound
	}
	if err != nil {
		return ostree.Checksum{}, err
	}
	path, ok := strings.CutPrefix(target, payloadPrefix)
	c, t, _, err := ostree.ParseObjectPath(path)
	if !ok || err != nil || t != ostree.TypeFile {
		return c, fmt.Errorf("payload link %s names %.200q: %w", payload, target, ostree.ErrCorrupt)
	}
	return c, nil
}

// sharePayload makes the new file fd, which becomes the file object o, share its blocks with a file of the same content,
// or notes it for those that come after, where the configuration asks for that and the file system can.
func (tx *Tx) sharePayload(fd int, o object, sizeBytes int64) error {
	if uint64(sizeBytes) < tx.r.set.payloadBytes || sizeBytes == 0 || tx.r.mode == Archive || !tx.canClone() {
		return nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(preader(fd), 0, sizeBytes)); err != nil {
		return err
	}
	link := object{t: ostree.TypePayloadLink}
	hash.Sum(link.c[:0])
	if c, err := tx.r.payloadTarget(link.c); err == nil {
		src, _, err := tx.r.openRegular(object{ostree.TypeFile, c})
		if err == nil {
			unix.IoctlFileClone(fd, src) // the content is there in any case
			unix.Close(src)
		}
		return nil
	}
	mine, err := tx.claim(link)
	if !mine || err != nil {
		return err
	}
	target := payloadPrefix + tx.r.objectPath(o)
	return tx.settle(link, unix.Symlinkat(target, tx.stage.fd, stagedName(link)))
}

// preader reads at an offset of a descriptor.
type preader int

func (p preader) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(int(p), b, off)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// canClone finds out, once, whether files of the repository can share blocks.
func (tx *Tx) canClone() bool {
	tx.cloneOnce.Do(func() {
		src, err := os.Open(filepath.Join(tx.r.path, "config"))
		if err != nil {
			return
		}
		defer src.Close()
		fd, err := tx.create("probe-clone", 0o600)
		if err != nil {
			return
		}
		tx.clones = unix.IoctlFileClone(fd, int(src.Fd())) == nil
		unix.Close(fd)
		unix.Unlinkat(tx.stage.fd, "probe-clone", 0)
	})
	return tx.clones
}
