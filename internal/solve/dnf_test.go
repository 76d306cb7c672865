// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"compress/gzip"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/solve"
)

type xmlEVR struct {
	Epoch string `xml:"epoch,attr"`
	Ver   string `xml:"ver,attr"`
	Rel   string `xml:"rel,attr"`
}

type xmlDep struct {
	xmlEVR
	Name  string `xml:"name,attr"`
	Flags string `xml:"flags,attr"`
	Pre   string `xml:"pre,attr"`
}

type xmlPackage struct {
	Name    string `xml:"name"`
	Arch    string `xml:"arch"`
	Version xmlEVR `xml:"version"`
	Sum     string `xml:"checksum"`
	Format  struct {
		Provides    []xmlDep `xml:"provides>entry"`
		Requires    []xmlDep `xml:"requires>entry"`
		Conflicts   []xmlDep `xml:"conflicts>entry"`
		Obsoletes   []xmlDep `xml:"obsoletes>entry"`
		Recommends  []xmlDep `xml:"recommends>entry"`
		Suggests    []xmlDep `xml:"suggests>entry"`
		Supplements []xmlDep `xml:"supplements>entry"`
		Enhances    []xmlDep `xml:"enhances>entry"`
	} `xml:"format"`
}

func evr(v xmlEVR) rpm.EVR {
	e := rpm.EVR{Epoch: v.Epoch, Version: v.Ver, Release: v.Rel}
	if e.Epoch == "0" {
		e.Epoch = ""
	}
	return e
}

func xmlDeps(list []xmlDep) []rpm.Dep {
	flags := map[string]uint32{"EQ": rpm.SenseEqual, "LT": rpm.SenseLess, "GT": rpm.SenseGreater, "LE": rpm.SenseLess | rpm.SenseEqual, "GE": rpm.SenseGreater | rpm.SenseEqual}
	var out []rpm.Dep
	for _, d := range list {
		out = append(out, rpm.Dep{Name: d.Name, Flags: flags[d.Flags], EVR: evr(d.xmlEVR), Pre: d.Pre == "1"})
	}
	return out
}

func readXML(t *testing.T, pattern string, into any) {
	t.Helper()
	names, _ := filepath.Glob(pattern)
	if len(names) != 1 {
		t.Skip("needs the shared data: " + pattern)
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.NewDecoder(z).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// stream9 is CentOS Stream 9's BaseOS, its file lists included.
func stream9(t *testing.T) (folder string, packages []rpm.Meta) {
	t.Helper()
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	folder, err := filepath.Abs(filepath.Join(root, "data/repodata/osbuild-images-testrepo/test/data/testrepo"))
	if err != nil {
		t.Fatal(err)
	}
	var primary struct {
		Package []xmlPackage `xml:"package"`
	}
	var lists struct {
		Package []struct {
			ID   string   `xml:"pkgid,attr"`
			File []string `xml:"file"`
		} `xml:"package"`
	}
	readXML(t, filepath.Join(folder, "repodata/*-primary.xml.gz"), &primary)
	readXML(t, filepath.Join(folder, "repodata/*-filelists.xml.gz"), &lists)
	files := map[string][]string{}
	for _, p := range lists.Package {
		files[p.ID] = p.File
	}
	for _, p := range primary.Package {
		f := p.Format
		packages = append(packages, rpm.Meta{
			NEVRA:    rpm.NEVRA{Name: p.Name, EVR: evr(p.Version), Arch: p.Arch},
			Provides: xmlDeps(f.Provides), Requires: xmlDeps(f.Requires), Conflicts: xmlDeps(f.Conflicts), Obsoletes: xmlDeps(f.Obsoletes),
			Recommends: xmlDeps(f.Recommends), Suggests: xmlDeps(f.Suggests), Supplements: xmlDeps(f.Supplements), Enhances: xmlDeps(f.Enhances),
			Files: files[p.Sum],
		})
	}
	return folder, packages
}

var dnfRow = regexp.MustCompile(`(?m)^ (\S+) +(x86_64|noarch|i686) +(\S+) +x +`)

// dnf asks the real one for what it would install into an empty root.
func dnf(t *testing.T, folder, cache string, weak bool, specs []string) []string {
	t.Helper()
	args := []string{
		"--repofrompath=x,file://" + folder, "--repo=x", "--installroot=" + cache + "/root", "--releasever=9", "--forcearch=x86_64",
		"--setopt=cachedir=" + cache + "/cache", "--setopt=logdir=" + cache, "--setopt=reposdir=" + cache, "--nogpgcheck", "--noplugins", "--assumeno",
	}
	if !weak {
		args = append(args, "--setopt=install_weak_deps=0")
	}
	cmd := exec.Command("dnf", append(append(args, "install"), specs...)...)
	cmd.Env = append(os.Environ(), "COLUMNS=300", "LC_ALL=C")
	out, _ := cmd.CombinedOutput() // --assumeno ends with 1
	var names []string
	for _, m := range dnfRow.FindAllStringSubmatch(string(out), -1) {
		names = append(names, m[1]+"-"+strings.TrimPrefix(m[3], "0:")+"."+m[2])
	}
	if len(names) == 0 {
		t.Fatalf("dnf %v says:\n%s", specs, out)
	}
	slices.Sort(names)
	return names
}

func TestAsDnf(t *testing.T) {
	if _, err := exec.LookPath("dnf"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs dnf")
		}
		t.Skip("needs dnf")
	}
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root, as dnf does")
	}
	folder, packages := stream9(t)
	cache := t.TempDir()
	for _, c := range []struct {
		specs string
		weak  bool
	}{
		{"bash", true}, {"bash", false},
		{"systemd", true}, {"systemd", false},
		{"openssh-server NetworkManager", true}, {"openssh-server NetworkManager", false},
		{"dnf rpm-plugin-selinux", true},
		{"/usr/bin/vi /usr/sbin/lvm", false},
		{"libsel* glibc.i686", true},
		{"kernel", true},
		{"python3 yum", false},
		{"cockpit", true},
	} {
		specs := strings.Fields(c.specs)
		req := solve.Request{Arch: "x86_64", Repos: []solve.Repo{{ID: "x", Packages: packages}}, Install: specs, NoWeak: !c.weak}
		plan, err := solve.Solve(req)
		if err != nil {
			t.Errorf("%s: %v", c.specs, err)
			continue
		}
		var got []string
		for _, p := range plan.Install {
			got = append(got, packages[p.Index].NEVRA.String())
		}
		slices.Sort(got)
		want := dnf(t, folder, cache, c.weak, specs)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, weak %v: %d packages (-dnf +grove):\n%s", c.specs, c.weak, len(got), d)
		} else {
			t.Logf("%s, weak %v: the same %d packages", c.specs, c.weak, len(got))
		}
	}
}
