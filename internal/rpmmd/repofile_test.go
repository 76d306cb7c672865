// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpmmd"
)

func TestParseRepoFile(t *testing.T) {
	const text = `# a comment
[main]
gpgcheck=0
[wood-$basearch]
name = Wood $releasever - ${basearch}
; another
baseurl = http://a.example/$releasever/$basearch/os/
  https://b.example/x,file:///srv/wood
   # not an address
metalink=https://m.example/?repo=wood-$releasever&arch=${arch}
enabled=False
gpgcheck= On
repo_gpgcheck=YES
gpgkey=file:///etc/pki/one
       file:///etc/pki/two, https://k.example/three
exclude=a* b
excludepkgs=c
includepkgs=d, e
priority=5
cost=10
metadata_expire=6h
sslverify=0
sslcacert=file:///etc/ca.pem
proxy=_none_
username=me
password=p=w;#d
skip_if_unavailable=1
fastestmirror=1
proxy_username=you
proxy_password=secret
timeout=5
minrate=2k
retries=0
user_agent=wood
novelty=1
unknown=x

[second]
mirrorlist=http://l.example/${releasever_major}/${nope}/${nope:-word}/${arch:+yes}/$$/${open
metadata_expire=never
`
	got, warnings, err := rpmmd.ParseRepoFile([]byte(text), rpmmd.NewVars("9.4", "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	want := []rpmmd.Source{{
		ID: "wood-x86_64", Name: "Wood 9.4 - x86_64",
		BaseURLs: []string{"http://a.example/9.4/x86_64/os/", "https://b.example/x", "file:///srv/wood"},
		Metalink: "https://m.example/?repo=wood-9.4&arch=amd64", GPGCheck: true, RepoGPGCheck: true, SkipIfUnavailable: true,
		GPGKeys: []string{"file:///etc/pki/one", "file:///etc/pki/two", "https://k.example/three"}, Priority: 5, Cost: 10,
		ExcludePkgs: []string{"a*", "b", "c"}, IncludePkgs: []string{"d", "e"}, MetadataExpire: 6 * time.Hour, SSLInsecure: true,
		SSLCACert: "/etc/ca.pem", Proxy: "none", Username: "me", Password: "p=w;#d",
		ProxyUsername: "you", ProxyPassword: "secret", Timeout: 5 * time.Second, MinRate: 2048, Retries: 100, UserAgent: "wood",
	}, {
		ID: "second", Name: "second", Mirrorlist: "http://l.example/9/${nope}/word/yes/$$/${open", Enabled: true, GPGCheck: true,
		Priority: 99, Cost: 1000, MetadataExpire: -1,
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("line 35: key \"novelty\" is not known\nline 36: key \"unknown\" is not known\nline 39: mirrorlist: variable ${nope} is not known", strings.Join(warnings, "\n")); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct{ text, err string }{
		{"key=1\n", "line 1: \"key=1\" stands before the first [section]"},
		{"[a]\nnonsense\n", "line 2: \"nonsense\" is no key=value"},
		{"[a\n", "line 1: section \"[a\" does not end with ]"},
		{"[a/b]\n", "line 1: source id \"a/b\""},
		{"[..]\n", "line 1: source id"},
		{"[a]\nbaseurl=x\n[a]\n", "line 3: source \"a\" is there twice"},
		{"[a]\nenabled=perhaps\n", "line 2: enabled: \"perhaps\" is neither yes nor no"},
		{"[a]\nmetadata_expire=soon\n", "is no time"},
		{"[a]\npriority=high\n", "line 2: priority: "},
	} {
		if _, _, err := rpmmd.ParseRepoFile([]byte(tt.text), nil); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.err)
		}
	}
}

// TestParseMain: what dnf.conf says goes to every source that does not say otherwise.
func TestParseMain(t *testing.T) {
	main, err := rpmmd.ParseMain([]byte("[main]\ngpgcheck=0\ninstallonly_limit=3\nskip_if_unavailable=True\nexclude=a*\nproxy=http://p.example:3128\nname=x\nenabled=0\n[other]\npriority=1\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := main.Source.ParseRepoFile([]byte("[one]\nbaseurl=http://a\nexcludepkgs=b\n[two]\nbaseurl=http://b\ngpgcheck=1\nproxy=\nskip_if_unavailable=0\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []rpmmd.Source{
		{ID: "one", Name: "one", BaseURLs: []string{"http://a"}, Enabled: true, SkipIfUnavailable: true, ExcludePkgs: []string{"a*", "b"},
			Proxy: "http://p.example:3128", Priority: 99, Cost: 1000, MetadataExpire: 48 * time.Hour},
		{ID: "two", Name: "two", BaseURLs: []string{"http://b"}, Enabled: true, GPGCheck: true, ExcludePkgs: []string{"a*"}, Proxy: "none",
			Priority: 99, Cost: 1000, MetadataExpire: 48 * time.Hour},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct{ text, err string }{
		{"timeout=soon", "line 2: timeout"}, {"best=maybe", "line 2: best"}, {"install_weak_deps=2", "line 2: install_weak_deps"},
		{"max_parallel_downloads=0", "line 2: max_parallel_downloads"}, {"retries=many", "line 2: retries"}, {"minrate=slow", "line 2: minrate"},
	} {
		if _, err := rpmmd.ParseMain([]byte("[main]\n"+tt.text+"\n"), nil); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, want %q", tt.text, err, tt.err)
		}
	}
}

// TestMainKeys: each key of [main] that changes what is made, what is passed over, and what only a source can say.
func TestMainKeys(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		text string
		want func(*rpmmd.Main)
	}{
		{"install_weak_deps=False", func(m *rpmmd.Main) { m.Weak = &no }},
		{"install_weak_deps=1", func(m *rpmmd.Main) { m.Weak = &yes }},
		{"best=True", func(m *rpmmd.Main) { m.Best = &yes }},
		{"installonlypkgs=kernel-longterm, driver", func(m *rpmmd.Main) { m.InstallOnly = []string{"kernel-longterm", "driver"} }},
		{"protected_packages=dnf glob:/etc/dnf/protected.d/*.conf", func(m *rpmmd.Main) { m.Protected = "dnf glob:/etc/dnf/protected.d/*.conf" }},
		{"module_platform_id=platform:el8", func(m *rpmmd.Main) { m.Platform = "el8" }},
		{"max_parallel_downloads=1", func(m *rpmmd.Main) { m.Parallel = 1 }},
		{"excludepkgs=a\nexclude=b c*", func(m *rpmmd.Main) { m.Source.ExcludePkgs = []string{"a", "b", "c*"} }},
		{"includepkgs=a,b", func(m *rpmmd.Main) { m.Source.IncludePkgs = []string{"a", "b"} }},
		{"skip_if_unavailable=1", func(m *rpmmd.Main) { m.Source.SkipIfUnavailable = true }},
		{"gpgcheck=no", func(m *rpmmd.Main) { m.Source.GPGCheck = false }},
		{"repo_gpgcheck=1", func(m *rpmmd.Main) { m.Source.RepoGPGCheck = true }},
		{"proxy=http://p.example:3128\nproxy_username=u\nproxy_password=p", func(m *rpmmd.Main) {
			m.Source.Proxy, m.Source.ProxyUsername, m.Source.ProxyPassword = "http://p.example:3128", "u", "p"
		}},
		{"metadata_expire=2h", func(m *rpmmd.Main) { m.Source.MetadataExpire = 2 * time.Hour }},
		{"retries=3\ntimeout=10\nminrate=1k", func(m *rpmmd.Main) { m.Source.Retries, m.Source.Timeout, m.Source.MinRate = 3, 10*time.Second, 1024 }},
		{"sslverify=0\nsslcacert=/ca", func(m *rpmmd.Main) { m.Source.SSLInsecure, m.Source.SSLCACert = true, "/ca" }},
		{"installonly_limit=2\nclean_requirements_on_remove=1\nkeepcache=1\ndebuglevel=9\nnosuch=1", func(*rpmmd.Main) {}},
		{"name=x\nbaseurl=http://x\npriority=1\ncost=2\nenabled=0\nmodule_hotfixes=1\ngpgkey=file:///k", func(*rpmmd.Main) {}},
	} {
		want := rpmmd.NewMain()
		tt.want(&want)
		got, err := rpmmd.ParseMain([]byte("[main]\n"+tt.text+"\n"), nil)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", tt.text, d)
		}
	}
}
