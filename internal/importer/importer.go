// SPDX-License-Identifier: Apache-2.0

// Package importer turns one RPM package into a package tree in the repo, held by a package commit.
//
// It checks digests, not signatures (the caller does, with the keys of the package's source), runs no scriptlet
// and looks up no account: owners other than root are recorded, and applied once the accounts exist. What it keeps:
//
//   - the same package gives the same commit, anywhere;
//   - every path is mapped by the rules of an immutable tree (MapPath), and a path outside of them is refused;
//   - a package whose files are not what its header says gives an error, and nothing that a commit names.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// Version of the rules by which packages become trees: raise it when the same package is to give another tree.
const Version = 1

// ErrStale is for package commits of other rules or another program: the package is to be imported anew.
var ErrStale = errors.New("package was imported by other rules")

// Options of one import.
type Options struct {
	Digest string   // sha256 of the package file, hex; kept in the commit
	NoDocs bool     // leave files out that are marked as documentation
	Langs  []string // keep only these languages' files of those that are marked with one; nil = all
}

// Owner is what a file of the tree gets once the accounts exist: the tree itself has root's everywhere.
type Owner struct {
	Path        string // in the tree
	User, Group string
	Mode        uint32 // with type bits, to be set again after the change of owner
	Caps        []byte // security.capability, likewise
	Dir         bool
}

// Result is an imported package.
type Result struct {
	Commit    ostree.Checksum
	Root      tree.Root
	Header    *rpm.Header
	Signature *rpm.Header
	Digest    string   // sha256 of the package file, hex
	Owners    []Owner  // by path
	Tmpfiles  []string // lines of tmpfiles.d for what the package has below /run
	Paths     []string // the files and links in the tree, sorted
	Dropped   []string // paths of the package that cannot be in a tree: device nodes, fifos
}

// Import reads a package's payload into tx and gives it a package commit; the ref is set when tx commits.
// r stands at the payload.
//
//	errors  rpm.ErrDigest, and text that names the path for what cannot be in a tree
func Import(ctx context.Context, tx *repo.Tx, p *rpm.Package, r io.Reader, o Options) (Result, error) {
	im := &importRun{tx: tx, o: o, edit: tree.Empty(dirMeta(0o755)).Edit(), files: map[string]ostree.Checksum{}}
	im.edit.ParentMeta = dirMeta(0o755)
	payload, err := p.Payload(r)
	if err != nil {
		return Result{}, fmt.Errorf("payload: %w", err)
	}
	for {
		f, content, err := payload.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Result{}, err
		}
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		if err := im.file(f, content); err != nil {
			return Result{}, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := im.edit.Err(); err != nil {
		return Result{}, err
	}
	root, err := im.edit.Tree().Write(tx)
	if err != nil {
		return Result{}, err
	}
	res := Result{Root: root, Header: p.Header, Signature: p.Signature, Digest: o.Digest, Owners: im.owners, Tmpfiles: im.tmpfiles, Dropped: im.dropped}
	sort.Slice(res.Owners, func(i, j int) bool { return res.Owners[i].Path < res.Owners[j].Path })
	sort.Strings(res.Tmpfiles)
	for f := range im.files {
		res.Paths = append(res.Paths, f)
	}
	sort.Strings(res.Paths)
	return res, writeCommit(tx, &res)
}

// importRun is the state of one import.
type importRun struct {
	tx       *repo.Tx
	o        Options
	edit     *tree.Editor
	files    map[string]ostree.Checksum
	owners   []Owner
	tmpfiles []string
	dropped  []string
}

func dirMeta(mode uint32) ostree.DirMeta { return ostree.DirMeta{Mode: typeDir | mode} }

// Type bits of a mode. Source: inode(7).
const (
	typeMask = 0o170000
	typeDir  = 0o040000
	typeReg  = 0o100000
	typeLink = 0o120000
)

// file puts one file of the payload into the tree, under all its names.
func (im *importRun) file(f *rpm.File, content io.Reader) error {
	if im.unwanted(f) {
		return nil
	}
	names := f.Links
	if len(names) == 0 {
		names = []string{f.Path}
	}
	var sum ostree.Checksum
	put := false
	for _, name := range names {
		m := mapPath(name, f.IsDir())
		if m.refuse != "" {
			return errors.New(m.refuse)
		}
		if m.run {
			im.runLine(name, f)
			continue
		}
		if m.path == "" {
			continue
		}
		switch f.Mode & typeMask {
		case typeDir:
			if err := im.edit.PutDir(m.path, dirMeta(f.Mode&0o7777)); err != nil {
				return err
			}
		case typeReg, typeLink:
			if !put {
				var err error
				if sum, err = im.object(f, content); err != nil {
					return err
				}
				put = true
			}
			if err := im.put(m.path, sum); err != nil {
				return err
			}
		default:
			im.dropped = append(im.dropped, name)
			continue
		}
		if err := im.owner(m.path, f); err != nil {
			return err
		}
	}
	return nil
}

// unwanted is true for files that the options leave out.
func (im *importRun) unwanted(f *rpm.File) bool {
	if f.IsDir() {
		return false
	}
	if im.o.NoDocs && f.Flags&rpm.FileDoc != 0 {
		return true
	}
	if im.o.Langs == nil || f.Lang == "" {
		return false
	}
	for _, l := range strings.Split(f.Lang, "|") {
		for _, want := range im.o.Langs {
			if l == want {
				return false
			}
		}
	}
	return true
}

// put enters a file, and what the tree needs beside it: content of /opt is found through a link in /var.
func (im *importRun) put(name string, sum ostree.Checksum) error {
	im.files[name] = sum
	if err := im.edit.PutFile(name, sum); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(name, optDir+"/")
	if !ok {
		return nil
	}
	first, _, _ := strings.Cut(rest, "/")
	link := Factory + "/opt/" + first
	if _, ok := im.files[link]; ok {
		return nil
	}
	l, err := im.tx.PutFile(ostree.FileHeader{Mode: typeLink | 0o777, Symlink: "/" + optDir + "/" + first}, 0, nil)
	if err != nil {
		return err
	}
	im.files[link] = l
	return im.edit.PutFile(link, l)
}

// object writes the content; owner and group are root's for now.
func (im *importRun) object(f *rpm.File, content io.Reader) (ostree.Checksum, error) {
	h := ostree.FileHeader{Mode: f.Mode & (typeMask | 0o7777)}
	if f.IsSymlink() {
		h.Mode, h.Symlink = typeLink|0o777, f.LinkTo
		return im.tx.PutFile(h, 0, nil)
	}
	caps, err := parseCaps(f.Caps)
	if err != nil {
		return ostree.Checksum{}, err
	}
	if caps != nil {
		h.Xattrs = []ostree.Xattr{{Name: "security.capability", Value: caps}}
	}
	return im.tx.PutFile(h, f.SizeBytes, content)
}

// owner records what the tree cannot say yet.
func (im *importRun) owner(name string, f *rpm.File) error {
	if isRoot(f.User) && isRoot(f.Group) {
		return nil
	}
	caps, err := parseCaps(f.Caps)
	if err != nil {
		return err
	}
	im.owners = append(im.owners, Owner{Path: name, User: f.User, Group: f.Group, Mode: f.Mode, Caps: caps, Dir: f.IsDir()})
	return nil
}

func isRoot(name string) bool { return name == "" || name == "root" }

// runLine says in tmpfiles.d's words what a package has below /run: it is empty at each start.
func (im *importRun) runLine(name string, f *rpm.File) {
	at := path.Join("/run", strings.TrimPrefix(strings.TrimPrefix(name, "/var"), "/run"))
	switch f.Mode & typeMask {
	case typeDir:
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("d %s %04o %s %s - -", escapeTmpfiles(at), f.Mode&0o7777, orRoot(f.User), orRoot(f.Group)))
	case typeLink:
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("L %s - - - - %s", escapeTmpfiles(at), strings.ReplaceAll(f.LinkTo, "%", "%%")))
	default:
		im.dropped = append(im.dropped, name)
	}
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}

// escapeTmpfiles writes a path as tmpfiles.d(5) wants it.
func escapeTmpfiles(p string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\x20`, "\t", `\t`, "\n", `\n`, "%", "%%", `"`, `\"`).Replace(p)
}
