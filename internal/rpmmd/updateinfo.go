// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"grove/internal/rpm"
)

// Limits of updateinfo.xml; Fedora's has some thousand advisories in 30 MiB.
const (
	maxUpdateinfo = 512 << 20
	maxAdvisories = 500_000
)

// Advisory says why there are newer packages.
//
//	shape   Type: security, bugfix, enhancement, newpackage; Severity: Critical, Important, Moderate, Low, "" = not said; CVEs: "CVE-2024-1"
//	source  createrepo_c src/xml_dump_updateinfo.c
type Advisory struct {
	ID, Type, Severity, Title string
	CVEs                      []string
	Packages                  []rpm.NEVRA
}

// ParseUpdateinfo reads updateinfo.xml, uncompressed.
func ParseUpdateinfo(r io.Reader) ([]Advisory, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxUpdateinfo+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxUpdateinfo {
		return nil, fmt.Errorf("updateinfo: more than %d bytes", maxUpdateinfo)
	}
	p := &updateinfoParser{texts: newTexts()}
	if _, err := p.s.run(piece{data: data, first: true, last: true}, "updates", p.token); err != nil {
		return nil, fmt.Errorf("updateinfo: %w", err)
	}
	return p.all, nil
}

type updateinfoParser struct {
	s     scanner
	texts *texts
	a     Advisory
	in    bool
	list  bool // inside <pkglist>
	text  []byte
	all   []Advisory
}

func (p *updateinfoParser) token(kind tokenKind) error {
	switch kind {
	case tokenText:
		text, err := p.s.after(p.text)
		p.text = text
		return err
	case tokenStart:
		p.text, p.s.texts = nil, false
		return p.start()
	case tokenEnd:
		return p.end()
	}
	return nil
}

func (p *updateinfoParser) start() error {
	name := string(p.s.name)
	if name == "update" && !p.in {
		p.in, p.list, p.a = true, false, Advisory{}
		return p.s.each(func(name, v []byte) error {
			if string(name) == "type" {
				p.a.Type = p.texts.intern(v)
			}
			return nil
		})
	}
	if !p.in {
		return nil
	}
	switch name {
	case "pkglist":
		p.list = true
	case "id", "title", "severity":
		p.s.texts = !p.list
	case "reference":
		var kind, id string
		err := p.s.each(func(name, v []byte) error {
			switch string(name) {
			case "type":
				kind = string(v)
			case "id":
				id = p.texts.add(v)
			}
			return nil
		})
		if kind == "cve" && id != "" {
			p.a.CVEs = append(p.a.CVEs, id)
		}
		return err
	case "package":
		return p.pkg()
	}
	return nil
}

func (p *updateinfoParser) pkg() error {
	var n rpm.NEVRA
	err := p.s.each(func(name, v []byte) error {
		switch string(name) {
		case "name":
			n.Name = p.texts.intern(v)
		case "epoch":
			if string(v) != "0" {
				n.Epoch = p.texts.intern(v)
			}
		case "version":
			n.Version = p.texts.intern(v)
		case "release":
			n.Release = p.texts.intern(v)
		case "arch":
			n.Arch = p.texts.intern(v)
		}
		return nil
	})
	if err == nil && (n.Name == "" || n.Version == "") {
		err = p.s.fail("a package without name or version")
	}
	p.a.Packages = append(p.a.Packages, n)
	return err
}

func (p *updateinfoParser) end() error {
	name := string(p.s.name)
	if name == "pkglist" {
		p.list = false
	}
	if name == "update" && p.in {
		p.in = false
		if p.a.ID == "" {
			return p.s.fail("an advisory without id")
		}
		if len(p.all) >= maxAdvisories {
			return p.s.fail("more than %d advisories", maxAdvisories)
		}
		p.all = append(p.all, p.a)
		return nil
	}
	if !p.s.texts {
		return nil
	}
	p.s.texts = false
	text := bytes.TrimSpace(p.text)
	switch name {
	case "id":
		p.a.ID = p.texts.add(text)
	case "title":
		p.a.Title = p.texts.add(text)
	case "severity":
		if s := p.texts.intern(text); !strings.EqualFold(s, "none") {
			p.a.Severity = s
		}
	}
	return nil
}

// Advisories brings and reads the source's advisories, none where it has none. They stay in the cache as they came.
//
//	errors  as Load
func (m *Metadata) Advisories(ctx context.Context) (all []Advisory, err error) {
	if m.loader == nil {
		return nil, errors.New("internal error: metadata that was not loaded")
	}
	f, ok := m.repomd.files["updateinfo"]
	if !ok {
		return nil, nil
	}
	err = m.loader.lasting(ctx, m, "updateinfo", f, func(r io.Reader) (err error) {
		all, err = ParseUpdateinfo(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", m.Source.ID, err)
	}
	return all, nil
}
