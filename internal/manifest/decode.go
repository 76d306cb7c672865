// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// decoder turns the nodes of one file into fields.
type decoder struct {
	file string
	dir  string // of the file; paths are made relative to the root of the fs.FS by it
	arch string // base architecture
	left *int   // nodes that may still be visited: aliases must not multiply the work
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", d.file, n.Line, fmt.Sprintf(format, args...))
}

// step resolves an alias and counts the visit.
func (d *decoder) step(n *yaml.Node) (*yaml.Node, error) {
	if *d.left--; *d.left < 0 {
		return nil, d.errorf(n, "more than %d values", maxNodes)
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil || n.Alias.Kind == yaml.AliasNode {
			return nil, d.errorf(n, "alias without a value")
		}
		return n.Alias, nil
	}
	return n, nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// value fills the field of one key.
func (d *decoder) value(k Key, n *yaml.Node, field any) error {
	n, err := d.step(n)
	if err != nil {
		return err
	}
	switch p := field.(type) {
	case *string:
		if *p, err = d.text(n); err == nil && k.Type == typePath {
			*p, err = d.path(n, *p)
		}
	case *bool:
		*p, err = d.boolean(n)
	case **bool:
		var b bool
		if b, err = d.boolean(n); err == nil {
			*p = &b
		}
	case *[]string:
		var list []string
		if list, err = d.stringList(k, n); err == nil {
			*p = append(*p, list...)
			if k.Merge == mergeSet {
				*p = unique(*p)
			}
		}
	case *[][2]string:
		*p, err = d.filePairs(n)
	case *[][]string:
		*p, err = d.lists(n)
	case *map[string]any:
		*p, err = d.valueMap(n, k.Name == "variables")
	case *map[string]string:
		*p, err = d.stringMap(n)
	case **Check:
		*p, err = d.check(n)
	case *[]RepoPackages:
		*p, err = d.repoPackages(n)
	case *[]LocalPackage:
		*p, err = d.locals(n, true)
	case *Overrides:
		*p, err = d.overrides(n)
	case *Modules:
		*p, err = d.modules(n)
	default:
		panic(fmt.Sprintf("manifest: no decoder for %T", field))
	}
	return err
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	}
	return "something else"
}

func (d *decoder) text(n *yaml.Node) (string, error) {
	n, err := d.step(n)
	if err != nil {
		return "", err
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return "", d.errorf(n, "got %s, wanted a string", kindName(n))
	}
	if len(n.Value) > maxString {
		return "", d.errorf(n, "string of %d bytes, at most %d are allowed", len(n.Value), maxString)
	}
	if !utf8.ValidString(n.Value) || strings.ContainsRune(n.Value, 0) {
		return "", d.errorf(n, "string with a NUL or bytes that are not UTF-8")
	}
	return n.Value, nil
}

func (d *decoder) boolean(n *yaml.Node) (bool, error) {
	if n.Kind == yaml.ScalarNode {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			return true, nil
		case "false", "no", "off":
			return false, nil
		}
	}
	return false, d.errorf(n, "got %s, wanted true or false", kindName(n))
}

// path makes a path beside the file one below the root of the fs.FS.
func (d *decoder) path(n *yaml.Node, p string) (string, error) {
	if p == "" || path.IsAbs(p) {
		return "", d.errorf(n, "got path %q, wanted one relative to the manifest", p)
	}
	joined := path.Join(d.dir, p)
	if joined == ".." || strings.HasPrefix(joined, "../") {
		return "", d.errorf(n, "path %q leaves the manifest's folder", p)
	}
	return joined, nil
}

func (d *decoder) sequence(n *yaml.Node) ([]*yaml.Node, error) {
	n, err := d.step(n)
	if err != nil {
		return nil, err
	}
	if isNull(n) {
		return nil, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, d.errorf(n, "got %s, wanted a list", kindName(n))
	}
	return n.Content, nil
}

// mapping calls f for each pair; keys are strings and unique.
func (d *decoder) mapping(n *yaml.Node, f func(key string, at, value *yaml.Node) error) error {
	n, err := d.step(n)
	if err != nil {
		return err
	}
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return d.errorf(n, "got %s, wanted a map", kindName(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := d.text(n.Content[i])
		if err != nil {
			return err
		}
		if seen[key] {
			return d.errorf(n.Content[i], "key %q stands twice", key)
		}
		seen[key] = true
		if err := f(key, n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) strings(n *yaml.Node) ([]string, error) {
	items, err := d.sequence(n)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, item := range items {
		s, err := d.text(item)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (d *decoder) stringList(k Key, n *yaml.Node) ([]string, error) {
	list, err := d.strings(n)
	if err != nil {
		return nil, err
	}
	switch k.Type {
	case typeWords:
		return d.words(n, list)
	case typePaths:
		for i := range list {
			if list[i], err = d.path(n, list[i]); err != nil {
				return nil, err
			}
		}
	case typeNames:
		for _, s := range list {
			if strings.TrimSpace(s) == "" {
				return nil, d.errorf(n, "%s: empty entry", k.Name)
			}
		}
	}
	return list, nil
}

func (d *decoder) words(n *yaml.Node, entries []string) ([]string, error) {
	var out []string
	for _, e := range entries {
		w, err := SplitPackages(e)
		if err != nil {
			return nil, d.errorf(n, "%v", err)
		}
		out = append(out, w...)
	}
	return out, nil
}

// SplitPackages splits one entry of `packages` at blanks; what stands in single quotes stays together.
//
//	"a b 'c >= 1'" -> "a", "b", "c >= 1"
func SplitPackages(entry string) ([]string, error) {
	var out []string
	for rest := strings.TrimSpace(entry); rest != ""; rest = strings.TrimSpace(rest) {
		if rest[0] == '\'' {
			end := strings.IndexByte(rest[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("package entry %q: the quote is not closed", entry)
			}
			spec := strings.Join(strings.Fields(rest[1:1+end]), " ")
			if spec == "" {
				return nil, fmt.Errorf("package entry %q: nothing between the quotes", entry)
			}
			out = append(out, spec)
			rest = rest[end+2:]
			continue
		}
		word := strings.Fields(rest)[0]
		out = append(out, word)
		rest = rest[len(word):]
	}
	return out, nil
}

func (d *decoder) filePairs(n *yaml.Node) ([][2]string, error) {
	rows, err := d.sequence(n)
	if err != nil {
		return nil, err
	}
	var out [][2]string
	for _, row := range rows {
		cells, err := d.strings(row)
		if err != nil {
			return nil, err
		}
		if len(cells) != 2 || cells[1] == "" {
			return nil, d.errorf(row, "got %d entries, wanted two: a file and a path in the tree", len(cells))
		}
		src, err := d.path(row, cells[0])
		if err != nil {
			return nil, err
		}
		out = append(out, [2]string{src, cells[1]})
	}
	return out, nil
}

func (d *decoder) lists(n *yaml.Node) ([][]string, error) {
	rows, err := d.sequence(n)
	if err != nil {
		return nil, err
	}
	var out [][]string
	for _, row := range rows {
		cells, err := d.strings(row)
		if err != nil {
			return nil, err
		}
		if len(cells) < 2 {
			return nil, d.errorf(row, "got %d entries, wanted a package and at least one pattern", len(cells))
		}
		out = append(out, cells)
	}
	return out, nil
}

func (d *decoder) valueMap(n *yaml.Node, scalars bool) (map[string]any, error) {
	var out map[string]any
	err := d.mapping(n, func(key string, at, v *yaml.Node) error {
		value, err := d.plain(v, 0)
		if err != nil {
			return err
		}
		switch value.(type) {
		case map[string]any, []any, nil:
			if scalars {
				return d.errorf(v, "variable %q: got %s, wanted a string, number or boolean", key, kindName(v))
			}
		}
		if out == nil {
			out = map[string]any{}
		}
		out[key] = value
		return nil
	})
	return out, err
}

// plain is a value as JSON knows them; whole numbers are int64.
func (d *decoder) plain(n *yaml.Node, depth int) (any, error) {
	n, err := d.step(n)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, d.errorf(n, "nested deeper than %d", maxDepth)
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		return out, d.mapping(n, func(key string, _, v *yaml.Node) error {
			out[key], err = d.plain(v, depth+1)
			return err
		})
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			v, err := d.plain(c, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	if isNull(n) {
		return nil, nil
	}
	if _, err := d.text(n); err != nil {
		return nil, err
	}
	return scalar(n), nil
}

func scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	case "!!float":
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && f == f && f-f == 0 {
			return f
		}
	}
	return n.Value
}

func (d *decoder) stringMap(n *yaml.Node) (map[string]string, error) {
	var out map[string]string
	err := d.mapping(n, func(key string, _, v *yaml.Node) error {
		s, err := d.text(v)
		if out == nil {
			out = map[string]string{}
		}
		out[key] = s
		return err
	})
	return out, err
}

func (d *decoder) check(n *yaml.Node) (*Check, error) {
	c := &Check{}
	err := d.mapping(n, func(key string, at, v *yaml.Node) (err error) {
		switch key {
		case "type":
			c.Type, err = d.text(v)
		case "filename":
			if c.Filename, err = d.text(v); err == nil {
				c.Filename, err = d.path(v, c.Filename)
			}
		case "entries":
			c.Entries, err = d.ids(v)
		default:
			err = d.errorf(at, "unknown key %q; wanted type, filename, entries", key)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case c.Type != "none" && c.Type != "previous" && c.Type != "file" && c.Type != "data":
		return nil, d.errorf(n, "got type %q, wanted none, previous, file or data", c.Type)
	case (c.Type == "file") != (c.Filename != ""):
		return nil, d.errorf(n, "type file and filename go together")
	case c.Type != "data" && c.Entries != nil:
		return nil, d.errorf(n, "entries are for type data")
	}
	return c, nil
}

func (d *decoder) ids(n *yaml.Node) (map[string][]int64, error) {
	out := map[string][]int64{}
	err := d.mapping(n, func(key string, at, v *yaml.Node) error {
		list := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			list = v.Content
		}
		for _, item := range list {
			s, err := d.text(item)
			if err != nil {
				return err
			}
			id, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return d.errorf(item, "got %q, wanted a number", s)
			}
			out[key] = append(out[key], int64(id))
		}
		if len(list) == 0 || len(list) > 2 {
			return d.errorf(at, "%s: got %d ids, wanted one or two", key, len(list))
		}
		return nil
	})
	return out, err
}

func (d *decoder) repoPackages(n *yaml.Node) ([]RepoPackages, error) {
	items, err := d.sequence(n)
	var out []RepoPackages
	for _, item := range items {
		var r RepoPackages
		if err := d.mapping(item, func(key string, at, v *yaml.Node) (err error) {
			switch key {
			case "repo":
				r.Repo, err = d.text(v)
			case "packages":
				r.Packages, err = d.stringList(Key{Name: key, Type: typeWords}, v)
			default:
				err = d.errorf(at, "unknown key %q; wanted repo, packages", key)
			}
			return err
		}); err != nil {
			return nil, err
		}
		if r.Repo == "" || len(r.Packages) == 0 {
			return nil, d.errorf(item, "wanted both repo and packages")
		}
		out = append(out, r)
	}
	return out, err
}

func (d *decoder) locals(n *yaml.Node, digest bool) ([]LocalPackage, error) {
	items, err := d.sequence(n)
	var out []LocalPackage
	for _, item := range items {
		var p LocalPackage
		if err := d.mapping(item, func(key string, at, v *yaml.Node) (err error) {
			switch key {
			case "nevra":
				p.NEVRA, err = d.text(v)
			case "sha256":
				p.SHA256, err = d.text(v)
			case "repo":
				p.Repo, err = d.text(v)
			default:
				err = d.errorf(at, "unknown key %q; wanted nevra, sha256, repo", key)
			}
			return err
		}); err != nil {
			return nil, err
		}
		if err := p.check(digest); err != nil {
			return nil, d.errorf(item, "%v", err)
		}
		out = append(out, p)
	}
	return out, err
}

func (p LocalPackage) check(digest bool) error {
	if p.SHA256 == "" && !digest { // from a source
		if p.NEVRA == "" || strings.ContainsAny(p.NEVRA, " \t\n/") {
			return fmt.Errorf("got nevra %q, wanted a name or name-version-release.arch", p.NEVRA)
		}
		return nil
	}
	if p.Repo != "" {
		return errors.New("repo: goes with a package of a source, not with a file")
	}
	if !isNEVRA(p.NEVRA) {
		return fmt.Errorf("got nevra %q, wanted name-version-release.arch", p.NEVRA)
	}
	if !isSHA256(p.SHA256) {
		return errors.New("sha256: wanted 64 small hex digits")
	}
	return nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}

// isNEVRA is a coarse look: the value becomes part of file and ref names.
func isNEVRA(s string) bool {
	if len(s) > maxName || strings.Count(s, "-") < 2 || s[0] == '-' || s[0] == '.' || !strings.Contains(s[strings.LastIndexByte(s, '-'):], ".") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == '/' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func (d *decoder) overrides(n *yaml.Node) (Overrides, error) {
	var o Overrides
	err := d.mapping(n, func(key string, at, v *yaml.Node) (err error) {
		switch key {
		case "remove":
			o.Remove, err = d.stringList(Key{Name: key, Type: typeNames}, v)
			o.Remove = unique(o.Remove)
		case "replace":
			o.Replace, err = d.locals(v, false)
		default:
			err = d.errorf(at, "unknown key %q; wanted remove, replace", key)
		}
		return err
	})
	return o, err
}
