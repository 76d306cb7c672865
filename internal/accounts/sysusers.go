// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// systemMax is the highest id of a system account where no "r" line says otherwise.
const systemMax = 999

// maxIDRanges bounds the "r" lines; a distribution has one or two.
const maxIDRanges = 256

// SysusersOptions: the zero value gives texts that depend on lines and db alone.
type SysusersOptions struct {
	// LastChangeDay stands in shadow as the day of the last change, in days since 1970; 0 leaves the field empty
	// (which shadow(5) reads as: ageing is off).
	LastChangeDay int64
	// Owner gives the owner of a path that stands in the place of an id; nil or false: as if there were no such file.
	Owner func(path string) (uid, gid uint32, ok bool)
}

// Refused is the error of lines that could not be applied, as systemd-sysusers reports them and goes on.
// The DB that comes with it has all the others applied.
type Refused struct{ Problems []error }

func (r *Refused) Error() string   { return errors.Join(r.Problems...).Error() }
func (r *Refused) Unwrap() []error { return r.Problems }

// Sysusers applies the lines of sysusers.d files, concatenated in their order, to a copy of db.
//
//	shape   lines: "u", "u!", "g", "m" and "r" lines, comments and empty ones; specifier "%%" only (others depend on the machine)
//	errors  *Refused for lines that are wrong or cannot be followed; the DB is good nevertheless
//	source  sysusers.d(5); the same ids and entries as systemd-sysusers 252 --root makes
func Sysusers(lines []string, db DB) (DB, error) { return SysusersWith(lines, db, SysusersOptions{}) }

// SysusersWith is Sysusers with options.
func SysusersWith(lines []string, db DB, o SysusersOptions) (DB, error) {
	s := &sysusers{db: db.Clone(), o: o, users: map[string]*item{}, groups: map[string]*item{}, members: map[string][]string{},
		uids: map[uint32]string{}, gids: map[uint32]string{}}
	for i, line := range lines {
		if err := s.line(line); err != nil {
			s.problems = append(s.problems, fmt.Errorf("sysusers.d line %d: %w", i+1, err))
		}
	}
	s.implicit()
	s.sealRanges()
	s.indexIDs()
	for _, it := range s.groupOrder {
		s.report(s.addGroup(it))
	}
	for _, it := range s.userOrder {
		s.report(s.addUserItem(it))
	}
	s.write()
	if len(s.problems) > 0 {
		return s.db, &Refused{s.problems}
	}
	return s.db, nil
}

// item is what the lines ask of one user or group.
type item struct {
	name               string
	uid, gid           *uint32
	idPath, groupName  string // owner of a file gives the ids; an existing group instead of one of its own
	gecos, home, shell string
	strict             bool // the group's id must be there already
	locked             bool
	made               bool
}

type idRange struct{ low, high uint32 }

type sysusers struct {
	db       DB
	o        SysusersOptions
	problems []error

	users, groups         map[string]*item
	userOrder, groupOrder []*item
	members               map[string][]string // group -> users
	memberOrder           []string
	ranges                []idRange
	next                  uint32 // the next id to try; ids are given downwards, over users and groups together
	exhausted             bool

	uids, gids          map[uint32]string // of the database: id -> first name
	newUsers, newGroups []*item           // in order of creation
	newUIDs, newGIDs    map[uint32]string
}

func (s *sysusers) report(err error) {
	if err != nil {
		s.problems = append(s.problems, err)
	}
}

// implicit adds a user and a group for names that only "m" lines know.
func (s *sysusers) implicit() {
	for _, group := range s.memberOrder {
		for _, user := range s.members[group] {
			if s.users[user] == nil {
				s.addItem(&item{name: user}, true)
			}
		}
		if s.groups[group] == nil && s.users[group] == nil {
			s.addItem(&item{name: group}, false)
		}
	}
}

func (s *sysusers) addItem(it *item, user bool) {
	if user {
		s.users[it.name] = it
		s.userOrder = append(s.userOrder, it)
		return
	}
	s.groups[it.name] = it
	s.groupOrder = append(s.groupOrder, it)
}

func (s *sysusers) sealRanges() {
	if len(s.ranges) == 0 {
		s.ranges = []idRange{{1, systemMax}}
	}
	slices.SortFunc(s.ranges, func(a, b idRange) int { return cmp.Compare(a.low, b.low) })
	merged := s.ranges[:1]
	for _, r := range s.ranges[1:] {
		last := &merged[len(merged)-1]
		if r.low <= last.high || r.low == last.high+1 {
			last.high = max(last.high, r.high)
			continue
		}
		merged = append(merged, r)
	}
	s.ranges = merged
	s.next = merged[len(merged)-1].high
}

func (s *sysusers) indexIDs() {
	s.newUIDs, s.newGIDs = map[uint32]string{}, map[uint32]string{}
	for _, u := range s.db.Users {
		if _, ok := s.uids[u.UID]; u.Name != "" && !ok {
			s.uids[u.UID] = u.Name
		}
	}
	for _, g := range s.db.Groups {
		if _, ok := s.gids[g.GID]; g.Name != "" && !ok {
			s.gids[g.GID] = g.Name
		}
	}
}

// free gives the next lower id of the ranges that ok accepts.
func (s *sysusers) free(ok func(uint32) bool) (uint32, bool) {
	for !s.exhausted {
		id := s.next
		s.step()
		if ok(id) {
			return id, true
		}
	}
	return 0, false
}

// step moves next down to the following id of the ranges.
func (s *sysusers) step() {
	for i, r := range s.ranges {
		if s.next < r.low || s.next > r.high {
			continue
		}
		switch {
		case s.next > r.low:
			s.next--
		case i > 0:
			s.next = s.ranges[i-1].high
		default:
			s.exhausted = true
		}
		return
	}
	s.exhausted = true
}

func (s *sysusers) inRanges(id uint32) bool {
	return slices.ContainsFunc(s.ranges, func(r idRange) bool { return id >= r.low && id <= r.high })
}

// uidFree tells whether a user may have the id; withGroups refuses it also where another name's group has it.
func (s *sysusers) uidFree(id uint32, name string, withGroups bool) bool {
	if s.newUIDs[id] != "" || s.uids[id] != "" {
		return false
	}
	return !withGroups || among(s.newGIDs[id], name) && among(s.gids[id], name)
}

func (s *sysusers) gidFree(id uint32, name string, withUsers bool) bool {
	if s.newGIDs[id] != "" || s.gids[id] != "" {
		return false
	}
	return !withUsers || among(s.newUIDs[id], name) && among(s.uids[id], name)
}

func among(holder, name string) bool { return holder == "" || holder == name }

func (s *sysusers) addGroup(it *item) error {
	if g, ok := s.db.Group(it.name); ok {
		it.gid = &g.GID
		return nil
	}
	if it.gid != nil {
		free := s.gidFree(*it.gid, it.name, false)
		switch {
		case it.strict && free:
			return fmt.Errorf("user %q: group %d does not exist", it.name, *it.gid)
		case it.strict:
			return nil
		case !free:
			it.gid = nil
		}
	}
	if it.gid == nil && it.uid != nil && s.gidFree(*it.uid, it.name, true) {
		it.gid = ptr(*it.uid)
	}
	if it.gid == nil && it.idPath != "" && s.o.Owner != nil {
		if _, gid, ok := s.o.Owner(it.idPath); ok && s.inRanges(gid) && s.gidFree(gid, it.name, true) {
			it.gid = &gid
		}
	}
	if it.gid == nil {
		id, ok := s.free(func(id uint32) bool { return s.gidFree(id, it.name, true) })
		if !ok {
			return fmt.Errorf("group %q: no free id", it.name)
		}
		it.gid = &id
	}
	it.made = true
	s.newGIDs[*it.gid] = it.name
	s.newGroups = append(s.newGroups, &item{name: it.name, gid: ptr(*it.gid)})
	return nil
}

// userGroup settles the group of a user: one that the lines make, an existing one, or one of the user's own.
func (s *sysusers) userGroup(it *item) error {
	name := it.groupName
	if name == "" {
		name = it.name
	}
	queued := s.groups[name]
	switch {
	case it.gid == nil && queued != nil && queued.made:
		it.gid = queued.gid
	case it.gid == nil && it.groupName != "":
		g, ok := s.db.Group(it.groupName)
		if !ok {
			return fmt.Errorf("user %q: group %q does not exist", it.name, it.groupName)
		}
		it.gid = &g.GID
	default:
		return s.addGroup(it)
	}
	return nil
}

func (s *sysusers) addUserItem(it *item) error {
	if err := s.userGroup(it); err != nil {
		return err
	}
	if _, ok := s.db.User(it.name); ok {
		return nil
	}
	if it.uid != nil && !s.uidFree(*it.uid, it.name, !it.strict && it.groupName == "") {
		it.uid = nil
	}
	if it.uid == nil && it.idPath != "" && s.o.Owner != nil {
		if uid, _, ok := s.o.Owner(it.idPath); ok && s.inRanges(uid) && s.uidFree(uid, it.name, true) {
			it.uid = &uid
		}
	}
	if it.uid == nil && it.gid != nil && s.uidFree(*it.gid, it.name, true) {
		it.uid = ptr(*it.gid)
	}
	if it.uid == nil {
		id, ok := s.free(func(id uint32) bool { return s.uidFree(id, it.name, true) })
		if !ok {
			return fmt.Errorf("user %q: no free id", it.name)
		}
		it.uid = &id
	}
	s.newUIDs[*it.uid] = it.name
	s.newUsers = append(s.newUsers, it)
	return nil
}

// write puts what was decided into the database.
func (s *sysusers) write() {
	day := ""
	if s.o.LastChangeDay > 0 {
		day = strconv.FormatInt(s.o.LastChangeDay, 10)
	}
	for i := range s.db.Groups {
		g := &s.db.Groups[i]
		if list, ok := withMembers(g.Members, s.members[g.Name]); ok && g.Name != "" {
			g.Members, g.Raw = list, ""
		}
	}
	for i := range s.db.Gshadow {
		g := &s.db.Gshadow[i]
		if list, ok := withMembers(g.Members, s.members[g.Name]); ok && g.Name != "" {
			g.Members, g.Raw = list, ""
		}
	}
	for _, it := range s.newGroups {
		list, _ := withMembers(nil, s.members[it.name])
		s.db.addGroup(Group{Name: it.name, Password: "x", GID: *it.gid, Members: list})
	}
	for _, it := range s.newUsers {
		expire := ""
		if it.locked {
			expire = "1"
		}
		if i := find(s.db.Shadow, it.name, nameOfShadow); i >= 0 && day != "" {
			s.db.Shadow[i].Age[0], s.db.Shadow[i].Raw = day, ""
		}
		s.db.addUser(it.user(), day, expire)
	}
}

func (it *item) user() User {
	u := User{Name: it.name, Password: "x", UID: *it.uid, GID: *it.gid, GECOS: it.gecos, Home: it.home, Shell: it.shell}
	if u.Home == "" {
		u.Home = "/"
		if u.UID == 0 {
			u.Home = "/root"
		}
	}
	if u.Shell == "" {
		u.Shell = "/usr/sbin/nologin"
		if u.UID == 0 {
			u.Shell = "/bin/bash" // what systemd is built with on every RPM distribution; /bin/sh elsewhere
		}
	}
	return u
}

// withMembers adds members; the list is then sorted, as systemd-sysusers leaves it.
func withMembers(have, add []string) ([]string, bool) {
	list := slices.Clone(have)
	for _, n := range add {
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	if len(list) == len(have) {
		return have, false
	}
	slices.Sort(list)
	return list, true
}

func ptr(v uint32) *uint32 { return &v }
