// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

// TestHostileSchemas: a tree's database may hold programs of sqlite's. They do not run, whether it is read or changed.
func TestHostileSchemas(t *testing.T) {
	const endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x AS hnum, zeroblob(9) AS blob FROM c WHERE x<0"
	for name, change := range map[string]string{
		"view":      "ALTER TABLE Packages RENAME TO p; CREATE VIEW Packages AS " + endless,
		"trigger":   "CREATE TRIGGER t BEFORE INSERT ON Packages BEGIN DELETE FROM Packages; END",
		"on index":  "CREATE TRIGGER t AFTER DELETE ON Name BEGIN INSERT INTO Name " + strings.Replace(endless, "zeroblob(9) AS blob", "1, 1", 1) + "; END",
		"generated": "ALTER TABLE Packages RENAME TO p; CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob AS (zeroblob(1000000000)))",
		"virtual":   "ALTER TABLE Packages RENAME TO p; CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)",
		"default":   "ALTER TABLE Packages RENAME TO p; CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob DEFAULT (zeroblob(1000000000)))",
		"index":     "CREATE INDEX i ON Packages(zeroblob(hnum))",
		"part":      "CREATE INDEX i ON Packages(hnum) WHERE length(zeroblob(1000000000)) > 1",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := rpmdb.Write(dir, entries(t, 2, 1)); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "rpmdb.sqlite"))
			if err != nil {
				t.Fatal(err)
			}
			for _, stmt := range strings.SplitAfter(strings.Replace(change, "; END", ", END", 1), "; ") {
				if _, err := db.Exec(strings.Replace(stmt, ", END", "; END", 1)); err != nil {
					t.Fatal(err)
				}
			}
			db.Close()
			const want = "is none of an rpmdb"
			if _, err := rpmdb.Read(dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("read: %v", err)
			}
			all := func(*rpm.Header) bool { return true }
			if err := rpmdb.Update(dir, all, entries(t, 1, 1)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("update: %v", err)
			}
		})
	}
}
