// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"grove/internal/rpm"
)

// readSqlite reads rpmdb.sqlite without writing beside it. Where a write-ahead log that holds changes lies there, a copy
// is read, for sqlite would have to write to look into it.
func readSqlite(path string) ([]blob, error) {
	options := "immutable=1&mode=ro"
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		dir, err := os.MkdirTemp("", "grove-rpmdb-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		copied := filepath.Join(dir, sqliteName)
		for _, end := range []string{"", "-wal"} {
			if err := copyFile(path+end, copied+end); err != nil {
				return nil, err
			}
		}
		path, options = copied, "mode=rw"
	}
	db, conn, err := open(path, options)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	defer conn.Close()
	return allBlobs(conn)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, maxFileBytes))
	return errors.Join(err, out.Close())
}

func open(path, options string) (*sql.DB, *sql.Conn, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	uri := url.URL{Scheme: "file", Path: abs, RawQuery: options}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(context.Background())
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	if err := plainSchema(conn); err != nil {
		return nil, nil, errors.Join(err, conn.Close(), db.Close())
	}
	return db, conn, nil
}

// plainSchema refuses a database that could run a program of its maker's while it is read or changed: with an rpmdb's own
// tables and indexes, what comes out is no more than what lies in the file.
//
//	source  rpm lib/backend/sqlite.c; sqlite.org/lang_createtable.html, lang_createindex.html
func plainSchema(conn *sql.Conn) error {
	rows, err := conn.QueryContext(context.Background(), "SELECT type, name, coalesce(sql,'') FROM sqlite_schema")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name, text string
		if err := rows.Scan(&kind, &name, &text); err != nil {
			return err
		}
		plain := kind == "table" && !schemaProgram.MatchString(text) || kind == "index" && !schemaCall.MatchString(text)
		if !plain {
			return fmt.Errorf("its schema has a %.20s %.40q, which is none of an rpmdb's", kind, name)
		}
	}
	return rows.Err()
}

// schemaProgram is what a table is written with that computes; schemaCall is an index on more than columns.
var (
	schemaProgram = regexp.MustCompile(`(?i)\b(VIRTUAL|AS|CHECK|DEFAULT|COLLATE)\b`)
	schemaCall    = regexp.MustCompile(`(?is)\bWHERE\b|\bCOLLATE\b|\(.*\(`)
)

func allBlobs(conn *sql.Conn) ([]blob, error) {
	rows, err := conn.QueryContext(context.Background(), "SELECT hnum, blob FROM 'Packages' ORDER BY hnum")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var blobs []blob
	for rows.Next() {
		var b blob
		if err := rows.Scan(&b.hnum, &b.data); err != nil {
			return nil, err
		}
		if len(b.data) > maxBlobBytes {
			return nil, fmt.Errorf("package %d: %d bytes, limit %d", b.hnum, len(b.data), maxBlobBytes)
		}
		if blobs = append(blobs, b); len(blobs) > maxPackages {
			return nil, errTooMany(len(blobs))
		}
	}
	return blobs, rows.Err()
}

// fileOf gives the database file of a dbpath folder, or path itself.
func fileOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, sqliteName)
	}
	return path
}

// Write makes a new sqlite database of the entries, in their order. path is the file (rpmdb.sqlite), or the folder to
// put it in; the file must not exist. It is not synced.
//
//	errors  fs.ErrExist; after any other error there is no file
func Write(path string, entries []Entry) error {
	file := fileOf(path)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	if err := change(file, schema, nil, entries); err != nil {
		os.Remove(file)
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// Update removes the packages that remove tells and appends entries, in a sqlite database that belongs to the caller
// alone: it is changed in place, not synced, and of no use any more if the program dies meanwhile. path is as in Write.
//
//	errors  fs.ErrNotExist; after an error of another kind the database is as it was
func Update(path string, remove func(*rpm.Header) bool, add []Entry) error {
	file := fileOf(path)
	if _, err := os.Stat(file); err != nil {
		return err
	}
	if err := change(file, "", remove, add); err != nil {
		return fmt.Errorf("update %s: %w", file, err)
	}
	return nil
}

// pragmas make one big transaction cheap; none changes the format. journal_mode=DELETE first takes a database that rpm left in WAL
// mode out of it; the one in memory is not remembered in the file.
const pragmas = `PRAGMA journal_mode=DELETE; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;
PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;`

func change(file, schema string, remove func(*rpm.Header) bool, add []Entry) (err error) {
	db, conn, err := open(file, "mode=rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(), db.Close()) }()
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, pragmas+schema); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if remove != nil {
		if err := removePackages(conn, remove); err != nil {
			return err
		}
	}
	w := writer{conn: conn}
	defer w.close()
	for _, e := range add {
		if err := w.add(e); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return tx.Commit()
}

func removePackages(conn *sql.Conn, remove func(*rpm.Header) bool) error {
	return eachHeader(conn, func(b blob, h *rpm.Header) error {
		if !remove(h) {
			return nil
		}
		for _, t := range tables {
			if _, err := conn.ExecContext(context.Background(), "DELETE FROM '"+t.name+"' WHERE hnum=?", b.hnum); err != nil {
				return err
			}
		}
		_, err := conn.ExecContext(context.Background(), "DELETE FROM 'Packages' WHERE hnum=?", b.hnum)
		return err
	})
}

// eachHeader calls f for each package, all of which are read before.
func eachHeader(conn *sql.Conn, f func(b blob, h *rpm.Header) error) error {
	blobs, err := allBlobs(conn)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		h, err := rpm.ParseHeader(b.data)
		if err != nil {
			return fmt.Errorf("package %d: %w", b.hnum, err)
		}
		if err := f(b, h); err != nil {
			return err
		}
	}
	return nil
}

// schema is what `rpm --initdb` of rpm 4.18 leaves; the odd 'TEXT' is a type name to sqlite.
var schema = func() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL);")
	for _, t := range tables {
		typ := "TEXT"
		if t.bytes {
			typ = "BLOB"
		}
		fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS '%s' (key '%s' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, "+
			"FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum));", t.name, typ)
		if !t.bytes {
			fmt.Fprintf(&b, "CREATE INDEX IF NOT EXISTS '%s_key_idx' ON '%s'(key ASC);", t.name, t.name)
		}
		if t.list {
			fmt.Fprintf(&b, "CREATE INDEX IF NOT EXISTS '%s_hnum_idx' ON '%s'(hnum ASC);", t.name, t.name)
		}
	}
	return b.String()
}()
