// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// stageDetached writes the detached metadata into the staging folder.
func (tx *Tx) stageDetached() error {
	for c, d := range tx.detached {
		o := object{ostree.TypeCommitMeta, c}
		if err := tx.writePlain(stagedName(o), d.Encode()); err != nil {
			return fmt.Errorf("write object %s: %w", o, err)
		}
	}
	return nil
}

// moveDetached puts the detached metadata into place, over what is there.
func (tx *Tx) moveDetached() error {
	var dirs [][]object
	for _, c := range slices.SortedFunc(maps.Keys(tx.detached), ostree.Checksum.Compare) {
		o := object{ostree.TypeCommitMeta, c}
		name := tx.r.objectPath(o)
		if err := unix.Mkdirat(tx.r.objdir(), name[:2], 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("mkdir objects/%s: %w", name[:2], err)
		}
		err := durable.RenameAt(durable.At{Dir: tx.stage.fd, Name: stagedName(o)}, durable.At{Dir: tx.r.objdir(), Name: name}, false)
		if err != nil {
			return err
		}
		dirs = append(dirs, []object{o})
	}
	if len(dirs) == 0 {
		return nil
	}
	return tx.syncDirs(dirs)
}

func (r *Repo) partialPath(c ostree.Checksum) string {
	return filepath.Join(r.path, "state", c.String()+".commitpartial")
}

// IsPartial reports whether a commit is marked as one whose content is not all there.
func (r *Repo) IsPartial(c ostree.Checksum) bool {
	_, err := os.Lstat(r.partialPath(c))
	return err == nil
}

// markPartials makes (before objects move) or removes (after) the marks of partial commits.
func (tx *Tx) markPartials(mark bool) error {
	for _, c := range slices.SortedFunc(maps.Keys(tx.partial), ostree.Checksum.Compare) {
		if tx.partial[c] != mark || tx.r.IsPartial(c) == mark {
			continue
		}
		path := tx.r.partialPath(c)
		if mark {
			if err := tx.r.makeDirs(filepath.Dir(path)); err != nil {
				return err
			}
			if err := tx.r.writeFile(path, nil); err != nil {
				return err
			}
			continue
		}
		if err := tx.r.removeFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
