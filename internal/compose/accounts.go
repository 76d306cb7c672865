// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"grove/internal/accounts"
	"grove/internal/ostree"
	"grove/internal/rpm"
)

// accountFiles are the files of an accounts.DB, in its order of fields.
var accountFiles = []struct {
	path string
	mode uint32
}{
	{"usr/etc/passwd", 0o644}, {"usr/etc/group", 0o644}, {"usr/etc/shadow", 0o000}, {"usr/etc/gshadow", 0o000},
}

// readAccounts reads the four files of the tree; absent ones are empty.
func (b *build) readAccounts() (accounts.DB, error) {
	var text [4][]byte
	for i, f := range accountFiles {
		data, _, err := b.readTreeFile(b.tree, f.path)
		if err != nil {
			return accounts.DB{}, err
		}
		text[i] = data
	}
	return accounts.Parse(accounts.Files{Passwd: text[0], Group: text[1], Shadow: text[2], Gshadow: text[3]})
}

// accountsBefore gives the tree the accounts that must be there before any scriptlet runs: those that
// earlier runs made, with the ids that they had, and those of the packages' sysusers.d.
func accountsBefore(_ context.Context, b *build) error {
	db, err := b.readAccounts()
	if err != nil {
		return err
	}
	before := db.Format()
	b.accounts = db.Clone()
	alt, err := b.altAccounts()
	if err != nil {
		return err
	}
	users, groups := b.stageIDs()
	if b.o.Lock == nil {
		users, groups = b.freeLines(db.With(alt), users, groups)
	}
	if err := db.AddLines(users, groups); err != nil {
		return fmt.Errorf("accounts of the lock: %w", err)
	}
	lines, err := b.sysusersLines()
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		if db, err = b.sysusers(lines, db, alt); err != nil {
			return fmt.Errorf("sysusers.d: %w", err)
		}
	}
	return b.writeAccounts(before, db.Format())
}

// writeAccounts puts back those of the four files that changed.
func (b *build) writeAccounts(before, after accounts.Files) error {
	old := [][]byte{before.Passwd, before.Group, before.Shadow, before.Gshadow}
	edit := b.tree.Edit()
	for i, text := range [][]byte{after.Passwd, after.Group, after.Shadow, after.Gshadow} {
		if bytes.Equal(old[i], text) {
			continue
		}
		f := accountFiles[i]
		_, h, err := b.readTreeFile(b.tree, f.path)
		if err != nil {
			return err
		}
		if h.Mode == 0 {
			h = ostree.FileHeader{Mode: 0o100000 | f.mode}
		}
		c, err := b.tx.PutFile(h, int64(len(text)), bytes.NewReader(text))
		if err != nil {
			return err
		}
		if err := edit.PutFile(f.path, c); err != nil {
			return err
		}
	}
	b.tree = edit.Tree()
	return nil
}

// sysusersLines are the lines of the sysusers.d files of packages that were built for an rpm that applies them before %pre (4.19 and
// later: they provide user(NAME) or group(NAME)), in the order in which systemd reads the files: by name, whatever the folder; a
// file of /etc hides one of the same name below /usr. Those of other packages come after their %pre, which may make an account in
// its own way.
func (b *build) sysusersLines() ([]string, error) {
	byName := map[string]string{}
	for _, p := range b.packages {
		if early, err := sysusersFirst(p.Header); err != nil {
			return nil, err
		} else if !early {
			continue
		}
		for _, f := range sysusersFiles(p) {
			dir, name := path.Split(f)
			if dir == "usr/etc/sysusers.d/" || byName[name] == "" {
				byName[name] = f
			}
		}
	}
	return b.linesOf(byName)
}

// ownSysusers are the lines of a package's own files, where they come after its %pre.
func (b *build) ownSysusers(p imported) ([]string, error) {
	if early, err := sysusersFirst(p.Header); err != nil || early {
		return nil, err
	}
	byName := map[string]string{}
	for _, f := range sysusersFiles(p) {
		dir, name := path.Split(f)
		if dir == "usr/etc/sysusers.d/" || byName[name] == "" {
			byName[name] = f
		}
	}
	return b.linesOf(byName)
}

func sysusersFiles(p imported) []string {
	var out []string
	for _, f := range p.Paths {
		dir, name := path.Split(f)
		if strings.HasSuffix(name, ".conf") && (dir == "usr/lib/sysusers.d/" || dir == "usr/etc/sysusers.d/") {
			out = append(out, f)
		}
	}
	return out
}

// sysusersFirst is true for a package whose accounts rpm itself makes. Source: rpm, lib/psm.c (runSysusers).
func sysusersFirst(h *rpm.Header) (bool, error) {
	provides, err := h.Deps(rpm.Provides)
	return slices.ContainsFunc(provides, func(d rpm.Dep) bool {
		return strings.HasPrefix(d.Name, "user(") || strings.HasPrefix(d.Name, "group(")
	}), err
}

// linesOf reads files of the tree, by name.
func (b *build) linesOf(byName map[string]string) ([]string, error) {
	var lines []string
	for _, name := range sortedKeys(byName) {
		data, _, err := b.readTreeFile(b.tree, byName[name])
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(string(data), "\n")...)
	}
	return lines, nil
}

// accountsAfter brings the account files into the form that they have whenever this plan is made: what was
// there, then the accounts that packages made, those of the lock first. It records them for the next run.
// Without it the order in which scriptlets call useradd, and the words that it leaves in shadow, would tell
// a first run from one that follows a lock.
func accountsAfter(_ context.Context, b *build) error {
	db, err := b.readAccounts()
	if err != nil {
		return err
	}
	users, groups := db.Added(b.accounts)
	known, knownGroups := b.stageIDs()
	users, groups = lockOrder(users, known), lockOrder(groups, knownGroups)
	b.users, b.groups = append(b.users, users...), append(b.groups, groups...)
	before := db.Format()
	clean := withoutAccounts(db, names(users), names(groups))
	if err := clean.AddLines(users, groups); err != nil {
		return fmt.Errorf("accounts that packages made: %w", err)
	}
	return b.writeAccounts(before, clean.Format())
}

// lockOrder puts the lines of known names first, in their order.
func lockOrder(lines, known []string) []string {
	byName := map[string]string{}
	for _, l := range lines {
		byName[accountName(l)] = l
	}
	out := make([]string, 0, len(lines))
	for _, k := range known {
		if l, ok := byName[accountName(k)]; ok {
			out = append(out, l)
			delete(byName, accountName(k))
		}
	}
	for _, n := range sortedKeys(byName) {
		out = append(out, byName[n])
	}
	return out
}

func accountName(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}

func names(lines []string) map[string]bool {
	out := map[string]bool{}
	for _, l := range lines {
		out[accountName(l)] = true
	}
	return out
}

// withoutAccounts drops entries by name. A shadow entry with a real password stays: a scriptlet set it.
func withoutAccounts(db accounts.DB, users, groups map[string]bool) accounts.DB {
	var out accounts.DB
	for _, u := range db.Users {
		if u.Name == "" || !users[u.Name] {
			out.Users = append(out.Users, u)
		}
	}
	for _, g := range db.Groups {
		if g.Name == "" || !groups[g.Name] {
			out.Groups = append(out.Groups, g)
		}
	}
	for _, s := range db.Shadow {
		if s.Name == "" || !users[s.Name] || strings.HasPrefix(s.Password, "$") {
			out.Shadow = append(out.Shadow, s)
		}
	}
	for _, s := range db.Gshadow {
		if s.Name == "" || !groups[s.Name] {
			out.Gshadow = append(out.Gshadow, s)
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
