// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxCookieFile bounds a file of cookies; a cookie has at most 4 KiB, and browsers keep some thousand.
const maxCookieFile = 1 << 20

// Cookie is a line of a file of cookies.
//
//	shape   domain, whether subdomains get it, path, whether only https does, when it expires, name and value, divided by tabs
//	units   ExpiresSec: seconds since 1970, 0 = never
//	source  curl docs/HTTP-COOKIES.md
type Cookie struct {
	Domain     string
	Subdomains bool
	Path       string
	Secure     bool
	ExpiresSec int64
	Name       string
	Value      string
}

// httpOnly stands before the domain of a cookie that pages must not see, which is nothing to us.
const httpOnly = "#HttpOnly_"

// parseCookie reads a line; false is a comment, or what is no cookie.
func parseCookie(line string) (Cookie, bool) {
	line = strings.TrimPrefix(strings.TrimRight(line, "\r"), httpOnly)
	f := strings.Split(line, "\t")
	if len(f) != 7 || strings.HasPrefix(line, "#") || f[0] == "" {
		return Cookie{}, false
	}
	c := Cookie{Domain: f[0], Subdomains: f[1] == "TRUE", Path: f[2], Secure: f[3] == "TRUE", Name: f[5], Value: f[6]}
	if sec, err := strconv.ParseInt(f[4], 10, 64); err == nil && sec > 0 {
		c.ExpiresSec = sec
	}
	return c, true
}

// Line is the cookie as it stands in a file.
//
//	errors  a part that is empty, or that has a blank or a control character in it: ostree's reader divides lines there
func (c Cookie) Line() (string, error) {
	flag := func(b bool) string { return strings.ToUpper(strconv.FormatBool(b)) }
	for what, s := range map[string]string{"domain": c.Domain, "path": c.Path, "name": c.Name, "value": c.Value} {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) || what == "domain" && s[0] == '#' {
			return "", fmt.Errorf("cookie: %s %q: want a word without blanks", what, s)
		}
	}
	return strings.Join([]string{c.Domain, flag(c.Subdomains), c.Path, flag(c.Secure), strconv.FormatInt(c.ExpiresSec, 10), c.Name, c.Value}, "\t"), nil
}

// ParseCookies reads a file of cookies. What is no cookie is passed over, as curl does.
func ParseCookies(data []byte) []Cookie {
	var all []Cookie
	for line := range strings.Lines(string(data)) {
		if c, ok := parseCookie(strings.TrimSuffix(line, "\n")); ok {
			all = append(all, c)
		}
	}
	return all
}

// WithoutCookie is a file of cookies without those of that domain, path and name. All other lines stay as they are.
func WithoutCookie(data []byte, domain, path, name string) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		c, ok := parseCookie(strings.TrimSuffix(line, "\n"))
		if !ok || c.Domain != domain || c.Path != path || c.Name != name {
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// ReadCookieFile gives the content of a file of cookies; nil where there is none.
//
//	errors  a file that is too long
func ReadCookieFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cookies: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCookieFile+1))
	if err == nil && len(data) > maxCookieFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxCookieFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read cookies: %w", err)
	}
	return data, nil
}

// readCookies makes a jar of a file.
func readCookies(path string) (http.CookieJar, error) {
	data, err := ReadCookieFile(path)
	if data == nil || err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	for _, c := range ParseCookies(data) {
		setCookie(jar, c)
	}
	return jar, nil
}

func setCookie(jar http.CookieJar, from Cookie) {
	host := strings.TrimPrefix(from.Domain, ".")
	c := &http.Cookie{Path: from.Path, Secure: from.Secure, Name: from.Name, Value: from.Value}
	if from.Subdomains {
		c.Domain = host
	}
	if from.ExpiresSec > 0 {
		c.Expires = time.Unix(from.ExpiresSec, 0)
	}
	scheme := "http"
	if c.Secure {
		scheme = "https"
	}
	jar.SetCookies(&url.URL{Scheme: scheme, Host: host, Path: "/"}, []*http.Cookie{c})
}
