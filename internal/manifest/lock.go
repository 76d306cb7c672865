// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// LockVersion is the version that Encode writes and the newest that ParseLock reads.
const LockVersion = 1

// Limits of a lock. Fedora has 80,000 packages in all; a line of passwd is bounded by the C library's buffers.
const (
	maxLock         = 64 << 20
	maxLockPackages = 100000
	maxLockLines    = 100000
	maxLockStages   = 1000
	maxLockString   = 4096
)

// Lock is what was made of a manifest: enough to make it again, bit for bit.
type Lock struct {
	Version   int             `json:"version"`
	Arch      string          `json:"arch,omitempty"`
	Base      LockedBase      `json:"base,omitzero"`
	Packages  []LockedPackage `json:"packages"`          // in the order of the transaction
	Removed   []string        `json:"removed,omitempty"` // NEVRAs of the base's packages that go away
	Stages    []LockedStage   `json:"stages,omitempty"`  // in which changes the packages came; none = all in one
	Modules   []LockedModule  `json:"modules,omitempty"` // what the tree records of modules, by name
	Users     []string        `json:"users,omitempty"`   // lines of passwd that the layers made; kept for life
	Groups    []string        `json:"groups,omitempty"`  // lines of group, likewise
	Inputs    string          `json:"inputs"`            // hash of everything that went in
	Timestamp int64           `json:"timestamp"`         // seconds since 1970: the time of everything written

	CommitVersion string `json:"commit_version,omitempty"` // the commit's version, as people read it
	Parent        string `json:"parent,omitempty"`         // the commit's parent, 64 hex digits
}

// LockedBase is the commit below the layers; the zero value = none.
type LockedBase struct {
	Ref     string `json:"ref"`
	Commit  string `json:"commit"` // 64 hex digits
	Version string `json:"version,omitempty"`
}

// LockedStage says where one stage of the layers ends: how many of each of the lock's lists are there by then. A stage's packages
// are put on the tree of the stage before.
type LockedStage struct {
	Packages int `json:"packages"`
	Removed  int `json:"removed,omitempty"`
	Users    int `json:"users,omitempty"`
	Groups   int `json:"groups,omitempty"`
}

// LockedModule is the state of a module of the sources: the stream that packages come from, or none, as it is disabled.
type LockedModule struct {
	Name     string   `json:"name"`
	Stream   string   `json:"stream,omitempty"`
	Profiles []string `json:"profiles,omitempty"` // those that were installed
	Disabled bool     `json:"disabled,omitempty"`
}

// LockedPackage is one package, found again by its digest.
type LockedPackage struct {
	NEVRA     string `json:"nevra"`
	Source    string `json:"source"`             // id of the source; "@commandline" = a local file
	Location  string `json:"location,omitempty"` // below the source's base URL
	Digest    string `json:"digest"`             // "sha256:HEX"; also sha512, sha384, and sha1 of old sources
	SizeBytes int64  `json:"size,omitempty"`
	Requested bool   `json:"requested,omitempty"`
	Reason    string `json:"reason,omitempty"`     // why it is there: requested, dependency, weak, replaces
	BuildTime int64  `json:"build_time,omitempty"` // seconds since 1970

	Replaces []string `json:"replaces,omitempty"` // names of packages that it took the place of in an upgrade, together with others
}

// Encode gives the lock as JSON; equal locks give equal bytes.
func (l Lock) Encode() []byte {
	if l.Version == 0 {
		l.Version = LockVersion
	}
	if l.Packages == nil {
		l.Packages = []LockedPackage{}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(l); err != nil {
		panic(fmt.Sprintf("manifest: encode lock: %v", err)) // plain strings and numbers
	}
	return out.Bytes()
}

// ParseLock reads what Encode wrote. Unknown fields, other versions and values out of bounds are refused.
func ParseLock(data []byte) (Lock, error) {
	var l Lock
	if len(data) > maxLock {
		return l, fmt.Errorf("lock of %d bytes, at most %d are allowed", len(data), maxLock)
	}
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return l, fmt.Errorf("parse lock: %w", err)
	}
	if head.Version == nil {
		return l, errors.New("parse lock: no version: not a lock of grove")
	}
	if *head.Version != LockVersion {
		return l, fmt.Errorf("parse lock: got version %d, wanted %d", *head.Version, LockVersion)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Lock{}, fmt.Errorf("parse lock: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Lock{}, errors.New("parse lock: something follows the value")
	}
	if err := l.check(); err != nil {
		return Lock{}, fmt.Errorf("parse lock: %w", err)
	}
	return l, nil
}

// checkStages demands that stages follow each other and end with the lists.
func (l Lock) checkStages() error {
	if len(l.Stages) > maxLockStages {
		return fmt.Errorf("more than %d stages", maxLockStages)
	}
	var before LockedStage
	for i, s := range l.Stages {
		if s.Packages < before.Packages || s.Removed < before.Removed || s.Users < before.Users || s.Groups < before.Groups ||
			s.Packages+s.Removed == before.Packages+before.Removed {
			return fmt.Errorf("stage %d: ends before the one in front of it, or adds nothing", i+1)
		}
		before = s
	}
	if len(l.Stages) > 0 && before != (LockedStage{len(l.Packages), len(l.Removed), len(l.Users), len(l.Groups)}) {
		return fmt.Errorf("stages: the last ends at package %d of %d, removal %d of %d, user %d of %d, group %d of %d",
			before.Packages, len(l.Packages), before.Removed, len(l.Removed), before.Users, len(l.Users), before.Groups, len(l.Groups))
	}
	return nil
}

func (l Lock) check() error {
	if err := l.checkStages(); err != nil {
		return err
	}
	if len(l.Packages) > maxLockPackages || len(l.Removed) > maxLockPackages {
		return fmt.Errorf("more than %d packages", maxLockPackages)
	}
	if len(l.Users) > maxLockLines || len(l.Groups) > maxLockLines {
		return fmt.Errorf("more than %d accounts", maxLockLines)
	}
	if (l.Base != LockedBase{}) && (l.Base.Ref == "" || !isSHA256(l.Base.Commit)) {
		return fmt.Errorf("base: got ref %q and commit %q, wanted a ref and 64 hex digits", l.Base.Ref, l.Base.Commit)
	}
	for i, p := range l.Packages {
		if err := p.check(); err != nil {
			return fmt.Errorf("package %d: %w", i, err)
		}
	}
	for _, n := range l.Removed {
		if !isNEVRA(n) {
			return fmt.Errorf("removed: got %q, wanted name-version-release.arch", n)
		}
	}
	if l.Parent != "" && !isSHA256(l.Parent) {
		return fmt.Errorf("parent: got %q, wanted 64 hex digits", l.Parent)
	}
	text := append([]string{l.Arch, l.Base.Ref, l.Base.Version, l.Inputs, l.CommitVersion}, l.Users...)
	for _, s := range append(text, l.Groups...) {
		if err := checkLine(s); err != nil {
			return err
		}
	}
	if len(l.Modules) > maxLockPackages {
		return fmt.Errorf("more than %d modules", maxLockPackages)
	}
	if l.Timestamp < 0 {
		return fmt.Errorf("timestamp: got %d, wanted seconds since 1970", l.Timestamp)
	}
	return nil
}

func (p LockedPackage) check() error {
	switch {
	case !isNEVRA(p.NEVRA):
		return fmt.Errorf("got nevra %q, wanted name-version-release.arch", p.NEVRA)
	case !isDigest(p.Digest):
		return fmt.Errorf("%s: got digest %q, wanted sha256:HEX", p.NEVRA, p.Digest)
	case p.SizeBytes < 0 || p.BuildTime < 0:
		return fmt.Errorf("%s: got size %d and build time %d", p.NEVRA, p.SizeBytes, p.BuildTime)
	}
	if slices.Contains(p.Replaces, "") {
		return fmt.Errorf("%s: replaces a package without a name", p.NEVRA)
	}
	return errors.Join(checkLine(p.Source), checkLine(p.Location), checkLine(p.Reason), checkLine(strings.Join(p.Replaces, " ")))
}

// digestBytes are the algorithms that sources have used for packages.
var digestBytes = map[string]int{"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

func isDigest(s string) bool {
	algo, text, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(text)
	return err == nil && len(b) > 0 && len(b) == digestBytes[algo] && strings.ToLower(text) == text
}

// checkLine refuses what would break a file of lines.
func checkLine(s string) error {
	if len(s) > maxLockString || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
		return fmt.Errorf("got %.40q, wanted one line of at most %d bytes", s, maxLockString)
	}
	return nil
}
