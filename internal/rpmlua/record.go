// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"
)

// record is one call that looked at or changed the world, with its answer.
type record struct {
	Name   string
	Values []value
	Fail   string // the call raised this error
}

// value is a Lua value that can be kept: Kind is '0' nil, 'b' boolean, 'n' number, 's' string, 'f' file, 't' table.
type value struct {
	Kind  byte
	B     bool
	N     float64
	S     string
	Table []pair
}

type pair struct{ Key, Value value }

// call is a Go function of a library: it raises an error by returning one.
type call func(l *lua.LState) ([]lua.LValue, error)

// maxRecords bounds the memory that a script's history takes: a hostile loop ends here.
const maxRecords = 1 << 20

// world wraps a call that depends on or changes the world so that a forked child can be given its answer again.
func (m *machine) world(name string, f call) *lua.LFunction {
	return m.l.NewFunction(func(l *lua.LState) int {
		if len(m.replay) > 0 {
			return m.again(l, name)
		}
		if len(m.records) >= maxRecords {
			l.RaiseError("too many calls in one script")
		}
		values, err := f(l)
		r := record{Name: name}
		if err != nil {
			r.Fail = err.Error()
		}
		for _, v := range values {
			r.Values = append(r.Values, m.keep(v, 0))
		}
		m.records = append(m.records, r)
		if err != nil {
			l.RaiseError("%s", err)
		}
		for _, v := range values {
			l.Push(v)
		}
		return len(values)
	})
}

// own wraps a call that changes the script's own state only.
func (m *machine) own(f call) *lua.LFunction {
	return m.l.NewFunction(func(l *lua.LState) int {
		values, err := f(l)
		if err != nil {
			l.RaiseError("%s", err)
		}
		for _, v := range values {
			l.Push(v)
		}
		return len(values)
	})
}

// again answers a call from the record.
func (m *machine) again(l *lua.LState, name string) int {
	r := m.replay[0]
	m.replay = m.replay[1:]
	if r.Name != name {
		l.RaiseError("fork: the script called %s where it had called %s before", name, r.Name)
	}
	m.records = append(m.records, r)
	if r.Fail != "" {
		l.RaiseError("%s", r.Fail)
	}
	for _, v := range r.Values {
		l.Push(m.restore(v))
	}
	return len(r.Values)
}

func (m *machine) keep(v lua.LValue, depth int) value {
	switch v := v.(type) {
	case lua.LBool:
		return value{Kind: 'b', B: bool(v)}
	case lua.LNumber:
		return value{Kind: 'n', N: float64(v)}
	case lua.LString:
		return value{Kind: 's', S: string(v)}
	case *lua.LUserData:
		if f, ok := v.Value.(*file); ok {
			return value{Kind: 'f', N: float64(f.id)}
		}
	case *lua.LTable:
		out := value{Kind: 't'}
		if depth < 4 {
			v.ForEach(func(k, e lua.LValue) {
				out.Table = append(out.Table, pair{m.keep(k, depth+1), m.keep(e, depth+1)})
			})
		}
		return out
	}
	return value{Kind: '0'}
}

func (m *machine) restore(v value) lua.LValue {
	switch v.Kind {
	case 'b':
		return lua.LBool(v.B)
	case 'n':
		return lua.LNumber(v.N)
	case 's':
		return lua.LString(v.S)
	case 'f':
		return m.restoreFile(int(v.N))
	case 't':
		t := m.l.NewTable()
		for _, p := range v.Table {
			t.RawSet(m.restore(p.Key), m.restore(p.Value))
		}
		return t
	}
	return lua.LNil
}

// values for returning.
func ok(v ...lua.LValue) ([]lua.LValue, error) { return v, nil }

// list makes a table of strings.
func (m *machine) list(words []string) *lua.LTable {
	t := m.l.NewTable()
	for _, w := range words {
		t.Append(lua.LString(w))
	}
	return t
}

func (m *machine) table(name string, functions map[string]call) *lua.LTable {
	t := m.l.NewTable()
	for key, f := range functions {
		t.RawSetString(key, m.world(name+"."+key, f))
	}
	m.l.SetGlobal(name, t)
	return t
}

func badArgument(n int, function, what string) error {
	return fmt.Errorf("bad argument #%d to '%s' (%s)", n, function, what)
}
