// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edPeerPath is an ostree that knows ed25519: GROVE_OSTREE names one, hack/ostree-ed25519 has built one, or it is the
// distribution's own. "" = there is none.
func edPeerPath() string {
	cache, _ := os.UserCacheDir()
	for _, path := range []string{os.Getenv("GROVE_OSTREE"), filepath.Join(cache, "grove-peers/ostree-ed25519/ostree"), "ostree"} {
		if path == "" {
			continue
		}
		if out, err := exec.Command(path, "--version").Output(); err == nil && strings.Contains(string(out), "sign-ed25519") {
			return path
		}
	}
	return ""
}

// edClients are grove and an ostree that knows ed25519, in both roles.
func edClients(t *testing.T) []edPair {
	t.Helper()
	need(t, "ostree")
	path := edPeerPath()
	if path == "" {
		lacking(t, "needs an ostree with ed25519: hack/ostree-ed25519 builds one, GROVE_OSTREE may name one")
	}
	grove, _ := clients()
	ostree := client{"ostree", []string{path}}
	return []edPair{{grove, ostree, theyRead}, {ostree, grove, weRead}}
}

// edPair is who makes and who reads.
type edPair struct {
	maker, reader client
	direction     string
}

// edKey is the key that comes of a seed, in base64.
type edKey struct{ secret, public string }

func newEdKey(seed byte) edKey {
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return edKey{base64.StdEncoding.EncodeToString(k), base64.StdEncoding.EncodeToString(k[32:])}
}

// keyFile is a file with these lines.
func keyFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	write(t, path, strings.Join(lines, "\n")+"\n")
	return path
}

// keyDir is a folder as /etc/ostree is, with these trusted and revoked keys.
func keyDir(t *testing.T, trusted, revoked []string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "trusted.ed25519.d/one"), strings.Join(trusted, "\n")+"\n")
	if len(revoked) > 0 {
		write(t, filepath.Join(dir, "revoked.ed25519"), strings.Join(revoked, "\n")+"\n")
	}
	return dir
}

// demand runs a verification, which has to end well or badly; grove has an exit code of its own for the latter.
func (c client) demand(t *testing.T, good bool, repo string, args ...string) string {
	t.Helper()
	out, errs, code := c.try(t, repo, args...)
	if (code == 0) != good || c.name == "grove" && !good && code != 4 {
		t.Errorf("%s %s: exit code %d, want good = %v\n%s%s", c.name, strings.Join(args, " "), code, good, out, errs)
	}
	return out
}

// Commits that one has signed are verified by the other, with keys from everywhere that keys can come from.
func TestEd25519Commits(t *testing.T) {
	pairs := edClients(t)
	right, second, stranger := newEdKey(1), newEdKey(2), newEdKey(3)
	dir := small(t, t.TempDir(), "usr/etc")
	for _, d := range pairs {
		repo := d.maker.clone(t, "archive", "")
		commit := func(t *testing.T, ref string, args ...string) {
			t.Helper()
			d.maker.run(t, repo, append([]string{"commit", "-b", ref, "-s", ref, "--tree=dir=" + dir}, args...)...)
		}
		peerCase(t, "commit/sign/"+d.direction, func(t *testing.T) {
			commit(t, "one", "--sign="+right.secret, "--sign-type=ed25519")
			d.reader.demand(t, true, repo, "sign", "--verify", "one", right.public)
		})
		if d.maker.name == "grove" { // ostree has the option since 2023
			peerCase(t, "commit/sign-from-file/"+d.direction, func(t *testing.T) {
				commit(t, "file", "--sign-from-file="+keyFile(t, right.secret, second.secret))
				d.reader.demand(t, true, repo, "sign", "--verify", "file", right.public)
				d.reader.demand(t, true, repo, "sign", "--verify", "file", second.public)
				d.reader.demand(t, false, repo, "sign", "--verify", "file", stranger.public)
			})
		}
		commit(t, "two")
		peerCase(t, "sign/key/"+d.direction, func(t *testing.T) {
			d.reader.demand(t, false, repo, "sign", "--verify", "two", right.public)
			d.maker.run(t, repo, "sign", "two", right.secret)
			d.reader.demand(t, true, repo, "sign", "--verify", "two", right.public)
			d.reader.demand(t, true, repo, "sign", "--verify", "two", stranger.public, right.public)
		})
		peerCase(t, "sign/verify-wrong-key/"+d.direction, func(t *testing.T) {
			d.reader.demand(t, false, repo, "sign", "--verify", "two", stranger.public)
		})
		peerCase(t, "sign/verify-says/"+sameResult, func(t *testing.T) {
			args := []string{"sign", "--verify", "two", right.public}
			if a, b := d.maker.run(t, repo, args...), d.reader.run(t, repo, args...); a != b {
				t.Errorf("%s says %q, %s %q", d.maker.name, a, d.reader.name, b)
			}
		})
		peerCase(t, "sign/verify-keys-file/"+d.direction, func(t *testing.T) {
			d.reader.demand(t, true, repo, "sign", "--verify", "--keys-file="+keyFile(t, stranger.public, right.public), "two")
			d.reader.demand(t, false, repo, "sign", "--verify", "--keys-file="+keyFile(t, stranger.public, second.public), "two")
		})
		peerCase(t, "sign/verify-keys-dir/"+d.direction, func(t *testing.T) {
			d.reader.demand(t, true, repo, "sign", "--verify", "--keys-dir="+keyDir(t, []string{stranger.public, right.public}, nil), "two")
			d.reader.demand(t, false, repo, "sign", "--verify", "--keys-dir="+keyDir(t, []string{stranger.public}, nil), "two")
		})
		peerCase(t, "sign/verify-revoked/"+d.direction, func(t *testing.T) {
			d.reader.demand(t, false, repo, "sign", "--verify", "--keys-dir="+keyDir(t, []string{right.public, second.public}, []string{right.public}), "two")
			d.reader.demand(t, true, repo, "sign", "--verify", "--keys-dir="+keyDir(t, []string{right.public}, []string{second.public}), "two")
		})
		peerCase(t, "sign/keys-file/"+d.direction, func(t *testing.T) {
			commit(t, "three")
			d.maker.run(t, repo, "sign", "--keys-file="+keyFile(t, second.secret, right.secret), "three")
			d.reader.demand(t, true, repo, "sign", "--verify", "three", second.public)
			d.reader.demand(t, true, repo, "sign", "--verify", "three", right.public)
		})
		peerCase(t, "sign/of-another-commit/"+d.direction, func(t *testing.T) {
			commit(t, "moved")
			tool(t, "cp", commitMeta(t, repo, "two"), commitMeta(t, repo, "moved"))
			d.reader.demand(t, false, repo, "sign", "--verify", "moved", right.public)
		})
	}
}

// edState is one state of what a remote signs and what a clone asks for.
type edState struct {
	what            string
	commit, summary string   // secret keys; "" = not signed
	remote          []string // of remote add
	good            bool
}

func edStates(t *testing.T) []edState {
	right, second, stranger := newEdKey(1), newEdKey(2), newEdKey(3)
	of := func(k edKey) string { return "--set=verification-ed25519-key=" + k.public }
	const verify, verifySummary = "--set=sign-verify=ed25519", "--set=sign-verify-summary=ed25519"
	return []edState{
		{"signed", right.secret, "", []string{verify, of(right)}, true},
		{"sign-verify-true", right.secret, "", []string{"--set=sign-verify=true", of(right)}, true},
		{"unsigned", "", "", []string{verify, of(right)}, false},
		{"wrong-key", stranger.secret, "", []string{verify, of(right)}, false},
		{"no-key", right.secret, "", []string{verify}, false},
		{"key-file", right.secret, "", []string{verify, "--set=verification-ed25519-file=" + keyFile(t, second.public, right.public)}, true},
		{"key-file-of-others", right.secret, "", []string{verify, "--set=verification-ed25519-file=" + keyFile(t, second.public, stranger.public)}, false},
		{"key-and-file", right.secret, "", []string{verify, of(right), "--set=verification-ed25519-file=" + keyFile(t, second.public)}, true},
		{"inline", right.secret, "", []string{"--sign-verify=ed25519=inline:" + right.public}, true},
		{"sign-verify-file", right.secret, "", []string{"--sign-verify=ed25519=file:" + keyFile(t, right.public)}, true},
		{"no-sign-verify", stranger.secret, "", []string{"--no-sign-verify"}, true},
		{"signed-summary", right.secret, right.secret, []string{verify, verifySummary, of(right)}, true},
		{"unsigned-summary", right.secret, "", []string{verify, verifySummary, of(right)}, false},
		{"summary-by-wrong-key", right.secret, stranger.secret, []string{verify, verifySummary, of(right)}, false},
	}
}

// What one has signed or not the other pulls or refuses, as the remote's configuration asks.
func TestEd25519Pulls(t *testing.T) {
	pairs := edClients(t)
	for _, d := range pairs {
		dir := filepath.Join(t.TempDir(), "srv")
		grove, ostree := clients()
		from := map[string]client{"grove": grove, "ostree": ostree}[d.maker.name]
		tool(t, "cp", "-a", pullFrom(t, from).dir, dir)
		head := pullFrom(t, from).head()
		url := serveStatic(t, dir).url
		for _, k := range edStates(t) {
			peerCase(t, "ed25519/"+k.what+"/"+d.direction, func(t *testing.T) {
				os.Remove(filepath.Join(dir, "objects", head[:2], head[2:]+".commitmeta"))
				if k.commit != "" {
					d.maker.run(t, dir, "sign", head, k.commit)
				}
				summary := []string{"summary", "-u"}
				if k.summary != "" {
					summary = append(summary, "--sign="+k.summary)
				}
				d.maker.run(t, dir, summary...)
				repo := d.reader.clone(t, "bare-user", url, append([]string{"--set=gpg-verify=false"}, k.remote...)...)
				out := d.reader.demand(t, k.good, repo, "pull", "up", "main")
				if refs := glob(t, filepath.Join(repo, "refs/remotes/up/*")); len(refs) > 0 != k.good {
					t.Errorf("refs: %v\n%s", refs, out)
				}
				if k.good {
					sound(t, repo)
				}
			})
		}
	}
}

// Deltas that one has signed are verified and applied by the other.
func TestEd25519Deltas(t *testing.T) {
	pairs := edClients(t)
	right, stranger := newEdKey(7), newEdKey(8)
	for _, d := range pairs {
		src, tree := d.maker.clone(t, "archive", ""), small(t, t.TempDir(), "usr/etc")
		commit := func(text string) string {
			write(t, filepath.Join(tree, "usr/lib/text"), text)
			return strings.TrimSpace(d.maker.run(t, src, "commit", "-b", "main", "-s", text, "--tree=dir="+tree))
		}
		one, two := commit("one"), commit("two")
		generate := func(t *testing.T, sign ...string) (file string) {
			t.Helper()
			file = filepath.Join(t.TempDir(), "main.delta")
			d.maker.run(t, src, append([]string{"static-delta", "generate", "--empty", "--inline", "--min-fallback-size=0", "--filename=" + file, "main"}, sign...)...)
			return file
		}
		verify := func(t *testing.T, good bool, args ...string) {
			t.Helper()
			out := d.reader.demand(t, good, src, append([]string{"static-delta", "verify"}, args...)...)
			if good && !strings.Contains(out, "Verification OK") {
				t.Errorf("%s says %q", d.reader.name, out)
			}
		}
		signed := generate(t, "--sign="+right.secret)
		peerCase(t, "static-delta-generate/sign/"+d.direction, func(t *testing.T) {
			verify(t, true, signed, right.public)
			verify(t, false, signed, stranger.public)
		})
		peerCase(t, "static-delta-generate/keys-file/"+d.direction, func(t *testing.T) {
			file := generate(t, "--keys-file="+keyFile(t, stranger.secret, right.secret))
			verify(t, true, file, right.public)
			verify(t, true, file, stranger.public)
		})
		peerCase(t, "static-delta-verify/keys-file/"+d.direction, func(t *testing.T) {
			verify(t, true, "--keys-file="+keyFile(t, stranger.public, right.public), signed)
			verify(t, false, "--keys-file="+keyFile(t, stranger.public), signed)
		})
		peerCase(t, "static-delta-verify/keys-dir/"+d.direction, func(t *testing.T) {
			verify(t, true, "--keys-dir="+keyDir(t, []string{right.public}, nil), signed)
			verify(t, false, "--keys-dir="+keyDir(t, []string{right.public}, []string{right.public}), signed)
		})
		peerCase(t, "static-delta-verify/unsigned/"+d.direction, func(t *testing.T) {
			if _, _, code := d.reader.try(t, src, "static-delta", "verify", generate(t), right.public); code == 0 {
				t.Error("good without a signature")
			}
		})
		for _, k := range []struct {
			what string
			args []string // of apply-offline, after the file
			good bool
		}{
			{"key", []string{right.public}, true}, {"wrong-key", []string{stranger.public}, false},
			{"keys-file", []string{"--keys-file=" + keyFile(t, right.public)}, true},
			{"keys-dir", []string{"--keys-dir=" + keyDir(t, []string{right.public}, nil)}, true},
			{"revoked", []string{"--keys-dir=" + keyDir(t, []string{right.public}, []string{right.public})}, false},
		} {
			peerCase(t, "static-delta-apply-offline/"+k.what+"/"+d.direction, func(t *testing.T) {
				dest := d.reader.clone(t, "bare-user", "")
				d.reader.run(t, dest, "config", "set", "core.sign-verify-deltas", "true")
				d.reader.demand(t, k.good, dest, append([]string{"static-delta", "apply-offline", signed}, k.args...)...)
				if got := len(glob(t, filepath.Join(dest, "objects", two[:2], two[2:]+".commit"))); (got > 0) != k.good {
					t.Errorf("%d commits", got)
				}
				sound(t, dest)
			})
		}
		if d.reader.name == "ostree" {
			continue // 2022.7 applies signed deltas only from a file: its pull takes the frame for the superblock, of its own too
		}
		peerCase(t, "pull/signed-delta/"+d.direction, func(t *testing.T) {
			d.maker.run(t, src, "static-delta", "generate", "--from="+one, "main", "--sign="+right.secret)
			d.maker.run(t, src, "summary", "-u", "--sign="+right.secret)
			d.maker.run(t, src, "sign", "main", right.secret)
			url := serveStatic(t, src).url
			for key, good := range map[edKey]bool{right: true, stranger: false} {
				dest := d.reader.clone(t, "bare-user", url, "--set=gpg-verify=false", "--set=sign-verify=ed25519", "--set=verification-ed25519-key="+key.public)
				d.reader.run(t, dest, "pull-local", src, one)
				d.reader.demand(t, good, dest, "pull", "--require-static-deltas", "up", "main")
				sound(t, dest)
			}
		})
	}
}
