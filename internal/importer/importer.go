// SPDX-License-Identifier: Apache-2.0

// Package importer turns one RPM package into a package tree in the repo, held by a package commit.
//
// It checks digests, not signatures (the caller does, with the keys of the package's source), runs no scriptlet
// and looks up no account: owners other than root are recorded, and applied once the accounts exist. What it keeps:
//
//   - the same package gives the same commit, anywhere;
//   - every path is mapped by the rules of an immutable tree (MapPath), and a path outside of them is refused;
//   - the target of a symbolic link is never rewritten, times are not kept, files that a package only owns (%ghost) are not made;
//   - a package whose files are not what its header says gives an error, and nothing that a commit names.
package importer

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// Version of the rules by which packages become trees: raise it when the same package is to give another tree.
const Version = 3

// ErrStale is for package commits of other rules or another program: the package is to be imported anew.
var ErrStale = errors.New("package was imported by other rules")

// Options of one import. All but Digest change what the tree holds: see Variant.
type Options struct {
	Digest string   // sha256 of the package file, hex; kept in the commit
	NoDocs bool     // leave files out that are marked as documentation
	Langs  []string // keep only these languages' files of those that are marked with one; nil = all
	Skip   []string // leave out these paths, as the package names them, and what is below them
	IMA    bool     // keep the signatures of files, as security.ima
}

// Variant is a text that is the same for options that give the same tree; "" for the zero value.
func (o Options) Variant() string {
	var parts []string
	if o.NoDocs {
		parts = append(parts, "nodocs")
	}
	if o.Langs != nil {
		parts = append(parts, "langs="+sortedList(o.Langs))
	}
	if len(o.Skip) > 0 {
		parts = append(parts, "skip="+sortedList(o.Skip))
	}
	if o.IMA {
		parts = append(parts, "ima")
	}
	return strings.Join(parts, " ")
}

func sortedList(list []string) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return fmt.Sprintf("%q", slices.Compact(list))
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
	Dropped   []string // paths of the package that the tree does not have: device nodes, fifos, content of mount points; sorted
	Skipped   []string // paths of the package that the options left out, sorted
	Variant   string   // of the options
}

// Ghosts gives the paths of the package that it owns without bringing them; they are not in the tree.
func (r Result) Ghosts() ([]string, error) {
	files, err := r.Header.Files()
	if err != nil {
		return nil, err
	}
	var ghosts []string
	for i := range files {
		if files[i].IsGhost() {
			ghosts = append(ghosts, files[i].Path)
		}
	}
	return ghosts, nil
}

// notInstalled is the state of a file that the options left out. Source: rpm lib/rpmfiles.h, RPMFILE_STATE_NOTINSTALLED.
const notInstalled = 2

// FileStates gives the states for the rpmdb, one byte a file of the header; nil if all are normal.
func (r Result) FileStates() ([]byte, error) {
	if len(r.Skipped) == 0 {
		return nil, nil
	}
	paths, err := r.Header.Paths()
	if err != nil {
		return nil, err
	}
	states := make([]byte, len(paths))
	for i, p := range paths {
		if _, ok := slices.BinarySearch(r.Skipped, p); ok {
			states[i] = notInstalled
		}
	}
	return states, nil
}

// Import reads a package's payload into tx and gives it a package commit; the ref is set when tx commits.
// r stands at the payload.
//
//	errors  rpm.ErrDigest, and text that names the path for what cannot be in a tree
func Import(ctx context.Context, tx *repo.Tx, p *rpm.Package, r io.Reader, o Options) (Result, error) {
	im := &importRun{tx: tx, o: o, edit: tree.Empty(dirMeta(0o755)).Edit(), files: map[string]entry{}}
	im.edit.ParentMeta = dirMeta(0o755)
	if err := im.chooseFiles(p.Header); err != nil {
		return Result{}, err
	}
	payload, err := p.Payload(r)
	if err != nil {
		return Result{}, fmt.Errorf("payload: %w", err)
	}
	defer payload.Close()
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
	res := Result{
		Root: root, Header: p.Header, Signature: p.Signature, Digest: o.Digest, Variant: o.Variant(),
		Owners: im.owners, Tmpfiles: im.tmpfiles, Dropped: im.dropped, Skipped: im.skipped,
	}
	for f := range im.files {
		res.Paths = append(res.Paths, f)
	}
	slices.SortFunc(res.Owners, func(a, b Owner) int { return strings.Compare(a.Path, b.Path) })
	for _, list := range []*[]string{&res.Tmpfiles, &res.Paths, &res.Dropped, &res.Skipped} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return res, writeCommit(tx, &res)
}

// importRun is the state of one import.
type importRun struct {
	tx       *repo.Tx
	o        Options
	edit     *tree.Editor
	files    map[string]entry
	unwanted map[string]bool // paths of the package that the options leave out
	owners   []Owner
	tmpfiles []string
	dropped  []string
	skipped  []string
}

// entry is a file or link of the tree.
type entry struct {
	sum    ostree.Checksum
	target string // of a link
}

func dirMeta(mode uint32) ostree.DirMeta { return ostree.DirMeta{Mode: typeDir | mode} }

// Type bits of a mode. Source: inode(7).
const (
	typeMask  = 0o170000
	typeFifo  = 0o010000
	typeChar  = 0o020000
	typeDir   = 0o040000
	typeBlock = 0o060000
	typeReg   = 0o100000
	typeLink  = 0o120000
)

// file puts one file of the payload into the tree, under all its names.
func (im *importRun) file(f *rpm.File, content io.Reader) error {
	names := f.Links
	if len(names) == 0 {
		names = []string{f.Path}
	}
	var sum ostree.Checksum
	put := false
	for _, name := range names {
		if im.unwanted[name] {
			im.skipped = append(im.skipped, name)
			continue
		}
		m := mapPath(name, f.Mode&typeMask)
		if m.refuse != "" {
			return errors.New(m.refuse)
		}
		if m.run != "" {
			im.runLine(m.run, name, f)
			continue
		}
		if rest, ok := strings.CutPrefix(m.path, Factory+"/"); ok && isSpecial(f.Mode) {
			im.runLine("/var/"+rest, name, f)
			continue
		}
		var err error
		switch typ := f.Mode & typeMask; {
		case typ != typeDir && typ != typeReg && typ != typeLink, m.path == "" && typ != typeDir:
			im.dropped = append(im.dropped, name)
			continue
		case m.path == "":
			continue
		case typ == typeDir:
			err = im.dir(m.path, f.Mode)
		default:
			if !put {
				sum, err = im.object(f, content)
				put = true
			}
			if err == nil {
				err = im.put(m.path, entry{sum, f.LinkTo})
			}
		}
		if err == nil {
			err = im.owner(m.path, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chooseFiles finds what the options leave out. The names of a hard-linked file are marked one by one.
func (im *importRun) chooseFiles(h *rpm.Header) error {
	if im.o.Variant() == "" {
		return nil
	}
	files, err := h.Files()
	if err != nil {
		return err
	}
	im.unwanted = map[string]bool{}
	for i := range files {
		f := &files[i]
		if im.o.NoDocs && f.Flags&rpm.FileDoc != 0 || !im.speaks(f.Lang) || im.skips(f.Path) {
			im.unwanted[f.Path] = true
		}
	}
	return nil
}

// speaks tells whether a file marked with these languages ("de|de_AT") is wanted.
func (im *importRun) speaks(langs string) bool {
	if im.o.Langs == nil || langs == "" {
		return true
	}
	for lang := range strings.SplitSeq(langs, "|") {
		if slices.Contains(im.o.Langs, lang) {
			return true
		}
	}
	return false
}

func (im *importRun) skips(p string) bool {
	return slices.ContainsFunc(im.o.Skip, func(skip string) bool {
		skip = path.Clean("/" + skip)
		return p == skip || strings.HasPrefix(p, skip+"/")
	})
}

// dir enters a directory with the mode that the package gives it.
func (im *importRun) dir(name string, mode uint32) error {
	if err := im.edit.PutDir(name, dirMeta(mode&0o7777)); err != nil {
		return err
	}
	return im.linkOpt(name)
}

// put enters a file. Two names of a package can mean one place (/lib/x and /usr/lib/x): they must be the same file,
// or one a link to the other, which is then not needed.
func (im *importRun) put(name string, e entry) error {
	was, twice := im.files[name]
	switch {
	case !twice || was.sum == e.sum:
	case im.leadsTo(name, e.target):
		return nil
	case !im.leadsTo(name, was.target):
		return fmt.Errorf("another file of the package is at %s too", name)
	}
	im.files[name] = e
	if err := im.edit.PutFile(name, e.sum); err != nil {
		return err
	}
	return im.linkOpt(name)
}

// leadsTo tells whether a link at a place of the tree leads to that same place.
func (im *importRun) leadsTo(name, target string) bool {
	if target == "" {
		return false
	}
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(name), target)
	}
	m := mapPath(target, typeReg)
	return m.path == name
}

// linkOpt makes what is below /opt found: /opt leads into /var, where each of its folders is a link back.
func (im *importRun) linkOpt(name string) error {
	rest, ok := strings.CutPrefix(name, optDir+"/")
	if !ok {
		return nil
	}
	first, _, _ := strings.Cut(rest, "/")
	link := Factory + "/opt/" + first
	if _, ok := im.files[link]; ok {
		return nil
	}
	target := "/" + optDir + "/" + first
	sum, err := im.tx.PutFile(ostree.FileHeader{Mode: typeLink | 0o777, Symlink: target}, 0, nil)
	if err != nil {
		return err
	}
	im.files[link] = entry{sum, target}
	return im.edit.PutFile(link, sum)
}

// object writes the content with root as owner and group; the real ones are in Result.Owners.
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
	if im.o.IMA {
		sig, err := imaSignature(f)
		if err != nil {
			return ostree.Checksum{}, err
		}
		if sig != nil {
			h.Xattrs = append(h.Xattrs, ostree.Xattr{Name: "security.ima", Value: sig})
		}
	}
	return im.tx.PutFile(h, f.SizeBytes, content)
}

// maxIMA bounds a signature: what an xattr can hold. Those of RSA have 256 to 520 bytes.
const maxIMA = 64 << 10

// imaSignature is the value of security.ima, nil for none. A config file, which people change, gets one only if it is a program.
//
//	source  rpm plugins/ima.c; a signature of nothing but zeros is none
func imaSignature(f *rpm.File) ([]byte, error) {
	if f.IMA == "" || f.Flags&rpm.FileConfig != 0 && f.Mode&0o111 == 0 {
		return nil, nil
	}
	if len(f.IMA) > 2*maxIMA {
		return nil, fmt.Errorf("IMA signature of %d digits", len(f.IMA))
	}
	sig, err := hex.DecodeString(f.IMA)
	if err != nil {
		return nil, fmt.Errorf("IMA signature: %w", err)
	}
	if len(bytes.Trim(sig, "\x00")) == 0 {
		return nil, nil
	}
	return sig, nil
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

// isSpecial tells whether a mode is that of a fifo or a device node, which a tree cannot hold.
func isSpecial(mode uint32) bool {
	typ := mode & typeMask
	return typ == typeFifo || typ == typeChar || typ == typeBlock
}

// runLine says in tmpfiles.d's words what a package has below /run, which is empty at each start, and of fifos and device nodes below /var.
func (im *importRun) runLine(at, name string, f *rpm.File) {
	switch f.Mode & typeMask {
	case typeDir:
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("d %s %04o %s %s - -", tmpfilesWord(at), f.Mode&0o7777, orRoot(f.User), orRoot(f.Group)))
	case typeFifo:
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("p %s %04o %s %s - -", tmpfilesWord(at), f.Mode&0o7777, orRoot(f.User), orRoot(f.Group)))
	case typeChar, typeBlock:
		letter := map[uint32]string{typeChar: "c", typeBlock: "b"}[f.Mode&typeMask]
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("%s %s %04o %s %s - %d:%d", letter, tmpfilesWord(at), f.Mode&0o7777, orRoot(f.User), orRoot(f.Group),
			f.RDev>>8&0xff, f.RDev&0xff))
	case typeLink:
		im.tmpfiles = append(im.tmpfiles, fmt.Sprintf("L %s - - - - %s", tmpfilesWord(at), tmpfilesWord(f.LinkTo)))
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

// tmpfilesWord writes a path as tmpfiles.d(5) wants it: blanks and control bytes escaped, specifiers doubled.
func tmpfilesWord(p string) string {
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case c == '%':
			b.WriteString("%%")
		case c == '\\' || c == '"' || c == '\'' || c <= ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
