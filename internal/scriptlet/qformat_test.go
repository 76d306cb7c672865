// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"strings"
	"testing"

	"grove/internal/fixture"
	"grove/internal/rpm"
)

func qformatHeader(t testing.TB) *rpm.Header {
	t.Helper()
	data, err := fixture.RPM(fixture.Spec{Name: "q", Version: "2", Release: "3", Provides: []string{"p1", "p2"},
		Files: []fixture.File{{Path: "/usr/lib/q/a"}, {Path: "/usr/lib/q/b"}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := rpm.ReadPackage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p.Header
}

// The answers are those of `rpm -qp --qf`.
func TestQueryFormat(t *testing.T) {
	h := qformatHeader(t)
	for _, c := range []struct{ format, want string }{
		{"echo %{NAME}-%{version}\\n", "echo q-2\n"},
		{"[%{FILENAMES}\\t]", "/usr/lib/q/a\t/usr/lib/q/b\t"},
		{"[%{=NAME}:%{BASENAMES} ]", "q:a q:b "},
		{"%5{NAME}|%-5{NAME}|100%%", "    q|q    |100%"},
		{"%|EPOCH?{has %{EPOCH}}:{none}|", "none"},
		{"%|NAME?{is %{NAME}}:{none}| %|VERSION?{x}|", "is q x"},
		{"%{EPOCH}", "(none)"},
		{"plain 'text' \\\\", "plain 'text' \\"},
	} {
		if got, err := queryFormat(h, c.format); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; wanted %q", c.format, got, err, c.want)
		}
	}
	for _, bad := range []string{"%{NAME", "%x{NAME}", "%{NOSUCH}", "[%{NAME}", "%|NAME?{x|", "%|NAME", "%|NAME?{x}", strings.Repeat("%|NAME?{", 30)} {
		if got, err := queryFormat(h, bad); err == nil {
			t.Errorf("%s: %q, wanted an error", bad, got)
		}
	}
}

// A script with the flag is filled in before it runs; one that cannot be is an error, not a script that does something else.
func TestScriptsWithQueryFormat(t *testing.T) {
	m := &member{header: qformatHeader(t)}
	p := &planner{report: &Report{}}
	p.add(m, rpm.Scriptlet{Prog: []string{"/bin/sh"}, Body: "echo %{NAME}", Flags: rpm.ScriptQFormat}, call{kind: "%post"})
	p.add(m, rpm.Scriptlet{Prog: []string{"/bin/sh"}, Body: "echo %{NAME}"}, call{kind: "%post"})
	if len(p.jobs) != 2 || string(p.jobs[0].step.Script) != "echo q" || string(p.jobs[1].step.Script) != "echo %{NAME}" || p.failed != nil {
		t.Errorf("%+v %v", p.jobs, p.failed)
	}
	p.add(m, rpm.Scriptlet{Prog: []string{"/bin/sh"}, Body: "echo %{NOSUCH}", Flags: rpm.ScriptQFormat}, call{kind: "%post"})
	if p.failed == nil {
		t.Error("a tag that is not known was taken")
	}
}

func FuzzQueryFormat(f *testing.F) {
	h := qformatHeader(f)
	for _, s := range []string{"%{NAME}", "[%{FILENAMES}\\n]", "%|EPOCH?{a}:{b}|", "[%|NAME?{%{=NAME}}|]", "%%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4<<10 {
			return
		}
		_, _ = queryFormat(h, s)
	})
}
