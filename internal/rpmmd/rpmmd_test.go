// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grove/internal/fetch"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/sign"
)

// shared is the folder of real data; tests that want it skip without.
func shared(t testing.TB) string {
	dir := os.Getenv("GROVE_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		t.Skip("needs the shared data folder")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(abs, "data")
}

const samplePrimary = `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">
<package type="rpm">
  <name>moss</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="1.2" rel="3"/>
  <checksum type="sha256" pkgid="YES">` + sumA + `</checksum>
  <summary>Green &amp; soft</summary>
  <description>Two
lines &lt;here&gt; &#x263a;</description>
  <packager/>
  <url/>
  <time file="1" build="2"/>
  <size package="300" installed="400" archive="500"/>
  <location href="Packages/m/moss-1.2-3.x86_64.rpm"/>
  <format>
    <rpm:license>MIT</rpm:license>
    <rpm:vendor/>
    <rpm:group>Unspecified</rpm:group>
    <rpm:sourcerpm>moss-1.2-3.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="10" end="20"/>
    <rpm:provides>
      <rpm:entry name="moss" flags="EQ" epoch="0" ver="1.2" rel="3"/>
    </rpm:provides>
    <rpm:requires>
      <rpm:entry name="/bin/sh" pre="1"/>
      <rpm:entry name="(fern >= 2 if tree)"/>
      <rpm:entry name="soil" flags="GE" epoch="1" ver="4"/>
    </rpm:requires>
    <rpm:weird><rpm:entry name="ignored"/></rpm:weird>
    <file>/usr/bin/moss</file>
    <file type="dir">/etc/moss.d</file>
  </format>
</package>
<package type="rpm">
  <name>fern</name>
  <arch>noarch</arch>
  <version epoch="2" ver="5" rel="1"/>
  <checksum type="sha" pkgid="YES">0123456789012345678901234567890123456789</checksum>
  <location xml:base="https://cdn.example.org/x/" href="fern.rpm"/>
  <format/>
</package>
</metadata>
`

const (
	sumA = "00000000000000000000000000000000000000000000000000000000000000aa"

	sampleFilelists = `<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="1">
<package pkgid="` + sumA + `" name="moss" arch="x86_64">
  <version epoch="0" ver="1.2" rel="3"/>
  <file>/usr/bin/moss</file>
  <file type="dir">/etc/moss.d</file>
  <file>/usr/share/moss/a &amp; b</file>
</package>
</filelists>
`
	sampleComps = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group><id>core</id><name>Core</name><name xml:lang="de">Kern</name><uservisible>false</uservisible>
    <packagelist><packagereq type="mandatory">moss</packagereq><packagereq type="default">fern</packagereq>
    <packagereq type="optional">tree</packagereq><packagereq type="conditional" requires="moss">moss-de</packagereq></packagelist></group>
  <environment><id>wood</id><name>Wood</name><grouplist><groupid>core</groupid></grouplist>
    <optionlist><groupid default="true">more</groupid><groupid>less</groupid></optionlist></environment>
</comps>
`
)

func sampleMeta() []rpm.Meta {
	return []rpm.Meta{{
		NEVRA:    rpm.NEVRA{Name: "moss", EVR: rpm.EVR{Version: "1.2", Release: "3"}, Arch: "x86_64"},
		Provides: []rpm.Dep{{Name: "moss", Flags: rpm.SenseEqual, EVR: rpm.EVR{Version: "1.2", Release: "3"}}},
		Requires: []rpm.Dep{{Name: "/bin/sh", Pre: true}, {Name: "(fern >= 2 if tree)"},
			{Name: "soil", Flags: rpm.SenseGreater | rpm.SenseEqual, EVR: rpm.EVR{Epoch: "1", Version: "4"}}},
		Files: []string{"/usr/bin/moss", "/etc/moss.d"}, Summary: "Green & soft", Description: "Two\nlines <here> ☺",
		License: "MIT", Group: "Unspecified", SourceRPM: "moss-1.2-3.src.rpm", SizeBytes: 300, InstalledBytes: 400, BuildTimeSec: 2,
		Location: "Packages/m/moss-1.2-3.x86_64.rpm", Digest: rpm.Digest{Algo: "sha256", Hex: sumA}, HeaderStart: 10, HeaderEnd: 20,
	}, {
		NEVRA:    rpm.NEVRA{Name: "fern", EVR: rpm.EVR{Epoch: "2", Version: "5", Release: "1"}, Arch: "noarch"},
		Location: "https://cdn.example.org/x/fern.rpm", Digest: rpm.Digest{Algo: "sha1", Hex: "0123456789012345678901234567890123456789"},
	}}
}

func TestParsePrimary(t *testing.T) {
	got, err := rpmmd.ParsePrimary(strings.NewReader(samplePrimary))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleMeta(), got); d != "" {
		t.Error(d)
	}
}

func TestParsePrimaryRefuses(t *testing.T) {
	for _, tt := range []struct{ old, new, err string }{
		{"Packages/m/moss", "../moss", "leads out of the source"},
		{"Packages/m/moss", "a/../../moss", "leads out of the source"},
		{"Packages/m/moss", "a/%2e%2e/%2e%2e/%2E%2e/moss", "leads out of the source"},
		{"Packages/m/moss", "/etc/moss", "leads out of the source"},
		{"Packages/m/moss", "file:///etc/moss", "leads out of the source"},
		{"https://cdn", "gopher://cdn", "is no http, https or file URL"},
		{`<version epoch="0" ver="1.2" rel="3"/>` + "\n  <checksum", "<checksum", "without name, architecture or version"},
		{sumA, "zz", "is not 64 hex digits"},
		{`type="sha256"`, `type="crc"`, "not known"},
		{"&amp;", "&evil;", "&evil;"},
		{"&amp;", "&#0;", "&#0;"},
		{"&amp;", "& amp", "entity"},
		{"<packager/>", "<![CDATA[x]]>", "is not expected here"},
		{"<metadata", "<!DOCTYPE m [<!ENTITY a 'b'>]><metadata", "is not expected here"},
		{`encoding="UTF-8"`, `encoding="UTF-16"`, "wanted UTF-8"},
		{"</metadata>", "", "ends inside <metadata>"},
		{"</metadata>", "</metadate>", "does not match"},
		{"</metadata>", "</metadata><metadata/>", "second root"},
		{"<metadata", "<filelists", "wanted metadata"},
		{`installed="400"`, `installed="-400"`, "is no number"},
		{`flags="GE"`, `flags="NE"`, "is no comparison"},
		{`<file>/usr/bin/moss`, `<file>usr/bin/moss`, "not absolute"},
		{`name="soil"`, ``, "without name"},
		{`name="soil"`, `name=soil`, "has no quotes"},
	} {
		text := strings.Replace(samplePrimary, tt.old, tt.new, 1)
		if text == samplePrimary {
			t.Fatalf("%q is not in the sample", tt.old)
		}
		_, err := rpmmd.ParsePrimary(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q for %q: got %v, want %q", tt.new, tt.old, err, tt.err)
		}
	}
	if _, err := rpmmd.ParsePrimary(strings.NewReader("<metadata>" + strings.Repeat("<a>", 100))); err == nil {
		t.Error("deep nesting was taken")
	}
	// a comment and a '>' inside quotes are fine, and tokens may be cut anywhere
	text := strings.Replace(samplePrimary, "<packager/>", "<!-- a > b -- c --><packager x='a > b'/>", 1)
	got, err := rpmmd.ParsePrimary(oneByte{strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleMeta(), got); d != "" {
		t.Error(d)
	}
}

// TestPieces reads a document cut into pieces of every size.
func TestPieces(t *testing.T) {
	for size := 1; size < len(samplePrimary)+10; size += 13 {
		got, err := rpmmd.ParseCut([]byte(samplePrimary), size)
		if err != nil {
			t.Fatalf("pieces of %d: %v", size, err)
		}
		if d := cmp.Diff(sampleMeta(), got); d != "" {
			t.Fatalf("pieces of %d: %s", size, d)
		}
	}
	for _, tt := range []struct{ old, new, err string }{
		{"</metadata>", "</metadate>", "ends as"},
		{"</metadata>", "", "ends inside"},
		{"<package type=\"rpm\">\n  <name>fern", `</metadata><metadata><package type="rpm"><name>fern`, "root element"},
		{"<name>fern</name>", "<!-- </package> --><name>fern</name>", "without end"},
	} {
		text := strings.Replace(samplePrimary, tt.old, tt.new, 1)
		if text == samplePrimary {
			t.Fatalf("%q is not in the sample", tt.old)
		}
		if _, err := rpmmd.ParseCut([]byte(text), len(text)-100); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %v, want %q", tt.new, err, tt.err)
		}
	}
}

type oneByte struct{ r *strings.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// repoDir makes a source from the samples; edit may change the text of repomd.xml.
func repoDir(t testing.TB, edit func(string) string) string {
	dir := t.TempDir()
	writeRepo(t, dir, samplePrimary, edit)
	return dir
}

func writeRepo(t testing.TB, dir, primary string, edit func(string) string) {
	t.Helper()
	os.MkdirAll(filepath.Join(dir, "repodata"), 0o755)
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n")
	for _, f := range []struct{ kind, name, text string }{{"primary", "p.xml.gz", primary}, {"filelists", "f.xml.gz", sampleFilelists}, {"group", "comps.xml", sampleComps}} {
		data := []byte(f.text)
		if strings.HasSuffix(f.name, ".gz") {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			w.Write(data)
			w.Close()
			data = z.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, "repodata", f.name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, `<data type="%s"><checksum type="sha256">%x</checksum><open-checksum type="sha256">%x</open-checksum><location href="repodata/%s"/><size>%d</size><open-size>%d</open-size></data>`+"\n",
			f.kind, sha256.Sum256(data), sha256.Sum256([]byte(f.text)), f.name, len(data), len(f.text))
	}
	b.WriteString("</repomd>\n")
	text := b.String()
	if edit != nil {
		text = edit(text)
	}
	if err := os.WriteFile(filepath.Join(dir, "repodata", "repomd.xml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func quick() *fetch.Client {
	return fetch.New(fetch.Options{RetryDelay: time.Millisecond, Proxy: "none", HeaderTimeout: time.Second})
}

func TestLoad(t *testing.T) {
	src := rpmmd.Source{ID: "wood", BaseURLs: []string{repoDir(t, nil)}}
	for _, cache := range []string{"", t.TempDir()} {
		for i := 0; i < 2; i++ {
			m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{CacheDir: cache, Client: quick()})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(sampleMeta(), m.Packages); d != "" {
				t.Error(d)
			}
			want := []rpmmd.Group{{ID: "core", Name: "Core", Mandatory: []string{"moss"}, Default: []string{"fern"}, Optional: []string{"tree"}, Conditional: []rpmmd.Conditional{{Name: "moss-de", Requires: "moss"}}}}
			if d := cmp.Diff(want, m.Groups); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff([]rpmmd.Environment{{ID: "wood", Name: "Wood", Groups: []string{"core"}, Options: []string{"more", "less"}, DefaultOptions: []string{"more"}}}, m.Environments); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff([]string{"file://" + src.BaseURLs[0] + "/Packages/m/moss-1.2-3.x86_64.rpm"}, m.PackageURLs(m.Packages[0])); d != "" {
				t.Error(d)
			}
			if err := m.LoadFilelists(context.Background(), "/usr/share/moss/a & b", "/none"); err != nil {
				t.Fatal(err)
			}
			all := []string{"/usr/bin/moss", "/etc/moss.d", "/usr/share/moss/a & b"}
			if d := cmp.Diff(all, m.Packages[0].Files); d != "" {
				t.Error(d)
			}
			if err := m.LoadFilelists(context.Background()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(all, m.Packages[0].Files); d != "" {
				t.Error(d)
			}
		}
	}
	src.ExcludePkgs = []string{"m*.x86_64"}
	m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: quick()})
	if err != nil || len(m.Packages) != 1 || m.Packages[0].Name != "fern" {
		t.Errorf("excludepkgs: %v %v", m, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	swap := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("%q not in %s", old, s)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for _, tt := range []struct {
		name string
		edit func(string) string
		err  string
	}{
		{"traversal", swap("repodata/p.xml.gz", "../../p.xml.gz"), "leads out of the source"},
		{"wrong checksum", swap(`<checksum type="sha256">`, `<checksum type="sha512">`), "is not 128 hex digits"},
		{"other content", func(s string) string {
			i := strings.Index(s, `<checksum type="sha256">`) + 24
			return s[:i] + sumA + s[i+64:]
		}, "wrong digest"},
		{"other open checksum", func(s string) string {
			i := strings.Index(s, `<open-checksum type="sha256">`) + 29
			return s[:i] + sumA + s[i+64:]
		}, "wrong digest"},
		{"no primary", swap(`type="primary"`, `type="secondary"`), "no primary"},
		{"no xml", func(string) string { return "hello" }, "repomd.xml: EOF"},
		{"wrong size", swap("<size>", "<size>1"), "bytes, wanted"},
		{"smaller open size", swap("<open-size>1", "<open-size>"), "larger than"},
		{"html", func(string) string { return "<html><body>It works</body></html>" }, "expected element type <repomd>"},
	} {
		cache := t.TempDir()
		_, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{repoDir(t, tt.edit)}}, rpmmd.LoadOptions{Client: quick(), CacheDir: cache})
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.err)
		}
	}
	for _, id := range []string{"", "../x", "a/b", ".x", "a b"} {
		if _, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: id}, rpmmd.LoadOptions{}); err == nil {
			t.Errorf("id %q was taken", id)
		}
	}
}

// TestChecksums: a repomd.xml with any checksum that createrepo knows, and files that are packed in any way, or not.
func TestChecksums(t *testing.T) {
	for algo, h := range map[string]func() hash.Hash{"md5": md5.New, "sha": sha1.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New} {
		sum := h()
		sum.Write([]byte(samplePrimary))
		dir := t.TempDir()
		os.Mkdir(filepath.Join(dir, "repodata"), 0o755)
		os.WriteFile(filepath.Join(dir, "repodata", "p.xml"), []byte(samplePrimary), 0o644)
		text := fmt.Sprintf(`<repomd><data type="primary"><checksum type="%s">%x</checksum><location href="repodata/p.xml"/></data></repomd>`, algo, sum.Sum(nil))
		for _, right := range []bool{true, false} {
			if !right {
				text = strings.Replace(text, fmt.Sprintf("%x", sum.Sum(nil))[:8], "00000000", 1)
			}
			os.WriteFile(filepath.Join(dir, "repodata", "repomd.xml"), []byte(text), 0o644)
			m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "x", BaseURLs: []string{dir}}, rpmmd.LoadOptions{Client: quick()})
			if right && (err != nil || len(m.Packages) != 2) || !right && !errors.Is(err, fetch.ErrDigest) {
				t.Errorf("%s, right %v: %v", algo, right, err)
			}
		}
	}
}

func TestCache(t *testing.T) {
	dir, cache := repoDir(t, nil), t.TempDir()
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	defer s.Close()
	src := rpmmd.Source{ID: "wood", BaseURLs: []string{s.URL}, MetadataExpire: time.Hour}
	load := func(o rpmmd.LoadOptions, wantAsked int32, wantPackages int) {
		t.Helper()
		asked.Store(0)
		o.CacheDir, o.Client = cache, quick()
		m, err := rpmmd.Load(context.Background(), src, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked.Load(); got != wantAsked || len(m.Packages) != wantPackages {
			t.Errorf("asked %d times, %d packages; want %d, %d", got, len(m.Packages), wantAsked, wantPackages)
		}
	}
	load(rpmmd.LoadOptions{}, 3, 2)
	load(rpmmd.LoadOptions{}, 0, 2)
	load(rpmmd.LoadOptions{Refresh: true}, 1, 2)
	one := samplePrimary[:strings.LastIndex(samplePrimary, "<package ")] + "</metadata>"
	writeRepo(t, dir, one, nil)
	load(rpmmd.LoadOptions{}, 0, 2)
	old := time.Now().Add(-2 * time.Hour)
	repomds, _ := filepath.Glob(filepath.Join(cache, "wood-*", "repomd.xml"))
	os.Chtimes(repomds[0], old, old)
	load(rpmmd.LoadOptions{Offline: true}, 0, 2)
	load(rpmmd.LoadOptions{}, 3, 1)
	parsed, _ := filepath.Glob(filepath.Join(cache, "wood-*", "parsed-*"))
	if len(parsed) != 1 {
		t.Fatalf("%v", parsed)
	}
	data, _ := os.ReadFile(parsed[0])
	for i := 0; i < len(data); i += 7 { // damage anywhere is found and mended
		bad := bytes.Clone(data)
		bad[i] ^= 1
		os.WriteFile(parsed[0], bad, 0o644)
		load(rpmmd.LoadOptions{}, 2, 1)
		if i > 30 {
			break
		}
	}
	os.WriteFile(repomds[0], []byte("<broken"), 0o644)
	load(rpmmd.LoadOptions{}, 1, 1)
	s.Close()
	load(rpmmd.LoadOptions{Offline: true}, 0, 1)
	_, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{CacheDir: t.TempDir(), Offline: true})
	if !errors.Is(err, fetch.ErrOffline) {
		t.Errorf("offline without cache: %v", err)
	}
	_, err = rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{CacheDir: cache, Client: quick(), Refresh: true})
	if err == nil || !strings.Contains(err.Error(), "source wood: ") {
		t.Errorf("dead server: %v", err)
	}
}

func TestMetalink(t *testing.T) {
	good, stale := repoDir(t, nil), t.TempDir()
	writeRepo(t, stale, strings.Replace(samplePrimary, "moss", "liar", 1), nil)
	mux := http.NewServeMux()
	mux.Handle("/good/", http.StripPrefix("/good", http.FileServer(http.Dir(good))))
	mux.Handle("/stale/", http.StripPrefix("/stale", http.FileServer(http.Dir(stale))))
	data, _ := os.ReadFile(filepath.Join(good, "repodata", "repomd.xml"))
	var text string
	mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(text)) })
	s := httptest.NewServer(mux)
	defer s.Close()
	link := func(names ...string) string {
		var b strings.Builder
		fmt.Fprintf(&b, `<metalink xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><verification><hash type="sha256">%x</hash></verification><resources>`, sha256.Sum256(data))
		for i, n := range names {
			fmt.Fprintf(&b, `<url preference="%d">%s/%s/repodata/repomd.xml</url>`, 100-i, s.URL, n)
		}
		return b.String() + `<url>rsync://x/repodata/repomd.xml</url></resources></file></files></metalink>`
	}
	for _, tt := range []struct {
		text, url, err string
		src            rpmmd.Source
	}{
		{link("stale", "none", "good"), "/good/Packages", "", rpmmd.Source{ID: "x", Metalink: s.URL + "/list"}},
		{link("stale", "none"), "", "not the repomd.xml that the metalink names", rpmmd.Source{ID: "x", Metalink: s.URL + "/list"}},
		{"# comment\n" + s.URL + "/none\nftp://x/\n" + s.URL + "/good\n", "/good/Packages", "", rpmmd.Source{ID: "x", Mirrorlist: s.URL + "/list"}},
		{link("good"), "/good/Packages", "", rpmmd.Source{ID: "x", Mirrorlist: s.URL + "/list"}},
		{"nothing", "", "no http or https URL", rpmmd.Source{ID: "x", Mirrorlist: s.URL + "/list"}},
		{"", "", "no baseurl", rpmmd.Source{ID: "x"}},
		{"", "/good/Packages", "", rpmmd.Source{ID: "x", BaseURLs: []string{s.URL + "/none", s.URL + "/good"}}},
	} {
		text = tt.text
		m, err := rpmmd.Load(context.Background(), tt.src, rpmmd.LoadOptions{Client: quick()})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%.40q: %v", tt.text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.40q: %v", tt.text, err)
		} else if got := m.PackageURLs(m.Packages[0])[0]; !strings.HasPrefix(got, s.URL+tt.url) {
			t.Errorf("%.40q: %s", tt.text, got)
		}
	}
}

func TestRepoGPGCheck(t *testing.T) {
	data := filepath.Join(shared(t), "repodata")
	key := filepath.Join(data, "dnf5/test/data/keys/repo-gpg-key.pub")
	for _, tt := range []struct {
		base string
		keys []string
		err  string
	}{
		{"dnf5/test/data/repos-repomd/repomd-repo1-gpg", []string{key}, ""},
		{"dnf5/test/data/repos-repomd/repomd-repo1-gpg", []string{filepath.Join(data, "librepo/test_data/key.pub")}, "repomd.xml"},
		{"dnf5/test/data/repos-repomd/repomd-repo1-gpg", nil, "no gpgkey"},
		{"dnf5/test/data/repos-repomd/repomd-repo1", []string{key}, "it has no signature: open"},
		{"librepo/test_data/repo_yum_01", []string{filepath.Join(data, "librepo/test_data/repo_yum_01/repodata/repomd.xml.key")}, "SHA-1"},
	} {
		src := rpmmd.Source{ID: "x", BaseURLs: []string{filepath.Join(data, tt.base)}, RepoGPGCheck: true, GPGKeys: tt.keys}
		m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: quick()})
		if tt.err == "" {
			if err != nil || len(m.Packages) == 0 {
				t.Errorf("%s: %v", tt.base, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("%s: got %v, want %q", tt.base, err, tt.err)
		}
	}
}
