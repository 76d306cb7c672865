// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tablePath is the page that lists what was held against the peers. A run with GROVE_INTEROP=write writes it: one of all
// tests anew, one of some tests adds what these showed. Any other run fails where the page lacks what was shown, and one of
// all tests also where the page says what was not shown.
const tablePath = "../doc/interop.md"

// The directions of a case: the last word of its name.
const (
	sameResult = "same"               // both do it from the same input, and the results are equal
	theyRead   = "ostree-reads-grove" // what grove made is used by ostree
	weRead     = "grove-reads-ostree" // what ostree made is used by grove
)

var directions = []string{sameResult, theyRead, weRead}

// outcome of a case.
type outcome uint8

const (
	green outcome = iota + 1
	skipped
	red
) // the greater the worse

var table struct {
	sync.Mutex
	cases map[string]outcome
}

// peerCase runs f as a subtest and notes for doc/interop.md how it ends. name is VERB/WHAT/DIRECTION, such as
// commit/statoverride/same or pull/depth/grove-reads-ostree; WHAT is the option, mode or state that is tried and may be
// divided by further slashes. A name may be used several times: its worst outcome counts.
func peerCase(t *testing.T, name string, f func(t *testing.T)) bool {
	t.Helper()
	parts := strings.Split(name, "/")
	if len(parts) < 3 || !slices.Contains(directions, parts[len(parts)-1]) || strings.ContainsAny(name, "| \n") {
		t.Fatalf("case %q: want VERB/WHAT/DIRECTION, the direction one of %v", name, directions)
	}
	return t.Run(name, func(t *testing.T) {
		t.Cleanup(func() {
			how := green
			switch {
			case t.Failed():
				how = red
			case t.Skipped():
				how = skipped
			}
			table.Lock()
			defer table.Unlock()
			if table.cases == nil {
				table.cases = map[string]outcome{}
			}
			table.cases[name] = max(how, table.cases[name])
		})
		f(t)
	})
}

// finishTable writes or checks the page after all tests; it gives what is wrong.
func finishTable() error {
	if os.Getuid() != 0 || flag.Lookup("test.list").Value.String() != "" {
		return nil
	}
	page, err := os.ReadFile(tablePath)
	if err != nil {
		return err
	}
	all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
	said := tableCases(string(page))
	if os.Getenv("GROVE_INTEROP") == "write" {
		cases := maps.Clone(table.cases)
		for _, name := range said {
			if _, ran := cases[name]; !ran && !all {
				cases[name] = green
			}
		}
		return os.WriteFile(tablePath, []byte(withTable(string(page), cases)), 0o644)
	}
	var wrong []string
	for name, how := range table.cases {
		if how == green && !slices.Contains(said, name) {
			wrong = append(wrong, name+" was shown, but is not on the page")
		}
	}
	for _, name := range said {
		if _, ran := table.cases[name]; !ran && all && havePeers() {
			wrong = append(wrong, name+" is on the page, but was not shown")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%s differs from what ran (the same run with GROVE_INTEROP=write mends the page):\n  %s", tablePath, strings.Join(wrong, "\n  "))
}

// havePeers tells whether no test skipped itself for want of a program, before it came to its cases.
func havePeers() bool {
	for _, p := range []string{"ostree", "gpg", "gpgconf", "python3"} {
		if _, err := exec.LookPath(p); err != nil {
			return false
		}
	}
	return edPeerPath() != ""
}

// The table stands between these lines of the page; what is around them is written by people.
const tableBegin, tableEnd = "<!-- made by the tests of interop/ -->\n", "<!-- end -->\n"

// withTable puts the table of what was green into the page.
func withTable(page string, cases map[string]outcome) string {
	head, rest, _ := strings.Cut(page, tableBegin)
	_, foot, _ := strings.Cut(rest, tableEnd)
	rows := map[string]map[string]bool{}
	for name, how := range cases {
		if i := strings.LastIndexByte(name, '/'); how == green {
			if rows[name[:i]] == nil {
				rows[name[:i]] = map[string]bool{}
			}
			rows[name[:i]][name[i+1:]] = true
		}
	}
	var b strings.Builder
	b.WriteString("\n| verb | what | same result | ostree reads grove's | grove reads ostree's |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		verb, what, _ := strings.Cut(name, "/")
		fmt.Fprintf(&b, "| %s | %s |", verb, strings.ReplaceAll(what, "/", " / "))
		for _, d := range directions {
			mark := ""
			if rows[name][d] {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return head + tableBegin + b.String() + tableEnd + foot
}

// tableCases reads back what withTable wrote.
func tableCases(page string) []string {
	_, rest, _ := strings.Cut(page, tableBegin)
	text, _, _ := strings.Cut(rest, tableEnd)
	var names []string
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2+len(directions) {
			continue
		}
		name := strings.TrimSpace(cells[0]) + "/" + strings.ReplaceAll(strings.TrimSpace(cells[1]), " / ", "/")
		for i, d := range directions {
			if strings.TrimSpace(cells[2+i]) == "yes" {
				names = append(names, name+"/"+d)
			}
		}
	}
	return names
}

// The table says what ran, and can be read back.
func TestTable(t *testing.T) {
	cases := map[string]outcome{"pull/depth/same": green, "pull/depth/grove-reads-ostree": green, "pull/a/b/ostree-reads-grove": red, "commit/x/same": green}
	page := withTable("head\n"+tableBegin+"old\n"+tableEnd+"foot\n", cases)
	got := tableCases(page)
	want := []string{"commit/x/same", "pull/depth/same", "pull/depth/grove-reads-ostree"}
	if !slices.Equal(got, want) || !strings.HasPrefix(page, "head\n") || !strings.HasSuffix(page, "foot\n") || strings.Contains(page, "old") {
		t.Errorf("got %v of\n%s", got, page)
	}
}
