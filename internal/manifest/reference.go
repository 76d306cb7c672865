// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"
)

// Reference renders the table for a person.
func Reference() string {
	var b strings.Builder
	b.WriteString("A manifest is YAML or JSON with these keys. '_' in a key is as good as '-'.\n")
	for _, k := range ownKeys {
		fmt.Fprintf(&b, "\n%s: %s\n", k.Name, k.Type)
		for _, line := range wrap(k.Help, 74) {
			fmt.Fprintf(&b, "    %s\n", line)
		}
		if k.Default != "" {
			fmt.Fprintf(&b, "    default  %s\n", k.Default)
		}
		if k.Merge != mergeNone {
			fmt.Fprintf(&b, "    include  %s\n", k.Merge)
		}
		fmt.Fprintf(&b, "    example  %s: %s\n", strings.Replace(k.Name, "ARCH", "x86_64", 1), strings.ReplaceAll(k.Example, "\n\n", "\\n"))
	}
	b.WriteString("\nKeys of rpm-ostree that are accepted and have no meaning here:\n\n")
	for _, k := range ignoredKeys {
		fmt.Fprintf(&b, "    %-22s %s\n", k.Name, k.Ignored)
	}
	return b.String()
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// didYouMean names the known key nearest to a wrong one.
func didYouMean(key string) string {
	best, distance := "", min(4, 1+len(key)/3)
	for _, k := range Keys() {
		if n := editDistance(strings.ReplaceAll(key, "_", "-"), k.Name, distance); n < distance {
			best, distance = k.Name, n
		}
	}
	if best == "" {
		return "; grove help manifest lists the known ones"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance counts insertions, deletions and changes; at and above limit it need not be exact.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
