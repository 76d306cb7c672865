// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/accounts"
)

func TestMerge3(t *testing.T) {
	db := func(passwd, group string) accounts.DB { return parse(t, people(passwd), lines(group), "", "") }
	for _, c := range []struct {
		name            string
		old, local, new accounts.DB
		want, conflicts string
	}{
		{"a newcomer is added", db("r:0", "r:0"), db("r:0", "r:0"), db("r:0 a:5", "r:0 a:5"), "r:0 a:5 | r:0 a:5", ""},
		{"a local one stays", db("r:0", "r:0"), db("r:0 me:1000", "r:0 me:1000"), db("r:0 a:5", "r:0 a:5"), "r:0 me:1000 a:5 | r:0 me:1000 a:5", ""},
		{"one that new dropped stays", db("a:5", "a:5"), db("a:5", "a:5"), db("", ""), "a:5 | a:5", ""},
		{"one removed here stays away", db("a:5", "a:5"), db("", ""), db("a:5", "a:5"), " | ", ""},
		{"untouched follows", db("a:5", "a:5"), db("a:5", "a:5"), db("a:6", "a:6"), "a:6 | a:6", ""},
		{"changed stays", db("a:5", "a:5"), db("a:7", "a:7"), db("a:6", "a:6"), "a:7 | a:7", ""},
		{"no id twice", db("", ""), db("me:5", "me:5"), db("a:5", "a:5"), "me:5 a:999 | me:5 a:999",
			"group a: id 5 belongs to me here, got 999; user a: id 5 belongs to me here, got 999"},
		{"an id held here is not taken", db("a:5", "a:5"), db("a:5 me:6", "a:5 me:6"), db("a:6", "a:6"), "a:5 me:6 | a:5 me:6",
			"group a: id 6 belongs to me here, got 5; user a: id 6 belongs to me here, got 5"},
		{"two names by intent", db("r:0", "r:0"), db("r:0", "r:0"), db("r:0 toor:0", "r:0"), "r:0 toor:0 | r:0", ""},
		{"members", db("", "w:10:a,b"), db("", "w:10:b,me"), db("", "w:10:b,c"), " | w:10:b,me,c", ""},
		{"members of an untouched group", db("", "w:10:a,b"), db("", "w:10:a,b"), db("", "w:10:c"), " | w:10:c", ""},
	} {
		got, conflicts := accounts.Merge3(c.old, c.local, c.new)
		var said []string
		for _, x := range conflicts {
			said = append(said, x.String())
		}
		if diff := cmp.Diff(c.want, short(got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if diff := cmp.Diff(c.conflicts, strings.Join(said, "; ")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestMerge3KeepsPasswords(t *testing.T) {
	old := parse(t, people("r:0"), "", "r:!:1::::::\n", "")
	local := parse(t, people("r:0 me:1000"), "", "r:$6$secret:2::::::\nme:$6$mine:2::::::\n", "")
	new := parse(t, people("r:0 a:5"), "", "r:!:3::::::\na:!*:3::::::\n", "")
	got, _ := accounts.Merge3(old, local, new)
	want := "r:$6$secret:2::::::\nme:$6$mine:2::::::\na:!*:3::::::\n"
	if diff := cmp.Diff(want, string(got.Format().Shadow)); diff != "" {
		t.Error(diff)
	}
}

func TestMergePrefersTheFirst(t *testing.T) {
	got := accounts.Merge(parse(t, people("r:0 a:5"), lines("r:0"), "", ""), parse(t, people("a:6 b:7"), lines("r:0 b:7"), "", ""))
	if diff := cmp.Diff("r:0 a:5 b:7 | r:0 b:7", short(got)); diff != "" {
		t.Error(diff)
	}
}

func TestAddLines(t *testing.T) {
	before := parse(t, people("r:0"), lines("r:0"), "", "")
	db := before.Clone()
	if err := db.AddLines([]string{"a:x:5:5::/:/bin/sh", "r:x:9:9::/:"}, []string{"a:x:5:r"}); err != nil {
		t.Fatal(err)
	}
	users, groups := db.Added(before)
	if diff := cmp.Diff("[a:x:5:5::/:/bin/sh] [a:x:5:r]", fmt.Sprint(users, groups)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"b:x:5:5::/:", "nonsense", "c:x:-1:5::/:"} {
		if err := db.AddLines([]string{bad}, nil); err == nil {
			t.Errorf("%q was added", bad)
		}
	}
}

// people makes passwd lines of "name:id" words.
func people(s string) string {
	var b strings.Builder
	for w := range strings.FieldsSeq(s) {
		name, id, _ := strings.Cut(w, ":")
		fmt.Fprintf(&b, "%s:x:%s:%s::/:/bin/sh\n", name, id, id)
	}
	return b.String()
}

// lines makes group lines of "name:id" or "name:id:members" words.
func lines(s string) string {
	var b strings.Builder
	for w := range strings.FieldsSeq(s) {
		f := append(strings.Split(w, ":"), "")
		fmt.Fprintf(&b, "%s:x:%s:%s\n", f[0], f[1], f[2])
	}
	return b.String()
}

func short(db accounts.DB) string {
	var users, groups []string
	for _, u := range db.Users {
		users = append(users, fmt.Sprintf("%s:%d", u.Name, u.UID))
	}
	for _, g := range db.Groups {
		s := fmt.Sprintf("%s:%d", g.Name, g.GID)
		if len(g.Members) > 0 {
			s += ":" + strings.Join(g.Members, ",")
		}
		groups = append(groups, s)
	}
	return strings.Join(users, " ") + " | " + strings.Join(groups, " ")
}
