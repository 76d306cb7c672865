// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openShims adds what scriptlets use of Lua 5.2 to 5.4 and 5.1 lacks, and a print that can be replayed.
func (m *machine) openShims() {
	l := m.l
	table := l.GetGlobal("table").(*lua.LTable)
	table.RawSetString("unpack", l.GetGlobal("unpack"))
	table.RawSetString("pack", l.NewFunction(func(l *lua.LState) int {
		t := l.NewTable()
		n := l.GetTop()
		for i := 1; i <= n; i++ {
			t.RawSetInt(i, l.Get(i))
		}
		t.RawSetString("n", lua.LNumber(n))
		l.Push(t)
		return 1
	}))
	math := l.GetGlobal("math").(*lua.LTable)
	math.RawSetString("tointeger", l.NewFunction(func(l *lua.LState) int {
		if n, isNumber := l.Get(1).(lua.LNumber); isNumber && float64(n) == float64(int64(n)) {
			l.Push(n)
			return 1
		}
		l.Push(lua.LNil)
		return 1
	}))
	str := l.GetGlobal("string").(*lua.LTable)
	str.RawSetString("rep", l.NewFunction(stringRep))
	l.SetGlobal("load", l.NewFunction(m.load))
	l.SetGlobal("print", m.world("print", func(l *lua.LState) ([]lua.LValue, error) {
		words := make([]string, l.GetTop())
		for i := range words {
			words[i] = l.ToStringMeta(l.Get(i + 1)).String()
		}
		_, _ = m.o.Stdout.Write([]byte(strings.Join(words, "\t") + "\n"))
		return nil, nil
	}))
	for _, name := range []string{"dofile", "loadfile", "require", "module"} {
		l.SetGlobal(name, lua.LNil)
	}
	// The base library's own print buffer and random numbers would make a replay differ.
	math.RawSetString("random", m.world("math.random", m.random(math.RawGetString("random"))))
}

func (m *machine) random(real lua.LValue) call {
	return func(l *lua.LState) ([]lua.LValue, error) {
		n := l.GetTop()
		l.Push(real)
		for i := 1; i <= n; i++ {
			l.Push(l.Get(i))
		}
		if err := l.PCall(n, 1, nil); err != nil {
			return nil, badArgument(1, "random", "interval is empty")
		}
		return ok(l.Get(-1))
	}
}

// maxString bounds what one call may build.
const maxString = 64 << 20

func stringRep(l *lua.LState) int {
	s, n, sep := l.CheckString(1), l.CheckInt(2), l.OptString(3, "")
	if n <= 0 {
		l.Push(lua.LString(""))
		return 1
	}
	if (len(s)+len(sep)) > 0 && n > maxString/(len(s)+len(sep)) {
		l.RaiseError("resulting string too large")
	}
	l.Push(lua.LString(strings.Repeat(s+sep, n-1) + s))
	return 1
}

// load takes a string or a function, as in 5.2 and later; mode is ignored, env is honoured.
func (m *machine) load(l *lua.LState) int {
	var text string
	switch chunk := l.Get(1).(type) {
	case lua.LString:
		text = string(chunk)
	case *lua.LFunction:
		for {
			l.Push(chunk)
			l.Call(0, 1)
			piece, isString := l.Get(-1).(lua.LString)
			l.Pop(1)
			if !isString || piece == "" {
				break
			}
			if text += string(piece); len(text) > maxString {
				l.RaiseError("chunk too large")
			}
		}
	default:
		l.ArgError(1, "string or function expected")
	}
	f, err := l.Load(strings.NewReader(text), l.OptString(2, "=(load)"))
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	if env, isTable := l.Get(4).(*lua.LTable); isTable {
		f.Env = env
	}
	l.Push(f)
	return 1
}
