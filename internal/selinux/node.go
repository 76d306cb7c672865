// SPDX-License-Identifier: Apache-2.0

package selinux

import "strings"

// node holds the patterns of one stem; its children those of longer stems.
type node struct {
	children map[string]*node
	specs    []*spec // in order
	flat     bool    // <<none>> below does not stop the search above: libselinux before 3.8
	// next lists, latest first, the patterns that may take a path by the byte that follows the stem and its slash.
	next [256][]*spec
}

// add files a pattern under its stem.
func (n *node) add(pattern string, s *spec, o Options) {
	if o.Before38 {
		n.flat = true
		n.addOld(pattern, s)
		return
	}
	rest := pattern
	for depth := 0; depth < stemDepth; {
		end := strings.IndexByte(rest[1:], '/')
		if end < 0 {
			break
		}
		name := rest[1 : 1+end]
		if name != "" { // it is, where a slash is doubled
			text, ok := simplify(name)
			if !ok {
				break
			}
			n = n.child(text)
			depth++
		}
		rest = rest[1+end:]
	}
	n.specs = append(n.specs, s)
}

// addOld is add as libselinux before 3.8 did it: one directory, whose text is taken with its escapes.
func (n *node) addOld(pattern string, s *spec) {
	end := 1 + strings.IndexByte(pattern[1:], '/')
	if end > 0 && !strings.ContainsAny(pattern[:end], oldMeta) {
		if pattern[0] != '/' || end == 1 {
			return // no path has such a stem
		}
		n = n.child(pattern[1:end])
	}
	n.specs = append(n.specs, s)
}

func (n *node) child(name string) *node {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	if n.children[name] == nil {
		n.children[name] = &node{flat: n.flat}
	}
	return n.children[name]
}

// index fills next, for a node whose stem is path.
func (n *node) index(path string) {
	at := len(path) + 1
	for i := len(n.specs) - 1; i >= 0; i-- {
		s := n.specs[i]
		if len(s.prefix) > at {
			n.next[s.prefix[at]] = append(n.next[s.prefix[at]], s)
			continue
		}
		for b := range n.next {
			n.next[b] = append(n.next[b], s)
		}
	}
	for name, child := range n.children {
		child.index(path + "/" + name)
	}
}

// lookup asks the patterns of the longest stem first; those of shorter stems only where they came later.
func (n *node) lookup(key string, kind uint32) (string, bool) {
	if key[0] != '/' || len(key) == 1 {
		return answer(n.latest(n.all(), key, kind, 0))
	}
	var chain [stemDepth + 1]*node
	var at [stemDepth + 1]int // where the slash after the stem is
	chain[0] = n
	deepest := 0
	for deepest < stemDepth {
		rest := key[at[deepest]+1:]
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			break
		}
		child := chain[deepest].children[rest[:end]]
		if child == nil {
			break
		}
		deepest++
		chain[deepest], at[deepest] = child, at[deepest-1]+1+end
	}
	var best *spec
	for i := deepest; i >= 0; i-- {
		after := 0
		if best != nil {
			after = best.order
		}
		if s := n.latest(chain[i].after(key[at[i]+1:]), key, kind, after); s != nil {
			if best = s; s.context == "" && !n.flat {
				break
			}
		}
	}
	return answer(best)
}

func answer(s *spec) (string, bool) {
	if s == nil {
		return "", false
	}
	return s.context, s.context != ""
}

// after are the node's patterns that may take a path that goes on with rest, latest first.
func (n *node) after(rest string) []*spec {
	if rest == "" { // a replaced path may end with a slash
		return n.all()
	}
	return n.next[rest[0]]
}

// latest is the first of the specs, latest first, that matches; nil if none comes after the given order.
func (n *node) latest(specs []*spec, key string, kind uint32, after int) *spec {
	for _, s := range specs {
		if s.order < after {
			return nil
		}
		if s.takes(kind) && s.match(key) {
			return s
		}
	}
	return nil
}

// all are the node's own patterns, latest first.
func (n *node) all() []*spec {
	all := make([]*spec, 0, len(n.specs))
	for i := len(n.specs) - 1; i >= 0; i-- {
		all = append(all, n.specs[i])
	}
	return all
}
