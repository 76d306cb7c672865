// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"grove/internal/durable"
	"grove/internal/repo"
	"grove/internal/sign"
)

// AddOptions say what AddRemote does where there is a remote of that name.
type AddOptions struct {
	Replace     bool
	IfNotExists bool // leave it as it is
}

// AddRemote writes a remote into r's configuration, its OpenPGP keys first. It reports whether it did.
//
//	errors  fs.ErrExist if there is one of that name and the options say nothing about that
func AddRemote(r *repo.Repo, remote repo.Remote, keys [][]byte, o AddOptions) (bool, error) {
	c := r.Config()
	var ring sign.Keyring
	if len(keys) > 0 {
		var err error
		if ring, err = sign.ParseKeyring(keys...); err != nil {
			return false, fmt.Errorf("keys of remote %q: %w", remote.Name, err)
		}
	}
	switch _, err := c.Remote(remote.Name); {
	case err == nil && o.IfNotExists:
		return false, nil
	case err == nil && !o.Replace:
		return false, fmt.Errorf("remote %q is there already; --force replaces it: %w", remote.Name, fs.ErrExist)
	case err == nil:
		if err := DeleteRemote(r, remote.Name); err != nil {
			return false, err
		}
	case !errors.Is(err, repo.ErrNotFound):
		return false, err
	}
	if ring.Len() > 0 {
		if err := durable.WriteFile(c.KeyringPath(remote.Name), ring.Encode(), 0o644); err != nil {
			return false, err
		}
	}
	return true, c.AddRemote(remote)
}

// DeleteRemote removes a remote with its keys and the summary that was kept of it. Its refs stay.
//
//	errors  repo.ErrNotFound
func DeleteRemote(r *repo.Repo, name string) error {
	if err := r.Config().DeleteRemote(name); err != nil {
		return err
	}
	for _, ext := range []string{"", ".sig"} {
		if err := removeIfThere(filepath.Join(r.Path(), "tmp/cache/summaries", name+ext)); err != nil {
			return err
		}
	}
	return nil
}

// ImportKeys adds OpenPGP keys to those that vouch for a remote: all, or those that one of ids names by fingerprint, by the
// end of it, or by a part of a user id. It returns those that were not there before.
//
//	errors  repo.ErrNotFound if there is no such remote; text only if an id names no key
func ImportKeys(r *repo.Repo, remote string, keys [][]byte, ids []string) ([]sign.Key, error) {
	if _, err := r.Config().Remote(remote); err != nil {
		return nil, err
	}
	ring, err := sign.ParseKeyring(keys...)
	if err == nil && len(ids) > 0 {
		ring, err = ring.Select(ids...)
	}
	if err != nil {
		return nil, fmt.Errorf("keys of remote %q: %w", remote, err)
	}
	path := r.Config().KeyringPath(remote)
	old, err := readFile(path, maxKeyring)
	if err != nil {
		return nil, err
	}
	var have sign.Keyring
	if len(old) > 0 {
		if have, err = sign.ParseKeyring(old); err != nil {
			return nil, fmt.Errorf("keys of remote %q: %w", remote, err)
		}
	}
	all := have.Merge(ring)
	if all.Len() == have.Len() {
		return nil, nil
	}
	return all.Keys()[have.Len():], durable.WriteFile(path, all.Encode(), 0o644)
}

const maxKeyring = 16 << 20

// Keys describes the OpenPGP keys that vouch for a remote: its own, or else the host's.
//
//	errors  repo.ErrNotFound if there is no such remote
func Keys(r *repo.Repo, remote string) ([]sign.Key, error) {
	conf, err := r.Remote(remote)
	if err != nil {
		return nil, err
	}
	options := map[string]string{"gpg-verify": "true"}
	for _, k := range []string{"gpgkeypath"} {
		if v, ok := conf.Options[k]; ok {
			options[k] = v
		}
	}
	conf.Options = options
	p, err := newPolicy(r, conf, "")
	if err != nil {
		return nil, err
	}
	return p.Keyring().Keys(), nil
}

// ReadKeys reads files of keys.
func ReadKeys(paths []string) ([][]byte, error) {
	var all [][]byte
	for _, path := range paths {
		data, err := readFile(path, maxKeyring)
		if err == nil && data == nil {
			err = &fs.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}
