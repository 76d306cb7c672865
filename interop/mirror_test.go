// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// grove mirror of what ostree made, and ostree as the client of what grove mirrored: signed commits, signed summary, deltas.
func TestMirrorVerb(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	s := newSite(t)
	good, other := newKeyring(t, "upstream"), newKeyring(t, "other")
	_, ostree := clients()
	src := s.path("src")
	tool(t, "cp", "-a", pullFrom(t, ostree).dir, src)
	head, before := pullFrom(t, ostree).head(), pullFrom(t, ostree).history[1]
	sign := []string{"--gpg-homedir=" + good.home}
	for _, ref := range []string{"main", "other"} {
		ostree.run(t, src, append(append([]string{"gpg-sign"}, sign...), ref, good.id)...)
	}
	ostree.run(t, src, "static-delta", "generate", "main")
	ostree.run(t, src, append([]string{"summary", "-u", "--gpg-sign=" + good.id}, sign...)...)
	url := serveStatic(t, src).url
	mirror, copied := s.path("mirror"), s.path("mirror/ostree/up")
	same := func(t *testing.T, names ...string) {
		t.Helper()
		for _, name := range names {
			if read(t, filepath.Join(src, name)) != read(t, filepath.Join(copied, name)) {
				t.Errorf("%s is another", name)
			}
		}
	}
	peerCase(t, "mirror/update/"+weRead, func(t *testing.T) {
		s.grove("mirror", "add", mirror, "up", url, "main", "other", "--gpg-key", good.public, "--set=gpg-verify-summary=true", "--static-deltas")
		s.grove("mirror", "update", mirror)
		same(t, "summary", "summary.sig")
		parts := glob(t, filepath.Join(src, "deltas/*/*/*"))
		for _, file := range parts {
			same(t, strings.TrimPrefix(file, src+"/"))
		}
		if len(parts) < 2 {
			t.Errorf("deltas: %v", parts)
		}
		sound(t, copied)
	})
	peerCase(t, "mirror/wrong-key/"+weRead, func(t *testing.T) {
		s.grove("mirror", "add", s.path("wrong"), "up", url, "main", "--gpg-key", other.public)
		s.fails(4, "mirror", "update", s.path("wrong"))
		if refs := glob(t, s.path("wrong/ostree/up/refs/heads/*")); len(refs) > 0 {
			t.Errorf("refs: %v", refs)
		}
	})
	for server, serve := range map[string]func() string{"static-server": func() string { return serveStatic(t, copied).url }, "grove-serve": func() string { return s.serveByGrove(copied) }} {
		from := serve()
		peerCase(t, "mirror/client-of-"+server+"/"+theyRead, func(t *testing.T) {
			repo := ostree.clone(t, "bare-user", from, "--gpg-import="+good.public, "--set=gpg-verify=true", "--set=gpg-verify-summary=true")
			ostree.run(t, repo, "pull", "--disable-static-deltas", "up", "other")
			ostree.run(t, repo, "pull-local", src, before)
			ostree.run(t, repo, "pull", "--require-static-deltas", "up", "main")
			if got := strings.TrimSpace(ostree.run(t, repo, "rev-parse", "up:main")); got != head {
				t.Errorf("pulled %s, want %s", got, head)
			}
			sound(t, repo)
			wrong := ostree.clone(t, "bare-user", from, "--gpg-import="+other.public, "--set=gpg-verify=true")
			if _, _, code := ostree.try(t, wrong, "pull", "up", "main"); code == 0 {
				t.Error("pulled with another's key")
			}
		})
	}
	peerCase(t, "mirror/upstream-gone/"+theyRead, func(t *testing.T) {
		if err := os.Remove(filepath.Join(src, "summary.sig")); err != nil {
			t.Fatal(err)
		}
		s.fails(4, "mirror", "update", mirror)
		repo := ostree.clone(t, "bare-user", serveStatic(t, copied).url, "--gpg-import="+good.public, "--set=gpg-verify=true", "--set=gpg-verify-summary=true")
		ostree.run(t, repo, "pull", "up", "main")
	})
}
