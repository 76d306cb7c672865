// SPDX-License-Identifier: Apache-2.0

// Package trust says who vouches for what comes from a remote, and makes signatures that others can verify.
//
// It knows commits, summaries and static deltas only as bytes with a dictionary of signatures beside them, and a remote only
// as the keys of its configuration: where these lie is package repo's. How a signature is computed is package sign's.
//
// Invariants: a Policy asks for OpenPGP signatures unless the remote says gpg-verify=false; what cannot be read of its keys
// is an error, never a key less; each kind of signature that is asked for has to be there and good by a key of the remote;
// every refusal is a sign.ErrUntrusted.
//
//	source  ostree man/ostree.repo-config.xml; src/libostree/ostree-repo-pull-verify.c, ostree-gpg-verifier.c, ostree-sign-ed25519.c
package trust

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/sign"
)

// The types of signatures.
const (
	GPG     = "gpg"
	Ed25519 = "ed25519"
)

// Remote is what the policy of a remote is made of. The zero value is one that names no keys: its commits must be signed by
// keys that the host trusts for all.
type Remote struct {
	Name string
	// Options are the keys of the remote's group in the configuration, such as gpg-verify.
	Options map[string]string
	// Keyrings are where NAME.trustedkeys.gpg may lie; the first that is there counts.
	Keyrings []string
	Host     Host
}

// Host is where the keys lie that a host trusts for every remote. The zero value is where OSTree looks.
type Host struct {
	GPGDirs     []string // folders of keyrings, for remotes without keys of their own
	Ed25519Dirs []string // folders of trusted.ed25519, revoked.ed25519 and their .d
}

func (h Host) gpgDirs() []string {
	if h.GPGDirs == nil {
		return []string{"/etc/ostree/trusted.gpg.d", "/usr/share/ostree/trusted.gpg.d"}
	}
	return h.GPGDirs
}

func (h Host) ed25519Dirs() []string {
	if h.Ed25519Dirs == nil {
		return []string{"/etc/ostree", "/usr/share/ostree"}
	}
	return h.Ed25519Dirs
}

// Policy is which signatures commits, summary and deltas of a remote must bear. The zero value asks for none.
type Policy struct {
	GPG, GPGSummary   bool
	Sign, SignSummary bool // a signature of another kind, of which only ed25519 is known

	keyring sign.Keyring
	ed25519 [][]byte
	where   string // of the remote's keyring, for messages
}

// NewPolicy reads what the remote's configuration asks for, and its keys.
//
//	errors  keys that cannot be read; a type of signature or a switch that is not known
func NewPolicy(r Remote) (Policy, error) {
	p, err := switches(r.Options)
	if err != nil {
		return Policy{}, fmt.Errorf("remote %s: %w", r.Name, err)
	}
	if p.GPG || p.GPGSummary {
		if p.keyring, err = gpgKeys(r); err != nil {
			return Policy{}, fmt.Errorf("read keys of remote %s: %w", r.Name, err)
		}
		p.where = strings.Join(r.Keyrings, ", ")
	}
	if p.Sign || p.SignSummary {
		if p.ed25519, err = ed25519Keys(r); err != nil {
			return Policy{}, fmt.Errorf("read keys of remote %s: %w", r.Name, err)
		}
	}
	return p, nil
}

// switches reads the options that say what has to be signed.
func switches(o map[string]string) (p Policy, err error) {
	for _, s := range []struct {
		key       string
		to        *bool
		otherwise bool
		types     bool // may list types instead
	}{{"gpg-verify", &p.GPG, true, false}, {"gpg-verify-summary", &p.GPGSummary, false, false}, {"sign-verify", &p.Sign, false, true}, {"sign-verify-summary", &p.SignSummary, false, true}} {
		if *s.to, err = readSwitch(o[s.key], s.otherwise, s.types); err != nil {
			return Policy{}, fmt.Errorf("%s=%s: %w", s.key, o[s.key], err)
		}
	}
	return p, nil
}

func readSwitch(v string, otherwise, types bool) (bool, error) {
	switch v {
	case "":
		return otherwise, nil
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	if !types {
		return false, fmt.Errorf("want true or false")
	}
	list := splitList(v)
	for _, t := range list {
		if t != Ed25519 {
			return false, fmt.Errorf("signatures of type %q are not known, only %s", t, Ed25519)
		}
	}
	if len(list) == 0 {
		return false, fmt.Errorf("want true, false or %s", Ed25519)
	}
	return true, nil
}

// splitList splits a GKeyFile list at ; and ,.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' })
}

// WantsCommit tells whether commits have to be signed.
func (p Policy) WantsCommit() bool { return p.GPG || p.Sign }

// WantsSummary tells whether the summary has to be signed.
func (p Policy) WantsSummary() bool { return p.GPGSummary || p.SignSummary }

// Mark is one signature and what it is worth.
//
//	shape   Key: of ed25519 the public key in base64, "" where none of the known ones made it; of GPG the primary key's
//	        fingerprint, or the id of the key where that is not known
type Mark struct {
	Type, Key string
	GPG       sign.Report // of GPG
	Err       error       // nil: good
}

// String names who made it.
func (m Mark) String() string {
	if m.Type != GPG {
		return m.Type + " " + m.Key
	}
	return sign.Signer{Fingerprint: m.Key, UserID: m.GPG.UserID}.String()
}

// Commit demands what the remote asks of commits: d is the detached metadata. It gives the good signature of each kind.
//
//	errors  sign.ErrUntrusted
func (p Policy) Commit(data []byte, d gvariant.Dict) ([]Mark, error) {
	return p.demand(data, d, p.GPG, p.Sign)
}

// Summary demands what the remote asks of its summary: sig is the content of summary.sig, nil where there is none.
//
//	errors  sign.ErrUntrusted, ostree.ErrCorrupt
func (p Policy) Summary(data, sig []byte) ([]Mark, error) {
	if !p.WantsSummary() {
		return nil, nil
	}
	if data == nil || sig == nil {
		return nil, fmt.Errorf("%w: the remote has no signed summary", sign.ErrUntrusted)
	}
	d, err := ostree.ParseDetached(sig)
	if err != nil {
		return nil, err
	}
	return p.demand(data, d, p.GPGSummary, p.SignSummary)
}

// Delta demands of a static delta's superblock what the remote asks of commits, as far as deltas can bear it: their format
// has no OpenPGP signatures. d holds the signatures of a signed superblock.
//
//	errors  sign.ErrUntrusted
func (p Policy) Delta(data []byte, d gvariant.Dict) ([]Mark, error) {
	return p.demand(data, d, false, p.Sign)
}

func (p Policy) demand(data []byte, d gvariant.Dict, gpg, plain bool) ([]Mark, error) {
	var good []Mark
	all := p.Examine(data, d)
	for _, kind := range []struct {
		name string
		want bool
		keys int
	}{{GPG, gpg, p.keyring.Len()}, {Ed25519, plain, len(p.ed25519)}} {
		if !kind.want {
			continue
		}
		if kind.keys == 0 {
			return nil, fmt.Errorf("%w: the remote has no %s key%s", sign.ErrUntrusted, shown(kind.name), p.hint(kind.name))
		}
		m, err := best(all, kind.name)
		if err != nil {
			return nil, err
		}
		good = append(good, m)
	}
	return good, nil
}

// shown is a type as people write it.
func shown(kind string) string {
	if kind == GPG {
		return "GPG"
	}
	return kind
}

func (p Policy) hint(kind string) string {
	if kind == GPG && p.where != "" {
		return " (" + p.where + ")"
	}
	return ""
}

// best gives the first good signature of that kind, or the error of the first that is not.
func best(all []Mark, kind string) (Mark, error) {
	var first error
	for _, m := range all {
		if m.Type != kind {
			continue
		}
		if m.Err == nil {
			return m, nil
		}
		if first == nil {
			first = m.Err
		}
	}
	if first == nil {
		first = fmt.Errorf("%w: it has no %s signature", sign.ErrUntrusted, shown(kind))
	}
	return Mark{}, first
}

// maxSignatures bounds how many signatures of a kind are looked at: each costs a computation for each key.
const maxSignatures = 64

// Examine judges all signatures of d over data by the keys of the remote, whether it asks for them or not.
func (p Policy) Examine(data []byte, d gvariant.Dict) []Mark {
	var marks []Mark
	for _, sig := range head(ostree.Signatures(d, ostree.KeyGPGSigs)) {
		reports, err := p.keyring.Examine(data, sig)
		if err != nil {
			marks = append(marks, Mark{Type: GPG, Err: err})
		}
		for _, r := range reports {
			m := Mark{Type: GPG, Key: r.Primary, GPG: r, Err: r.Err}
			if m.Key == "" {
				m.Key = r.KeyID
			}
			marks = append(marks, m)
		}
	}
	for _, sig := range head(ostree.Signatures(d, ostree.KeySignEd25519)) {
		marks = append(marks, p.examineEd25519(data, sig))
	}
	return marks
}

func head(sigs [][]byte) [][]byte { return sigs[:min(len(sigs), maxSignatures)] }

func (p Policy) examineEd25519(data, sig []byte) Mark {
	for _, key := range p.ed25519 {
		if sign.VerifyEd25519(key, data, sig) == nil {
			return Mark{Type: Ed25519, Key: base64.StdEncoding.EncodeToString(key)}
		}
	}
	return Mark{Type: Ed25519, Err: fmt.Errorf("%w: no ed25519 signature is by a known key", sign.ErrUntrusted)}
}

// Keyring gives the OpenPGP keys.
func (p Policy) Keyring() sign.Keyring { return p.keyring }

// Ed25519Keys gives the ed25519 keys, in base64.
func (p Policy) Ed25519Keys() []string {
	var keys []string
	for _, k := range p.ed25519 {
		keys = append(keys, base64.StdEncoding.EncodeToString(k))
	}
	return keys
}

// Merge gives a policy that asks for what either asks for, with the keys of both: for looking at signatures without a remote.
func (p Policy) Merge(q Policy) Policy {
	p.GPG, p.GPGSummary, p.Sign, p.SignSummary = p.GPG || q.GPG, p.GPGSummary || q.GPGSummary, p.Sign || q.Sign, p.SignSummary || q.SignSummary
	p.keyring = p.keyring.Merge(q.keyring)
	for _, k := range q.ed25519 {
		if !slices.ContainsFunc(p.ed25519, func(o []byte) bool { return string(o) == string(k) }) {
			p.ed25519 = append(slices.Clip(p.ed25519), k)
		}
	}
	return p
}
