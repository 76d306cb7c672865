// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"bufio"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

func (m *machine) fileOf(f *os.File) *lua.LUserData {
	return m.userData(&file{os: f, r: bufio.NewReader(f), w: f})
}

func (m *machine) openRPM() {
	m.table("rpm", map[string]call{
		"vercmp": m.vercmp, "b64encode": m.b64encode, "b64decode": m.b64decode, "execute": m.rpmExecute, "spawn": m.rpmSpawn,
		"redirect2null": m.redirect2null, "glob": m.glob,
	})
	t := m.l.GetGlobal("rpm").(*lua.LTable)
	m.openVer(t)
	// What follows from the script alone is done again by a forked child, not answered from the record.
	for name, f := range map[string]call{"expand": m.rpmExpand, "define": m.rpmDefine, "undefine": m.rpmUndefine,
		"isdefined": m.rpmIsDefined, "next_file": m.rpmNextFile} {
		t.RawSetString(name, m.own(f))
	}
}

func (m *machine) compare(a, b string) (int, error) {
	if m.o.Vercmp == nil {
		return 0, errors.New("versions cannot be compared here")
	}
	return m.o.Vercmp(a, b), nil
}

func (m *machine) vercmp(l *lua.LState) ([]lua.LValue, error) {
	a, err := argString(l, 1, "vercmp")
	if err != nil {
		return nil, err
	}
	b, err := argString(l, 2, "vercmp")
	if err != nil {
		return nil, err
	}
	n, err := m.compare(a, b)
	if err != nil {
		return nil, err
	}
	return ok(lua.LNumber(n))
}

// openVer makes rpm.ver: a version as an object with e, v and r that compares.
func (m *machine) openVer(rpm *lua.LTable) {
	meta := m.l.NewTable()
	text := func(v lua.LValue) string { return m.l.GetField(v, "text").String() }
	compare := func(l *lua.LState) int {
		n, err := m.compare(text(l.Get(1)), text(l.Get(2)))
		if err != nil {
			l.RaiseError("%s", err)
		}
		return n
	}
	operators := map[string]func(int) bool{"__eq": func(n int) bool { return n == 0 },
		"__lt": func(n int) bool { return n < 0 }, "__le": func(n int) bool { return n <= 0 }}
	for name, holds := range operators {
		meta.RawSetString(name, m.l.NewFunction(func(l *lua.LState) int {
			l.Push(lua.LBool(holds(compare(l))))
			return 1
		}))
	}
	meta.RawSetString("__tostring", m.l.NewFunction(func(l *lua.LState) int {
		l.Push(lua.LString(text(l.Get(1))))
		return 1
	}))
	rpm.RawSetString("ver", m.l.NewFunction(func(l *lua.LState) int {
		evr := l.CheckString(1)
		t := l.NewTable()
		t.RawSetString("text", lua.LString(evr))
		rest := evr
		if e, after, found := strings.Cut(rest, ":"); found {
			t.RawSetString("e", lua.LString(e))
			rest = after
		}
		if at := strings.LastIndex(rest, "-"); at >= 0 {
			t.RawSetString("r", lua.LString(rest[at+1:]))
			rest = rest[:at]
		}
		t.RawSetString("v", lua.LString(rest))
		t.Metatable = meta
		l.Push(t)
		return 1
	}))
}

// maxExpand bounds nested macros.
const maxExpand = 16

// Expand replaces %name, %{name}, %{?name}, %{!?name}, %{?name:text}, %{!?name:text} and %% by macros. What it does not
// know stays as it is.
func Expand(text string, macros map[string]string) string { return expand(text, macros, 0) }

func expand(text string, macros map[string]string, depth int) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '%' || i+1 == len(text) || depth > maxExpand || out.Len() > maxString {
			out.WriteByte(text[i])
			i++
			continue
		}
		if text[i+1] == '%' {
			out.WriteByte('%')
			i += 2
			continue
		}
		word, length := macroWord(text[i+1:])
		if length == 0 {
			out.WriteByte('%')
			i++
			continue
		}
		if value, done := macroValue(word, macros, depth); done {
			out.WriteString(value)
		} else {
			out.WriteString(text[i : i+1+length])
		}
		i += 1 + length
	}
	return out.String()
}

// macroWord gives what stands after a percent sign: the inside of braces or a plain name, and its length in the text.
func macroWord(text string) (string, int) {
	if text[0] == '{' {
		depth := 0
		for i := range len(text) {
			switch text[i] {
			case '{':
				depth++
			case '}':
				if depth--; depth == 0 {
					return text[1:i], i + 1
				}
			}
		}
		return "", 0
	}
	start := 0
	for start < len(text) && (text[start] == '!' || text[start] == '?') {
		start++
	}
	end := start
	for end < len(text) && (text[end] == '_' || text[end] >= '0' && text[end] <= '9' || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
		end++
	}
	if end == start {
		return "", 0
	}
	return text[:end], end
}

func macroValue(word string, macros map[string]string, depth int) (string, bool) {
	name := strings.TrimLeft(word, "!?")
	marks := word[:len(word)-len(name)]
	name, alternative, hasAlternative := strings.Cut(name, ":")
	value, defined := macros[name]
	asked, negated := strings.Contains(marks, "?"), strings.Count(marks, "!")%2 == 1
	switch {
	case !asked:
		if !defined || hasAlternative {
			return "", false
		}
		return expand(value, macros, depth+1), true
	case defined == negated:
		return "", true
	case hasAlternative:
		return expand(alternative, macros, depth+1), true
	case negated:
		return "", true
	}
	return expand(value, macros, depth+1), true
}

func (m *machine) rpmExpand(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "expand")
	if err != nil {
		return nil, err
	}
	return ok(lua.LString(Expand(text, m.macros)))
}

func (m *machine) rpmDefine(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "define")
	if err != nil {
		return nil, err
	}
	name, value, _ := strings.Cut(strings.TrimSpace(text), " ")
	m.macros[name] = strings.TrimSpace(value)
	return nil, nil
}

func (m *machine) rpmUndefine(l *lua.LState) ([]lua.LValue, error) {
	delete(m.macros, l.Get(1).String())
	return nil, nil
}

func (m *machine) rpmIsDefined(l *lua.LState) ([]lua.LValue, error) {
	_, defined := m.macros[l.Get(1).String()]
	return ok(lua.LBool(defined), lua.LFalse)
}

func (m *machine) b64encode(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "b64encode")
	if err != nil {
		return nil, err
	}
	width := int(l.OptNumber(2, 64))
	code := base64.StdEncoding.EncodeToString([]byte(text))
	if width <= 0 {
		return ok(lua.LString(code))
	}
	var out strings.Builder
	for len(code) > 0 {
		n := min(width, len(code))
		out.WriteString(code[:n] + "\n")
		code = code[n:]
	}
	return ok(lua.LString(out.String()))
}

func (m *machine) b64decode(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "b64decode")
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return ok(lua.LNil)
	}
	return ok(lua.LString(data))
}

// rpmExecute runs a program and waits: true, or nil with how it ended and a number.
func (m *machine) rpmExecute(l *lua.LState) ([]lua.LValue, error) {
	argv := make([]string, 0, l.GetTop())
	for i := 1; i <= l.GetTop(); i++ {
		word, err := argString(l, i, "execute")
		if err != nil {
			return nil, err
		}
		argv = append(argv, word)
	}
	return runProgram(argv, childAttr())
}

func runProgram(argv []string, attr *syscall.ProcAttr) ([]lua.LValue, error) {
	if len(argv) == 0 {
		return nil, badArgument(1, "execute", "string expected, got no value")
	}
	pid, err := syscall.ForkExec(search(argv[0]), argv, attr)
	if err != nil {
		return failed(argv[0], err)
	}
	if status := waitStatus(pid); status != 0 {
		values, err := exitValues(status)
		return values, err
	}
	return ok(lua.LNumber(0))
}

// rpmSpawn is rpm 4.20's: a table of arguments and one of redirections to files.
func (m *machine) rpmSpawn(l *lua.LState) ([]lua.LValue, error) {
	words, isTable := l.Get(1).(*lua.LTable)
	if !isTable {
		return nil, badArgument(1, "spawn", "table expected")
	}
	var argv []string
	for i := 1; i <= words.Len(); i++ {
		argv = append(argv, words.RawGetInt(i).String())
	}
	attr := childAttr()
	if files, isTable := l.Get(2).(*lua.LTable); isTable {
		for n, name := range []string{"stdin", "stdout", "stderr"} {
			path := files.RawGetString(name)
			if path == lua.LNil {
				continue
			}
			flags := os.O_RDONLY
			if n > 0 {
				flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
			}
			f, err := os.OpenFile(path.String(), flags, 0o644)
			if err != nil {
				return failed(path.String(), err)
			}
			defer f.Close()
			attr.Files[n] = f.Fd()
		}
	}
	return runProgram(argv, attr)
}

func (m *machine) rpmNextFile(*lua.LState) ([]lua.LValue, error) {
	if m.nextFile >= len(m.o.Files) {
		return ok(lua.LNil)
	}
	m.nextFile++
	return ok(lua.LString(m.o.Files[m.nextFile-1]))
}

func (m *machine) glob(l *lua.LState) ([]lua.LValue, error) {
	pattern, err := argString(l, 1, "glob")
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return failed(pattern, unix.EINVAL)
	}
	if len(found) == 0 && strings.Contains(l.OptString(2, ""), "c") {
		found = []string{pattern}
	}
	sort.Strings(found)
	return ok(m.list(found))
}
