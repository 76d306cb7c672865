// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Mirrors of a repository whose summary has refs of two collections.
func TestMirrorOfCollections(t *testing.T) {
	need(t, "ostree")
	dir := small(t, t.TempDir(), "usr/etc")
	grove, ostree := clients()
	var mirrors []string // of the two directions
	for _, d := range roles() {
		src := filepath.Join(t.TempDir(), "src")
		// The refs are no hexadecimal digits: those ostree may take for the beginning of a commit.
		d.maker.run(t, src, "init", "--mode=archive", "--collection-id=org.example.Main")
		d.maker.run(t, src, "commit", "-b", "m", "--tree=dir="+dir, "--timestamp=@5", "--owner-uid=0", "--owner-gid=0", "--no-xattrs")
		d.maker.run(t, src, "commit", "-b", "n", "--tree=dir="+filepath.Join(dir, "usr"), "--timestamp=@6", "--owner-uid=0", "--owner-gid=0", "--no-xattrs")
		d.maker.run(t, src, "summary", "-u")
		both := filepath.Join(t.TempDir(), "both")
		tool(t, "cp", "-a", src, both)
		c := strings.TrimSpace(d.maker.run(t, both, "commit", "--orphan", "--bind-ref=q", "--add-metadata-string=ostree.collection-binding=org.example.Other", "--tree=ref=m", "--timestamp=@7"))
		d.maker.run(t, both, "refs", "--collections", "--create=org.example.Other:q", c)
		d.maker.run(t, both, "summary", "-u")
		for what, k := range map[string]struct {
			src, id, ref string
			fails        bool
			want         string
		}{
			"collection-mirror":     {src, "org.example.Main", "", false, "(org.example.Main, m) (org.example.Main, n) (org.example.Main, ostree-metadata)"},
			"collection-mirror-ref": {src, "org.example.Main", "m", false, "(org.example.Main, m)"},
			"collection-map":        {both, "", "", false, "(org.example.Main, m) (org.example.Main, n) (org.example.Main, ostree-metadata) (org.example.Other, q)"},
			"collection-map-bound":  {both, "org.example.Main", "", true, ""}, // the other collection's commit is not of this one
			"collection-of-others":  {src, "org.example.Nowhere", "m", true, ""},
		} {
			peerCase(t, "pull/"+what+"/"+d.direction, func(t *testing.T) {
				repo := d.reader.clone(t, "archive", serveStatic(t, k.src).url, append([]string{"--no-gpg-verify"}, optional("--collection-id=", k.id)...)...)
				out, errs, code := d.reader.try(t, repo, append([]string{"pull", "--mirror", "up"}, optional("", k.ref)...)...)
				if (code != 0) != k.fails {
					t.Fatalf("exit code %d\n%s%s", code, out, errs)
				}
				for _, c := range []client{grove, ostree} {
					got := strings.Join(strings.Split(sortedLines(c.run(t, repo, "refs", "-c")), "\n"), " ")
					if !k.fails && got != k.want {
						t.Errorf("%s sees the collections' refs %q, want %q", c.name, got, k.want)
					}
				}
				sound(t, repo)
				if what == "collection-mirror" {
					mirrors = append(mirrors, tool(t, "sh", "-c", "cd "+repo+"; find refs -type f | sort | xargs -n1 sh -c 'echo $0; cat $0'"))
				}
			})
		}
	}
	peerCase(t, "pull/collection-mirror/"+sameResult, func(t *testing.T) {
		if len(mirrors) != 2 || len(mirrors[0]) != len(mirrors[1]) {
			t.Errorf("mirrored refs:\n%q", mirrors)
		}
	})
}

// optional is a word of a command line, if there is a value for it.
func optional(option, value string) []string {
	if value == "" {
		return nil
	}
	return []string{option + value}
}

// Pulls of a history from which a commit was deleted: it left a tombstone, so that it is not missed.
func TestPullTombstones(t *testing.T) {
	need(t, "ostree")
	for _, d := range roles() {
		peerCase(t, "pull/tombstone/"+d.direction, func(t *testing.T) {
			u := pullFrom(t, clientNamed(d.maker.name))
			src := filepath.Join(t.TempDir(), "src")
			tool(t, "cp", "-a", u.dir, src)
			d.maker.run(t, src, "config", "set", "core.tombstone-commits", "true")
			d.maker.run(t, src, "prune", "--delete-commit="+u.history[1])
			d.maker.run(t, src, "summary", "-u")
			if marks := glob(t, filepath.Join(src, "objects/*/*.tombstone-commit")); len(marks) != 1 {
				t.Fatalf("tombstones: %v", marks)
			}
			for _, url := range []string{serveStatic(t, src).url, "file://" + src} {
				repo := d.reader.clone(t, "bare-user", url)
				d.reader.run(t, repo, "pull", "--depth=2", "up", "main")
				if n := len(glob(t, filepath.Join(repo, "objects/*/*.commit"))); n != 1 {
					t.Errorf("%d commits", n)
				}
				sound(t, repo)
			}
		})
	}
}

func clientNamed(name string) client {
	grove, ostree := clients()
	if name == "grove" {
		return grove
	}
	return ostree
}

// A commit of which one has brought a part is completed by the other.
func TestPartialOfTheOther(t *testing.T) {
	need(t, "ostree")
	for _, d := range roles() {
		u := pullFrom(t, clientNamed(d.reader.name))
		url := serveStatic(t, u.dir).url
		for what, first := range map[string][]string{"subpath": {"--subpath=/etc"}, "commit-metadata-only": {"--commit-metadata-only"}} {
			peerCase(t, "pull/partial-"+what+"/"+d.direction, func(t *testing.T) {
				repo := d.maker.clone(t, "bare-user", url)
				d.maker.run(t, repo, append([]string{"pull", "up", "main"}, first...)...)
				if out, errs, _ := d.reader.try(t, repo, "fsck"); !strings.Contains(out+errs, "1 partial commit") {
					t.Errorf("fsck says nothing of a partial commit: %s%s", out, errs)
				}
				if _, _, code := d.reader.try(t, repo, "checkout", "-U", "up:main", filepath.Join(t.TempDir(), "out")); code == 0 {
					t.Error("a partial commit was checked out")
				}
				d.reader.run(t, repo, "pull", "up", "main")
				if marks := glob(t, filepath.Join(repo, "state/*.commitpartial")); len(marks) > 0 {
					t.Errorf("marks are left: %v", marks)
				}
				sound(t, repo)
			})
		}
		peerCase(t, "fsck/partial/"+d.direction, func(t *testing.T) {
			repo := d.maker.clone(t, "bare-user", url)
			d.maker.run(t, repo, "pull", "up", "main")
			files := glob(t, filepath.Join(repo, "objects/*/*.file"))
			if err := os.Remove(files[0]); err != nil {
				t.Fatal(err)
			}
			d.maker.try(t, repo, "fsck", "--delete")
			out, errs, code := d.reader.try(t, repo, "fsck")
			if code == 0 || !strings.Contains(out+errs, "1 partial commit") {
				t.Errorf("%d: %s%s", code, out, errs)
			}
			d.reader.run(t, repo, "pull", "up", "main")
			sound(t, repo)
		})
		peerCase(t, "fsck/all/"+d.direction, func(t *testing.T) {
			repo := d.maker.clone(t, "bare-user", "")
			d.maker.run(t, repo, "pull-local", u.dir, "main")
			files := glob(t, filepath.Join(repo, "objects/*/*.file"))[:2]
			for _, file := range files {
				if err := os.WriteFile(file, []byte("damaged"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out, errs, code := d.reader.try(t, repo, "fsck", "--all")
			for _, file := range files {
				name := filepath.Base(filepath.Dir(file)) + strings.TrimSuffix(filepath.Base(file), ".file")
				if code == 0 || !strings.Contains(out+errs, name) {
					t.Errorf("exit code %d, and nothing of %s:\n%s%s", code, name, out, errs)
				}
			}
		})
		peerCase(t, "static-delta-reindex/pull/"+d.direction, func(t *testing.T) {
			src := filepath.Join(t.TempDir(), "src")
			from := pullFrom(t, clientNamed(d.maker.name))
			tool(t, "cp", "-a", from.dir, src)
			d.maker.run(t, src, "config", "set", "core.no-deltas-in-summary", "true")
			d.maker.run(t, src, "static-delta", "generate", "main")
			d.maker.run(t, src, "static-delta", "reindex", "--to="+from.head())
			d.maker.run(t, src, "summary", "-u")
			if text := d.reader.run(t, src, "summary", "--raw"); strings.Contains(text, "ostree.static-deltas'") {
				t.Errorf("the summary lists deltas: %s", text)
			}
			repo := d.reader.clone(t, "bare-user", serveStatic(t, src).url)
			d.reader.run(t, repo, "pull", "--disable-static-deltas", "up", "main@"+from.history[1])
			d.reader.run(t, repo, "pull", "--require-static-deltas", "up", "main")
			sound(t, repo)
		})
		peerCase(t, "static-delta-delete/name/"+d.direction, func(t *testing.T) {
			src := filepath.Join(t.TempDir(), "src")
			tool(t, "cp", "-a", pullFrom(t, clientNamed(d.maker.name)).dir, src)
			d.maker.run(t, src, "static-delta", "generate", "--empty", "main")
			d.maker.run(t, src, "static-delta", "reindex")
			name := strings.TrimSpace(d.reader.run(t, src, "static-delta", "list"))
			d.reader.run(t, src, "static-delta", "delete", name)
			if got := d.maker.run(t, src, "static-delta", "list"); strings.Contains(got, name) || len(glob(t, filepath.Join(src, "deltas/*/*"))) > 0 {
				t.Errorf("left: %s", got)
			}
		})
	}
}
