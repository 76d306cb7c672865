// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// Where grove keeps the rpmdb and the links that lead rpm there. Source: rpm-ostree (FIELD 6.7).
const (
	rpmdbDir = "usr/share/rpm"
)

// rpmdbLinks are the other names under which rpm looks for its database.
var rpmdbLinks = map[string]string{
	"usr/lib/sysimage/rpm":          "../../share/rpm",
	"usr/share/factory/var/lib/rpm": "../../usr/share/rpm",
}

// writeRpmdb makes the tree's rpmdb know base and layers, in the format that the tree's rpm expects. A sqlite database stays and is
// added to; the other formats are written anew.
func writeRpmdb(_ context.Context, b *build) error {
	b.listInstalled()
	if len(b.packages) == 0 && len(b.removed) == 0 {
		return nil
	}
	entries := make([]rpmdb.Entry, 0, len(b.packages))
	for i, p := range b.packages {
		states, err := p.FileStates()
		if err == nil && len(b.wrongColour[i]) > 0 {
			states, err = wrongColourStates(p.Header, states, b.wrongColour[i])
		}
		if err != nil {
			return fmt.Errorf("files of %s: %w", p.meta.NEVRA, err)
		}
		entries = append(entries, rpmdb.Entry{
			FileStates: states, Header: p.Header, Signature: p.Signature, InstallTime: uint32(b.stamp), InstallTID: uint32(b.stamp),
			InstallColor: installColor(b.o.Arch),
		})
	}
	dir, files, err := b.makeRpmdb(entries)
	if err != nil {
		return err
	}
	edit := b.tree.Edit()
	// Whatever was in the places of the database goes: folders with files of older formats, links to one another.
	for _, place := range rpmdbPlaces {
		if err := edit.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range files {
		c, err := b.putHostFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := edit.PutFile(rpmdbDir+"/"+name, c); err != nil {
			return err
		}
	}
	for _, path := range sortedKeys(rpmdbLinks) {
		if err := b.putLink(edit, path, rpmdbLinks[path]); err != nil {
			return err
		}
	}
	b.tree = edit.Tree()
	return nil
}

// wrongColour is the state of a file that gave way to one of another word size. Source: rpm lib/rpmfiles.h,
// RPMFILE_STATE_WRONGCOLOR.
const wrongColour = 4

func wrongColourStates(h *rpm.Header, states []byte, files []string) ([]byte, error) {
	paths, err := h.Paths()
	if err != nil {
		return nil, err
	}
	if states == nil {
		states = make([]byte, len(paths))
	}
	gaveWay := map[string]bool{}
	for _, f := range files {
		gaveWay[f] = true
	}
	for i, p := range paths {
		if gaveWay[p] {
			states[i] = wrongColour
		}
	}
	return states, nil
}

// putHostFile puts a file of the scratch folder into the repo, as a file of root that all may read.
func (b *build) putHostFile(path string) (ostree.Checksum, error) {
	f, err := os.Open(path)
	if err != nil {
		return ostree.Checksum{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ostree.Checksum{}, err
	}
	return b.tx.PutFile(ostree.FileHeader{Mode: 0o100644}, info.Size(), f)
}

// makeRpmdb writes the database into the scratch folder, where the next stage finds it, and names its folder and files.
func (b *build) makeRpmdb(entries []rpmdb.Entry) (dir string, files []string, err error) {
	var was rpmdb.Format
	if b.base.dbDir != "" {
		if was, err = rpmdb.FormatOf(b.base.dbDir); err != nil {
			return "", nil, err
		}
	}
	format, err := b.rpmdbFormat(was)
	if err != nil {
		return "", nil, err
	}
	if was == rpmdb.SQLite && format == was {
		gone := map[string]bool{}
		for _, h := range b.removed {
			gone[h.NEVRA().String()] = true
		}
		if err := rpmdb.Update(b.base.dbDir, func(h *rpm.Header) bool { return gone[h.NEVRA().String()] }, entries); err != nil {
			return "", nil, fmt.Errorf("add to the base's rpmdb: %w", err)
		}
		if err := b.noteReplaced(); err != nil {
			return "", nil, fmt.Errorf("note in the base's rpmdb whose files were replaced: %w", err)
		}
		return b.base.dbDir, format.Files(), nil
	}
	dir = filepath.Join(b.o.Scratch, fmt.Sprintf("rpmdb-made-%d", b.stage))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	var all []rpmdb.Entry
	for _, h := range b.remaining() {
		other, err := b.withStates(h)
		if err != nil {
			return "", nil, err
		}
		if other != nil {
			h = other
		}
		all = append(all, rpmdb.Entry{Header: h, Stored: true})
	}
	b.base.dbDir = dir
	return dir, format.Files(), rpmdb.WriteAs(dir, format, append(all, entries...))
}

// noteReplaced writes down in the base's database which files of its packages are another's now.
func (b *build) noteReplaced() (failed error) {
	if len(b.baseStates) == 0 {
		return nil
	}
	err := rpmdb.Replace(b.base.dbDir, func(h *rpm.Header) *rpm.Header {
		other, err := b.withStates(h)
		failed = errors.Join(failed, err)
		return other
	})
	return errors.Join(err, failed)
}

// withStates is the header of a base package with the states that its files have from now on, nil where none changes.
func (b *build) withStates(h *rpm.Header) (*rpm.Header, error) {
	changed := b.baseStates[h.NEVRA().String()]
	if len(changed) == 0 || !h.Has(rpm.TagFileStates) {
		return nil, nil
	}
	paths, err := h.Paths()
	if err != nil {
		return nil, err
	}
	states := map[int]byte{}
	for i, p := range paths {
		if s, ok := changed[p]; ok {
			states[i] = s
		}
	}
	return rpmdb.SetStates(h, states)
}

// firstBackends is the version of rpm since which a macro names the format; those before know Berkeley DB alone.
var firstBackends = rpm.ParseEVR("4.16.0")

// rpmdbFormat is the format that the rpm of the tree expects; without one, the base's, or sqlite.
func (b *build) rpmdbFormat(was rpmdb.Format) (rpmdb.Format, error) {
	for _, dir := range []string{"usr/etc/rpm", "usr/lib/rpm/macros.d", "usr/lib/rpm"} {
		f, err := b.backendIn(dir)
		if f != "" || err != nil {
			return f, err
		}
	}
	var own *rpm.NEVRA
	for _, h := range b.remaining() {
		if n := h.NEVRA(); n.Name == "rpm" {
			own = &n
		}
	}
	for _, p := range b.packages {
		if p.meta.Name == "rpm" {
			own = &p.meta.NEVRA
		}
	}
	switch {
	case own != nil && own.EVR.Compare(rpm.EVR{Epoch: own.EVR.Epoch, Version: firstBackends.Version}) < 0 && was == "":
		return rpmdb.BDB, nil
	case was != "":
		return was, nil
	}
	return rpmdb.SQLite, nil
}

// backendIn looks for %_db_backend in the macro files of a folder of the tree; the last that names a known format counts.
func (b *build) backendIn(dir string) (found rpmdb.Format, err error) {
	entries, err := b.tree.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Dir || !strings.HasPrefix(e.Name, "macros") {
			continue
		}
		text, _, err := b.readTreeFile(b.tree, dir+"/"+e.Name)
		if err != nil {
			return "", err
		}
		for _, line := range strings.Split(string(text), "\n") {
			w := strings.Fields(line)
			if len(w) != 2 || w[0] != "%_db_backend" {
				continue
			}
			switch f := rpmdb.Format(strings.TrimSuffix(w[1], "_ro")); f {
			case rpmdb.SQLite, rpmdb.NDB, rpmdb.BDB:
				found = f
			}
		}
	}
	return found, nil
}

// installColor is the word sizes that the architecture runs. Source: rpm, lib/rpmts.c (rpmtsSetColor).
func installColor(arch string) uint32 {
	switch arch {
	case "x86_64", "aarch64", "ppc64le", "s390x":
		return 3
	default:
		return 0
	}
}

// editor is the part of a tree's editor that puts files.
type editor interface {
	PutFile(path string, c ostree.Checksum) error
}

// putLink puts a symbolic link into the tree.
func (b *build) putLink(edit editor, path, target string) error {
	c, err := b.tx.PutFile(ostree.FileHeader{Mode: 0o120777, Symlink: target}, 0, bytes.NewReader(nil))
	if err != nil {
		return err
	}
	return edit.PutFile(path, c)
}

// putText puts a plain file into the tree.
func (b *build) putText(edit editor, path string, text []byte) error {
	c, err := b.tx.PutFile(ostree.FileHeader{Mode: 0o100644}, int64(len(text)), bytes.NewReader(text))
	if err != nil {
		return err
	}
	return edit.PutFile(path, c)
}
