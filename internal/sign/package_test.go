// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/rpmpack"

	"grove/internal/rpm"
	"grove/internal/sign"
)

func shared(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(root, "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs real data: %v", err)
	}
	return dir
}

// allKeys reads every public key below the folders of real data.
func allKeys(t testing.TB) sign.Keyring {
	t.Helper()
	var all sign.Keyring
	for _, dir := range []string{shared(t, "keys"), filepath.Join(shared(t, "rpms"), "rpm-rs"), filepath.Join(shared(t, "rpms"), "createrepo_c")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, ".rpm") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			k, err := sign.ParseKeyring(data)
			if isKey := bytes.Contains(data, []byte("BEGIN PGP PUBLIC")); err != nil && isKey {
				t.Errorf("%s: %v", path, err)
			}
			all = all.Merge(k)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all.Legacy = true
	return all
}

func verdict(t testing.TB, path string, k sign.Keyring) rpm.Verdict {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	v, err := p.Verify(f, k.VerifyFunc())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// TestVerdicts compares with what rpmkeys said of every real package, given all keys there are.
func TestVerdicts(t *testing.T) {
	k := allKeys(t)
	dir := shared(t, "rpms")
	table, err := os.ReadFile(filepath.Join(dir, "FEATURES.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	// What rpm 4.18 cannot check, or had no key for, and grove can.
	better := map[string]rpm.Status{
		"rpm-basic-with-ecdsa-2.3.4-5.el9.noarch.rpm":             rpm.Good,
		"hello-2.0-1.x86_64-signed-with-new-subkey.rpm":           rpm.Good,
		"hello-2.0-1.x86_64-signed-with-subkey.rpm":               rpm.DistrustedKey, // one copy of the certificate revokes the subkey
		"libhello-1.0.1-1.x86_64.rpm":                             rpm.UnknownKey,
		"v6/signed/rpm-basic-with-ed25519-2.3.4-5.el9.noarch.rpm": rpm.Good,
		"v6/signed/rpm-basic-with-rsa4k-2.3.4-5.el9.noarch.rpm":   rpm.Good,
	}
	count := map[rpm.Status]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		row := strings.Split(line, "\t")
		want := map[string]rpm.Status{
			"digests OK": rpm.NotSigned, "digests signatures OK": rpm.Good, "digests SIGNATURES NOT OK": rpm.UnknownKey,
			"DIGESTS NOT OK": rpm.DigestMismatch, "DIGESTS SIGNATURES NOT OK": rpm.DigestMismatch,
		}[row[11]]
		for name, status := range better {
			if strings.HasSuffix(row[0], name) {
				want = status
			}
		}
		v := verdict(t, filepath.Join(dir, row[0]), k)
		if v.Status != want {
			t.Errorf("%s: %s %s, want %s", row[0], v.Status, v.Detail, want)
		}
		if id := row[10]; v.Status == rpm.Good && len(id) == 16 && len(v.Signatures) == 1 && !strings.Contains(row[0], "subkey") && !strings.Contains(v.Signer, id) {
			t.Errorf("%s: signed by %s, want %s", row[0], v.Signer, id)
		}
		count[v.Status]++
	}
	t.Logf("%v", count)
}

// TestBadKeys verifies one package of rpm's own tests with each state of Alice's key, and with forged ones.
func TestBadKeys(t *testing.T) {
	keys := filepath.Join(shared(t, "keys"), "rpm-upstream")
	upstream := filepath.Join(shared(t, "rpms"), "rpm-upstream")
	for _, c := range []struct {
		key, pkg string
		want     rpm.Status
	}{
		{"alice.asc", "hello-2.0-1.x86_64-signed-with-subkey.rpm", rpm.Good},
		{"alice-revoked-subkey.asc", "hello-2.0-1.x86_64-signed-with-subkey.rpm", rpm.DistrustedKey},
		{"alice-expired-subkey.asc", "hello-2.0-1.x86_64-signed-with-subkey.rpm", rpm.DistrustedKey},
		{"rpm.org-rsa-2048-add-subkey.asc", "hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpm.Good},
		{"rpm.org-rsa-2048-test.pub", "hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpm.UnknownKey},
		{"rpm.org-rsa-2048-test.pub", "hello-2.0-1.x86_64-v3-signed.rpm", rpm.Good},
		// ML-DSA-87 with Ed448, beside an RSA signature by another key.
		{"unknown/rpm.org-v6-mldsa87-test.asc", "hello-2.0-1.x86_64-signed-mldsa87.rpm", rpm.Good},
		{"unknown/rpm.org-v6-mldsa87-test.asc", "hello-2.0-1.x86_64-signed.rpm", rpm.UnknownKey},
		{"rpm.org-rsa-2048-test.pub", "hello-2.0-1.x86_64-signed-mldsa87.rpm", rpm.Good},
		{"rpm.org-v6-ed25519-test.asc", "hello-2.0-1.x86_64-signed-mldsa87.rpm", rpm.UnknownKey},
		{"alice.asc", "hello-2.0-1.x86_64-v3-signed.rpm", rpm.UnknownKey},
		// A certificate with a forged subkey: what its primary key signs is good, the subkey counts for nothing.
		{"CVE-2021-3521-badbind.asc", "hello-2.0-1.x86_64-signed.rpm", rpm.Good},
		{"CVE-2021-3521-badbind.asc", "hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpm.UnknownKey},
		{"CVE-2021-3521-nosubsig.asc", "hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpm.UnknownKey},
		{"CVE-2021-3521-nosubsig-last.asc", "hello-2.0-1.x86_64-signed-with-new-subkey.rpm", rpm.UnknownKey},
	} {
		data, err := os.ReadFile(filepath.Join(keys, c.key))
		if err != nil {
			t.Fatal(err)
		}
		k, err := sign.ParseKeyring(data)
		if err != nil {
			t.Fatalf("%s: %v", c.key, err)
		}
		if v := verdict(t, filepath.Join(upstream, c.pkg), k); v.Status != c.want {
			t.Errorf("%s with %s: %s %s, want %s", c.pkg, c.key, v.Status, v.Detail, c.want)
		}
	}
}

// signedPackage is a package by rpmpack, signed with our key.
func signedPackage(t testing.TB, secret []byte) []byte {
	t.Helper()
	r, err := rpmpack.NewRPM(rpmpack.RPMMetaData{Name: "hello", Version: "1", Release: "1", Arch: "noarch", Compressor: "zstd", BuildTime: day0})
	if err != nil {
		t.Fatal(err)
	}
	r.AddFile(rpmpack.RPMFile{Name: "/usr/share/hello", Body: []byte("hello\n"), Mode: 0o644, Owner: "root", Group: "root"})
	signer, err := sign.PackageSigner(secret, day0.Add(day))
	if err != nil {
		t.Fatal(err)
	}
	r.SetPGPSigner(signer)
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPackageSigner(t *testing.T) {
	secretA, publicA := newKey(t, 'a')
	_, publicB := newKey(t, 'b')
	data := signedPackage(t, secretA)
	judge := func(data []byte, k sign.Keyring) string {
		p, err := rpm.ReadPackage(bytes.NewReader(data))
		if err != nil {
			return err.Error()
		}
		v, err := p.Verify(bytes.NewReader(data), k.VerifyFunc())
		if err != nil {
			return err.Error()
		}
		return v.Status.String()
	}
	if got := judge(data, keyring(t, publicA)); got != "good" {
		t.Error(got)
	}
	if got := judge(data, keyring(t, publicB)); got != "signed by an unknown key" {
		t.Error(got)
	}
	data[len(data)-20] ^= 1
	if got := judge(data, keyring(t, publicA)); got != "digest mismatch" {
		t.Error(got)
	}
}

// TestRpmkeys lets rpm itself check a package that we signed.
func TestRpmkeys(t *testing.T) {
	path, err := exec.LookPath("rpmkeys")
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs rpmkeys")
		}
		t.Skip("needs rpmkeys")
	}
	dir := t.TempDir()
	secret, public := newKey(t, 'a')
	key, pkg := filepath.Join(dir, "key.asc"), filepath.Join(dir, "hello.rpm")
	for name, data := range map[string][]byte{key: sign.Armor(sign.ArmorPublicKey, public), pkg: signedPackage(t, secret)} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	db := "--dbpath=" + filepath.Join(dir, "db")
	if out, err := exec.Command(path, db, "--import", key).CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	out, err := exec.Command(path, db, "-Kv", pkg).CombinedOutput()
	if err != nil || strings.Contains(string(out), "NOKEY") || !strings.Contains(string(out), "Signature, key ID") {
		t.Errorf("check: %v\n%s", err, out)
	}
}

func BenchmarkVerify(b *testing.B) {
	path := filepath.Join(shared(b, "rpms"), "el7-closure", "sed-4.2.2-7.el7.x86_64.rpm")
	k := allKeys(b)
	f, err := os.Open(path)
	if err != nil {
		b.Skip(err)
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v, err := p.Verify(nil, k.VerifyFunc()); err != nil || v.Status != rpm.Good {
			b.Fatal(v, err)
		}
	}
}

// TestRepomd verifies the metadata of real sources with the keys that lie beside it.
func TestRepomd(t *testing.T) {
	dir := shared(t, "repodata")
	for _, c := range []struct {
		data, sig, key string
		want, legacy   string // without and with Legacy: these are of the SHA-1 age
	}{
		{"librepo/test_data/repo_yum_01/repodata/repomd.xml", ".asc", ".key", "distrusted", "good"},
		{"librepo/test_data/repo_yum_01/repodata/repomd.xml", "_bad.asc", ".key", "unknown", "unknown"},
		{"librepo/test_data/repo_yum_01/repodata/repomd.xml", ".asc", "_bad.key", "unknown", "unknown"},
		{"libzypp/zypp/tests/repo/yum/data/10.2-updates-subset/repodata/repomd.xml", ".asc", ".key", "distrusted", "good"},
	} {
		var files [3][]byte
		for i, suffix := range []string{"", c.sig, c.key} {
			var err error
			if files[i], err = os.ReadFile(filepath.Join(dir, c.data+suffix)); err != nil {
				t.Fatal(err)
			}
		}
		k := keyring(t, files[2])
		for _, want := range []string{c.want, c.legacy} {
			got := show(k, string(files[0]), files[1])
			if word, _, _ := strings.Cut(got, " "); strings.TrimSuffix(word, ":") != want {
				t.Errorf("%s%s with %s: %s, want %s", c.data, c.sig, c.key, got, want)
			}
			k.Legacy = true
		}
	}
}
