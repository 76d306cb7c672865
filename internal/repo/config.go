// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/durable"
	"grove/internal/keyfile"
	"grove/internal/ostree"
)

// DefaultRemotesDir is where an OSTree host keeps remotes beside the configuration of its own repository, HostRepo.
const (
	DefaultRemotesDir = "/etc/ostree/remotes.d"
	HostRepo          = "/ostree/repo"
)

// Config is the repository's configuration file, and the remotes of the host beside it.
//
// Keys that grove does not know, comments and order are kept when it is saved.
//
//	source  ostree man/ostree.repo-config.xml
type Config struct {
	path       string
	remotesDir string
	k          *keyfile.File
}

// Remote is where commits can be pulled from.
type Remote struct {
	Name string
	// URL of the repository; ContentURL, if not empty, is where its objects are instead.
	URL, ContentURL string
	Branches        []string
	// GPGVerify is true unless the configuration says otherwise; GPGVerifySummary is false unless it does.
	GPGVerify, GPGVerifySummary bool
	GPGKeyPaths                 []string
	// SignVerify lists the types of signatures to be verified besides GPG (such as ed25519); nil for none.
	SignVerify        []string
	SignVerifySummary bool
	CollectionID      string
	UnconfiguredState string
	// Options holds every key of the remote as it stands, those above included.
	Options map[string]string
	// File is where the remote is defined.
	File string
}

func loadConfig(path string) (*Config, error) {
	k, err := readKeyfile(path)
	if err != nil {
		return nil, err
	}
	c := &Config{path: path, k: k}
	if isHostRepo(filepath.Dir(path)) {
		c.remotesDir = DefaultRemotesDir
	}
	return c, nil
}

// isHostRepo tells whether dir is HostRepo, by whatever name.
func isHostRepo(dir string) bool {
	a, err := os.Stat(HostRepo)
	if err != nil {
		return false
	}
	b, err := os.Stat(dir)
	return err == nil && os.SameFile(a, b)
}

// readKeyfile reads and parses the file path.
func readKeyfile(path string) (*keyfile.File, error) {
	data, err := durable.ReadFile(path, keyfile.MaxSizeBytes)
	if err != nil {
		return nil, err
	}
	k, err := keyfile.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return k, nil
}

func saveKeyfile(k *keyfile.File, path string) error {
	return durable.WriteFile(path, k.Bytes(), 0o644)
}

// SetRemotesDir makes dir the folder of *.conf files with further remotes; "" for none, which is the default except for
// HostRepo.
//
//	source  ostree src/libostree/ostree-repo.c, get_remotes_d_dir
func (c *Config) SetRemotesDir(dir string) { c.remotesDir = dir }

// Get returns the value of a key, GKeyFile's escapes decoded, and whether it is there.
func (c *Config) Get(group, key string) (string, bool) {
	v, ok := c.k.Get(group, key)
	return keyfile.Unescape(v), ok
}

// Set sets a key in memory; Save writes it.
func (c *Config) Set(group, key, value string) error {
	if strings.ContainsAny(group, "[]\n\r") || group == "" {
		return fmt.Errorf("set config: %q is no group", group)
	}
	if strings.ContainsAny(key, "=\n\r[]# ") || key == "" {
		return fmt.Errorf("set config %s: %q is no key", group, key)
	}
	c.k.Set(group, key, keyfile.Escape(value))
	return nil
}

// Change sets a key and saves, unless the repository could not be opened any more with that value.
func (c *Config) Change(group, key, value string) error {
	old, had := c.Get(group, key)
	if err := c.Set(group, key, value); err != nil {
		return err
	}
	_, err := c.settings()
	if err == nil {
		_, _, err = c.minFree()
	}
	if mode, ok := c.Get("core", "mode"); err == nil && ok {
		_, err = ParseMode(mode)
	}
	if err == nil {
		return c.Save()
	}
	if had {
		return errors.Join(err, c.Set(group, key, old))
	}
	c.Unset(group, key)
	return err
}

// Unset removes a key in memory; Save writes it.
func (c *Config) Unset(group, key string) { c.k.Unset(group, key) }

// Groups lists the groups of the file in order.
func (c *Config) Groups() []string { return c.k.Groups() }

// Keys lists the keys of a group in order.
func (c *Config) Keys(group string) []string { return c.k.Keys(group) }

// Save writes the configuration back, durably.
func (c *Config) Save() error { return saveKeyfile(c.k, c.path) }

// boolean reads a GKeyFile boolean.
func (c *Config) boolean(group, key string, otherwise bool) bool {
	v, _ := c.k.Get(group, key)
	return parseBool(v, otherwise)
}

func parseBool(v string, otherwise bool) bool {
	switch v {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	return otherwise
}

// Remotes lists all remotes by name: the configuration's own, and those of the remotes folder that it does not have.
func (c *Config) Remotes() ([]Remote, error) {
	byName := map[string]Remote{}
	collectRemotes(c.k, c.path, byName)
	for _, file := range c.remoteFiles() {
		k, err := readKeyfile(file)
		if err != nil {
			return nil, err
		}
		collectRemotes(k, file, byName)
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	list := make([]Remote, len(names))
	for i, name := range names {
		list[i] = byName[name]
	}
	return list, nil
}

// Remote returns the remote of that name.
//
//	errors  ErrNotFound
func (c *Config) Remote(name string) (Remote, error) {
	all, err := c.Remotes()
	if err != nil {
		return Remote{}, err
	}
	for _, r := range all {
		if r.Name == name {
			return r, nil
		}
	}
	return Remote{}, fmt.Errorf("remote %q: %w", name, ErrNotFound)
}

func (c *Config) remoteFiles() []string {
	if c.remotesDir == "" {
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(c.remotesDir, "*.conf")) // the pattern is sound; no folder is no file
	return files
}

func collectRemotes(k *keyfile.File, file string, byName map[string]Remote) {
	for _, g := range k.Groups() {
		name, ok := remoteGroup(g)
		if _, dup := byName[name]; !ok || dup || ostree.CheckRemoteName(name) != nil {
			continue
		}
		r := Remote{Name: name, File: file, Options: map[string]string{}}
		for _, key := range k.Keys(g) {
			v, _ := k.Get(g, key)
			r.Options[key] = keyfile.Unescape(v)
		}
		o := r.Options
		r.URL, r.ContentURL = o["url"], o["contenturl"]
		r.Branches, r.GPGKeyPaths = list(o["branches"]), list(o["gpgkeypath"])
		r.GPGVerify, r.GPGVerifySummary = parseBool(o["gpg-verify"], true), parseBool(o["gpg-verify-summary"], false)
		if v := o["sign-verify"]; parseBool(v, false) {
			r.SignVerify = []string{"ed25519"}
		} else if parseBool(v, true) && v != "" {
			r.SignVerify = list(v)
		}
		r.SignVerifySummary = parseBool(o["sign-verify-summary"], false)
		r.CollectionID, r.UnconfiguredState = o["collection-id"], o["unconfigured-state"]
		byName[name] = r
	}
}

// remoteGroup returns NAME of a group called remote "NAME".
func remoteGroup(group string) (string, bool) {
	s, ok := strings.CutPrefix(group, `remote "`)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, `"`)
}

// list splits a GKeyFile list at ; and ,.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' })
}

// AddRemote adds a remote to the configuration and saves it. What URL, ContentURL, Branches, GPGVerify and
// GPGVerifySummary say is written, then Options.
//
//	errors  fs.ErrExist if there is one of that name
func (c *Config) AddRemote(r Remote) error {
	if err := ostree.CheckRemoteName(r.Name); err != nil {
		return fmt.Errorf("add remote: %w", err)
	}
	if _, err := c.Remote(r.Name); err == nil {
		return fmt.Errorf("add remote %q: %w", r.Name, fs.ErrExist)
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	g := `remote "` + r.Name + `"`
	set := map[string]string{"gpg-verify": fmt.Sprint(r.GPGVerify)}
	if metalink, ok := strings.CutPrefix(r.URL, "metalink="); ok {
		set["metalink"] = metalink
	} else if r.URL != "" {
		set["url"] = r.URL
	}
	if r.CollectionID != "" {
		set["collection-id"] = r.CollectionID
	}
	if r.ContentURL != "" {
		set["contenturl"] = r.ContentURL
	}
	if r.GPGVerifySummary {
		set["gpg-verify-summary"] = "true"
	}
	if len(r.Branches) > 0 {
		set["branches"] = strings.Join(r.Branches, ";") + ";"
	}
	if len(r.GPGKeyPaths) > 0 {
		set["gpgkeypath"] = strings.Join(r.GPGKeyPaths, ";")
	}
	for k, v := range r.Options {
		set[k] = v
	}
	address := func(k string) int {
		if k == "url" || k == "metalink" {
			return 0 // first, for people
		}
		return 1
	}
	for _, k := range slices.SortedFunc(maps.Keys(set), func(a, b string) int {
		return cmp.Or(address(a)-address(b), strings.Compare(a, b))
	}) {
		if err := c.Set(g, k, set[k]); err != nil {
			return err
		}
	}
	return c.Save()
}

// DeleteRemote removes a remote from the file that defines it, with its keyring.
//
//	errors  ErrNotFound
func (c *Config) DeleteRemote(name string) error {
	r, err := c.Remote(name)
	if err != nil {
		return err
	}
	if r.File == c.path {
		c.k.RemoveGroup(`remote "` + name + `"`)
		err = c.Save()
	} else {
		err = deleteRemoteIn(r.File, name)
	}
	if err != nil {
		return fmt.Errorf("delete remote %q: %w", name, err)
	}
	if err := os.Remove(c.KeyringPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// deleteRemoteIn removes the remote from a file of the remotes folder, and the file when nothing else is in it.
func deleteRemoteIn(file, name string) error {
	k, err := readKeyfile(file)
	if err != nil {
		return err
	}
	k.RemoveGroup(`remote "` + name + `"`)
	if len(k.Groups()) == 0 {
		return os.Remove(file)
	}
	return saveKeyfile(k, file)
}

// KeyringPath is where the OpenPGP keys lie that a remote's commits are verified with.
func (c *Config) KeyringPath(remote string) string {
	return filepath.Join(filepath.Dir(c.path), remote+".trustedkeys.gpg")
}
