// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"

	"grove/internal/rpm"
)

// Limits of one source's metadata. Fedora has about 70,000 packages; the largest package about 400,000 files.
const (
	maxPackages = 2_000_000
	maxDeps     = 200_000   // of one kind, of one package
	maxFiles    = 4_000_000 // of one package
)

// primaryParser builds packages while the tokens come. Its memory is for one package, but for texts and blocks, which stay.
type primaryParser struct {
	s     scanner
	texts *texts
	lists *lists

	p     *rpm.Meta // the last of all
	in    bool      // inside <package>
	deps  []rpm.Dep
	files []string
	list  *[]rpm.Dep // where the entries go, nil outside of a list
	text  []byte     // of the element that is open, as far as s gives it
	algo  string
	all   []rpm.Meta

	announced int64 // how many packages the root element speaks of

	before    *rpm.Meta // the package before this one, or an empty one
	depBlock  []rpm.Dep
	fileBlock []string
}

// lists are the lists of packages that went into the whole and can be filled again.
type lists struct{ free chan []rpm.Meta }

func (l *lists) get() []rpm.Meta {
	select {
	case list := <-l.free:
		return list[:0]
	default:
		return nil
	}
}

func (l *lists) put(list []rpm.Meta) {
	select {
	case l.free <- list:
	default:
	}
}

// ParsePrimary reads primary.xml, uncompressed.
//
//	shape   of the packages: Files holds what primary names; Requires has Pre set where the entry says pre="1"; an epoch of 0 is
//	        none; Location is relative, or a URL where the package has its own xml:base
//	errors  text only; one bad package refuses the whole
//	source  createrepo_c src/xml_dump_primary.c
func ParsePrimary(r io.Reader) ([]rpm.Meta, error) { return parsePrimary(r, pieceBytes) }

func parsePrimary(r io.Reader, size int) ([]rpm.Meta, error) {
	var all []rpm.Meta
	used := &lists{make(chan []rpm.Meta, 2*runtime.GOMAXPROCS(0))}
	newParser := func() func(piece) (primaryPart, rootNames, error) {
		p := &primaryParser{texts: newTexts(), lists: used}
		return p.parse
	}
	defer calm()()
	err := inPieces(r, size, newParser, func(some primaryPart) error {
		if len(all)+len(some.packages) > maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		if some.announced > len(some.packages) {
			all = huge(make([]rpm.Meta, min(some.announced, maxReserve)))[:0]
		}
		if all == nil {
			all = some.packages
		} else {
			all = append(all, some.packages...)
			used.put(some.packages)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	return all, nil
}

// maxReserve bounds the memory that is taken because a file says how many packages it has.
const maxReserve = 100_000

// primaryPart is what one piece has; the first says how many packages the whole claims to have.
type primaryPart struct {
	packages  []rpm.Meta
	announced int
}

func (p *primaryParser) parse(part piece) (primaryPart, rootNames, error) {
	p.in, p.list, p.announced = false, nil, 0
	p.all = p.lists.get()
	names, err := p.s.run(part, "metadata", p.token)
	if err != nil {
		if p.in && p.p.Name != "" {
			err = fmt.Errorf("package %s: %w", p.p.Name, err)
		}
		return primaryPart{}, names, err
	}
	return primaryPart{p.all, int(min(p.announced, maxReserve))}, names, nil
}

func (p *primaryParser) token(kind tokenKind) error {
	switch {
	case kind == tokenText:
		text, err := p.s.after(p.text)
		p.text = text
		return err
	case kind == tokenStart && p.in:
		return p.start()
	case kind == tokenStart:
		switch string(p.s.name) {
		case "package":
			p.begin()
		case "metadata":
			if p.numbers("packages", &p.announced, "", nil) != nil {
				p.announced = 0 // only a hint
			}
		}
		return nil
	case !p.in:
		return nil
	case string(p.s.name) == "package":
		return p.finish()
	}
	return p.endElement()
}

func (p *primaryParser) begin() {
	p.in, p.list, p.s.texts = true, nil, false
	p.files = p.files[:0]
	p.all = append(p.all, rpm.Meta{})
	n := len(p.all)
	p.p, p.before = &p.all[n-1], &rpm.Meta{}
	if n > 1 {
		p.before = &p.all[n-2]
	}
}

func (p *primaryParser) start() error {
	p.text, p.s.texts = nil, false
	switch string(p.s.name) {
	case "entry":
		if p.list == nil {
			return nil
		}
		return p.entry()
	case "file", "name", "arch", "summary", "description", "url", "license", "vendor", "group", "sourcerpm":
		p.s.texts = true
	case "checksum":
		p.s.texts = true
		for _, a := range p.s.attrs {
			if string(a.name) == "type" && string(a.value) != p.algo {
				p.algo = checksumAlgo(string(a.value))
			}
		}
	case "version":
		for _, a := range p.s.attrs {
			v, err := p.s.value(a)
			if err != nil {
				return err
			}
			p.evrAttr(&p.p.EVR, a.name, v)
		}
	case "time":
		return p.numbers("build", &p.p.BuildTimeSec, "", nil)
	case "size":
		return p.numbers("package", &p.p.SizeBytes, "installed", &p.p.InstalledBytes)
	case "header-range":
		return p.numbers("start", &p.p.HeaderStart, "end", &p.p.HeaderEnd)
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

// numbers reads one or two attributes of the tag.
func (p *primaryParser) numbers(name1 string, dst1 *int64, name2 string, dst2 *int64) error {
	for _, a := range p.s.attrs {
		var err error
		switch string(a.name) {
		case name1:
			err = number(dst1, a.value)
		case name2:
			err = number(dst2, a.value)
		}
		if err != nil {
			return p.s.fail("attribute %.40q: %v", a.name, err)
		}
	}
	return nil
}

func number(dst *int64, v []byte) error {
	if len(v) == 0 {
		return nil
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return fmt.Errorf("%.40q is no number", v)
		}
		n = 10*n + int64(c-'0')
	}
	*dst = n
	return nil
}

func (p *primaryParser) evrAttr(e *rpm.EVR, name, v []byte) {
	switch string(name) {
	case "epoch":
		if string(v) != "0" {
			e.Epoch = p.texts.intern(v)
		}
	case "ver":
		e.Version = p.internLike(v, p.p.Version)
	case "rel":
		e.Release = p.internLike(v, p.p.Release)
	}
}

// internLike is intern, quicker where likely says the same: most versions in a package are its own.
func (p *primaryParser) internLike(v []byte, likely string) string {
	if string(v) == likely {
		return likely
	}
	return p.texts.intern(v)
}

func (p *primaryParser) entry() error {
	if len(p.deps) >= maxDeps {
		return p.s.fail("more than %d dependencies", maxDeps)
	}
	p.deps = append(p.deps, rpm.Dep{})
	d := &p.deps[len(p.deps)-1]
	for _, a := range p.s.attrs {
		v, err := p.s.value(a)
		if err != nil {
			return err
		}
		switch string(a.name) {
		case "name":
			if p.list == &p.p.Provides { // mostly said once
				d.Name = p.texts.like(v, p.p.Name)
			} else {
				d.Name = p.texts.intern(v)
			}
		case "flags":
			if d.Flags, err = comparison(v); err != nil {
				return p.s.fail("attribute %.40q: %v", a.name, err)
			}
		case "pre":
			d.Pre = string(v) == "1" || string(v) == "true"
		default:
			p.evrAttr(&d.EVR, a.name, v)
		}
	}
	if d.Name == "" {
		return p.s.fail("a dependency without name")
	}
	if p.list == &p.p.Requires && strings.HasPrefix(d.Name, "rpmlib(") {
		p.deps = p.deps[:len(p.deps)-1] // what rpm.Header.Meta leaves out as well
	}
	return nil
}

func comparison(v []byte) (uint32, error) {
	switch string(v) {
	case "EQ":
		return rpm.SenseEqual, nil
	case "LT":
		return rpm.SenseLess, nil
	case "GT":
		return rpm.SenseGreater, nil
	case "LE":
		return rpm.SenseLess | rpm.SenseEqual, nil
	case "GE":
		return rpm.SenseGreater | rpm.SenseEqual, nil
	case "", "0":
		return 0, nil
	}
	return 0, fmt.Errorf("%.10q is no comparison", v)
}

func (p *primaryParser) location() error {
	var href, base string
	err := p.s.each(func(name, v []byte) error {
		switch string(name) {
		case "href":
			href = p.texts.add(v)
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
	if p.list != nil && p.listOf(string(p.s.name)) == p.list {
		if kept := p.keepDeps(); *p.list == nil {
			*p.list = kept
		} else {
			*p.list = append(*p.list, kept...) // a second list of the kind
		}
		p.list = nil
		return nil
	}
	if !p.s.texts {
		return nil
	}
	p.s.texts = false
	m, t, before := p.p, p.texts, p.before
	switch string(p.s.name) {
	case "file":
		if len(p.files) >= maxFiles {
			return p.s.fail("more than %d files", maxFiles)
		}
		if !filePath(p.text) {
			return p.s.fail("file %.60q is not absolute", p.text)
		}
		p.files = append(p.files, t.add(p.text))
	case "name":
		m.Name = t.like(p.text, before.Name)
	case "arch":
		m.Arch = t.intern(p.text)
	case "summary":
		m.Summary = t.like(p.text, before.Summary)
	case "description":
		m.Description = t.like(p.text, before.Description)
	case "url":
		m.URL = t.like(p.text, before.URL)
	case "license":
		m.License = t.intern(p.text)
	case "vendor":
		m.Vendor = t.intern(p.text)
	case "group":
		m.Group = t.intern(p.text)
	case "sourcerpm":
		m.SourceRPM = t.like(p.text, before.SourceRPM)
	case "checksum":
		sum := bytes.TrimSpace(p.text)
		m.Digest = rpm.Digest{Algo: p.algo, Hex: strings.ToLower(t.add(sum))}
		if err := checkDigest(m.Digest.Algo, m.Digest.Hex); err != nil {
			return p.s.fail("%v", err)
		}
	}
	return nil
}

// depBlock is the number of dependencies that lie together in the end: 5 MB of them. The first block has a hundredth, the next ones twice the
// one before.
const depBlock = 1 << 16

// keepDeps puts the list of the moment into a block that lists share; nothing can be appended to it in place.
func (p *primaryParser) keepDeps() []rpm.Dep {
	n := len(p.deps)
	if n == 0 {
		return nil
	}
	if n > cap(p.depBlock)-len(p.depBlock) {
		p.depBlock = huge(make([]rpm.Dep, max(n, min(depBlock, max(depBlock/100, 2*cap(p.depBlock))))))[:0]
	}
	k := len(p.depBlock)
	p.depBlock = append(p.depBlock, p.deps...)
	return p.depBlock[k : k+n : k+n]
}

func (p *primaryParser) keepFiles() []string {
	n := len(p.files)
	if n == 0 {
		return nil
	}
	if n > cap(p.fileBlock)-len(p.fileBlock) {
		p.fileBlock = make([]string, 0, max(n, 4096))
	}
	k := len(p.fileBlock)
	p.fileBlock = append(p.fileBlock, p.files...)
	return p.fileBlock[k : k+n : k+n]
}

func (p *primaryParser) finish() error {
	m := p.p
	switch {
	case m.Name == "" || m.Arch == "" || m.Version == "":
		return p.s.fail("package without name, architecture or version")
	case m.Location == "":
		return p.s.fail("package without location")
	case m.Digest.Hex == "":
		return p.s.fail("package without checksum")
	case m.HeaderStart > m.HeaderEnd:
		return p.s.fail("header from %d to %d", m.HeaderStart, m.HeaderEnd)
	}
	m.Files = p.keepFiles()
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
	if len(sum) != 2*size || !lowerHex(sum) {
		return fmt.Errorf("%s checksum %.140q is not %d hex digits", algo, sum, 2*size)
	}
	return nil
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
