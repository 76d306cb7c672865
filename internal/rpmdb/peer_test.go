// SPDX-License-Identifier: Apache-2.0

package rpmdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/rpmpack"

	"grove/internal/rpm"
	"grove/internal/rpmdb"
)

func needRPM(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs rpm: not found")
		}
		t.Skip("needs rpm: not found")
	}
}

// shared names the folder of real data, "" where there is none.
func shared() string {
	dir := os.Getenv("GROVE_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		return ""
	}
	return dir
}

// run runs a peer and gives its output; a failure is the test's.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// install lets rpm write its own database of the files.
func install(t *testing.T, db string, files []string) {
	t.Helper()
	run(t, append([]string{"rpm", "--dbpath", db, "-i", "--justdb", "--nodeps", "--nosignature", "--nodigest", "--noscripts", "--notriggers",
		"--ignorearch", "--ignoreos", "--force"}, files...)...)
}

func readPackage(t testing.TB, file string) *rpm.Package {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

// dump gives each table's rows as text, sorted.
func dump(t testing.TB, dir string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "rpmdb.sqlite")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	query := func(q string) []string {
		rows, err := db.QueryContext(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var out []string
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	var b strings.Builder
	for _, line := range query("SELECT coalesce(sql, name) FROM sqlite_master WHERE name != 'sqlite_stat1' ORDER BY type, name") {
		fmt.Fprintln(&b, line)
	}
	for _, table := range query("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%' AND name != 'Packages' ORDER BY name") {
		for _, row := range query("SELECT typeof(key)||' '||quote(key)||' '||hnum||' '||idx FROM '" + table + "' ORDER BY hnum, idx, key") {
			fmt.Fprintln(&b, table, row)
		}
	}
	return b.String()
}

// compare writes a database of the packages that rpm wrote one of, and demands that both are the same.
func compare(t *testing.T, files []string) {
	theirs, ours := t.TempDir(), t.TempDir()
	install(t, theirs, files)
	packages := map[string]*rpm.Package{}
	for _, f := range files {
		p := readPackage(t, f)
		packages[p.Header.NEVRA().String()] = p
	}
	installed, err := rpmdb.Read(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if len(installed) == 0 || len(installed) < len(packages)-2 { // it leaves out what others obsolete
		t.Fatalf("rpm has %d packages, want %d", len(installed), len(packages))
	}
	var entries []rpmdb.Entry
	for _, h := range installed {
		p := packages[h.NEVRA().String()]
		e := rpmdb.Entry{Header: p.Header, Signature: p.Signature, FileStates: h.Bytes(rpm.TagFileStates)}
		e.InstallTime, _ = h.Uint32(rpm.TagInstallTime)
		e.InstallTID, _ = h.Uint32(rpm.TagInstallTID)
		e.InstallColor, _ = h.Uint32(rpm.TagInstallColor)
		entries = append(entries, e)
		got, err := rpmdb.Blob(e)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(h.Blob()) && !h.Has(rpm.TagRPMFormat) { // rpm 4.18 knows half of the tags of v6
			g, err := rpm.ParseHeader(got)
			if err != nil {
				t.Fatal(err)
			}
			t.Errorf("%s: blob differs; tags ours %v, rpm's %v", h.NEVRA(), g.Tags(), h.Tags())
		}
	}
	if err := rpmdb.Write(ours, entries); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, theirs), dump(t, ours)); diff != "" {
		t.Errorf("rpm's -, ours +:\n%s", diff)
	}
	if a, b := run(t, "rpm", "--dbpath", theirs, "-qa", "--qf", "%{nevra} %{rsaheader}%{dsaheader}\n"), run(t, "rpm", "--dbpath", ours, "-qa", "--qf", "%{nevra} %{rsaheader}%{dsaheader}\n"); a != b {
		t.Errorf("rpm -qa: %s\nours: %s", a, b)
	}
	checkUpdates(t, theirs, entries)
	if os.Getuid() == 0 {
		run(t, "rpmdb", "--dbpath", ours, "--verifydb")
	}
}

// checkUpdates makes the same content by updates, in rpm's database and in ours, and by rpm -e.
func checkUpdates(t *testing.T, theirs string, entries []rpmdb.Entry) {
	t.Helper()
	ours := t.TempDir()
	half := len(entries) / 2
	if err := rpmdb.Write(ours, entries[:half]); err != nil {
		t.Fatal(err)
	}
	if err := rpmdb.Update(ours, nil, entries[half:]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, theirs), dump(t, ours)); diff != "" {
		t.Errorf("after update: rpm's -, ours +:\n%s", diff)
	}
	var gone []string
	for i, e := range entries {
		if i%3 == 1 {
			gone = append(gone, e.Header.NEVRA().String())
		}
	}
	if len(gone) == 0 {
		return
	}
	remove := func(h *rpm.Header) bool { return slices.Contains(gone, h.NEVRA().String()) }
	if err := rpmdb.Update(ours, remove, entries[:1]); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if remove(e.Header) {
			names = append(names, e.Header.NEVRA().String())
		}
	}
	run(t, append([]string{"rpm", "--dbpath", theirs, "-e", "--justdb", "--nodeps", "--noscripts", "--notriggers", "--allmatches"}, names...)...)
	if err := rpmdb.Update(theirs, nil, entries[:1]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, theirs), dump(t, ours)); diff != "" {
		t.Errorf("after removal: rpm's -, ours +:\n%s", diff)
	}
}

func TestAsRPMWritesRealPackages(t *testing.T) {
	needRPM(t)
	if shared() == "" {
		t.Skip("needs the shared data")
	}
	for _, dir := range []string{"el7-closure", "rpm-upstream", "rpm-rs", "misc", "centos-release", "rpmlint", "libzypp", "createrepo_c", "ci-dnf-stack"} {
		t.Run(dir, func(t *testing.T) {
			files := usable(t, filepath.Join(shared(), "data/rpms", dir))
			t.Logf("%d packages", len(files))
			compare(t, files)
		})
	}
}

// usable finds the packages below dir that rpm takes, one of each name.
func usable(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".rpm") {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		p, err := rpm.ReadPackage(in)
		if err != nil || p.Header.IsSource() {
			return nil
		}
		// Headers without a region rpm rewrites.
		if region, _, _ := p.Header.Region(); region == 0 || seen[p.Header.NEVRA().String()] {
			return nil
		}
		if exec.Command("rpm", "-qp", "--nosignature", "--nodigest", path).Run() == nil {
			seen[p.Header.NEVRA().String()] = true
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// pack writes a package of rpmpack's into dir.
func pack(t testing.TB, dir string, p *rpmpack.RPM) string {
	t.Helper()
	path := filepath.Join(dir, p.Name+"-"+p.Version+".rpm")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func newRPM(t testing.TB, m rpmpack.RPMMetaData) *rpmpack.RPM {
	t.Helper()
	if m.Version == "" {
		m.Version = "1.0"
	}
	m.Release, m.Arch = "1", "noarch"
	p, err := rpmpack.NewRPM(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rich are dependencies of every form; some cannot be read.
var rich = []string{
	"(a if b)", "(a if b else c)", "(a unless b)", "(a unless b else c)", "((a or b) if (c and d))", "(a if (b if c))", "(a if (b and c) else (d or e))",
	"(a >= 1.0 with a < 2.0)", "(foo(x86-64) and foo(bar)(baz))", "(a and b and c)", "(a or (b unless (c or d)))", "(a without b)",
	"((a if b) if c)", "(a if b if c)", "(a)", "(a and rpmlib(Foo))", "(a if (b unless c else d) else e)", "(x and x)", "(a if a)", "( a  if  b )", "(a else b)",
	"(a,b)", "(a > )", "(a", "(a foo b)", "()", "((((a))))", "(/usr/bin/x if /bin/y)",
}

func TestAsRPMWritesMadePackages(t *testing.T) {
	needRPM(t)
	dir := t.TempDir()
	var files []string
	flags := []uint32{0, rpm.SensePrereq, rpm.SensePretrans, rpm.SensePosttrans, rpm.SenseInterp, rpm.SenseScriptPre, rpm.SenseScriptPost, rpm.SenseScriptPreUn,
		rpm.SenseScriptPostUn, rpm.SenseScriptVerify, rpm.SenseFindRequires, rpm.SenseMissingOK, rpm.SensePreUnTrans, rpm.SensePostUnTrans, rpm.SenseRPMLib,
		rpm.SenseKeyring, rpm.SenseConfig, rpm.SenseMeta}
	p := newRPM(t, rpmpack.RPMMetaData{Name: "flags"})
	var names, versions []string
	var values []int32
	for i, a := range flags {
		for j, b := range flags[:i+1] {
			names, versions, values = append(names, fmt.Sprintf("r%02d-%02d", i, j)), append(versions, ""), append(values, int32(a|b))
		}
	}
	for i, r := range rich {
		_ = i
		names, versions, values = append(names, r), append(versions, ""), append(values, 0)
	}
	p.AddCustomTag(rpm.TagRequireName, rpmpack.EntryStringSlice(names))
	p.AddCustomTag(rpm.TagRequireVersion, rpmpack.EntryStringSlice(versions))
	p.AddCustomTag(rpm.TagRequireFlags, rpmpack.EntryInt32(values))
	p.AddFile(rpmpack.RPMFile{Name: "/usr/bin/x", Body: []byte("x"), Mode: 0o755})
	files = append(files, pack(t, dir, p))

	p = newRPM(t, rpmpack.RPMMetaData{Name: "lists", Group: "A/B", Epoch: 3})
	for _, kind := range []struct{ name, version, flags int }{
		{rpm.TagConflictName, rpm.TagConflictVersion, rpm.TagConflictFlags}, {rpm.TagObsoleteName, rpm.TagObsoleteVersion, rpm.TagObsoleteFlags},
		{rpm.TagRecommendName, rpm.TagRecommendVersion, rpm.TagRecommendFlags}, {rpm.TagSuggestName, rpm.TagSuggestVersion, rpm.TagSuggestFlags},
		{rpm.TagSupplementName, rpm.TagSupplementVersion, rpm.TagSupplementFlags}, {rpm.TagEnhanceName, rpm.TagEnhanceVersion, rpm.TagEnhanceFlags},
	} {
		list := append([]string{"plain", "plain"}, rich...)
		p.AddCustomTag(kind.name, rpmpack.EntryStringSlice(list))
		p.AddCustomTag(kind.version, rpmpack.EntryStringSlice(make([]string, len(list))))
		p.AddCustomTag(kind.flags, rpmpack.EntryInt32(make([]int32, len(list))))
	}
	for _, kind := range []struct{ name, version, flags, index, script, prog int }{
		{rpm.TagTriggerName, rpm.TagTriggerVersion, rpm.TagTriggerFlags, rpm.TagTriggerIndex, rpm.TagTriggerScripts, rpm.TagTriggerScriptProg},
		{rpm.TagFileTriggerName, rpm.TagFileTriggerVersion, rpm.TagFileTriggerFlags, rpm.TagFileTriggerIndex, rpm.TagFileTriggerScripts, rpm.TagFileTriggerScriptProg},
		{rpm.TagTransFileTriggerName, rpm.TagTransFileTriggerVersion, rpm.TagTransFileTriggerFlags, rpm.TagTransFileTriggerIndex, rpm.TagTransFileTriggerScripts, rpm.TagTransFileTriggerScriptProg},
	} {
		p.AddCustomTag(kind.name, rpmpack.EntryStringSlice([]string{"/usr/lib", "bash", "/usr/lib", "/etc"}))
		p.AddCustomTag(kind.version, rpmpack.EntryStringSlice(make([]string, 4)))
		p.AddCustomTag(kind.flags, rpmpack.EntryInt32([]int32{rpm.SenseTriggerIn, rpm.SenseTriggerIn, rpm.SenseTriggerUn, rpm.SenseTriggerPostUn}))
		p.AddCustomTag(kind.index, rpmpack.EntryInt32([]int32{0, 0, 1, 2}))
		p.AddCustomTag(kind.script, rpmpack.EntryStringSlice([]string{"a", "b", "c"}))
		p.AddCustomTag(kind.prog, rpmpack.EntryStringSlice([]string{"/bin/sh", "/bin/sh", "/bin/sh"}))
	}
	files = append(files, pack(t, dir, p))
	files = append(files, pack(t, dir, newRPM(t, rpmpack.RPMMetaData{Name: "empty"})))
	compare(t, files)
}
