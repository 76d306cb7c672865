// SPDX-License-Identifier: Apache-2.0

package accounts

import "slices"

// With is db with those accounts of alt that it lacks: what nss-altfiles shows.
func (db DB) With(alt DB) DB {
	all := db.Clone()
	for _, g := range alt.Groups {
		if _, have := db.Group(g.Name); g.Name != "" && !have {
			all.Groups = append(all.Groups, g)
		}
	}
	for _, u := range alt.Users {
		if _, have := db.User(u.Name); u.Name != "" && !have {
			all.Users = append(all.Users, u)
		}
	}
	return all
}

// SysusersOver applies lines of sysusers.d to db; names and ids of alt count as there. An entry of alt that the lines
// change is taken over into db.
//
//	errors  as Sysusers
func SysusersOver(lines []string, db, alt DB) (DB, error) {
	out, err := Sysusers(lines, db.With(alt))
	out.Users = slices.DeleteFunc(out.Users, func(u User) bool {
		_, own := db.User(u.Name)
		was, have := alt.User(u.Name)
		return u.Name != "" && !own && have && was.String() == u.String()
	})
	out.Groups = slices.DeleteFunc(out.Groups, func(g Group) bool {
		_, own := db.Group(g.Name)
		was, have := alt.Group(g.Name)
		return g.Name != "" && !own && have && was.String() == g.String()
	})
	return out, err
}
