// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckRefName fails unless name can be a ref: segments of letters and digits (of any script, as libostree has
// it), '.', '_' and '-', divided by single slashes, none beginning with '.' or '-'. So a ref is also a path that leads
// nowhere else.
//
//	source  ostree-core.c, ostree_validate_rev
func CheckRefName(name string) error {
	if len(name) > MaxRefLen {
		return fmt.Errorf("ref name %.40q… has %d bytes, at most %d allowed", name, len(name), MaxRefLen)
	}
	for _, s := range strings.Split(name, "/") {
		if err := checkSegment(s); err != nil {
			return fmt.Errorf("ref name %q: %w", name, err)
		}
	}
	return nil
}

// CheckRemoteName fails unless name can be a remote: one segment of a ref name.
//
//	source  ostree-core.c, ostree_validate_remote_name
func CheckRemoteName(name string) error {
	if err := checkSegment(name); err != nil {
		return fmt.Errorf("remote name %.80q: %w", name, err)
	}
	return nil
}

func checkSegment(s string) error {
	if s == "" {
		return fmt.Errorf("empty segment")
	}
	if len(s) > MaxNameLen {
		return fmt.Errorf("segment has %d bytes, at most %d allowed", len(s), MaxNameLen)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("segment %q is not UTF-8", s)
	}
	for i, c := range s {
		switch {
		case c == '_' || unicode.IsLetter(c) || unicode.IsNumber(c) || i > 0 && (c == '.' || c == '-'):
		case c == '.' || c == '-':
			return fmt.Errorf("segment %q begins with %q", s, c)
		default:
			return fmt.Errorf("%q is not allowed", c)
		}
	}
	return nil
}

// ParseRefspec splits "REMOTE:REF" or "REF" (remote is then "") and checks both names.
func ParseRefspec(s string) (remote, ref string, err error) {
	ref = s
	if i := strings.IndexByte(s, ':'); i >= 0 {
		remote, ref = s[:i], s[i+1:]
		if err := CheckRemoteName(remote); err != nil {
			return "", "", err
		}
	}
	return remote, ref, CheckRefName(ref)
}

// CheckCollectionID fails unless id can be a collection: at least two elements of letters, digits and '_', divided by
// dots, none beginning with a digit; at most 255 bytes.
//
//	source  ostree-core.c, ostree_validate_collection_id
func CheckCollectionID(id string) error {
	parts := strings.Split(id, ".")
	if len(id) > 255 || len(parts) < 2 {
		return fmt.Errorf("collection ID %.80q: wanted elements with dots, at most 255 bytes", id)
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, idLetters) != "" || p[0] >= '0' && p[0] <= '9' {
			return fmt.Errorf("collection ID %q: element %q is not allowed", id, p)
		}
	}
	return nil
}

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
