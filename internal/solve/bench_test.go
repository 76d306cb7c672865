// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/solve"
)

// synthetic is a distribution of n packages with Fedora's density: eight dependencies each, some with versions, some
// weak, some rich, a file in ten, and a version out of date for every twentieth. Equal n give equal packages.
func synthetic(n int) []rpm.Meta {
	r := rand.New(rand.NewSource(1))
	any := func(d string) rpm.Dep { return rpm.Dep{Name: d} }
	out := make([]rpm.Meta, 0, n+n/20)
	for i := range n {
		name := fmt.Sprintf("package-%05d", i)
		m := rpm.Meta{NEVRA: rpm.NEVRA{Name: name, EVR: rpm.EVR{Version: fmt.Sprint(1 + i%9), Release: "1.fc40"}, Arch: "x86_64"}}
		m.Provides = []rpm.Dep{{Name: name, Flags: rpm.SenseEqual, EVR: m.EVR}, {Name: name + "(x86-64)", Flags: rpm.SenseEqual, EVR: m.EVR}, any("lib" + name + ".so.1()(64bit)")}
		m.Files = []string{"/usr/bin/" + name, "/etc/" + name + ".conf"}
		for range 6 {
			if i < 10 {
				break
			}
			to := r.Intn(1 + i/(1+r.Intn(20)))
			dep := any(fmt.Sprintf("libpackage-%05d.so.1()(64bit)", to))
			switch r.Intn(10) {
			case 0:
				dep = rpm.Dep{Name: fmt.Sprintf("package-%05d", to), Flags: rpm.SenseGreater | rpm.SenseEqual, EVR: rpm.EVR{Version: "1"}}
			case 1:
				dep = any(fmt.Sprintf("/usr/bin/package-%05d", to))
			case 2:
				dep = any(fmt.Sprintf("(package-%05d or package-%05d)", to, to/2))
			}
			m.Requires = append(m.Requires, dep)
		}
		if i%7 == 3 {
			m.Recommends = []rpm.Dep{any(fmt.Sprintf("package-%05d", r.Intn(i)))}
		}
		out = append(out, m)
		if i%20 == 0 {
			m.Version = "0"
			m.Provides = []rpm.Dep{{Name: name, Flags: rpm.SenseEqual, EVR: m.EVR}, m.Provides[2]}
			out = append(out, m)
		}
	}
	return out
}

func request(packages []rpm.Meta, n int) solve.Request {
	req := solve.Request{Arch: "x86_64", Repos: []solve.Repo{{ID: "r", Packages: packages}}}
	for i := range n {
		req.Install = append(req.Install, fmt.Sprintf("package-%05d", (i*2311+701)%len(packages)*9/10))
	}
	return req
}

func BenchmarkSolve(b *testing.B) {
	packages := synthetic(60000)
	for _, n := range []int{1, 20, 300} {
		req := request(packages, n)
		b.Run(fmt.Sprintf("60000/install%d", n), func(b *testing.B) {
			for b.Loop() {
				plan, err := solve.Solve(req)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(plan.Install)), "packages")
			}
		})
	}
	req := request(packages, 20)
	b.Run("60000/encode", func(b *testing.B) {
		for b.Loop() {
			b.SetBytes(int64(len(solve.Encode(req))))
		}
	})
	data := solve.Encode(req)
	b.Run("60000/decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := solve.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("60000/call", func(b *testing.B) {
		for b.Loop() {
			if _, err := solve.Call(serve, req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestSameAnswer asks the same several times: maps are walked in another order each time.
func TestSameAnswer(t *testing.T) {
	packages := synthetic(3000)
	req := request(packages, 40)
	req.Install = append(req.Install, "package-001*", "/usr/bin/package-0200?")
	req.Installed = packages[:5]
	req.KeepInstalled = true
	first, err := solve.Solve(req)
	if err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	for range 5 {
		again, err := solve.Solve(req)
		if d := cmp.Diff(first, again); d != "" || err != nil {
			t.Fatal(err, d)
		}
		var b bytes.Buffer
		if err := solve.ServeOne(bytes.NewReader(solve.Encode(req)), &b); err != nil || answer.Len() > 0 && !bytes.Equal(b.Bytes(), answer.Bytes()) {
			t.Fatal("another answer from the other process", err)
		}
		answer = b
	}
}
