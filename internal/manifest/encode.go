// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Encode gives the manifest as YAML, keys in the order of the table, what has its default left out. The text has
// no includes; it is meant to lie where the manifest lay, for paths are relative to the root of the fs.FS.
func (m Manifest) Encode() []byte {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, k := range ownKeys {
		if k.field == nil || k.input {
			continue
		}
		if n := fieldNode(k, k.field(&m)); n != nil {
			root.Content = append(root.Content, str(k.Name), n)
		}
	}
	if len(root.Content) == 0 {
		return []byte("{}\n")
	}
	out, err := yaml.Dump(root, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err != nil {
		panic(fmt.Sprintf("manifest: encode: %v", err)) // a tree of our own scalars
	}
	return out
}

func str(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.Contains(s, "\n") && literal(s):
		n.Style = yaml.LiteralStyle
	case !plainForm(s):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// literal tells whether a block keeps the text exactly: no line that only blanks make, nothing that must be escaped.
func literal(s string) bool {
	for _, line := range strings.Split(s, "\n") {
		if strings.TrimSpace(line) == "" && line != "" {
			return false
		}
	}
	if s[0] == ' ' || s[0] == '\n' || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f {
			return false
		}
	}
	return true
}

// plainForm tells whether a string needs no quotes and cannot be taken for a number, a boolean or nothing.
func plainForm(s string) bool {
	if s == "" || s == "y" || s == "n" {
		return false
	}
	for _, word := range []string{"true", "false", "yes", "no", "on", "off", "null"} {
		if strings.EqualFold(s, word) {
			return false
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		switch {
		case letter, c == '/', c == '_', c == ' ' && i > 0 && i < len(s)-1:
		case i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == '@' || c == ':' && i+1 < len(s) && s[i+1] != ' '):
		default:
			return false
		}
	}
	return true
}

func fieldNode(k Key, field any) *yaml.Node {
	switch p := field.(type) {
	case *string:
		if *p == "" {
			return nil
		}
		return str(*p)
	case *bool:
		if !*p {
			return nil
		}
		return boolNode(true)
	case **bool:
		if *p == nil {
			return nil
		}
		return boolNode(**p)
	case *[]string:
		return stringsNode(k.Type, *p)
	case *[][2]string:
		return listNode(*p, func(row [2]string) *yaml.Node { return flow(stringsNode("", row[:])) })
	case *[][]string:
		return listNode(*p, func(row []string) *yaml.Node { return flow(stringsNode("", row)) })
	case *map[string]any:
		if len(*p) == 0 {
			return nil
		}
		return valueNode(*p)
	case *map[string]string:
		if len(*p) == 0 {
			return nil
		}
		return mapNode(*p, str)
	case **Check:
		return checkNode(*p)
	case *[]RepoPackages:
		return listNode(*p, func(r RepoPackages) *yaml.Node {
			return pairs(str("repo"), str(r.Repo), str("packages"), stringsNode(typeWords, r.Packages))
		})
	case *[]LocalPackage:
		return listNode(*p, localNode)
	case *Overrides:
		return overridesNode(*p)
	case *Modules:
		return modulesNode(*p)
	}
	panic(fmt.Sprintf("manifest: no encoder for %T", field))
}

func boolNode(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

func listNode[T any](list []T, one func(T) *yaml.Node) *yaml.Node {
	if len(list) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, v := range list {
		n.Content = append(n.Content, one(v))
	}
	return n
}

func flow(n *yaml.Node) *yaml.Node {
	if n != nil {
		n.Style = yaml.FlowStyle
	}
	return n
}

func stringsNode(kind string, list []string) *yaml.Node {
	return listNode(list, func(s string) *yaml.Node {
		if kind == typeWords && strings.ContainsAny(s, " \t") {
			s = "'" + s + "'"
		}
		return str(s)
	})
}

func pairs(nodes ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: nodes}
}

func mapNode[V any](m map[string]V, one func(V) *yaml.Node) *yaml.Node {
	n := pairs()
	for _, key := range sortedKeys(m) {
		n.Content = append(n.Content, str(key), one(m[key]))
	}
	if len(m) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func valueNode(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		return mapNode(v, valueNode)
	case []any:
		n := listNode(v, valueNode)
		if n == nil {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
		}
		return n
	case bool:
		return boolNode(v)
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(v)}
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v, 10)}
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: floatText(v)}
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return str(fmt.Sprint(v))
}

// floatText keeps a number one that YAML reads as a float again.
func floatText(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	mantissa, exponent, ok := strings.Cut(s, "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if ok {
		return mantissa + "e" + exponent
	}
	return mantissa
}

func checkNode(c *Check) *yaml.Node {
	if c == nil {
		return nil
	}
	n := pairs(str("type"), str(c.Type))
	if c.Filename != "" {
		n.Content = append(n.Content, str("filename"), str(path.Clean(c.Filename)))
	}
	if c.Entries != nil {
		n.Content = append(n.Content, str("entries"), mapNode(c.Entries, func(ids []int64) *yaml.Node {
			return flow(listNode(ids, func(id int64) *yaml.Node { return valueNode(id) }))
		}))
	}
	return n
}

func localNode(p LocalPackage) *yaml.Node {
	n := pairs(str("nevra"), str(p.NEVRA))
	if p.SHA256 != "" {
		n.Content = append(n.Content, str("sha256"), str(p.SHA256))
	}
	if p.Repo != "" {
		n.Content = append(n.Content, str("repo"), str(p.Repo))
	}
	return n
}

func overridesNode(o Overrides) *yaml.Node {
	n := pairs()
	if r := stringsNode("", o.Remove); r != nil {
		n.Content = append(n.Content, str("remove"), r)
	}
	if r := listNode(o.Replace, localNode); r != nil {
		n.Content = append(n.Content, str("replace"), r)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}
