// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// expiredKeyring is a GnuPG home whose clock stands in 2020, with a key that was good for a day then.
func expiredKeyring(t *testing.T) keyring {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "gk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tool(t, "gpgconf", "--homedir", home, "--kill", "all")
		os.RemoveAll(home)
	})
	write(t, filepath.Join(home, "gpg.conf"), "faked-system-time 20200101T000000!\n")
	gpg := func(args ...string) string {
		t.Helper()
		return tool(t, "gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	}
	gpg("--quick-gen-key", "old <old@example.org>", "rsa2048", "sign", "1d")
	k := keyring{home: home, public: filepath.Join(home, "public.asc")}
	for _, line := range strings.Split(gpg("--with-colons", "--list-keys"), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" && k.id == "" {
			k.id = f[9]
		}
	}
	write(t, k.public, gpg("--armor", "--export", k.id))
	return k
}

// Signed, unsigned, by a stranger, by a key that has expired: for commits and for the summary, pulled by each program from what
// the other made.
func TestPullTrust(t *testing.T) {
	need(t, "ostree", "gpg", "gpgconf")
	grove, ostree := clients()
	good, stranger, old := newKeyring(t, "good"), newKeyring(t, "stranger"), expiredKeyring(t)
	for _, d := range []struct {
		reads, made client
		name        string
	}{{grove, ostree, weRead}, {ostree, grove, theyRead}} {
		dir := filepath.Join(t.TempDir(), "srv")
		tool(t, "cp", "-a", pullFrom(t, d.made).dir, dir)
		head := pullFrom(t, d.made).head()
		url := serveStatic(t, dir).url
		meta := filepath.Join(dir, "objects", head[:2], head[2:]+".commitmeta")
		sign := func(k keyring) {
			os.Remove(meta)
			if k.home != "" {
				d.made.run(t, dir, "gpg-sign", "--gpg-homedir="+k.home, head, k.id)
			}
		}
		summary := func(k keyring) {
			args := []string{"summary", "-u"}
			if k.home != "" {
				args = append(args, "--gpg-sign="+k.id, "--gpg-homedir="+k.home)
			}
			d.made.run(t, dir, args...)
		}
		for _, k := range []struct {
			what            string
			commit, summary keyring
			key             keyring
			remote          []string
			refused         bool
		}{
			{"signed", good, keyring{}, good, nil, false},
			{"unsigned", keyring{}, keyring{}, good, nil, true},
			{"wrong-key", stranger, keyring{}, good, nil, true},
			{"expired-key", old, keyring{}, old, nil, true},
			{"gpgkeypath", good, keyring{}, stranger, []string{"--set=gpgkeypath=" + good.public}, false},
			{"gpgkeypath-of-another", good, keyring{}, stranger, []string{"--set=gpgkeypath=" + old.public}, true},
			{"no-gpg-verify", stranger, keyring{}, good, []string{"--no-gpg-verify"}, false},
			{"signed-summary", good, good, good, []string{"--set=gpg-verify-summary=true"}, false},
			{"unsigned-summary", good, keyring{}, good, []string{"--set=gpg-verify-summary=true"}, true},
			{"summary-by-wrong-key", good, stranger, good, []string{"--set=gpg-verify-summary=true"}, true},
		} {
			peerCase(t, "pull/"+k.what+"/"+d.name, func(t *testing.T) {
				sign(k.commit)
				summary(k.summary)
				repo := d.reads.clone(t, "bare-user", url, append([]string{"--gpg-import=" + k.key.public}, k.remote...)...)
				out, errs, code := d.reads.try(t, repo, "pull", "up", "main")
				if (code != 0) != k.refused {
					t.Fatalf("exit code %d\n%s%s", code, out, errs)
				}
				if d.reads.name == "grove" && k.refused && code != 4 {
					t.Errorf("exit code %d, want 4: %s", code, errs)
				}
				if refs := glob(t, filepath.Join(repo, "refs/remotes/up/*")); len(refs) > 0 == k.refused {
					t.Errorf("refs: %v", refs)
				}
				sound(t, repo)
			})
		}
		// keys that come later, and who they are
		peerCase(t, "remote/gpg-import/"+d.name, func(t *testing.T) {
			sign(good)
			summary(keyring{})
			repo := d.reads.clone(t, "bare-user", url, "--set=gpg-verify=true")
			if _, _, code := d.reads.try(t, repo, "pull", "up", "main"); code == 0 {
				t.Error("pulled without a key")
			}
			d.made.run(t, repo, "remote", "gpg-import", "up", "-k", good.public)
			d.reads.run(t, repo, "pull", "up", "main")
			for _, c := range []client{grove, ostree} {
				if out := c.run(t, repo, "remote", "gpg-list-keys", "up"); !strings.Contains(out, "Key: "+good.id) || !strings.Contains(out, "UID: good <good@example.org>") {
					t.Errorf("%s: keys are %s", c.name, out)
				}
				if out := c.run(t, repo, "remote", "show-url", "up"); out != url+"\n" {
					t.Errorf("%s: URL is %q", c.name, out)
				}
				if out := c.run(t, repo, "remote", "list"); out != "up\n" {
					t.Errorf("%s: remotes are %q", c.name, out)
				}
				if out := c.run(t, repo, "remote", "summary", "up"); !strings.Contains(out, head) {
					t.Errorf("%s: the summary is %s", c.name, out)
				}
			}
			d.made.run(t, repo, "remote", "delete", "up")
			if left := glob(t, filepath.Join(repo, "up.trustedkeys.gpg")); len(left) > 0 || strings.Contains(read(t, filepath.Join(repo, "config")), `remote "up"`) {
				t.Errorf("the remote is not gone: %v", left)
			}
		})
	}
}
