// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
)

// FileHeader returns everything about a file object but its content, and the content's size in bytes.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) FileHeader(c ostree.Checksum) (ostree.FileHeader, int64, error) {
	h, size, content, err := r.OpenFile(c)
	if err != nil {
		return ostree.FileHeader{}, 0, err
	}
	return h, size, content.Close()
}

// OpenFile opens a file object: its header, its size in bytes, and its content, which is empty for a symlink. Reading
// the content fails where it is longer or shorter than the size, but is not held against the name: see OpenVerified.
//
//	errors  ErrNotFound, ostree.ErrCorrupt
func (r *Repo) OpenFile(c ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error) {
	f, err := r.openFile(c)
	for p := r.parent; p != nil && absent(err); p = p.parent {
		f, err = p.openFile(c)
	}
	if absent(err) {
		return ostree.FileHeader{}, 0, nil, notThere(object{ostree.TypeFile, c})
	}
	if err == nil {
		err = f.h.Check()
		if err != nil {
			f.content.Close()
			err = fmt.Errorf("%w: %w", err, ostree.ErrCorrupt)
		}
	}
	if err != nil {
		return ostree.FileHeader{}, 0, nil, fmt.Errorf("file %s: %w", c, err)
	}
	return f.h, f.size, f.content, nil
}

// openFile opens a file object of this repository, not of a parent.
func (r *Repo) openFile(c ostree.Checksum) (openFile, error) {
	switch r.mode {
	case Archive:
		return r.openArchive(c)
	case BareUser:
		return r.openBareUser(c)
	case BareSplitXattrs:
		return r.openSplit(c)
	}
	return r.openBare(c)
}

// absent reports whether what openFile returned says that there is no such object.
func absent(err error) bool { return err == unix.ENOENT || errors.Is(err, ErrNotFound) }

// OpenVerified is OpenFile with a content whose last Read returns ostree.ErrCorrupt instead of io.EOF if header and
// content are not what the name says. A symlink, of which there is nothing to read, is verified at once.
func (r *Repo) OpenVerified(c ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error) {
	h, size, content, err := r.OpenFile(c)
	if err == nil && h.IsSymlink() {
		var got ostree.Checksum
		if got, _, err = h.Sum(nil); err == nil && got != c {
			err = fmt.Errorf("file %s: the symlink has checksum %s: %w", c, got, ostree.ErrCorrupt)
		}
		if err != nil {
			content.Close()
		}
	}
	if err != nil {
		return h, size, nil, err
	}
	return h, size, &verifier{content, ostree.NewFileHasher(h), c}, nil
}

type verifier struct {
	io.ReadCloser
	hash *ostree.FileHasher
	want ostree.Checksum
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("file %s: %w", v.want, err)
	}
	if err == io.EOF {
		if got := v.hash.Sum(); got != v.want {
			err = fmt.Errorf("file %s: header and content have checksum %s: %w", v.want, got, ostree.ErrCorrupt)
		}
	}
	return n, err
}

// openFile is a file object in one of its forms on disk.
type openFile struct {
	h       ostree.FileHeader
	size    int64
	content io.ReadCloser
}

type noContent struct{}

func (noContent) Read([]byte) (int, error) { return 0, io.EOF }
func (noContent) Close() error             { return nil }

// openBare reads a file whose inode is the truth.
func (r *Repo) openBare(c ostree.Checksum) (f openFile, err error) {
	name := r.objectPath(object{ostree.TypeFile, c})
	fd, err := openAt(r.objdir(), name)
	if err == unix.ELOOP {
		f.content = noContent{}
		f.h, err = r.bareLink(name)
		return f, err
	}
	if err != nil {
		return f, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("mode %#o is no regular file's: %w", st.Mode, ostree.ErrCorrupt)
	}
	if err == nil {
		f.h = ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
		switch {
		case r.mode == BareUserOnly:
			f.h.UID, f.h.GID = 0, 0
		case r.mode == Bare && !r.set.disableXattrs:
			f.h.Xattrs, err = fdXattrs(fd)
		}
	}
	if err != nil {
		unix.Close(fd)
		return f, err
	}
	f.size = st.Size
	f.content = &sized{r: &fdReader{fd}, left: st.Size}
	return f, nil
}

// bareLink reads a symlink object of a bare repository.
func (r *Repo) bareLink(name string) (h ostree.FileHeader, err error) {
	var st unix.Stat_t
	if err = unix.Fstatat(r.objdir(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return h, err
	}
	h = ostree.FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
	if h.Symlink, err = readlinkAt(r.objdir(), name); err != nil {
		return h, err
	}
	if r.mode == BareUserOnly {
		h.UID, h.GID = 0, 0
		return h, nil
	}
	if r.mode == Bare && !r.set.disableXattrs {
		h.Xattrs, err = linkXattrs(r.objdir(), name)
	}
	return h, err
}

// openSplit reads a file whose inode is the truth but for the xattrs.
func (r *Repo) openSplit(c ostree.Checksum) (openFile, error) {
	f, err := r.openBare(c)
	if err != nil {
		return f, err
	}
	if f.h.Xattrs, err = r.splitXattrs(c); err != nil {
		f.content.Close()
	}
	return f, err
}

func readlinkAt(dir int, name string) (string, error) {
	var buf [ostree.MaxSymlinkLen + 1]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// openBareUser reads a file whose metadata is in user.ostreemeta; a symlink's target is the content.
func (r *Repo) openBareUser(c ostree.Checksum) (f openFile, err error) {
	fd, st, err := r.openOwn(object{ostree.TypeFile, c})
	if err != nil {
		return f, err
	}
	in := &fdReader{fd}
	meta, err := fdXattr(fd, ostree.UserMetaXattr)
	if err == nil {
		f.h, err = ostree.ParseUserMeta(meta)
	} else {
		err = fmt.Errorf("read %s: %w", ostree.UserMetaXattr, errors.Join(err, ostree.ErrCorrupt))
	}
	if err == nil && !f.h.IsSymlink() {
		f.size = st.Size
		f.content = &sized{r: in, left: st.Size}
		return f, nil
	}
	defer in.Close()
	if err != nil {
		return f, err
	}
	target := make([]byte, ostree.MaxSymlinkLen+2)
	n, err := readSome(fd, target)
	if err != nil {
		return f, err
	}
	// libostree writes a NUL after the target; its length is checked with the rest of the header
	f.h.Symlink = string(bytes.TrimSuffix(target[:n], []byte{0}))
	f.content = noContent{}
	return f, nil
}

// openArchive reads a filez object.
func (r *Repo) openArchive(c ostree.Checksum) (f openFile, err error) {
	fd, _, err := r.openOwn(object{ostree.TypeFile, c})
	if err != nil {
		return f, err
	}
	f.h, f.size, f.content, err = InflateFile(&fdReader{fd})
	return f, err
}

// InflateFile reads a filez object from a stream: its header, the size of its content in bytes, and the content. It
// takes over in, also when it fails; closing the content closes it. Content that does not inflate to exactly that size
// ends in ostree.ErrCorrupt, so a small object can not become a large file.
//
//	errors  ostree.ErrCorrupt
func InflateFile(in io.ReadCloser) (ostree.FileHeader, int64, io.ReadCloser, error) {
	b := bufio.NewReaderSize(in, 16<<10)
	h, size, err := archiveHeader(b)
	if err != nil {
		in.Close()
		return h, 0, nil, err
	}
	if h.IsSymlink() {
		return h, 0, noContent{}, in.Close()
	}
	return h, int64(size), &inflated{sized{r: inflater{newInflater(b)}, left: int64(size)}, in}, nil
}

// archiveHeader reads the header of a filez object; one that ends before its header does is corrupt.
func archiveHeader(r io.Reader) (ostree.FileHeader, uint64, error) {
	h, size, err := ostree.ReadArchiveHeader(r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", err, ostree.ErrCorrupt)
	}
	return h, size, err
}

// inflated is content that is decompressed while it is read.
type inflated struct {
	sized
	in io.Closer // nil after Close
}

// Close gives the decompressor back.
func (i *inflated) Close() error {
	if i.in == nil {
		return nil
	}
	in := i.in
	putInflater(i.r.(inflater).z)
	i.r, i.in = noContent{}, nil
	return in.Close()
}

// inflater calls what is no deflate stream corrupt.
type inflater struct{ z io.Reader }

func (i inflater) Read(p []byte) (int, error) {
	n, err := i.z.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("inflate: %w: %w", err, ostree.ErrCorrupt)
	}
	return n, err
}

// sized fails where a stream is longer or shorter than it should be.
type sized struct {
	r    io.Reader
	left int64
}

func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		var one [1]byte
		switch n, err := io.ReadFull(s.r, one[:]); {
		case n > 0:
			return 0, fmt.Errorf("content is longer than its size says: %w", ostree.ErrCorrupt)
		default:
			return 0, err
		}
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if err == io.EOF {
		err = nil
		if s.left > 0 && n == 0 {
			err = fmt.Errorf("content is %d bytes shorter than its size says: %w", s.left, ostree.ErrCorrupt)
		}
	}
	return n, err
}

func (s *sized) Close() error {
	if c, ok := s.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
