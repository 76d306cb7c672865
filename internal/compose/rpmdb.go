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
	"slices"

	"grove/internal/ostree"
	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// Where grove keeps the rpmdb and the links that lead rpm there. Source: rpm-ostree (FIELD 6.7).
const (
	rpmdbDir  = "usr/share/rpm"
	rpmdbFile = rpmdbDir + "/rpmdb.sqlite"
)

// rpmdbLinks are the other names under which rpm looks for its database.
var rpmdbLinks = map[string]string{
	"usr/lib/sysimage/rpm":          "../../share/rpm",
	"usr/share/factory/var/lib/rpm": "../../usr/share/rpm",
}

// writeRpmdb makes the tree's rpmdb know base and layers. A database that grove or rpm-ostree made (sqlite)
// is copied and added to; older formats are read and written anew as sqlite.
func writeRpmdb(_ context.Context, b *build) error {
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
	path, err := b.makeRpmdb(entries)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c, err := b.tx.PutFile(ostree.FileHeader{Mode: 0o100644}, info.Size(), f)
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
	if err := edit.PutFile(rpmdbFile, c); err != nil {
		return err
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
const wrongColour = 3

func wrongColourStates(h *rpm.Header, states []byte, files []string) ([]byte, error) {
	paths, err := h.Paths()
	if err != nil {
		return nil, err
	}
	if states == nil {
		states = make([]byte, len(paths))
	}
	for i, p := range paths {
		if slices.Contains(files, p) {
			states[i] = wrongColour
		}
	}
	return states, nil
}

// makeRpmdb writes the database into the scratch folder and names its file.
func (b *build) makeRpmdb(entries []rpmdb.Entry) (string, error) {
	dir := filepath.Join(b.o.Scratch, "rpmdb")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "rpmdb.sqlite")
	base := filepath.Join(b.base.dbDir, "rpmdb.sqlite")
	if _, err := os.Stat(base); b.base.dbDir != "" && err == nil {
		gone := map[string]bool{}
		for _, h := range b.removed {
			gone[h.NEVRA().String()] = true
		}
		if err := rpmdb.Update(base, func(h *rpm.Header) bool { return gone[h.NEVRA().String()] }, entries); err != nil {
			return "", fmt.Errorf("add to the base's rpmdb: %w", err)
		}
		return base, nil
	}
	var all []rpmdb.Entry
	for _, h := range b.remaining() {
		all = append(all, rpmdb.Entry{Header: h, Stored: true})
	}
	b.base.dbDir = dir // for the next stage
	return path, rpmdb.Write(path, append(all, entries...))
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
