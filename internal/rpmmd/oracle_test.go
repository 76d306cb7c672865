// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

// needs skips at a desk, and fails where all peers must be there.
func needs(t testing.TB, tool string) {
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatalf("needs %s", tool)
		}
		t.Skipf("needs %s", tool)
	}
}

// TestRealMetadata reads every source in the shared data.
func TestRealMetadata(t *testing.T) {
	root := filepath.Join(shared(t), "repodata")
	refused := map[string]string{ // what is rightly refused
		"librepo/test_data/repo_yum_02": "",
	}
	n, packages := 0, 0
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "repomd.xml" {
			return err
		}
		base := filepath.Dir(filepath.Dir(path))
		name, _ := filepath.Rel(root, base)
		m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{base}}, rpmmd.LoadOptions{Client: quick()})
		if err != nil {
			if want, ok := refused[name]; !ok || !strings.Contains(err.Error(), want) {
				t.Logf("%s: %v", name, err)
			}
			return nil
		}
		n++
		packages += len(m.Packages)
		if len(m.Warnings) > 0 {
			t.Logf("%s: %v", name, m.Warnings)
		}
		if err := m.LoadFilelists(context.Background()); err != nil {
			t.Logf("%s: %v", name, err)
		}
		return nil
	})
	t.Logf("%d sources, %d packages", n, packages)
	base := filepath.Join(root, "osbuild-images-testrepo/test/data/testrepo")
	cache := t.TempDir()
	var first []rpm.Meta
	for i := 0; i < 2; i++ {
		m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "c9s", BaseURLs: []string{base}}, rpmmd.LoadOptions{Client: quick(), CacheDir: cache})
		if err == nil {
			err = m.LoadFilelists(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Packages) != 1125 || len(m.Groups) == 0 || len(m.Environments) == 0 {
			t.Errorf("%d packages, %d groups, %d environments", len(m.Packages), len(m.Groups), len(m.Environments))
		}
		files := 0
		for _, p := range m.Packages {
			files += len(p.Files)
		}
		t.Logf("%d files, %d groups, %d environments", files, len(m.Groups), len(m.Environments))
		if i == 1 {
			if d := cmp.Diff(first, m.Packages); d != "" {
				t.Error(d)
			}
		}
		first = m.Packages
	}
}

// TestCreaterepo compares what createrepo_c says about real packages with what their headers say.
func TestCreaterepo(t *testing.T) {
	needs(t, "createrepo_c")
	data := shared(t)
	dir := t.TempDir()
	n := 0
	filepath.WalkDir(filepath.Join(data, "rpms"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".rpm") {
			return err
		}
		if _, err := header(path); err != nil {
			return nil
		}
		os.Link(path, filepath.Join(dir, d.Name())) // may fail across file systems
		if _, err := os.Stat(filepath.Join(dir, d.Name())); err != nil {
			text, _ := os.ReadFile(path)
			os.WriteFile(filepath.Join(dir, d.Name()), text, 0o644)
		}
		n++
		return nil
	})
	for _, args := range [][]string{{"--general-compress-type=gz"}, {"--general-compress-type=xz", "--checksum=sha512"}, {"--general-compress-type=bz2", "--checksum=sha1"}, {"--general-compress-type=zstd"}} {
		os.RemoveAll(filepath.Join(dir, "repodata"))
		out, err := exec.Command("createrepo_c", append(args, "-q", "--no-database", dir)...).CombinedOutput()
		if err != nil {
			if strings.Contains(args[0], "zstd") {
				t.Logf("createrepo_c %v: %s", args, out) // old ones do not know it
				continue
			}
			t.Fatalf("createrepo_c %v: %v: %s", args, err, out)
		}
		compareRepo(t, dir)
	}
}

func header(path string) (rpm.Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return rpm.Meta{}, err
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		return rpm.Meta{}, err
	}
	return p.Meta()
}

func compareRepo(t *testing.T, dir string) {
	t.Helper()
	m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{dir}}, rpmmd.LoadOptions{Client: quick()})
	if err == nil {
		err = m.LoadFilelists(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	for _, got := range m.Packages {
		path := strings.TrimPrefix(m.PackageURLs(got)[0], "file://")
		want, err := header(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		info, _ := os.Stat(path)
		want.SizeBytes, want.Location, want.Digest = info.Size(), got.Location, got.Digest
		a, b := normal(want), normal(got)
		if !utf8.ValidString(want.Summary) {
			continue // createrepo_c takes it for latin1
		}
		if d := cmp.Diff(a, b); d != "" {
			if bad++; bad < 6 {
				t.Errorf("%s (- header, + metadata): %s", filepath.Base(path), d)
			}
		}
	}
	t.Logf("%d packages compared, %d differ", len(m.Packages), bad)
}

// normal takes away in what a header and metadata may differ: order, repetitions, flags that say where a dependency comes from.
func normal(m rpm.Meta) rpm.Meta {
	m.EVR = zeroEpoch(m.EVR)
	own := map[string]bool{}
	for _, f := range m.Files {
		own[f] = true
	}
	for _, d := range m.Provides {
		d.Flags, d.EVR = d.Flags&rpm.SenseCompare, zeroEpoch(d.EVR)
		own[d.String()] = true
	}
	for i, list := range []*[]rpm.Dep{&m.Provides, &m.Requires, &m.Conflicts, &m.Obsoletes, &m.Recommends, &m.Suggests, &m.Supplements, &m.Enhances} {
		seen := map[string]bool{}
		var out []rpm.Dep
		for _, d := range *list {
			d.Flags &= rpm.SenseCompare
			d.EVR = zeroEpoch(d.EVR)
			if d.Flags == 0 {
				d.EVR = rpm.EVR{}
			}
			if i != 1 {
				d.Pre = false
			}
			key := fmt.Sprint(d)
			// createrepo_c leaves out what the package itself has or provides, and all but the newest libc.so.6
			if seen[key] || i == 1 && (own[d.String()] || strings.HasPrefix(d.Name, "libc.so.6")) {
				continue
			}
			seen[key] = true
			out = append(out, d)
		}
		sort.Slice(out, func(i, j int) bool { return fmt.Sprintf("%+v", out[i]) < fmt.Sprintf("%+v", out[j]) })
		*list = out
	}
	files := append([]string(nil), m.Files...)
	sort.Strings(files)
	m.Files = files
	if len(files) == 0 {
		m.Files = nil
	}
	return m
}

func zeroEpoch(e rpm.EVR) rpm.EVR {
	if e.Epoch == "0" {
		e.Epoch = ""
	}
	return e
}
