// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"
	"io"
	"strconv"

	"grove/internal/gvariant"
	"grove/internal/ostree"
)

// Limits of a superblock's parts, held against before memory is taken. Inline parts do not count: they are read in place.
const (
	maxSuperblockSizeBytes = 1 << 40
	maxPartsSizeBytes      = 64 << 20 // two million objects
	maxFallbacksSizeBytes  = 16 << 20
	maxParts               = 1 << 16
	maxPartVersion         = 0
	objectEntryLen         = 33
)

// Keys of a superblock's metadata, and the values of the first.
const (
	keyEndianness = "ostree.endianness" // y
	LittleEndian  = ByteOrder('l')
	BigEndian     = ByteOrder('B')
)

// ByteOrder is the order of the bytes of numbers in a superblock, by the letter that stands for it there.
type ByteOrder byte

// String is little or big.
func (o ByteOrder) String() string {
	if o == BigEndian {
		return "big"
	}
	return "little"
}

// Object names an object that a part makes.
type Object struct {
	Type     ostree.ObjectType
	Checksum ostree.Checksum
}

// String is the object's name as fsck prints it.
func (o Object) String() string { return o.Checksum.String() + "." + o.Type.String() }

// Objects is a list of objects as a superblock holds it.
//
//	shape   33 bytes each: type, checksum
type Objects []byte

// Len is the number of objects.
func (o Objects) Len() int { return len(o) / objectEntryLen }

// At is object i, counted from 0.
func (o Objects) At(i int) Object {
	e := o[i*objectEntryLen:]
	return Object{ostree.ObjectType(e[0]), ostree.Checksum(e[1:objectEntryLen])}
}

// Part is what a superblock says about a part.
type Part struct {
	Checksum   ostree.Checksum // of the part's file
	SizeBytes  uint64          // of the part's file
	UsizeBytes uint64          // of the content of what it makes, as its maker says
	Objects    Objects
	inline     *span
}

// Inline reports whether the part stands in the superblock.
func (p Part) Inline() bool { return p.inline != nil }

// Fallback is an object that the delta leaves to be fetched by itself.
type Fallback struct {
	Object
	SizeBytes  uint64 // as a filez object
	UsizeBytes uint64 // of the content
}

// Superblock is the head of a delta: what it makes, and of what.
type Superblock struct {
	Name      ostree.DeltaName
	Timestamp uint64 // seconds since 1970: when it was made
	Commit    []byte // the commit object
	Order     ByteOrder
	Guessed   bool // Order is not said in it
	Parts     []Part
	Fallbacks []Fallback
	Detached  gvariant.Dict // the commit's detached metadata; nil for none
	// Metadata is what else the maker wrote.
	Metadata gvariant.Dict
	// Signed is true where signatures stand beside it; they are not verified yet, see Verify.
	Signed     bool
	Signatures gvariant.Dict

	body span // the bytes that signatures are over
}

// Read reads a superblock, signed or not, from a file of that size. It refers to the file for inline parts and the
// signed bytes: who wants those keeps it open and does not change it.
//
//	errors  ostree.ErrCorrupt
func Read(r io.ReaderAt, sizeBytes int64) (*Superblock, error) {
	sb, err := read(span{r, 0, sizeBytes})
	if err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	return sb, nil
}

func read(file span) (*Superblock, error) {
	if file.size > maxSuperblockSizeBytes {
		return nil, corruptf("%d bytes, at most %d allowed", file.size, int64(maxSuperblockSizeBytes))
	}
	sb := &Superblock{body: file}
	var err error
	if sb.body, sb.Signatures, sb.Signed, err = unwrap(file); err != nil {
		return nil, err
	}
	ends, table, err := sb.body.tail(6)
	if err != nil {
		return nil, err
	}
	// members: metadata, timestamp, from, to, commit, parents, parts, fallbacks
	stamp := align8(ends[0])
	bounds := [...][2]int64{
		{0, ends[0]}, {stamp, stamp + 8}, {stamp + 8, ends[1]}, {ends[1], ends[2]}, {align8(ends[2]), ends[3]},
		{ends[3], ends[4]}, {align8(ends[4]), ends[5]}, {align8(ends[5]), table},
	}
	var in [len(bounds)]span
	for i, b := range bounds {
		if in[i], err = sb.body.sub(b[0], b[1]); err != nil {
			return nil, fmt.Errorf("member %d: %w", i, err)
		}
	}
	if err := sb.readNames(in[1], in[2], in[3]); err != nil {
		return nil, err
	}
	if sb.Commit, err = in[4].load("commit", ostree.MaxMetadataSizeBytes); err != nil {
		return nil, err
	}
	if got := ostree.SumBytes(sb.Commit); got != sb.Name.To {
		return nil, corruptf("it leads to commit %s, but holds %s", sb.Name.To, got)
	}
	if in[5].size > 0 {
		return nil, corruptf("it wants %d bytes of other deltas to be applied before", in[5].size)
	}
	return sb, sb.readLists(in[0], in[6], in[7])
}

func (sb *Superblock) readNames(stamp, from, to span) error {
	data, err := stamp.load("timestamp", 8)
	if err != nil {
		return err
	}
	for _, b := range data {
		sb.Timestamp = sb.Timestamp<<8 | uint64(b)
	}
	if from.size > 0 {
		if data, err = from.load("from", 32); err != nil {
			return err
		}
		if sb.Name.From, err = ostree.ChecksumFromBytes(data); err == nil && sb.Name.From.IsZero() {
			err = corruptf("it is all zeros")
		}
		if err != nil {
			return fmt.Errorf("from: %w", err)
		}
	}
	if data, err = to.load("to", 32); err != nil {
		return err
	}
	if sb.Name.To, err = ostree.ChecksumFromBytes(data); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	return nil
}

var (
	partsType     = gvariant.MustType("a(uayttay)")
	fallbacksType = gvariant.MustType("a(yaytt)")
)

func (sb *Superblock) readLists(meta, parts, fallbacks span) error {
	inline, err := sb.readMetadata(meta)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	data, err := parts.load("list of parts", maxPartsSizeBytes)
	if err != nil {
		return err
	}
	pv, err := partsType.Decode(data)
	if err != nil {
		return corruptf("parts: %w", err)
	}
	if data, err = fallbacks.load("list of fallbacks", maxFallbacksSizeBytes); err != nil {
		return err
	}
	fv, err := fallbacksType.Decode(data)
	if err != nil {
		return corruptf("fallbacks: %w", err)
	}
	if pv.Len() > maxParts {
		return corruptf("%d parts, at most %d allowed", pv.Len(), maxParts)
	}
	if sb.Order == 0 {
		sb.Order, sb.Guessed = guessOrder(pv), true
	}
	for i := range pv.Len() {
		p, err := sb.part(pv.Index(i))
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		if s, ok := inline[sb.Name.Dir()+"/"+strconv.Itoa(i)]; ok {
			p.inline = &s
		}
		sb.Parts = append(sb.Parts, p)
	}
	for i := range fv.Len() {
		f, err := sb.fallback(fv.Index(i))
		if err != nil {
			return fmt.Errorf("fallback %d: %w", i, err)
		}
		sb.Fallbacks = append(sb.Fallbacks, f)
	}
	return nil
}

// readMetadata reads what is small and finds the inline parts.
func (sb *Superblock) readMetadata(meta span) (inline map[string]span, err error) {
	entries, err := meta.dict()
	if err != nil {
		return nil, err
	}
	inline = map[string]span{}
	left := int64(maxDictValueLen)
	for _, e := range entries {
		if e.typ == "(yay)" {
			inline[e.key] = e.value
			continue
		}
		data, err := e.value.load(e.key, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		v, err := gvariant.Decode(e.typ, data)
		if err != nil {
			return nil, corruptf("key %.80q: %w", e.key, err)
		}
		switch e.key {
		case sb.Name.Dir() + "/commitmeta":
			if v.Type() != "a{sv}" {
				return nil, corruptf("key %.120q: type %q, wanted a{sv}", e.key, v.Type())
			}
			sb.Detached, _ = v.Dict()
		case keyEndianness:
			if sb.Order = ByteOrder(v.Uint()); v.Type() != "y" || sb.Order != LittleEndian && sb.Order != BigEndian {
				return nil, corruptf("%s is %s, wanted 'l' or 'B'", keyEndianness, v.Text(false))
			}
		default:
			sb.Metadata = append(sb.Metadata, gvariant.Entry{Key: e.key, Value: v})
		}
	}
	return inline, nil
}

// guessOrder takes the order in which the sizes are smaller: those of real files are beyond any disk when they are read the
// other way round. libostree guesses from ratios, and takes small parts that little endian machines made for big endian.
//
//	source  ostree src/libostree/ostree-repo-static-delta-core.c, _ostree_delta_get_endianness
func guessOrder(parts gvariant.Value) ByteOrder {
	little, big := 0.0, 0.0
	for i := range parts.Len() {
		for _, j := range []int{2, 3} {
			n := parts.Index(i).Index(j).Uint()
			little += float64(n)
			big += float64(gvariant.Swap64(n))
		}
	}
	if big < little {
		return BigEndian
	}
	return LittleEndian
}

func (sb *Superblock) number(v gvariant.Value) uint64 {
	n := v.Uint()
	switch {
	case sb.Order != BigEndian:
		return n
	case v.Type() == "u":
		return uint64(gvariant.Swap32(uint32(n)))
	}
	return gvariant.Swap64(n)
}

func (sb *Superblock) part(v gvariant.Value) (p Part, err error) {
	if version := sb.number(v.Index(0)); version > maxPartVersion {
		return p, corruptf("version is %d, at most %d is known", version, maxPartVersion)
	}
	if p.Checksum, err = ostree.ChecksumFromBytes(v.Index(1).Bytes()); err != nil {
		return p, err
	}
	p.SizeBytes, p.UsizeBytes = sb.number(v.Index(2)), sb.number(v.Index(3))
	p.Objects = v.Index(4).Bytes()
	if len(p.Objects)%objectEntryLen != 0 {
		return p, corruptf("list of objects has %d bytes, no multiple of %d", len(p.Objects), objectEntryLen)
	}
	for i := range p.Objects.Len() {
		switch o := p.Objects.At(i); o.Type {
		case ostree.TypeFile, ostree.TypeDirTree, ostree.TypeDirMeta:
		default: // what else a transaction would take must not come this way, commits above all
			return p, corruptf("object %d is a %s, wanted file, dirtree or dirmeta", i, o.Type)
		}
	}
	return p, nil
}

func (sb *Superblock) fallback(v gvariant.Value) (f Fallback, err error) {
	f.Type = ostree.ObjectType(v.Index(0).Uint())
	if f.Checksum, err = ostree.ChecksumFromBytes(v.Index(1).Bytes()); err != nil {
		return f, err
	}
	if f.Type != ostree.TypeFile && f.Type != ostree.TypeDirTree && f.Type != ostree.TypeDirMeta {
		return f, corruptf("object is a %s, wanted file, dirtree or dirmeta", f.Type)
	}
	f.SizeBytes, f.UsizeBytes = sb.number(v.Index(2)), sb.number(v.Index(3))
	return f, nil
}
