// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strings"

	"grove/internal/repo"
)

// ErrNone says that a guest has no current deployment.
var ErrNone = errors.New("no deployment")

// ErrRunning says that a deployment is in use by a running guest.
var ErrRunning = errors.New("running")

// NotFoundError says that there is no such guest or deployment. It is a repo.ErrNotFound.
type NotFoundError struct {
	What string   // "guest web"
	Near []string // names that were perhaps meant
}

func (e *NotFoundError) Error() string {
	s := e.What + ": not found"
	if len(e.Near) > 0 {
		s += "; is it " + strings.Join(e.Near, " or ") + "?"
	}
	return s
}

// Is makes errors.Is(err, repo.ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == repo.ErrNotFound }

// existsError says that a name is taken. It is an fs.ErrExist.
type existsError struct{ text string }

func (e existsError) Error() string { return e.text }

func (e existsError) Is(target error) bool { return target == fs.ErrExist }

// maxName is the length of a machine's name: Linux's HOST_NAME_MAX.
const maxName = 64

// ValidName tells whether a guest may be called name: what systemd takes for a machine's name, which also is an OSTree ref's
// segment and a file name without surprises.
//
//	source  systemd src/basic/hostname-util.c, hostname_is_valid
func ValidName(name string) error {
	if name == "" {
		return errors.New("guest name: is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("guest name %.20q...: has %d characters, at most %d are allowed", name, len(name), maxName)
	}
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	for i := range len(name) {
		c := name[i]
		if !alnum(c) && (c != '-' && c != '_' && c != '.' || i == 0 || i == len(name)-1 || c == '.' && !alnum(name[i+1])) {
			return fmt.Errorf("guest name %q: want letters, digits and, inside, '-', '_', '.'", name)
		}
	}
	return nil
}

// near returns up to three of all that differ from name by little.
func near(name string, all []string) []string {
	type scored struct {
		name string
		d    int
	}
	var found []scored
	for _, a := range all {
		d := distance(strings.ToLower(name), strings.ToLower(a))
		if d <= 2 || strings.HasPrefix(a, name) || strings.HasPrefix(name, a) {
			found = append(found, scored{a, d})
		}
	}
	sort.Slice(found, func(i, j int) bool {
		if found[i].d != found[j].d {
			return found[i].d < found[j].d
		}
		return found[i].name < found[j].name
	})
	var out []string
	for _, f := range found[:min(3, len(found))] {
		out = append(out, f.name)
	}
	return out
}

// distance is the number of single-byte edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
