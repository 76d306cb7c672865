// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
	"grove/internal/trust"
)

func (v *repoVerbs) gpgSign() *cobra.Command {
	var remove bool
	var home string
	cmd := verb("gpg-sign [--delete] [--gpg-homedir=DIR] COMMIT KEY-ID...", "sign a commit with OpenPGP keys", `
KEY-ID is the id or fingerprint of a key that gpg knows, or the path (with a slash) of a file that holds a secret key without
passphrase. With --delete: take away the signatures of these keys.`, cobra.MinimumNArgs(2), func(cmd *cobra.Command, args []string) error {
		r, c, err := v.commitArg(args[0])
		if err != nil {
			return err
		}
		if remove {
			policy, err := r.AnyPolicy()
			if err != nil {
				return err
			}
			if home != "" {
				more, err := trust.ReadGPGHome(cmd.Context(), home)
				if err != nil {
					return err
				}
				policy = policy.Merge(more)
			}
			return v.deleteSignatures(cmd, r, c, func(_ []byte, d gvariant.Dict) (gvariant.Dict, int, error) {
				d, n := policy.DeleteGPG(d, args[1:])
				return d, n, nil
			})
		}
		s := signFlags{trust.Keys{GPG: args[1:], GPGHome: home}}
		signers, err := s.signers(v.a)
		if err != nil {
			return err
		}
		return r.SignCommit(cmd.Context(), c, signers)
	})
	cmd.Flags().BoolVarP(&remove, "delete", "d", false, "delete the signatures of these keys")
	cmd.Flags().StringVar(&home, "gpg-homedir", "", "the GnuPG home with the keys")
	return cmd
}

func (v *repoVerbs) commitArg(spec string) (*repo.Repo, ostree.Checksum, error) {
	r, err := v.open()
	if err != nil {
		return nil, ostree.Checksum{}, err
	}
	c, err := r.Resolve(spec)
	return r, c, err
}

// deleteSignatures takes signatures away and says how many, as ostree does.
func (v *repoVerbs) deleteSignatures(cmd *cobra.Command, r *repo.Repo, c ostree.Checksum, f func([]byte, gvariant.Dict) (gvariant.Dict, int, error)) error {
	n := 0
	err := r.EditDetached(cmd.Context(), c, func(data []byte, d gvariant.Dict) (_ gvariant.Dict, err error) {
		d, n, err = f(data, d)
		return d, err
	})
	if err == nil {
		v.a.printf("Signatures deleted: %d\n", n)
	}
	return err
}

// edSignFlags are those of `grove repo sign`.
type edSignFlags struct {
	remove, verify     bool
	kind, file, keydir string
}

func (v *repoVerbs) sign() *cobra.Command {
	var o edSignFlags
	cmd := verb("sign [--verify|--delete] [--keys-file=FILE] COMMIT [KEY-ID...]", "sign a commit with ed25519 keys, or verify that", `
To sign, KEY-ID is a secret key in base64 (64 bytes, or the first 32); --keys-file has such keys, one a line, and does not show
them to others. With --verify, KEY-ID is a public key in base64, --keys-file a file of these; without both, the keys of the host
(or of --keys-dir) count: trusted.ed25519 and trusted.ed25519.d, but for those of revoked.ed25519. One good signature is enough; exit code 4 if
there is none. With --delete: take away the signatures of these public keys.`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		r, c, err := v.commitArg(args[0])
		if err != nil {
			return err
		}
		if o.kind != trust.Ed25519 {
			return usage("sign: signatures of type %q are not known, only %s (OpenPGP: grove repo gpg-sign)", o.kind, trust.Ed25519)
		}
		switch {
		case o.verify && o.remove:
			return usage("sign: say --verify or --delete, not both")
		case o.verify:
			return v.verifyEd25519(r, c, args[1:], o)
		case o.remove:
			return v.deleteSignatures(cmd, r, c, func(data []byte, d gvariant.Dict) (gvariant.Dict, int, error) {
				return trust.DeleteEd25519(data, d, args[1:])
			})
		case len(args) == 1 && o.file == "":
			return usage("sign: say a secret key, or --keys-file")
		}
		k := trust.Keys{Sign: args[1:], Type: o.kind}
		if o.file != "" {
			k.Files = []string{o.file}
		}
		signers, err := k.Signers()
		if err != nil {
			return err
		}
		return r.SignCommit(cmd.Context(), c, signers)
	})
	f := cmd.Flags()
	f.BoolVarP(&o.remove, "delete", "d", false, "delete the signatures of these keys")
	f.BoolVar(&o.verify, "verify", false, "verify instead of signing")
	f.StringVarP(&o.kind, "sign-type", "s", trust.Ed25519, "the type of signature")
	f.StringVar(&o.file, "keys-file", "", "read keys from this file")
	f.StringVar(&o.keydir, "keys-dir", "", "with --verify, where trusted.ed25519 and revoked.ed25519 lie")
	return cmd
}

func (v *repoVerbs) verifyEd25519(r *repo.Repo, c ostree.Checksum, keys []string, o edSignFlags) error {
	policy, err := edPolicy(keys, o.file, o.keydir)
	if err != nil {
		return err
	}
	if len(policy.Ed25519Keys()) == 0 {
		return fmt.Errorf("commit %s: %w: there is no ed25519 key to verify it with", c, sign.ErrUntrusted)
	}
	data, err := r.Metadata(ostree.TypeCommit, c)
	if err != nil {
		return err
	}
	d, err := r.Detached(c)
	if err != nil {
		return err
	}
	marks, err := policy.Commit(data, d)
	if err != nil {
		return fmt.Errorf("commit %s: %w", c, err)
	}
	for _, m := range marks {
		key, _ := base64.StdEncoding.DecodeString(m.Key)
		v.a.printf("%s: Signature verified successfully with key '%s'\n", m.Type, hex.EncodeToString(key))
	}
	return nil
}

// policyFor is what signatures are judged by when they are shown: of the remote that was named, of the one in the refspec,
// of a GnuPG home, or else all keys there are.
func (v *repoVerbs) policyFor(cmd *cobra.Command, r *repo.Repo, spec, remote, home string) (trust.Policy, error) {
	if home != "" {
		return trust.ReadGPGHome(cmd.Context(), home)
	}
	if remote != "" {
		return r.Policy(remote)
	}
	if name, _, ok := strings.Cut(spec, ":"); ok {
		if p, err := r.Policy(name); err == nil || !errors.Is(err, repo.ErrNotFound) {
			return p, err
		}
	}
	return r.AnyPolicy()
}

// signatureJSON is one signature as --json shows it.
type signatureJSON struct {
	Type   string `json:"type"` // gpg, ed25519
	Key    string `json:"key"`  // fingerprint; public key in base64; "" where not known
	UserID string `json:"user_id,omitempty"`
	Made   int64  `json:"made,omitempty"` // seconds since 1970
	Good   bool   `json:"good"`
	Reason string `json:"reason,omitempty"` // why it is not
}

func signatureViews(marks []trust.Mark) []signatureJSON {
	out := []signatureJSON{}
	for _, m := range marks {
		j := signatureJSON{Type: m.Type, Key: m.Key, UserID: m.GPG.UserID, Good: m.Err == nil}
		if !m.GPG.Made.IsZero() {
			j.Made = m.GPG.Made.Unix()
		}
		if m.Err != nil {
			j.Reason = m.Err.Error()
		}
		out = append(out, j)
	}
	return out
}

// signaturesText shows signatures as `ostree show` does.
func signaturesText(marks []trust.Mark) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Found %s:\n", counted(len(marks), "signature"))
	for _, m := range marks {
		b.WriteByte('\n')
		for _, line := range signatureLines(m) {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return b.String()
}

func signatureLines(m trust.Mark) []string {
	r := m.GPG
	switch {
	case m.Type != trust.GPG && m.Err == nil:
		return []string{"Signature of type " + m.Type, "Good signature by key " + m.Key}
	case m.Type != trust.GPG:
		return []string{"Signature of type " + m.Type, "Can't check signature: no known key fits"}
	case r.KeyID == "":
		return []string{"Unreadable signature: " + m.Err.Error()}
	}
	key := strings.ToUpper(r.KeyID)
	lines := []string{fmt.Sprintf("Signature made %s using %s key ID %s", localTime(r.Made), r.Algorithm, key)}
	var distrusted *sign.DistrustedKeyError
	sigExpired := !r.SignatureExpires.IsZero() && time.Now().After(r.SignatureExpires)
	keyExpired := func(at time.Time) bool { return time.Now().After(at) }
	switch who := userAndMail(r.UserID); {
	case !r.Known():
		return append(lines, "Can't check signature: public key not found")
	case r.Good():
		lines = append(lines, "Good signature from "+who)
	case r.Revoked:
		lines = append(lines, "Key revoked")
	case sigExpired:
		lines = append(lines, "Expired signature from "+who)
	case errors.As(r.Err, &distrusted) && r.KeyExpires.IsZero() && r.PrimaryExpires.IsZero():
		lines = append(lines, "BAD signature from "+who, "Not relied on: "+distrusted.Reason)
	default:
		lines = append(lines, "BAD signature from "+who)
	}
	if r.Fingerprint != r.Primary {
		lines = append(lines, "Primary key ID "+strings.ToUpper(r.Primary[max(0, len(r.Primary)-16):]))
	}
	expiry := func(what string, at time.Time, over bool) {
		word := "expires"
		if over {
			word = "expired"
		}
		if !at.IsZero() {
			lines = append(lines, fmt.Sprintf("%s %s %s", what, word, localTime(at)))
		}
	}
	expiry("Signature", r.SignatureExpires, sigExpired)
	expiry("Key", r.KeyExpires, keyExpired(r.KeyExpires))
	if r.Fingerprint != r.Primary {
		expiry("Primary key", r.PrimaryExpires, keyExpired(r.PrimaryExpires))
	}
	return lines
}

func localTime(t time.Time) string { return t.Local().Format(time.ANSIC) }

// userAndMail is a user id as ostree prints it.
func userAndMail(id string) string {
	if !strings.HasSuffix(id, ">") {
		id += " <>"
	}
	return `"` + id + `"`
}
