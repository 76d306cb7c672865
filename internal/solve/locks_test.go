// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"strings"
	"testing"

	"grove/internal/rpm"
	"grove/internal/solve"
)

func TestParseLock(t *testing.T) {
	for _, c := range []struct {
		lock, nevra    string
		covers, admits bool
	}{
		{"bash-0:5.1.8-6.el9.*", "bash-5.1.8-6.el9.x86_64", true, true},
		{"bash-0:5.1.8-6.el9.*", "bash-5.1.8-7.el9.x86_64", true, false},
		{"bash-0:5.1.8-6.el9.*", "bash-completion-2-1.noarch", false, true},
		{"glibc-2.34-60.el9", "glibc-2.34-60.el9.i686", true, true},
		{"glibc-2.34-60.el9.x86_64", "glibc-2.35-1.el9.i686", false, true},
		{"glibc-2.34-60.el9.x86_64", "glibc-2.35-1.el9.x86_64", true, false},
		{"openssl-3.0.*", "openssl-1:3.0.7-1.x86_64", true, true},
		{"openssl-3.0.*", "openssl-3.1-1.x86_64", true, false},
		{"python3*-3.9*", "python3-libs-3.9.1-1.x86_64", true, true},
		{"!openssl-3.2", "openssl-3.2-1.x86_64", true, false},
		{"!openssl-3.2", "openssl-3.1-1.x86_64", true, true},
	} {
		l, err := solve.ParseLock(c.lock)
		if err != nil {
			t.Errorf("%s: %v", c.lock, err)
			continue
		}
		n, err := rpm.ParseNEVRA(c.nevra)
		if err != nil {
			t.Fatal(err)
		}
		if l.Covers(n) != c.covers || l.Admits(n) != c.admits {
			t.Errorf("%s, %s: covers %v, admits %v", c.lock, c.nevra, l.Covers(n), l.Admits(n))
		}
	}
	for _, bad := range []string{"", "bash", "bash.x86_64", "!", "!bash", "-1", "a\nb-1"} {
		if _, err := solve.ParseLock(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// What a person types as a package never breaks anything, and a lock on a package admits that package.
func FuzzSpecs(f *testing.F) {
	for _, s := range []string{"bash", "bash-5.1-1.x86_64", "a-1:2-3.noarch", "*-[", "(a if b)", "/usr/bin/x*", "a >= 2", "!a-1", "-", ".", "a-.b", "[", "a-1-\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		req := solve.Request{
			Arch: "x86_64", Install: []string{s}, Exclude: []string{"b"}, KeepInstalled: true,
			Installed: []rpm.Meta{pkg(t, "base-1-1.x86_64; files /usr/bin/x")},
			Repos:     []solve.Repo{{ID: "r", Packages: []rpm.Meta{pkg(t, "a-1-1.x86_64; provides virt"), pkg(t, "b-1-1.x86_64")}}},
		}
		if plan, err := solve.Solve(req); err == nil && len(plan.Install)+len(plan.Satisfied) == 0 && !strings.HasPrefix(strings.TrimSpace(s), "(") {
			t.Errorf("%q: nothing, and no error", s)
		}
		if l, err := solve.ParseLock(s); err == nil {
			n := rpm.NEVRA{Name: s, EVR: rpm.EVR{Version: "1", Release: "1"}, Arch: "noarch"}
			if !l.Admits(n) && !l.Covers(n) && s[0] != '!' {
				t.Errorf("%q neither covers nor admits %s", s, n)
			}
		}
		if n, err := rpm.ParseNEVRA(s); err == nil && (n.Arch == "noarch" || n.Arch == "x86_64") && n.String() == s {
			if solve.Excluder([]string{s})(n) != true {
				t.Errorf("%q does not exclude itself", s)
			}
		}
	})
}
