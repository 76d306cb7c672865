// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// location checks where a server says that a file lies. The result is a clean relative path, or a URL where there is a base.
func location(href, base string) (string, error) {
	if base == "" && plainPath(href) {
		return href, nil
	}
	if len(href) > 4096 || len(base) > 4096 {
		return "", fmt.Errorf("location of %d bytes", max(len(href), len(base)))
	}
	decoded, err := url.PathUnescape(href)
	if err != nil {
		decoded = href
	}
	for _, s := range []string{href, decoded} {
		s = strings.TrimPrefix(s, "./")
		if s == "" || s == "." || strings.HasPrefix(s, "/") || strings.ContainsAny(s, "\x00\\\n\r") || strings.Contains(s, "://") || s == ".." || strings.HasPrefix(path.Clean(s), "..") || hasDotDot(s) {
			return "", fmt.Errorf("location %.100q leads out of the source", href)
		}
	}
	href = path.Clean(href)
	if base == "" {
		return href, nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" || u.Scheme != "file" && u.Host == "" {
		return "", fmt.Errorf("location base %.100q is no http, https or file URL", base)
	}
	return joinURL(base, href), nil
}

// plainPath takes at a glance what nearly all locations are: letters, digits and -_+~^. between single slashes, without "..".
func plainPath(s string) bool {
	before := byte('/')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '+', c == '~', c == '^':
		case c == '/' && before != '/':
		case c == '.' && before != '/' && before != '.':
		default:
			return false
		}
		before = c
	}
	return before != '/' && len(s) <= 4096
}

func hasDotDot(s string) bool {
	for _, part := range strings.Split(s, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// joinURL puts a relative location behind a base URL. Locations stand in metadata both escaped and not; one that is escaped
// stays as it is.
func joinURL(base, href string) string {
	escaped := href
	if decoded, err := url.PathUnescape(href); err != nil || decoded == href {
		escaped = (&url.URL{Path: "/" + href}).EscapedPath()[1:]
	}
	query := ""
	if i := strings.IndexByte(base, '?'); i >= 0 {
		base, query = base[:i], base[i:]
	}
	return strings.TrimRight(base, "/") + "/" + escaped + query
}

// locationURLs gives all URLs of a location.
func locationURLs(bases []string, loc string) []string {
	if strings.Contains(loc, "://") {
		return []string{loc}
	}
	urls := make([]string, len(bases))
	for i, b := range bases {
		urls[i] = joinURL(b, loc)
	}
	return urls
}

// checkBase makes sure that a base, wherever it came from, is a URL that fetch knows.
func checkBase(base string) (string, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return "", fmt.Errorf("base URL %.100q does not parse", base)
	case strings.HasPrefix(base, "/"):
		return (&url.URL{Scheme: "file", Path: base}).String(), nil
	case u.Scheme == "file", (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return base, nil
	}
	return "", fmt.Errorf("base URL %.100q: scheme is not http, https or file", u.Redacted())
}
