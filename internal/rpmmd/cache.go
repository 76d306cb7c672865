// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"grove/internal/rpm"
)

// The compact form of parsed metadata: a line that names the version, then a table of strings, then packages, groups and
// environments as numbers (uvarint; a string is its place in the table), then the CRC-32C of all before. It holds nothing that
// could not be made again from the source, so another version, or damage, just means to make it again.
const cacheMagic = "grove rpmmd 1\n"

var errDamaged = errors.New("damaged cache")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type packer struct {
	body    []byte
	strings []byte
	ids     map[string]uint64
}

func (w *packer) num(n uint64) { w.body = binary.AppendUvarint(w.body, n) }

func (w *packer) str(s string) {
	id, ok := w.ids[s]
	if !ok {
		id = uint64(len(w.ids))
		w.ids[s] = id
		w.strings = binary.AppendUvarint(w.strings, uint64(len(s)))
		w.strings = append(w.strings, s...)
	}
	w.num(id)
}

func (w *packer) strs(list []string) {
	w.num(uint64(len(list)))
	for _, s := range list {
		w.str(s)
	}
}

func (w *packer) evr(e rpm.EVR) {
	w.str(e.Epoch)
	w.str(e.Version)
	w.str(e.Release)
}

func depLists(p *rpm.Meta) []*[]rpm.Dep {
	return []*[]rpm.Dep{&p.Provides, &p.Requires, &p.Conflicts, &p.Obsoletes, &p.Recommends, &p.Suggests, &p.Supplements, &p.Enhances}
}

func textFields(p *rpm.Meta) []*string {
	return []*string{&p.Name, &p.Arch, &p.Epoch, &p.Version, &p.Release, &p.Summary, &p.Description, &p.License, &p.URL, &p.Vendor, &p.Group,
		&p.SourceRPM, &p.Location, &p.Digest.Algo, &p.Digest.Hex}
}

func numberFields(p *rpm.Meta) []*int64 {
	return []*int64{&p.SizeBytes, &p.InstalledBytes, &p.BuildTimeSec, &p.HeaderStart, &p.HeaderEnd}
}

// pack writes what a source said in the compact form.
func pack(packages []rpm.Meta, groups []Group, envs []Environment) []byte {
	w := &packer{ids: map[string]uint64{}}
	w.num(uint64(len(packages)))
	for i := range packages {
		p := &packages[i]
		for _, s := range textFields(p) {
			w.str(*s)
		}
		for _, n := range numberFields(p) {
			w.num(uint64(*n))
		}
		for _, list := range depLists(p) {
			w.num(uint64(len(*list)))
			for _, d := range *list {
				flags := uint64(d.Flags) << 2
				if d.Pre {
					flags |= 1
				}
				if d.EVR != (rpm.EVR{}) {
					flags |= 2
				}
				w.str(d.Name)
				w.num(flags)
				if flags&2 != 0 {
					w.evr(d.EVR)
				}
			}
		}
		w.strs(p.Files)
	}
	w.groups(groups, envs)
	out := []byte(cacheMagic)
	out = binary.AppendUvarint(out, uint64(len(w.ids)))
	out = append(out, w.strings...)
	out = append(out, w.body...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

func (w *packer) groups(groups []Group, envs []Environment) {
	w.num(uint64(len(groups)))
	for _, g := range groups {
		w.strs([]string{g.ID, g.Name, g.Description})
		visible := uint64(0)
		if g.UserVisible {
			visible = 1
		}
		w.num(visible)
		w.strs(g.Mandatory)
		w.strs(g.Default)
		w.strs(g.Optional)
		w.num(uint64(len(g.Conditional)))
		for _, c := range g.Conditional {
			w.str(c.Name)
			w.str(c.Requires)
		}
	}
	w.num(uint64(len(envs)))
	for _, e := range envs {
		w.strs([]string{e.ID, e.Name, e.Description})
		w.strs(e.Groups)
		w.strs(e.Options)
		w.strs(e.DefaultOptions)
	}
}

// unpacker reads the compact form; the first fault stays in bad, and everything read after it is empty.
type unpacker struct {
	data    []byte
	strings []string
	bad     bool
}

func (r *unpacker) num() uint64 {
	if len(r.data) > 0 && r.data[0] < 0x80 {
		n := uint64(r.data[0])
		r.data = r.data[1:]
		return n
	}
	n, k := binary.Uvarint(r.data)
	if k <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[k:]
	return n
}

// count reads a number of things that take at least one byte each.
func (r *unpacker) count() int {
	n := r.num()
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return 0
	}
	return int(n)
}

func (r *unpacker) str() string {
	n := r.num()
	if n >= uint64(len(r.strings)) {
		r.bad, r.data = true, nil
		return ""
	}
	return r.strings[n]
}

func (r *unpacker) strs() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.str()
	}
	return list
}

// unpack reads what pack wrote.
//
//	errors  errDamaged
func unpack(data []byte) (packages []rpm.Meta, groups []Group, envs []Environment, err error) {
	n := len(data) - 4
	if n < len(cacheMagic) || string(data[:len(cacheMagic)]) != cacheMagic || binary.BigEndian.Uint32(data[n:]) != crc32.Checksum(data[:n], castagnoli) {
		return nil, nil, nil, errDamaged
	}
	r := &unpacker{data: data[len(cacheMagic):n]}
	r.table()
	packages = make([]rpm.Meta, r.count())
	for i := range packages {
		r.pkg(&packages[i])
	}
	groups, envs = r.groups()
	if r.bad || len(r.data) > 0 {
		return nil, nil, nil, errDamaged
	}
	return packages, groups, envs, nil
}

// table reads the strings: they share one allocation.
func (r *unpacker) table() {
	r.strings = make([]string, r.count())
	rest := r.data
	all := string(rest)
	for i := range r.strings {
		n := r.count()
		if n > len(r.data) {
			r.bad, r.data = true, nil
			return
		}
		start := len(rest) - len(r.data)
		r.strings[i] = all[start : start+n]
		r.data = r.data[n:]
	}
}

func (r *unpacker) pkg(p *rpm.Meta) {
	for _, s := range textFields(p) {
		*s = r.str()
	}
	for _, n := range numberFields(p) {
		*n = int64(r.num())
	}
	for _, list := range depLists(p) {
		n := r.count()
		if n == 0 {
			continue
		}
		deps := make([]rpm.Dep, n)
		for i := range deps {
			d := &deps[i]
			d.Name = r.str()
			flags := r.num()
			d.Flags, d.Pre = uint32(flags>>2), flags&1 != 0
			if flags&2 != 0 {
				d.EVR = rpm.EVR{Epoch: r.str(), Version: r.str(), Release: r.str()}
			}
		}
		*list = deps
	}
	p.Files = r.strs()
}

func (r *unpacker) groups() (groups []Group, envs []Environment) {
	for n := r.count(); n > 0 && !r.bad; n-- {
		var g Group
		head := r.strs()
		if len(head) == 3 {
			g.ID, g.Name, g.Description = head[0], head[1], head[2]
		}
		g.UserVisible = r.num() != 0
		g.Mandatory, g.Default, g.Optional = r.strs(), r.strs(), r.strs()
		for k := r.count(); k > 0 && !r.bad; k-- {
			g.Conditional = append(g.Conditional, Conditional{r.str(), r.str()})
		}
		groups = append(groups, g)
	}
	for n := r.count(); n > 0 && !r.bad; n-- {
		var e Environment
		head := r.strs()
		if len(head) == 3 {
			e.ID, e.Name, e.Description = head[0], head[1], head[2]
		}
		e.Groups, e.Options, e.DefaultOptions = r.strs(), r.strs(), r.strs()
		envs = append(envs, e)
	}
	return groups, envs
}
