// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// maxRulesSizeBytes bounds a file of rules: a path for each file of a large tree.
const maxRulesSizeBytes = 64 << 20

// CommitRules change or leave out single paths of what is committed. Each rule counts once, for the first tree that has the
// path.
//
//	source  ostree src/ostree/ot-builtin-commit.c, commit_filter
type CommitRules struct {
	// ReadOnlyExecutables takes the write permission from files that somebody may execute.
	ReadOnlyExecutables bool

	adds, sets map[string]uint32
	skip       map[string]bool
}

// ReadStatOverride adds the rules of a file: lines of MODE PATH, which adds bits, or =MODE PATH, which sets them. MODE is
// decimal, or hexadecimal with 0x.
func (c *CommitRules) ReadStatOverride(file string) error {
	return eachRule(file, func(line string) error {
		text, path, ok := strings.Cut(line, " ")
		if !ok {
			return errors.New("want MODE PATH")
		}
		digits, set := strings.CutPrefix(text, "=")
		base := 10
		if hex, ok := strings.CutPrefix(strings.ToLower(strings.TrimPrefix(digits, "+")), "0x"); ok {
			digits, base = hex, 16
		}
		mode, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, 32)
		if err != nil || mode > ostree.ModePerm {
			return fmt.Errorf("mode %q: want a number up to %d", text, ostree.ModePerm)
		}
		to := &c.adds
		if set {
			to = &c.sets
		}
		if *to == nil {
			*to = map[string]uint32{}
		}
		(*to)[path] = uint32(mode)
		return nil
	})
}

// ReadSkipList adds the paths of a file, one a line: they are left out.
func (c *CommitRules) ReadSkipList(file string) (err error) {
	c.skip, err = ReadSkipList(file)
	return err
}

// ReadSkipList reads the paths of a file, one a line.
func ReadSkipList(file string) (map[string]bool, error) {
	skip := map[string]bool{}
	return skip, eachRule(file, func(line string) error {
		skip[line] = true
		return nil
	})
}

func eachRule(file string, f func(line string) error) error {
	data, err := durable.ReadFile(file, maxRulesSizeBytes)
	if err != nil {
		return err
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("read %s: not UTF-8 text", file)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("%s: line %d: %w", file, n, err)
		}
	}
	return nil
}

// Any reports whether there is a rule at all.
func (c *CommitRules) Any() bool {
	return c.ReadOnlyExecutables || c.adds != nil || c.sets != nil || c.skip != nil
}

// Filter is for CommitTreeOptions.Filter, for directories and for commits. It asks libostree's question of a directory
// twice, as libostree does, so that bits which are to be added to a directory below the root are lost there.
func (c *CommitRules) Filter(path string, st *Stat) bool {
	if path = "/" + strings.Trim(path, "/"); path != "/" && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		once := *st
		if !c.apply(path, &once) {
			return false
		}
	}
	return c.apply(path, st)
}

// FilterTar is Filter for archives, of which each entry is asked about once.
func (c *CommitRules) FilterTar(path string, st *Stat) bool {
	return c.apply("/"+strings.Trim(path, "/"), st)
}

func (c *CommitRules) apply(path string, st *Stat) bool {
	if c.ReadOnlyExecutables && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
		st.Mode &^= 0o222
	}
	if add, ok := c.adds[path]; ok {
		st.Mode |= add
		delete(c.adds, path)
	} else if set, ok := c.sets[path]; ok {
		st.Mode = st.Mode&unix.S_IFMT | set
	}
	if c.skip[path] {
		delete(c.skip, path)
		return false
	}
	return true
}

// Unmatched fails where a rule met no path.
func (c *CommitRules) Unmatched() error {
	for _, rules := range []struct {
		name  string
		paths []string
	}{{"statoverride", slices.Sorted(maps.Keys(c.adds))}, {"skip-list", slices.Sorted(maps.Keys(c.skip))}} {
		if len(rules.paths) > 0 {
			return fmt.Errorf("%s: the trees have no %s", rules.name, strings.Join(rules.paths, ", "))
		}
	}
	return nil
}
