// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/sign"
	"grove/internal/trust"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// edKey is an ed25519 key made of one byte, both parts in base64.
func edKey(t testing.TB, b byte) (secret, public string) {
	t.Helper()
	seed := bytes.Repeat([]byte{b}, 32)
	pub, err := sign.PublicEd25519(seed)
	ok(t, err)
	return base64.StdEncoding.EncodeToString(append(seed, pub...)), base64.StdEncoding.EncodeToString(pub)
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// pgpKey is an OpenPGP key that is always the same, in two files.
func pgpKey(t testing.TB, b byte) (secret, public string) {
	t.Helper()
	dir := t.TempDir()
	sec, pub, err := sign.GenerateKey(sign.NewKey{Name: "Key " + string('A'+rune(b)), Seed: bytes.Repeat([]byte{b}, 32), Time: time.Unix(1e9, 0)})
	ok(t, err)
	return write(t, dir+"/secret.gpg", string(sec)), write(t, dir+"/public.gpg", string(pub))
}

func TestPolicies(t *testing.T) {
	data := []byte("a commit")
	secret, public := edKey(t, 1)
	_, other := edKey(t, 2)
	pgpSecret, pgpPublic := pgpKey(t, 3)
	_, pgpOther := pgpKey(t, 4)
	signed := func(k trust.Keys) gvariant.Dict {
		t.Helper()
		signers, err := k.Signers()
		ok(t, err)
		d, err := trust.Sign(context.Background(), signers, data, nil)
		ok(t, err)
		return d
	}
	ed, pgp, none := signed(trust.Keys{Sign: []string{secret}}), signed(trust.Keys{GPG: []string{pgpSecret}}), gvariant.Dict(nil)
	both := signed(trust.Keys{Sign: []string{secret}, GPG: []string{pgpSecret}})
	dir := t.TempDir()
	file := write(t, dir+"/keys", other+"\n"+public+"\n")
	host := write(t, dir+"/etc/trusted.ed25519.d/one", public+"\n")
	revoked := t.TempDir()
	write(t, revoked+"/trusted.ed25519", public+"\n"+other+"\n")
	write(t, revoked+"/revoked.ed25519", public+"\n")
	type opts = map[string]string
	for _, tt := range []struct {
		name    string
		options opts
		ring    string
		host    trust.Host
		d       gvariant.Dict
		err     string // part of it; "" = good
		by      string
	}{
		{"gpg is the default", nil, pgpPublic, trust.Host{}, pgp, "", "(Key D)"},
		{"and unsigned is refused", nil, pgpPublic, trust.Host{}, none, "it has no GPG signature", ""},
		{"ed25519 is no gpg", nil, pgpPublic, trust.Host{}, ed, "it has no GPG signature", ""},
		{"no key", nil, "", trust.Host{GPGDirs: []string{dir + "/none"}}, pgp, "the remote has no GPG key", ""},
		{"another key", nil, pgpOther, trust.Host{}, pgp, "made by unknown key", ""},
		{"gpgkeypath file", opts{"gpgkeypath": pgpPublic}, "", trust.Host{}, pgp, "", "Key D"},
		{"gpgkeypath folder", opts{"gpgkeypath": filepath.Dir(pgpOther)}, "", trust.Host{}, pgp, "made by unknown key", ""},
		{"gpgkeypath missing", opts{"gpgkeypath": dir + "/none"}, "", trust.Host{}, pgp, "no such file", ""},
		{"gpgkeypath several", opts{"gpgkeypath": pgpOther + ";" + pgpPublic}, "", trust.Host{}, pgp, "", "Key D"},
		{"host's keyrings", nil, "", trust.Host{GPGDirs: []string{filepath.Dir(pgpPublic)}}, pgp, "", "Key D"},
		{"host's keyrings do not count beside the remote's", nil, pgpOther, trust.Host{GPGDirs: []string{filepath.Dir(pgpPublic)}}, pgp, "made by unknown key", ""},
		{"off", opts{"gpg-verify": "false"}, "", trust.Host{}, none, "", ""},
		{"bad switch", opts{"gpg-verify": "maybe"}, "", trust.Host{}, none, "want true or false", ""},
		{"inline", opts{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": public}, "", trust.Host{}, ed, "", "ed25519 " + public},
		{"file", opts{"gpg-verify": "0", "sign-verify": "ed25519", "verification-ed25519-file": file}, "", trust.Host{}, ed, "", "ed25519 " + public},
		{"wrong key", opts{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": other}, "", trust.Host{}, ed, "by a known key", ""},
		{"gpg is no ed25519", opts{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": public}, "", trust.Host{}, pgp, "no ed25519 signature", ""},
		{"by name, without keys", opts{"gpg-verify": "false", "sign-verify": "ed25519"}, "", trust.Host{Ed25519Dirs: []string{dir + "/etc"}}, ed, "no ed25519 key", ""},
		{"host's", opts{"gpg-verify": "false", "sign-verify": "true"}, "", trust.Host{Ed25519Dirs: []string{filepath.Dir(filepath.Dir(host))}}, ed, "", "ed25519"},
		{"revoked", opts{"gpg-verify": "false", "sign-verify": "true"}, "", trust.Host{Ed25519Dirs: []string{revoked}}, ed, "by a known key", ""},
		{"revoked, though the remote names it", opts{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": public}, "", trust.Host{Ed25519Dirs: []string{revoked}}, ed, "no ed25519 key", ""},
		{"unknown type", opts{"sign-verify": "spki"}, "", trust.Host{}, ed, `type "spki" are not known`, ""},
		{"bad key", opts{"gpg-verify": "false", "sign-verify": "true", "verification-ed25519-key": "AAAA"}, "", trust.Host{}, ed, "is not 32 bytes in base64", ""},
		{"both wanted", opts{"sign-verify": "true", "verification-ed25519-key": public}, pgpPublic, trust.Host{}, both, "", "Key D"},
		{"both wanted, one there", opts{"sign-verify": "true", "verification-ed25519-key": public}, pgpPublic, trust.Host{}, pgp, "no ed25519 signature", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := trust.Remote{Name: "up", Options: tt.options, Keyrings: []string{dir + "/none"}, Host: tt.host}
			if tt.ring != "" {
				r.Keyrings = append(r.Keyrings, tt.ring)
			}
			if r.Host.Ed25519Dirs == nil {
				r.Host.Ed25519Dirs = []string{dir + "/none"}
			}
			p, err := trust.NewPolicy(r)
			var marks []trust.Mark
			if err == nil {
				marks, err = p.Commit(data, tt.d)
				if _, again := p.Commit([]byte("another commit"), tt.d); again == nil && p.WantsCommit() {
					t.Error("the signature is taken for another commit too")
				}
			}
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got %v, want %q", err, tt.err)
			case tt.by != "" && (len(marks) == 0 || !strings.Contains(marks[0].String(), tt.by)):
				t.Errorf("by %v, want %s", marks, tt.by)
			}
		})
	}
	p, err := trust.NewPolicy(trust.Remote{Options: opts{"gpg-verify-summary": "true", "gpg-verify": "false"}, Keyrings: []string{pgpPublic}})
	ok(t, err)
	if _, err := p.Summary(data, nil); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("no summary.sig: %v", err)
	}
	if marks, err := p.Summary(data, pgp.Encode()); err != nil || len(marks) != 1 {
		t.Errorf("summary: %v %v", marks, err)
	}
	if _, err := p.Summary(data, []byte("x")); !errors.Is(err, ostree.ErrCorrupt) {
		t.Errorf("no dictionary: %v", err)
	}
}

func TestSigning(t *testing.T) {
	ctx := context.Background()
	data := []byte("data")
	secret, public := edKey(t, 5)
	pgpSecret, pgpPublic := pgpKey(t, 6)
	file := write(t, t.TempDir()+"/keys", secret+"\n")
	for name, k := range map[string]trust.Keys{
		"type": {Sign: []string{secret}, Type: "spki"}, "base64": {Sign: []string{"%"}}, "short": {Sign: []string{"AAAA"}},
		"file": {Files: []string{"/nowhere"}}, "empty": {Files: []string{write(t, t.TempDir()+"/e", "")}}, "pgp file": {GPG: []string{"/nowhere/x"}},
		"option": {GPG: []string{"-x"}},
	} {
		if _, err := k.Signers(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	signers, err := trust.Keys{GPG: []string{pgpSecret}, Files: []string{file}, Now: time.Unix(1.5e9, 0)}.Signers()
	ok(t, err)
	d, err := trust.Sign(ctx, signers, data, gvariant.Dict{{Key: "else", Value: gvariant.String("stays")}})
	ok(t, err)
	again, err := trust.Sign(ctx, signers, data, gvariant.Dict{{Key: "else", Value: gvariant.String("stays")}})
	ok(t, err)
	if !bytes.Equal(d.Encode(), again.Encode()) {
		t.Error("the same key and time give another signature")
	}
	for _, s := range signers {
		if _, err := trust.Sign(ctx, []trust.Signer{s}, data, d); !errors.Is(err, trust.ErrSigned) {
			t.Errorf("%s twice: %v", s.Type, err)
		}
	}
	p, err := trust.NewPolicy(trust.Remote{Keyrings: []string{pgpPublic}})
	ok(t, err)
	marks := p.Examine(data, d)
	if len(marks) != 2 || !marks[0].GPG.Good() || marks[0].GPG.Made.Unix() != 1.5e9 || marks[0].GPG.Algorithm != "EdDSA" || marks[1].Err == nil {
		t.Errorf("%+v", marks)
	}
	id := marks[0].GPG.KeyID
	for _, name := range []string{id, strings.ToUpper(id), "0x" + id[8:], marks[0].Key} {
		if less, n := p.DeleteGPG(d, []string{"ffffffff", name}); n != 1 || less.Has(ostree.KeyGPGSigs) || !less.Has("else") {
			t.Errorf("delete %s: %d", name, n)
		}
	}
	for _, name := range []string{"", "x", id[:8], id[12:], "zzzzzzzz"} {
		if _, n := p.DeleteGPG(d, []string{name}); n != 0 {
			t.Errorf("delete %q: %d", name, n)
		}
	}
	less, n, err := trust.DeleteEd25519(data, d, []string{public})
	if err != nil || n != 1 || less.Has(ostree.KeySignEd25519) {
		t.Errorf("delete: %d %v", n, err)
	}
	_, stranger := edKey(t, 7)
	if _, n, err := trust.DeleteEd25519(data, d, []string{stranger}); n != 0 || err != nil {
		t.Errorf("delete another's: %d %v", n, err)
	}
}

// However many signatures there are, the work is bounded, and none is good.
func TestManySignatures(t *testing.T) {
	_, public := edKey(t, 8)
	p, err := trust.Ed25519FromKeys(public)
	ok(t, err)
	many := make([][]byte, 100_000)
	for i := range many {
		many[i] = make([]byte, 64)
	}
	d := gvariant.Dict{{Key: ostree.KeySignEd25519, Value: gvariant.ByteArrays(many)}, {Key: ostree.KeyGPGSigs, Value: gvariant.ByteArrays(many)}}
	if marks := p.Examine([]byte("x"), d); len(marks) != 128 {
		t.Errorf("%d marks", len(marks))
	}
	if _, err := p.Commit([]byte("x"), d); !errors.Is(err, sign.ErrUntrusted) {
		t.Error(err)
	}
}
