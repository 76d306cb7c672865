// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"grove/internal/sign"
)

var (
	day0 = time.Unix(1700000000, 0).UTC()
	day  = 24 * time.Hour
)

func seed(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }

func newKey(t testing.TB, c byte) (secret, public []byte) {
	t.Helper()
	secret, public, err := sign.GenerateKey(sign.NewKey{Name: "Key " + string(c), Email: "key@example.org", Seed: seed(c), Time: day0})
	if err != nil {
		t.Fatal(err)
	}
	return secret, public
}

func keyring(t testing.TB, data ...[]byte) sign.Keyring {
	t.Helper()
	k, err := sign.ParseKeyring(data...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// show gives a verdict as one line.
func show(k sign.Keyring, data string, sig []byte) string {
	s, err := k.Verify(strings.NewReader(data), sig)
	var bad *sign.BadSignatureError
	var distrusted *sign.DistrustedKeyError
	var unknown *sign.UnknownKeyError
	switch {
	case err == nil:
		return "good " + s.UserID
	case !errors.Is(err, sign.ErrUntrusted):
		return "wrong kind of error: " + err.Error()
	case errors.As(err, &bad):
		return "bad: " + err.Error()
	case errors.As(err, &distrusted):
		return "distrusted: " + err.Error()
	case errors.As(err, &unknown):
		return "unknown: " + err.Error()
	}
	return "wrong kind of error: " + err.Error()
}

func TestDetached(t *testing.T) {
	const data = "some bytes"
	secretA, publicA := newKey(t, 'a')
	_, publicB := newKey(t, 'b')
	sig, err := sign.SignDetachedAt(secretA, strings.NewReader(data), day0.Add(day))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := sign.SignDetachedAt(secretA, strings.NewReader(data), day0.Add(day))
	if !bytes.Equal(sig, again) {
		t.Error("the same key, data and time give two signatures")
	}
	if _, public := newKey(t, 'a'); !bytes.Equal(public, publicA) {
		t.Error("the same seed gives two keys")
	}
	both := keyring(t, publicB, publicA)
	armored := sign.Armor(sign.ArmorSignature, sig)
	bBefore, _ := sign.SignDetachedAt(secretA, strings.NewReader(data), day0)
	for _, c := range []struct {
		name string
		k    sign.Keyring
		data string
		sig  []byte
		want string
	}{
		{"good", both, data, sig, "good Key a <key@example.org>"},
		{"armored", both, data, armored, "good Key a <key@example.org>"},
		{"armored key", keyring(t, sign.Armor(sign.ArmorPublicKey, publicA)), data, sig, "good Key a <key@example.org>"},
		{"two signatures", keyring(t, publicA), data, append(bytes.Clone(bBefore), sig...), "good Key a <key@example.org>"},
		{"unknown key", keyring(t, publicB), data, sig, "unknown: made by unknown key b26ec2a3a0a5c5a0"},
		{"no keys", sign.Keyring{}, data, sig, "unknown: made by unknown key b26ec2a3a0a5c5a0"},
		{"other data", both, data + ".", sig, "bad: by key b26ec2a3a0a5c5a0: invalid signature: EdDSA verification failure"},
		{"empty", both, data, nil, "bad: read signature: no signature in it"},
		{"garbage", both, data, []byte("garbage"), "bad: read signature: packet begins with byte 0x67"},
		{"cut", both, data, sig[:len(sig)-1], "bad: read signature: packet of 117 bytes, 116 are left"},
		{"cut armor", both, data, armored[:60], "bad: read signature: armor: no end"},
		{"a key", both, data, publicA, "bad: read signature: signature of type 0x13, want one over a document"},
	} {
		got := show(c.k, c.data, c.sig)
		if c.name == "unknown key" || c.name == "no keys" || c.name == "other data" {
			got = strings.Replace(got, both.Keys()[1].ID, "b26ec2a3a0a5c5a0", 1)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	for i := range sig {
		b := bytes.Clone(sig)
		b[i] ^= 4
		if got := show(both, data, b); strings.HasPrefix(got, "good") && !unhashed(i, len(sig)) {
			t.Errorf("byte %d of the signature changed: %s", i, got)
		}
	}
}

// unhashed tells whether a byte of our signatures lies outside what is signed: the two bytes of digest in clear,
// which versions below 5 leave unchecked.
func unhashed(i, n int) bool { return i >= n-72 && i < n-64 }

func TestKeys(t *testing.T) {
	_, public := newKey(t, 'a')
	k := keyring(t, public, public).Merge(keyring(t, public))
	if k.Len() != 1 {
		t.Errorf("%d keys, want 1", k.Len())
	}
	if !bytes.Equal(k.Encode(), public) {
		t.Error("encoded keyring differs")
	}
	key := k.Keys()[0]
	if got := fmt.Sprint(key.UserIDs, key.CreatedSec, key.ExpiresSec, key.Revoked, len(key.Fingerprint), strings.HasSuffix(key.Fingerprint, key.ID)); got !=
		"[Key a <key@example.org>] 1700000000 0 false 40 true" {
		t.Error(got)
	}
	for _, bad := range []string{"", "hello", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxxxx\n"} {
		if _, err := sign.ParseKeyring([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	text := "comment\n" + string(sign.Armor(sign.ArmorPublicKey, public)) + "between\n"
	_, publicB := newKey(t, 'b')
	text += string(sign.Armor(sign.ArmorPublicKey, publicB))
	if n := keyring(t, []byte(text)).Len(); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

// world is a certificate with a subkey whose life a test shapes.
type world struct {
	entity *openpgp.Entity
	cfg    *packet.Config
}

func newWorld(t *testing.T, lifeSecs uint32) *world {
	t.Helper()
	random := false
	cfg := &packet.Config{
		Time: func() time.Time { return day0 }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: lifeSecs,
		NonDeterministicSignaturesViaNotation: &random,
	}
	e, err := openpgp.NewEntity("W", "", "w@example.org", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.AddSigningSubkey(cfg); err != nil {
		t.Fatal(err)
	}
	return &world{e, cfg}
}

func (w *world) public(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := w.entity.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) sign(t *testing.T, at time.Time, change func(*packet.Config)) []byte {
	t.Helper()
	cfg := *w.cfg
	cfg.Time = func() time.Time { return at }
	if change != nil {
		change(&cfg)
	}
	var b bytes.Buffer
	if err := openpgp.DetachSign(&b, []*openpgp.Entity{w.entity}, strings.NewReader("data"), &cfg); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLifeOfKeys(t *testing.T) {
	at := func(n int) time.Time { return day0.Add(time.Duration(n) * day) }
	short := newWorld(t, uint32(10*day/time.Second))
	sigDay1, sigDay5 := short.sign(t, at(1), nil), short.sign(t, at(5), nil)

	expectReason := func(name, want string, public, sig []byte) {
		t.Helper()
		got := show(keyring(t, public), "data", sig)
		if i := strings.LastIndex(got, ": "); strings.HasPrefix(got, "distrusted") {
			got = got[i+2:]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	const good = "good W <w@example.org>"
	expectReason("while it lasts", good, short.public(t), sigDay1)

	long := newWorld(t, 0)
	late := long.sign(t, at(20), nil)
	expectReason("no end", good, long.public(t), late)
	expires := long.sign(t, at(1), func(c *packet.Config) { c.SigLifetimeSecs = 60 })
	expectReason("signature's own end", "the signature has expired", long.public(t), expires)

	revokeCfg := *long.cfg
	revokeCfg.Time = func() time.Time { return at(10) }
	early := long.sign(t, at(1), nil)
	if err := long.entity.Revoke(packet.KeySuperseded, "", &revokeCfg); err != nil {
		t.Fatal(err)
	}
	expectReason("superseded later", good, long.public(t), early)
	expectReason("superseded before", "key is revoked", long.public(t), late)

	stolen := newWorld(t, 0)
	early = stolen.sign(t, at(1), nil)
	if err := stolen.entity.Revoke(packet.KeyCompromised, "", &revokeCfg); err != nil {
		t.Fatal(err)
	}
	expectReason("compromised later", "key is revoked", stolen.public(t), early)

	sub := newWorld(t, 0)
	early = sub.sign(t, at(1), nil)
	for i := range sub.entity.Subkeys {
		if err := sub.entity.Subkeys[i].Revoke(packet.KeyCompromised, "", &revokeCfg); err != nil {
			t.Fatal(err)
		}
	}
	expectReason("subkey compromised", "key is revoked", sub.public(t), early)

	// The public key says it ended on day 3: what was signed on day 5 is refused.
	for _, id := range short.entity.Identities {
		for _, s := range id.SelfCertifications {
			life := uint32(3 * day / time.Second)
			s.Packet.KeyLifetimeSecs = &life
			if err := s.Packet.SignUserId(id.Name, short.entity.PrimaryKey, short.entity.PrivateKey, short.cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	expectReason("before the end", good, short.public(t), sigDay1)
	expectReason("after the end", "key had expired", short.public(t), sigDay5)

	unbound := newWorld(t, 0)
	sig := unbound.sign(t, at(1), nil)
	other := newWorld(t, 0)
	other.entity.Subkeys = append(other.entity.Subkeys, unbound.entity.Subkeys...)
	got := show(keyring(t, other.public(t)), "data", sig)
	if !strings.HasPrefix(got, "distrusted") {
		t.Errorf("subkey moved to another certificate: %s", got)
	}
	// The right certificate beside the wrong one is not masked, in either order.
	if got := show(keyring(t, other.public(t), unbound.public(t)), "data", sig); got != good {
		t.Errorf("masked: %s", got)
	}
}

func TestWeak(t *testing.T) {
	cfg := &packet.Config{Time: func() time.Time { return day0 }, RSABits: 1024, MinRSABits: 1023}
	e, err := openpgp.NewEntity("R", "", "", cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{e, cfg}
	sig := w.sign(t, day0, nil)
	k := keyring(t, w.public(t))
	if got := show(k, "data", sig); !strings.HasSuffix(got, "key of 1024 bits, want 2048") {
		t.Error(got)
	}
	k.Legacy = true
	if got := show(k, "data", sig); got != "good R" {
		t.Error(got)
	}
}

func TestEd25519(t *testing.T) {
	public, err := sign.PublicEd25519(seed('a'))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sign.SignEd25519(seed('a'), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := sign.SignEd25519(append(seed('a'), public...), []byte("data"))
	if err != nil || !bytes.Equal(sig, long) {
		t.Errorf("%v, %x and %x", err, sig, long)
	}
	if err := sign.VerifyEd25519(public, []byte("data"), sig); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		sign.VerifyEd25519(public, []byte("Data"), sig), sign.VerifyEd25519(public[1:], []byte("data"), sig), sign.VerifyEd25519(public, []byte("data"), sig[1:]),
	} {
		if !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := sign.SignEd25519([]byte("short"), nil); err == nil {
		t.Error("a short secret is taken")
	}
}

// TestGPG lets gpgv check what we sign.
func TestGPG(t *testing.T) {
	path, err := exec.LookPath("gpgv")
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs gpgv")
		}
		t.Skip("needs gpgv")
	}
	dir := t.TempDir()
	secret, public := newKey(t, 'a')
	sig, err := sign.SignDetachedAt(secret, strings.NewReader("data"), day0.Add(day))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"key.gpg": public, "data": []byte("data"), "data.sig": sig, "data.asc": sign.Armor(sign.ArmorSignature, sig)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"data.sig", "data.asc"} {
		out, err := exec.Command(path, "--homedir", dir, "--keyring", filepath.Join(dir, "key.gpg"), filepath.Join(dir, name), filepath.Join(dir, "data")).CombinedOutput()
		if err != nil {
			t.Errorf("gpgv %s: %v\n%s", name, err, out)
		}
	}
}

func FuzzVerify(f *testing.F) {
	secret, public := newKey(f, 'a')
	sig, err := sign.SignDetachedAt(secret, strings.NewReader("data"), day0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add(sign.Armor(sign.ArmorSignature, sig))
	f.Add(append([]byte{0x88, 41, 3, 5, 0}, make([]byte, 38)...))
	k := keyring(f, public)
	f.Fuzz(func(t *testing.T, sig []byte) {
		if _, err := k.Verify(strings.NewReader("other data"), sig); !errors.Is(err, sign.ErrUntrusted) {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	secret, public := newKey(f, 'a')
	f.Add(public)
	f.Add(secret)
	f.Add(sign.Armor(sign.ArmorPublicKey, public))
	fixed := keyring(f, public)
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := sign.ParseKeyring(data)
		if err != nil {
			return
		}
		_ = k.Keys()
		if both := fixed.Merge(k); both.Len() > 1+k.Len() || both.Len() < k.Len() {
			t.Errorf("%d keys with one more are %d", k.Len(), both.Len())
		}
	})
}
