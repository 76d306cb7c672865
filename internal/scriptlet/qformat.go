// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"fmt"
	"strconv"
	"strings"

	"grove/internal/rpm"
)

// Bodies of scriptlets that were built with -q are query formats: tags of the package's own header are filled in when it runs.
//
//	shape   %{TAG}, %5{TAG}, %-5{TAG}; [...] once for each value of the arrays in it, %{=TAG} the first value each time;
//	        %|TAG?{there}:{not}|; %% and the escapes \n \t \\ \" \a \r
//	source  rpm, lib/headerfmt.c; docs/man/rpm-queryformat

// qformatBytes bounds what comes out: file lists of the largest packages have some megabytes.
const qformatBytes = 32 << 20

// qformatDepth bounds how deep brackets and conditions may stand in each other.
const qformatDepth = 16

// queryTags are the tags by name that scriptlets ask for.
var queryTags = map[string]uint32{
	"NAME": rpm.TagName, "VERSION": rpm.TagVersion, "RELEASE": rpm.TagRelease, "EPOCH": rpm.TagEpoch, "ARCH": rpm.TagArch, "SUMMARY": rpm.TagSummary,
	"GROUP": rpm.TagGroup, "VENDOR": rpm.TagVendor, "BASENAMES": rpm.TagBasenames, "DIRNAMES": rpm.TagDirNames, "PREFIXES": rpm.TagPrefixes,
	"INSTPREFIXES": rpm.TagPrefixes, "REQUIRENAME": rpm.TagRequireName, "PROVIDENAME": rpm.TagProvideName, "BUILDTIME": rpm.TagBuildTime,
}

// values are the values of a tag as text.
func values(h *rpm.Header, name string) ([]string, error) {
	name, _, _ = strings.Cut(strings.ToUpper(name), ":")
	name = strings.TrimPrefix(name, "RPMTAG_")
	switch name {
	case "FILENAMES", "INSTFILENAMES", "FILENAME":
		return h.Paths()
	case "NVRA", "NEVRA":
		return []string{h.NEVRA().String()}, nil
	}
	tag, ok := queryTags[name]
	if !ok {
		return nil, fmt.Errorf("tag %q is not known", name)
	}
	if v := h.Strings(tag); len(v) > 0 {
		return v, nil
	}
	var out []string
	for _, n := range h.Uint32s(tag) {
		out = append(out, strconv.FormatUint(uint64(n), 10))
	}
	return out, nil
}

// queryFormat fills a format in.
func queryFormat(h *rpm.Header, format string) (string, error) {
	q := &qformat{h: h, rest: format, seen: map[string][]string{}}
	if err := q.sequence(0, "", -1); err != nil {
		return "", err
	}
	return q.out.String(), nil
}

// values are those of a tag, read once.
func (q *qformat) values(name string) (all []string, err error) {
	all, known := q.seen[name]
	if !known {
		all, err = values(q.h, name)
		q.seen[name] = all
	}
	return all, err
}

// qformat reads a format from the front; element is the place in arrays, or -1 outside of brackets.
type qformat struct {
	h    *rpm.Header
	rest string
	out  strings.Builder
	seen map[string][]string
	most int // of the arrays met in the bracket: how many values the longest has
}

// sequence handles the format up to one of the characters in ends, which stays; none: to the end.
func (q *qformat) sequence(depth int, ends string, element int) error {
	if depth > qformatDepth {
		return fmt.Errorf("query format: more than %d levels", qformatDepth)
	}
	for q.rest != "" {
		c := q.rest[0]
		if ends != "" && strings.IndexByte(ends, c) >= 0 {
			return nil
		}
		if q.out.Len() > qformatBytes {
			return fmt.Errorf("query format: more than %d bytes", qformatBytes)
		}
		q.rest = q.rest[1:]
		var err error
		switch {
		case c == '\\' && q.rest != "":
			q.out.WriteString(unescape(q.rest[0]))
			q.rest = q.rest[1:]
		case c == '%' && strings.HasPrefix(q.rest, "%"):
			q.out.WriteByte('%')
			q.rest = q.rest[1:]
		case c == '%' && strings.HasPrefix(q.rest, "|"):
			err = q.condition(depth, element)
		case c == '%':
			err = q.tag(element)
		case c == '[' && element < 0:
			err = q.array(depth)
		default:
			q.out.WriteByte(c)
		}
		if err != nil {
			return err
		}
	}
	if ends != "" {
		return fmt.Errorf("query format: %q is missing at the end", ends)
	}
	return nil
}

func unescape(c byte) string {
	if i := strings.IndexByte("ntar", c); i >= 0 {
		return "\n\t\a\r"[i : i+1]
	}
	return string(c)
}

// tag handles what follows "%": a width, and a name in braces.
func (q *qformat) tag(element int) error {
	width, after, ok := strings.Cut(q.rest, "{")
	name, rest, closed := strings.Cut(after, "}")
	if !ok || !closed {
		return fmt.Errorf("query format: %% without {TAG} at %.20q", q.rest)
	}
	n, err := strconv.Atoi(width)
	if width != "" && (err != nil || n > 1000 || n < -1000) {
		return fmt.Errorf("query format: width %q", width)
	}
	q.rest = rest
	first := strings.HasPrefix(name, "=")
	all, err := q.values(strings.TrimPrefix(name, "="))
	if err != nil {
		return fmt.Errorf("query format: %w", err)
	}
	text := "(none)"
	switch {
	case element < 0 || first:
		if len(all) > 0 {
			text = all[0]
		}
	default:
		if q.most = max(q.most, len(all)); element >= len(all) {
			return nil
		}
		text = all[element]
	}
	fmt.Fprintf(&q.out, "%*s", n, text)
	return nil
}

// array handles [...]: its content once for each value.
func (q *qformat) array(depth int) error {
	start := q.rest
	q.most = 0
	for i := 0; ; i++ {
		before := q.out.String()
		q.rest = start
		if err := q.sequence(depth+1, "]", i); err != nil {
			return err
		}
		if i >= q.most { // one more than there are
			q.out.Reset()
			q.out.WriteString(before)
			break
		}
	}
	q.rest = q.rest[1:]
	return nil
}

// condition handles |TAG?{there}:{not}|.
func (q *qformat) condition(depth, element int) error {
	name, rest, ok := strings.Cut(q.rest[1:], "?{")
	if !ok {
		return fmt.Errorf("query format: condition at %.20q", q.rest)
	}
	all, err := q.values(name)
	if err != nil {
		return fmt.Errorf("query format: %w", err)
	}
	q.rest = rest
	if err := q.branch(depth, element, len(all) > 0); err != nil {
		return err
	}
	if strings.HasPrefix(q.rest, ":{") {
		q.rest = q.rest[2:]
		if err := q.branch(depth, element, len(all) == 0); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(q.rest, "|") {
		return fmt.Errorf("query format: condition on %q does not end", name)
	}
	q.rest = q.rest[1:]
	return nil
}

// branch handles one side of a condition, up to its "}", and keeps what it gives only where it counts.
func (q *qformat) branch(depth, element int, counts bool) error {
	before := q.out.String()
	if err := q.sequence(depth+1, "}", element); err != nil {
		return err
	}
	q.rest = q.rest[1:]
	if !counts {
		q.out.Reset()
		q.out.WriteString(before)
	}
	return nil
}
