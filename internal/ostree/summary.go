// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"
	"slices"
	"strings"

	"grove/internal/gvariant"
)

const summaryRefType = "(s(taya{sv}))"

var summaryType = gvariant.MustType("(a(s(taya{sv}))a{sv})")

// Keys of a summary's metadata, and of the metadata of a ref in it. Times are 64-bit big-endian seconds since 1970.
const (
	SummaryLastModified  = "ostree.summary.last-modified"     // t
	SummaryExpires       = "ostree.summary.expires"           // t
	SummaryMode          = "ostree.summary.mode"              // s: the repository's mode
	SummaryTombstones    = "ostree.summary.tombstone-commits" // b
	SummaryIndexedDeltas = "ostree.summary.indexed-deltas"    // b: deltas are listed in delta-indexes/
	SummaryCollectionID  = "ostree.summary.collection-id"     // s
	SummaryCollectionMap = "ostree.summary.collection-map"    // a{sa(s(taya{sv}))}: the refs of other collections
	SummaryDeltas        = "ostree.static-deltas"             // a{sv}: name -> checksum of the superblock
	RefCommitTimestamp   = "ostree.commit.timestamp"          // t
	RefCommitVersion     = "ostree.commit.version"            // s
)

// Summary lists the refs of a repository for clients that can not list its folders.
//
//	shape   GVariant (a(s(taya{sv}))a{sv}): refs as (name, (commit size, commit, metadata)), then metadata
//	units   the size in bytes of the commit object, 64-bit in the machine's order (libostree does not swap it); refs are sorted by the bytes of the name
//	name    file summary; its signatures in summary.sig, which is detached metadata (see ParseDetached)
//	source  ostree src/libostree/ostree-core.h, OSTREE_SUMMARY_GVARIANT_STRING
type Summary struct {
	Refs     []SummaryRef
	Metadata gvariant.Dict
}

// SummaryRef is one ref in a summary.
type SummaryRef struct {
	Name      string
	SizeBytes uint64 // of the commit object
	Commit    Checksum
	Metadata  gvariant.Dict
}

func bySummaryRef(a, b SummaryRef) int { return strings.Compare(a.Name, b.Name) }

// Lookup returns the ref of that name.
func (s Summary) Lookup(name string) (SummaryRef, bool) {
	for _, r := range s.Refs {
		if r.Name == name {
			return r, true
		}
	}
	return SummaryRef{}, false
}

// Encode returns the file's bytes, the refs sorted.
func (s Summary) Encode() []byte {
	return gvariant.Encode(gvariant.Tuple(refsValue(s.Refs), s.Metadata.Value()))
}

func refsValue(refs []SummaryRef) gvariant.Value {
	refs = slices.Clone(refs)
	slices.SortStableFunc(refs, bySummaryRef)
	items := make([]gvariant.Value, len(refs))
	for i, r := range refs {
		items[i] = gvariant.Tuple(gvariant.String(r.Name),
			gvariant.Tuple(gvariant.Uint64(r.SizeBytes), gvariant.Bytes(r.Commit[:]), r.Metadata.Value()))
	}
	return gvariant.Array(summaryRefType, items...)
}

// ParseSummary reads a summary file. Refs must be sorted, sound, and there once.
// data must not be changed afterwards: the metadata refers to it.
//
//	errors  ErrCorrupt
func ParseSummary(data []byte) (Summary, error) {
	v, err := summaryType.Decode(data)
	if err != nil {
		return Summary{}, corrupt("summary: %w", err)
	}
	s := Summary{}
	if s.Refs, err = refsFrom(v.Index(0)); err != nil {
		return Summary{}, corrupt("summary: %w", err)
	}
	s.Metadata, _ = v.Index(1).Dict()
	return s, nil
}

func refsFrom(v gvariant.Value) ([]SummaryRef, error) {
	if v.Len() == 0 {
		return nil, nil
	}
	refs := make([]SummaryRef, v.Len())
	for i := range refs {
		name, in := v.Index(i).Index(0).Str(), v.Index(i).Index(1)
		if err := CheckRefName(name); err != nil {
			return nil, fmt.Errorf("ref %d: %w", i, err)
		}
		if i > 0 && refs[i-1].Name >= name {
			return nil, fmt.Errorf("ref %d: %q after %q", i, name, refs[i-1].Name)
		}
		sum, err := ChecksumFromBytes(in.Index(1).Bytes())
		if err != nil {
			return nil, fmt.Errorf("ref %q: %w", name, err)
		}
		meta, _ := in.Index(2).Dict()
		refs[i] = SummaryRef{name, in.Index(0).Uint(), sum, meta}
	}
	return refs, nil
}

var collectionMapType = gvariant.MustType("a{sa(s(taya{sv}))}")

// CollectionMap returns the refs of other collections that a summary's metadata lists, by collection.
//
//	errors  ErrCorrupt
func CollectionMap(metadata gvariant.Dict) (map[string][]SummaryRef, error) {
	v, ok := metadata.Lookup(SummaryCollectionMap)
	if !ok {
		return nil, nil
	}
	if v.Type() != collectionMapType.String() {
		return nil, corrupt("%s has type %s", SummaryCollectionMap, v.Type())
	}
	all := map[string][]SummaryRef{}
	for i := range v.Len() {
		id := v.Index(i).Index(0).Str()
		if err := CheckCollectionID(id); err != nil {
			return nil, corrupt("%s: %w", SummaryCollectionMap, err)
		}
		refs, err := refsFrom(v.Index(i).Index(1))
		if err != nil {
			return nil, corrupt("%s: %s: %w", SummaryCollectionMap, id, err)
		}
		all[id] = refs
	}
	return all, nil
}

// TimeValue is a point in time as summaries store it: 64-bit big-endian seconds since 1970.
func TimeValue(timestampSec uint64) gvariant.Value { return be64(timestampSec) }

// TimeFrom reads what TimeValue wrote; false if v is of another type.
func TimeFrom(v gvariant.Value) (timestampSec uint64, ok bool) { return from64(v), v.Type() == "t" }

// Keys of detached metadata: lists of signatures (aay) over the bytes of the commit or summary.
const (
	KeyGPGSigs     = "ostree.gpgsigs"      // OpenPGP detached signatures
	KeySignEd25519 = "ostree.sign.ed25519" // 64 bytes each
)

// ParseDetached reads an a{sv} that stands in a file of its own: a commit's detached metadata (.commitmeta) or
// summary.sig. data must not be changed afterwards. An empty file is an empty dictionary.
//
//	errors  ErrCorrupt
func ParseDetached(data []byte) (gvariant.Dict, error) {
	d, err := gvariant.DecodeDict(data)
	if err != nil {
		return nil, corrupt("detached metadata: %w", err)
	}
	return d, nil
}

// Signatures returns the list of signatures of that key; nil if there is none.
func Signatures(d gvariant.Dict, key string) [][]byte {
	v, _ := d.Lookup(key)
	if v.Type() != "aay" {
		return nil
	}
	sigs := make([][]byte, v.Len())
	for i := range sigs {
		sigs[i] = v.Index(i).Bytes()
	}
	return sigs
}

// AddSignature returns a copy of d with sig added to the list of that key.
func AddSignature(d gvariant.Dict, key string, sig []byte) gvariant.Dict {
	return d.With(key, gvariant.ByteArrays(append(Signatures(d, key), sig)))
}
