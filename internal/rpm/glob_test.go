// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"grove/internal/rpm"
)

// globs are patterns and texts; every pattern is held against every text.
var globPatterns = []string{
	"", "*", "?", "**", "a*", "*a", "a*c", "a?c", "/usr/*/moss", "/usr/share/doc/moss*", "*/bin/*", "[", "/usr/bin/[", "[a", "[]", "[]]", "[!]a]b", "[^a]b", "[a-c]*",
	"[!a-c]*", "[c-a]", "[a-]", "[-a]", "\\*", "a\\", "\\[a]", "[\\]]", "*.so.[0-9]*", "moss-[0-9]*.x86_64", "é?", "[é-ü]", "*é*", "a*b*c*d", "***x", "[]-a]", "[!", "[[]",
}

var globTexts = []string{
	"", "a", "b", "ab", "abc", "aXc", "a/c", "[", "]", "-", "*", "\\", "a\\", "[a", "[a]", "/usr/bin/[", "/usr/share/moss", "/usr/lib/x/moss", "/usr/share/doc/moss",
	"/usr/share/doc/moss/README", "/bin/x", "/usr/bin/x/y", "libmoss.so.2.1", "libmoss.so.x", "moss-1-1.x86_64", "moss-x-1.x86_64", "é", "éa", "ö", "aXbXcXd", "aXbXcX", "xx", "]b", "bb",
}

// TestGlob asks the C library the same.
func TestGlob(t *testing.T) {
	if rpm.IsGlob("moss-1") || !rpm.IsGlob("moss*") {
		t.Error("IsGlob")
	}
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"/usr/share/doc/moss*", "/usr/share/doc/moss/README", true}, {"[!a-c]*", "abc", false}, {"[^a]b", "bb", true}, {"/usr/bin/[", "/usr/bin/[", true}, {"a?c", "a/c", true}, {"a*b*c*d", "aXbXcX", false},
	} {
		if got := rpm.Glob(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q %q: %v", tt.pattern, tt.text, got)
		}
	}
	question, err := json.Marshal([][]string{globPatterns, globTexts})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", `
import ctypes, json, locale, sys
locale.setlocale(locale.LC_ALL, "C.UTF-8")
match = ctypes.CDLL(None).fnmatch
patterns, texts = json.load(sys.stdin)
json.dump([[match(p.encode(), t.encode(), 0) == 0 for t in texts] for p in patterns], sys.stdout)`)
	cmd.Stdin = strings.NewReader(string(question))
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs python3", err)
		}
		t.Skip("needs python3")
	}
	var want [][]bool
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for i, p := range globPatterns {
		for j, s := range globTexts {
			if got := rpm.Glob(p, s); got != want[i][j] {
				t.Errorf("%q, %q: got %v, fnmatch says %v", p, s, got, want[i][j])
			}
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, p := range globPatterns {
		f.Add(p, "abc")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		rpm.Glob(pattern, s)
		if !rpm.IsGlob(pattern) && !strings.Contains(pattern, "\\") && !rpm.Glob(pattern, pattern) {
			t.Errorf("%q does not fit itself", pattern)
		}
	})
}
