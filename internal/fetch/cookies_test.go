// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"testing"

	"grove/internal/fetch"
)

const cookieFile = "# Netscape HTTP Cookie File\n" +
	"a.example\tFALSE\t/\tFALSE\t0\tsession\tmoss\n" +
	"#HttpOnly_.b.example\tTRUE\t/repo\tTRUE\t2000000000\tk\tv\r\n" +
	"broken line\n" +
	"a.example\tFALSE\t/\tFALSE\t7\tother\tfern"

func TestParseCookies(t *testing.T) {
	got := fetch.ParseCookies([]byte(cookieFile))
	want := []fetch.Cookie{
		{Domain: "a.example", Path: "/", Name: "session", Value: "moss"},
		{Domain: ".b.example", Subdomains: true, Path: "/repo", Secure: true, ExpiresSec: 2000000000, Name: "k", Value: "v"},
		{Domain: "a.example", Path: "/", ExpiresSec: 7, Name: "other", Value: "fern"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	left := fetch.WithoutCookie([]byte(cookieFile), ".b.example", "/repo", "k")
	if string(left) != "# Netscape HTTP Cookie File\na.example\tFALSE\t/\tFALSE\t0\tsession\tmoss\nbroken line\na.example\tFALSE\t/\tFALSE\t7\tother\tfern" {
		t.Errorf("without one: %q", left)
	}
	for what, path := range map[string]string{"domain": "/", "path": "/pub", "name": "/"} {
		c := map[string][2]string{"domain": {"c.example", "session"}, "path": {"a.example", "session"}, "name": {"a.example", "none"}}[what]
		if left := fetch.WithoutCookie([]byte(cookieFile), c[0], path, c[1]); string(left) != cookieFile {
			t.Errorf("another %s: %q", what, left)
		}
	}
}

func TestCookieLine(t *testing.T) {
	good := fetch.Cookie{Domain: ".a.example", Subdomains: true, Path: "/", ExpiresSec: 5, Name: "k", Value: "v"}
	if line, err := good.Line(); err != nil || line != ".a.example\tTRUE\t/\tFALSE\t5\tk\tv" {
		t.Errorf("%q, %v", line, err)
	}
	for what, change := range map[string]func(*fetch.Cookie){
		"empty name": func(c *fetch.Cookie) { c.Name = "" }, "tab": func(c *fetch.Cookie) { c.Value = "a\tb" },
		"newline": func(c *fetch.Cookie) { c.Path = "/\nx" }, "blank": func(c *fetch.Cookie) { c.Value = "a b" }, "comment": func(c *fetch.Cookie) { c.Domain = "#x" },
	} {
		c := good
		change(&c)
		if line, err := c.Line(); err == nil {
			t.Errorf("%s: %q", what, line)
		}
	}
}

// What is read and can be written is read again as it was; what is not taken out stays.
func FuzzCookies(f *testing.F) {
	f.Add([]byte(cookieFile))
	f.Add([]byte("\t\t\t\t\t\t\n#\t\t\t\t\t\t"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range fetch.ParseCookies(data) {
			line, err := c.Line()
			if err != nil {
				continue
			}
			if again := fetch.ParseCookies([]byte(line)); len(again) != 1 || again[0] != c {
				t.Errorf("%+v became %q became %+v", c, line, again)
			}
			for _, left := range fetch.ParseCookies(fetch.WithoutCookie(data, c.Domain, c.Path, c.Name)) {
				if left.Domain == c.Domain && left.Path == c.Path && left.Name == c.Name {
					t.Errorf("%+v is still there", left)
				}
			}
		}
		if got := fetch.WithoutCookie(data, "", "", ""); string(got) != string(data) {
			t.Errorf("%q became %q", data, got)
		}
	})
}
