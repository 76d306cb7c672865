// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"io"

	"grove/internal/ostree"
)

// OpenFile is Repo.OpenFile that finds also what is staged here.
func (tx *Tx) OpenFile(c ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error) {
	return tx.holder(c).OpenFile(c)
}

// FileHeader is Repo.FileHeader that finds also what is staged here.
func (tx *Tx) FileHeader(c ostree.Checksum) (ostree.FileHeader, int64, error) {
	return tx.holder(c).FileHeader(c)
}

// holder is the repository that has the file: the staging folder is read as one, whose objects lie flat.
func (tx *Tx) holder(c ostree.Checksum) *Repo {
	if !tx.isStaged(object{ostree.TypeFile, c}) {
		return tx.r
	}
	return &Repo{path: tx.stage.path, mode: tx.r.mode, objects: tx.stage.dir, flat: true, parent: tx.r}
}

// OpenVerified is Repo.OpenVerified, of what is staged too: for who makes another object of the content, which would else
// have the damage under a name that fits it.
func (tx *Tx) OpenVerified(c ostree.Checksum) (ostree.FileHeader, int64, io.ReadCloser, error) {
	return tx.holder(c).OpenVerified(c)
}
