// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// ParseFilelists reads filelists.xml, uncompressed, and calls each for the packages in it: their checksum in lower case, and
// those of their files that keep wants (nil: all). The slice is each's to keep.
//
//	source  createrepo_c src/xml_dump_filelists.c
func ParseFilelists(r io.Reader, keep func(path []byte) bool, each func(pkgid string, files []string) error) error {
	s := newScanner(r)
	var (
		pkgid   string
		files   []string
		text    []byte
		in      bool
		reading bool
		root    = true
	)
	fail := func(err error) error { return fmt.Errorf("filelists: %w", err) }
	for {
		kind, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		switch kind {
		case tokenText:
			if reading {
				b, err := s.unescape(s.text)
				if err != nil {
					return fail(err)
				}
				text = append(text, b...)
			}
		case tokenStart:
			if root && string(s.name) != "filelists" {
				return fail(s.fail("root element %.40q, wanted filelists", s.name))
			}
			root = false
			switch string(s.name) {
			case "package":
				in, files = true, nil
				if pkgid, err = packageID(s); err != nil {
					return fail(err)
				}
			case "file":
				reading, text = in, text[:0]
			}
		case tokenEnd:
			switch string(s.name) {
			case "package":
				if in {
					if err := each(pkgid, files); err != nil {
						return fail(err)
					}
				}
				in = false
			case "file":
				if !reading {
					continue
				}
				reading = false
				if !filePath(text) {
					return fail(s.fail("file %.60q is not absolute", text))
				}
				if keep == nil || keep(text) {
					if len(files) >= maxFiles {
						return fail(s.fail("more than %d files", maxFiles))
					}
					files = append(files, string(text))
				}
			}
		}
	}
}

func packageID(s *scanner) (string, error) {
	id := ""
	for {
		name, value, ok, err := s.attr()
		if err != nil {
			return "", err
		}
		if !ok {
			break
		}
		if string(name) == "pkgid" {
			id = strings.ToLower(string(value))
		}
	}
	if id == "" || len(id) > 128 {
		return "", s.fail("package without pkgid")
	}
	return id, nil
}

// filePath takes absolute paths and the bare names of source packages.
func filePath(b []byte) bool {
	return len(b) > 0 && (b[0] == '/' || bytes.IndexByte(b, '/') < 0)
}
