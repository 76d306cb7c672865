// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"fmt"
	"path/filepath"

	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// cookieFile is where the cookies lie that go to a remote.
func cookieFile(r *repo.Repo, remote string) string {
	return filepath.Join(r.Path(), remote+".cookies.txt")
}

// readCookies gives the file of a remote's cookies and what is in it. A remote that is not configured may have some.
func readCookies(r *repo.Repo, remote string) (path string, data []byte, err error) {
	if err := ostree.CheckRemoteName(remote); err != nil {
		return "", nil, err
	}
	path = cookieFile(r, remote)
	data, err = fetch.ReadCookieFile(path)
	return path, data, err
}

// Cookies are those that pulls send to a remote.
func Cookies(r *repo.Repo, remote string) ([]fetch.Cookie, error) {
	_, data, err := readCookies(r, remote)
	return fetch.ParseCookies(data), err
}

// AddCookie adds a cookie for a remote, in the place of one of the same domain, path and name. Who may not read the
// repository's keys may not read the file.
//
//	errors  repo.ErrNotFound if there is no such remote
func AddCookie(r *repo.Repo, remote string, c fetch.Cookie) error {
	if _, err := r.Remote(remote); err != nil {
		return err
	}
	line, err := c.Line()
	if err != nil {
		return err
	}
	path, data, err := readCookies(r, remote)
	if err != nil {
		return err
	}
	data = fetch.WithoutCookie(data, c.Domain, c.Path, c.Name)
	if n := len(data); n > 0 && data[n-1] != '\n' {
		data = append(data, '\n')
	}
	return durable.WriteFile(path, append(data, line+"\n"...), 0o600)
}

// DeleteCookie removes a cookie of a remote.
//
//	errors  repo.ErrNotFound if there is no such cookie
func DeleteCookie(r *repo.Repo, remote, domain, path, name string) error {
	file, data, err := readCookies(r, remote)
	if err != nil {
		return err
	}
	left := fetch.WithoutCookie(data, domain, path, name)
	if len(left) == len(data) {
		return fmt.Errorf("remote %q: cookie %s of %s%s: %w", remote, name, domain, path, repo.ErrNotFound)
	}
	return durable.WriteFile(file, left, 0o600)
}
