// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"cmp"
	"slices"
	"strings"
)

// near gives up to five of names that a mistyped spec may have meant, best first.
func near(spec string, names []string) []string {
	type scored struct {
		name  string
		score int
	}
	spec = strings.ToLower(spec)
	if spec == "" || isGlob(spec) || strings.HasPrefix(spec, "/") || len(spec) > 64 {
		return nil
	}
	limit := 1 + len(spec)/4
	var best []scored
	for _, name := range names {
		low := strings.ToLower(name)
		n := distance(spec, low, limit+1)
		switch {
		case n <= limit:
		case len(spec) >= 3 && strings.HasPrefix(low, spec):
			n = limit + len(low) - len(spec)
		case len(spec) >= 4 && strings.Contains(low, spec):
			n = 2*limit + len(low) - len(spec)
		default:
			continue
		}
		best = append(best, scored{name, n})
	}
	slices.SortFunc(best, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range best[:min(5, len(best))] {
		out = append(out, s.name)
	}
	return out
}

// distance counts insertions, deletions, changes and swaps of neighbours; from limit on it need not be exact.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j-1]+cost, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
