// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"slices"

	"grove/internal/accounts"
)

// Bases made by rpm-ostree keep their accounts in /usr/lib, where nss-altfiles finds them, and only root's in /etc.
// Those names exist and their ids are taken, but the files are not written to.

// altAccounts are the accounts of /usr/lib/passwd and group, none in most bases.
func (b *build) altAccounts() (accounts.DB, error) {
	passwd, _, err := b.readTreeFile(b.tree, "usr/lib/passwd")
	if err != nil {
		return accounts.DB{}, err
	}
	group, _, err := b.readTreeFile(b.tree, "usr/lib/group")
	if err != nil {
		return accounts.DB{}, err
	}
	return accounts.Parse(accounts.Files{Passwd: passwd, Group: group})
}

// sysusers applies lines of sysusers.d to db; names and ids of alt count as there.
func (b *build) sysusers(lines []string, db, alt accounts.DB) (accounts.DB, error) {
	out, err := accounts.SysusersOver(lines, db, alt)
	var refused *accounts.Refused
	if errors.As(err, &refused) {
		// systemd-sysusers, too, applies the other lines.
		for _, p := range refused.Problems {
			b.warn("sysusers.d: %v", p)
		}
	} else if err != nil {
		return db, err
	}
	return out, nil
}

// freeLines leaves out lines of earlier runs whose ids the base gives to others by now: without it, no upgrade would
// ever go through again. The accounts are made anew, with other ids.
func (b *build) freeLines(db accounts.DB, users, groups []string) (freeUsers, freeGroups []string) {
	lost := map[string]bool{} // ids of groups
	for _, l := range groups {
		g, ok := oneGroup(l)
		if holder := groupOf(db, g.GID); ok && holder != "" && holder != g.Name {
			b.warn("group %s had the id %d, which the base gives to %s: it gets another one; its files in /etc and /var keep the old number", g.Name, g.GID, holder)
			lost[l] = true
			continue
		}
		freeGroups = append(freeGroups, l)
	}
	for _, l := range users {
		u, ok := oneUser(l)
		holder := userOf(db, u.UID)
		if ok && holder != "" && holder != u.Name {
			b.warn("user %s had the id %d, which the base gives to %s: it gets another one; its files in /etc and /var keep the old number", u.Name, u.UID, holder)
			continue
		}
		if ok && slices.ContainsFunc(groups, func(gl string) bool { g, ok := oneGroup(gl); return ok && lost[gl] && g.GID == u.GID }) {
			continue // its group is made anew, so it is too
		}
		freeUsers = append(freeUsers, l)
	}
	return freeUsers, freeGroups
}

func oneUser(line string) (accounts.User, bool) {
	db, err := accounts.Parse(accounts.Files{Passwd: []byte(line)})
	if err != nil || len(db.Users) != 1 || db.Users[0].Name == "" {
		return accounts.User{}, false // AddLines says why
	}
	return db.Users[0], true
}

func oneGroup(line string) (accounts.Group, bool) {
	db, err := accounts.Parse(accounts.Files{Group: []byte(line)})
	if err != nil || len(db.Groups) != 1 || db.Groups[0].Name == "" {
		return accounts.Group{}, false
	}
	return db.Groups[0], true
}

func userOf(db accounts.DB, id uint32) string {
	for _, u := range db.Users {
		if u.Name != "" && u.UID == id {
			return u.Name
		}
	}
	return ""
}

func groupOf(db accounts.DB, id uint32) string {
	for _, g := range db.Groups {
		if g.Name != "" && g.GID == id {
			return g.Name
		}
	}
	return ""
}
