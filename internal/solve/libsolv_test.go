// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/solve"
)

// notRun are libsolv's testcases that the glue is not asked, each with the reason. Those for other package formats are
// left out by their `system` line.
var notRun = map[string]string{
	"allowuninstall/forcebest":          "disables an installed package: grove has no such thing",
	"allowuninstall/conflict":           "disables an installed package",
	"whatprovideswithdisabled/dup2":     "disables an installed package",
	"namespace/namespaceprovides":       "namespaces are SUSE's languages; dnf has none",
	"selection/selection_matchdeps":     "searches by what a package depends on: nobody can ask for that here",
	"selection/selection_matchsolvable": "searches by what a package depends on",
	"selection/selection_provides":      "provides before names: with dnf and here names come first",
	"forcebest/forcebest_up":            "a package may not change its vendor: with dnf and here it may, and vendors are not fed",
	"blacklist/ptf":                     "packages that need a direct request are SUSE's",
	"blacklist/retracted":               "packages that need a direct request are SUSE's",
}

// asSpec are the ways of libsolv to read a selection that a spec has here as well.
var asSpec = []string{"canon", "name", "name,dotarch", "filelist,glob", "filelist,glob,flat"}

// What the words of testcases mean to libsolv.
//
//	source  libsolv ext/testcase.c; the numbers are those of src/solver.h and src/pool.h
var (
	jobHow = map[string]int{
		"noop": 0, "install": 0x100, "erase": 0x200, "update": 0x300, "weakendeps": 0x400, "multiversion": 0x500, "lock": 0x600,
		"distupgrade": 0x700, "verify": 0x800, "droporphaned": 0x900, "userinstalled": 0xa00, "allowuninstall": 0xb00, "favor": 0xc00,
		"disfavor": 0xd00, "blacklist": 0xe00, "excludefromweak": 0x1000,
	}
	jobSelect = map[string]int{"pkg": 1, "name": 2, "provides": 3, "oneof": 4, "repo": 5, "all": 6}
	jobFlag   = map[string]int{
		"weak": 1 << 16, "essential": 1 << 17, "cleandeps": 1 << 18, "orupdate": 1 << 19, "forcebest": 1 << 20, "targeted": 1 << 21,
		"setev": 1 << 24, "setevr": 1 << 25, "setarch": 1 << 26, "setvendor": 1 << 27, "setrepo": 1 << 28, "noautoset": 1 << 29,
	}
	solverFlag = []string{
		"", "allowdowngrade", "allowarchchange", "allowvendorchange", "allowuninstall", "noupdateprovide", "splitprovides",
		"ignorerecommended", "addalreadyrecommended", "noinfarchcheck", "allownamechange", "keepexplicitobsoletes", "bestobeypolicy",
		"noautotarget", "dupallowdowngrade", "dupallowarchchange", "dupallowvendorchange", "dupallownamechange", "keeporphans",
		"breakorphans", "focusinstalled", "yumobsoletes", "needupdateprovide", "urpmreorder", "focusbest", "strongrecommends",
		"installalsoupdates", "onlynamespacerecommended", "strictrepopriority",
	}
	poolFlag = []string{
		"", "promoteepoch", "forbidselfconflicts", "obsoleteusesprovides", "implicitobsoleteusesprovides", "obsoleteusescolors",
		"noinstalledobsoletes", "havedistepoch", "noobsoletesmultiversion", "addfileprovidesfiltered", "implicitobsoleteusescolors",
		"nowhatprovidesaux", "whatprovideswithdisabled",
	}
)

// round is one question of a testcase and its answer.
type round struct {
	jobs, flags []string
	poolFlags   []int
	begun       int // how many of poolFlags were set when the round began, and with it testsolv's solver
	results     string
	want        []string
}

// testcase is one file: packages, and questions about them.
type testcase struct {
	arch, kind, system string
	repos              []solve.Repo
	rounds             []round
}

func readTestcase(t *testing.T, path string) testcase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := testcase{system: "\x00"}
	var now round
	asked := false
	var inline func(string)
	for _, line := range strings.Split(string(data), "\n") {
		if text, ok := strings.CutPrefix(line, "#>"); ok {
			if inline != nil {
				inline(text)
			}
			continue
		}
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		switch f[0] {
		case "repo":
			r := solve.Repo{ID: f[1]}
			prio, sub, _ := strings.Cut(f[2], ".")
			r.Priority, _ = strconv.Atoi(prio)
			r.Cost, _ = strconv.Atoi(sub)
			c.repos = append(c.repos, r)
			at := len(c.repos) - 1
			inline = func(text string) { testtag(t, &c.repos[at].Packages, text) }
			if len(f) > 4 && f[4] != "<inline>" {
				more, err := os.ReadFile(filepath.Join(filepath.Dir(path), f[4]))
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range strings.Split(string(more), "\n") {
					inline(text)
				}
			}
		case "system":
			c.arch, c.kind = f[1], f[2]
			if c.arch == "unset" {
				c.arch = ""
			}
			if len(f) > 3 {
				c.system = f[3]
			}
		case "disable": // what is excluded is never fed
			name, from, _ := strings.Cut(f[2], "@")
			for i := range c.repos {
				if r := &c.repos[i]; r.ID == from {
					r.Packages = slices.DeleteFunc(r.Packages, func(m rpm.Meta) bool { return m.NEVRA.String() == name })
				}
			}
		case "job":
			now.jobs = append(now.jobs, strings.Join(f[1:], " "))
		case "solverflags":
			now.flags = append(now.flags, f[1:]...)
		case "poolflags":
			now.poolFlags = append(now.poolFlags, pairs(t, poolFlag, f[1:])...)
		case "result":
			now.results = f[1]
			if !asked { // else it is said once more
				c.rounds = append(c.rounds, now)
			}
			asked = true
			at := len(c.rounds) - 1
			inline = func(text string) { c.rounds[at].want = append(c.rounds[at].want, text) }
		case "nextjob":
			now, asked = round{poolFlags: now.poolFlags, begun: len(now.poolFlags)}, false
		}
	}
	return c
}

func pairs(t *testing.T, names, words []string) (out []int) {
	t.Helper()
	for _, w := range words {
		name, off := strings.CutPrefix(w, "!")
		at := slices.Index(names, name)
		if at < 1 {
			t.Fatalf("flag %q is not known", w)
		}
		value := 1
		if off {
			value = 0
		}
		out = append(out, at, value)
	}
	return out
}

// testtag adds one line of a repo.
func testtag(t *testing.T, list *[]rpm.Meta, line string) {
	t.Helper()
	tag, value, ok := strings.Cut(strings.TrimPrefix(line, "="), ": ")
	if !ok {
		return
	}
	if tag == "Pkg" {
		f := strings.Fields(value)
		epoch, version, found := strings.Cut(f[1], ":")
		if !found {
			epoch, version = "", f[1]
		}
		n := rpm.NEVRA{Name: f[0], EVR: rpm.EVR{Epoch: epoch, Version: version}, Arch: f[len(f)-1]}
		if len(f) == 4 {
			n.Release = f[2]
		}
		*list = append(*list, rpm.Meta{NEVRA: n})
		return
	}
	if len(*list) == 0 {
		return // the version of the format
	}
	m := &(*list)[len(*list)-1]
	into := map[string]*[]rpm.Dep{
		"Prv": &m.Provides, "Req": &m.Requires, "Con": &m.Conflicts, "Obs": &m.Obsoletes,
		"Rec": &m.Recommends, "Sug": &m.Suggests, "Sup": &m.Supplements, "Enh": &m.Enhances,
	}[tag]
	switch {
	case into != nil:
		if strings.ContainsAny(value, "&|") || strings.Contains(value, "<IF>") {
			if strings.Contains(value, "<ELSE>") { // A <IF> (B <ELSE> C): rpm has no brackets there
				value = strings.TrimSuffix(strings.Replace(value, "<IF> (", "<IF> ", 1), ")")
			}
			value = "(" + strings.NewReplacer("<IF>", "if", "<ELSE>", "else", "&", "and", "|", "or").Replace(value) + ")"
		}
		*into = append(*into, dep(value))
	case tag == "Fls":
		m.Files = append(m.Files, value)
	case tag == "Vnd": // packages of any vendor take each other's place, with dnf and here
	default:
		t.Fatalf("tag %q is not known", tag)
	}
}

// The testcases of libsolv itself have the same answers through the glue as testsolv has.
func TestLibsolvTestcases(t *testing.T) {
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(root, "data/libsolv-testcases/0.7.23/testcases")
	files, _ := filepath.Glob(filepath.Join(dir, "*/*.t"))
	if len(files) == 0 {
		t.Skip("needs the shared data: " + dir)
	}
	testsolv, err := exec.LookPath("testsolv") // it says that the answers in the files are still its own
	if err != nil && os.Getenv("GROVE_CI") == "1" {
		t.Error("needs testsolv")
	}
	ran, rounds := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, dir+"/"), ".t")
		t.Run(name, func(t *testing.T) {
			c := readTestcase(t, file)
			switch {
			case c.kind != "rpm" && c.kind != "*" && (c.kind != "" || len(c.repos) == 0):
				t.Skip("not run: for packages of another format")
			case notRun[name] != "":
				t.Skip("not run: " + notRun[name])
			}
			ran++
			if testsolv != "" {
				if out, err := exec.Command(testsolv, file).CombinedOutput(); err != nil {
					t.Errorf("testsolv itself: %v\n%s", err, out)
				}
			}
			for i, r := range c.rounds {
				if spec, ok := selection(r); ok {
					rounds++
					t.Run(strconv.Itoa(i+1), func(t *testing.T) { c.selects(t, r, spec) })
				}
				if r.results == "rules" {
					rounds++
					t.Run(strconv.Itoa(i+1), func(t *testing.T) { c.obeys(t, r) })
				}
				if !strings.Contains(r.results, "transaction") {
					continue // the rules that libsolv makes, or how it reads a job
				}
				rounds++
				t.Run(strconv.Itoa(i+1), func(t *testing.T) { c.check(t, r) })
			}
		})
	}
	t.Logf("%d testcases of %d with %d questions had testsolv's answers", ran, len(files), rounds)
}

func (c testcase) check(t *testing.T, r round) {
	raw, err := solve.NewRaw(c.arch, r.poolFlags, c.repos, slices.IndexFunc(c.repos, func(x solve.Repo) bool { return x.ID == c.system }))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Free()
	multi := map[string]bool{}
	for _, j := range r.jobs {
		how, what := c.job(t, raw, j)
		raw.Job(how, what)
		if how&0xff00 == 0x500 {
			multi[strings.Fields(j)[2]] = true
		}
	}
	problems, err := raw.Solve(append(r.inherited(), pairs(t, solverFlag, r.flags)...))
	if err != nil {
		t.Fatal(err)
	}
	var want, wantInfo []string
	wantWays := map[string][]string{} // by problem and solution
	ids := map[string]bool{}
	for _, line := range r.want {
		f := strings.SplitN(line, " ", 4)
		switch f[0] {
		case "problem":
			ids[f[1]] = true
			if f[2] == "info" {
				wantInfo = append(wantInfo, f[3])
				break
			}
			id, text, _ := strings.Cut(f[3], " ")
			wantWays[f[1]+id] = append(wantWays[f[1]+id], text)
		case "install", "erase", "upgrade", "downgrade":
			want = append(want, line)
		case "rule": // how libsolv sees it; the answer counts
		case "recommended", "suggested", "cleandeps", "alternative": // lists for a person that grove does not ask for
		default:
			t.Fatalf("answer %q is not known", line)
		}
	}
	slices.Sort(want)
	if d := cmp.Diff(want, c.transaction(raw, multi)); d != "" {
		t.Errorf("transaction (-testsolv +glue):\n%s", d)
	}
	if problems != len(ids) {
		t.Errorf("%d problems, testsolv has %d", problems, len(ids))
	}
	texts := problemTexts(raw)
	for _, info := range wantInfo {
		if !slices.Contains(texts, info) {
			t.Errorf("no rule says %q, but\n%s", info, strings.Join(texts, "\n"))
		}
	}
	var ways []string
	for _, w := range wantWays {
		slices.Sort(w)
		ways = append(ways, strings.Join(w, " and "))
	}
	slices.Sort(ways)
	if d := cmp.Diff(ways, solutions(raw, r.jobs)); d != "" {
		t.Errorf("solutions (-testsolv +glue):\n%s", d)
	}
}

// selection is the spec that a round is about, if it asks which packages are meant by one.
func selection(r round) (spec string, ok bool) {
	if r.results != "jobs" || len(r.jobs) != 1 {
		return "", false
	}
	f := strings.Fields(r.jobs[0])
	if len(f) != 4 || f[1] != "selection" || !slices.Contains(asSpec, f[3]) {
		return "", false
	}
	return f[2], true
}

// selects compares what a spec means with the packages of libsolv's jobs.
func (c testcase) selects(t *testing.T, r round, spec string) {
	raw, err := solve.NewRaw(c.arch, r.poolFlags, c.repos, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Free()
	var want, got []string
	for _, line := range r.want {
		line, _, _ = strings.Cut(line, " [")
		f := strings.Fields(line) // job noop SELECT WHAT...
		for _, repo := range c.repos {
			for _, m := range repo.Packages {
				name, self := m.NEVRA.String(), rpm.Dep{Name: m.Name, Flags: rpm.SenseEqual, EVR: m.EVR}
				meant := false
				switch {
				case f[2] == "pkg" || f[2] == "oneof":
					meant = slices.Contains(f[3:], name+"@"+repo.ID)
				case len(f) == 6 && f[4] == ".":
					meant = m.Name == f[3] && m.Arch == f[5]
				case f[2] == "name":
					meant = self.Intersects(dep(strings.Join(f[3:], " "))) && m.Arch != "badarch"
				default:
					t.Fatalf("answer %q is not known", line)
				}
				if meant {
					want = append(want, name)
				}
			}
		}
	}
	for _, id := range raw.Match(spec) {
		if m := raw.Meta(id); m.Arch != "badarch" { // which is not fed, but by this test
			got = append(got, m.NEVRA.String())
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-libsolv +grove):\n%s", spec, d)
	}
}

// obeys holds the glue's answer against the rules that libsolv makes of the same packages: each is a list of packages, of which one is
// there, or is not where it has a minus.
func (c testcase) obeys(t *testing.T, r round) {
	raw, err := solve.NewRaw(c.arch, r.poolFlags, c.repos, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Free()
	for _, j := range r.jobs {
		raw.Job(c.job(t, raw, j))
	}
	if n, err := raw.Solve(pairs(t, solverFlag, r.flags)); err != nil || n > 0 {
		t.Fatalf("%d problems, %v", n, err)
	}
	there := map[string]bool{}
	for _, id := range raw.New() {
		there[raw.Name(id)+"@"+raw.Repo(id)] = true
	}
	rules, met := map[string][]string{}, map[string]bool{}
	for _, line := range r.want {
		f := strings.Fields(line) // rule KIND ID [-]PACKAGE
		name, not := strings.CutPrefix(f[3], "-")
		rules[f[2]] = append(rules[f[2]], f[3])
		met[f[2]] = met[f[2]] || there[name] != not
	}
	if len(rules) == 0 || len(there) == 0 {
		t.Errorf("%d rules, %d packages", len(rules), len(there))
	}
	for id, rule := range rules {
		if !met[id] {
			t.Errorf("none of %v", rule)
		}
	}
}

// inherited is what a solver takes over from its pool at its birth: later changes of the pool do not reach it.
func (r round) inherited() []int {
	explicit := 0 // as noobsoletesmultiversion is on
	for i := 0; i < r.begun; i += 2 {
		if poolFlag[r.poolFlags[i]] == "noobsoletesmultiversion" {
			explicit = 1 - r.poolFlags[i+1]
		}
	}
	return []int{slices.Index(solverFlag, "keepexplicitobsoletes"), explicit}
}

// job reads "install name A = 2 [forcebest]".
func (c testcase) job(t *testing.T, raw *solve.Raw, text string) (how, what int) {
	t.Helper()
	text, flags, _ := strings.Cut(text, " [")
	f := strings.Fields(text)
	how, ok := jobHow[f[0]]
	sel, ok2 := jobSelect[f[1]]
	if !ok || !ok2 {
		t.Fatalf("job %q is not known", text)
	}
	how |= sel
	for _, w := range strings.FieldsFunc(flags, func(r rune) bool { return r == ',' || r == ']' }) {
		if jobFlag[w] == 0 {
			t.Fatalf("flag %q of job %q is not known", w, text)
		}
		how |= jobFlag[w]
	}
	id := func(s string) int {
		name, repo, _ := strings.Cut(s, "@")
		n := raw.ID(repo, name)
		if n == 0 {
			t.Fatalf("package %q is in no repo", s)
		}
		return n
	}
	switch f[1] {
	case "pkg":
		what = id(f[2])
	case "oneof":
		var list []int
		for _, s := range f[2:] {
			list = append(list, id(s))
		}
		what = raw.OneOf(list)
	case "repo":
		what = slices.IndexFunc(c.repos, func(r solve.Repo) bool { return r.ID == f[2] }) + 1
	case "all":
	default:
		if len(f) == 5 && f[3] == "." {
			what = raw.Rel(f[2], f[4], 20) // REL_ARCH
			break
		}
		what = raw.Dep(dep(strings.Join(f[2:], " ")))
	}
	return how, what
}

// transaction says what comes and goes, in the words of testcases.
func (c testcase) transaction(raw *solve.Raw, multi map[string]bool) []string {
	var out []string
	fresh := slices.Sorted(slices.Values(raw.New()))
	at := func(id int) string { return raw.Name(id) + "@" + raw.Repo(id) }
	paired := map[int]bool{}
	for _, old := range raw.Gone() {
		line := ""
		for _, n := range fresh {
			a, b := raw.Meta(old), raw.Meta(n)
			self := rpm.Dep{Name: a.Name, Flags: rpm.SenseEqual, EVR: a.EVR}
			switch {
			case multi[b.Name]:
			case a.Name == b.Name && !paired[n] && (a.Arch == b.Arch || !slices.ContainsFunc(fresh, func(o int) bool {
				return raw.Meta(o).Name == a.Name && raw.Meta(o).Arch == a.Arch
			})):
				line = "upgrade"
				if b.EVR.Compare(a.EVR) < 0 {
					line = "downgrade"
				}
				line += " " + at(old) + " " + at(n)
				paired[n] = true
			case line == "" && slices.ContainsFunc(b.Obsoletes, self.Intersects):
				line = "erase " + at(old) + " " + at(n)
			}
		}
		if line == "" {
			line = "erase " + at(old)
		}
		out = append(out, line)
	}
	for _, n := range fresh {
		if !paired[n] {
			out = append(out, "install "+at(n))
		}
	}
	slices.Sort(out)
	return out
}

// problemTexts says what each rule of a problem means, in libsolv's words.
//
//	source  libsolv src/problems.c, solver_problemruleinfo2str; the numbers are those of src/rules.h
func problemTexts(raw *solve.Raw) []string {
	var out []string
	p := raw.Problems()
	name := func(id int) string {
		if raw.Valid(id) {
			return raw.Name(id)
		}
		return "?"
	}
	for i := 0; i+5 < len(p); i += 6 {
		from, to, dep := name(p[i+2]), name(p[i+3]), raw.Text(p[i+4])
		switch p[i+1] {
		case 0x102:
			out = append(out, fmt.Sprintf("nothing provides %s needed by %s", dep, from))
		case 0x103:
			out = append(out, fmt.Sprintf("package %s requires %s, but none of the providers can be installed", from, dep))
		case 0x105:
			out = append(out, fmt.Sprintf("package %s conflicts with %s provided by %s", from, dep, to))
		case 0x106:
			out = append(out, fmt.Sprintf("cannot install both %s and %s", from, to))
		case 0x107:
			out = append(out, fmt.Sprintf("package %s obsoletes %s provided by %s", from, dep, to))
		case 0x200, 0x300:
			out = append(out, "problem with installed package "+from)
		case 0x400:
			out = append(out, "conflicting requests")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// solutions are the ways out, each as its parts joined.
func solutions(raw *solve.Raw, jobs []string) []string {
	parts := map[[2]int][]string{}
	at := func(id int) string { return raw.Name(id) + "@" + raw.Repo(id) }
	s := raw.Solutions()
	for i := 0; i+3 < len(s); i += 4 {
		key, p, rp := [2]int{s[i], s[i+1]}, s[i+2], s[i+3]
		text := ""
		switch {
		case p == 0:
			text = "deljob " + jobs[(rp-1)/2]
		case p < 0:
			text = "allow " + at(rp)
		case rp != 0:
			text = "replace " + at(p) + " " + at(rp)
		default:
			text = "erase " + at(p)
		}
		parts[key] = append(parts[key], text)
	}
	var out []string
	for _, w := range parts {
		slices.Sort(w)
		out = append(out, strings.Join(w, " and "))
	}
	slices.Sort(out)
	return out
}
