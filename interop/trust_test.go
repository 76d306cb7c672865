// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gpgKey is a key in a GnuPG home, in the state that its name says.
type gpgKey struct {
	keyring
	state  string
	signer string // the key to sign with
	good   bool   // what it signed is to be accepted
}

// gpgKeys makes keys in all states in which they are met. What they sign is signed before they get into that state.
func gpgKeys(t *testing.T) []gpgKey {
	t.Helper()
	var all []gpgKey
	for _, state := range []string{"good", "subkey", "expired", "revoked", "expired-subkey", "revoked-subkey"} {
		k := gpgKey{keyring: newKeyringOf(t, state, map[bool]string{true: "rsa2048", false: "ed25519"}[state == "good"]), state: state, good: state == "good" || state == "subkey"}
		k.signer = k.id
		if strings.HasSuffix(state, "subkey") {
			k.gpg(t, "--quick-add-key", k.id, "ed25519", "sign", "never")
			k.signer = k.fingerprints(t)[1] + "!"
		}
		all = append(all, k)
	}
	return all
}

func (k keyring) gpg(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "gpg", append([]string{"--homedir", k.home, "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
}

func (k keyring) fingerprints(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, line := range strings.Split(k.gpg(t, "--with-colons", "--list-keys"), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			all = append(all, f[9])
		}
	}
	return all
}

// settle brings the key into its state and exports it.
func (k gpgKey) settle(t *testing.T) {
	t.Helper()
	prints := k.fingerprints(t)
	switch k.state {
	case "expired":
		k.gpg(t, "--quick-set-expire", k.id, "seconds=1")
	case "expired-subkey":
		k.gpg(t, "--quick-set-expire", k.id, "seconds=1", prints[1])
	case "revoked":
		text := strings.Replace(read(t, filepath.Join(k.home, "openpgp-revocs.d", k.id+".rev")), ":-----BEGIN", "-----BEGIN", 1)
		write(t, filepath.Join(k.home, "revoke.asc"), text)
		k.gpg(t, "--import", filepath.Join(k.home, "revoke.asc"))
	case "revoked-subkey":
		cmd := exec.Command("gpg", "--homedir", k.home, "--quiet", "--no-tty", "--command-fd", "0", "--pinentry-mode", "loopback", "--passphrase", "", "--edit-key", k.id)
		cmd.Stdin = strings.NewReader("key 1\nrevkey\ny\n0\n\ny\nsave\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("revoke subkey: %v\n%s", err, out)
		}
	}
	write(t, k.public, k.gpg(t, "--armor", "--export", k.id))
}

// Commits signed by either program with keys in every state; the other takes or refuses them as it does its own. What is
// refused leaves no ref.
func TestGPGStates(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf", "python3")
	s := newSite(t)
	s.grove("list") // makes the state root
	keys := gpgKeys(t)
	dir := small(t, s.path("tree"), "usr/etc")
	repos := map[string]string{"ostree": s.path("theirs"), "grove": s.path("ours")}
	for who, repo := range repos {
		tool(t, "ostree", "--repo="+repo, "init", "--mode=archive")
		for _, k := range keys {
			args := []string{"-b", k.state, "-s", "x", "--tree=dir=" + dir, "--gpg-homedir=" + k.home, "--gpg-sign=" + strings.TrimSuffix(k.signer, "!")}
			if who == "ostree" {
				tool(t, "ostree", append([]string{"--repo=" + repo, "commit"}, args...)...)
			} else {
				s.grove(append([]string{"repo", "--repo", repo, "commit"}, args...)...)
			}
		}
		tool(t, "ostree", "--repo="+repo, "commit", "-b", "unsigned", "-s", "x", "--tree=dir="+dir)
		tool(t, "ostree", "--repo="+repo, "commit", "-b", "moved", "-s", "y", "--tree=dir="+dir)
		tool(t, "cp", commitMeta(t, repo, "good"), commitMeta(t, repo, "moved"))
		tool(t, "ostree", "--repo="+repo, "summary", "-u")
	}
	for _, k := range keys {
		k.settle(t)
	}
	time.Sleep(2100 * time.Millisecond) // a key that expires in a second has expired then, for clocks of whole seconds too
	wrong := newKeyring(t, "wrong")
	cases := map[string]string{"unsigned": keys[0].public, "moved": keys[0].public}
	for _, k := range keys {
		cases[k.state] = k.public
	}
	urls := map[string]string{"ostree": s.serveByPython(repos["ostree"]), "grove": s.serveByPython(repos["grove"])}
	try := func(maker, ref, name, key string, good bool) {
		url := urls[maker]
		direction := map[string]string{"grove": theyRead, "ostree": weRead}[maker]
		peerCase(t, "gpg/"+name+"/"+direction, func(t *testing.T) {
			s := s.with(t)
			remote := maker + "-" + name
			s.grove("remote", "add", remote, url, "--gpg-key", key)
			other := "--repo=" + filepath.Join(t.TempDir(), "repo")
			tool(t, "ostree", other, "init", "--mode=archive")
			tool(t, "ostree", other, "remote", "add", "--gpg-import="+key, "up", url)
			_, theirs, theirCode := capture(t, exec.Command("ostree", other, "pull", "up", ref))
			_, ours, ourCode := s.try("pull", remote+":"+ref)
			if good && (ourCode != 0 || theirCode != 0) || !good && (ourCode != 4 || theirCode == 0) {
				t.Errorf("good %v, but ostree ended with %d, grove with %d\n%s%s", good, theirCode, ourCode, theirs, ours)
			}
			if out := s.grove("repo", "refs"); strings.Contains(out, remote+":") != good {
				t.Errorf("refs: %s", out)
			}
		})
	}
	for maker := range repos {
		for ref, key := range cases {
			try(maker, ref, ref, key, ref == "good" || ref == "subkey")
		}
		try(maker, "good", "wrong-key", wrong.public, false)
	}
	for _, k := range keys { // and both say the same of each
		peerCase(t, "show/"+k.state+"/same", func(t *testing.T) { sameSignatures(t, s.with(t), repos, k) })
	}
}

// commitMeta is the file with a commit's signatures.
func commitMeta(t *testing.T, repo, ref string) string {
	t.Helper()
	c := strings.TrimSpace(tool(t, "ostree", "--repo="+repo, "rev-parse", ref))
	return filepath.Join(repo, "objects", c[:2], c[2:]+".commitmeta")
}

func sameSignatures(t *testing.T, s site, repos map[string]string, k gpgKey) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "pubring.gpg"), []byte(k.gpg(t, "--export", k.id)), 0o600); err != nil {
		t.Fatal(err)
	}
	found := func(text string) string {
		_, text, ok := strings.Cut(text, "\nFound ")
		if !ok {
			t.Errorf("no signatures in %s", text)
		}
		return text
	}
	for who, repo := range repos {
		cmd := exec.Command("ostree", "--repo="+repo, "show", "--gpg-homedir="+home, k.state)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		theirs, _, _ := capture(t, cmd)
		ours := s.grove("repo", "--repo", repo, "show", "--gpg-homedir="+home, k.state)
		if found(ours) != found(theirs) {
			t.Errorf("signed by %s: grove shows\n%s\nostree\n%s", who, found(ours), found(theirs))
		}
	}
}

// The verb gpg-sign of both: adds, refuses the same key twice, deletes what the other made.
func TestGPGSign(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	s := newSite(t)
	one, two := newKeyring(t, "one"), newKeyring(t, "two")
	repo := s.path("repo")
	tool(t, "ostree", "--repo="+repo, "init", "--mode=archive")
	dir := small(t, s.path("tree"), "usr/etc")
	tool(t, "ostree", "--repo="+repo, "commit", "-b", "b", "-s", "x", "--tree=dir="+dir)
	home := t.TempDir() // both public keys
	if err := os.WriteFile(filepath.Join(home, "pubring.gpg"), []byte(one.gpg(t, "--export")+two.gpg(t, "--export")), 0o600); err != nil {
		t.Fatal(err)
	}
	count := func(n string) {
		t.Helper()
		if out := tool(t, "ostree", "--repo="+repo, "show", "--gpg-homedir="+home, "b"); !strings.Contains(out, "Found "+n) || strings.Contains(out, "BAD") {
			t.Errorf("want %s:\n%s", n, out)
		}
	}
	peerCase(t, "gpg-sign/several-keys/ostree-reads-grove", func(t *testing.T) {
		s := s.with(t)
		s.grove("repo", "--repo", repo, "gpg-sign", "--gpg-homedir", one.home, "b", one.id)
		s.fails(1, "repo", "--repo", repo, "gpg-sign", "--gpg-homedir", one.home, "b", one.id)
		s.grove("repo", "--repo", repo, "gpg-sign", "--gpg-homedir", two.home, "b", two.id)
		count("2 signatures")
	})
	peerCase(t, "gpg-sign/delete/grove-reads-ostree", func(t *testing.T) {
		s := s.with(t)
		s.grove("repo", "--repo", repo, "gpg-sign", "--delete", "b", one.id)
		tool(t, "ostree", "--repo="+repo, "gpg-sign", "--gpg-homedir="+one.home, "b", one.id)
		count("2 signatures")
		if out := s.grove("repo", "--repo", repo, "gpg-sign", "-d", "b", one.id[24:], two.id); out != "Signatures deleted: 2\n" {
			t.Errorf("%q", out)
		}
		if out := tool(t, "ostree", "--repo="+repo, "show", "b"); strings.Contains(out, "Found") {
			t.Errorf("left over: %s", out)
		}
	})
	peerCase(t, "gpg-sign/key-file/ostree-reads-grove", func(t *testing.T) {
		secret := filepath.Join(t.TempDir(), "secret.gpg")
		write(t, secret, one.gpg(t, "--export-secret-keys", one.id))
		s.with(t).grove("repo", "--repo", repo, "gpg-sign", "b", secret)
		count("1 signature")
	})
	tool(t, "ostree", "--repo="+repo, "fsck", "-q")
}

// Summaries: the same bytes from the same refs, signed by either.
func TestSummaries(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf", "python3")
	s := newSite(t)
	dir := small(t, s.path("tree"), "usr/etc")
	for name, c := range map[string]struct {
		mode  string
		setup func(o string)
		args  []string
	}{
		"plain":   {mode: "archive", setup: func(string) {}},
		"no-refs": {mode: "bare", setup: func(o string) { tool(t, "ostree", o, "refs", "--delete", "a", "b") }},
		"add-metadata": {mode: "bare-user", setup: func(string) {}, args: []string{"-m", `title="My trees"`, "-m", "xa.number=uint32 7", "-m", "ostree.summary.expires=uint64 12",
			"--add-metadata", "e=@as []", "-m", "five='5'", "-m", "six=<6>", "-m", "seven=[7.0]", "-m", "eight=(8,)", "-m", "nine={'a': 1}", "-m", "ten=b'x'", "-m", "eleven=true", "-m", "twelve=12"}},
		"tombstones": {mode: "archive", setup: func(o string) { tool(t, "ostree", o, "config", "set", "core.tombstone-commits", "true") }},
		"collections": {mode: "archive", setup: func(o string) {
			tool(t, "ostree", o, "refs", "--collections", "--create=org.example.Other:x/y", "a")
			tool(t, "ostree", o, "refs", "--collections", "--create=org.example.Another:z", "b")
			tool(t, "ostree", o, "remote", "add", "--no-gpg-verify", "--collection-id=org.example.Remote", "up", "http://localhost:1")
			tool(t, "ostree", o, "refs", "--create=up:r", "b")
		}},
	} {
		peerCase(t, "summary/"+name+"/same", func(t *testing.T) {
			s := s.with(t)
			repo := s.path("repo-" + name)
			o := "--repo=" + repo
			tool(t, "ostree", o, "init", "--mode="+c.mode)
			tool(t, "ostree", o, "commit", "-b", "b", "-s", "x", "--tree=dir="+dir, "--timestamp=@1000000000")
			tool(t, "ostree", o, "commit", "-b", "a", "-s", "x", "--tree=dir="+dir, "--add-metadata-string=version=1.2")
			c.setup(o)
			tool(t, "ostree", append([]string{o, "summary", "-u"}, c.args...)...)
			theirs := read(t, filepath.Join(repo, "summary"))
			when := tool(t, "ostree", o, "summary", "--view")
			_, raw, _ := strings.Cut(tool(t, "ostree", o, "summary", "--raw"), "'ostree.summary.last-modified': <uint64 ")
			stamp, _, _ := strings.Cut(raw, ">")
			s = s.with(t, "SOURCE_DATE_EPOCH="+stamp)
			s.grove(append([]string{"repo", o, "summary", "-u"}, c.args...)...)
			if ours := read(t, filepath.Join(repo, "summary")); ours != theirs {
				t.Errorf("grove writes\n%q\nostree\n%q", ours, theirs)
			}
			if ours := s.grove("repo", o, "summary", "--view"); ours != when {
				t.Errorf("grove shows\n%s\nostree\n%s", ours, when)
			}
			if ours, theirs := s.grove("repo", o, "summary", "--raw"), tool(t, "ostree", o, "summary", "--raw"); ours != theirs {
				t.Errorf("grove shows\n%s\nostree\n%s", ours, theirs)
			}
		})
	}
	key, wrong := newKeyring(t, "right"), newKeyring(t, "wrong")
	s.grove("list")
	state := "--repo=" + filepath.Join(s.root, "repo")
	for maker, direction := range map[string]string{"ostree": weRead, "grove": theyRead} {
		repo := s.path("signed-" + maker)
		tool(t, "ostree", "--repo="+repo, "init", "--mode=archive")
		tool(t, "ostree", "--repo="+repo, "commit", "-b", "b", "-s", "x", "--tree=dir="+dir)
		url := s.serveByPython(repo)
		args := []string{"summary", "-u", "--gpg-sign=" + key.id, "--gpg-homedir=" + key.home}
		sign := func(t *testing.T) {
			if maker == "ostree" {
				tool(t, "ostree", append([]string{"--repo=" + repo}, args...)...)
			} else {
				s.with(t).grove(append([]string{"repo", "--repo", repo}, args...)...)
			}
		}
		for what, good := range map[string]bool{"signed": true, "wrong-key": false, "unsigned": false, "of-another": false} {
			peerCase(t, "summary/"+what+"/"+direction, func(t *testing.T) {
				s := s.with(t)
				public := key.public
				sign(t)
				switch what {
				case "wrong-key":
					public = wrong.public
				case "unsigned":
					tool(t, "ostree", "--repo="+repo, "summary", "-u")
				case "of-another":
					tool(t, "cp", filepath.Join(repo, "summary.sig"), s.path("sig"))
					tool(t, "ostree", "--repo="+repo, "summary", "-u", "-m", "x=1")
					tool(t, "cp", s.path("sig"), filepath.Join(repo, "summary.sig"))
				}
				remote := maker + what
				tool(t, "ostree", state, "remote", "add", "--set=gpg-verify=false", "--set=gpg-verify-summary=true", "--gpg-import="+public, remote, url)
				other := "--repo=" + filepath.Join(t.TempDir(), "repo")
				tool(t, "ostree", other, "init", "--mode=archive")
				tool(t, "ostree", other, "remote", "add", "--set=gpg-verify=false", "--set=gpg-verify-summary=true", "--gpg-import="+public, "up", url)
				_, theirs, theirCode := capture(t, exec.Command("ostree", other, "pull", "up", "b"))
				_, ours, ourCode := s.try("pull", remote+":b")
				if good && (ourCode != 0 || theirCode != 0) || !good && (ourCode != 4 || theirCode == 0) {
					t.Errorf("ostree ended with %d, grove with %d\n%s%s", theirCode, ourCode, theirs, ours)
				}
			})
		}
	}
}
