// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"grove/internal/rpm"
)

// Format is one of the kinds of databases that rpm keeps.
type Format string

// The formats. rpm before 4.16 has Berkeley DB alone; since then the macro %_db_backend says which it is.
const (
	SQLite Format = "sqlite"
	NDB    Format = "ndb"
	BDB    Format = "bdb"
)

// Files are the names that a database of the format may have in its folder.
func (f Format) Files() []string {
	switch f {
	case NDB:
		return []string{ndbName, ndbIndexName}
	case BDB:
		names := []string{bdbName}
		for _, t := range tables {
			names = append(names, t.name)
		}
		return names
	}
	return []string{sqliteName}
}

// FormatOf tells the format of the database in a dbpath folder.
//
//	errors  ErrNone
func FormatOf(dir string) (Format, error) {
	file, _, err := locate(dir)
	if err != nil {
		return "", err
	}
	switch filepath.Base(file) {
	case ndbName:
		return NDB, nil
	case bdbName:
		return BDB, nil
	}
	return SQLite, nil
}

// WriteAs makes a new database of the entries, in their order, in a folder that has none. It is not synced.
//
//	errors  fs.ErrExist; after any other error some of its files may be there
func WriteAs(dir string, f Format, entries []Entry) error {
	switch f {
	case SQLite:
		return Write(dir, entries)
	case NDB, BDB:
	default:
		return fmt.Errorf("write rpm database: format %q is not known", f)
	}
	blobs, indexes, err := collect(entries)
	if err != nil {
		return fmt.Errorf("write rpm database: %w", err)
	}
	var files map[string][]byte
	if f == NDB {
		files, err = ndbFiles(blobs, indexes)
	} else {
		files, err = bdbFiles(blobs, indexes)
	}
	if err != nil {
		return fmt.Errorf("write rpm database: %w", err)
	}
	for _, name := range f.Files() {
		if err := create(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// row is an entry of an index: the package and the place in the tag's array.
type row struct{ hnum, idx uint32 }

// index is one of the index tables in memory.
type index struct {
	table
	keys []string // sorted
	rows map[string][]row
}

// collect makes blobs and index rows of entries; packages are numbered from 1.
func collect(entries []Entry) ([]blob, []index, error) {
	indexes := make([]index, len(tables))
	for i, t := range tables {
		indexes[i] = index{table: t, rows: map[string][]row{}}
	}
	blobs := make([]blob, 0, len(entries))
	for n, e := range entries {
		data, err := Blob(e)
		if err != nil {
			return nil, nil, err
		}
		h, err := rpm.ParseHeader(data)
		if err != nil {
			return nil, nil, fmt.Errorf("header of %s: %w", e.Header.NEVRA(), err)
		}
		hnum := uint32(n + 1)
		blobs = append(blobs, blob{hnum, data})
		for i := range indexes {
			x := &indexes[i]
			err := x.eachRow(h, func(key any, idx uint32) error {
				k, ok := key.(string)
				if b, isBytes := key.([]byte); isBytes {
					k, ok = string(b), true
				}
				if !ok {
					return fmt.Errorf("internal error: key of type %T", key)
				}
				x.rows[k] = append(x.rows[k], row{hnum, idx})
				return nil
			})
			if err != nil {
				return nil, nil, err
			}
		}
	}
	for i := range indexes {
		for k, rows := range indexes[i].rows {
			indexes[i].keys = append(indexes[i].keys, k)
			slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.hnum, b.hnum), cmp.Compare(a.idx, b.idx)) })
			indexes[i].rows[k] = slices.Compact(rows)
		}
		slices.Sort(indexes[i].keys)
	}
	return blobs, indexes, nil
}

func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
