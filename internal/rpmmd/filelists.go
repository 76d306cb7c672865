// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// ParseFilelists reads filelists.xml, uncompressed, and calls each for the packages in it: their checksum in lower case, and
// those of their files that keep wants (nil: all). The slice is each's to keep. keep is called by several goroutines at once.
//
//	source  createrepo_c src/xml_dump_filelists.c
func ParseFilelists(r io.Reader, keep func(path []byte) bool, each func(pkgid string, files []string) error) error {
	newParser := func() func(piece) ([]fileList, rootNames, error) {
		p := &filelistsParser{texts: newTexts(), keep: keep}
		return p.parse
	}
	err := inPieces(r, pieceBytes, newParser, func(some []fileList) error {
		for _, l := range some {
			if err := each(l.pkgid, l.files); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("filelists: %w", err)
	}
	return nil
}

type fileList struct {
	pkgid string
	files []string
}

type filelistsParser struct {
	s     scanner
	texts *texts
	keep  func([]byte) bool
	list  fileList
	all   []fileList
	in    bool
	text  []byte // of a <file>, where s gives texts
}

func (p *filelistsParser) parse(part piece) ([]fileList, rootNames, error) {
	p.in, p.all = false, make([]fileList, 0, bytes.Count(part.data, packageEnd))
	names, err := p.s.run(part, "filelists", p.token)
	return p.all, names, err
}

func (p *filelistsParser) token(kind tokenKind) (err error) {
	switch kind {
	case tokenText:
		p.text, err = p.s.after(p.text)
	case tokenStart:
		switch string(p.s.name) {
		case "package":
			p.in, p.list = true, fileList{}
			p.list.pkgid, err = packageID(&p.s)
		case "file":
			p.s.texts, p.text = p.in, nil
		}
	case tokenEnd:
		switch {
		case p.in && string(p.s.name) == "package":
			p.in = false
			p.all = append(p.all, p.list)
		case p.s.texts && string(p.s.name) == "file":
			p.s.texts = false
			err = p.file()
		}
	}
	return err
}

func (p *filelistsParser) file() error {
	if !filePath(p.text) {
		return p.s.fail("file %.60q is not absolute", p.text)
	}
	if p.keep != nil && !p.keep(p.text) {
		return nil
	}
	if len(p.list.files) >= maxFiles {
		return p.s.fail("more than %d files", maxFiles)
	}
	p.list.files = append(p.list.files, p.texts.add(p.text))
	return nil
}

func packageID(s *scanner) (string, error) {
	id := ""
	err := s.each(func(name, value []byte) error {
		if string(name) == "pkgid" {
			id = strings.ToLower(string(value))
		}
		return nil
	})
	if err == nil && (id == "" || len(id) > 128) {
		err = s.fail("package without pkgid")
	}
	return id, err
}

// filePath takes absolute paths and the bare names of source packages.
func filePath(b []byte) bool {
	return len(b) > 0 && (b[0] == '/' || bytes.IndexByte(b, '/') < 0)
}
