// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestRich(t *testing.T) {
	// Each dependency is asked for in a world of a, b, c; the answer is what comes in.
	const packages = "@repo r\na-2-1.noarch\nb-1-1.noarch; provides p, q = 3\nc-1-1.noarch; provides p, lib(x)(64bit)\n"
	for _, c := range []struct{ dep, want string }{
		{"(a)", "a"},
		{"(a and b)", "a b"},
		{"(a and b and c)", "a b c"},
		{"(zz or b or yy)", "b"},
		{"(a if b)", ""},
		{"(a if b else c)", "a b"}, // c alone would do as well
		{"(p with q)", "b"},
		{"(p without q)", "c"},
		{"(a >= 1 and lib(x)(64bit))", "a c"},
		{"(a = 2)", "a"},
		{"(a < 2 or b <= 1-1)", "b"},
		{"((a and (b or c)) or zz)", "a b"},
		{" ( a  and\tc ) ", "control"},
		{"(b unless a)", "b"},
		{"()", "wanted a name"},
		{"(a", "wanted an operator"},
		{"(a and", "wanted a name"},
		{"(a b)", "wanted an operator"},
		{"(a and b or c)", "does not go with"},
		{"(a if b if c)", "does not go with"},
		{"(a else b)", "does not go with"},
		{"(a without b without c)", "does not go with"},
		{"(a >= )", "wanted a version"},
		{"(a) b", "follows the closing"},
		{strings.Repeat("(", 40) + "a" + strings.Repeat(")", 40), "nested deeper"},
		{"(a" + strings.Repeat(" and a", 60) + ")", "operands"},
		{"((a and b)" + strings.Repeat(" or (a and b)", 20) + ")", "alternatives"},
	} {
		got := answer(world(t, packages+"? install "+c.dep))
		if strings.HasPrefix(got, "r ") || got == "" {
			var names []string
			for _, n := range []string{"a-", "b-", "c-"} {
				if strings.Contains(got, "r "+n) {
					names = append(names, n[:1])
				}
			}
			got = strings.Join(names, " ")
		}
		if got != c.want && (len(c.want) < 4 || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %q, want %q", c.dep, got, c.want)
		}
	}
}

// TestRichStack nests as deep and wide as the encoder lets pass: the machine in C has room for it.
func TestRichStack(t *testing.T) {
	d := "x"
	for range 8 {
		d = "(" + strings.Repeat("a with ", 39) + d + ")"
	}
	got := answer(world(t, fmt.Sprintf("@repo r\na-1-1.noarch\nz-1-1.noarch; requires %s\n? install z", d)))
	if strings.Contains(got, "internal error") || !strings.Contains(got, "nothing provides") {
		t.Error(got)
	}
}
