// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/tree"
)

// TarOptions are those of CommitTar beside CommitTreeOptions.
type TarOptions struct {
	CommitTreeOptions
	// Base is the tree that the archive is laid over; nil for an empty one.
	Base *tree.Tree
	// AutocreateParents makes directories that neither the archive lists nor Base has: mode 0755, and the owner of the entry
	// that is in them. All directories above such an entry become so, as with ostree. Without it the entry is refused.
	AutocreateParents bool
	// Rename changes the names of entries, which have no slash in front.
	Rename func(name string) string
}

// tarXattr is how pax archives name extended attributes.
const tarXattr = "SCHILY.xattr."

// CommitTar stages what a tar archive holds as a tree. The archive may be compressed with gzip, zstd or bzip2.
//
//	errors  a name that leads out, anything but directories, files, links and hard links of the archive's own files
//	source  ostree src/libostree/ostree-repo-libarchive.c
func (r *Repo) CommitTar(ctx context.Context, tx *Tx, in io.Reader, o TarOptions) (tree.Root, error) {
	if r.mode == BareUserOnly {
		o.CanonicalPermissions, o.NoXattrs = true, true
	}
	plain, err := decompressTar(in)
	if err != nil {
		return tree.Root{}, fmt.Errorf("commit tar: %w", err)
	}
	t := &tarCommit{c: &committer{tx: tx, o: o.CommitTreeOptions}, o: o, tx: tx, files: map[string]ostree.Checksum{}}
	t.edit = tree.Empty(ostree.DefaultDirMeta()).Edit()
	if o.Base != nil {
		t.edit = o.Base.Edit()
	}
	t.dirs = map[string]bool{}
	archive := tar.NewReader(plain)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return tree.Root{}, err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return tree.Root{}, fmt.Errorf("commit tar: read entry %d: %w", n+1, err)
		}
		if n >= tree.MaxEntries {
			return tree.Root{}, fmt.Errorf("commit tar: more than %d entries", tree.MaxEntries)
		}
		if err := t.entry(h, archive); err != nil {
			return tree.Root{}, fmt.Errorf("commit tar: %q: %w", h.Name, err)
		}
	}
	if !t.dirs[""] && !o.AutocreateParents && o.Base == nil {
		return tree.Root{}, errors.New("commit tar: the archive does not list its root directory (./): --tar-autocreate-parents makes what is missing")
	}
	root, err := t.edit.Tree().Write(tx)
	if err != nil {
		return root, fmt.Errorf("commit tar: %w", err)
	}
	return root, nil
}

// decompressTar looks at the first bytes.
func decompressTar(in io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	head, _ := b.Peek(6)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, errors.New("is compressed with xz: unpack it on the way (xz -dc FILE | ... --tree=tar=-)")
	}
	return b, nil
}

type tarCommit struct {
	c     *committer
	o     TarOptions
	tx    *Tx
	edit  *tree.Editor
	dirs  map[string]bool            // that the archive listed or that were made
	files map[string]ostree.Checksum // for hard links
}

// tarPath is a name of an archive as a path of the tree, "" for the root.
func tarPath(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", errors.New("the name leads out of the archive")
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func (t *tarCommit) entry(h *tar.Header, content io.Reader) error {
	p, err := t.path(h.Name)
	if err != nil {
		return err
	}
	kind := uint32(unix.S_IFREG)
	switch h.Typeflag {
	case tar.TypeDir:
		kind = unix.S_IFDIR
	case tar.TypeSymlink:
		kind = unix.S_IFLNK
	case tar.TypeReg, tar.TypeGNUSparse:
	case tar.TypeLink:
		return t.hardLink(p, h)
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("entry of type %q: a tree has directories, files and symlinks only", h.Typeflag)
	}
	st := unix.Stat_t{Mode: kind | uint32(h.Mode)&ostree.ModePerm, Uid: uint32(h.Uid), Gid: uint32(h.Gid), Size: h.Size}
	if kind == unix.S_IFLNK {
		st.Mode = kind | 0o777
	}
	s, keep := t.c.stat("/"+p, &st)
	if !keep {
		return nil
	}
	xs, err := t.c.xattrs("/"+p, s, func() ([]ostree.Xattr, error) { return tarXattrs(h), nil })
	if err != nil {
		return err
	}
	if kind == unix.S_IFDIR {
		if err := t.parents(p, h); err != nil {
			return err
		}
		t.dirs[p] = true
		return t.edit.PutDir(p, ostree.DirMeta{UID: s.UID, GID: s.GID, Mode: s.Mode, Xattrs: xs})
	}
	if err := t.parents(p, h); err != nil {
		return err
	}
	head := ostree.FileHeader{UID: s.UID, GID: s.GID, Mode: s.Mode, Xattrs: xs, Symlink: h.Linkname}
	size := h.Size
	if kind == unix.S_IFREG {
		head.Symlink = ""
	} else {
		size, content = 0, nil
	}
	sum, err := t.tx.PutFile(head, size, content)
	if err != nil {
		return err
	}
	t.files[p] = sum
	return t.edit.PutFile(p, sum)
}

// tarXattrs are the attributes of an entry, in order.
func tarXattrs(h *tar.Header) []ostree.Xattr {
	var xs []ostree.Xattr
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, tarXattr); ok && name != "" {
			xs = append(xs, ostree.Xattr{Name: name, Value: []byte(v)})
		}
	}
	return ostree.SortXattrs(xs)
}

func (t *tarCommit) hardLink(p string, h *tar.Header) error {
	target, err := t.path(h.Linkname)
	if err != nil {
		return err
	}
	sum, ok, err := t.file(target)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("hard link to %q, which does not come before it", h.Linkname)
	}
	if err := t.parents(p, h); err != nil {
		return err
	}
	t.files[p] = sum
	return t.edit.PutFile(p, sum)
}

// path is the name of an entry as a path of the tree.
func (t *tarCommit) path(name string) (string, error) {
	p, err := tarPath(name)
	if err != nil || t.o.Rename == nil {
		return p, err
	}
	return tarPath(t.o.Rename(p))
}

// file is the file object at a path, of the archive or of what it is laid over.
func (t *tarCommit) file(p string) (ostree.Checksum, bool, error) {
	if sum, ok := t.files[p]; ok || t.o.Base == nil {
		return sum, ok, nil
	}
	e, ok, err := t.o.Base.Lookup(p)
	return e.File, ok && !e.Dir, err
}

// has reports whether a directory was listed, or is in what the archive is laid over.
func (t *tarCommit) has(dir string) (bool, error) {
	if t.dirs[dir] || dir == "" || t.o.Base == nil {
		return t.dirs[dir] || dir == "", nil
	}
	e, ok, err := t.o.Base.Lookup(dir)
	return ok && e.Dir, err
}

// parents holds the directory of p against what was listed, or makes it and all above it.
func (t *tarCommit) parents(p string, h *tar.Header) error {
	dir := path.Dir(p)
	if p == "" || dir == "." {
		return nil
	}
	ok, err := t.has(dir)
	if ok || err != nil {
		return err
	}
	if !t.o.AutocreateParents {
		return fmt.Errorf("its directory %q is not listed before it: --tar-autocreate-parents makes it", dir)
	}
	names := strings.Split(dir, "/")
	for i := range len(names) + 1 {
		at := strings.Join(names[:i], "/")
		m := ostree.DirMeta{UID: uint32(h.Uid), GID: uint32(h.Gid), Mode: ostree.DefaultDirMode}
		if t.o.Xattrs != nil { // a label, if any
			if m.Xattrs, err = t.o.Xattrs("/"+at, Stat{UID: m.UID, GID: m.GID, Mode: m.Mode}, nil); err != nil {
				return err
			}
		}
		if err := t.edit.PutDir(at, m); err != nil {
			return err
		}
		t.dirs[at] = true
	}
	return nil
}

// ExportOptions are those of ExportTar.
type ExportOptions struct {
	Subpath  string
	Prefix   string // put before every name
	NoXattrs bool
}

// ExportTar writes a commit's tree as a pax archive. The same commit gives the same bytes: entries are in the order of
// their names, times are the commit's.
//
//	source  ostree src/ostree/ot-builtin-export.c
func (r *Repo) ExportTar(ctx context.Context, w io.Writer, commit ostree.Checksum, o ExportOptions) error {
	t, c, err := r.Tree(commit)
	if err != nil {
		return fmt.Errorf("export %s: %w", commit, err)
	}
	if sub := strings.Trim(o.Subpath, "/"); sub != "" {
		if t, err = t.Sub(sub); err != nil {
			return fmt.Errorf("export %s: %w", commit, err)
		}
	}
	out := tar.NewWriter(w)
	e := &exporter{r: r, out: out, o: o, time: time.Unix(int64(c.Timestamp), 0).UTC()}
	err = t.Walk(func(p string, entry tree.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return e.entry(p, entry)
	})
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", commit, err)
	}
	return nil
}

type exporter struct {
	r    *Repo
	out  *tar.Writer
	o    ExportOptions
	time time.Time
}

func (e *exporter) entry(p string, entry tree.Entry) error {
	name := "./" + p
	if e.o.Prefix != "" {
		name = path.Join(e.o.Prefix, p)
	}
	h := &tar.Header{Name: name, ModTime: e.time, Format: tar.FormatPAX}
	if entry.Dir {
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
		m := entry.Meta
		return e.write(h, m.UID, m.GID, m.Mode, m.Xattrs, nil)
	}
	f, size, content, err := e.r.OpenVerified(entry.File)
	if err != nil {
		return err
	}
	defer content.Close()
	if f.IsSymlink() {
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Symlink
		return e.write(h, f.UID, f.GID, f.Mode, f.Xattrs, nil)
	}
	h.Typeflag, h.Size = tar.TypeReg, size
	return e.write(h, f.UID, f.GID, f.Mode, f.Xattrs, content)
}

func (e *exporter) write(h *tar.Header, uid, gid, mode uint32, xs []ostree.Xattr, content io.Reader) error {
	h.Uid, h.Gid, h.Mode = int(uid), int(gid), int64(mode&ostree.ModePerm)
	if !e.o.NoXattrs && len(xs) > 0 {
		h.PAXRecords = map[string]string{}
		for _, x := range xs {
			h.PAXRecords[tarXattr+x.Name] = string(x.Value)
		}
	}
	if err := e.out.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if content == nil {
		return nil
	}
	if _, err := io.Copy(e.out, content); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}
