// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"fmt"
	"slices"
)

// Merge gives first, then those entries of second whose names first lacks. It suits nss-altfiles, where
// /usr/lib/passwd serves the names that /etc/passwd does not have.
func Merge(first, second DB) DB {
	m, s := first.Clone(), second.Clone()
	m.Users = lacking(m.Users, s.Users, nameOfUser)
	m.Groups = lacking(m.Groups, s.Groups, nameOfGroup)
	m.Shadow = lacking(m.Shadow, s.Shadow, nameOfShadow)
	m.Gshadow = lacking(m.Gshadow, s.Gshadow, nameOfGroupShadow)
	return m
}

func lacking[E any](first, second []E, name func(E) string) []E {
	have := make(map[string]bool, len(first))
	for _, e := range first {
		have[name(e)] = true
	}
	for _, e := range second {
		if n := name(e); n != "" && !have[n] {
			first = append(first, e)
		}
	}
	return first
}

// Conflict tells of an account that could not have the id that its new entry asks for.
//
//	shape   Kind "user" or "group"; Want is the id of the new entry, Got the one that it has now, Holder who has Want
type Conflict struct {
	Kind, Name string
	Want, Got  uint32
	Holder     string
}

// String says it in one line.
func (c Conflict) String() string {
	return fmt.Sprintf("%s %s: id %d belongs to %s here, got %d", c.Kind, c.Name, c.Want, c.Holder, c.Got)
}

// Merge3 brings the changes from old to new into local, by name: the merge of /etc at a new deployment.
//
// Every local entry stays, also one that new dropped (files of /var may be its own). An entry that is as it was in old follows new; one that
// was changed here stays as it is, save that members which new added to or took from a group are added and taken.
// An entry that new has and local lacks is added, unless old had it too: then somebody removed it here.
// A name whose new id another name holds here keeps its id, or as a newcomer gets the highest free one below 1000, and is reported.
func Merge3(old, local, new DB) (DB, []Conflict) {
	m := merger{old: old, new: new, db: local.Clone(), newGID: map[uint32]uint32{}}
	m.groups()
	m.users()
	m.db.Shadow = merge3(old.Shadow, m.db.Shadow, new.Shadow, nameOfShadow, Shadow.String, m.keepShadow)
	m.db.Gshadow = merge3(old.Gshadow, m.db.Gshadow, new.Gshadow, nameOfGroupShadow, GroupShadow.String, m.keepGshadow)
	return m.db, m.conflicts
}

type merger struct {
	old, new, db DB
	newGID       map[uint32]uint32 // ids of groups of new that have another id here
	conflicts    []Conflict
}

// merge3 merges one file; settle decides about an entry that is taken from new (there false = leave it out)
// and one that both sides have and that differs from old.
func merge3[E any](old, local, new []E, name, line func(E) string, settle func(local *E, old, new E, is how) (E, bool)) []E {
	index := func(entries []E) map[string]int {
		m := make(map[string]int, len(entries))
		for i, e := range entries {
			if n := name(e); n != "" {
				if _, twice := m[n]; !twice {
					m[n] = i
				}
			}
		}
		return m
	}
	oldAt, localAt := index(old), index(local)
	out := slices.Clone(local)
	for _, n := range new {
		if name(n) == "" {
			continue
		}
		var was E
		o, inOld := oldAt[name(n)]
		if inOld {
			was = old[o]
		}
		i, here := localAt[name(n)]
		switch {
		case !here && inOld:
		case !here:
			if e, ok := settle(nil, was, n, isNew); ok {
				out = insert(out, e, func(e E) bool { return name(e) == "" && len(line(e)) > 0 && line(e)[0] == '+' })
			}
		case inOld && line(out[i]) == line(was):
			if line(was) != line(n) {
				if e, ok := settle(&out[i], was, n, isUntouched); ok {
					out[i] = e
				}
			}
		default:
			if e, ok := settle(&out[i], was, n, isChanged); ok {
				out[i] = e
			}
		}
	}
	return out
}

// how an entry of new stands to the local one.
type how int

const (
	isNew       how = iota // local lacks it
	isUntouched            // local is as old was
	isChanged              // local has its own
)

func (m *merger) groups() {
	taken := map[uint32]string{}
	for _, g := range m.db.Groups {
		if g.Name != "" && taken[g.GID] == "" {
			taken[g.GID] = g.Name
		}
	}
	m.db.Groups = merge3(m.old.Groups, m.db.Groups, m.new.Groups, nameOfGroup, Group.String, func(local *Group, old, new Group, is how) (Group, bool) {
		if is == isChanged {
			return changeMembers(*local, old.Members, new.Members)
		}
		want, holder := new.GID, taken[new.GID]
		if holder != "" && holder != new.Name && !m.sharedGroup(holder, want) {
			new.Raw = ""
			if is == isUntouched {
				new.GID = local.GID
			} else {
				new.GID = freeID(func(id uint32) bool { return taken[id] != "" || m.db.userOfID(id) != "" || m.new.groupOfID(id) != "" })
			}
			m.newGID[want] = new.GID
			m.conflicts = append(m.conflicts, Conflict{"group", new.Name, want, new.GID, holder})
		}
		if taken[new.GID] == "" {
			taken[new.GID] = new.Name
		}
		return new, true
	})
}

func (m *merger) users() {
	taken := map[uint32]string{}
	for _, u := range m.db.Users {
		if u.Name != "" && taken[u.UID] == "" {
			taken[u.UID] = u.Name
		}
	}
	m.db.Users = merge3(m.old.Users, m.db.Users, m.new.Users, nameOfUser, User.String, func(local *User, _, new User, is how) (User, bool) {
		if is == isChanged {
			return User{}, false
		}
		if gid, moved := m.newGID[new.GID]; moved {
			new.GID, new.Raw = gid, ""
		}
		want, holder := new.UID, taken[new.UID]
		if holder != "" && holder != new.Name && !m.sharedUser(holder, want) {
			new.Raw = ""
			if is == isUntouched {
				new.UID = local.UID
			} else {
				new.UID = freeID(func(id uint32) bool {
					g := m.db.groupOfID(id)
					return taken[id] != "" || g != "" && g != new.Name || m.new.userOfID(id) != ""
				})
			}
			m.conflicts = append(m.conflicts, Conflict{"user", new.Name, want, new.UID, holder})
		}
		if taken[new.UID] == "" {
			taken[new.UID] = new.Name
		}
		return new, true
	})
}

// sharedGroup tells whether new itself gives the id to the holder as well: two names of one id by intent.
func (m *merger) sharedGroup(holder string, id uint32) bool {
	g, ok := m.new.Group(holder)
	return ok && g.GID == id
}

func (m *merger) sharedUser(holder string, id uint32) bool {
	u, ok := m.new.User(holder)
	return ok && u.UID == id
}

// keepShadow keeps a password that was set here: new's entries only serve accounts that are there and had none,
// and those whose entry nobody touched.
func (m *merger) keepShadow(_ *Shadow, _, new Shadow, is how) (Shadow, bool) {
	_, ok := m.db.User(new.Name)
	return new, ok && is != isChanged
}

func (m *merger) keepGshadow(local *GroupShadow, old, new GroupShadow, is how) (GroupShadow, bool) {
	if _, ok := m.db.Group(new.Name); !ok {
		return new, false
	}
	if is != isChanged {
		return new, true
	}
	g, changed := changeMembers(Group{Members: local.Members}, old.Members, new.Members)
	if !changed {
		return new, false
	}
	e := *local
	e.Members, e.Raw = g.Members, ""
	return e, true
}

// changeMembers brings what new did to old's members into local's.
func changeMembers(local Group, old, new []string) (Group, bool) {
	members := slices.DeleteFunc(slices.Clone(local.Members), func(n string) bool {
		return slices.Contains(old, n) && !slices.Contains(new, n)
	})
	for _, n := range new {
		if !slices.Contains(old, n) && !slices.Contains(members, n) {
			members = append(members, n)
		}
	}
	if slices.Equal(members, local.Members) {
		return local, false
	}
	local.Members, local.Raw = members, ""
	return local, true
}

// freeID gives the highest system id that nobody has.
func freeID(taken func(uint32) bool) uint32 {
	for id := uint32(systemMax); id > 0; id-- {
		if !taken(id) {
			return id
		}
	}
	// All 999 are taken: go on above the ids of people, where systemd allocates nothing (its own ranges begin at 60001).
	for id := uint32(59999); ; id-- {
		if !taken(id) {
			return id
		}
	}
}
