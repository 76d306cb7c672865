// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"

	"grove/internal/manifest"
)

// files makes a folder from a text: "== name" lines begin files.
func files(text string) fs.FS {
	m := fstest.MapFS{}
	for _, part := range strings.Split("\n"+text, "\n== ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		m[name] = &fstest.MapFile{Data: []byte(body + "\n")}
	}
	return m
}

func load(text string) (manifest.Manifest, error) {
	return manifest.Load(files(text), "m.yaml", "x86_64")
}

// roundTrip demands that Encode parses back to the same value.
func roundTrip(t *testing.T, m manifest.Manifest) {
	t.Helper()
	data := m.Encode()
	back, err := manifest.Parse(data, "again.yaml", "x86_64")
	if err != nil {
		t.Fatalf("parse what was encoded: %v\n%s", err, data)
	}
	same := cmpopts.IgnoreFields(manifest.Manifest{}, "Ignored", "Files")
	if d := cmp.Diff(m, back, same, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("encoded and parsed (-want +got):\n%s\n%s", d, data)
	}
	if again := back.Encode(); string(again) != string(data) {
		t.Fatalf("encoded twice:\n%s\n%s", data, again)
	}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"words", `== m.yaml
packages:
  - bash coreutils
  - "'podman >= 4.1' sed"
  - bash
packages-x86_64: [grub2]
packages-aarch64: [uboot]
bootstrap_packages: [filesystem]`,
			"packages:\n  - bash\n  - coreutils\n  - \"'podman >= 4.1'\"\n  - sed\n  - grub2\n  - filesystem\n"},
		{"scalars", `== m.yaml
releasever: 40
default_target: multi-user.target
recommends: no
container: yes
mutate-os-release: "40"
boot-location: modules
rpmdb: sqlite
units:`,
			"releasever: \"40\"\nrecommends: false\ndefault-target: multi-user.target\ncontainer: true\nmutate-os-release: \"40\"\n"},
		{"variables", `== m.yaml
releasever: 40
variables: {stream: testing, prod: false, n: 3, f: 1.5}
ref: os/${basearch}/${releasever}/${stream}
add-commit-metadata: {a.b: "${stream}", n: 1, list: [1, x, {k: v}], off: false}`,
			"ref: os/x86_64/40/testing\nvariables:\n  f: 1.5\n  \"n\": 3\n  prod: false\n  stream: testing\nreleasever: \"40\"\nadd-commit-metadata:\n  a.b: testing\n  list:\n    - 1\n    - x\n    - k: v\n  \"n\": 1\n  \"off\": false\n"},
		{"guest", `== m.yaml
base: el7:centos/7/x86_64/minimal
packages: [postfix]
local-packages:
- {nevra: "tool-1:1.0-1.x86_64", sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
overrides:
  remove: [nano, nano]
  replace: [{nevra: bash-5-1.x86_64}]`,
			"base: el7:centos/7/x86_64/minimal\npackages:\n  - postfix\nlocal-packages:\n  - nevra: tool-1:1.0-1.x86_64\n    sha256: \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\noverrides:\n  remove:\n    - nano\n  replace:\n    - nevra: bash-5-1.x86_64\n"},
		{"includes", `== m.yaml
include: [a.yaml, sub/b.yaml]
packages: [own]
postprocess: [echo own]
ref: own
== a.yaml
packages: [a]
postprocess: [echo a]
ref: a
default-target: a
== sub/b.yaml
include: ../c.yaml
packages: [b]
postprocess: [echo b]
ref: b
default-target: b
add-files: [[x, /etc/x]]
== c.yaml
documentation: false
units: [c.service]`,
			"ref: own\npackages:\n  - b\n  - a\n  - own\ndocumentation: false\nadd-files:\n  - [sub/x, /etc/x]\npostprocess:\n  - echo b\n  - echo a\n  - echo own\nunits:\n  - c.service\ndefault-target: a\n"},
		{"conditions", `== m.yaml
releasever: "41"
variables: {prod: false, stream: x}
include: inner.yaml
arch-include: {x86_64: [x.yaml], aarch64: missing.yaml}
== inner.yaml
conditional-include:
- {if: prod == false, include: {packages: [noprod]}}
- {if: 'releasever < 41', include: missing.yaml}
- {if: ['releasever >= 41', 'basearch != "s390x"'], include: new.yaml}
- {if: 'stream == "y"', include: missing.yaml}
== new.yaml
packages: [new]
== x.yaml
packages: [x]`,
			"variables:\n  prod: false\n  stream: x\nreleasever: \"41\"\npackages:\n  - x\n  - new\n  - noprod\n"},
		{"override by false", `== m.yaml
include: a.yaml
container: false
== a.yaml
container: true
selinux: false`, "selinux: false\n"},
		{"json with tabs", "== m.yaml\n{\n\t\"ref\": \"a\",\n\t\"packages\": [\"b\",\n\t\t\"c\"]\n}", "ref: a\npackages:\n  - b\n  - c\n"},
		{"empty", "== m.yaml\n# nothing", "{}\n"},
		{"check", "== m.yaml\ncheck-passwd: {type: data, entries: {bin: 1, adm: [3, 4]}}\ncheck-groups: {type: file, filename: group}",
			"check-passwd:\n  type: data\n  entries:\n    adm: [3, 4]\n    bin: [1]\ncheck-groups:\n  type: file\n  filename: group\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := load(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(m.Encode())); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			roundTrip(t, m)
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"== m.yaml\nref: a\npakages: [x]", `m.yaml:2: unknown key "pakages"; did you mean "packages"?`},
		{"== m.yaml\nzzzzzzzzzz: 1", `m.yaml:1: unknown key "zzzzzzzzzz"; grove help manifest lists the known ones`},
		{"== m.yaml\nref: [a]", `m.yaml:1: got a list, wanted a string`},
		{"== m.yaml\npackages: bash", `m.yaml:1: got "bash", wanted a list`},
		{"== m.yaml\nselinux: maybe", `m.yaml:1: got "maybe", wanted true or false`},
		{"== m.yaml\ngpg-key: a\ngpg_key: b", `m.yaml:2: "gpg-key" and "gpg_key" are the same key`},
		{"== m.yaml\ninclude: ../x.yaml", `m.yaml:1: path "../x.yaml" leaves the manifest's folder`},
		{"== m.yaml\ninclude: /x.yaml", `m.yaml:1: got path "/x.yaml", wanted one relative to the manifest`},
		{"== m.yaml\ninclude: m.yaml", `m.yaml:1: m.yaml: included twice`},
		{"== m.yaml\n\ninclude: a.yaml\n== a.yaml\nfoo: 1", `m.yaml:2: a.yaml:1: unknown key "foo"; grove help manifest lists the known ones`},
		{"== m.yaml\ninclude: gone.yaml", `m.yaml:1: open manifest: open gone.yaml: file does not exist`},
		{"== m.yaml\ninclude: a.ks\n== a.ks\n%packages", `m.yaml:1: a.ks: kickstart files are not read; write the packages into a treefile`},
		{"== m.yaml\nref: ${nope}", `m.yaml: ref: variable ${nope} is not defined`},
		{"== m.yaml\nconditional-include: [{if: a == 1, include: x}]", `m.yaml:1: condition "a == 1": variable "a" is not defined`},
		{"== m.yaml\nconditional-include: [{if: a, include: x}]", `m.yaml:1: condition "a": wanted VARIABLE OP VALUE with == != < <= > >=`},
		{"== m.yaml\npackages: [a]\nexclude-packages: [a]", `m.yaml: package "a" stands in packages and in exclude-packages`},
		{"== m.yaml\npackages: [\"'a\"]", `m.yaml:1: package entry "'a": the quote is not closed`},
		{"== m.yaml\nlocal-packages: [{nevra: ../x-1-1.noarch, sha256: aa}]", `m.yaml:1: got nevra "../x-1-1.noarch", wanted name-version-release.arch`},
		{"== m.yaml\nlocal-packages: [{nevra: x-1-1.noarch}]", `m.yaml:1: sha256: wanted 64 small hex digits`},
		{"== m.yaml\nbase: 'a b'", `m.yaml: base: got "a b", wanted REMOTE:REF or a ref`},
		{"== m.yaml\n- a", `m.yaml:1: got a list, wanted a map`},
		{"== m.yaml\nref: a\nref: b", `m.yaml:2: key "ref" stands twice`},
		{"== m.yaml\nref: [a", `m.yaml: yaml`},
	} {
		_, err := load(c.in)
		got := "accepted"
		if err != nil {
			got = err.Error()
		}
		if got != c.want && !(strings.HasSuffix(c.want, ": yaml") && strings.HasPrefix(got, "m.yaml: ") && err != nil) {
			t.Errorf("%q\n got  %s\n want %s", c.in, got, c.want)
		}
	}
}

func TestKeysHaveExamples(t *testing.T) {
	for _, k := range manifest.Keys() {
		if k.Ignored != "" {
			continue
		}
		if k.Example == "" || k.Help == "" || k.Merge == "" {
			t.Errorf("%s: no example, help or merge rule", k.Name)
			continue
		}
		name := strings.Replace(k.Name, "ARCH", "x86_64", 1)
		text := "releasever: '41'\n"
		if name == "releasever" {
			text = ""
		}
		var node yaml.Node
		if err := yaml.Load([]byte(k.Example), &node); err != nil {
			t.Errorf("%s: example: %v", name, err)
			continue
		}
		value, err := yaml.Dump(map[string]any{name: node.Content[0]})
		if err != nil {
			t.Fatal(err)
		}
		fsys := fstest.MapFS{"m.yaml": &fstest.MapFile{Data: []byte(text + string(value))}}
		for _, f := range []string{"common.yaml", "boot-x86_64.yaml", "new.yaml"} {
			fsys[f] = &fstest.MapFile{}
		}
		m, err := manifest.Load(fsys, "m.yaml", "x86_64")
		if err != nil {
			t.Errorf("%s: example: %v\n%s", name, err, value)
			continue
		}
		roundTrip(t, m)
	}
	if r := manifest.Reference(); !strings.Contains(r, "\npackages: list of packages\n") || strings.Contains(r, "\t") {
		t.Errorf("reference:\n%s", r)
	}
}

func TestWants(t *testing.T) {
	no := false
	m := manifest.Manifest{}
	c := manifest.Manifest{Container: true, Recommends: &no, Base: "r:a/b"}
	remote, ref := c.BaseRemote()
	if !m.WantRecommends() || !m.WantSELinux() || m.WantTmpIsDir() || !m.WantDocumentation() ||
		c.WantRecommends() || c.WantSELinux() || !c.WantTmpIsDir() || remote != "r" || ref != "a/b" {
		t.Error("a default is wrong")
	}
}

// shared is the folder of real data, or "" where there is none.
func shared(parts ...string) string {
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	return filepath.Join(append([]string{root, "data"}, parts...)...)
}

func TestRealTreefiles(t *testing.T) {
	for _, c := range []struct {
		dir, name, arch string
		packages        int
		ignored         string
	}{
		{"fedora-coreos-config/testing-devel", "manifest.yaml", "x86_64", 90, "boot-location container-cmd rojig rpmdb"},
		{"fedora-coreos-config/testing-devel", "manifest.yaml", "s390x", 90, "boot-location container-cmd rojig rpmdb"},
		{"workstation-ostree-config", "fedora-silverblue.yaml", "x86_64", 250, "boot-location rojig"},
		{"workstation-ostree-config", "fedora-kinoite.yaml", "aarch64", 250, "boot-location rojig"},
		{"workstation-ostree-config", "fedora-base.yaml", "ppc64le", 50, "boot-location rojig"},
		{"rpm-ostree/src", "demo-treefile.json", "x86_64", 20, "architecture description kargs osname release"},
		{"rpm-ostree/tests/composedata", "fedora-base.json", "x86_64", 14, "rojig"},
		{"rpm-ostree/tests/compose-rootfs", "manifest.yaml", "x86_64", 7, ""},
		{"rpm-ostree/tests/common/compose", "test-repo.json", "x86_64", 1, ""},
		{"rpm-ostree/tests/compose", "test-repo-add-files.json", "x86_64", 1, ""},
		{"rpm-ostree/api-doc/treefile-examples", "fedora-rawhide-docker.json", "x86_64", 14, ""},
		{"rpm-ostree/doc/treefile-examples", "fedora-rawhide-base.json", "x86_64", 17, ""},
	} {
		dir := shared("treefiles", c.dir)
		if _, err := os.Stat(dir); err != nil {
			t.Skip("needs the shared data")
		}
		m, err := manifest.Load(os.DirFS(dir), c.name, c.arch)
		if err != nil {
			t.Errorf("%s/%s: %v", c.dir, c.name, err)
			continue
		}
		if len(m.Packages) < c.packages || strings.Join(m.Ignored, " ") != c.ignored {
			t.Errorf("%s/%s: %d packages, ignored %q", c.dir, c.name, len(m.Packages), m.Ignored)
		}
		roundTrip(t, m)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("packages: [a, \"'b >= 1'\"]\nref: x\nvariables: {a: 1.0, b: yes, c: 1e300}"))
	f.Add([]byte("postprocess:\n- |\n  #!/bin/sh\n  echo\n\nadd-commit-metadata: {a: [1, null, {b: 0x1f}], d: 2020-01-01}"))
	f.Add([]byte("{\"ref\":\t\"a\"}"))
	f.Add([]byte("check-passwd: {type: data, entries: {a: [1, 2]}}\noverrides: {remove: [x], replace: [{nevra: a-1-1.x}]}"))
	f.Add([]byte("a: &a [x]\npackages: *a"))
	f.Add([]byte("conditional-include: [{if: 'basearch == \"x86_64\"', include: {ref: a}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Parse(data, "fuzz.yaml", "x86_64")
		if err != nil {
			return
		}
		if strings.Contains(string(m.Encode()), "${") {
			return // a value that substitution made: not literally writable
		}
		roundTrip(t, m)
	})
}
