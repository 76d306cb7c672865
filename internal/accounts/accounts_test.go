// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/accounts"
)

func parse(t *testing.T, passwd, group, shadow, gshadow string) accounts.DB {
	t.Helper()
	db, err := accounts.Parse(accounts.Files{Passwd: []byte(passwd), Group: []byte(group), Shadow: []byte(shadow), Gshadow: []byte(gshadow)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func text(db accounts.DB) string {
	f := db.Format()
	return "passwd\n" + string(f.Passwd) + "group\n" + string(f.Group) + "shadow\n" + string(f.Shadow) + "gshadow\n" + string(f.Gshadow)
}

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\nold:x:12:13:Old:/:/bin/sh\nuseold:x:99:99::/:/bin/sh\n# a comment\nbad line\n+::::::\n"
	group  = "root:x:0:\nold:x:13:\nwheel:x:10:zed,old\nnewgrpid:x:520:\n+:::\n"
	shadow = "root:!:1::::::\npre:$6$x:1::::::\n"
	gshad  = "root:*::\nwheel:!::zed,old\n"
)

func TestTextsComeBackAsTheyWere(t *testing.T) {
	db := parse(t, passwd, group, shadow, gshad)
	if diff := cmp.Diff("passwd\n"+passwd+"group\n"+group+"shadow\n"+shadow+"gshadow\n"+gshad, text(db)); diff != "" {
		t.Error(diff)
	}
	if id, ok := db.GID("wheel"); id != 10 || !ok {
		t.Errorf("wheel: %d %v", id, ok)
	}
	if _, ok := db.UID("bad line"); ok {
		t.Error("a bad line is a user")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, f := range map[string]accounts.Files{
		"nul":   {Passwd: []byte("a\x00")},
		"large": {Group: bytes.Repeat([]byte("x"), 9<<20)},
	} {
		if _, err := accounts.Parse(f); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// sysusersCases are applied to the texts above; each is compared with the peer where it is installed.
var sysusersCases = map[string]string{
	"kinds":    "u httpd 48 \"Apache HTTP\" /var/www /sbin/nologin\nu foo - \"Foo user\"\nu bar 300:10\ng grp 400\nu bar2 300:grp\ng foo2 -\nm foo grp\nm newu newg\nu baz -\ng wheel 10\nu root 0 \"Super\" /root /bin/bash\nu nob 65534 \"x\"\nu dup 48\n",
	"ranges":   "r - 500-520\nr - 700\nu bar4 -:old\nu old2 55\nu dupuid 12\nu newg6 78:newgx\ng newgx 79\ng fixed 10\nu useold -\ng old3 599\nu s1 -\nm old new5\nu onlyr 3:old\n",
	"exhaust":  "r - 5\ng a 444\ng b -\nu c -\nu d -\n",
	"refused":  "u a.b -\nu dup - \"one\"\nu dup - \"two\"\nu dup - one\nu extra - a / /bin/sh more\nu bad:colon -\nu gid2 - \"colon:gecos\"\nu toolongnametoolongnametoolongname12345 -\ng g1 400:401\nu c1 65535\nu c2 4294967295\nu c3 0x10\nu c4 010\nm onlyone\nu relhome - x rel/home\nu _und$ -\nu UPPER -\nx\nr a 5\nr - 10-5\nu newg5 77:77\nu nogrp 80:noexist\n",
	"existing": "u pre -\nm zz wheel\nm abe wheel\nu q1 - 'single q' \"/h x\" /bin/sh\nu sp - \"A B\" - -\nu pct - \"a %% b\"\n# comment\n\n; another\nu esc - \"a\\\"b\"\n",
	"sameid":   "u both -\ng both 444\nu both2 555\ng both2 -\nu both3 -\ng both3 -\nu both4 600\nu x600 600\nu z12 12:12\nu gidold 13\ng uidold 12\nu c99 99:useold\n",
	"members":  "m a g1\nm b g1\nm a g2\nm g3 g3\ng g1 300\nu g2 301\nu old -\nm old old\n",
	"rootless": "u r2 0:0\nu r3 0\ng r4 0\nu r5 -:root\nu r6 500:root\n",
}

func TestSysusersGivesIDsDownwards(t *testing.T) {
	db := parse(t, "root:x:0:0:root:/root:/bin/bash\n", "root:x:0:\n", "", "")
	got, err := accounts.Sysusers([]string{"u a - \"A\"", "u! b 5", "g c -", "m a c", "u p /nowhere"}, db)
	if err != nil {
		t.Fatal(err)
	}
	want := `passwd
root:x:0:0:root:/root:/bin/bash
a:x:998:998:A:/:/usr/sbin/nologin
b:x:5:5::/:/usr/sbin/nologin
p:x:997:997::/:/usr/sbin/nologin
group
root:x:0:
c:x:999:a
a:x:998:
b:x:5:
p:x:997:
shadow
a:!*:::::::
b:!*::::::1:
p:!*:::::::
gshadow
c:!*::a
a:!*::
b:!*::
p:!*::
`
	if diff := cmp.Diff(want, text(got)); diff != "" {
		t.Error(diff)
	}
	again, err := accounts.Sysusers([]string{"u a - \"A\"", "u b 5", "g c -", "m a c", "u p /nowhere"}, got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, text(again)); diff != "" {
		t.Errorf("the second time changes: %s", diff)
	}
}

func TestSysusersReportsAndGoesOn(t *testing.T) {
	got, err := accounts.Sysusers([]string{"u a.b -", "u ok -", "u x 5:nogroup"}, accounts.DB{})
	var refused *accounts.Refused
	if !errors.As(err, &refused) || len(refused.Problems) != 2 {
		t.Fatalf("got %v", err)
	}
	if _, ok := got.User("ok"); !ok {
		t.Error("the good line was not applied")
	}
}

func TestSysusersAsThePeer(t *testing.T) {
	if _, err := exec.LookPath("systemd-sysusers"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs systemd-sysusers: not found")
		}
		t.Skip("needs systemd-sysusers: not found")
	}
	for name, lines := range sysusersCases {
		t.Run(name, func(t *testing.T) {
			got, gotErr := accounts.SysusersWith(strings.Split(lines, "\n"), parse(t, peerPasswd, group, shadow, gshad), accounts.SysusersOptions{LastChangeDay: 10})
			want, log := peer(t, lines)
			if diff := cmp.Diff(want, text(got)); diff != "" {
				t.Errorf("got +, systemd-sysusers -:\n%s\nours: %v\npeer: %s", diff, gotErr, log)
			}
		})
	}
}

// peerPasswd leaves out the lines that the peer's libc drops.
const peerPasswd = "root:x:0:0:root:/root:/bin/bash\nold:x:12:13:Old:/:/bin/sh\nuseold:x:99:99::/:/bin/sh\n+::::::\n"

func peer(t *testing.T, lines string) (texts, log string) {
	t.Helper()
	root := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("usr/lib/sysusers.d/a.conf", lines)
	put("etc/passwd", peerPasswd)
	put("etc/group", group)
	put("etc/shadow", shadow)
	put("etc/gshadow", gshad)
	cmd := exec.Command("systemd-sysusers", "--root="+root)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=864000")
	out, _ := cmd.CombinedOutput() // it fails where a line is wrong, and has done the others
	for _, f := range []string{"passwd", "group", "shadow", "gshadow"} {
		data, err := os.ReadFile(filepath.Join(root, "etc", f))
		if err != nil {
			t.Skipf("needs to read what systemd-sysusers wrote: %v", err)
		}
		texts += f + "\n" + string(data)
	}
	return texts, string(out)
}

func FuzzSysusers(f *testing.F) {
	for _, c := range sysusersCases {
		f.Add(passwd, group, c)
	}
	f.Fuzz(func(t *testing.T, passwd, group, lines string) {
		db, err := accounts.Parse(accounts.Files{Passwd: []byte(passwd), Group: []byte(group)})
		if err != nil {
			return
		}
		files := db.Format()
		if !bytes.Equal(bytes.TrimSuffix(files.Passwd, []byte("\n")), bytes.TrimSuffix([]byte(passwd), []byte("\n"))) {
			t.Fatalf("passwd %q came back as %q", passwd, files.Passwd)
		}
		after, _ := accounts.Sysusers(strings.Split(lines, "\n"), db)
		ids := map[uint32]string{}
		for _, u := range db.Users {
			if u.Name != "" {
				ids[u.UID] = u.Name
			}
		}
		for _, u := range after.Users {
			if _, ok := db.User(u.Name); ok || u.Name == "" {
				continue
			}
			if was := ids[u.UID]; was != "" {
				t.Fatalf("%q and %q have id %d", was, u.Name, u.UID)
			}
			ids[u.UID] = u.Name
		}
		f2 := after.Format()
		again, err := accounts.Parse(f2)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(f2.Passwd), string(again.Format().Passwd)); diff != "" {
			t.Fatal(diff)
		}
	})
}
