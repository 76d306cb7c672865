// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"grove/internal/rpmmd"
)

// bigPrimary makes the metadata of n packages, shaped like Fedora's: about 1.8 KB each.
func bigPrimary(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"%d\">\n", n)
	for i := range n {
		fmt.Fprintf(&b, `<package type="rpm">
  <name>package-%d</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="1.%d" rel="%d.fc40"/>
  <checksum type="sha256" pkgid="YES">%064x</checksum>
  <summary>The package of number %d</summary>
  <description>%s &amp; number %d.</description>
  <packager>Fedora Project</packager>
  <url>https://example.org/%d</url>
  <time file="1700000000" build="1700000000"/>
  <size package="%d" installed="%d" archive="%d"/>
  <location href="Packages/p/package-%d-1.x86_64.rpm"/>
  <format>
    <rpm:license>GPL-2.0-or-later</rpm:license>
    <rpm:vendor>Fedora Project</rpm:vendor>
    <rpm:group>Unspecified</rpm:group>
    <rpm:sourcerpm>source-%d-1.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="4504" end="%d"/>
    <rpm:provides>
      <rpm:entry name="package-%d" flags="EQ" epoch="0" ver="1.%d" rel="%d.fc40"/>
      <rpm:entry name="package-%d(x86-64)" flags="EQ" epoch="0" ver="1.%d" rel="%d.fc40"/>
    </rpm:provides>
    <rpm:requires>
`, i, i%50, i%9, i, i, strings.Repeat("A text that says a little. ", 9), i, i, i*31, i*90, i*91, i, i/3, 5000+i, i, i%50, i%9, i, i%50, i%9)
		for k := range 8 {
			fmt.Fprintf(&b, "      <rpm:entry name=\"libthing%d.so.%d()(64bit)\"/>\n", (i*7+k*k*13)%900, k)
		}
		fmt.Fprintf(&b, "    </rpm:requires>\n    <file>/usr/bin/program-%d</file>\n    <file>/etc/program-%d.conf</file>\n  </format>\n</package>\n", i, i)
	}
	b.WriteString("</metadata>\n")
	return b.Bytes()
}

func BenchmarkPrimary(b *testing.B) {
	data := bigPrimary(60_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		if all, err := rpmmd.ParsePrimary(bytes.NewReader(data)); err != nil || len(all) != 60_000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data))*float64(b.N)/1e6/(cpu()-start), "MB/cpu-s")
}

// cpu gives the seconds of processor time that were used: wall time says little on a busy machine.
func cpu() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkCachedLoad loads 60,000 packages of a source whose metadata was parsed before.
func BenchmarkCachedLoad(b *testing.B) {
	dir, cache := b.TempDir(), b.TempDir()
	writeRepo(b, dir, string(bigPrimary(60_000)), nil)
	src := rpmmd.Source{ID: "big", BaseURLs: []string{dir}}
	b.ResetTimer()
	start := cpu()
	defer func() { b.ReportMetric((cpu()-start)/float64(b.N), "cpu-s/op") }()
	for b.Loop() {
		if _, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: quick(), CacheDir: cache}); err != nil {
			b.Fatal(err)
		}
	}
	parsed, _ := filepath.Glob(filepath.Join(cache, "*", "parsed-*"))
	if info, err := os.Stat(parsed[0]); err == nil {
		b.ReportMetric(float64(info.Size())/1e6, "MB-cache")
	}
}

// TestMeasure loads the source GROVE_BENCH_SOURCE with the cache GROVE_BENCH_CACHE, once, and says what it took: hack/bench runs it in
// fresh processes, beside dnf.
func TestMeasure(t *testing.T) {
	dir := os.Getenv("GROVE_BENCH_SOURCE")
	if dir == "" {
		t.Skip("hack/bench runs it")
	}
	start, began := cpu(), time.Now()
	m, err := rpmmd.Load(context.Background(), rpmmd.Source{ID: "many", BaseURLs: []string{dir}}, rpmmd.LoadOptions{CacheDir: os.Getenv("GROVE_BENCH_CACHE")})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("measured %.3f %.2f %d", time.Since(began).Seconds(), cpu()-start, len(m.Packages))
}

// TestMeasureParse parses the primary metadata of GROVE_BENCH_SOURCE, decompressed before.
func TestMeasureParse(t *testing.T) {
	dir := os.Getenv("GROVE_BENCH_SOURCE")
	if dir == "" {
		t.Skip("hack/bench runs it")
	}
	f, err := os.Open(filepath.Join(dir, "repodata", "primary.xml.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	start, began := cpu(), time.Now()
	all, err := rpmmd.ParsePrimary(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("measured %.3f %.2f %d", time.Since(began).Seconds(), cpu()-start, len(all))
}
