// SPDX-License-Identifier: Apache-2.0

package scriptlet_test

import (
	"strings"
	"testing"

	"grove/internal/scriptlet"
)

// TestFailureText: an error shows the end of what a scriptlet printed, in whole lines where it can.
func TestFailureText(t *testing.T) {
	for _, tt := range []struct{ name, output, want string }{
		{"nothing", " \n", "%post(a-1-1.noarch): exit 1"},
		{"little", "one\ntwo\n", "%post(a-1-1.noarch): exit 1:\none\ntwo"},
		{"many lines", strings.Repeat("x\n", 100) + "last\n", "%post(a-1-1.noarch): exit 1:\n...\n" + strings.Repeat("x\n", 19) + "last"},
		{"long lines", strings.Repeat("y", 5000) + "\n" + strings.Repeat("z", 4000) + "\n", "%post(a-1-1.noarch): exit 1:\n...\n" + strings.Repeat("z", 4000)},
		{"one line", strings.Repeat("é", 5000), "%post(a-1-1.noarch): exit 1:\n..." + strings.Repeat("é", 2048)},
		{"no text", "a\xff", "%post(a-1-1.noarch): exit 1:\na?"},
	} {
		f := scriptlet.Failure{NEVRA: "a-1-1.noarch", Kind: "%post", Reason: "exit 1", Output: []byte(tt.output)}
		if got := f.Error(); got != tt.want {
			t.Errorf("%s: got %.200q, wanted %.200q", tt.name, got, tt.want)
		}
	}
}
