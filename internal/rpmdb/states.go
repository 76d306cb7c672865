// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"grove/internal/rpm"
)

// SetStates gives the header of an installed package with other states of some of its files, as rpm notes that another package has
// replaced them.
//
//	shape   states by the file's index in the header; values as in Entry.FileStates
//	errors  text only, for a header that has no states: it comes from a package file
func SetStates(h *rpm.Header, states map[int]byte) (*rpm.Header, error) {
	data := slices.Clone(h.Blob())
	be := binary.BigEndian
	entries := int(be.Uint32(data))
	for i := range entries {
		e := data[prefixBytes+i*entryBytes:]
		if be.Uint32(e) != rpm.TagFileStates {
			continue
		}
		at, count := prefixBytes+entries*entryBytes+int(be.Uint32(e[8:])), int(be.Uint32(e[12:]))
		for n, state := range states {
			if n < 0 || n >= count {
				return nil, fmt.Errorf("state of file %d of %d", n, count)
			}
			data[at+n] = state
		}
		return rpm.ParseHeader(data)
	}
	return nil, errors.New("header without states of files")
}

// Replace puts other headers in the place of those that a sqlite database has for the same packages, on the place that they have.
// It is for changes that no index knows of, such as those of SetStates.
func Replace(path string, with func(*rpm.Header) *rpm.Header) (err error) {
	file := fileOf(path)
	db, conn, err := open(file, "mode=rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(), db.Close()) }()
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, pragmas); err != nil {
		return err
	}
	return eachHeader(conn, func(b blob, h *rpm.Header) error {
		other := with(h)
		if other == nil {
			return nil
		}
		_, err := conn.ExecContext(ctx, "UPDATE 'Packages' SET blob = ? WHERE hnum = ?", other.Blob(), int64(b.hnum))
		return err
	})
}
