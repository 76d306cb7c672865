// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

const sampleModules = `---
document: modulemd
version: 2
data:
  name: moss
  stream: 1.10
  version: 20
  context: aa
  arch: x86_64
  dependencies:
  - buildrequires: {platform: [p1]}
    requires: {platform: [p1], soil: []}
  profiles:
    common: {rpms: [moss, moss-tools]}
    small: {rpms: [moss]}
  artifacts:
    rpms: [moss-0:1.10-1.x86_64, moss-tools-0:1.10-1.x86_64, moss-0:1.10-1.src]
...
---
document: modulemd
version: 2
data: {name: moss, stream: 2, version: 30, context: bb, arch: x86_64, dependencies: [{requires: {platform: [], soil: [wet]}}], profiles: {only: {rpms: [moss]}},
  artifacts: {rpms: [moss-0:2-1.x86_64]}}
---
document: modulemd
version: 2
data: {name: moss, stream: 2, version: 40, context: cc, arch: x86_64, dependencies: [{requires: {platform: [-p1]}}], artifacts: {rpms: [moss-0:2-2.x86_64]}}
---
document: modulemd
version: 2
data: {name: soil, stream: dry, version: 1, arch: x86_64, artifacts: {rpms: [soil-1:1-1.noarch]}}
---
document: modulemd
version: 2
data: {name: soil, stream: wet, version: 1, arch: x86_64, artifacts: {rpms: [soil-1:2-1.noarch]}, demodularized: {rpms: [worm]}}
---
document: modulemd
version: 2
data: {name: other, stream: x, version: 1, arch: s390x, artifacts: {rpms: [fern-0:1-1.x86_64]}}
---
document: modulemd-defaults
version: 1
data: {module: moss, stream: 1.10, profiles: {1.10: [common], 2: []}}
---
document: modulemd-defaults
version: 1
data: {module: soil, stream: dry}
---
document: modulemd-obsoletes
version: 1
data: {module: moss, stream: 9}
`

func packagesOf(nevras string) []rpm.Meta {
	var all []rpm.Meta
	for _, s := range strings.Fields(nevras) {
		n, err := rpm.ParseNEVRA(s)
		if err != nil {
			panic(err)
		}
		m := rpm.Meta{NEVRA: n, Provides: []rpm.Dep{{Name: n.Name}}}
		if n.Name == "lichen" {
			m.Provides = append(m.Provides, rpm.Dep{Name: "moss"})
		}
		all = append(all, m)
	}
	return all
}

func TestApplyModules(t *testing.T) {
	modules, defaults, err := rpmmd.ParseModules(strings.NewReader(sampleModules))
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) != 6 || modules[0].Stream != "1.10" || len(modules[0].Artifacts) != 2 {
		t.Fatalf("%+v", modules)
	}
	for _, tt := range []struct {
		name  string
		state rpmmd.ModuleState
		want  string // packages that are seen, then those to install
		err   string
	}{
		{"defaults", rpmmd.ModuleState{Platform: "p1"}, "moss-1.10-1.x86_64 moss-tools-1.10-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64", ""},
		{"another stream", rpmmd.ModuleState{Platform: "p1", Enabled: map[string]string{"moss": "2"}},
			"moss-2-1.x86_64 moss-tools-0.1-1.x86_64 soil-1:2-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64", ""},
		{"another stream that excludes this platform", rpmmd.ModuleState{Platform: "p2", Enabled: map[string]string{"moss": "2"}},
			"moss-2-2.x86_64 moss-tools-0.1-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64", ""},
		{"defaults of another platform", rpmmd.ModuleState{Platform: "p2"},
			"moss-0.1-1.x86_64 moss-tools-0.1-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 lichen-1-1.noarch hot/moss-3-1.x86_64", ""},
		{"disabled", rpmmd.ModuleState{Platform: "p1", Disabled: map[string]bool{"moss": true}},
			"moss-0.1-1.x86_64 moss-tools-0.1-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 lichen-1-1.noarch hot/moss-3-1.x86_64", ""},
		{"a profile", rpmmd.ModuleState{Platform: "p1", Install: []string{"moss/small"}},
			"moss-1.10-1.x86_64 moss-tools-1.10-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64 + moss", ""},
		{"the default profile", rpmmd.ModuleState{Platform: "p1", Install: []string{"moss:1.10"}},
			"moss-1.10-1.x86_64 moss-tools-1.10-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64 + moss moss-tools", ""},
		{"the only profile", rpmmd.ModuleState{Platform: "p1", Install: []string{"moss:2"}},
			"moss-2-1.x86_64 moss-tools-0.1-1.x86_64 soil-1:2-1.noarch fern-1-1.x86_64 hot/moss-3-1.x86_64 + moss", ""},
		{"what is required is enabled otherwise", rpmmd.ModuleState{Platform: "p1", Enabled: map[string]string{"moss": "2", "soil": "dry"}}, "", "it requires module soil:wet"},
		{"no such stream", rpmmd.ModuleState{Platform: "p1", Enable: []string{"moss:9"}}, "", "has no stream 9; there are 1.10, 2"},
		{"a stream that was enabled once, and is gone", rpmmd.ModuleState{Platform: "p1", Enabled: map[string]string{"moss": "9"}},
			"moss-0.1-1.x86_64 moss-tools-0.1-1.x86_64 soil-1:1-1.noarch fern-1-1.x86_64 lichen-1-1.noarch hot/moss-3-1.x86_64", ""},
		{"the same, asked for now", rpmmd.ModuleState{Platform: "p1", Enabled: map[string]string{"moss": "9"}, Install: []string{"moss"}}, "", "has no stream 9; there are 1.10, 2"},
		{"no such profile", rpmmd.ModuleState{Platform: "p1", Install: []string{"moss:2/big"}}, "", `has no profile "big"; there are only`},
		{"no such module", rpmmd.ModuleState{Platform: "p1", Install: []string{"nothing"}}, "", "there are none"},
		{"two streams", rpmmd.ModuleState{Platform: "p1", Install: []string{"moss:1.10", "moss:2"}}, "", "stream 2 is asked for, and 1.10 is enabled"},
		{"another platform", rpmmd.ModuleState{Platform: "p2", Install: []string{"moss:1.10"}}, "", "it requires platform p1"},
	} {
		main := &rpmmd.Metadata{Modules: modules, ModuleDefaults: defaults, Packages: packagesOf(
			"moss-0.1-1.x86_64 moss-1.10-1.x86_64 moss-2-1.x86_64 moss-2-2.x86_64 moss-tools-0.1-1.x86_64 moss-tools-1.10-1.x86_64 soil-1:1-1.noarch soil-1:2-1.noarch fern-1-1.x86_64 lichen-1-1.noarch")}
		hot := &rpmmd.Metadata{Source: rpmmd.Source{ModuleHotfixes: true}, Packages: packagesOf("moss-3-1.x86_64")}
		choice, err := rpmmd.ApplyModules([]*rpmmd.Metadata{main, hot}, tt.state, "x86_64")
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, p := range main.Packages {
			got = append(got, p.NEVRA.String())
		}
		for _, p := range hot.Packages {
			got = append(got, "hot/"+p.NEVRA.String())
		}
		if len(choice.Install) > 0 {
			got = append(append(got, "+"), choice.Install...)
		}
		if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestParseModulesRefuses(t *testing.T) {
	for _, tt := range []struct{ text, err string }{
		{"document: modulemd\nversion: 2\ndata: {stream: 1}\n", "without name or stream"},
		{"document: modulemd\nversion: 2\ndata: {name: a, stream: &x 1, context: *x}\n", "no text"},
		{"document: modulemd\nversion: 2\ndata: {name: a, stream: 1, version: -3}\n", "version"},
		{"document: modulemd\nversion: 2\ndata: {name: a, stream: [1]}\n", "no text"},
		{"document: modulemd\nversion: 2\ndata: {name: a, stream: 1, artifacts: {rpms: moss}}\n", "no list"},
		{"document: modulemd-defaults\nversion: 1\ndata: {stream: 1}\n", "without a module"},
		{"a: [\n", "document 1"},
	} {
		if _, _, err := rpmmd.ParseModules(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.err)
		}
	}
	modules, _, err := rpmmd.ParseModules(strings.NewReader("document: modulemd\nversion: 2\ndata: {name: a, stream: 1, artifacts: {rpms: [], x: 1}, profiles: }\n--- \n"))
	if err != nil || len(modules) != 1 {
		t.Errorf("%v %v", modules, err)
	}
}

// modularRepo makes a source of real packages with modules in dir.
func modularRepo(t *testing.T, dir string) string {
	from := filepath.Join(shared(t), "rpms", "dnf-modules")
	repo := filepath.Join(dir, "repo")
	os.Mkdir(repo, 0o755)
	rpms, _ := filepath.Glob(filepath.Join(from, "*.rpm"))
	var yaml strings.Builder
	for _, f := range rpms {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(repo, filepath.Base(f)), data, 0o644)
	}
	yamls, _ := filepath.Glob(filepath.Join(from, "*.yaml"))
	for _, f := range yamls {
		data, _ := os.ReadFile(f)
		yaml.WriteString("---\n" + strings.TrimPrefix(strings.TrimSpace(string(data)), "---\n") + "\n")
	}
	os.WriteFile(filepath.Join(dir, "modules.yaml"), []byte(yaml.String()), 0o644)
	runIn(t, dir, "createrepo_c", "-q", "--no-database", repo)
	runIn(t, dir, "modifyrepo_c", "--mdtype=modules", filepath.Join(dir, "modules.yaml"), filepath.Join(repo, "repodata"))
	return repo
}

func runIn(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, err.(*exec.ExitError).Stderr)
	}
	return string(out)
}

// dnfRoot makes a root for dnfIn that knows one source.
func dnfRoot(root, conf string) {
	for name, text := range map[string]string{"etc/yum.repos.d/x.repo": conf, "etc/dnf/dnf.conf": "[main]\nmodule_platform_id=platform:p1\n"} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	os.MkdirAll(filepath.Join(root, "etc/dnf/modules.d"), 0o755)
}

func dnfIn(t *testing.T, root string, args ...string) string {
	t.Helper()
	return runIn(t, root, "dnf", append([]string{"-q", "-y", "--installroot=" + root, "--setopt=reposdir=" + root + "/etc/yum.repos.d", "--setopt=cachedir=" + root + "/cache",
		"--config=" + root + "/etc/dnf/dnf.conf", "--releasever=1"}, args...)...)
}

// TestModuleRecordsLikeDNF compares what dnf leaves in /etc/dnf/modules.d with the records of the same choice.
func TestModuleRecordsLikeDNF(t *testing.T) {
	needs(t, "dnf")
	needs(t, "createrepo_c")
	needs(t, "modifyrepo_c")
	dir := t.TempDir()
	repo := modularRepo(t, dir)
	for i, tt := range []struct {
		dnf       []string // words of a command each
		state     rpmmd.ModuleState
		installed string
		disabled  string
	}{
		{[]string{"module enable httpd:2.2"}, rpmmd.ModuleState{Enable: []string{"httpd:2.2"}}, "", ""},
		{[]string{"module enable httpd"}, rpmmd.ModuleState{Enable: []string{"httpd"}}, "", ""},
		{[]string{"module install httpd:2.4/doc"}, rpmmd.ModuleState{Install: []string{"httpd:2.4/doc"}}, "httpd-doc-2.4.25-8.x86_64", ""},
		{[]string{"install libnghttp2"}, rpmmd.ModuleState{}, "libnghttp2-1.21.1-1.x86_64", ""},
		{[]string{"module enable m4:1.4.18", "install libnghttp2"}, rpmmd.ModuleState{Enable: []string{"m4:1.4.18"}}, "libnghttp2-1.21.1-1.x86_64", ""},
		{[]string{"module disable httpd"}, rpmmd.ModuleState{Disabled: map[string]bool{"httpd": true}}, "", "httpd"},
	} {
		root := filepath.Join(dir, fmt.Sprint("root", i))
		dnfRoot(root, "[x]\nname=x\nbaseurl=file://"+repo+"\ngpgcheck=0\n")
		for _, words := range tt.dnf {
			dnfIn(t, root, strings.Fields(words)...)
		}
		want := map[string]string{}
		files, _ := filepath.Glob(filepath.Join(root, "etc/dnf/modules.d", "*.module"))
		for _, f := range files {
			data, _ := os.ReadFile(f)
			want[filepath.Base(f)] = string(data)
		}
		if len(want) == 0 {
			t.Errorf("%q: dnf left nothing", tt.dnf)
		}
		m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{repo}}, rpmmd.LoadOptions{Client: quick()})
		if err != nil {
			t.Fatal(err)
		}
		tt.state.Platform = "p1"
		choice, err := rpmmd.ApplyModules([]*rpmmd.Metadata{m}, tt.state, "x86_64")
		if err != nil {
			t.Errorf("%q: %v", tt.dnf, err)
			continue
		}
		var installed []rpm.Meta
		for _, p := range m.Packages {
			if p.NEVRA.String() == tt.installed {
				installed = append(installed, p)
			}
		}
		records := choice.Records(installed)
		if tt.disabled != "" {
			records = append(records, rpmmd.ModuleRecord{Name: tt.disabled, Disabled: true})
		}
		got := map[string]string{}
		for _, r := range records {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			got[r.Name+".module"] = string(r.Encode())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (- dnf, + grove): %s", tt.dnf, d)
		}
	}
}

func TestModuleRecord(t *testing.T) {
	r := rpmmd.ModuleRecord{Name: "a", Stream: "1.10", Profiles: []string{"x", "y"}}
	back, err := rpmmd.ReadModuleRecord(r.Encode(), "a")
	if d := cmp.Diff(r, back); d != "" || err != nil {
		t.Error(err, d)
	}
	for _, bad := range []rpmmd.ModuleRecord{{Name: ""}, {Name: ".a"}, {Name: "a/b", Stream: "1"}, {Name: "a", Stream: "1\nstate=disabled"}, {Name: "a]", Stream: "1"}, {Name: "a", Profiles: []string{"x,y"}}} {
		if bad.Check() == nil {
			t.Errorf("%+v: taken", bad)
		}
	}
}

// TestModulesLikeDNF compares the packages that dnf and grove see in a modular source, for states of its modules.
func TestModulesLikeDNF(t *testing.T) {
	needs(t, "dnf")
	needs(t, "createrepo_c")
	needs(t, "modifyrepo_c")
	dir := t.TempDir()
	repo := modularRepo(t, dir)
	for _, tt := range []struct {
		name  string
		state rpmmd.ModuleState
		hot   bool
	}{
		{"defaults", rpmmd.ModuleState{}, false},
		{"httpd 2.2", rpmmd.ModuleState{Enabled: map[string]string{"httpd": "2.2"}}, false},
		{"httpd 2.2 and base-runtime f26", rpmmd.ModuleState{Enabled: map[string]string{"httpd": "2.2", "base-runtime": "f26"}}, false},
		{"base-runtime rhel73", rpmmd.ModuleState{Enabled: map[string]string{"base-runtime": "rhel73"}}, false},
		{"httpd off", rpmmd.ModuleState{Disabled: map[string]bool{"httpd": true}}, false},
		{"a stream of httpd that is gone", rpmmd.ModuleState{Enabled: map[string]string{"httpd": "1.3"}}, false},
		{"hotfixes", rpmmd.ModuleState{Enabled: map[string]string{"httpd": "2.2"}}, true},
	} {
		root := filepath.Join(dir, "root-"+strings.ReplaceAll(tt.name, " ", "-"))
		conf := "[x]\nname=x\nbaseurl=file://" + repo + "\ngpgcheck=0\n"
		if tt.hot {
			conf += "module_hotfixes=1\n"
		}
		dnfRoot(root, conf)
		for name, stream := range tt.state.Enabled {
			os.WriteFile(filepath.Join(root, "etc/dnf/modules.d", name+".module"), []byte("["+name+"]\nname="+name+"\nstream="+stream+"\nprofiles=\nstate=enabled\n"), 0o644)
		}
		for name := range tt.state.Disabled {
			os.WriteFile(filepath.Join(root, "etc/dnf/modules.d", name+".module"), []byte("["+name+"]\nname="+name+"\nstream=\nprofiles=\nstate=disabled\n"), 0o644)
		}
		want := strings.Fields(dnfIn(t, root, "repoquery", "--available", "--qf", "%{name}-%{epoch}:%{version}-%{release}.%{arch}"))
		slices.Sort(want)
		m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{repo}, ModuleHotfixes: tt.hot}, rpmmd.LoadOptions{Client: quick()})
		if err != nil {
			t.Fatal(err)
		}
		tt.state.Platform = "p1"
		if _, err := rpmmd.ApplyModules([]*rpmmd.Metadata{m}, tt.state, "x86_64"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, p := range m.Packages {
			e := p.Epoch
			if e == "" {
				e = "0"
			}
			got = append(got, p.Name+"-"+e+":"+p.Version+"-"+p.Release+"."+p.Arch)
		}
		slices.Sort(got)
		t.Logf("%s: %d packages", tt.name, len(got))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (- dnf, + grove): %s", tt.name, d)
		}
	}
}

func TestRealModules(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared(t), "repodata/libmodulemd/modulemd/tests/test_data/f29.yaml"))
	if err != nil {
		t.Skip(err)
	}
	modules, defaults, err := rpmmd.ParseModules(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d builds, %d defaults", len(data), len(modules), len(defaults))
	if len(modules) < 40 || len(defaults) < 5 {
		t.Error("too few")
	}
	if _, err := rpmmd.ApplyModules([]*rpmmd.Metadata{{Modules: modules, ModuleDefaults: defaults}}, rpmmd.ModuleState{Platform: "f29", Install: []string{"nodejs:10/default"}}, "x86_64"); err != nil {
		t.Error(err)
	}
}
