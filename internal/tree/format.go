// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"grove/internal/ostree"
)

// Format prints t, an entry per line in the order of Walk, for people and for tests that compare text:
//
//	kind mode owner size digest path [-> target] [{xattr=value ...}]
//
// kind is d, - or l; size and digest (the first 12 digits of the file object's name) are "-" for a directory; the root
// is "."; values of xattrs are hex. A path with blanks or anything unprintable is quoted as Go does.
// Without header, what only a file object knows is "?".
func Format(w io.Writer, t *Tree, header func(ostree.Checksum) (ostree.FileHeader, int64, error)) error {
	out := bufio.NewWriter(w)
	err := t.Walk(func(path string, e Entry) error {
		if path == "" {
			path = "."
		}
		line, err := formatEntry(path, e, header)
		if err != nil {
			return pathError(path, err)
		}
		_, err = out.WriteString(line)
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

func formatEntry(path string, e Entry, header func(ostree.Checksum) (ostree.FileHeader, int64, error)) (string, error) {
	if e.Dir {
		return fmt.Sprintf("d %s %d:%d - - %s%s\n", modeText(e.Meta.Mode), e.Meta.UID, e.Meta.GID, quote(path),
			xattrText(e.Meta.Xattrs)), nil
	}
	digest := e.File.String()[:12]
	if header == nil {
		return fmt.Sprintf("? ? ? ? %s %s\n", digest, quote(path)), nil
	}
	h, size, err := header(e.File)
	if err != nil {
		return "", err
	}
	kind, target := "-", ""
	if h.IsSymlink() {
		kind, target = "l", " -> "+quote(h.Symlink)
	}
	return fmt.Sprintf("%s %s %d:%d %d %s %s%s%s\n", kind, modeText(h.Mode), h.UID, h.GID, size, digest, quote(path),
		target, xattrText(h.Xattrs)), nil
}

func modeText(mode uint32) string { return fmt.Sprintf("%04o", mode&ostree.ModePerm) }

func quote(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r == ' ' || r == '"' || r == '\\' || !unicode.IsPrint(r)
	}) {
		return strconv.Quote(s)
	}
	return s
}

func xattrText(xs []ostree.Xattr) string {
	if len(xs) == 0 {
		return ""
	}
	parts := make([]string, len(xs))
	for i, x := range xs {
		parts[i] = fmt.Sprintf("%s=%x", quote(x.Name), x.Value)
	}
	return " {" + strings.Join(parts, " ") + "}"
}
