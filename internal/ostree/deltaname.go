// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"grove/internal/gvariant"
)

// DeltaName names a static delta: what leads from one commit to another, or from nothing to it.
//
//	shape   as text 64 hex digits, "-", 64 hex digits; without a beginning the last 64 only
//	source  ostree src/libostree/ostree-core.c, _ostree_parse_delta_name
type DeltaName struct {
	From Checksum // zero: from nothing
	To   Checksum
}

// String is the name as ostree's commands, the summary and the indexes have it.
func (n DeltaName) String() string {
	if n.From.IsZero() {
		return n.To.String()
	}
	return n.From.String() + "-" + n.To.String()
}

// ParseDeltaName reads what String wrote.
func ParseDeltaName(s string) (DeltaName, error) {
	var n DeltaName
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		from, to = "", s
	}
	var err error
	if ok {
		if n.From, err = ParseChecksum(from); err == nil && n.From.IsZero() {
			err = fmt.Errorf("it begins at a commit of all zeros")
		}
	}
	if err == nil {
		n.To, err = ParseChecksum(to)
	}
	if err != nil {
		return DeltaName{}, fmt.Errorf("parse delta name %.140q: %w", s, err)
	}
	return n, nil
}

// deltaBase64 is base64 as paths can bear it: without padding, _ for /.
var deltaBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_").WithPadding(base64.NoPadding).Strict()

// deltaBase64Len is the length of a checksum in that form.
const deltaBase64Len = 43

// Dir is the delta's folder in a repository: deltas/ and the name in modified base64, the first two characters a
// folder of their own. In it lie the superblock and the parts, named 0, 1 and so on.
//
//	source  ostree src/libostree/ostree-core.c, static_delta_path_base
func (n DeltaName) Dir() string {
	text := deltaBase64.EncodeToString(n.To[:])
	if !n.From.IsZero() {
		text = deltaBase64.EncodeToString(n.From[:]) + "-" + text
	}
	return "deltas/" + text[:2] + "/" + text[2:]
}

// ParseDeltaDir reads the two folders below deltas/ that Dir gives.
func ParseDeltaDir(path string) (DeltaName, error) {
	head, rest, ok := strings.Cut(path, "/")
	if !ok || len(head) != 2 {
		return DeltaName{}, fmt.Errorf("parse delta folder %.100q: no two characters and a slash at its start", path)
	}
	text := head + rest
	var n DeltaName
	var err error
	switch len(text) {
	case deltaBase64Len:
		err = fromDeltaBase64(&n.To, text)
	case 2*deltaBase64Len + 1:
		if text[deltaBase64Len] != '-' {
			return DeltaName{}, fmt.Errorf("parse delta folder %q: no dash between two checksums", path)
		}
		if err = fromDeltaBase64(&n.From, text[:deltaBase64Len]); err == nil {
			err = fromDeltaBase64(&n.To, text[deltaBase64Len+1:])
		}
		if err == nil && n.From.IsZero() {
			err = fmt.Errorf("it begins at a commit of all zeros")
		}
	default:
		err = fmt.Errorf("%d characters, wanted %d or %d", len(text), deltaBase64Len, 2*deltaBase64Len+1)
	}
	if err != nil {
		return DeltaName{}, fmt.Errorf("parse delta folder %.100q: %w", path, err)
	}
	return n, nil
}

func fromDeltaBase64(c *Checksum, text string) error {
	data, err := deltaBase64.DecodeString(text)
	if err != nil {
		return err
	}
	*c, err = ChecksumFromBytes(data)
	return err
}

// DeltaIndexPath is the file that lists the deltas which lead to a commit.
//
//	source  ostree src/libostree/ostree-core.c, _ostree_get_relative_static_delta_index_path
func DeltaIndexPath(to Checksum) string {
	text := deltaBase64.EncodeToString(to[:])
	return "delta-indexes/" + text[:2] + "/" + text[2:] + ".index"
}

// ParseDeltaIndexPath reads the two names below delta-indexes/ that DeltaIndexPath gives.
func ParseDeltaIndexPath(path string) (to Checksum, err error) {
	text, ok := strings.CutSuffix(path, ".index")
	if !ok || len(text) != deltaBase64Len+1 || text[2] != '/' {
		return to, fmt.Errorf("parse delta index %.100q: no name of an index", path)
	}
	if err := fromDeltaBase64(&to, text[:2]+text[3:]); err != nil {
		return to, fmt.Errorf("parse delta index %q: %w", path, err)
	}
	return to, nil
}

// DeltaDigest is one delta in a list: in the summary under SummaryDeltas, or in an index.
type DeltaDigest struct {
	Name       DeltaName
	Superblock Checksum // of the superblock file's bytes
}

// DeltaDigestsValue is the list as it is stored, sorted by the text of the names.
//
//	shape   a{sv}: name -> ay of 32 bytes
func DeltaDigestsValue(list []DeltaDigest) gvariant.Value {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b DeltaDigest) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	d := make(gvariant.Dict, len(list))
	for i, e := range list {
		d[i] = gvariant.Entry{Key: e.Name.String(), Value: gvariant.Bytes(e.Superblock[:])}
	}
	return d.Value()
}

// DeltaDigests takes the list out of a summary's metadata or an index; none is no error.
//
//	errors  ErrCorrupt
func DeltaDigests(d gvariant.Dict) ([]DeltaDigest, error) {
	v, ok := d.Lookup(SummaryDeltas)
	if !ok {
		return nil, nil
	}
	entries, ok := v.Dict()
	if !ok {
		return nil, corrupt("%s: type %q, wanted a{sv}", SummaryDeltas, v.Type())
	}
	var list []DeltaDigest
	for _, e := range entries {
		name, err := ParseDeltaName(e.Key)
		if err != nil {
			return nil, corrupt("%s: %w", SummaryDeltas, err)
		}
		sum, err := ChecksumFromBytes(e.Value.Bytes())
		if err != nil {
			return nil, corrupt("%s: delta %s: %w", SummaryDeltas, name, err)
		}
		list = append(list, DeltaDigest{name, sum})
	}
	return list, nil
}

// DeltaIndex is the content of an index file.
//
//	shape   a{sv} with one key, SummaryDeltas
//	source  ostree src/libostree/ostree-repo-static-delta-core.c, ostree_repo_static_delta_reindex
func DeltaIndex(list []DeltaDigest) []byte {
	return gvariant.Dict{{Key: SummaryDeltas, Value: DeltaDigestsValue(list)}}.Encode()
}

// ParseDeltaIndex reads an index file.
//
//	errors  ErrCorrupt
func ParseDeltaIndex(data []byte) ([]DeltaDigest, error) {
	d, err := gvariant.DecodeDict(data)
	if err != nil {
		return nil, corrupt("delta index: %w", err)
	}
	list, err := DeltaDigests(d)
	if err != nil {
		return nil, fmt.Errorf("delta index: %w", err)
	}
	return list, nil
}
