// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"grove/internal/rpmmd"
)

// seeds adds the files of the shared data that match, where they are there.
func seeds(f *testing.F, patterns ...string) {
	dir := os.Getenv("GROVE_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	for _, p := range patterns {
		files, _ := filepath.Glob(filepath.Join(dir, "data/repodata", p))
		for _, name := range files {
			if data, err := os.ReadFile(name); err == nil && len(data) < 100_000 {
				f.Add(data)
			}
		}
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(samplePrimary))
	f.Add([]byte(strings.Replace(samplePrimary, "<packager/>", "<!-- </package> --><packager x='</package>'/>", 1)))
	f.Add([]byte(strings.Replace(samplePrimary, "</metadata>", "</metadate>", 1)))
	seeds(f, "dnf5/test/data/repos-repomd/*/repodata/primary.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := rpmmd.ParsePrimary(bytes.NewReader(data))
		// read in small pieces, it must be the same
		again, err2 := rpmmd.ParsePrimary(oneByte{strings.NewReader(string(data))})
		if (err == nil) != (err2 == nil) || err == nil && !reflect.DeepEqual(all, again) {
			t.Fatalf("%v, %v", err, err2)
		}
		for _, size := range []int{20, 100, 500} { // what is accepted means the same however it is cut
			if cut, errCut := rpmmd.ParseCut(data, size); errCut == nil && (err != nil || !reflect.DeepEqual(all, cut)) {
				t.Fatalf("in pieces of %d bytes it is accepted: %v", size, err)
			}
		}
		if err != nil {
			return
		}
		for _, p := range all {
			if p.Location == "" || strings.HasPrefix(p.Location, "/") || strings.Contains("/"+p.Location+"/", "/../") {
				t.Fatalf("location %q", p.Location)
			}
		}
		if err := rpmmd.FuzzedUnpack(rpmmd.Pack(all, nil, nil)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzFilelists(f *testing.F) {
	f.Add([]byte(sampleFilelists))
	seeds(f, "dnf5/test/data/repos-repomd/*/repodata/filelists.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		rpmmd.ParseFilelists(bytes.NewReader(data), nil, func(string, []string) error { return nil })
	})
}

func FuzzRepomd(f *testing.F) {
	seeds(f, "*/*/*/*/repodata/repomd.xml", "*/*/*/repodata/repomd.xml", "*/*/*/*/*/repodata/repomd.xml")
	f.Add([]byte(`<repomd><data type="primary"><checksum type="sha256">` + sumA + `</checksum><location href="p"/></data></repomd>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := rpmmd.FuzzedRepomd(data); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzMetalink(f *testing.F) {
	seeds(f, "librepo/test_data/metalinks/*", "librepo/test_data/*/metalink.xml")
	f.Add([]byte(`<metalink><files><file name="repomd.xml"><resources><url>http://a/repodata/repomd.xml</url></resources></file></files></metalink>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := rpmmd.FuzzedMetalink(data); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzComps(f *testing.F) {
	seeds(f, "dnf5/test/data/repos-repomd/*/repodata/comps.xml", "libcomps/libcomps/tests/*.xml")
	f.Add([]byte(sampleComps))
	f.Fuzz(func(t *testing.T, data []byte) {
		groups, envs, err := rpmmd.ParseComps(data)
		if err == nil {
			if err := rpmmd.FuzzedUnpack(rpmmd.Pack(nil, groups, envs)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzRepoFile(f *testing.F) {
	seeds(f, "librepo/test_data/*.repo", "dnf5/test/data/*/*.repo")
	f.Add([]byte("[a]\nname=$x ${y:-z}\nbaseurl=http://x\n y\nenabled=0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _, err := rpmmd.ParseRepoFile(data, rpmmd.NewVars("9", "x86_64"))
		if err != nil && len(all) > 0 {
			t.Fatal("sources and an error")
		}
	})
}

func FuzzLocation(f *testing.F) {
	for _, s := range []string{"a/b.rpm", "../x", "./a", "a//b", "a/./b", "%2e%2e/x", "a b", "http://x/y", "a/..", "..%2fx"} {
		f.Add(s, "")
		f.Add(s, "https://x/")
	}
	f.Fuzz(func(t *testing.T, href, base string) {
		got, err := rpmmd.Location(href, base)
		if err != nil || base != "" {
			return
		}
		if got == "" || got[0] == '/' || strings.Contains("/"+got+"/", "/../") || strings.Contains(got, "://") {
			t.Fatalf("%q became %q", href, got)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(rpmmd.Pack(sampleMeta(), []rpmmd.Group{{ID: "a", Default: []string{"b"}}}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := rpmmd.FuzzedUnpack(rpmmd.Seal(data)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzModules(f *testing.F) {
	f.Add([]byte(sampleModules))
	seeds(f, "dnf5/test/data/repos-repomd/*/repodata/modules.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		modules, defaults, err := rpmmd.ParseModules(bytes.NewReader(data))
		if err != nil {
			return
		}
		md := &rpmmd.Metadata{Modules: modules, ModuleDefaults: defaults, Packages: sampleMeta()}
		var install []string
		for _, m := range modules {
			install = append(install, m.Name+":"+m.Stream)
		}
		rpmmd.ApplyModules([]*rpmmd.Metadata{md}, rpmmd.ModuleState{Platform: "p1", Install: install}, "x86_64")
		rpmmd.ApplyModules([]*rpmmd.Metadata{md}, rpmmd.ModuleState{Platform: "p1"}, "x86_64")
	})
}

func FuzzUpdateinfo(f *testing.F) {
	f.Add([]byte(sampleUpdateinfo))
	seeds(f, "dnf5/test/data/repos-repomd/*/repodata/updateinfo.xml", "createrepo_c/tests/testdata/updateinfo_files/*.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := rpmmd.ParseUpdateinfo(bytes.NewReader(data))
		for _, a := range all {
			if err != nil || a.ID == "" {
				t.Fatalf("%v %+v", err, a)
			}
		}
	})
}
