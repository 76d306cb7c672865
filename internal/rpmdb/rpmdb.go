// SPDX-License-Identifier: Apache-2.0

// Package rpmdb reads and writes the databases of installed packages that rpm keeps: sqlite, ndb, Berkeley DB.
//
// It takes no lock of rpm's, starts no rpm, and syncs nothing: it works on files that belong to the caller alone, who
// publishes them elsewhere. Only a sqlite database is changed in place; the others are written anew.
//
// Invariants: a written database has the schema, the blobs and the index rows that rpm 4.18 writes for the same packages; the same input gives
// the same bytes; its journal mode is DELETE, so that rpm can open it on a read-only file system.
package rpmdb

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"grove/internal/rpm"
)

// ErrNone says that there is no database of a known kind.
var ErrNone = errors.New("no rpm database")

// Names of the databases within a dbpath folder, in the order in which they are looked for.
const (
	sqliteName = "rpmdb.sqlite"
	ndbName    = "Packages.db"
	bdbName    = "Packages"
)

// Limits: the largest known database is that of a full distribution, below 400 MB and 20,000 packages.
const (
	maxFileBytes = 2 << 30
	maxPackages  = 100_000
	maxBlobBytes = 256 << 20 // what rpm itself takes as a header
)

// Entry is one package to write.
//
//	shape   Signature may be nil. FileStates: one byte per file (0 normal, 1 replaced, 2 not installed, 3 net shared, 4 wrong colour); nil: all normal.
//	        Stored: Header comes from a database and is written as it is; the other fields are then ignored
//	units   InstallTime in seconds since 1970; InstallTID the transaction, the same for all packages of one; InstallColor 1 = 32 bit, 2 = 64 bit, 3 = both
type Entry struct {
	Header       *rpm.Header
	Signature    *rpm.Header
	InstallTime  uint32
	InstallTID   uint32
	FileStates   []byte
	InstallColor uint32
	Stored       bool
}

// blob is a header as it lies in a database.
type blob struct {
	hnum uint32
	data []byte
}

// Read gives the headers of all installed packages, in the order in which they were installed. path is a dbpath folder
// (such as usr/share/rpm), or one of the files in it.
//
//	errors  ErrNone; fs.ErrNotExist where path itself is missing
func Read(path string) ([]*rpm.Header, error) {
	file, read, err := locate(path)
	if err != nil {
		return nil, err
	}
	return readWith(read, file)
}

func readWith(read func(string) ([]blob, error), file string) ([]*rpm.Header, error) {
	blobs, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	slices.SortStableFunc(blobs, func(a, b blob) int { return cmp.Compare(a.hnum, b.hnum) })
	headers := make([]*rpm.Header, len(blobs))
	for i, b := range blobs {
		if headers[i], err = rpm.ParseHeader(b.data); err != nil {
			return nil, fmt.Errorf("read %s: package %d: %w", file, b.hnum, err)
		}
	}
	return headers, nil
}

// kinds are the files that a database can be, the first that is there counts.
var kinds = []struct {
	name string
	read func(string) ([]blob, error)
}{{sqliteName, readSqlite}, {ndbName, readNDB}, {bdbName, readBDB}}

// Files are the names of the files that a database can be, the first that is there counts.
func Files() []string { return []string{sqliteName, ndbName, bdbName} }

// ReadFile is Read of a database file that lies under another name; name is the one it has in its folder.
func ReadFile(path, name string) ([]*rpm.Header, error) {
	for _, k := range kinds {
		if k.name != name {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
			return nil, fmt.Errorf("%s: no regular file of at most %d bytes", path, maxFileBytes)
		}
		return readWith(k.read, path)
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNone)
}

// locate finds the database file and what reads it.
func locate(path string) (string, func(string) ([]blob, error), error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	dir, only := path, ""
	if !info.IsDir() {
		dir, only = filepath.Split(path)
	}
	for _, k := range kinds {
		if only != "" && only != k.name {
			continue
		}
		file := filepath.Join(dir, k.name)
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", nil, err
		case !info.Mode().IsRegular():
			return "", nil, fmt.Errorf("%s: not a regular file", file)
		case info.Size() > maxFileBytes:
			return "", nil, fmt.Errorf("%s: %d bytes, limit %d", file, info.Size(), maxFileBytes)
		}
		return file, k.read, nil
	}
	return "", nil, fmt.Errorf("%s: %w", path, ErrNone)
}

func errTooMany(n int) error { return fmt.Errorf("%d packages, limit %d", n, maxPackages) }
