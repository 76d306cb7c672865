// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"fmt"
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
)

// noisy is a package whose scriptlets make an account, note that they ran, and what was there.
func noisy(name string) fixture.Spec {
	return fixture.Spec{Name: name, Files: []fixture.File{{Path: "/usr/lib/" + name + "/x", Content: []byte(name)}}, Scripts: []fixture.Script{
		{Kind: "post", Prog: "<lua>", Body: fmt.Sprintf(`local f = io.open("/usr/lib/noise", "a") f:write("%s") f:close()
			f = io.open("/etc/passwd") local n = 900 for line in f:lines() do n = n + 1 if line:match("^%s:") then n = nil break end end f:close()
			if n then f = io.open("/etc/passwd", "a") f:write("%s:x:", n, ":0::/:/bin/false\n") f:close() end
			print("%s makes noise")`, name, name, name, name)}}}
}

// A change that adds packages goes on from the deployment before, and gives what its lock gives from the base.
func TestStages(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	p.source(t, "noise", noisy("na"), noisy("nb"), noisy("nc"), fixture.Spec{Name: "nb", Version: "2.0"})
	deployment := 0
	change := func(prev *compose.Result, held bool, packages ...string) compose.Result {
		t.Helper()
		o := p.onBase(t, "base")
		if prev != nil {
			o.Previous = &prev.Lock
		}
		res, _ := p.run(t, manifest.Manifest{Packages: packages}, o)
		if deployment++; held {
			if err := p.repo.SetRef(fmt.Sprintf("grove/guest/g/%d", deployment), res.Commit); err != nil {
				t.Fatal(err)
			}
		}
		return res
	}
	again := func(res compose.Result, packages ...string) {
		t.Helper()
		q := w.place(t)
		q.repos = p.repos
		o := q.onBase(t, "base")
		o.Lock = &res.Lock
		got, tr := q.run(t, manifest.Manifest{Packages: packages}, o)
		if got.Commit != res.Commit || string(got.Lock.Encode()) != string(res.Lock.Encode()) {
			t.Errorf("%v from the lock: %s, wanted %s\n%s\n%s", packages, got.Commit, res.Commit, got.Lock.Encode(), res.Lock.Encode())
		}
		if err := q.repo.Check(t.Context()); err != nil {
			t.Error(err)
		}
		_ = tr
	}
	ran := func(res compose.Result, want string) {
		t.Helper()
		var got []string
		for _, l := range strings.Split(string(res.ScriptLog), "\n") {
			if name, ok := strings.CutPrefix(l, "%post("); ok {
				got = append(got, name[:2])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("ran %q, wanted %q:\n%s", got, want, res.ScriptLog)
		}
	}
	noise := func(res compose.Result, want string) {
		t.Helper()
		tr, _, err := p.repo.Tree(res.Commit)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.text(t, tr, "usr/lib/noise"); got != want {
			t.Errorf("noise %q, wanted %q", got, want)
		}
	}

	one := change(nil, true, "nc")
	ran(one, "nc")
	if len(one.Lock.Stages) != 0 {
		t.Errorf("stages of one: %v", one.Lock.Stages)
	}
	two := change(&one, true, "na", "nc")
	ran(two, "na")
	noise(two, "ncna")
	three := change(&two, true, "na", "nb-1.0", "nc")
	ran(three, "nb")
	noise(three, "ncnanb")
	if fmt.Sprint(three.Lock.Stages) != "[{1 0 1 0} {2 0 2 0} {3 0 3 0}]" {
		t.Errorf("stages %v", three.Lock.Stages)
	}
	again(three, "na", "nb-1.0", "nc")

	// Without a deployment to go on from, all runs again, to the same end.
	q := w.place(t)
	q.repos = p.repos
	o := q.onBase(t, "base")
	o.Previous = &two.Lock
	same, _ := q.run(t, manifest.Manifest{Packages: []string{"na", "nb-1.0", "nc"}}, o)
	if same.Commit != three.Commit {
		t.Errorf("from the base %s, from the deployment %s", same.Commit, three.Commit)
	}
	ran(same, "nc na nb")

	// What goes or changes takes everything from there on along.
	without := change(&three, true, "nb-1.0", "nc")
	ran(without, "nb")
	noise(without, "ncnb")
	again(without, "nb-1.0", "nc")
	newer := change(&three, true, "na", "nb-2.0", "nc")
	noise(newer, "ncna")
	ran(newer, "")
	first := change(&three, true, "na", "nb-1.0")
	noise(first, "nanb")
	if len(first.Lock.Stages) != 0 {
		t.Errorf("stages %v", first.Lock.Stages)
	}
	// An override is one more stage.
	m := manifest.Manifest{Packages: []string{"na", "nb-1.0", "nc"}, Overrides: manifest.Overrides{Remove: []string{"motd"}}}
	o = p.onBase(t, "base")
	o.Previous = &three.Lock
	override, _ := p.run(t, m, o)
	ran(override, "")
	noise(override, "ncnanb")
	if fmt.Sprint(override.Lock.Stages) != "[{1 0 1 0} {2 0 2 0} {3 0 3 0} {3 1 3 0}]" {
		t.Errorf("stages %v", override.Lock.Stages)
	}
	q = w.place(t)
	q.repos = p.repos
	o = q.onBase(t, "base")
	o.Lock = &override.Lock
	if got, _ := q.run(t, m, o); got.Commit != override.Commit {
		t.Errorf("override from the lock: %s, wanted %s", got.Commit, override.Commit)
	}
}
