// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"fmt"
	"strings"
	"testing"

	"grove/internal/compose"
	"grove/internal/fixture"
	"grove/internal/manifest"
)

// A base that is composed anew with more packages, in another order, or from its lock, gives each account the number that it had.
func TestIDsOfBases(t *testing.T) {
	w := copse(t)
	t.Parallel()
	p := w.place(t)
	user := func(name string, requires ...string) fixture.Spec {
		body := "n=999\nwhile case \"$(</etc/passwd)\" in *\":x:$n:\"*) true;; *) false;; esac; do n=$((n-1)); done\n" +
			fmt.Sprintf("case \"$(</etc/passwd)\" in *%[1]s:x:*) ;; *) echo %[1]s:x:$n:$n::/:/sbin/nologin >>/etc/passwd; echo %[1]s:x:$n: >>/etc/group;; esac\n", name)
		return fixture.Spec{Name: name, Requires: append(requires, "pre:bash"), Scripts: []fixture.Script{{Kind: "pre", Prog: "/bin/bash", Body: body}},
			Files: []fixture.File{{Path: "/usr/share/" + name, User: name, Group: name, Content: []byte(name)}}}
	}
	p.source(t, "users", user("alpha"), user("beta"), user("gamma", "pre:beta", "pre:alpha"), user("delta"))
	run := func(previous *manifest.Lock, lock *manifest.Lock, packages ...string) compose.Result {
		t.Helper()
		m, err := w.baseManifest()
		if err != nil {
			t.Fatal(err)
		}
		m.Packages, m.Repos = append(m.Packages, packages...), nil
		o, err := p.options()
		if err != nil {
			t.Fatal(err)
		}
		o.Previous, o.Lock = previous, lock
		res, tr := p.run(t, m, o)
		passwd := p.text(t, tr, "usr/etc/passwd")
		for _, name := range packages {
			e, _, err := tr.Lookup("usr/share/" + name)
			if err != nil {
				t.Fatal(err)
			}
			h, _, content, err := p.repo.OpenFile(e.File)
			if err != nil {
				t.Fatal(err)
			}
			content.Close()
			if line := fmt.Sprintf("%s:x:%d:%d:", name, h.UID, h.GID); !strings.Contains(passwd, line) {
				t.Errorf("the file of %s is %d's, passwd says:\n%s", name, h.UID, passwd)
			}
		}
		return res
	}
	lines := func(res compose.Result, names ...string) string {
		var out []string
		for _, l := range res.Lock.Users {
			for _, n := range names {
				if strings.HasPrefix(l, n+":") {
					out = append(out, l)
				}
			}
		}
		return strings.Join(out, "\n")
	}
	first := run(nil, nil, "gamma", "beta", "alpha")
	known := &manifest.Lock{Users: first.Lock.Users, Groups: first.Lock.Groups} // as guest.Compose takes them from the commit before
	fresh := run(nil, nil, "alpha", "delta", "gamma", "beta")
	if lines(fresh, "alpha", "beta", "gamma") == lines(first, "alpha", "beta", "gamma") {
		t.Error("nothing would have moved")
	}
	more := run(known, nil, "alpha", "delta", "gamma", "beta")
	if got, want := lines(more, "alpha", "beta", "gamma"), lines(first, "alpha", "beta", "gamma"); got != want {
		t.Errorf("with another package:\n%s\nbefore:\n%s", got, want)
	}
	if again := run(nil, &more.Lock, "beta", "alpha", "gamma", "delta"); again.Commit != more.Commit {
		t.Errorf("from the lock: %s, want %s", again.Commit, more.Commit)
	}
}
