// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"fmt"
	"strings"
	"testing"

	"grove/internal/rpm"
	"grove/internal/solve"
)

// world reads packages and a request from lines:
//
//	@installed | @local | @repo ID [PRIORITY [COST]]
//	NEVRA; requires a, b >= 2; pre c; provides d = 1; files /a /b; ...
//	? install X | file X [or newer] | remove X | replace X [from REPO] | lock X | exclude X | keep | loose N | noweak | upgrade | missing | arch A
func world(t *testing.T, text string) solve.Request {
	t.Helper()
	req := solve.Request{Arch: "x86_64"}
	list := &req.Installed
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		switch {
		case line == "" || line[0] == '#':
		case f[0] == "@installed":
			list = &req.Installed
		case f[0] == "@local":
			list = &req.Local
		case f[0] == "@repo":
			r := solve.Repo{ID: f[1]}
			if len(f) > 2 {
				fmt.Sscan(f[2], &r.Priority)
			}
			if len(f) > 3 {
				fmt.Sscan(f[3], &r.Cost)
			}
			req.Repos = append(req.Repos, r)
			list = &req.Repos[len(req.Repos)-1].Packages
		case f[0] == "?":
			ask(&req, strings.TrimSpace(line[1:]))
		default:
			*list = append(*list, pkg(t, line))
		}
	}
	return req
}

func ask(req *solve.Request, line string) {
	verb, what, _ := strings.Cut(line, " ")
	switch verb {
	case "install":
		req.Install = append(req.Install, what)
	case "remove":
		req.Remove = append(req.Remove, what)
	case "replace":
		spec, from, _ := strings.Cut(what, " from ")
		req.Replace = append(req.Replace, solve.Replacement{Spec: spec, From: from})
	case "file":
		nevra, newer := strings.CutSuffix(what, " or newer")
		req.Files = append(req.Files, solve.File{NEVRA: nevra, Newer: newer})
	case "lock":
		req.Locks = append(req.Locks, what)
	case "exclude":
		req.Exclude = append(req.Exclude, what)
	case "loose":
		fmt.Sscan(what, &req.Loose)
	case "keep":
		req.KeepInstalled = true
	case "best":
		req.Best = true
	case "installonly":
		req.InstallOnly = append(req.InstallOnly, what)
	case "noweak":
		req.NoWeak = true
	case "upgrade":
		req.Upgrade = true
	case "missing":
		req.AllowMissing = true
	case "arch":
		req.Arch = what
	default:
		panic(line)
	}
}

func pkg(t *testing.T, line string) rpm.Meta {
	t.Helper()
	parts := strings.Split(line, ";")
	n, err := rpm.ParseNEVRA(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	m := rpm.Meta{NEVRA: n, Provides: []rpm.Dep{{Name: n.Name, Flags: rpm.SenseEqual, EVR: n.EVR}}}
	for _, p := range parts[1:] {
		kind, rest, _ := strings.Cut(strings.TrimSpace(p), " ")
		if kind == "files" {
			m.Files = append(m.Files, strings.Fields(rest)...)
			continue
		}
		dst := map[string]*[]rpm.Dep{
			"requires": &m.Requires, "pre": &m.Requires, "provides": &m.Provides, "conflicts": &m.Conflicts, "obsoletes": &m.Obsoletes,
			"recommends": &m.Recommends, "suggests": &m.Suggests, "supplements": &m.Supplements, "enhances": &m.Enhances,
		}[kind]
		for _, d := range strings.Split(rest, ",") {
			d := dep(strings.TrimSpace(d))
			d.Pre = kind == "pre"
			*dst = append(*dst, d)
		}
	}
	return m
}

func dep(s string) rpm.Dep {
	f := strings.Fields(s)
	if strings.HasPrefix(s, "(") || len(f) != 3 {
		return rpm.Dep{Name: s}
	}
	d := rpm.Dep{Name: f[0], EVR: rpm.ParseEVR(f[2])}
	for _, c := range f[1] {
		d.Flags |= map[rune]uint32{'<': rpm.SenseLess, '=': rpm.SenseEqual, '>': rpm.SenseGreater}[c]
	}
	return d
}

// print shows a plan: a line for each package, in order.
func print(req solve.Request, plan solve.Plan) string {
	var b strings.Builder
	name := func(p solve.Pick) string {
		if p.Repo == solve.LocalRepo {
			return req.Local[p.Index].NEVRA.String()
		}
		for _, r := range req.Repos {
			if r.ID == p.Repo {
				return r.Packages[p.Index].NEVRA.String()
			}
		}
		return "?"
	}
	for _, p := range plan.Install {
		fmt.Fprintf(&b, "%s %s %s\n", p.Repo, name(p), p.Reason)
	}
	for _, i := range plan.Remove {
		fmt.Fprintf(&b, "- %s\n", req.Installed[i].NEVRA)
	}
	for _, s := range plan.Satisfied {
		fmt.Fprintf(&b, "= %s\n", s)
	}
	for _, s := range plan.Waiting {
		fmt.Fprintf(&b, "~ %s\n", s)
	}
	for _, s := range plan.Missing {
		fmt.Fprintf(&b, "! %s\n", s)
	}
	return b.String()
}

// answer is the plan or the error as text.
func answer(req solve.Request) string {
	plan, err := solve.Solve(req)
	if err != nil {
		return err.Error() + "\n"
	}
	return print(req, plan)
}
