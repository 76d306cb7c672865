// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/fetch"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
)

// defaultKeyDir holds the keys that a distribution trusts for remotes that name none.
//
//	source  ostree man/ostree.repo-config.xml, gpgkeypath
const defaultKeyDir = "/usr/share/ostree/trusted.gpg.d"

// ed25519Dirs are the folders of the host's trusted.ed25519 and revoked.ed25519.
//
//	source  ostree src/libostree/ostree-sign-ed25519.c
var ed25519Dirs = [...]string{"/etc/ostree", "/usr/share/ostree"}

// policy is which signatures a remote's commits and summary must bear.
type policy struct {
	gpg, gpgSummary   bool
	sign, signSummary bool
	keyring           sign.Keyring
	ed25519           [][]byte
	noKeys            string // what to say where there is no key at all
}

func newPolicy(r *repo.Repo, conf repo.Remote, keyDir string) (policy, error) {
	p := policy{gpg: conf.GPGVerify, gpgSummary: conf.GPGVerifySummary, sign: len(conf.SignVerify) > 0, signSummary: conf.SignVerifySummary}
	if keyDir == "" {
		keyDir = defaultKeyDir
	}
	if p.gpg || p.gpgSummary {
		own := append([]string{r.Config().KeyringPath(conf.Name)}, conf.GPGKeyPaths...)
		data, err := readKeys(own)
		if err == nil && len(data) == 0 {
			data, err = readKeys([]string{keyDir})
		}
		if err != nil {
			return p, err
		}
		if len(data) > 0 {
			if p.keyring, err = sign.ParseKeyring(data...); err != nil {
				return p, fmt.Errorf("read keys of remote %s: %w", conf.Name, err)
			}
		}
		p.noKeys = fmt.Sprintf("the remote has no keys (%s)", own[0])
	}
	if p.sign || p.signSummary {
		for _, t := range conf.SignVerify {
			if t != "ed25519" {
				return p, fmt.Errorf("sign-verify: type %q is not known, only ed25519", t)
			}
		}
		var err error
		if p.ed25519, err = ed25519Keys(conf); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *policy) summary() bool { return p.gpgSummary || p.signSummary }

// readKeys reads files, and the files of folders; what is missing is left out.
func readKeys(paths []string) ([][]byte, error) {
	var all [][]byte
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files := []string{path}
		if info.IsDir() {
			files = nil
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if ext := filepath.Ext(e.Name()); ext == ".gpg" || ext == ".asc" || ext == ".pgp" {
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			if len(data) > 0 {
				all = append(all, data)
			}
		}
	}
	return all, nil
}

// ed25519Keys gives the public keys of a remote: its own, or else those of the host.
func ed25519Keys(conf repo.Remote) ([][]byte, error) {
	var lines []string
	if k := conf.Options["verification-ed25519-key"]; k != "" {
		lines = append(lines, k)
	}
	if f := conf.Options["verification-ed25519-file"]; f != "" {
		more, err := readLines(f)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	var revoked []string
	if len(lines) == 0 {
		for _, dir := range ed25519Dirs {
			for name, list := range map[string]*[]string{"trusted.ed25519": &lines, "revoked.ed25519": &revoked} {
				files, _ := filepath.Glob(filepath.Join(dir, name+".d", "*"))
				for _, f := range append([]string{filepath.Join(dir, name)}, files...) {
					more, err := readLines(f)
					if err != nil && !errors.Is(err, fs.ErrNotExist) {
						return nil, err
					}
					*list = append(*list, more...)
				}
			}
		}
	}
	var keys [][]byte
	for _, line := range lines {
		if slices.Contains(revoked, line) {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("ed25519 key %.60q is not 32 bytes in base64", line)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readLines(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(data)), nil
}

// verify holds data against signatures, all kinds that are asked for. It returns who signed.
func (p *policy) verify(data []byte, d gvariant.Dict, gpg, plain bool) ([]string, error) {
	var by []string
	if gpg {
		signer, err := p.verifyGPG(data, ostree.Signatures(d, ostree.KeyGPGSigs))
		if err != nil {
			return nil, err
		}
		by = append(by, signer)
	}
	if plain {
		signer, err := p.verifyEd25519(data, ostree.Signatures(d, ostree.KeySignEd25519))
		if err != nil {
			return nil, err
		}
		by = append(by, signer)
	}
	return by, nil
}

func (p *policy) verifyGPG(data []byte, sigs [][]byte) (string, error) {
	if p.keyring.Len() == 0 {
		return "", fmt.Errorf("%w: %s", sign.ErrUntrusted, p.noKeys)
	}
	if len(sigs) == 0 {
		return "", fmt.Errorf("%w: it has no GPG signature", sign.ErrUntrusted)
	}
	var first error
	for _, sig := range sigs {
		signer, err := p.keyring.Verify(bytes.NewReader(data), sig)
		if err == nil {
			return signer.String(), nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

func (p *policy) verifyEd25519(data []byte, sigs [][]byte) (string, error) {
	if len(p.ed25519) == 0 {
		return "", fmt.Errorf("%w: the remote has no ed25519 key", sign.ErrUntrusted)
	}
	if len(sigs) == 0 {
		return "", fmt.Errorf("%w: it has no ed25519 signature", sign.ErrUntrusted)
	}
	for _, sig := range sigs {
		for _, key := range p.ed25519 {
			if sign.VerifyEd25519(key, data, sig) == nil {
				return "ed25519 " + base64.StdEncoding.EncodeToString(key), nil
			}
		}
	}
	return "", fmt.Errorf("%w: no ed25519 signature is by a key of the remote", sign.ErrUntrusted)
}

func (p *policy) verifySummary(data, sig []byte) error {
	if data == nil || sig == nil {
		return fmt.Errorf("%w: the remote has no signed summary", sign.ErrUntrusted)
	}
	d, err := ostree.ParseDetached(sig)
	if err != nil {
		return err
	}
	_, err = p.verify(data, d, p.gpgSummary, p.signSummary)
	return err
}

// admit brings a commit object and its signatures, and verifies both. A commit is admitted once.
func (p *puller) admit(ctx context.Context, sum ostree.Checksum) (*verified, error) {
	if v := p.tried[sum]; v != nil {
		return v, nil
	}
	v := &verified{sum: sum}
	if err := p.readCommit(ctx, v); err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	by, err := p.rem.policy.verify(v.data, v.detached, p.rem.policy.gpg, p.rem.policy.sign)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", sum, err)
	}
	for _, s := range by {
		if !slices.Contains(p.result.VerifiedBy, s) {
			p.result.VerifiedBy = append(p.result.VerifiedBy, s)
		}
	}
	p.tried[sum] = v
	return v, nil
}

func (p *puller) readCommit(ctx context.Context, v *verified) (err error) {
	switch {
	case p.r.Has(ostree.TypeCommit, v.sum):
		v.data, err = p.r.Metadata(ostree.TypeCommit, v.sum)
	case p.rem.local != nil:
		v.data, err = p.rem.local.Metadata(ostree.TypeCommit, v.sum)
	default:
		v.data, err = p.rem.metadata(ctx, object{ostree.TypeCommit, v.sum})
		p.result.BytesFetched += int64(len(v.data))
	}
	if err != nil {
		return err
	}
	if v.commit, err = ostree.ParseCommit(v.data); err != nil {
		return err
	}
	if p.rem.local != nil {
		v.detached, err = p.rem.local.Detached(v.sum)
	} else {
		v.detached, err = p.rem.detached(ctx, v.sum)
	}
	if err != nil {
		return err
	}
	if v.hasMeta = len(v.detached) > 0; !v.hasMeta && p.r.Has(ostree.TypeCommit, v.sum) {
		v.detached, err = p.r.Detached(v.sum)
	}
	return err
}

// detached brings a commit's signatures; none is no error.
func (rem *remote) detached(ctx context.Context, sum ostree.Checksum) (gvariant.Dict, error) {
	data, err := rem.get(ctx, rem.meta, "objects/"+ostree.ObjectPath(sum, ostree.TypeCommitMeta, true), maxCommitMeta)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ostree.ParseDetached(data)
}

// checkAsRef holds a commit against the name that it is asked for by.
func (p *puller) checkAsRef(w want, v *verified) error {
	if w.ref == "" {
		return nil
	}
	if bound, ok := v.commit.RefBinding(); ok && !slices.Contains(bound, w.ref) {
		return fmt.Errorf("commit %s: it is bound to the refs %q, not to %q", v.sum, bound, w.ref)
	}
	if want := p.rem.conf.CollectionID; want != "" {
		if got, _ := v.commit.Metadata.Str(ostree.KeyCollection); got != want {
			return fmt.Errorf("commit %s: it is bound to collection %q, wanted %q", v.sum, got, want)
		}
	}
	if !p.o.TimestampCheck {
		return nil
	}
	old, err := p.r.Resolve(p.localName(w.ref))
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := p.r.Commit(old)
	if err != nil {
		return err
	}
	if v.commit.Timestamp < now.Timestamp {
		return fmt.Errorf("commit %s: it is older (%d) than the one that %s names now (%d): a downgrade", v.sum, v.commit.Timestamp, w.ref, now.Timestamp)
	}
	return nil
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
