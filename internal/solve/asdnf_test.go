// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/solve"
)

type dnfRepo struct {
	ID       string `json:"id"`
	Path     string `json:"path"`
	Priority int    `json:"priority"`
	Cost     int    `json:"cost"`
}

type dnfRequest struct {
	Install []string `json:"install"`
	Exclude []string `json:"exclude"`
	NoWeak  bool     `json:"noweak"`
}

type dnfAnswer struct {
	Packages []string `json:"packages"`
	Error    string   `json:"error"`
}

// dnfQuestions are requests about the same sources.
type dnfQuestions struct {
	Dir      string       `json:"dir"`
	Repos    []dnfRepo    `json:"repos"`
	Requests []dnfRequest `json:"requests"`

	name  string
	repos []solve.Repo
}

// askDnf asks the real dnf, through its Python interface.
func askDnf(t *testing.T, all []dnfQuestions) [][]dnfAnswer {
	t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import dnf").Run() != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs dnf with its Python interface")
		}
		t.Skip("needs dnf with its Python interface")
	}
	for i := range all {
		all[i].Dir = t.TempDir()
	}
	question, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "testdata/ask.py")
	cmd.Stdin = bytes.NewReader(question)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ask dnf: %v\n%s", err, stderr.Bytes())
	}
	var answers [][]dnfAnswer
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(all) {
		t.Fatalf("dnf answers %q: %v", out, err)
	}
	return answers
}

// sameAsDnf compares answers: the same packages, or none on either side.
func sameAsDnf(t *testing.T, all []dnfQuestions) {
	t.Helper()
	count := 0
	for i, answers := range askDnf(t, all) {
		q := all[i]
		if len(answers) != len(q.Requests) {
			t.Fatalf("%s: %d answers", q.name, len(answers))
		}
		for j, want := range answers {
			r := q.Requests[j]
			plan, err := solve.Solve(solve.Request{Arch: "x86_64", Repos: q.repos, Install: r.Install, Exclude: r.Exclude, NoWeak: r.NoWeak})
			var got []string
			for _, p := range plan.Install {
				at := slices.IndexFunc(q.repos, func(x solve.Repo) bool { return x.ID == p.Repo })
				got = append(got, q.repos[at].Packages[p.Index].NEVRA.String())
			}
			slices.Sort(got)
			switch count++; {
			case (err != nil) != (want.Error != ""):
				t.Errorf("%s: %v: grove says %v, dnf %q", q.name, r, err, want.Error)
			case err == nil:
				if d := cmp.Diff(want.Packages, got); d != "" {
					t.Errorf("%s: %v (-dnf +grove):\n%s", q.name, r, d)
				}
			}
		}
	}
	t.Logf("%d requests", count)
}

// writeRepo writes packages as an rpm-md source.
func writeRepo(t *testing.T, dir string, list []rpm.Meta) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?><metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="%d">`, len(list))
	quote := func(s string) string {
		var q strings.Builder
		_ = xml.EscapeText(&q, []byte(s))
		return q.String()
	}
	version := func(v rpm.EVR) string {
		epoch := v.Epoch
		if epoch == "" {
			epoch = "0"
		}
		s := fmt.Sprintf(`epoch="%s" ver="%s"`, epoch, quote(v.Version))
		if v.Release != "" {
			s += fmt.Sprintf(` rel="%s"`, quote(v.Release))
		}
		return s
	}
	for i, m := range list {
		sum := sha256.Sum256([]byte(fmt.Sprint(dir, i)))
		fmt.Fprintf(&b, `<package type="rpm"><name>%s</name><arch>%s</arch><version %s/><checksum type="sha256" pkgid="YES">%x</checksum><summary>x</summary>`+
			`<description>x</description><packager/><url/><time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="%d.rpm"/><format>`,
			quote(m.Name), m.Arch, version(m.EVR), sum, i)
		for _, kind := range []struct {
			name string
			deps []rpm.Dep
		}{
			{"provides", m.Provides}, {"requires", m.Requires}, {"conflicts", m.Conflicts}, {"obsoletes", m.Obsoletes},
			{"recommends", m.Recommends}, {"suggests", m.Suggests}, {"supplements", m.Supplements}, {"enhances", m.Enhances},
		} {
			fmt.Fprintf(&b, "<rpm:%s>", kind.name)
			for _, d := range kind.deps {
				flags := map[uint32]string{
					rpm.SenseEqual: "EQ", rpm.SenseLess: "LT", rpm.SenseGreater: "GT", rpm.SenseLess | rpm.SenseEqual: "LE", rpm.SenseGreater | rpm.SenseEqual: "GE",
				}[d.Flags&rpm.SenseCompare]
				if fmt.Fprintf(&b, `<rpm:entry name="%s"`, quote(d.Name)); flags != "" {
					fmt.Fprintf(&b, ` flags="%s" %s`, flags, version(d.EVR))
				}
				b.WriteString("/>")
			}
			fmt.Fprintf(&b, "</rpm:%s>", kind.name)
		}
		for _, f := range m.Files {
			fmt.Fprintf(&b, "<file>%s</file>", quote(f))
		}
		b.WriteString("</format></package>")
	}
	b.WriteString("</metadata>")
	primary := []byte(b.String())
	repomd := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>`+
		`<data type="primary"><checksum type="sha256">%x</checksum><location href="repodata/primary.xml"/><timestamp>1</timestamp><size>%d</size></data></repomd>`,
		sha256.Sum256(primary), len(primary))
	if err := os.MkdirAll(filepath.Join(dir, "repodata"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"primary.xml": primary, "repomd.xml": []byte(repomd)} {
		if err := os.WriteFile(filepath.Join(dir, "repodata", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Small worlds, each with questions: what dnf answers, grove answers.
var dnfWorlds = []struct {
	name, world string
	requests    []dnfRequest
}{
	{"priorities", `@repo first 10
		a-1-1.noarch
		b-1-1.noarch; requires nothing-has-this
		c-1-1.noarch
		lib-1-1.noarch; provides cap = 1
		@repo second 50
		a-2-1.noarch
		b-2-1.noarch
		need-1-1.noarch; requires c >= 2
		c-2-1.noarch
		user-1-1.noarch; requires cap
		other-9-1.noarch; provides cap = 9
		@repo last
		a-3-1.noarch
		d-1-1.noarch
		@repo near 0 10
		d-1-1.noarch`,
		[]dnfRequest{{Install: []string{"a"}}, {Install: []string{"b"}}, {Install: []string{"need"}}, {Install: []string{"a-2-1"}}, {Install: []string{"user"}}, {Install: []string{"d"}}, {Install: []string{"a-3*"}}}},
	{"forms", `@repo r
		a-1-1.noarch
		a-1-2.noarch
		a-2:1-1.noarch
		a-b-1-1.noarch; files /usr/bin/ab
		a.b-1-1.noarch; provides virt = 3
		c-1-1.x86_64
		c-1-1.i686
		d-1-1.i686
		e-2-1.noarch; provides a = 5
		py3.11-1-1.noarch`,
		[]dnfRequest{
			{Install: []string{"a"}}, {Install: []string{"a-1"}}, {Install: []string{"a-1-1"}}, {Install: []string{"a-2:1-1.noarch"}}, {Install: []string{"a-0:1-1"}}, {Install: []string{"a.noarch"}},
			{Install: []string{"a-b"}}, {Install: []string{"a.b"}}, {Install: []string{"a-b-1"}}, {Install: []string{"virt"}}, {Install: []string{"virt >= 2"}}, {Install: []string{"virt > 3"}},
			{Install: []string{"/usr/bin/ab"}}, {Install: []string{"/usr/bin/a*"}}, {Install: []string{"a-*"}}, {Install: []string{"?"}}, {Install: []string{"c"}}, {Install: []string{"c.i686"}},
			{Install: []string{"c.*"}}, {Install: []string{"d"}}, {Install: []string{"py3.11"}}, {Install: []string{"[ac]"}}, {Install: []string{"c", "c.i686"}}, {Install: []string{"nope"}}, {Install: []string{"a = 5"}},
			{Install: []string{"a-1-*"}}, {Install: []string{"c*.i686"}}, {Install: []string{"*.i686"}},
		}},
	{"weak", `@repo r
		a-1-1.noarch; recommends b, gone; suggests s
		b-1-1.noarch; requires c
		c-1-1.noarch; conflicts x
		s-1-1.noarch
		plug-1-1.noarch; supplements (a and x)
		plug2-1-1.noarch; supplements a
		plug3-1-1.noarch; enhances a
		x-1-1.noarch; recommends (y if a), (z if nope)
		y-1-1.noarch
		z-1-1.noarch
		lang-1-1.noarch; recommends (font-de or font-en)
		font-de-1-1.noarch
		font-en-1-1.noarch`,
		[]dnfRequest{
			{Install: []string{"a"}}, {Install: []string{"a"}, NoWeak: true}, {Install: []string{"a", "x"}}, {Install: []string{"a", "x"}, NoWeak: true}, {Install: []string{"x"}}, {Install: []string{"a"}, Exclude: []string{"b"}},
			{Install: []string{"a"}, Exclude: []string{"plug*"}}, {Install: []string{"lang"}}, {Install: []string{"a"}, Exclude: []string{"c"}},
		}},
	{"rich", `@repo r
		a-1-1.noarch; requires (b if x else y)
		b-1-1.noarch
		x-1-1.noarch
		y-1-1.noarch
		c-1-1.noarch; requires (p with q)
		one-1-1.noarch; provides p = 1
		two-1-1.noarch; provides p = 2, q
		d-1-1.noarch; requires (p without q)
		e-1-1.noarch; requires (p >= 2 with p < 3)
		f-1-1.noarch; conflicts (x and y)
		g-1-1.noarch; requires (b unless x)
		h-1-1.noarch; requires ((b or c) and (x or y))`,
		[]dnfRequest{
			{Install: []string{"a"}}, {Install: []string{"a", "x"}}, {Install: []string{"c"}}, {Install: []string{"d"}}, {Install: []string{"e"}}, {Install: []string{"f", "x"}}, {Install: []string{"f", "x", "y"}},
			{Install: []string{"g"}}, {Install: []string{"g", "x"}}, {Install: []string{"h"}},
		}},
	{"obsoletes", `@repo r
		old-1-1.noarch
		old-3-1.noarch
		new-2-1.noarch; obsoletes old < 2; provides old = 2
		user-1-1.noarch; requires old
		user2-1-1.noarch; requires old = 1
		split-a-2-1.noarch; obsoletes split < 2
		split-b-2-1.noarch; obsoletes split < 2
		split-1-1.noarch
		renamed-1-1.noarch
		name-1-1.noarch; obsoletes renamed`,
		[]dnfRequest{
			{Install: []string{"old"}}, {Install: []string{"old-1"}}, {Install: []string{"user"}}, {Install: []string{"user2"}}, {Install: []string{"split"}}, {Install: []string{"renamed"}}, {Install: []string{"old", "new"}},
			{Install: []string{"renamed-1-1"}}, {Install: []string{"rena*"}},
		}},
	{"multilib", `@repo r
		lib-1-1.x86_64; provides lib.so()(64bit)
		lib-1-1.i686; provides lib.so
		lib-2-1.x86_64; provides lib.so()(64bit)
		lib-2-1.i686; provides lib.so
		app-1-1.x86_64; requires lib.so()(64bit)
		wine-1-1.i686; requires lib.so, data
		data-1-1.noarch
		strict-1-1.x86_64; requires lib(x86-64) = 2
		both-1-1.x86_64; requires lib.so()(64bit), lib.so
		only32-1-1.i686`,
		[]dnfRequest{
			{Install: []string{"app"}}, {Install: []string{"wine"}}, {Install: []string{"app", "wine"}}, {Install: []string{"lib", "lib.i686"}}, {Install: []string{"both"}}, {Install: []string{"strict"}}, {Install: []string{"lib*"}},
			{Install: []string{"lib-1-1.i686", "app"}}, {Install: []string{"only32"}}, {Install: []string{"lib-1-1.x86_64", "lib-2-1.i686"}},
		}},
	{"kernels", `@repo r
		kernel-1-1.x86_64; requires kernel-core = 1-1
		kernel-core-1-1.x86_64; provides installonlypkg(kernel)
		kernel-2-1.x86_64; requires kernel-core = 2-1
		kernel-core-2-1.x86_64; provides installonlypkg(kernel)
		kmod-1-1.x86_64; requires kernel-core = 1-1`,
		[]dnfRequest{{Install: []string{"kernel"}}, {Install: []string{"kernel-1-1", "kernel-2-1"}}, {Install: []string{"kernel", "kmod"}}, {Install: []string{"kernel-core-1-1.x86_64"}}}},
	{"conflicts and what is missing", `@repo r
		a-1-1.noarch; conflicts b < 2
		b-1-1.noarch
		b-2-1.noarch; requires nowhere
		c-1-1.noarch; requires d
		d-1-1.noarch; conflicts c
		e-2-1.noarch; requires nowhere
		e-1-1.noarch
		f-1-1.noarch; requires e = 2
		choice-1-1.noarch; requires virt
		v1-1-1.noarch; provides virt
		v2-1-1.noarch; provides virt; requires nowhere
		v3-1-1.noarch; provides virt = 7`,
		[]dnfRequest{
			{Install: []string{"a", "b"}}, {Install: []string{"c"}}, {Install: []string{"e"}}, {Install: []string{"f"}}, {Install: []string{"choice"}}, {Install: []string{"choice", "v3"}}, {Install: []string{"virt"}},
			{Install: []string{"e"}, Exclude: []string{"e-2*"}}, {Install: []string{"choice"}, Exclude: []string{"v1", "v3"}},
		}},
}

func TestSmallWorldsAsDnf(t *testing.T) {
	var all []dnfQuestions
	for _, w := range dnfWorlds {
		q := dnfQuestions{name: w.name, repos: world(t, w.world).Repos, Requests: w.requests}
		for _, r := range q.repos {
			for i := range r.Packages {
				m := &r.Packages[i]
				if m.Arch != "noarch" {
					tag := strings.ReplaceAll(m.Arch, "_", "-") // what rpmbuild adds
					if m.Arch == "i686" {
						tag = "x86-32"
					}
					m.Provides = append(m.Provides, rpm.Dep{Name: m.Name + "(" + tag + ")", Flags: rpm.SenseEqual, EVR: m.EVR})
				}
			}
			dir := filepath.Join(t.TempDir(), r.ID)
			writeRepo(t, dir, r.Packages)
			q.Repos = append(q.Repos, dnfRepo{r.ID, dir, r.Priority, r.Cost})
		}
		all = append(all, q)
	}
	sameAsDnf(t, all)
}

// The dummies of dnf's own tests, each of them asked for alone and two by two.
func TestDummiesAsDnf(t *testing.T) {
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	var all []dnfQuestions
	for _, set := range []string{"dnf-ci-obsoletes", "dnf-ci-rich"} {
		files, _ := filepath.Glob(filepath.Join(root, "data/rpms/ci-dnf-stack", set, "x86_64/*.rpm"))
		if len(files) == 0 {
			t.Skip("needs the shared data")
		}
		r := solve.Repo{ID: set}
		var specs []string
		for _, name := range files {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := rpm.ReadPackage(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			m, err := p.Header.Meta()
			if err != nil {
				t.Fatal(err)
			}
			r.Packages = append(r.Packages, m)
			specs = append(specs, m.Name, m.NEVRA.String())
		}
		slices.Sort(specs)
		specs = slices.Compact(specs)
		dir := filepath.Join(t.TempDir(), set)
		writeRepo(t, dir, r.Packages)
		q := dnfQuestions{name: set, repos: []solve.Repo{r}, Repos: []dnfRepo{{set, dir, 0, 0}}}
		for i, a := range specs {
			q.Requests = append(q.Requests, dnfRequest{Install: []string{a}})
			for _, b := range specs[:i] {
				q.Requests = append(q.Requests, dnfRequest{Install: []string{a, b}})
			}
		}
		all = append(all, q)
	}
	sameAsDnf(t, all)
}

// Packages of CentOS Stream 9, each 150th alone (with GROVE_ALL=1 each), with and without weak dependencies.
func TestStream9AsDnf(t *testing.T) {
	folder, packages := stream9(t)
	step := 150
	if os.Getenv("GROVE_ALL") != "" {
		step = 1
	}
	q := dnfQuestions{name: "stream9", repos: []solve.Repo{{ID: "x", Packages: packages}}, Repos: []dnfRepo{{"x", folder, 0, 0}}}
	for i := 0; i < len(packages); i += step {
		for _, noWeak := range []bool{false, true} {
			q.Requests = append(q.Requests, dnfRequest{Install: []string{packages[i].Name}, NoWeak: noWeak})
		}
	}
	for _, spec := range []string{ // files, also those that only file lists have, and patterns
		"/usr/share/zoneinfo/UTC", "/usr/share/doc/bash*", "/usr/share/doc/tzdata/*", "/usr/bin/p*", "*/bin/bash", "*/zoneinfo/UTC", "/usr/lib64/libssl.so.*",
		"/usr/share/nothing/*", "*/nothing", "/usr/share/zoneinfo", "/usr/share/man/man[18]/openssl*", "perl(Digest*)", "pkgconfig(lib*", "nothing(*)", "libssl*", "libss[!l]*",
	} {
		q.Requests = append(q.Requests, dnfRequest{Install: []string{spec}, NoWeak: true})
	}
	sameAsDnf(t, []dnfQuestions{q})
}
