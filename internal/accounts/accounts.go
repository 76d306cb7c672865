// SPDX-License-Identifier: Apache-2.0

// Package accounts reads, writes and merges the texts of passwd, group, shadow and gshadow, and applies sysusers.d lines to them.
//
// It opens no file and asks no name service: the caller brings texts and takes texts. It sets no password but the
// locked one of sysusers.d.
//
// Invariants: an entry's line is written back as it was read, byte for byte, unless this package changed the entry; lines that it does not
// understand (comments, NIS's "+") are kept in their place; no function here gives two names one id that had two before.
package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxFileBytes bounds each of the four texts: 8 MiB hold more than 100,000 accounts, far above what a local file serves.
const maxFileBytes = 8 << 20

// Files are the four texts as they lie below /etc. A nil one stands for a file that is absent.
type Files struct{ Passwd, Group, Shadow, Gshadow []byte }

// DB is the four files as entries, in the order of their lines.
//
//	shape   an entry without Name is a line that is no account; it has Raw only
type DB struct {
	Users   []User
	Groups  []Group
	Shadow  []Shadow
	Gshadow []GroupShadow
}

// User is a line of passwd.
//
//	shape   Raw is the line as read, "" for one that was made here; whoever changes a field clears it
//	source  passwd(5)
type User struct {
	Name, Password     string
	UID, GID           uint32
	GECOS, Home, Shell string
	Raw                string
}

// Group is a line of group.
//
//	source  group(5)
type Group struct {
	Name, Password string
	GID            uint32
	Members        []string
	Raw            string
}

// Shadow is a line of shadow.
//
//	shape   Age: days of last change, minimum, maximum, warning, inactive, expiry, and the reserved field, as text
//	source  shadow(5)
type Shadow struct {
	Name, Password string
	Age            [7]string
	Raw            string
}

// GroupShadow is a line of gshadow.
//
//	source  gshadow(5)
type GroupShadow struct {
	Name, Password  string
	Admins, Members []string
	Raw             string
}

// Parse reads the four texts. Lines that are no entries are kept as they are.
//
//	errors  text only: a file above 8 MiB, a NUL byte
func Parse(f Files) (DB, error) {
	var db DB
	err := errors.Join(
		eachLine("passwd", f.Passwd, func(l string) { db.Users = append(db.Users, parseUser(l)) }),
		eachLine("group", f.Group, func(l string) { db.Groups = append(db.Groups, parseGroup(l)) }),
		eachLine("shadow", f.Shadow, func(l string) { db.Shadow = append(db.Shadow, parseShadow(l)) }),
		eachLine("gshadow", f.Gshadow, func(l string) { db.Gshadow = append(db.Gshadow, parseGroupShadow(l)) }),
	)
	if err != nil {
		return DB{}, err
	}
	return db, nil
}

func eachLine(name string, text []byte, f func(string)) error {
	if len(text) > maxFileBytes {
		return fmt.Errorf("%s: %d bytes, limit %d", name, len(text), maxFileBytes)
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("%s: NUL byte at %d", name, i)
	}
	for line := range strings.Lines(string(text)) {
		f(strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// Format gives the four texts; each line ends with a newline. A file without entries is nil.
func (db DB) Format() Files {
	return Files{
		Passwd:  join(db.Users, User.String),
		Group:   join(db.Groups, Group.String),
		Shadow:  join(db.Shadow, Shadow.String),
		Gshadow: join(db.Gshadow, GroupShadow.String),
	}
}

func join[E any](entries []E, line func(E) string) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(line(e))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Clone gives a copy that shares nothing that can be changed.
func (db DB) Clone() DB {
	c := DB{slices.Clone(db.Users), slices.Clone(db.Groups), slices.Clone(db.Shadow), slices.Clone(db.Gshadow)}
	for i := range c.Groups {
		c.Groups[i].Members = slices.Clone(c.Groups[i].Members)
	}
	for i := range c.Gshadow {
		c.Gshadow[i].Admins = slices.Clone(c.Gshadow[i].Admins)
		c.Gshadow[i].Members = slices.Clone(c.Gshadow[i].Members)
	}
	return c
}

// User finds a user by name: the first of that name.
func (db DB) User(name string) (User, bool) {
	i := find(db.Users, name, func(u User) string { return u.Name })
	if i < 0 {
		return User{}, false
	}
	return db.Users[i], true
}

// Group finds a group by name: the first of that name.
func (db DB) Group(name string) (Group, bool) {
	i := find(db.Groups, name, func(g Group) string { return g.Name })
	if i < 0 {
		return Group{}, false
	}
	return db.Groups[i], true
}

// UID gives the id of the user of that name; "root" is 0 also where no file says so.
func (db DB) UID(name string) (uint32, bool) {
	u, ok := db.User(name)
	return u.UID, ok || name == "root"
}

// GID gives the id of the group of that name; "root" is 0 also where no file says so.
func (db DB) GID(name string) (uint32, bool) {
	g, ok := db.Group(name)
	return g.GID, ok || name == "root"
}

func find[E any](entries []E, name string, of func(E) string) int {
	if name == "" {
		return -1
	}
	return slices.IndexFunc(entries, func(e E) bool { return of(e) == name })
}

func nameOfUser(u User) string               { return u.Name }
func nameOfGroup(g Group) string             { return g.Name }
func nameOfShadow(s Shadow) string           { return s.Name }
func nameOfGroupShadow(s GroupShadow) string { return s.Name }

// AddLines adds the entries of passwd and group lines whose names are not there yet, with their ids, and locked
// shadow entries for them where the database has shadow files. Groups come first in the order of the checks.
//
//	errors  text only: a line that is no entry, an id that another name has
func (db *DB) AddLines(users, groups []string) error {
	var errs []error
	for _, l := range groups {
		g := parseGroup(l)
		if g.Name == "" {
			errs = append(errs, fmt.Errorf("group line %q: want name:password:id:members", l))
			continue
		}
		if _, ok := db.Group(g.Name); ok {
			continue
		}
		if held := db.groupOfID(g.GID); held != "" {
			errs = append(errs, fmt.Errorf("group %q: id %d belongs to %q", g.Name, g.GID, held))
			continue
		}
		db.addGroup(g)
	}
	for _, l := range users {
		u := parseUser(l)
		if u.Name == "" {
			errs = append(errs, fmt.Errorf("passwd line %q: want name:password:uid:gid:gecos:home:shell", l))
			continue
		}
		if _, ok := db.User(u.Name); ok {
			continue
		}
		if held := db.userOfID(u.UID); held != "" {
			errs = append(errs, fmt.Errorf("user %q: id %d belongs to %q", u.Name, u.UID, held))
			continue
		}
		db.addUser(u, "", "")
	}
	return errors.Join(errs...)
}

// Added gives the lines of passwd and group whose names db has and before has not, sorted by name.
func (db DB) Added(before DB) (users, groups []string) {
	return added(db.Users, before.Users, nameOfUser, User.String), added(db.Groups, before.Groups, nameOfGroup, Group.String)
}

func added[E any](now, before []E, name, line func(E) string) []string {
	have := make(map[string]bool, len(before))
	for _, e := range before {
		have[name(e)] = true
	}
	var lines []string
	for _, e := range now {
		if n := name(e); n != "" && !have[n] {
			lines = append(lines, line(e))
		}
	}
	slices.Sort(lines)
	return lines
}

func (db DB) userOfID(id uint32) string {
	for _, u := range db.Users {
		if u.Name != "" && u.UID == id {
			return u.Name
		}
	}
	return ""
}

func (db DB) groupOfID(id uint32) string {
	for _, g := range db.Groups {
		if g.Name != "" && g.GID == id {
			return g.Name
		}
	}
	return ""
}

// locked is the password of an account that nobody can log in to: locked, and no hash of anything.
const locked = "!*"

// addUser adds a user before NIS's "+" lines, and a locked shadow entry if there is none.
func (db *DB) addUser(u User, lastChange, expire string) {
	db.Users = insert(db.Users, u, func(u User) bool { return strings.HasPrefix(u.Raw, "+") && u.Name == "" })
	if find(db.Shadow, u.Name, nameOfShadow) < 0 {
		s := Shadow{Name: u.Name, Password: locked}
		s.Age[0], s.Age[5] = lastChange, expire
		db.Shadow = insert(db.Shadow, s, func(s Shadow) bool { return strings.HasPrefix(s.Raw, "+") && s.Name == "" })
	}
}

func (db *DB) addGroup(g Group) {
	db.Groups = insert(db.Groups, g, func(g Group) bool { return strings.HasPrefix(g.Raw, "+") && g.Name == "" })
	if find(db.Gshadow, g.Name, nameOfGroupShadow) < 0 {
		s := GroupShadow{Name: g.Name, Password: locked, Members: slices.Clone(g.Members)}
		db.Gshadow = insert(db.Gshadow, s, func(s GroupShadow) bool { return strings.HasPrefix(s.Raw, "+") && s.Name == "" })
	}
}

func insert[E any](entries []E, e E, nis func(E) bool) []E {
	if i := slices.IndexFunc(entries, nis); i >= 0 {
		return slices.Insert(entries, i, e)
	}
	return append(entries, e)
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && s == strconv.FormatUint(n, 10)
}
