// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// roles are the directions of a test where one program does something and the other lives with it.
func roles() []edPair {
	grove, ostree := clients()
	return []edPair{{grove, ostree, theyRead}, {ostree, grove, weRead}}
}

// Remotes that one writes into the configuration the other has too.
func TestRemotesOfBoth(t *testing.T) {
	need(t, "ostree")
	for _, d := range roles() {
		u := pullFrom(t, d.maker)
		url := serveStatic(t, u.dir).url
		repo := d.maker.clone(t, "bare-user", "")
		agree := func(t *testing.T, args ...string) string {
			t.Helper()
			a, b := d.maker.run(t, repo, args...), d.reader.run(t, repo, args...)
			if a != b {
				t.Errorf("%v: %s says %q, %s %q", args, d.maker.name, a, d.reader.name, b)
			}
			return a
		}
		peerCase(t, "remote/add/"+d.direction, func(t *testing.T) {
			d.maker.run(t, repo, "remote", "add", "up", url, "main", "other", "--no-gpg-verify", "--set=xa.title=Up stream", "--contenturl="+url)
			d.maker.run(t, repo, "remote", "add", "far", "metalink=http://127.0.0.1:1/m", "--if-not-exists", "--collection-id=org.example.Far")
			d.reader.run(t, repo, "pull", "up")
			if refs := sortedLines(d.reader.run(t, repo, "refs")); refs != "up:main\nup:other" {
				t.Errorf("the branches of the remote gave %q", refs)
			}
			if got := d.reader.run(t, repo, "config", "--group=remote \"up\"", "get", "xa.title"); got != "Up stream\n" {
				t.Errorf("xa.title is %q", got)
			}
		})
		peerCase(t, "remote/list/"+sameResult, func(t *testing.T) {
			if got := sortedLines(agree(t, "remote", "list")); got != "far\nup" {
				t.Errorf("%q", got)
			}
		})
		peerCase(t, "remote/show-url/"+sameResult, func(t *testing.T) {
			agree(t, "remote", "show-url", "up")
		})
		peerCase(t, "remote/refs/"+sameResult, func(t *testing.T) {
			agree(t, "remote", "refs", "up")
		})
		peerCase(t, "remote/summary/"+d.direction, func(t *testing.T) {
			if out := d.reader.run(t, repo, "remote", "summary", "up"); !strings.Contains(out, u.head()) {
				t.Errorf("the summary is %s", out)
			}
		})
		peerCase(t, "remote/delete/"+d.direction, func(t *testing.T) {
			d.maker.run(t, repo, "remote", "delete", "far")
			if got := d.reader.run(t, repo, "remote", "list"); got != "up\n" {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// Cookies that one keeps for a remote are sent by both, and each lists and deletes the other's.
func TestCookies(t *testing.T) {
	need(t, "ostree")
	for _, d := range roles() {
		u := pullFrom(t, d.maker)
		files := http.FileServer(http.Dir(u.dir))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("session"); err != nil || c.Value != "moss" {
				http.Error(w, "who are you?", http.StatusForbidden)
				return
			}
			files.ServeHTTP(w, r)
		}))
		defer srv.Close()
		repo := d.maker.clone(t, "bare-user", srv.URL)
		peerCase(t, "remote/add-cookie/"+d.direction, func(t *testing.T) {
			if _, _, code := d.reader.try(t, repo, "pull", "up", "main"); code == 0 {
				t.Fatal("pulled without the cookie")
			}
			d.maker.run(t, repo, "remote", "add-cookie", "up", "127.0.0.1", "/", "other", "fern")
			d.maker.run(t, repo, "remote", "add-cookie", "up", "127.0.0.1", "/", "session", "moss")
			d.reader.run(t, repo, "pull", "up", "main")
			sound(t, repo)
		})
		peerCase(t, "remote/list-cookies/"+sameResult, func(t *testing.T) {
			args := []string{"remote", "list-cookies", "up"}
			// ostree opens the file where it stands, not in the repository
			back, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			defer os.Chdir(back)
			if err := os.Chdir(repo); err != nil {
				t.Fatal(err)
			}
			if a, b := d.maker.run(t, repo, args...), d.reader.run(t, repo, args...); a != b || !strings.Contains(a, "Value: moss") {
				t.Errorf("%s says %q, %s %q", d.maker.name, a, d.reader.name, b)
			}
		})
		peerCase(t, "remote/delete-cookie/"+d.direction, func(t *testing.T) {
			d.maker.run(t, repo, "remote", "delete-cookie", "up", "127.0.0.1", "/", "session")
			if text := read(t, filepath.Join(repo, "up.cookies.txt")); strings.Contains(text, "session") || !strings.Contains(text, "other") {
				t.Errorf("left: %q", text)
			}
			if _, _, code := d.reader.try(t, repo, "pull", "up", "other"); code == 0 {
				t.Error("pulled without the cookie")
			}
			if _, _, code := d.maker.try(t, repo, "remote", "delete-cookie", "up", "127.0.0.1", "/", "session"); code == 0 {
				t.Error("deleted twice")
			}
		})
	}
}

// The same words from an editor give the same commit.
func TestCommitEditor(t *testing.T) {
	need(t, "ostree")
	script := filepath.Join(t.TempDir(), "editor")
	tree := small(t, t.TempDir(), "usr/etc")
	t.Setenv("OSTREE_EDITOR", "sh "+script)
	grove, ostree := clients()
	for name, text := range map[string]string{
		"subject": "only a subject\n", "body": "\n\nsubject  \n\nbody\n# dropped\n\n  more of it \n\n\n", "comments-only": "# nothing\n\n", "fails": "x\n",
	} {
		peerCase(t, "commit/editor/"+name+"/"+sameResult, func(t *testing.T) {
			write(t, script, "cat >\"$1\" <<'EOF'\n"+text+"EOF\n"+map[bool]string{true: "exit 3\n"}[name == "fails"])
			var got [2]string
			for i, c := range []client{grove, ostree} {
				repo := c.clone(t, "archive", "")
				out, errs, code := c.try(t, repo, "commit", "-e", "-b", "x", "-s", "begin", "--timestamp=@5", "--tree=dir="+tree)
				if want := name == "subject" || name == "body"; (code == 0) != want {
					t.Errorf("%s: exit code %d: %s%s", c.name, code, out, errs)
				}
				if got[i] = out; code == 0 && !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(out) {
					t.Errorf("%s printed %q", c.name, out)
				}
			}
			if got[0] != got[1] {
				t.Errorf("grove %q, ostree %q", got[0], got[1])
			}
		})
	}
}
