// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"strconv"
	"strings"
)

// fields splits a line that is an entry; nil for comments, NIS lines and whatever has another number of fields.
func fields(line string, want int) []string {
	if line == "" || strings.ContainsAny(line[:1], "+-#: \t") {
		return nil
	}
	f := strings.Split(line, ":")
	if len(f) != want {
		return nil
	}
	return f
}

func parseUser(line string) User {
	u := User{Raw: line}
	f := fields(line, 7)
	if f == nil {
		return u
	}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	if !ok1 || !ok2 {
		return u
	}
	return User{Name: f[0], Password: f[1], UID: uid, GID: gid, GECOS: f[4], Home: f[5], Shell: f[6], Raw: line}
}

// String gives the line, without a newline.
func (u User) String() string {
	if u.Raw != "" || u.Name == "" {
		return u.Raw
	}
	return strings.Join([]string{u.Name, u.Password, decimal(u.UID), decimal(u.GID), u.GECOS, u.Home, u.Shell}, ":")
}

func parseGroup(line string) Group {
	f := fields(line, 4)
	if f == nil {
		return Group{Raw: line}
	}
	gid, ok := parseID(f[2])
	if !ok {
		return Group{Raw: line}
	}
	return Group{Name: f[0], Password: f[1], GID: gid, Members: names(f[3]), Raw: line}
}

// String gives the line, without a newline.
func (g Group) String() string {
	if g.Raw != "" || g.Name == "" {
		return g.Raw
	}
	return strings.Join([]string{g.Name, g.Password, decimal(g.GID), strings.Join(g.Members, ",")}, ":")
}

func parseShadow(line string) Shadow {
	s := Shadow{Raw: line}
	f := fields(line, 9)
	if f == nil {
		return s
	}
	s.Name, s.Password = f[0], f[1]
	copy(s.Age[:], f[2:])
	return s
}

// String gives the line, without a newline.
func (s Shadow) String() string {
	if s.Raw != "" || s.Name == "" {
		return s.Raw
	}
	return s.Name + ":" + s.Password + ":" + strings.Join(s.Age[:], ":")
}

func parseGroupShadow(line string) GroupShadow {
	f := fields(line, 4)
	if f == nil {
		return GroupShadow{Raw: line}
	}
	return GroupShadow{Name: f[0], Password: f[1], Admins: names(f[2]), Members: names(f[3]), Raw: line}
}

// String gives the line, without a newline.
func (s GroupShadow) String() string {
	if s.Raw != "" || s.Name == "" {
		return s.Raw
	}
	return strings.Join([]string{s.Name, s.Password, strings.Join(s.Admins, ","), strings.Join(s.Members, ",")}, ":")
}

// names splits a list of members; empty ones are no names.
func names(list string) []string {
	var out []string
	for n := range strings.SplitSeq(list, ",") {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
