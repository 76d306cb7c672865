// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"grove/internal/rpm"
)

// Limits of one source's metadata. Fedora has about 70,000 packages; the largest package about 400,000 files.
const (
	maxPackages = 2_000_000
	maxDeps     = 200_000   // of one kind, of one package
	maxFiles    = 4_000_000 // of one package
)

// primaryParser builds packages while the tokens come.
type primaryParser struct {
	s      *scanner
	intern interner

	p     rpm.Meta
	in    bool // inside <package>
	deps  []rpm.Dep
	files []string
	list  *[]rpm.Dep // where the entries go, nil outside of a list
	text  []byte     // of the element that is open, as far as somebody wants it
	want  bool
	algo  string
	all   []rpm.Meta

	before rpm.Meta // the package before this one: packages of one source stand together and share texts
}

// ParsePrimary reads primary.xml, uncompressed.
//
//	shape   of the packages: Files holds what primary names; Requires has Pre set where the entry says pre="1"; an epoch of 0 is
//	        none; Location is relative, or a URL where the package has its own xml:base
//	errors  text only; one bad package refuses the whole
//	source  createrepo_c src/xml_dump_primary.c
func ParsePrimary(r io.Reader) ([]rpm.Meta, error) {
	p := &primaryParser{s: newScanner(r), intern: interner{}}
	root := true
	for {
		kind, err := p.s.next()
		if err == io.EOF {
			return p.all, nil
		}
		if err == nil && root && kind == tokenStart {
			root = false
			err = p.root()
		}
		if err == nil {
			err = p.token(kind)
		}
		if err != nil {
			if p.in && p.p.Name != "" {
				err = fmt.Errorf("package %s: %w", p.p.Name, err)
			}
			return nil, fmt.Errorf("primary: %w", err)
		}
	}
}

// maxReserve bounds the memory that is taken because a file says how many packages it has.
const maxReserve = 100_000

func (p *primaryParser) root() error {
	if string(p.s.name) != "metadata" {
		return p.s.fail("root element %.40q, wanted metadata", p.s.name)
	}
	return p.each(func(name string, v []byte) error {
		var n int64
		if name == "packages" && number(&n, true, v) == nil && n > 0 {
			p.all = make([]rpm.Meta, 0, min(n, maxReserve))
		}
		return nil
	})
}

func (p *primaryParser) token(kind tokenKind) error {
	switch kind {
	case tokenText:
		if p.want {
			text, err := p.s.unescape(p.s.text)
			if err != nil {
				return err
			}
			p.text = append(p.text, text...)
		}
		return nil
	case tokenStart:
		if !p.in {
			if string(p.s.name) == "package" {
				p.before = p.p
				p.in, p.p, p.list, p.want = true, rpm.Meta{}, nil, false
				p.files = p.files[:0]
			}
			return nil
		}
		return p.start()
	}
	if !p.in {
		return nil
	}
	if string(p.s.name) == "package" {
		return p.finish()
	}
	return p.endElement()
}

func (p *primaryParser) start() error {
	p.text, p.want = p.text[:0], false
	switch string(p.s.name) {
	case "entry":
		if p.list == nil {
			return nil
		}
		return p.entry()
	case "file", "name", "arch", "summary", "description", "url", "license", "vendor", "group", "sourcerpm":
		p.want = true
	case "checksum":
		p.want = true
		return p.each(func(name string, v []byte) error {
			if name == "type" {
				p.algo = checksumAlgo(string(v))
			}
			return nil
		})
	case "version":
		return p.each(func(name string, v []byte) error { p.evrAttr(&p.p.EVR, name, v); return nil })
	case "time":
		return p.each(func(name string, v []byte) error { return number(&p.p.BuildTimeSec, name == "build", v) })
	case "size":
		return p.each(func(name string, v []byte) error {
			if err := number(&p.p.SizeBytes, name == "package", v); err != nil {
				return err
			}
			return number(&p.p.InstalledBytes, name == "installed", v)
		})
	case "header-range":
		return p.each(func(name string, v []byte) error {
			if err := number(&p.p.HeaderStart, name == "start", v); err != nil {
				return err
			}
			return number(&p.p.HeaderEnd, name == "end", v)
		})
	case "location":
		return p.location()
	default:
		if list := p.listOf(string(p.s.name)); list != nil {
			p.list, p.deps = list, p.deps[:0]
		}
	}
	return nil
}

func (p *primaryParser) listOf(name string) *[]rpm.Dep {
	switch name {
	case "provides":
		return &p.p.Provides
	case "requires":
		return &p.p.Requires
	case "conflicts":
		return &p.p.Conflicts
	case "obsoletes":
		return &p.p.Obsoletes
	case "recommends":
		return &p.p.Recommends
	case "suggests":
		return &p.p.Suggests
	case "supplements":
		return &p.p.Supplements
	case "enhances":
		return &p.p.Enhances
	}
	return nil
}

// each calls f for each attribute of the tag.
func (p *primaryParser) each(f func(name string, value []byte) error) error {
	for {
		name, value, ok, err := p.s.attr()
		if err != nil || !ok {
			return err
		}
		if err := f(attrName(name), value); err != nil {
			return p.s.fail("attribute %.40q: %v", name, err)
		}
	}
}

// attrName avoids garbage for the names that occur.
func attrName(b []byte) string {
	switch string(b) {
	case "name":
		return "name"
	case "flags":
		return "flags"
	case "epoch":
		return "epoch"
	case "ver":
		return "ver"
	case "rel":
		return "rel"
	case "pre":
		return "pre"
	}
	return string(b)
}

func number(dst *int64, on bool, v []byte) error {
	if !on || len(v) == 0 {
		return nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%.40q is no number", v)
	}
	*dst = n
	return nil
}

func (p *primaryParser) evrAttr(e *rpm.EVR, name string, v []byte) {
	switch name {
	case "epoch":
		if string(v) != "0" {
			e.Epoch = p.intern.get(v)
		}
	case "ver":
		e.Version = p.intern.get(v)
	case "rel":
		e.Release = p.intern.get(v)
	}
}

func (p *primaryParser) entry() error {
	if len(p.deps) >= maxDeps {
		return p.s.fail("more than %d dependencies", maxDeps)
	}
	var d rpm.Dep
	err := p.each(func(name string, v []byte) error {
		switch name {
		case "name":
			d.Name = p.intern.get(v)
		case "flags":
			switch string(v) {
			case "EQ":
				d.Flags = rpm.SenseEqual
			case "LT":
				d.Flags = rpm.SenseLess
			case "GT":
				d.Flags = rpm.SenseGreater
			case "LE":
				d.Flags = rpm.SenseLess | rpm.SenseEqual
			case "GE":
				d.Flags = rpm.SenseGreater | rpm.SenseEqual
			case "", "0":
			default:
				return fmt.Errorf("%.10q is no comparison", v)
			}
		case "pre":
			d.Pre = string(v) == "1" || string(v) == "true"
		default:
			p.evrAttr(&d.EVR, name, v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d.Name == "" {
		return p.s.fail("a dependency without name")
	}
	if p.list == &p.p.Requires && strings.HasPrefix(d.Name, "rpmlib(") {
		return nil // what rpm.Header.Meta leaves out as well
	}
	p.deps = append(p.deps, d)
	return nil
}

func (p *primaryParser) location() error {
	var href, base string
	err := p.each(func(name string, v []byte) error {
		switch name {
		case "href":
			href = string(v)
		case "base", "xml:base":
			base = string(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.p.Location, err = location(href, base)
	return err
}

func (p *primaryParser) endElement() error {
	name := string(p.s.name)
	if p.list != nil && p.listOf(name) == p.list {
		if len(p.deps) > 0 {
			*p.list = append(*p.list, p.deps...)
		}
		p.list = nil
		return nil
	}
	if !p.want {
		return nil
	}
	p.want = false
	switch name {
	case "file":
		if len(p.files) >= maxFiles {
			return p.s.fail("more than %d files", maxFiles)
		}
		if !filePath(p.text) {
			return p.s.fail("file %.60q is not absolute", p.text)
		}
		p.files = append(p.files, string(p.text))
	case "name":
		p.p.Name = likeBefore(p.text, p.before.Name)
	case "arch":
		p.p.Arch = p.intern.get(p.text)
	case "summary":
		p.p.Summary = likeBefore(p.text, p.before.Summary)
	case "description":
		p.p.Description = likeBefore(p.text, p.before.Description)
	case "url":
		p.p.URL = likeBefore(p.text, p.before.URL)
	case "license":
		p.p.License = p.intern.get(p.text)
	case "vendor":
		p.p.Vendor = p.intern.get(p.text)
	case "group":
		p.p.Group = p.intern.get(p.text)
	case "sourcerpm":
		p.p.SourceRPM = likeBefore(p.text, p.before.SourceRPM)
	case "checksum":
		sum := strings.ToLower(string(bytes.TrimSpace(p.text)))
		if err := checkDigest(p.algo, sum); err != nil {
			return p.s.fail("%v", err)
		}
		p.p.Digest = rpm.Digest{Algo: p.algo, Hex: sum}
	}
	return nil
}

func (p *primaryParser) finish() error {
	m := &p.p
	switch {
	case m.Name == "" || m.Arch == "" || m.Version == "":
		return p.s.fail("package without name, architecture or version")
	case m.Location == "":
		return p.s.fail("package without location")
	case m.Digest.Hex == "":
		return p.s.fail("package without checksum")
	case m.HeaderStart > m.HeaderEnd:
		return p.s.fail("header from %d to %d", m.HeaderStart, m.HeaderEnd)
	case len(p.all) >= maxPackages:
		return p.s.fail("more than %d packages", maxPackages)
	}
	if len(p.files) > 0 {
		m.Files = slices.Clone(p.files)
	}
	p.all = append(p.all, *m)
	p.in = false
	return nil
}

// checksumAlgo gives the common name of an algorithm; "sha" is what old tools called sha1.
func checksumAlgo(s string) string {
	s = strings.ToLower(s)
	if s == "sha" {
		return "sha1"
	}
	return s
}

var digestSizes = map[string]int{"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}

func checkDigest(algo, sum string) error {
	size, ok := digestSizes[algo]
	if !ok {
		return fmt.Errorf("checksum type %.20q is not known", algo)
	}
	if len(sum) != 2*size || strings.Trim(sum, "0123456789abcdef") != "" {
		return fmt.Errorf("%s checksum %.140q is not %d hex digits", algo, sum, 2*size)
	}
	return nil
}

// likeBefore gives b as a string, the one from before if it is the same.
func likeBefore(b []byte, before string) string {
	if string(b) == before {
		return before
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// interner keeps one copy of each string. Names and versions of dependencies come back some ten times each.
type interner map[string]string

func (in interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := in[string(b)]; ok {
		return s
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	in[string(b)] = s
	return s
}
