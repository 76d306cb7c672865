// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"grove/internal/durable"
)

// unjudgedFile lies in a deployment's folder from before it becomes current until those who judge it then have done so
// (Judged). Where a kill comes between, it says so to the next run.
const unjudgedFile = ".unjudged"

// SetUnjudged marks a deployment that is going to be judged once it is current.
func (g *Guest) SetUnjudged(id int) error {
	return durable.WriteFile(filepath.Join(g.deploymentsDir(), strconv.Itoa(id), unjudgedFile), nil, 0o644)
}

// Judged says that nobody is to judge a deployment any more.
func (g *Guest) Judged(id int) error {
	dir := filepath.Join(g.deploymentsDir(), strconv.Itoa(id))
	err := os.Remove(filepath.Join(dir, unjudgedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

func unjudged(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, unjudgedFile))
	return err == nil
}
