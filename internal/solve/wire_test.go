// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"grove/internal/rpm"
	"grove/internal/solve"
)

// serve is Call's other process, in this one.
func serve(in []byte) ([]byte, error) {
	var out bytes.Buffer
	err := solve.ServeOne(bytes.NewReader(in), &out)
	return out.Bytes(), err
}

const wireWorld = `@installed
	base-1:1-1.x86_64; provides x = 1; files /usr/bin/base /usr/bin/other
	@local
	file-1-1.noarch
	@repo r 5 7
	a-1-1.x86_64; pre b >= 2, /usr/bin/base; requires (b if c); conflicts d < 1; obsoletes e; recommends f; suggests g; supplements h; enhances i
	b-2-1.noarch; files /usr/bin/b
	? keep
	? loose 1
	? install a
	? lock a-1-*
	? file file-1-1.noarch or newer
	? exclude z*`

func TestEncode(t *testing.T) {
	req := world(t, wireWorld)
	back, err := solve.Decode(solve.Encode(req))
	if err != nil {
		t.Fatal(err)
	}
	req.Installed[0].Files = []string{"/usr/bin/base"} // what nobody asks for stays behind
	req.Repos[0].Packages[1].Files = nil
	if d := cmp.Diff(req, back, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	for i := range solve.Encode(req) {
		if _, err := solve.Decode(solve.Encode(req)[:i]); err == nil {
			t.Fatalf("accepted when cut off at %d", i)
		}
	}
}

func TestCall(t *testing.T) {
	for _, text := range []string{
		wireWorld,
		"@repo r\na-1-1.noarch; requires x\n? install a",
		"@repo r\na-1-1.noarch\n? install b",
		"@installed\na-1-1.noarch\n? remove b",
		"@installed\na-2-1.noarch\nb-1-1.noarch\n@repo r\na-1-1.noarch\nb-1-1.noarch\n? replace a from r\n? replace b",
		"@repo r\na-1-1.noarch\n? install (a or",
		"@repo r\na-1-1.noarch; files /x/1 /y/1\n? install /x/*",
	} {
		req := world(t, text)
		want, wantErr := solve.Solve(req)
		got, err := solve.Call(serve, req)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("got %v, want %v", err, wantErr)
		}
		var a, b *solve.Unknown
		var c, d *solve.Conflict
		if errors.As(err, &a) != errors.As(wantErr, &b) || errors.As(err, &c) != errors.As(wantErr, &d) {
			t.Errorf("got %T, want %T", err, wantErr)
		}
	}
	req := world(t, wireWorld)
	for _, answer := range []string{`{"Plan":{"Install":[{"Repo":"r","Index":9}]}}`, `{"Plan":{"Remove":[7]}}`, `{"Plan":{"Install":[{"Repo":"q","Index":0}]}}`, `{`} {
		_, err := solve.Call(func([]byte) ([]byte, error) { return []byte(answer), nil }, req)
		if err == nil || !strings.HasPrefix(err.Error(), "solver process: ") {
			t.Errorf("%s: got %v", answer, err)
		}
	}
}

func TestMissingPaths(t *testing.T) {
	req := world(t, `@repo r
		a-1-1.noarch; requires /usr/bin/b, (/usr/bin/c if /usr/bin/a); recommends /opt/x; files /usr/bin/a
		? install /usr/bin/z`)
	if got := strings.Join(solve.MissingPaths(req), " "); got != "/opt/x /usr/bin/b /usr/bin/c /usr/bin/z" {
		t.Error(got)
	}
}

func TestBadInput(t *testing.T) {
	bad := func(change func(*solve.Request)) string {
		req := world(t, "@repo r\na-1-1.noarch; requires b\n? install a")
		change(&req)
		_, err := solve.Solve(req)
		if err == nil {
			return "accepted"
		}
		return err.Error()
	}
	for _, c := range []struct {
		want   string
		change func(*solve.Request)
	}{
		{`source r: package a-1-1.noarch: text "b\x00c" has a control character`, func(r *solve.Request) { r.Repos[0].Packages[0].Requires[0].Name = "b\x00c" }},
		{`source r: package a-1-1.noarch: text of 65537 bytes, at most 65536 are allowed`, func(r *solve.Request) { r.Repos[0].Packages[0].Requires[0].Name = strings.Repeat("x", 65537) }},
		{`source r: package a-1-1.noarch: 200001 dependencies of one kind, at most 200000 are allowed`, func(r *solve.Request) { r.Repos[0].Packages[0].Provides = make([]rpm.Dep, 200001) }},
		{`source "r" stands twice in the request`, func(r *solve.Request) { r.Repos = append(r.Repos, solve.Repo{ID: "r"}) }},
		{`an empty request`, func(r *solve.Request) { r.Install = []string{" "} }},
		{`got architecture "a:b"`, func(r *solve.Request) { r.Arch = "a:b" }},
		{`request "a\nb": text "a\nb" has a control character`, func(r *solve.Request) { r.Install = []string{"a\nb"} }},
		{`rich dependency "(a if": wanted a name at ""`, func(r *solve.Request) { r.Install = []string{"(a if"} }},
	} {
		if got := bad(c.change); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	req := solve.Encode(world(&testing.T{}, wireWorld))
	f.Add(req)
	f.Add(req[:len(req)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := solve.Decode(data)
		if err != nil {
			return
		}
		again, err := solve.Decode(solve.Encode(req))
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Repos) != len(req.Repos) || len(again.Installed) != len(req.Installed) {
			t.Fatal("another request came back")
		}
	})
}

// FuzzSolve feeds foreign text to libsolv: no crash, the same answer twice.
func FuzzSolve(f *testing.F) {
	f.Add("a", "(b if c else d)", "c = 1", "/bin/sh", "a")
	f.Add("a b", "(b with (c without d))", "libc.so.6()(64bit)", "solvable:prereqmarker", "(a or b)")
	f.Add("noarch", "((((a))))", "namespace:installed", "src", "*")
	f.Fuzz(func(t *testing.T, name, requires, provides, other, spec string) {
		mk := func(name string) rpm.Meta {
			return rpm.Meta{NEVRA: rpm.NEVRA{Name: name, EVR: rpm.EVR{Version: "1", Release: "1"}, Arch: "noarch"}}
		}
		a, b := mk(name), mk(other)
		for i, l := range []*[]rpm.Dep{&a.Requires, &a.Conflicts, &a.Obsoletes, &a.Recommends, &a.Supplements, &a.Suggests, &a.Enhances} {
			if i%2 == len(spec)%2 {
				*l = []rpm.Dep{{Name: requires}}
			}
		}
		b.Provides = []rpm.Dep{{Name: provides}, {Name: requires, Flags: rpm.SenseEqual, EVR: rpm.ParseEVR(other)}}
		b.Files = []string{requires}
		req := solve.Request{Arch: "x86_64", Repos: []solve.Repo{{ID: "r", Packages: []rpm.Meta{a, b}}}, Install: []string{spec, name}, Installed: []rpm.Meta{mk("i" + other)}, KeepInstalled: len(name)%2 == 0}
		watch := time.AfterFunc(10*time.Second, func() { panic("the solver does not come back") })
		defer watch.Stop()
		p1, err1 := solve.Solve(req)
		p2, err2 := solve.Call(serve, req)
		if d := cmp.Diff(p1, p2); d != "" || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%v %v\n%s", err1, err2, d)
		}
	})
}
