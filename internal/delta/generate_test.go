// SPDX-License-Identifier: Apache-2.0

package delta_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
	"grove/internal/trust"
)

// ways are the options that deltas are made with in turn.
var ways = map[string]delta.GenerateOptions{
	"plain":        {MinFallbackBytes: -1},
	"inline":       {MinFallbackBytes: -1, Inline: true},
	"small parts":  {MinFallbackBytes: -1, MaxPartBytes: 200_000},
	"no bsdiff":    {MinFallbackBytes: -1, DisableBsdiff: true},
	"little of it": {MinFallbackBytes: -1, MaxBsdiffBytes: 200_000},
	"big endian":   {MinFallbackBytes: -1, Order: delta.BigEndian, Inline: true},
}

func generate(t testing.TB, w world, n ostree.DeltaName, o delta.GenerateOptions) delta.Stats {
	t.Helper()
	stats, err := delta.Generate(context.Background(), w.r, n, o)
	ok(t, err)
	return stats
}

// Each kind of delta, from nothing and from the commit before, makes the commit in every mode.
func TestOurDeltas(t *testing.T) {
	w := makeWorld(t)
	for name, o := range ways {
		for _, from := range []ostree.Checksum{{}, w.before} {
			n := ostree.DeltaName{From: from, To: w.after}
			stats := generate(t, w, n, o)
			if from.IsZero() != (stats.Bsdiff+stats.Chunks == 0) || stats.Fallbacks != 0 {
				t.Errorf("%s: %+v", name, stats)
			}
			if !from.IsZero() && (o.DisableBsdiff && stats.Chunks == 0 || !o.DisableBsdiff && stats.Bsdiff == 0) {
				t.Errorf("%s: %+v", name, stats)
			}
			check(t, w.r)
			for mode, m := range modes {
				if m == repo.Bare && os.Geteuid() != 0 || from.IsZero() && m != repo.BareUser {
					continue
				}
				r := w.clone(t, m, from)
				c, err := delta.Apply(context.Background(), r, w.r.DeltaDir(n), delta.ApplyOptions{})
				if err != nil || c != w.after {
					t.Fatalf("%s into %s: %s, %v", name, mode, c, err)
				}
				check(t, r)
				if got, want := print(t, r, c), print(t, w.r, c); got != want {
					t.Errorf("%s into %s: the trees differ", name, mode)
				}
			}
		}
	}
}

// The same input gives the same bytes, and a delta in a file is that in the repository.
func TestDeltasAreReproducible(t *testing.T) {
	w := makeWorld(t)
	n := ostree.DeltaName{From: w.before, To: w.after}
	generate(t, w, n, ways["inline"])
	first, err := os.ReadFile(w.r.DeltaDir(n) + "/superblock")
	ok(t, err)
	for range 2 {
		file := filepath.Join(t.TempDir(), "delta")
		o := ways["inline"]
		o.Filename = file
		generate(t, w, n, o)
		again, err := os.ReadFile(file)
		ok(t, err)
		if !bytes.Equal(first, again) {
			t.Fatal("made again, it has other bytes")
		}
	}
	if names, err := w.r.Deltas(); err != nil || len(names) != 1 || names[0] != n {
		t.Errorf("deltas %v, %v", names, err)
	}
}

func TestFallbacks(t *testing.T) {
	w := makeWorld(t)
	n := ostree.DeltaName{From: w.before, To: w.after}
	if stats := generate(t, w, n, delta.GenerateOptions{MinFallbackBytes: 350_000}); stats.Fallbacks != 1 {
		t.Errorf("%+v", stats)
	}
	check(t, w.r)
	_, err := delta.Apply(context.Background(), w.clone(t, repo.Archive, w.before), w.r.DeltaDir(n), delta.ApplyOptions{})
	if err == nil || !strings.Contains(err.Error(), "only a pull can do that") {
		t.Error(err)
	}
}

// A delta applies to nothing but what it begins at.
func TestWrongStart(t *testing.T) {
	w := makeWorld(t)
	n := ostree.DeltaName{From: w.before, To: w.after}
	generate(t, w, n, ways["plain"])
	r := w.clone(t, repo.Archive, ostree.Checksum{})
	if _, err := delta.Apply(context.Background(), r, w.r.DeltaDir(n), delta.ApplyOptions{}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("without its start: %v", err)
	}
	check(t, r)
	r = w.clone(t, repo.Archive, w.before)
	ok(t, os.Remove(r.ObjectPath(ostree.TypeFile, fileAt(t, r, w.before, "usr/bin/same"))))
	_, err := delta.Apply(context.Background(), r, w.r.DeltaDir(n), delta.ApplyOptions{})
	t.Logf("with a hole in its start: %v", err) // the start is taken at its word; fsck finds the hole, not the delta
}

func fileAt(t testing.TB, r *repo.Repo, c ostree.Checksum, path string) ostree.Checksum {
	t.Helper()
	tr, _, err := r.Tree(c)
	ok(t, err)
	e, found, err := tr.Lookup(path)
	ok(t, err)
	if !found {
		t.Fatalf("no %s", path)
	}
	return e.File
}

// signers gives a secret key's signer, and the policy that its public key fits.
func signers(t testing.TB, seed byte) ([]trust.Signer, trust.Policy) {
	t.Helper()
	secret := bytes.Repeat([]byte{seed}, 32)
	public, err := sign.PublicEd25519(secret)
	ok(t, err)
	s, err := trust.Keys{Sign: []string{b64(append(secret, public...))}}.Signers()
	ok(t, err)
	p, err := trust.Ed25519FromKeys(b64(public))
	ok(t, err)
	return s, p
}

func TestSignedDeltas(t *testing.T) {
	w := makeWorld(t)
	mine, myPolicy := signers(t, 1)
	_, otherPolicy := signers(t, 2)
	n := ostree.DeltaName{From: w.before, To: w.after}
	signed := ways["inline"]
	signed.Signers, signed.Filename = mine, filepath.Join(t.TempDir(), "signed")
	generate(t, w, n, signed)
	plain := ways["inline"]
	plain.Filename = filepath.Join(t.TempDir(), "plain")
	generate(t, w, n, plain)
	bent := filepath.Join(t.TempDir(), "bent")
	data, err := os.ReadFile(signed.Filename)
	ok(t, err)
	data[len(data)/2] ^= 1
	ok(t, os.WriteFile(bent, data, 0o644))
	for _, c := range []struct {
		name, file string
		policy     trust.Policy
		demanded   bool
		untrusted  bool
	}{
		{"signed, right key", signed.Filename, myPolicy, false, false},
		{"signed, wrong key", signed.Filename, otherPolicy, false, true},
		{"signed, no key", signed.Filename, trust.Policy{}, false, false},
		{"signed, no key, demanded", signed.Filename, trust.Policy{}, true, true},
		{"signed, right key, demanded", signed.Filename, myPolicy, true, false},
		{"not signed", plain.Filename, myPolicy, false, false},
		{"not signed, demanded", plain.Filename, myPolicy, true, true},
		{"bent", bent, myPolicy, false, true},
	} {
		r := w.clone(t, repo.Archive, w.before)
		if c.demanded {
			ok(t, r.Config().Set("core", delta.SignVerifyKey, "true"))
		}
		_, err := delta.Apply(context.Background(), r, c.file, delta.ApplyOptions{Policy: c.policy})
		if c.untrusted != errors.Is(err, sign.ErrUntrusted) || !c.untrusted && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if r.Has(ostree.TypeCommit, w.after) == c.untrusted {
			t.Errorf("%s: the commit landed: %v", c.name, !c.untrusted)
		}
		check(t, r)
	}
}

// What stands beside the commit goes along.
func TestDetachedMetadata(t *testing.T) {
	w := makeWorld(t)
	tx, err := w.r.Begin(context.Background())
	ok(t, err)
	d := ostree.AddSignature(nil, ostree.KeySignEd25519, bytes.Repeat([]byte{9}, 64))
	tx.SetDetached(w.after, d)
	ok(t, tx.Commit())
	n := ostree.DeltaName{To: w.after}
	generate(t, w, n, ways["plain"])
	r := w.clone(t, repo.Archive, ostree.Checksum{})
	_, err = delta.Apply(context.Background(), r, w.r.DeltaDir(n), delta.ApplyOptions{})
	ok(t, err)
	got, err := r.Detached(w.after)
	if err != nil || !bytes.Equal(got.Encode(), d.Encode()) {
		t.Errorf("got %v, %v", got, err)
	}
}
