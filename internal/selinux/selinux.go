// SPDX-License-Identifier: Apache-2.0

// Package selinux says which label a policy gives to a path: libselinux's lookup in file_contexts, as a pure function.
//
// It reads the text files of a policy (file_contexts, .homedirs, .local, .subs, .subs_dist); the compiled .bin files beside
// them hold the same and are not looked at. It does not read the binary policy, does not check that a label is one that the
// policy knows, and touches no kernel. A Policy never changes and may be used by many goroutines.
//
// The rule, of libselinux 3.8 and later (src/label_file.c): the path has doubled slashes and one trailing slash removed and its
// beginning replaced, first by .subs, then by .subs_dist, where the last line that fits wins. An entry without
// metacharacters whose text is the path comes before every pattern. Of the patterns the last one wins, counted through
// file_contexts, .homedirs and .local in this order; a pattern is only asked about paths below its stem, its leading
// directories (three at most) without metacharacters. Patterns are PCRE of bytes, with a dot that takes newlines. The entry <<none>> means that
// there is to be no label.
package selinux

import (
	"fmt"
	"strings"
)

// Files are the texts of one policy; all but Contexts may be empty.
//
//	source  etc/selinux/TYPE/contexts/files/file_contexts, and the same name with .homedirs, .local, .subs, .subs_dist
type Files struct {
	Contexts, Homedirs, Local, Subs, SubsDist []byte
}

// Policy answers which label a path has.
type Policy struct {
	name           string
	subs, distSubs []substitution
	literals       map[string][]*spec
	root           *node
	specs          int
}

// Options change how New reads a policy.
type Options struct {
	Name string // the policy's type, such as "targeted"
	// Before38 gives the answers of libselinux before 3.8: a stem is one directory, an entry without metacharacters
	// gives way to a later one for the same path, and <<none>> counts as any other entry.
	Before38 bool
}

// New makes a policy of its files.
//
//	errors  a line without label, with an unknown file type, or with a pattern that is not understood: named by file and line
func New(f Files, o Options) (*Policy, error) {
	p := &Policy{
		name: o.Name, literals: map[string][]*spec{}, root: &node{},
		subs: parseSubs(f.Subs), distSubs: parseSubs(f.SubsDist),
	}
	for i, part := range []struct {
		name string
		text []byte
	}{{"file_contexts", f.Contexts}, {"file_contexts.homedirs", f.Homedirs}, {"file_contexts.local", f.Local}} {
		if err := p.add(i, part.text, o); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if p.specs == 0 {
		return nil, fmt.Errorf("file_contexts: no entry")
	}
	p.root.index("")
	return p, nil
}

// Name is the policy's type, such as "targeted".
func (p *Policy) Name() string { return p.name }

// Label is the label that OSTree gives to a path of a tree, and false if it is to have none. It is Lookup's, but for
// /proc, which is labelled as /mnt is: the policies say <<none>> for /proc, as a directory to mount on it needs a label.
//
//	shape   path begins with a slash; mode carries the type bits; 0 is any type
//	source  ostree src/libostree/ostree-sepolicy.c (ostree_sepolicy_get_label)
func (p *Policy) Label(path string, mode uint32) (string, bool) {
	if path == "/proc" {
		path = "/mnt"
	}
	return p.Lookup(path, mode)
}

// Lookup answers as libselinux's selabel_lookup_raw does: the label, or false if the policy has none for the path.
func (p *Policy) Lookup(path string, mode uint32) (string, bool) {
	key := p.substitute(clean(path))
	if key == "" {
		return "", false
	}
	kind := mode & typeMask
	for _, s := range p.literals[key] {
		if s.takes(kind) {
			return s.context, s.context != ""
		}
	}
	return p.root.lookup(key, kind)
}

// clean removes doubled slashes and one slash at the end.
func clean(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// substitution replaces a leading path by another.
type substitution struct{ from, to string }

// parseSubs reads a .subs file: lines of two words, # begins a comment; what has no second word is passed over.
func parseSubs(text []byte) []substitution {
	var all []substitution
	for line := range strings.Lines(string(text)) {
		words := strings.FieldsFunc(line, isSpace)
		if len(words) >= 2 && !strings.HasPrefix(words[0], "#") {
			all = append(all, substitution{words[0], words[1]})
		}
	}
	return all
}

// substitute applies the local replacements and then those of the distribution.
func (p *Policy) substitute(key string) string {
	return replace(p.distSubs, replace(p.subs, key))
}

// replace applies the last line that fits, once.
func replace(subs []substitution, key string) string {
	for i := len(subs) - 1; i >= 0; i-- {
		rest, ok := strings.CutPrefix(key, subs[i].from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if subs[i].to == "/" && rest != "" {
			return rest
		}
		return subs[i].to + rest
	}
	return key
}

// isSpace is C's isspace.
func isSpace(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
