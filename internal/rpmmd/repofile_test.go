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
	got, _, err := main.ParseRepoFile([]byte("[one]\nbaseurl=http://a\nexcludepkgs=b\n[two]\nbaseurl=http://b\ngpgcheck=1\nproxy=\nskip_if_unavailable=0\n"), nil)
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
	if _, err := rpmmd.ParseMain([]byte("[main]\ntimeout=soon\n"), nil); err == nil || !strings.Contains(err.Error(), "line 2: timeout") {
		t.Error(err)
	}
}
