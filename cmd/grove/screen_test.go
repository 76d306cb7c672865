// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
)

func TestScreen(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain\ttext\n", "plain\ttext\n"},
		{"Ödland … 😀 名", "Ödland … 😀 名"},
		{"a\x1b]0;title\x07b\x1b[2J\r\x7f", `a\x1b]0;title\x07b\x1b[2J\x0d\x7f`},
		{"\x9b2J", `\x9b2J`},
		{"\u009b2J", "\xc2" + `\x9b2J`},
		{"a\x85\xc3", `a\x85` + "\xc3"},
		{"\xe2\x82a\x9b", "\xe2\x82" + `a\x9b`},
		{"Ö\x96", "Ö" + `\x96`},
	} {
		for cut := 0; cut <= len(c.in); cut++ { // a character may come in two writes
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			s := &screen{f: w}
			for _, part := range []string{c.in[:cut], c.in[cut:]} {
				if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			w.Close()
			got := make([]byte, 1000)
			n, _ := r.Read(got)
			r.Close()
			if string(got[:n]) != c.want {
				t.Errorf("%q cut at %d became %q, want %q", c.in, cut, got[:n], c.want)
			}
		}
	}
}
