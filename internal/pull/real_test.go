// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/sign"
)

// unpackShared unpacks one of ostree's own test repositories.
func unpackShared(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("GROVE_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	path := filepath.Join(dir, "data/ostree/ostreedev-ostree/tests", name)
	if _, err := os.Stat(path); err != nil {
		t.Skip("needs the shared data folder")
	}
	needs(t, "tar", "xz")
	out := t.TempDir()
	run(t, "tar", "-xf", path, "--no-same-owner", "-C", out)
	return out
}

// publicKey gives the key that belongs to the secret in path: PKCS 8, PEM with a label of its own, and base64 over all of that.
func publicKey(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Split(string(pem), "\n")[1])
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.PublicEd25519(der[len(der)-32:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(public)
}

// TestRealRepositories pulls repositories that other versions of ostree made, over HTTP and from the folder.
func TestRealRepositories(t *testing.T) {
	ctx := context.Background()
	dir := unpackShared(t, "pre-signed-pull-data.tar.gz")
	key := publicKey(t, filepath.Join(dir, "key.b64"))
	for _, tt := range []struct {
		folder, ref, ed25519 string
		err                  error
	}{
		{filepath.Join(dir, "repo"), "testref", key, nil},
		{filepath.Join(dir, "repo"), "testref", strings.Repeat("A", 43) + "=", sign.ErrUntrusted},
		{filepath.Join(unpackShared(t, "pre-endian-deltas-repo-little.tar.xz"), "pre-endian-deltas-repo"), "main", "", nil},
		{filepath.Join(unpackShared(t, "pre-endian-deltas-repo-big.tar.xz"), "pre-endian-deltas-repo"), "main", "", nil},
		{filepath.Join(unpackShared(t, "ostree-path-traverse.tar.gz"), "ostree-path-traverse/repo"), "pathtraverse-test", "", ostree.ErrCorrupt},
	} {
		if _, err := os.Stat(tt.folder); err != nil {
			entries, _ := filepath.Glob(filepath.Dir(tt.folder) + "/*")
			t.Errorf("%v: %v", err, entries)
			continue
		}
		s := httptest.NewServer(http.FileServer(http.Dir(tt.folder)))
		defer s.Close()
		for _, url := range []string{s.URL, tt.folder} {
			r := initRepo(t, repo.BareUser)
			options := map[string]string{"gpg-verify": "false"}
			if tt.ed25519 != "" {
				options["sign-verify"], options["verification-ed25519-key"] = "true", tt.ed25519
			}
			addRemote(t, r, url, options)
			_, err := pull.Pull(ctx, r, "up", []string{tt.ref}, pull.Options{Client: quick()})
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: got %v, want %v", tt.folder, err, tt.err)
			}
			if tt.err == nil {
				if err := r.Check(ctx); err != nil {
					t.Errorf("%s: %v", tt.folder, err)
				}
			} else if refs, _ := r.Refs(""); len(refs) > 0 {
				t.Errorf("%s: refs %v", tt.folder, refs)
			}
		}
	}
}
