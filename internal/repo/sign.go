// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/trust"
)

// TrustOf gives what the policy of a remote is made of: its options, and where its keyring may lie: in the repository, in the
// folder of the host's remotes, in a parent.
//
//	source  ostree src/libostree/ostree-repo.c, find_keyring
func (r *Repo) TrustOf(remote Remote) trust.Remote {
	t := trust.Remote{Name: remote.Name, Options: remote.Options, Keyrings: []string{r.config.KeyringPath(remote.Name)}}
	if dir := r.config.remotesDir; dir != "" {
		t.Keyrings = append(t.Keyrings, filepath.Join(dir, filepath.Base(t.Keyrings[0])))
	}
	if r.parent != nil {
		t.Keyrings = append(t.Keyrings, r.parent.TrustOf(remote).Keyrings...)
	}
	return t
}

// Policy reads the keys of a remote and what its signatures must be.
//
//	errors  ErrNotFound if there is no such remote
func (r *Repo) Policy(remote string) (trust.Policy, error) {
	conf, err := r.Remote(remote)
	if err != nil {
		return trust.Policy{}, err
	}
	return trust.NewPolicy(r.TrustOf(conf))
}

// AnyPolicy has the keys of all remotes and of the host together: to tell who signed, not to decide whether that suffices.
// Remotes whose keys cannot be read are left out.
func (r *Repo) AnyPolicy() (trust.Policy, error) {
	remotes, err := r.Remotes()
	if err != nil {
		return trust.Policy{}, err
	}
	var all trust.Policy
	for _, conf := range append(remotes, Remote{}) {
		t := r.TrustOf(conf)
		if conf.Name == "" {
			t.Keyrings = nil
		}
		if p, err := trust.NewPolicy(t); err == nil {
			all = all.Merge(p)
		}
		if host, err := trust.Ed25519FromDirs(); err == nil && conf.Name == "" {
			all = all.Merge(host)
		}
	}
	return all, nil
}

// EditDetached changes what stands beside a commit, durably; change gets the commit object's bytes, which are what
// signatures are over. Nobody else writes to the repository meanwhile, so nothing that others add is lost.
//
//	errors  ErrNotFound if there is no such commit; those of change
func (r *Repo) EditDetached(ctx context.Context, c ostree.Checksum, change func(data []byte, d gvariant.Dict) (gvariant.Dict, error)) error {
	tx, err := r.begin(ctx, true)
	if err != nil {
		return fmt.Errorf("commit %s: %w", c, err)
	}
	defer tx.Abort()
	data, err := r.Metadata(ostree.TypeCommit, c)
	if err != nil {
		return err
	}
	d, err := r.Detached(c)
	if err == nil {
		d, err = change(data, d)
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", c, err)
	}
	tx.SetDetached(c, d)
	return tx.Commit()
}

// SignCommit adds signatures to a commit.
//
//	errors  ErrNotFound; trust.ErrSigned if a key has signed it already
func (r *Repo) SignCommit(ctx context.Context, c ostree.Checksum, signers []trust.Signer) error {
	return r.EditDetached(ctx, c, func(data []byte, d gvariant.Dict) (gvariant.Dict, error) {
		return trust.Sign(ctx, signers, data, d)
	})
}

// SignMissing is SignCommit without those signers whose signature is there already.
func (r *Repo) SignMissing(ctx context.Context, c ostree.Checksum, signers []trust.Signer) error {
	for _, s := range signers {
		if err := r.SignCommit(ctx, c, []trust.Signer{s}); err != nil && !errors.Is(err, trust.ErrSigned) {
			return err
		}
	}
	return nil
}

// SignStaged signs a commit that the transaction is about to make, beside what else stands beside it.
func (tx *Tx) SignStaged(ctx context.Context, v ostree.Commit, d gvariant.Dict, signers []trust.Signer) error {
	d, err := trust.Sign(ctx, signers, v.Encode(), d)
	if err != nil {
		return fmt.Errorf("commit %s: %w", v.Checksum(), err)
	}
	if len(d) > 0 {
		tx.SetDetached(v.Checksum(), d)
	}
	return nil
}
