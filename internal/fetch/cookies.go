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

const maxCookieFile = 1 << 20

// readCookies reads a file of cookies: per line domain, whether subdomains get it, path, whether only https does, when it
// expires (seconds since 1970, 0 = never), name and value, divided by tabs.
//
//	source  curl docs/HTTP-COOKIES.md
func readCookies(path string) (http.CookieJar, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cookies: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCookieFile))
	if err != nil {
		return nil, fmt.Errorf("read cookies: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimPrefix(strings.TrimRight(line, "\r"), "#HttpOnly_")
		f := strings.Split(line, "\t")
		if len(f) != 7 || strings.HasPrefix(line, "#") {
			continue
		}
		setCookie(jar, f)
	}
	return jar, nil
}

func setCookie(jar http.CookieJar, f []string) {
	host := strings.TrimPrefix(f[0], ".")
	c := &http.Cookie{Path: f[2], Secure: f[3] == "TRUE", Name: f[5], Value: f[6]}
	if f[1] == "TRUE" {
		c.Domain = host
	}
	if sec, err := strconv.ParseInt(f[4], 10, 64); err == nil && sec > 0 {
		c.Expires = time.Unix(sec, 0)
	}
	scheme := "http"
	if c.Secure {
		scheme = "https"
	}
	jar.SetCookies(&url.URL{Scheme: scheme, Host: host, Path: "/"}, []*http.Cookie{c})
}
