// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

const sampleUpdateinfo = `<?xml version="1.0" encoding="UTF-8"?>
<updates>
 <update from="a@b" status="final" type="security" version="2.0">
  <id>WOOD-1</id><title>moss &amp; more</title><severity>Important</severity><issued date="2025-01-31 00:00:00"/>
  <description>id <!-- x --> of it</description>
  <references><reference href="https://x" id="CVE-2025-1" type="cve" title="t"/><reference id="77" type="bugzilla"/></references>
  <pkglist><collection short="w"><name>Wood</name>
   <package name="moss" version="1.2" release="4" epoch="0" arch="x86_64"><filename>m.rpm</filename><reboot_suggested>True</reboot_suggested></package>
   <package name="moss-doc" version="1.2" release="4" epoch="3" arch="noarch"/>
  </collection></pkglist>
 </update>
 <update type="bugfix"><id>WOOD-2</id><severity>None</severity></update>
</updates>
`

func TestUpdateinfo(t *testing.T) {
	want := []rpmmd.Advisory{{
		ID: "WOOD-1", Type: "security", Severity: "Important", Title: "moss & more", CVEs: []string{"CVE-2025-1"}, Packages: []rpm.NEVRA{
			{Name: "moss", EVR: rpm.EVR{Version: "1.2", Release: "4"}, Arch: "x86_64"}, {Name: "moss-doc", EVR: rpm.EVR{Epoch: "3", Version: "1.2", Release: "4"}, Arch: "noarch"}},
	}, {ID: "WOOD-2", Type: "bugfix"}}
	got, err := rpmmd.ParseUpdateinfo(strings.NewReader(sampleUpdateinfo))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct{ old, new, err string }{
		{"<id>WOOD-2</id>", "", "without id"},
		{`name="moss" `, "", "without name or version"},
		{"<updates>", "<metadata>", "wanted updates"},
		{"</updates>", "", "ends inside"},
		{"&amp;", "&evil;", "&evil;"},
	} {
		text := strings.Replace(sampleUpdateinfo, tt.old, tt.new, 1)
		if _, err := rpmmd.ParseUpdateinfo(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q for %q: got %v, want %q", tt.new, tt.old, err, tt.err)
		}
	}
}

// TestAdvisories loads them from a source, and again from the cache, offline.
func TestAdvisories(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	writeRepo(t, dir, samplePrimary, func(s string) string {
		os.WriteFile(filepath.Join(dir, "repodata", "u.xml"), []byte(sampleUpdateinfo), 0o644)
		return strings.Replace(s, "</repomd>", fmt.Sprintf(`<data type="updateinfo"><checksum type="sha256">%x</checksum><location href="repodata/u.xml"/></data></repomd>`, sha256.Sum256([]byte(sampleUpdateinfo))), 1)
	})
	for i := range 2 {
		m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "wood", BaseURLs: []string{dir}}, rpmmd.LoadOptions{Client: quick(), CacheDir: cache, Offline: i > 0})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Advisories(context.Background()); err != nil || len(got) != 2 {
			t.Errorf("%v %v", got, err)
		}
		os.Remove(filepath.Join(dir, "repodata", "u.xml"))
	}
	m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "wood", BaseURLs: []string{repoDir(t, nil)}}, rpmmd.LoadOptions{Client: quick()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Advisories(context.Background()); err != nil || got != nil {
		t.Errorf("a source without: %v %v", got, err)
	}
}

// TestRealUpdateinfo reads all that the shared data has.
func TestRealUpdateinfo(t *testing.T) {
	n := 0
	filepath.WalkDir(filepath.Join(shared(t), "repodata"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), "updateinfo") || !strings.HasSuffix(path, ".xml") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all, err := rpmmd.ParseUpdateinfo(f)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		n += len(all)
		return nil
	})
	if n < 5 {
		t.Errorf("only %d advisories", n)
	}
}
