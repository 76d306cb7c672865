// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// RefPrefix begins the refs of package commits.
const RefPrefix = "grove/pkg/"

// Keys of a package commit's metadata.
const (
	keyVersion   = "grove.pkg.version"   // u
	keyDigest    = "grove.pkg.digest"    // s: sha256 of the package file
	keyHeader    = "grove.pkg.header"    // ay: the header blob
	keySignature = "grove.pkg.signature" // ay: the signature header blob
	keyOwners    = "grove.pkg.owners"    // a(sssuayb): path, user, group, mode, caps, dir
	keyTmpfiles  = "grove.pkg.tmpfiles"  // as
	keyPaths     = "grove.pkg.paths"     // as
	keyDropped   = "grove.pkg.dropped"   // as
	keySkipped   = "grove.pkg.skipped"   // as
	keyVariant   = "grove.pkg.variant"   // s
)

// loadKeys are all of them with their types, but for the version.
var loadKeys = []struct{ key, typ string }{
	{keyDigest, "s"}, {keyHeader, "ay"}, {keySignature, "ay"}, {keyOwners, "a(sssuayb)"}, {keyTmpfiles, "as"}, {keyPaths, "as"},
	{keyDropped, "as"}, {keySkipped, "as"}, {keyVariant, "s"},
}

// Ref names the package's commit.
//
//	shape   grove/pkg/NAME/EVR.ARCH; letters, digits, dot and dash stay, underscore is doubled, others are _XX in hex
//	source  rpm-ostree src/libpriv/rpmostree-util.cxx (the quoting of its package refs)
func Ref(n rpm.NEVRA) string {
	return RefPrefix + quote(n.Name) + "/" + quote(n.EVR.String()+"."+n.Arch)
}

func quote(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.' && i > 0, c == '-' && i > 0:
			b.WriteByte(c)
		case c == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02X", c)
		}
	}
	return b.String()
}

// writeCommit stages the package commit and its ref. What the format of a commit cannot hold as text is refused.
func writeCommit(tx *repo.Tx, r *Result) error {
	if err := r.checkText(); err != nil {
		return err
	}
	n := r.Header.NEVRA()
	built, _ := r.Header.Uint32(rpm.TagBuildTime)
	var sig []byte
	if r.Signature != nil {
		sig = r.Signature.Blob()
	}
	owners := make([]gvariant.Value, 0, len(r.Owners))
	for _, o := range r.Owners {
		owners = append(owners, gvariant.Tuple(gvariant.String(o.Path), gvariant.String(o.User), gvariant.String(o.Group),
			gvariant.Uint32(o.Mode), gvariant.Bytes(o.Caps), gvariant.Bool(o.Dir)))
	}
	d := gvariant.Dict{
		{Key: keyDigest, Value: gvariant.String(r.Digest)},
		{Key: keyDropped, Value: gvariant.Strings(r.Dropped)},
		{Key: keyHeader, Value: gvariant.Bytes(r.Header.Blob())},
		{Key: keyOwners, Value: gvariant.Array("(sssuayb)", owners...)},
		{Key: keyPaths, Value: gvariant.Strings(r.Paths)},
		{Key: keySignature, Value: gvariant.Bytes(sig)},
		{Key: keySkipped, Value: gvariant.Strings(r.Skipped)},
		{Key: keyTmpfiles, Value: gvariant.Strings(r.Tmpfiles)},
		{Key: keyVariant, Value: gvariant.String(r.Variant)},
		{Key: keyVersion, Value: gvariant.Uint32(Version)},
	}
	sum, err := tx.PutCommit(ostree.Commit{Metadata: d, Subject: n.String(), Timestamp: uint64(built), Tree: r.Root.Tree, Meta: r.Root.Meta})
	if err != nil {
		return err
	}
	r.Commit = sum
	tx.SetPartial(sum, false)
	return tx.SetRef(Ref(n), sum)
}

// checkText refuses names that are not UTF-8: they would come back as others.
func (r *Result) checkText() error {
	lists := [][]string{r.Tmpfiles, r.Paths, r.Dropped, r.Skipped, {r.Header.NEVRA().String(), r.Digest, r.Variant}}
	for _, o := range r.Owners {
		lists = append(lists, []string{o.User, o.Group})
	}
	for _, list := range lists {
		for _, s := range list {
			if !utf8.ValidString(s) {
				return fmt.Errorf("%q is not UTF-8", s)
			}
		}
	}
	return nil
}

// Load gives back what Import gave, from the commit alone.
//
//	errors  ErrStale, repo.ErrNotFound
func Load(r *repo.Repo, commit ostree.Checksum) (Result, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return Result{}, err
	}
	res := Result{Commit: commit, Root: tree.Root{Tree: c.Tree, Meta: c.Meta}}
	get := func(key, typ string) gvariant.Value {
		v, ok := c.Metadata.Lookup(key)
		if !ok || v.Type() != typ {
			err = errors.Join(err, fmt.Errorf("package commit %s: key %s is missing: %w", commit, key, ErrStale))
			return gvariant.Value{}
		}
		return v
	}
	version := get(keyVersion, "u")
	if err != nil {
		return res, err
	}
	if n := version.Uint(); n != Version {
		return res, fmt.Errorf("package commit %s: rules %d, wanted %d: %w", commit, n, Version, ErrStale)
	}
	values := map[string]gvariant.Value{}
	for _, k := range loadKeys {
		values[k.key] = get(k.key, k.typ)
	}
	if err != nil {
		return res, err
	}
	res.Digest = values[keyDigest].Str()
	res.Tmpfiles = values[keyTmpfiles].Strings()
	res.Paths = values[keyPaths].Strings()
	res.Dropped = values[keyDropped].Strings()
	res.Skipped = values[keySkipped].Strings()
	res.Variant = values[keyVariant].Str()
	res.Owners = readOwners(values[keyOwners])
	return res, res.readHeaders(values[keyHeader], values[keySignature])
}

func (r *Result) readHeaders(header, signature gvariant.Value) error {
	blob := header.Bytes()
	var err error
	if r.Header, err = rpm.ParseHeader(blob); err != nil {
		return fmt.Errorf("header of package commit %s: %w", r.Commit, err)
	}
	blob = signature.Bytes()
	if len(blob) == 0 {
		return nil
	}
	if r.Signature, err = rpm.ParseHeader(blob); err != nil {
		return fmt.Errorf("signature header of package commit %s: %w", r.Commit, err)
	}
	return nil
}

func readOwners(v gvariant.Value) []Owner {
	var out []Owner
	for i := range v.Len() {
		t := v.Index(i)
		var o Owner
		o.Path = t.Index(0).Str()
		o.User = t.Index(1).Str()
		o.Group = t.Index(2).Str()
		o.Mode = uint32(t.Index(3).Uint())
		if o.Caps = t.Index(4).Bytes(); len(o.Caps) == 0 {
			o.Caps = nil
		}
		o.Dir = t.Index(5).Bool()
		out = append(out, o)
	}
	return out
}
