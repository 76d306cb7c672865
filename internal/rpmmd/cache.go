// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync"
	"unsafe"

	"grove/internal/rpm"
)

// The compact form of parsed metadata. It holds nothing that could not be made again from the source, so another version, or
// damage, just means to make it again. All numbers are little-endian; a text is its place and its length in the table of
// texts, which is never looked into while packages are read. Its sections:
//
//	packages   recordBytes each: texts, numbers, then how many entries of each list are its own, one after another
//	deps       name (8 bytes), flags and place of the version (4 each)
//	versions   epoch, version, release (8 bytes each); the first is none
//	files      8 bytes each
//	more       groups and environments, as JSON
//	texts      bytes
const (
	cacheMagic  = "grove rpmmd 2\n\x00\x00"
	textBytes   = 8
	depBytes    = 16
	evrBytes    = 3 * textBytes
	textCount   = 15
	numberCount = 5
	listCount   = 9 // eight of dependencies, one of files
	recordBytes = textCount*textBytes + numberCount*8 + listCount*4
)

const (
	secPackages = iota
	secDeps
	secVersions
	secFiles
	secMore
	secTexts
	sections
)

func depLists(p *rpm.Meta) [8]*[]rpm.Dep {
	return [...]*[]rpm.Dep{&p.Provides, &p.Requires, &p.Conflicts, &p.Obsoletes, &p.Recommends, &p.Suggests, &p.Supplements, &p.Enhances}
}

func textFields(p *rpm.Meta) [textCount]*string {
	return [...]*string{&p.Name, &p.Arch, &p.Epoch, &p.Version, &p.Release, &p.Summary, &p.Description, &p.License, &p.URL, &p.Vendor, &p.Group,
		&p.SourceRPM, &p.Location, &p.Digest.Algo, &p.Digest.Hex}
}

func numberFields(p *rpm.Meta) [numberCount]*int64 {
	return [...]*int64{&p.SizeBytes, &p.InstalledBytes, &p.BuildTimeSec, &p.HeaderStart, &p.HeaderEnd}
}

type packer struct {
	sec      [sections][]byte
	places   map[string]uint64
	versions map[rpm.EVR]uint32
	before   [textCount]lastText // of the package before
}

type lastText struct {
	text  string
	place uint64
}

// textGuess is about how many bytes of texts a package has, beside those that it shares.
const textGuess = 500

// ownText marks the fields that a package shares with its neighbours at most, not with all: looking for them would cost more than it saves.
var ownText = [textCount]bool{5: true, 6: true, 8: true, 11: true, 12: true, 14: true} // summary, description, URL, source, location, digest

// pack writes what a source said in the compact form, as sections.
//
//	errors  text only, where it is larger than the form can say
func pack(c content) ([][]byte, error) {
	w := &packer{places: map[string]uint64{}, versions: map[rpm.EVR]uint32{{}: 0}}
	w.sec[secVersions] = make([]byte, evrBytes)
	w.sec[secPackages] = make([]byte, 0, recordBytes*len(c.packages))
	w.sec[secTexts] = make([]byte, 0, textGuess*len(c.packages))
	for i := range c.packages {
		w.pkg(&c.packages[i])
	}
	more, err := packMore(c)
	w.sec[secMore] = more
	return w.sec[:], err
}

// text gives the place and length of s in the table, where most texts stand once.
func (w *packer) text(s string) uint64 {
	if s == "" {
		return 0
	}
	place, ok := w.places[s]
	if !ok {
		place = w.newText(s)
		w.places[s] = place
	}
	return place
}

func (w *packer) newText(s string) uint64 {
	place := uint64(len(w.sec[secTexts]))<<32 | uint64(len(s))
	w.sec[secTexts] = append(w.sec[secTexts], s...)
	return place
}

func (w *packer) version(e rpm.EVR) uint32 {
	if e == (rpm.EVR{}) {
		return 0
	}
	n, ok := w.versions[e]
	if !ok {
		n = uint32(len(w.versions))
		w.versions[e] = n
		for _, s := range []string{e.Epoch, e.Version, e.Release} {
			w.sec[secVersions] = binary.LittleEndian.AppendUint64(w.sec[secVersions], w.text(s))
		}
	}
	return n
}

// flagPre marks a dependency with Pre; the comparison's bits are all below.
const flagPre = 1 << 31

func (w *packer) pkg(p *rpm.Meta) {
	le := binary.LittleEndian
	rec := w.sec[secPackages]
	for i, s := range textFields(p) {
		place := uint64(0)
		switch last := &w.before[i]; {
		case *s == last.text:
			place = last.place
		case ownText[i] && *s != "":
			place = w.newText(*s)
			*last = lastText{*s, place}
		default:
			place = w.text(*s)
			*last = lastText{*s, place}
		}
		rec = le.AppendUint64(rec, place)
	}
	for _, n := range numberFields(p) {
		rec = le.AppendUint64(rec, uint64(*n))
	}
	for _, list := range depLists(p) {
		rec = le.AppendUint32(rec, uint32(len(*list)))
		for _, d := range *list {
			flags := d.Flags &^ flagPre
			if d.Pre {
				flags |= flagPre
			}
			name, version := w.text(d.Name), w.version(d.EVR)
			deps := le.AppendUint64(w.sec[secDeps], name)
			deps = le.AppendUint32(deps, flags)
			w.sec[secDeps] = le.AppendUint32(deps, version)
		}
	}
	w.sec[secPackages] = le.AppendUint32(rec, uint32(len(p.Files)))
	for _, f := range p.Files {
		place := uint64(0)
		if f != "" {
			place = w.newText(f)
		}
		w.sec[secFiles] = le.AppendUint64(w.sec[secFiles], place)
	}
}

// unpack reads what pack wrote. Its texts are parts of data, which must not be written again, and which must stay where mem is off
// the heap.
//
//	errors  errDamaged
func unpack(data []byte, mem *slab) (content, error) {
	r, err := openCache(data)
	if err != nil {
		return content{}, err
	}
	n := len(r.sec[secPackages]) / recordBytes
	starts, ok := r.starts(n)
	if !ok {
		return content{}, errDamaged
	}
	c := content{packages: huge(make([]rpm.Meta, n))}
	r.deps = mem.deps(len(r.sec[secDeps]) / depBytes)
	r.files = mem.names(len(r.sec[secFiles]) / textBytes)
	var wait sync.WaitGroup
	bad := make([]bool, len(starts)+1)
	for i, s := range starts {
		wait.Go(func() { bad[i] = !r.packages(c.packages, s) })
	}
	wait.Go(func() {
		var err error
		if c.extras, err = unpackMore(r.sec[secMore]); err != nil {
			bad[len(starts)] = true
		}
	})
	wait.Wait()
	for _, b := range bad {
		if b {
			return content{}, errDamaged
		}
	}
	return c, nil
}

type unpacker struct {
	sec      [sections][]byte
	texts    string
	versions []rpm.EVR
	deps     []rpm.Dep
	files    []string
}

// openCache finds the sections and checks them.
func openCache(data []byte) (*unpacker, error) {
	all, err := readSections(cacheMagic, data, sections)
	if err != nil {
		return nil, err
	}
	r := &unpacker{sec: [sections][]byte(all)}
	if len(r.sec[secPackages])%recordBytes != 0 || len(r.sec[secDeps])%depBytes != 0 ||
		len(r.sec[secVersions])%evrBytes != 0 || len(r.sec[secFiles])%textBytes != 0 {
		return nil, errDamaged
	}
	if t := r.sec[secTexts]; len(t) > 0 {
		r.texts = unsafe.String(&t[0], len(t))
	}
	r.versions = make([]rpm.EVR, len(r.sec[secVersions])/evrBytes)
	ok := len(r.versions) > 0
	for i := range r.versions {
		b := r.sec[secVersions][i*evrBytes:]
		r.versions[i] = rpm.EVR{Epoch: r.text(b, &ok), Version: r.text(b[8:], &ok), Release: r.text(b[16:], &ok)}
	}
	if !ok {
		return nil, errDamaged
	}
	return r, nil
}

// text reads a place in the table of texts.
func (r *unpacker) text(b []byte, ok *bool) string {
	place := binary.LittleEndian.Uint64(b)
	from := place >> 32
	to := from + place&math.MaxUint32
	if to > uint64(len(r.texts)) {
		*ok = false
		return ""
	}
	return r.texts[from:to]
}

// span is a run of packages, with the places where their lists begin.
type span struct{ from, to, dep, file int }

// starts cuts the packages into as many runs as there are processors.
func (r *unpacker) starts(n int) ([]span, bool) {
	step := max(1, (n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	var out []span
	deps, files := 0, 0
	for i := range n {
		if i%step == 0 {
			out = append(out, span{i, min(i+step, n), deps, files})
		}
		counts := r.sec[secPackages][i*recordBytes+textCount*textBytes+numberCount*8:]
		for k := range listCount - 1 {
			deps += int(binary.LittleEndian.Uint32(counts[4*k:]))
		}
		files += int(binary.LittleEndian.Uint32(counts[4*(listCount-1):]))
	}
	return out, deps == len(r.sec[secDeps])/depBytes && files == len(r.sec[secFiles])/textBytes
}

// packages reads a run of packages.
func (r *unpacker) packages(all []rpm.Meta, s span) bool {
	le := binary.LittleEndian
	ok := true
	dep, file := s.dep, s.file
	for i := s.from; i < s.to && ok; i++ {
		b, p := r.sec[secPackages][i*recordBytes:][:recordBytes], &all[i]
		for k, dst := range textFields(p) {
			*dst = r.text(b[k*textBytes:], &ok)
		}
		b = b[textCount*textBytes:]
		for k, dst := range numberFields(p) {
			*dst = int64(le.Uint64(b[8*k:]))
		}
		b = b[numberCount*8:]
		for k, dst := range depLists(p) {
			if n := int(le.Uint32(b[4*k:])); n > 0 {
				*dst = r.depList(dep, n, &ok)
				dep += n
			}
		}
		if n := int(le.Uint32(b[4*(listCount-1):])); n > 0 {
			list := r.files[file : file+n : file+n]
			for k := range list {
				list[k] = r.text(r.sec[secFiles][(file+k)*textBytes:], &ok)
			}
			p.Files = list
			file += n
		}
	}
	return ok
}

func (r *unpacker) depList(from, n int, ok *bool) []rpm.Dep {
	list := r.deps[from : from+n : from+n]
	for k := range list {
		b := r.sec[secDeps][(from+k)*depBytes:][:depBytes]
		d := &list[k]
		flags, version := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
		d.Name, d.Flags, d.Pre = r.text(b, ok), flags&^flagPre, flags&flagPre != 0
		if version != 0 {
			if uint64(version) >= uint64(len(r.versions)) {
				*ok = false
				return nil
			}
			d.EVR = r.versions[version]
		}
	}
	return list
}
