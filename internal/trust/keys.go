// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/durable"
	"grove/internal/sandbox"
	"grove/internal/sign"
)

// maxKeyFileBytes bounds a file of keys; the largest keyrings of distributions have some hundred kilobytes.
const maxKeyFileBytes = 16 << 20

// ReadKeyFile reads a file of keys.
//
//	errors  as durable.ReadFile
func ReadKeyFile(path string) ([]byte, error) { return durable.ReadFile(path, maxKeyFileBytes) }

// gpgKeys gives the OpenPGP keys of a remote: those of its keyring and of gpgkeypath, or else the host's.
func gpgKeys(r Remote) (sign.Keyring, error) {
	var all [][]byte
	for _, path := range r.Keyrings {
		data, err := ReadKeyFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return sign.Keyring{}, err
		}
		all = append(all, data)
		break
	}
	for _, path := range splitList(r.Options["gpgkeypath"]) {
		more, err := readKeyPath(path, func(string) bool { return true })
		if err != nil {
			return sign.Keyring{}, err
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		for _, dir := range r.Host.gpgDirs() {
			more, err := readKeyPath(dir, isKeyring)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return sign.Keyring{}, err
			}
			all = append(all, more...)
		}
	}
	all = slices.DeleteFunc(all, func(b []byte) bool { return len(b) == 0 })
	if len(all) == 0 {
		return sign.Keyring{Current: true}, nil
	}
	k, err := sign.ParseKeyring(all...)
	k.Current = true
	return k, err
}

// isKeyring tells which files of a folder are keyrings, not others that GnuPG keeps there.
func isKeyring(name string) bool {
	switch filepath.Ext(name) {
	case ".gpg":
		return name != "trustdb.gpg" && name != "secring.gpg"
	case ".asc", ".pgp":
		return true
	}
	return false
}

// readKeyPath reads a file, or the regular files of a folder that wanted takes.
func readKeyPath(path string, wanted func(name string) bool) ([][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		data, err := ReadKeyFile(path)
		return [][]byte{data}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, e := range entries {
		file := filepath.Join(path, e.Name())
		if fi, err := os.Stat(file); err != nil || !fi.Mode().IsRegular() || !wanted(e.Name()) {
			continue
		}
		data, err := ReadKeyFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// ReadGPGHome gives the public keys of a GnuPG home: those of keyrings that lie there, and where gpg keeps them in its keybox,
// what gpg exports.
//
//	errors  if the folder or a key cannot be read
func ReadGPGHome(ctx context.Context, dir string) (Policy, error) {
	all, err := readKeyPath(dir, isKeyring)
	if err != nil {
		return Policy{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "pubring.kbx")); err == nil {
		keys, err := sandbox.HostTool(ctx, nil, "gpg", "--batch", "--no-tty", "--quiet", "--homedir", dir, "--export")
		if err != nil {
			return Policy{}, fmt.Errorf("read keys of %s: %w", dir, err)
		}
		all = append(all, keys)
	}
	all = slices.DeleteFunc(all, func(b []byte) bool { return len(b) == 0 })
	p := Policy{GPG: true, where: dir, keyring: sign.Keyring{Current: true}}
	if len(all) > 0 {
		p.keyring, err = sign.ParseKeyring(all...)
		p.keyring.Current = true
	}
	return p, err
}

// Ed25519FromKeys is a policy that takes these public keys, in base64.
func Ed25519FromKeys(keys ...string) (Policy, error) {
	p := Policy{Sign: true}
	for _, k := range keys {
		key, err := publicEd25519(k)
		if err != nil {
			return Policy{}, err
		}
		p.ed25519 = append(p.ed25519, key)
	}
	return p, nil
}

// Ed25519FromFile is a policy that takes the public keys of a file, one in base64 a line.
func Ed25519FromFile(path string) (Policy, error) {
	lines, err := readLines(path)
	if err != nil {
		return Policy{}, err
	}
	return Ed25519FromKeys(lines...)
}

// Ed25519FromDirs is a policy that takes the keys of trusted.ed25519 and trusted.ed25519.d in these folders but for those of
// revoked.ed25519; without a folder those of the host.
func Ed25519FromDirs(dirs ...string) (Policy, error) {
	if len(dirs) == 0 {
		dirs = Host{}.ed25519Dirs()
	}
	lines, err := hostEd25519(dirs, "trusted.ed25519")
	if err != nil {
		return Policy{}, err
	}
	p, err := Ed25519FromKeys(lines...)
	if err != nil {
		return Policy{}, err
	}
	p.ed25519, err = withoutRevoked(p.ed25519, dirs)
	return p, err
}

// ed25519Keys gives the ed25519 keys of a remote: its own, or else those of the host where it does not ask for its own by
// naming the type. What the host has revoked is never good.
func ed25519Keys(r Remote) ([][]byte, error) {
	var lines []string
	if k := r.Options["verification-ed25519-key"]; k != "" {
		lines = append(lines, k)
	}
	if f := r.Options["verification-ed25519-file"]; f != "" {
		more, err := readLines(f)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	if len(lines) == 0 {
		for _, key := range []string{"sign-verify", "sign-verify-summary"} {
			if slices.Contains(splitList(r.Options[key]), Ed25519) {
				return nil, fmt.Errorf("%w: the remote has no ed25519 key, and %s=%s wants its own (verification-ed25519-key or -file)", sign.ErrUntrusted, key, r.Options[key])
			}
		}
		var err error
		if lines, err = hostEd25519(r.Host.ed25519Dirs(), "trusted.ed25519"); err != nil {
			return nil, err
		}
	}
	var keys [][]byte
	for _, line := range lines {
		key, err := publicEd25519(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return withoutRevoked(keys, r.Host.ed25519Dirs())
}

func withoutRevoked(keys [][]byte, dirs []string) ([][]byte, error) {
	lines, err := hostEd25519(dirs, "revoked.ed25519")
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		revoked, err := publicEd25519(line)
		if err != nil {
			return nil, fmt.Errorf("revoked keys: %w", err)
		}
		keys = slices.DeleteFunc(keys, func(k []byte) bool { return string(k) == string(revoked) })
	}
	return keys, nil
}

// hostEd25519 reads the file of that name, and those of its .d, in each folder.
func hostEd25519(dirs []string, name string) ([]string, error) {
	var lines []string
	for _, dir := range dirs {
		files := []string{filepath.Join(dir, name)}
		entries, err := os.ReadDir(files[0] + ".d")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			files = append(files, filepath.Join(files[0]+".d", e.Name()))
		}
		for _, f := range files {
			more, err := readLines(f)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			lines = append(lines, more...)
		}
	}
	return lines, nil
}

func readLines(path string) ([]string, error) {
	data, err := ReadKeyFile(path)
	return strings.Fields(string(data)), err
}

const publicBytes = 32

func publicEd25519(line string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	if err != nil || len(key) != publicBytes {
		return nil, fmt.Errorf("ed25519 key %.60q is not %d bytes in base64", line, publicBytes)
	}
	return key, nil
}
