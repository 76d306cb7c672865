// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"encoding/binary"
	"fmt"
	"strings"

	"grove/internal/rpm"
)

// The operations of the stack machine in glue.c. A program pushes ids of strings, combines them to relations, and
// ends each package or dependency.
//
//	opString  length (4 bytes, little endian), bytes    push
//	opRel     flags (1 byte)                            name, evr -> relation
//	opNew                                               name, evr, arch -> a package
//	opDep     kind, after the marker (1 byte each)      id -> the package's dependency
const (
	opString = 1
	opRel    = 2
	opNew    = 3
	opDep    = 4
)

// Flags of relations.
//
//	source  libsolv src/pool.h, REL_*
const (
	relGT      = 1
	relEQ      = 2
	relLT      = 4
	relAnd     = 16
	relOr      = 17
	relWith    = 18
	relCond    = 22
	relElse    = 26
	relWithout = 28
	relUnless  = 29
)

// maxNesting bounds the recursion over rich dependencies; rpm's own parser is recursive too, and real ones nest three deep.
// One level may have maxOperands; together they need less than the stack of glue.c.
const (
	maxNesting  = 8
	maxOperands = 40
)

// maxClauses bounds what a rich dependency becomes in conjunctive or disjunctive normal form: libsolv computes both,
// and they grow with the power of the nesting (16 pairs of "and" within "or": 65,536 clauses, 1.3 s).
const maxClauses = 512

type program struct{ code []byte }

func (p *program) text(s string) {
	p.code = append(p.code, opString)
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(len(s)))
	p.code = append(p.code, s...)
}

func (p *program) rel(flags byte) { p.code = append(p.code, opRel, flags) }

func (p *program) newPackage() { p.code = append(p.code, opNew) }

func (p *program) dep(kind int, after bool) {
	var b byte
	if after {
		b = 1
	}
	p.code = append(p.code, opDep, byte(kind), b)
}

// push leaves one dependency on the stack. A malformed rich one is pushed as a name: nothing provides it.
func (p *program) push(d rpm.Dep) {
	if d.Rich() {
		if at := len(p.code); p.rich(d.Name) != nil {
			p.code = p.code[:at]
			p.text(d.Name)
		}
		return
	}
	p.text(d.Name)
	if flags := senseFlags(d); flags != 0 {
		p.text(d.EVR.String())
		p.rel(flags)
	}
}

func senseFlags(d rpm.Dep) byte {
	var flags byte
	if d.EVR.IsZero() {
		return 0
	}
	if d.Flags&rpm.SenseLess != 0 {
		flags |= relLT
	}
	if d.Flags&rpm.SenseGreater != 0 {
		flags |= relGT
	}
	if d.Flags&rpm.SenseEqual != 0 {
		flags |= relEQ
	}
	return flags
}

// rich compiles a boolean dependency.
//
//	source  rpm docs/manual/boolean_dependencies; the shapes are those of libsolv's ext/pool_parserpmrichdep.c:
//	        chains lean right, "a if b else c" is COND(a, ELSE(b, c))
func (p *program) rich(s string) error {
	r := richReader{rest: s}
	n, err := r.expression(p, 0)
	if err != nil {
		return fmt.Errorf("rich dependency %.100q: %w", s, err)
	}
	if n.cnf > maxClauses || n.dnf > maxClauses {
		return fmt.Errorf("rich dependency %.100q: more than %d alternatives", s, maxClauses)
	}
	if strings.TrimSpace(r.rest) != "" {
		return fmt.Errorf("rich dependency %.100q: %.20q follows the closing parenthesis", s, r.rest)
	}
	return nil
}

var richOps = map[string]byte{
	"and": relAnd, "or": relOr, "with": relWith, "without": relWithout,
	"if": relCond, "unless": relUnless, "else": relElse,
}

type richReader struct {
	rest  string
	names []string // the capabilities that stood in it

	needs     []rpm.Dep // those that fulfil it, not its conditions
	condition int       // > 0: within a condition
}

func (r *richReader) skip() { r.rest = strings.TrimLeft(r.rest, " \t") }

// clauses is how large a formula gets in the two normal forms; it stops counting above maxClauses.
type clauses struct{ cnf, dnf int }

func capped(n int) int { return min(n, maxClauses+1) }

func (a clauses) and(b clauses) clauses { return clauses{capped(a.cnf + b.cnf), capped(a.dnf * b.dnf)} }
func (a clauses) or(b clauses) clauses  { return clauses{capped(a.cnf * b.cnf), capped(a.dnf + b.dnf)} }
func (a clauses) not() clauses          { return clauses{a.dnf, a.cnf} }

// size folds the operands of one level, as libsolv does.
func size(operands []clauses, ops []byte) clauses {
	a := operands[0]
	if len(ops) == 0 {
		return a
	}
	b := operands[1]
	c := clauses{1, 1} // after else
	if len(operands) > 2 {
		c = operands[2]
	}
	switch ops[0] {
	case relCond:
		return a.or(b.not()).and(c.or(b))
	case relUnless:
		return a.and(b.not()).or(c.and(b))
	case relAnd, relOr:
		for _, o := range operands[1:] {
			if ops[0] == relAnd {
				a = a.and(o)
			} else {
				a = a.or(o)
			}
		}
	}
	return a // with and without work on packages, not on clauses
}

// expression reads "(" operand [op operand ...] ")".
func (r *richReader) expression(p *program, depth int) (clauses, error) {
	var none clauses
	if depth > maxNesting {
		return none, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	r.skip()
	if !strings.HasPrefix(r.rest, "(") {
		return none, fmt.Errorf("wanted an opening parenthesis at %.20q", r.rest)
	}
	r.rest = r.rest[1:]
	first, err := r.operand(p, depth)
	if err != nil {
		return none, err
	}
	operands := []clauses{first}
	var pending []byte
	for {
		r.skip()
		if strings.HasPrefix(r.rest, ")") {
			r.rest = r.rest[1:]
			break
		}
		word := r.word()
		op, ok := richOps[word]
		if !ok {
			return none, fmt.Errorf("got %.20q, wanted an operator or a closing parenthesis", word)
		}
		if !mayFollow(pending, op) {
			return none, fmt.Errorf("operator %q does not go with the one before it", word)
		}
		if pending = append(pending, op); len(pending) > maxOperands {
			return none, fmt.Errorf("more than %d operands", maxOperands)
		}
		if op == relCond || op == relUnless {
			r.condition++
		}
		next, err := r.operand(p, depth)
		if err != nil {
			return none, err
		}
		if op == relCond || op == relUnless {
			r.condition--
		}
		operands = append(operands, next)
	}
	for i := len(pending) - 1; i >= 0; i-- {
		p.rel(pending[i])
	}
	return size(operands, pending), nil
}

// mayFollow says whether op may stand after the operators of the same level: and, or, with chain with themselves;
// else follows one if or unless; nothing else chains.
func mayFollow(before []byte, op byte) bool {
	if op == relElse {
		return len(before) == 1 && (before[0] == relCond || before[0] == relUnless)
	}
	if len(before) == 0 {
		return true
	}
	return before[0] == op && (op == relAnd || op == relOr || op == relWith)
}

func (r *richReader) operand(p *program, depth int) (clauses, error) {
	one := clauses{1, 1}
	r.skip()
	if strings.HasPrefix(r.rest, "(") {
		return r.expression(p, depth+1)
	}
	name := r.word()
	if name == "" {
		return one, fmt.Errorf("wanted a name at %.20q", r.rest)
	}
	r.names = append(r.names, name)
	p.text(name)
	r.skip()
	n := 0
	var flags byte
	for n < len(r.rest) && strings.IndexByte("<=>", r.rest[n]) >= 0 {
		flags |= map[byte]byte{'<': relLT, '=': relEQ, '>': relGT}[r.rest[n]]
		n++
	}
	if n == 0 {
		r.need(rpm.Dep{Name: name})
		return one, nil
	}
	op := r.rest[:n]
	r.rest = r.rest[n:]
	r.skip()
	version := r.word()
	if version == "" || n > 2 {
		return one, fmt.Errorf("wanted a version after %q", op)
	}
	p.text(rpm.ParseEVR(version).String())
	p.rel(flags)
	if d, ok := versionedDep(name + " " + op + " " + version); ok {
		r.need(d)
	}
	return one, nil
}

// word reads up to a blank or an unbalanced closing parenthesis: names such as libc.so.6()(64bit) hold balanced ones.
func (r *richReader) word() string {
	depth := 0
	for i := 0; i < len(r.rest); i++ {
		switch r.rest[i] {
		case ' ', '\t':
			return r.cut(i)
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return r.cut(i)
			}
		}
	}
	return r.cut(len(r.rest))
}

func (r *richReader) cut(i int) string {
	word := r.rest[:i]
	r.rest = r.rest[i:]
	return word
}

func (r *richReader) need(d rpm.Dep) {
	if r.condition == 0 {
		r.needs = append(r.needs, d)
	}
}

// Needs are the capabilities by which a package can fulfil a dependency: the dependency itself, or of a rich one each
// capability in it that is no condition.
func Needs(d rpm.Dep) []rpm.Dep {
	if !d.Rich() {
		return []rpm.Dep{d}
	}
	var p program
	r := richReader{rest: d.Name}
	_, _ = r.expression(&p, 0) // of a malformed one, those before the fault
	return r.needs
}

// richNames are the capabilities in a rich dependency.
func richNames(s string) []string {
	var p program
	r := richReader{rest: s}
	_, _ = r.expression(&p, 0) // of a malformed one, those before the fault
	return r.names
}
