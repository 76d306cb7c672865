// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"errors"
	"slices"
	"strings"
)

// maxRichDepth bounds the nesting of rich dependencies; real ones nest three deep.
const maxRichDepth = 32

var errRich = errors.New("rich dependency cannot be read")

// richNames gives the keys under which a rich dependency is indexed beside its own text: every name in it, with "!" in
// front where it stands in a condition; sorted, each once. The condition of an "else" counts a second time, inverted.
// A dependency that cannot be read has none.
//
//	source  rpm lib/rpmdb.cc, updateRichDepCB; lib/rpmds.cc, rpmrichParse
func richNames(dep string) []string {
	p := richParser{rest: dep}
	if p.group(1) != nil {
		return nil
	}
	slices.Sort(p.names)
	names := slices.Compact(p.names)
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, " ")
	}
	return names
}

// richParser collects names, each with ' ' or '!' in front: in that order they sort as rpm has them.
type richParser struct {
	rest   string
	names  []string
	negate bool
}

// group reads "(operand op operand ...)".
func (p *richParser) group(depth int) error {
	if depth > maxRichDepth || !strings.HasPrefix(p.rest, "(") {
		return errRich
	}
	p.rest = p.rest[1:]
	condition := len(p.names) // where the condition of an if begins
	last, chain := "", ""
	for {
		p.blanks()
		if err := p.operand(depth); err != nil {
			return err
		}
		p.blanks()
		if p.rest == "" {
			return errRich
		}
		if p.rest[0] == ')' {
			p.rest = p.rest[1:]
			break
		}
		last = p.until(" \t\n\r\v\f)")
		if err := chainable(last, chain); err != nil {
			return err
		}
		switch last {
		case "if", "unless":
			condition = len(p.names)
			p.negate = !p.negate
		case "else":
			for _, n := range p.names[condition:] {
				p.names = append(p.names, inverted(n))
			}
			p.negate = !p.negate
		}
		chain = last
	}
	if last == "if" || last == "unless" {
		p.negate = !p.negate
	}
	return nil
}

// chainable tells whether op may follow the one before it in a group.
func chainable(op, chain string) error {
	switch op {
	case "else":
		if chain == "if" || chain == "unless" || chain == "" { // alone it means nothing, but rpm takes it
			return nil
		}
	case "and", "or", "with":
		if chain == "" || chain == op {
			return nil
		}
	case "if", "unless", "without":
		if chain == "" {
			return nil
		}
	}
	return errRich
}

func (p *richParser) operand(depth int) error {
	if strings.HasPrefix(p.rest, "(") {
		return p.group(depth + 1)
	}
	name := p.word()
	if name == "" {
		return errRich
	}
	p.blanks()
	if rest := p.rest; comparisons[p.word()] {
		p.blanks()
		if p.word() == "" {
			return errRich
		}
	} else {
		p.rest = rest
	}
	if strings.HasPrefix(name, "rpmlib(") {
		return nil
	}
	mark := " "
	if p.negate {
		mark = "!"
	}
	p.names = append(p.names, mark+name)
	return nil
}

var comparisons = map[string]bool{"<": true, "<=": true, "=<": true, "=": true, "==": true, ">=": true, "=>": true, ">": true}

func inverted(name string) string {
	if name[0] == '!' {
		return " " + name[1:]
	}
	return "!" + name[1:]
}

func (p *richParser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t\n\r\v\f") }

func (p *richParser) until(set string) string {
	n := strings.IndexAny(p.rest, set)
	if n < 0 {
		n = len(p.rest)
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

// word takes bytes up to a blank, a comma or a bracket that closes none of its own, so that "foo(x86-64)" is one.
func (p *richParser) word() string {
	open := 0
	i := 0
loop:
	for ; i < len(p.rest); i++ {
		switch p.rest[i] {
		case ' ', '\t', '\n', '\r', '\v', '\f', ',':
			break loop
		case '(':
			open++
		case ')':
			if open == 0 {
				break loop
			}
			open--
		}
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}
