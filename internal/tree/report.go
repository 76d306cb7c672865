// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"slices"
	"strings"
)

// Report is a Diff as `ostree diff` tells it: three lists of paths. What lies below a removed directory, or below a path that
// is a file on one side and a directory on the other, is not in it; what lies below an added one is. The root's own metadata
// does not count. Within a directory files come before directories.
//
//	source  ostree src/libostree/ostree-diff.c, ostree_diff_dirs_with_options
type Report struct{ Modified, Removed, Added []Change }

// NewReport makes a report of what Diff returned.
func NewReport(changes []Change) Report {
	var r Report
	hidden := "" // a path with all below it, as Diff lists them one after the other
	for _, c := range changes {
		if c.Path == "" || hidden != "" && strings.HasPrefix(c.Path, hidden) {
			continue
		}
		hidden = ""
		switch c.Kind {
		case Removed:
			r.Removed = append(r.Removed, c)
			hidden = c.Path + "/"
		case Added:
			r.Added = append(r.Added, c)
		default:
			r.Modified = append(r.Modified, c)
			if c.Old.Dir != c.New.Dir {
				hidden = c.Path + "/"
			}
		}
	}
	for _, list := range [][]Change{r.Modified, r.Removed, r.Added} {
		slices.SortFunc(list, filesFirst)
	}
	return r
}

// filesFirst orders paths as they come when each directory tells its files, then its directories with all below them.
func filesFirst(a, b Change) int {
	x, y := a.Path, b.Path
	for {
		xn, xrest, xdir := strings.Cut(x, "/")
		yn, yrest, ydir := strings.Cut(y, "/")
		if xn != yn {
			xdir, ydir = xdir || a.isDir(), ydir || b.isDir()
			if xdir != ydir {
				if ydir {
					return -1
				}
				return 1
			}
			return strings.Compare(xn, yn)
		}
		if !xdir || !ydir {
			return len(x) - len(y)
		}
		x, y = xrest, yrest
	}
}

// isDir says what the path is on the side that is listed.
func (c Change) isDir() bool {
	if c.Kind == Added {
		return c.New.Dir
	}
	return c.Old.Dir
}
