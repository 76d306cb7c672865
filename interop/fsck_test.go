// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each object of a repository of each mode is damaged in turn; ostree and grove both find it, and grove names it.
func TestFsckDamage(t *testing.T) {
	need(t, "ostree")
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "usr/file"), strings.Repeat("content ", 100))
	write(t, filepath.Join(dir, "usr/other"), "other")
	if err := os.Symlink("file", filepath.Join(dir, "usr/link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(dir, "usr/other"), "user.note", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"bare", "bare-user", "bare-user-only", "bare-split-xattrs", "archive"} {
		peerCase(t, "fsck/damage/"+mode+"/same", func(t *testing.T) {
			s := newSite(t)
			repo := s.path("repo")
			s.grove("repo", "init", "--repo", repo, "--mode", mode)
			s.grove("repo", "commit", "--repo", repo, "-b", "x", "--tree=dir="+dir, "--canonical-permissions")
			objects := glob(t, filepath.Join(repo, "objects/*/*"))
			if len(objects) < 7 {
				t.Fatalf("%v", objects)
			}
			for _, path := range objects {
				damageBoth(t, s, repo, path)
			}
			tool(t, "ostree", "--repo="+repo, "fsck", "-q")
			s.grove("repo", "fsck", "--repo", repo)
		})
	}
}

func damageBoth(t *testing.T, s site, repo, path string) {
	t.Helper()
	name := filepath.Base(filepath.Dir(path)) + filepath.Base(path)
	for what, f := range map[string]func() error{
		"gone": func() error { return nil },
		"flipped": func() error {
			data, err := os.ReadFile(path + ".saved")
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			cp := exec.Command("cp", "--preserve=all", path+".saved", path) // with its xattrs
			if err := cp.Run(); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o644)
		},
	} {
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if what == "flipped" && (fi.Mode()&os.ModeSymlink != 0 || fi.Size() == 0) {
			continue
		}
		if what == "gone" && strings.HasSuffix(name, ".file-xattrs") {
			continue // each file's link to it is another name of it
		}
		if err := os.Rename(path, path+".saved"); err != nil {
			t.Fatal(err)
		}
		if err := f(); err != nil {
			t.Fatal(err)
		}
		saved := s.path("saved") // out of the repository while it is looked at
		if err := os.Rename(path+".saved", saved); err != nil {
			t.Fatal(err)
		}
		ours, _, ourCode := s.try("repo", "fsck", "--repo", repo)
		_, theirs, theirCode := capture(t, exec.Command("ostree", "--repo="+repo, "fsck", "-q"))
		for _, mark := range glob(t, filepath.Join(repo, "state/*.commitpartial")) { // which ostree leaves also without --delete
			os.Remove(mark)
		}
		known := strings.TrimSuffix(name, "z")
		if strings.HasSuffix(name, ".commit") && what == "gone" {
			known = "ref x"
		}
		if ourCode != 4 || !strings.Contains(ours, known) {
			t.Errorf("%s %s: grove ends with %d\n%s", what, name, ourCode, ours)
		}
		// ostree neither misses nor reads what only links to xattrs
		if theirCode == 0 && !strings.Contains(name, ".file-xattrs") {
			t.Errorf("%s %s: ostree finds nothing\n%s", what, name, theirs)
		}
		os.Remove(path)
		if err := os.Rename(saved, path); err != nil {
			t.Fatal(err)
		}
	}
}

// What fsck --delete of one leaves is completed by a pull of the other, and partial until then.
func TestFsckDelete(t *testing.T) {
	need(t, "ostree")
	s := newSite(t)
	src := s.path("src")
	dir := small(t, s.path("tree"), "usr/etc")
	tool(t, "ostree", "--repo="+src, "init", "--mode=archive")
	tool(t, "ostree", "--repo="+src, "commit", "-b", "x", "-s", "x", "--tree=dir="+dir)
	ourFsck := func(args ...string) (string, int) {
		out, _, code := s.try(append([]string{"repo"}, args...)...)
		return out, code
	}
	theirFsck := func(args ...string) (string, int) {
		out, errs, code := capture(t, exec.Command("ostree", args...))
		return out + errs, code
	}
	for direction, who := range map[string]struct {
		fsck, look func(args ...string) (string, int)
		pull       func(repo string)
	}{
		theyRead: {ourFsck, theirFsck, func(repo string) { tool(t, "ostree", "--repo="+repo, "pull-local", src, "x") }},
		weRead:   {theirFsck, ourFsck, func(repo string) { s.grove("repo", "--repo", repo, "pull-local", src, "x") }},
	} {
		peerCase(t, "fsck/delete/"+direction, func(t *testing.T) {
			repo := filepath.Join(t.TempDir(), "repo")
			tool(t, "cp", "-a", src, repo)
			files := glob(t, filepath.Join(repo, "objects/*/*.filez"))
			if err := os.WriteFile(files[0], []byte("damaged"), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, code := who.fsck("fsck", "--repo="+repo, "--delete"); code == 0 {
				t.Errorf("nothing found: %s", out)
			}
			if _, err := os.Lstat(files[0]); err == nil {
				t.Error("the object is still there")
			}
			out, code := who.look("fsck", "--repo="+repo)
			if code == 0 || !strings.Contains(out, "partial commit") {
				t.Errorf("the other program ends with %d\n%s", code, out)
			}
			who.pull(repo)
			if out, code := who.look("fsck", "--repo="+repo); code != 0 {
				t.Errorf("after the pull: %d\n%s", code, out)
			}
		})
	}
}

// The same bindings are found wrong.
func TestFsckBindings(t *testing.T) {
	need(t, "ostree")
	s := newSite(t)
	dir := small(t, s.path("tree"), "usr/etc")
	for i, c := range []struct {
		what string
		make func(o string)
	}{
		{"fits", func(string) {}},
		{"another-ref", func(o string) { tool(t, "ostree", o, "refs", "--create=main/b", "main/a") }},
		{"ref-gone", func(o string) { tool(t, "ostree", o, "refs", "--delete", "main/a") }},
		{"old-commit", func(o string) { tool(t, "ostree", o, "commit", "-b", "main/a", "-s", "y", "--tree=dir="+dir) }},
		{"collection-missing", func(o string) { tool(t, "ostree", o, "config", "set", "core.collection-id", "org.example.C") }},
	} {
		for _, option := range []string{"--verify-bindings", "--verify-back-refs"} {
			peerCase(t, "fsck"+strings.Replace(option, "--", "/", 1)+"/"+c.what+"/same", func(t *testing.T) {
				repo := s.path(fmt.Sprint("repo", i, option))
				o := "--repo=" + repo
				tool(t, "ostree", o, "init", "--mode=archive")
				tool(t, "ostree", o, "commit", "-b", "main/a", "-s", "x", "--tree=dir="+dir, "--bind-ref=main/also")
				tool(t, "ostree", o, "refs", "--create=main/also", "main/a")
				c.make(o)
				_, theirs, theirCode := capture(t, exec.Command("ostree", "fsck", "-q", o, "--verify-bindings", option))
				ours, _, ourCode := s.with(t).try("repo", "fsck", o, option)
				if (theirCode == 0) != (ourCode == 0) || ourCode != 0 && ourCode != 4 {
					t.Errorf("ostree ends with %d, grove with %d\n%s%s", theirCode, ourCode, theirs, ours)
				}
			})
		}
	}
}
