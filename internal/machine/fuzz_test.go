// SPDX-License-Identifier: Apache-2.0

package machine

import "testing"

func FuzzParseUnit(f *testing.F) {
	f.Add("[Service]\nExecStart=/bin/x \\\n# c\n  y\nExecStart=\n[Install]\nWantedBy=a b\n")
	f.Add("\\\n\\\n[x]\na=b")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUnit(text)
		if err != nil {
			return
		}
		again, err := parseUnit(u.text())
		if err != nil {
			t.Fatalf("what was read is not read again: %v\n%s", err, u.text())
		}
		if len(again.settings) != len(u.settings) {
			t.Fatalf("%d settings, %d when read again", len(u.settings), len(again.settings))
		}
	})
}
