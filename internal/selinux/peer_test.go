// SPDX-License-Identifier: Apache-2.0

package selinux_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"grove/internal/selinux"
)

// matchpathcon asks libselinux for the labels of paths, all of one file type. "" is no label.
func matchpathcon(t *testing.T, file, kind string, paths []string) []string {
	t.Helper()
	var labels []string
	for some := range slices.Chunk(paths, 2000) {
		out, err := exec.Command("matchpathcon", append([]string{"-n", "-N", "-f", file, "-m", kind, "--"}, some...)...).Output()
		if err != nil {
			t.Fatalf("matchpathcon -f %s -m %s: %v", file, kind, err)
		}
		labels = append(labels, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")...)
	}
	if len(labels) != len(paths) {
		t.Fatalf("matchpathcon -f %s -m %s: %d answers for %d paths", file, kind, len(labels), len(paths))
	}
	for i, l := range labels {
		if l == "<<none>>" {
			labels[i] = ""
		}
	}
	return labels
}

var kinds = map[string]uint32{"file": regular, "dir": folder, "lnk_file": link, "chr_file": 0o020600, "sock_file": 0o140755, "pipe": 0o010600}

// peer says by which rules the libselinux of this machine goes.
func peer(t *testing.T) selinux.Options {
	t.Helper()
	if _, err := exec.LookPath("matchpathcon"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs matchpathcon (Debian: selinux-utils)")
		}
		t.Skip("needs matchpathcon (Debian: selinux-utils)")
	}
	file := filepath.Join(t.TempDir(), "file_contexts")
	if err := os.WriteFile(file, []byte("/a a:b:new:s0\n/a a:b:old:s0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return selinux.Options{Before38: matchpathcon(t, file, "file", []string{"/a"})[0] == "a:b:old:s0"}
}

func compare(t *testing.T, file string, f selinux.Files, o selinux.Options, paths []string) (n int) {
	t.Helper()
	p, err := selinux.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	for kind, mode := range kinds {
		for i, want := range matchpathcon(t, file, kind, paths) {
			if got, _ := p.Lookup(paths[i], mode); got != want {
				t.Errorf("%s: %s %q: %q, libselinux %q", file, kind, paths[i], got, want)
			}
			n++
		}
	}
	return n
}

// TestRandomPoliciesAsLibselinux compares with libselinux whatever patterns and paths the pieces make.
func TestRandomPoliciesAsLibselinux(t *testing.T) {
	o := peer(t)
	file := filepath.Join(t.TempDir(), "file_contexts")
	n := 0
	for seed := range int64(40) {
		r := rand.New(rand.NewSource(seed))
		f := randomPolicy(r)
		for suffix, text := range map[string][]byte{"": f.Contexts, ".homedirs": f.Homedirs, ".local": f.Local, ".subs": f.Subs, ".subs_dist": f.SubsDist} {
			if err := os.WriteFile(file+suffix, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var paths []string
		for range 300 {
			paths = append(paths, randomPath(r))
		}
		if n += compare(t, file, f, o, paths); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d answers compared", n)
}

// TestRealPoliciesAsLibselinux compares every policy of this machine and of the shared data, with paths made from its patterns.
func TestRealPoliciesAsLibselinux(t *testing.T) {
	o := peer(t)
	shared := os.Getenv("GROVE_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	var files []string
	for _, pattern := range []string{"/etc/selinux/*/contexts/files/file_contexts", shared + "/data/selinux/*/file_contexts"} {
		some, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, some...)
	}
	if len(files) == 0 {
		t.Skip("no policy on this machine")
	}
	r := rand.New(rand.NewSource(1))
	for _, file := range files {
		var f selinux.Files
		for suffix, to := range map[string]*[]byte{"": &f.Contexts, ".homedirs": &f.Homedirs, ".local": &f.Local, ".subs": &f.Subs, ".subs_dist": &f.SubsDist} {
			text, err := os.ReadFile(file + suffix)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			*to = text
		}
		paths := pathsOf(t, r, append(slices.Clone(f.Contexts), f.Homedirs...))
		t.Logf("%s: %d answers compared", file, compare(t, file, f, o, paths))
	}
}

// pathsOf makes paths that the patterns of a policy match, and some beside them.
func pathsOf(t *testing.T, r *rand.Rand, text []byte) []string {
	t.Helper()
	var paths []string
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		re, err := syntax.Parse("(?s)"+string(words[0]), syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		example(r, re, &b)
		tail := []string{"", "/", "/new", "x"}[r.Intn(4)]
		head := []string{"", "", "/usr/etc", "/var/home"}[r.Intn(4)]
		if path := head + b.String() + tail; strings.HasPrefix(path, "/") {
			paths = append(paths, path)
		}
	}
	return paths
}

// example writes something that an expression matches.
func example(r *rand.Rand, re *syntax.Regexp, b *strings.Builder) {
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		k := 2 * r.Intn(len(re.Rune)/2)
		lo, hi := max(re.Rune[k], '!'), min(re.Rune[k+1], '~')
		b.WriteRune(lo + rune(r.Intn(max(1, int(hi-lo)+1))))
		return
	case syntax.OpAnyChar:
		fmt.Fprint(b, []string{"a", "/", "x", ".", "-", "\u00e9"}[r.Intn(6)])
		return
	case syntax.OpAlternate:
		example(r, re.Sub[r.Intn(len(re.Sub))], b)
		return
	case syntax.OpStar:
		times = r.Intn(3)
	case syntax.OpPlus:
		times = 1 + r.Intn(2)
	case syntax.OpQuest:
		times = r.Intn(2)
	case syntax.OpRepeat:
		times = re.Min
	}
	for range times {
		for _, sub := range re.Sub {
			example(r, sub, b)
		}
	}
}
